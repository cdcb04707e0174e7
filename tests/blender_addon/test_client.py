"""The add-on's client and local server against real servers, in an environment without Blender."""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
import time
from typing import TYPE_CHECKING

import numpy as np
import pytest
import zmq

from blender_addon import local_server
from blender_addon.client import Client
from blender_addon.contract.errors import (
    BadMessage,
    Cancelled,
    DeadlineExceeded,
    ServerUnreachable,
    SetupError,
    TooLarge,
    UnknownOperation,
)
from blender_addon.local_server import LocalServer, server_command
from server.processes import process_alive
from tests.server.running import add_model, health, start_server, until, worker_pid

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("library")
    add_model(folder, "anna")
    return folder


@pytest.fixture(scope="module")
def server(library: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalServer]:
    started = start_server(tmp_path_factory.mktemp("server"), library=library)
    yield started
    started.stop()


@pytest.fixture
def client(server: LocalServer) -> Iterator[Client]:
    with Client(server.endpoint) as connected:
        worker_pid(connected)
        yield connected


@pytest.fixture
def own_server(library: Path, tmp_path: Path) -> Iterator[LocalServer]:
    """A server that a test may harm."""
    started = start_server(tmp_path, library=library)
    yield started
    started.stop()


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


def test_replies_are_pumped_without_waiting(client):
    first = client.submit("test.sleep", {"seconds": 0.3}, timeout=5)
    second = client.submit("test.echo", {"say": 2}, timeout=5)
    before = time.monotonic()
    assert client.pump() == []
    assert time.monotonic() - before < 0.1
    replies = {}
    until(
        lambda: (
            replies.update({r.id: r for r in client.pump() if r.kind == "result"})
            or len(replies) == 2
        )
    )
    assert replies[second].params["say"] == 2
    assert first in replies
    assert client.pending == 0


def test_answers_can_be_waited_for_in_any_order(client):
    ids = [client.submit("test.echo", {"say": n}, timeout=5) for n in range(5)]
    assert [client.wait(each).params["say"] for each in reversed(ids)] == [4, 3, 2, 1, 0]


def test_arrays_may_change_after_submitting(client):
    array = np.zeros((1000, 1000), np.float32)
    request = client.submit("test.echo", arrays={"a": array}, timeout=10)
    array += 1.0
    assert not client.wait(request).arrays["a"].any()


def test_what_cannot_travel_is_refused_before_it_is_sent(client):
    with pytest.raises(BadMessage):
        client.submit("test.echo", arrays={"a": np.array(["text"])}, timeout=5)
    with pytest.raises(TooLarge):
        client.submit("test.echo", {"text": "x" * 2_000_000}, timeout=5)
    assert client.pending == 0
    assert client.call("test.echo", timeout=5).kind == "result"


def test_errors_that_trying_again_cannot_help_come_at_once(client):
    before = time.monotonic()
    with pytest.raises(UnknownOperation):
        client.call("no.such", timeout=30, patience=60)
    assert time.monotonic() - before < 2


def test_waiting_for_nothing_is_an_error(client):
    with pytest.raises(ServerUnreachable, match="no open request"):
        client.wait("r12345")


def test_nobody_listening_is_told_at_once():
    with Client(f"tcp://127.0.0.1:{free_port()}") as client:
        before = time.monotonic()
        with pytest.raises(ServerUnreachable, match="no server listens"):
            client.wait(client.submit("hello", timeout=30))
        assert time.monotonic() - before < 2
        client.submit("hello", timeout=30)
        replies = []
        until(lambda: replies.extend(client.pump()) or replies)
        assert replies[0].params["code"] == ServerUnreachable.code


def test_patience_ends():
    with Client(f"tcp://127.0.0.1:{free_port()}") as client:
        before = time.monotonic()
        revived = []
        with pytest.raises(ServerUnreachable):
            client.call("hello", timeout=5, patience=1.0, revive=lambda: revived.append(1))
        assert 0.3 < time.monotonic() - before < 3
        assert revived


def test_a_server_that_comes_late_is_waited_for(library, tmp_path):
    port = free_port()
    started: list[LocalServer] = []

    def come_late() -> None:
        time.sleep(0.5)
        started.append(
            start_server(tmp_path, "--endpoint", f"tcp://127.0.0.1:{port}", library=library)
        )

    thread = threading.Thread(target=come_late)
    thread.start()
    try:
        with Client(f"tcp://127.0.0.1:{port}") as client:
            assert client.hello(timeout=5, patience=30)["wire"] == 1
    finally:
        thread.join()
        started[0].stop()


@pytest.mark.parametrize("endpoint", ["", "nonsense", "tcp://", "http://127.0.0.1:80"])
def test_what_is_no_address_is_named(endpoint):
    with Client(endpoint) as client, pytest.raises(ServerUnreachable, match="not an address"):
        client.submit("hello", timeout=5)


def test_another_program_on_the_port_is_no_server():
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            connection, _ = listener.accept()
            connection.sendall(b"SSH-2.0-OpenSSH_9.2\r\n" * 10)
            connection.close()

        thread = threading.Thread(target=serve)
        thread.start()
        port = listener.getsockname()[1]
        with Client(f"tcp://127.0.0.1:{port}") as client, pytest.raises(ServerUnreachable):
            client.wait(client.submit("hello", timeout=5))
        thread.join()


