"""Which addresses the server binds, and that the command refuses the others."""

from __future__ import annotations

import subprocess
import sys

import pytest

from blender_addon.contract.errors import BadParameter, InsecureEndpoint
from server.endpoints import loopback_endpoint
from tests.server.running import ROOT


@pytest.mark.parametrize(
    ("given", "bound"),
    [
        ("tcp://127.0.0.1:0", "tcp://127.0.0.1:0"),
        ("tcp://127.0.0.1:*", "tcp://127.0.0.1:*"),
        ("tcp://localhost:5555", "tcp://127.0.0.1:5555"),
        ("tcp://127.8.0.9:65535", "tcp://127.8.0.9:65535"),
        ("tcp://[::1]:5555", "tcp://[::1]:5555"),
    ],
)
def test_loopback_is_bound(given, bound):
    assert loopback_endpoint(given) == bound


@pytest.mark.parametrize(
    "endpoint",
    [
        "tcp://*:5555", "tcp://0.0.0.0:0", "tcp://192.168.1.7:5555", "tcp://[::]:5555",
        "tcp://eth0:5555", "tcp://example.org:5555", "tcp://127.0.0.1.example.org:5555",
        "tcp://0:5555", "tcp://2130706433:1", "tcp://[::ffff:10.0.0.1]:5",
    ],
)  # fmt: skip
def test_what_others_may_reach_is_refused(endpoint):
    with pytest.raises(InsecureEndpoint):
        loopback_endpoint(endpoint)


@pytest.mark.parametrize(
    "endpoint",
    [
        "", "127.0.0.1:5555", "tcp://127.0.0.1", "tcp://127.0.0.1:99999", "tcp://127.0.0.1:-1",
        "tcp://127.0.0.1:5555/x", "ipc:///tmp/x", "tcp://:5555", "tcp://127.0.0.1:5;tcp://*:6",
        "tcp://eth0;127.0.0.1:5", "inproc://x",
    ],
)  # fmt: skip
def test_what_is_no_endpoint_is_refused(endpoint):
    with pytest.raises((BadParameter, InsecureEndpoint)):
        loopback_endpoint(endpoint)


def test_the_command_refuses_an_open_endpoint_and_says_what_to_do():
    done = subprocess.run(
        [sys.executable, "-m", "scripts.cli", "serve", "--endpoint", "tcp://0.0.0.0:0"],
        cwd=ROOT, capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stdout == ""
    assert "ssh -L" in done.stderr
    assert "setup.insecure_endpoint" in done.stderr
