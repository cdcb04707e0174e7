"""The contract is a leaf: it imports where neither Blender nor torch nor ZeroMQ exists."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BLOCKED_FOR_CONTRACT = ("bpy", "zmq", "torch", "scipy", "PIL", "server", "models", "training")
BLOCKED_FOR_CLIENT = ("bpy", "torch", "scipy", "PIL", "server", "models", "training")

PROGRAM = """
import importlib, pkgutil, sys

class Block:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {blocked!r}:
            raise ImportError("blocked: " + name)

sys.meta_path.insert(0, Block())
import blender_addon.contract as contract
names = [m.name for m in pkgutil.iter_modules(contract.__path__)]
assert len(names) > 5, names
for name in names:
    importlib.import_module("blender_addon.contract." + name)
for name in {more!r}:
    importlib.import_module(name)
"""


@pytest.mark.parametrize(
    ("blocked", "more"),
    [
        (BLOCKED_FOR_CONTRACT, ()),
        (BLOCKED_FOR_CLIENT, ("blender_addon.client", "blender_addon.local_server")),
        (("bpy", "torch"), ("server.broker", "server.serve", "server.handlers", "scripts.cli")),
    ],
    ids=["contract", "client", "broker"],
)
def test_it_imports_with_what_it_must_not_need_blocked(blocked, more):
    program = PROGRAM.format(blocked=blocked, more=more)
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
