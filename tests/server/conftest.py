"""A real server per test module or test, in processes of its own."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from blender_addon.client import Client
from blender_addon.local_server import LocalServer

ROOT = Path(__file__).parents[2]
COMMAND = [sys.executable, "-m", "scripts.cli", "serve"]
HANDLERS = ("--handlers", "tests.server.handlers_for_tests")

StartServer = Callable[..., LocalServer]


def start_server(folder: Path, *options: str, library: Path | None = None) -> LocalServer:
    os.environ["PYTHONPATH"] = str(ROOT)
    return LocalServer.start(
        COMMAND,
        log=folder / "server.log",
        library=library or folder,
        cwd=ROOT,
        options=(*HANDLERS, *options),
    )


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalServer]:
    started = start_server(tmp_path_factory.mktemp("server"))
    yield started
    started.stop()


@pytest.fixture
def client(server: LocalServer) -> Iterator[Client]:
    with Client(server.endpoint) as connected:
        yield connected


@pytest.fixture
def start(tmp_path: Path) -> Iterator[StartServer]:
    """Start servers with options of the test's own; they end with it."""
    started: list[LocalServer] = []

    def starter(*options: str, library: Path | None = None) -> LocalServer:
        started.append(start_server(tmp_path, *options, library=library))
        return started[-1]

    yield starter
    for each in started:
        each.stop()
