"""A real server per test module or test, in processes of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from blender_addon.client import Client
from tests.server.running import StartServer, add_model, start_server, worker_pid

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from blender_addon.local_server import LocalServer


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A library of one avatar, "anna", with nothing in it that a network could use."""
    folder = tmp_path_factory.mktemp("library")
    add_model(folder, "anna")
    return folder


@pytest.fixture(scope="module")
def server(library: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalServer]:
    """A server that the tests of a module share."""
    started = start_server(tmp_path_factory.mktemp("server"), library=library)
    with Client(started.endpoint) as client:
        worker_pid(client)
    yield started
    started.stop()


@pytest.fixture
def client(server: LocalServer) -> Iterator[Client]:
    with Client(server.endpoint) as connected:
        yield connected


@pytest.fixture
def start(library: Path, tmp_path: Path) -> Iterator[StartServer]:
    """Start servers with options of the test's own; they end with it."""
    started: list[LocalServer] = []

    def starter(*options: str, library: Path = library) -> LocalServer:
        started.append(start_server(tmp_path, *options, library=library))
        return started[-1]

    yield starter
    for each in started:
        each.stop()
