"""Damaged messages by the thousand: each gets a typed answer, and the server is none the worse."""

from __future__ import annotations

import random
import time
from collections import Counter

import msgpack
import numpy as np
import pytest
import zmq

from blender_addon.client import Client
from blender_addon.contract import wire
from blender_addon.contract.errors import DressformError, InternalError, error_types
from blender_addon.contract.operations import AVATAR_RENDER
from tests.server.running import frame, health, worker_pid

WINDOW = 40
"""Unanswered messages at a time: fewer than the queue holds."""


def valid_messages() -> list[list[bytes]]:
    render = frame(1).to_wire()
    requests = [
        (AVATAR_RENDER, *render),
        ("hello", {"wire": 1, "client": "0"}, {}),
        ("health", {}, {}),
        ("library.list", {}, {}),
        ("library.preview", {"id": "anna"}, {}),
        ("job.cancel", {"id": "x"}, {}),
        ("test.echo", {"say": ["a", {"b": 1}]}, {"a": np.arange(12.0).reshape(3, 4)}),
    ]
    return [
        [bytes(part) for part in wire.encode_request(wire.Request(
            id="seed", operation=operation, timeout=20.0, params=params, arrays=arrays))]
        for operation, params, arrays in requests
    ]  # fmt: skip


class Mutator:
    """Random and mutated messages; the same seed gives the same ones."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._seeds = valid_messages()

    def message(self) -> list[bytes]:
        kinds = [
            self._random_frames,
            self._bytes_changed,
            self._frames_changed,
            self._fields_changed,
        ]
        return self._random.choice(kinds)()

    def _random_frames(self) -> list[bytes]:
        return [self._random.randbytes(self._random.choice((0, 1, 7, 60, 700)))
                for _ in range(self._random.randint(1, 5))]  # fmt: skip

    def _bytes_changed(self) -> list[bytes]:
        frames = [bytearray(part) for part in self._random.choice(self._seeds)]
        for _ in range(self._random.randint(1, 8)):
            part = self._random.choice(frames)
            if not part:
                continue
            at = self._random.randrange(len(part))
            action = self._random.randrange(4)
            if action == 0:
                part[at] = self._random.randrange(256)
            elif action == 1:
                part[at] ^= 1 << self._random.randrange(8)
            elif action == 2:
                del part[at:]
            else:
                part[at:at] = self._random.randbytes(3)
        return [bytes(part) for part in frames]

    def _frames_changed(self) -> list[bytes]:
        frames = list(self._random.choice(self._seeds))
        for _ in range(self._random.randint(1, 3)):
            action = self._random.randrange(4)
            at = self._random.randrange(len(frames)) if frames else 0
            if action == 0 and len(frames) > 1:
                del frames[at]
            elif action == 1:
                frames.insert(at, self._random.randbytes(self._random.randrange(50)))
            elif action == 2 and frames:
                frames += [frames[at]] * self._random.choice((1, 80))
            else:
                self._random.shuffle(frames)
        return frames or [b""]

    def _value(self, depth: int = 0) -> object:
        choices = [None, True, 0, -1, 2**63, 1e308, float("nan"), float("inf"), "", "x" * 300, b"\xff",
                   "../../etc", "\x00", [], {}, -(2**63), 1.5, "float32", "object"]  # fmt: skip
        if depth < 3 and self._random.random() < 0.2:
            return [self._value(depth + 1) for _ in range(self._random.randrange(4))]
        if depth < 3 and self._random.random() < 0.2:
            return {str(n): self._value(depth + 1) for n in range(self._random.randrange(3))}
        return self._random.choice(choices)

    def _fields_changed(self) -> list[bytes]:
        frames = list(self._random.choice(self._seeds))
        header = msgpack.unpackb(frames[0])
        for _ in range(self._random.randint(1, 3)):
            places = (
                [header, header["params"]] if isinstance(header.get("params"), dict) else [header]
            )
            if isinstance(header.get("arrays"), list):
                places += [entry for entry in header["arrays"] if isinstance(entry, dict)]
            place = self._random.choice(places)
            if place and self._random.random() < 0.8:
                name = self._random.choice(list(place))
                place[name] = self._value()
                if self._random.random() < 0.2:
                    del place[name]
            else:
                place["new"] = self._value()
        frames[0] = msgpack.packb(header)
        return frames


def bombard(endpoint: str, count: int, seed: int) -> Counter[str]:
    """Send `count` messages; return how often each kind of answer came."""
    mutator = Mutator(seed)
    answers: Counter[str] = Counter()
    codes = error_types()
    with zmq.Context() as context, context.socket(zmq.DEALER) as socket:
        socket.linger = 0
        socket.connect(endpoint)
        sent = answered = 0
        quiet_since = time.monotonic()
        while answered < count:
            while sent < count and sent - answered < WINDOW:
                message = mutator.message()
                # Of its own id where it can be read, so that none is taken for another.
                socket.send_multipart(with_id(message, f"m{sent}"))
                sent += 1
            if not socket.poll(500):
                assert time.monotonic() - quiet_since < 30, (
                    f"no answer to {sent - answered} messages"
                )
                continue
            quiet_since = time.monotonic()
            reply = wire.decode_reply(socket.recv_multipart())
            if reply.kind == "progress":
                continue
            answered += 1
            if reply.kind == "error":
                code = reply.params["code"]
                assert code in codes
                assert code != InternalError.code, reply.params
                assert reply.params["cause"]
                assert reply.params["next_step"]
                answers[code] += 1
            else:
                answers["result"] += 1
    return answers


def with_id(frames: list[bytes], name: str) -> list[bytes]:
    try:
        header = msgpack.unpackb(frames[0])
    except (ValueError, TypeError, RecursionError):
        return frames
    if not isinstance(header, dict) or header.get("id") != "seed":
        return frames
    return [msgpack.packb(header | {"id": name}), *frames[1:]]


def test_random_and_mutated_messages_get_typed_answers(server, client):
    count = 20_000
    pid = worker_pid(client)
    answers = bombard(server.endpoint, count, seed=1)
    assert sum(answers.values()) == count
    assert answers["request.message"] > count / 10
    assert answers["result"] > count / 100
    assert len(answers) >= 6, answers
    assert worker_pid(client) == pid, "a message has killed the worker"
    assert health(client)["open"] == 0
    reply = client.call(AVATAR_RENDER, *frame(5).to_wire(), timeout=10)
    assert reply.arrays["rgba"].shape == (32, 32, 4)


def test_what_is_not_zeromq_is_ignored(server, client):
    import socket

    host, port = server.endpoint.removeprefix("tcp://").split(":")
    rng = random.Random(0)
    for size in (1, 10, 64, 5000):
        with socket.create_connection((host, int(port)), 5) as plain:
            plain.sendall(rng.randbytes(size))
    with socket.create_connection((host, int(port)), 5) as plain:
        plain.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert client.call("test.echo", timeout=5).kind == "result"


def test_a_damaged_reply_does_not_harm_the_client():
    context = zmq.Context()
    fake = context.socket(zmq.ROUTER)
    port = fake.bind_to_random_port("tcp://127.0.0.1")
    try:
        with Client(f"tcp://127.0.0.1:{port}") as client:
            request = client.submit("test.echo", timeout=5)
            sender = fake.recv_multipart()[0]
            for frames in [*Mutator(1)._seeds, [b""], [b"x", b"y"]]:
                fake.send_multipart([sender, *frames])
            error = {"code": "from.the.future", "cause": "c", "next_step": "n", "details": {}}
            fake.send_multipart(
                [
                    sender,
                    msgpack.packb(
                        {"v": 1, "id": request, "kind": "error", "params": error, "arrays": []}
                    ),
                ]
            )
            with pytest.raises(DressformError, match="c → n"):
                client.wait(request)
    finally:
        fake.close(0)
        context.term()
