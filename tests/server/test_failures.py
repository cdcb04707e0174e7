"""What goes wrong with workers, clients and time, and what becomes of the work in hand."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest

from blender_addon.client import Client
from blender_addon.contract.errors import (
    Cancelled,
    DeadlineExceeded,
    ServerStopping,
    ServerUnreachable,
    WorkerLost,
)
from server.processes import process_alive
from tests.server.running import ROOT, ended_with, health, running, until, worker_pid


def test_a_worker_that_dies_is_replaced_and_its_work_done(start, tmp_path):
    with Client(start().endpoint) as client:
        pid = worker_pid(client)
        marker = str(tmp_path / "died")
        request = client.submit("test.crash", {"unless": marker}, timeout=20)
        after = client.submit("test.echo", timeout=20)
        assert client.wait(request).params["survived"]
        assert client.wait(after).params["pid"] != pid
        assert health(client)["workers"][0]["restarts"] == 1


def test_work_that_kills_every_worker_is_given_up(start):
    with Client(start().endpoint) as client:
        worker_pid(client)
        with pytest.raises(WorkerLost, match="exited with code 3"):
            client.wait(client.submit("test.crash", timeout=20))
        assert health(client)["workers"][0]["restarts"] <= 2
        assert client.call("test.echo", timeout=20).kind == "result"


@pytest.mark.parametrize("blow", [signal.SIGKILL, signal.SIGSEGV])
def test_a_worker_killed_from_outside_is_replaced(start, blow):
    with Client(start().endpoint) as client:
        pid = worker_pid(client)
        request = client.submit("test.sleep", {"seconds": 0.5}, timeout=20)
        until(lambda: running(client) == 1)
        os.kill(pid, blow)
        assert client.wait(request).params["pid"] != pid


def test_a_worker_that_hangs_is_killed_and_replaced(start):
    with Client(start("--hang-seconds", "1.5").endpoint) as client:
        pid = worker_pid(client)
        request = client.submit("test.sleep", {"seconds": 600}, timeout=60)
        with pytest.raises(WorkerLost, match="no sign of life"):
            client.wait(request)
        until(lambda: not process_alive(pid))
        assert client.call("test.echo", timeout=20).kind == "result"


def test_an_idle_worker_that_stops_is_replaced(start):
    with Client(start("--hang-seconds", "1.5").endpoint) as client:
        pid = worker_pid(client)
        os.kill(pid, signal.SIGSTOP)
        until(lambda: health(client)["workers"][0]["pid"] not in (0, pid))
        until(lambda: not process_alive(pid))
        assert client.call("test.echo", timeout=20).kind == "result"


def test_an_idle_worker_and_one_in_a_long_job_count_as_alive(start):
    with Client(start("--hang-seconds", "1.5").endpoint) as client:
        pid = worker_pid(client)
        time.sleep(2.0)
        job = client.submit("test.count", {"steps": 25, "seconds": 0.1}, timeout=20)
        assert client.wait(job).params["steps"] == 25
        assert worker_pid(client) == pid


def test_a_long_job_is_not_started_again_behind_its_clients_back(start, tmp_path):
    with Client(start().endpoint) as client:
        pid = worker_pid(client)
        file = tmp_path / "steps"
        job = client.submit("test.count", {"steps": 500, "file": str(file)}, timeout=60)
        until(lambda: running(client) == 1)
        os.kill(pid, signal.SIGKILL)
        with pytest.raises(WorkerLost):
            client.wait(job)
        worker_pid(client)
        assert running(client) == 0


def test_workers_that_cannot_start_are_reported(start, monkeypatch):
    with Client(start("--handlers", "tests.server.handlers_that_fail").endpoint) as client:
        with pytest.raises(WorkerLost, match="does not start"):
            client.wait(client.submit("test.echo", timeout=20))
        assert client.hello()["ready"] is False


def test_a_device_that_is_not_there_ends_the_server_with_the_reason(start, tmp_path):
    server = start("--handlers", "tests.server.handlers_without_device")
    until(lambda: not server.alive())
    assert "no such device" in (tmp_path / "server.log").read_text()


# --- cancelling ------------------------------------------------------------------------------


def test_cancelled_work_in_the_queue_is_never_done(start):
    with Client(start().endpoint) as client:
        first = client.call("test.echo", timeout=20).params["calls"]
        blocker = client.submit("test.sleep", {"seconds": 0.4}, timeout=5)
        until(lambda: running(client) == 1)
        dropped = client.submit("test.echo", timeout=5)
        answer = client.call("job.cancel", {"id": dropped}, timeout=5)
        assert answer.params["found"]
        assert ended_with(client, dropped) is Cancelled
        client.wait(blocker)
        assert client.call("test.echo", timeout=5).params["calls"] == first + 1


def test_cancelling_a_running_render_frees_its_client_at_once(client):
    request = client.submit("test.sleep", {"seconds": 1.0}, timeout=5)
    until(lambda: running(client) == 1)
    before = time.monotonic()
    client.call("job.cancel", {"id": request}, timeout=5)
    assert ended_with(client, request) is Cancelled
    assert time.monotonic() - before < 0.5
    assert running(client) == 1, "a render is let finish"
    assert client.call("test.echo", timeout=5).kind == "result"
    assert not client.pump()


def test_should_stop_ends_a_wait_within_a_fifth_of_a_second(client):
    asked = time.monotonic() + 0.3
    before = time.monotonic()
    with pytest.raises(Cancelled):
        client.call(
            "test.sleep", {"seconds": 1.0}, timeout=5, should_stop=lambda: time.monotonic() > asked
        )
    assert time.monotonic() - before < 0.5
    until(lambda: health(client)["open"] == 0)


def test_a_long_job_stops_between_two_steps(client, tmp_path):
    file = tmp_path / "steps"
    params = {"steps": 1000, "seconds": 0.02, "file": str(file)}
    job = client.submit("test.count", params, timeout=60)
    until(lambda: running(client) == 1)
    time.sleep(0.2)
    assert client.call("job.cancel", {"id": job}, timeout=5).params["found"]
    assert ended_with(client, job) is Cancelled
    until(lambda: running(client) == 0)
    assert 0 < int(file.read_text().split()[-1]) < 1000


def test_cancelling_what_is_not_open_finds_nothing(server, client):
    assert not client.call("job.cancel", {"id": "r99999"}, timeout=5).params["found"]
    with Client(server.endpoint) as other:
        request = client.submit("test.sleep", {"seconds": 0.2}, timeout=5)
        assert not other.call("job.cancel", {"id": request}, timeout=5).params["found"]
        assert ended_with(client, request) is None


# --- deadlines -------------------------------------------------------------------------------


def test_expired_work_never_reaches_a_worker(start):
    with Client(start().endpoint) as client:
        first = client.call("test.echo", timeout=20).params["calls"]
        client.submit("test.sleep", {"seconds": 0.8}, timeout=5)
        until(lambda: running(client) == 1)
        before = time.monotonic()
        with pytest.raises(DeadlineExceeded):
            client.wait(client.submit("test.echo", timeout=0.2))
        assert time.monotonic() - before < 0.6, "told before the worker was free"
        assert client.call("test.echo", timeout=5).params["calls"] == first + 1


def test_a_slow_render_ends_at_its_deadline(client):
    before = time.monotonic()
    with pytest.raises(DeadlineExceeded):
        client.wait(client.submit("test.sleep", {"seconds": 1.5}, timeout=0.3))
    assert 0.25 < time.monotonic() - before < 0.9
    assert client.call("test.echo", timeout=5).kind == "result"


def test_a_long_job_is_stopped_at_its_deadline(client, tmp_path):
    file = tmp_path / "steps"
    params = {"steps": 1000, "seconds": 0.02, "file": str(file)}
    with pytest.raises(DeadlineExceeded):
        client.wait(client.submit("test.count", params, timeout=0.5))
    until(file.exists)


def test_patience_outlasts_attempts_that_ran_out_of_time(client):
    client.submit("test.sleep", {"seconds": 1.0}, timeout=5)
    assert client.call("test.echo", timeout=0.3, patience=10).kind == "result"


# --- clients that vanish ---------------------------------------------------------------------

VANISHING = """
import sys, time
from blender_addon.client import Client
client = Client(sys.argv[1])

