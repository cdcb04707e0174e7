"""Long steps that give turns: what is served within them, how they end, who has how much time."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from blender_addon.contract.errors import BadParameter
from tests.server.running import running, until

if TYPE_CHECKING:
    from pathlib import Path

    from blender_addon.client import Client


def test_a_step_that_gives_turns_lets_others_through_and_ends_at_once(
    client: Client, tmp_path: Path
) -> None:
    file = tmp_path / "worked"
    job = client.submit("test.turning", {"file": str(file)}, timeout=120)
    until(lambda: running(client) == 1)
    calls = [client.call("test.echo", timeout=10).params["calls"] for _ in range(5)]
    assert calls == sorted(set(calls))
    with pytest.raises(BadParameter):
        client.call("test.fail", {"typed": True}, timeout=10)
    assert not file.exists()
    client.cancel(job)
    until(lambda: running(client) == 0, 3.0)
    assert 0.0 < float(file.read_text()) < 60.0
    assert client.call("test.echo", timeout=10).kind == "result", "the worker goes on"


def test_a_long_job_keeps_its_share_while_somebody_always_renders(client: Client) -> None:
    started = time.monotonic()
    job = client.submit("test.turning", {"seconds": 0.5}, timeout=120)
    ended: list[float] = []
    took: list[float] = []
    while not ended:
        sent = time.monotonic()
        render = client.submit("test.sleep", {"seconds": 0.1}, timeout=60)
        while True:
            replies = [reply for reply in client.pump() if reply.kind == "result"]
            ended += [time.monotonic() - started for reply in replies if reply.id == job]
            if any(reply.id == render for reply in replies):
                break
            time.sleep(0.002)
        took.append(time.monotonic() - sent)
    # Every 5 ms of its work a render of 100 ms would make ten seconds of it.
    assert ended[0] < 5.0
    assert sorted(took)[len(took) // 2] < 1.0
