"""What the server adds to a render: its round trip with a no-op model against a bare echo.

The echo is the least that two hops can cost: the same bytes through `zmq.proxy` (C code) to a
process that answers with bytes it holds already, over the same transports as the server's. The
server does everything that it does for a real frame: validation, digest, cache key, queue,
dispatch, parsing on the worker; encoding and decoding on the client's side count too. Only the
cache keeps nothing, because what a no-op model makes comes too fast to be worth its memory.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import zmq

from blender_addon.contract import operations
from blender_addon.contract.camera import look_at
from blender_addon.contract.errors import InternalError
from blender_addon.contract.joints import JOINT_COUNT
from blender_addon.contract.operations import AvatarRender, PosedBody, parse_avatar_render
from blender_addon.contract.wire import (
    Frame,
    Reply,
    Request,
    decode_reply,
    encode_reply,
    encode_request,
)
from server.figures import Figure
from server.operation import Answer, Context, Operation
from server.serve import worker_endpoint

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence

BOUND = 3.0
AVATAR = "noop"
ROUNDS = 60
PER_ROUND = 8

_images: dict[tuple[int, int], dict[str, np.ndarray]] = {}


def _images_of(height: int, width: int) -> dict[str, np.ndarray]:
    """Return the passes of a frame, made once."""
    if (height, width) not in _images:
        rng = np.random.default_rng(0)
        _images[height, width] = {
            "rgba": rng.integers(0, 256, (height, width, 4), np.uint8),
            "depth": rng.random((height, width), np.float32),
            "masks": rng.integers(0, 256, (height, width, 3), np.uint8),
        }
    return _images[height, width]


def render_nothing(context: Context, batch: Sequence[Request]) -> list[Answer]:
    """Answer `avatar.render` with images that are there already."""
    answers: list[Answer] = []
    for request in batch:
        asked = parse_avatar_render(request)
        images = _images_of(asked.camera.height, asked.camera.width)
        digest = context.library.digest(asked.avatar)
        arrays = {name: images[name] for name in asked.passes}
        answers.append(Answer(params={"digest": digest}, arrays=arrays, digest=digest))
    return answers


OPERATIONS = (
    Operation(name=operations.AVATAR_RENDER, kind="predict", call=render_nothing, model="avatar"),
)
"""The handler module of the benchmark's server is this one."""


@dataclass(frozen=True)
class RoundTrips:
    """Milliseconds of one round trip: the least of the rounds' medians."""

    server: float
    echo: float


def bench_transport() -> list[Figure]:
    """Measure part (b) of `dressform bench avatar`."""
    large, small = measure(512), measure(32)
    return [
        Figure(
            name="server_over_echo",
            value=large.server / large.echo,
            bound=BOUND,
            unit="×",
            meaning=f"512² frame: {large.server:.2f} ms through the server with a no-op model, "
            f"{large.echo:.2f} ms through a bare two-hop echo",
        ),
        Figure(
            name="server_added_ms",
            value=small.server - small.echo,
            bound=None,
            unit="ms",
            meaning=f"32² frame, almost no bytes: {small.server:.2f} ms over {small.echo:.2f} ms",
        ),
    ]


def measure(size: int, rounds: int = ROUNDS, per_round: int = PER_ROUND) -> RoundTrips:
    """Time server and echo in turns, so that a busy machine harms both alike.

    Args:
        size: width and height of the frame in pixels.
        rounds: how many turns each gets.
        per_round: round trips in a turn.
    """
    # Each another frame, so that none is cached; made beforehand, because that is Blender's part.
    frames = iter([_request(number, size) for number in range((rounds + 1) * per_round)])
    with tempfile.TemporaryDirectory() as folder:
        library = Path(folder)
        _write_package(library / AVATAR)
        with _server(library) as server_socket, _echo(size) as echo_socket:

            def through_server() -> None:
                parts = _exchange(server_socket, encode_request(next(frames)))
                reply = decode_reply([part.buffer for part in parts])
                while reply.kind == "progress":  # the server's sign of life, once a second
                    parts = server_socket.recv_multipart(copy=False)
                    reply = decode_reply([part.buffer for part in parts])
                if reply.raise_if_error().params["cached"]:
                    raise InternalError("a frame came from the cache")

            message = encode_request(_request(0, size))
            for warm_up in (through_server, lambda: _exchange(echo_socket, message)):
                _median_ms(warm_up, per_round)
            server, bare = [], []
            for _ in range(rounds):
                server.append(_median_ms(through_server, per_round))
                bare.append(_median_ms(lambda: _exchange(echo_socket, message), per_round))
    return RoundTrips(min(server), min(bare))