told = []

def begun(progress):
    # Only a job that has begun can be told to stop; the broker's own signs of life do not count.
    if "step" not in progress.params:
        return
    told.append(progress)
    if len(told) == 1:
        for _ in range(3):
            client.submit("test.sleep", {"seconds": 0.5}, timeout=60)
    elif len(told) == 2:
        print("submitted", flush=True)

client.call(
    "test.count", {"steps": 1000, "file": sys.argv[2]}, timeout=60, on_progress=begun
)
"""


def test_the_work_of_a_client_killed_is_cancelled(start, tmp_path):
    server = start()
    file = tmp_path / "steps"
    with Client(server.endpoint) as client:
        worker_pid(client)
        vanishing = subprocess.Popen(
            [sys.executable, "-c", VANISHING, server.endpoint, str(file)],
            cwd=ROOT,
            stdout=subprocess.PIPE,
        )
        assert vanishing.stdout.readline() == b"submitted\n"
        vanishing.kill()
        vanishing.wait()
        vanishing.stdout.close()
        until(lambda: health(client)["open"] == 0)
        assert sum(health(client)["queue"].values()) == 0
        until(file.exists)  # the long job was told to stop
        assert client.call("test.echo", timeout=5).kind == "result"


def test_closing_a_client_cancels_its_work(server, client):
    other = Client(server.endpoint)
    ids = [other.submit("test.sleep", {"seconds": 0.4}, timeout=60) for _ in range(5)]
    until(lambda: health(client)["open"] == len(ids))
    other.close()
    until(lambda: health(client)["open"] == 0, 5)


# --- the server's own end --------------------------------------------------------------------


def test_a_server_that_stops_says_so_and_leaves_no_process(start):
    server = start()
    with Client(server.endpoint) as client:
        worker = worker_pid(client)
        request = client.submit("test.sleep", {"seconds": 60}, timeout=90)
        until(lambda: running(client) == 1)
        before = time.monotonic()
        pid = server.pid
        os.kill(pid, signal.SIGTERM)
        assert ended_with(client, request) in (ServerStopping, ServerUnreachable)
        until(lambda: not server.alive() and not process_alive(worker))
        assert time.monotonic() - before < 4


@pytest.mark.parametrize("busy", [False, True])
def test_no_worker_outlives_a_server_killed(start, busy):
    server = start("--workers", "2")
    with Client(server.endpoint) as client:
        until(lambda: all(w["state"] == "ready" for w in health(client)["workers"]))
        workers = [worker["pid"] for worker in health(client)["workers"]]
        if busy:
            client.submit("test.sleep", {"seconds": 60}, timeout=90)
            until(lambda: running(client) == 1)
        os.kill(server.pid, signal.SIGKILL)
        until(lambda: not any(process_alive(pid) for pid in workers), 5)


PARENT = """
import sys, time
from pathlib import Path
from blender_addon.local_server import LocalServer
command = [sys.executable, "-m", "scripts.cli", "serve"]
options = ("--handlers", "tests.server.handlers_for_tests")
server = LocalServer.start(command, log=Path(sys.argv[1]), library=Path(sys.argv[2]), options=options)
print(server.endpoint, server.pid, flush=True)
time.sleep(60)
"""


def test_a_server_ends_when_its_parent_is_killed(library, tmp_path):
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, str(tmp_path / "log"), str(library)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
    )
    endpoint, pid = parent.stdout.readline().decode().split()
    with Client(endpoint) as client:
        worker = worker_pid(client)
    parent.kill()
    parent.wait()
    parent.stdout.close()
    until(lambda: not process_alive(int(pid)) and not process_alive(worker), 10)


def test_the_address_of_another_server_is_refused(start, tmp_path):
    endpoint = start().endpoint
    done = subprocess.run(
        [sys.executable, "-m", "scripts.cli", "serve", "--endpoint", endpoint],
        cwd=ROOT, capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert endpoint in done.stderr
