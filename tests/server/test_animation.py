"""An animation whose worker, then whose server is killed: every frame arrives, and is the same."""

from __future__ import annotations

import os
import signal

import numpy as np
import pytest

from blender_addon.client import Client
from blender_addon.contract.operations import AVATAR_RENDER
from tests.server.running import frame, worker_pid

FRAMES = 48


def animation(server, disturb=lambda client, number: None) -> list[np.ndarray]:
    """Render frames as the add-on's engine does: one after the other, each with its patience."""
    frames = []
    with Client(server.endpoint) as client:
        for number in range(FRAMES):
            disturb(client, number)
            params, arrays = frame(number, size=64).to_wire()
            reply = client.call(
                AVATAR_RENDER, params | {"seconds": 0.02}, arrays,
                timeout=10, patience=60, revive=server.ensure_running,
            )  # fmt: skip
            frames.append(np.array(reply.arrays["rgba"]))
    return frames


def test_worker_then_server_killed_mid_animation_loses_no_frame(start):
    undisturbed = animation(start())
    server = start("--cache-mb", "0")
    killed: list[int] = []

    def disturb(client: Client, number: int) -> None:
        if number == 12:
            killed.append(worker_pid(client))
        elif number == 30:
            killed.append(server.pid)
        else:
            return
        # While the frame is being rendered: behind a request that keeps the worker busy.
        client.submit("test.sleep", {"seconds": 0.3}, timeout=5)
        os.kill(killed[-1], signal.SIGKILL)

    frames = animation(server, disturb)
    assert len(killed) == 2
    assert server.pid != killed[1]
    assert len(frames) == len(undisturbed) == FRAMES
    assert all(np.array_equal(a, b) for a, b in zip(frames, undisturbed, strict=True))
    assert not np.array_equal(frames[0], frames[1])


@pytest.mark.parametrize("victim", ["worker", "server"])
def test_killed_while_a_frame_is_in_hand(start, victim):
    server = start()
    with Client(server.endpoint) as client:
        pid = worker_pid(client)
        expected = client.call(AVATAR_RENDER, *frame(7).to_wire(), timeout=10).arrays["rgba"].copy()
        params, arrays = frame(7).to_wire()
        blows = [pid if victim == "worker" else server.pid]

        def should_stop() -> bool:
            if blows and client.pending:
                os.kill(blows.pop(), signal.SIGKILL)
            return False

        reply = client.call(
            AVATAR_RENDER, params | {"seconds": 0.5}, arrays, timeout=10, patience=60,
            should_stop=should_stop, revive=server.ensure_running,
        )  # fmt: skip
        assert not blows
        assert np.array_equal(reply.arrays["rgba"], expected)