def test_a_silent_server_counts_as_gone_and_a_living_one_does_not(client):
    with zmq.Context() as context, context.socket(zmq.ROUTER) as mute:
        port = mute.bind_to_random_port("tcp://127.0.0.1")
        with Client(f"tcp://127.0.0.1:{port}", silence=0.5) as other:
            with pytest.raises(ServerUnreachable, match="no sign of life"):
                other.wait(other.submit("hello", timeout=30))
            before = time.monotonic()
            with pytest.raises(ServerUnreachable):  # shorter than its silence: no word in time
                other.wait(other.submit("hello", timeout=0.1))
            assert time.monotonic() - before < 2
        mute.linger = 0
    with Client(client.endpoint, silence=1.8) as patient:
        request = patient.submit("test.sleep", {"seconds": 2.5}, timeout=20)
        assert patient.wait(request).kind == "result"


def test_should_stop_is_asked_often_even_while_nobody_answers():
    with Client(f"tcp://127.0.0.1:{free_port()}") as client:
        end = time.monotonic() + 0.4
        before = time.monotonic()
        with pytest.raises(Cancelled):
            client.call("hello", timeout=5, patience=60, should_stop=lambda: time.monotonic() > end)
        assert time.monotonic() - before < 0.7


def test_a_killed_server_is_noticed_at_once(own_server):
    with Client(own_server.endpoint) as client:
        worker_pid(client)
        request = client.submit("test.sleep", {"seconds": 60}, timeout=60)
        assert not client.pump()
        os.kill(own_server.pid, signal.SIGKILL)
        before = time.monotonic()
        with pytest.raises(ServerUnreachable):
            client.wait(request)
        assert time.monotonic() - before < 2


def test_a_killed_server_is_revived_on_its_port_by_whoever_started_it(own_server):
    endpoint, pid = own_server.endpoint, own_server.pid
    with Client(endpoint) as client:
        worker_pid(client)
        os.kill(pid, signal.SIGKILL)
        reply = client.call(
            "test.echo", {"say": 1}, timeout=10, patience=60, revive=own_server.ensure_running
        )
        assert reply.params["say"] == 1
    assert own_server.endpoint == endpoint
    assert own_server.pid not in (0, pid)


def test_a_server_that_no_longer_answers_is_replaced(own_server, monkeypatch):
    monkeypatch.setattr(local_server, "ANSWER_SECONDS", 0.5)
    pid = own_server.pid
    os.kill(pid, signal.SIGSTOP)
    own_server.ensure_running()
    assert own_server.pid not in (0, pid)
    assert not process_alive(pid)
    with Client(own_server.endpoint) as client:
        assert client.hello()["wire"] == 1


def test_ensuring_a_running_server_changes_nothing(own_server):
    pid = own_server.pid
    own_server.ensure_running()
    assert own_server.pid == pid


def test_a_stopped_server_leaves_nothing_and_can_be_stopped_again(own_server):
    with Client(own_server.endpoint) as client:
        worker = worker_pid(client)
    pid = own_server.pid
    own_server.stop()
    own_server.stop()
    assert not own_server.alive()
    until(lambda: not process_alive(pid) and not process_alive(worker))


def test_closing_never_waits_and_may_be_repeated(server):
    client = Client(server.endpoint)
    for _ in range(20):
        client.submit("test.sleep", {"seconds": 0.01}, arrays={"a": np.zeros(100_000)}, timeout=60)
    before = time.monotonic()
    client.close()
    client.close()
    assert time.monotonic() - before < 1
    unconnected = Client(f"tcp://127.0.0.1:{free_port()}")
    unconnected.submit("hello", timeout=60)
    unconnected.close()
    assert time.monotonic() - before < 2


def test_threads_may_share_a_client(client):
    wrong: list[int] = []

    def work(number: int) -> None:
        for _ in range(10):
            if (
                client.call("test.echo", {"say": number}, timeout=20, patience=40).params["say"]
                != number
            ):
                wrong.append(number)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_a_cancelled_request_says_nothing_more(client):
    request = client.submit("test.sleep", {"seconds": 0.3}, timeout=5)
    client.cancel(request)
    until(lambda: health(client)["open"] == 0)
    time.sleep(0.4)
    assert client.pump() == []
    with pytest.raises(DeadlineExceeded):
        client.wait(client.submit("test.sleep", {"seconds": 1}, timeout=0.2))


def test_a_server_that_cannot_start_says_why(tmp_path):
    command = [sys.executable, "-m", "scripts.cli", "serve"]
    with pytest.raises(ServerUnreachable, match=r"other machines"):
        LocalServer.start(command, endpoint="tcp://0.0.0.0:0", log=tmp_path / "a.log")
    talk = "import sys; print('hello'); sys.stderr.write('half a server'); sys.exit(3)"
    with pytest.raises(ServerUnreachable, match="half a server"):
        LocalServer.start([sys.executable, "-c", talk], log=tmp_path / "b.log")
    with pytest.raises((ServerUnreachable, SetupError)):
        LocalServer.start([str(tmp_path / "no-such-program")], log=tmp_path / "c.log")


def test_the_servers_command_is_found(monkeypatch, tmp_path):
    monkeypatch.delenv("DRESSFORM_PYTHON", raising=False)
    assert server_command(sys.executable) == [sys.executable, "-m", "scripts.cli", "serve"]
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SetupError, match="not installed"):
        server_command()
    with pytest.raises(SetupError, match="no Python"):
        server_command(str(tmp_path / "python"))
    program = tmp_path / "dressform"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    assert server_command() == [str(program), "serve"]
    monkeypatch.setenv("DRESSFORM_PYTHON", sys.executable)
    assert server_command()[1:] == ["-m", "scripts.cli", "serve"]