def _median_ms(action: Callable[[], object], count: int) -> float:
    times: list[float] = []
    for _ in range(count):
        before = time.perf_counter()
        action()
        times.append(time.perf_counter() - before)
    return statistics.median(times) * 1e3


def _request(number: int, size: int) -> Request:
    body = PosedBody(
        pose=np.tile(np.eye(3, dtype=np.float32), (JOINT_COUNT, 1, 1)),
        transl=np.array([0.0, 0.0, number * 1e-5], np.float32),
        betas=np.zeros(10, np.float32),
        expression=np.zeros(10, np.float32),
    )
    eye, up = np.array([0.0, 1.0, 3.0]), np.array([0.0, 1.0, 0.0])
    camera = look_at(eye, np.array([0.0, 1.0, 0.0]), up, focal=float(size), width=size, height=size)
    params, arrays = AvatarRender(avatar=AVATAR, body=body, camera=camera).to_wire()
    return Request(
        id=f"r{number}",
        operation=operations.AVATAR_RENDER,
        timeout=30.0,
        params=params,
        arrays=arrays,
    )


def _reply_frames(size: int) -> list[Frame]:
    params = {"digest": "0" * 16, "seconds": 0.001, "cached": False}
    return encode_reply(Reply(id="r1", kind="result", params=params, arrays=_images_of(size, size)))


def _write_package(folder: Path) -> None:
    """Write a model.json: all that the broker reads of a package."""
    from dataclasses import asdict

    from models.package import MANIFEST_FILE, Manifest

    folder.mkdir(parents=True)
    manifest = Manifest(kind="avatar", id=folder.name, name="No-op", licence="CC0-1.0")
    (folder / MANIFEST_FILE).write_text(json.dumps(asdict(manifest)), encoding="utf-8")


def _exchange(socket: zmq.Socket[bytes], message: Sequence[Frame]) -> list[zmq.Frame]:
    socket.send_multipart(message, copy=True)
    return socket.recv_multipart(copy=False)


@contextmanager
def _server(library: Path) -> Generator[zmq.Socket[bytes]]:
    """Start a server of this module's operations; yield a socket connected to it."""
    options = ["--log-level", "WARNING", "--library", str(library)]
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "scripts.cli", "serve"),
            *("--handlers", "server.bench_transport", "--parent-pid", str(os.getpid())),
            *options,
        ],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        endpoint = str(json.loads(_line(process))["endpoint"])
        with _connected(endpoint) as socket:
            yield socket
    finally:
        process.terminate()
        process.communicate()


@contextmanager
def _connected(endpoint: str) -> Generator[zmq.Socket[bytes]]:
    with zmq.Context() as context, context.socket(zmq.DEALER) as socket:
        socket.setsockopt(zmq.LINGER, 0)
        socket.connect(endpoint)
        yield socket


@contextmanager
def _echo(size: int) -> Generator[zmq.Socket[bytes]]:
    """Start a proxy and an echo process; yield a socket connected to it."""
    behind = worker_endpoint()
    proxy = _start("proxy", behind)
    echo: subprocess.Popen[str] | None = None
    try:
        front, real_behind = _line(proxy).split()
        echo = _start("echo", real_behind, str(size))
        with _connected(front) as socket:
            yield socket
    finally:
        for process in (proxy, echo):
            if process is not None:
                process.kill()
                process.communicate()


def _start(role: str, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "server.bench_transport", role, *arguments],
        stdout=subprocess.PIPE,
        text=True,
    )


def _line(process: subprocess.Popen[str]) -> str:
    return process.stdout.readline() if process.stdout is not None else ""


def _run_proxy(behind: str) -> None:
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    front, back = context.socket(zmq.ROUTER), context.socket(zmq.DEALER)
    front.bind("tcp://127.0.0.1:*")
    back.bind(behind)
    ends = [socket.getsockopt_string(zmq.LAST_ENDPOINT) for socket in (front, back)]
    print(*ends, flush=True)  # noqa: T201 - told to the process that measures
    zmq.proxy(front, back)


def _run_echo(behind: str, size: int) -> None:
    reply = _reply_frames(size)
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    socket = context.socket(zmq.DEALER)
    socket.connect(behind)
    while True:
        sender = socket.recv_multipart(copy=False)[0]
        socket.send_multipart([sender, *reply], copy=False)


if __name__ == "__main__":
    if sys.argv[1] == "proxy":
        _run_proxy(sys.argv[2])
    else:
        _run_echo(sys.argv[2], int(sys.argv[3]))
