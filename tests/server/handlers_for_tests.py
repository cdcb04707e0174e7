"""Operations of a server under test: no model, but every way in which one may behave."""

from __future__ import annotations

import hashlib
import itertools
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from blender_addon.contract.errors import BadParameter
from blender_addon.contract.operations import parse_avatar_render
from server.handlers import library
from server.operation import Answer, Context, Operation, Progress

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    from blender_addon.contract.wire import Request

_calls = itertools.count(1)


def render(context: Context, batch: Sequence[Request]) -> list[Answer]:
    """A picture that depends on the request alone, after params["seconds"]."""
    answers: list[Answer] = []
    for request in batch:
        asked = parse_avatar_render(request)
        time.sleep(float(request.params.get("seconds", 0.01)))  # long enough to be cached
        height, width = asked.camera.height, asked.camera.width
        seed = hashlib.sha256(asked.body.pose.tobytes() + asked.body.transl.tobytes()).digest()
        rng = np.random.default_rng(int.from_bytes(seed[:8], "big"))
        rgba = rng.integers(0, 256, (height, width, 4), np.uint8)
        digest = context.library.digest(asked.avatar)
        answers.append(Answer(params={"digest": digest}, arrays={"rgba": rgba}, digest=digest))
    return answers


def echo(_context: Context, batch: Sequence[Request]) -> list[Answer]:
    """The request's arrays and its params["say"]; how often this process was called."""
    number = next(_calls)
    return [
        Answer(
            params={
                "say": r.params.get("say"),
                "calls": number,
                "pid": os.getpid(),
                "batch": len(batch),
            },
            arrays=r.arrays,
        )
        for r in batch
    ]


def sleep(_context: Context, batch: Sequence[Request]) -> list[Answer]:
    time.sleep(float(batch[0].params.get("seconds", 0.1)))
    return [Answer(params={"pid": os.getpid()}) for _ in batch]


def crash(_context: Context, batch: Sequence[Request]) -> list[Answer]:
    """Die, unless the file params["unless"] exists; it is made first."""
    marker = str(batch[0].params.get("unless", ""))
    if not marker or not Path(marker).exists():
        if marker:
            Path(marker).touch()
        os._exit(3)
    return [Answer(params={"survived": True})]


def fail(_context: Context, batch: Sequence[Request]) -> list[Answer]:
    if batch[0].params.get("typed"):
        raise BadParameter("say is not valid", field="say", numbers=[1, 2])
    raise ZeroDivisionError("a bug")


def fail_some(_context: Context, batch: Sequence[Request]) -> list[Answer]:
    """Fails when one of a batch is bad, before the good ones are answered."""
    if any(r.params.get("bad") for r in batch):
        raise BadParameter("this one is bad")
    return [Answer(params={"batch": len(batch)}) for _ in batch]


def untravelled(_context: Context, batch: Sequence[Request]) -> list[Answer]:
    return [Answer(params={"x": object()}) for _ in batch]


def count(context: Context, request: Request) -> Generator[Progress, None, Answer]:
    """Steps of params["seconds"] each; writes a line to params["file"] at each, and at its end."""
    path = str(request.params.get("file", os.devnull))
    done = 0
    try:
        for done in range(1, int(request.params.get("steps", 5)) + 1):
            time.sleep(float(request.params.get("seconds", 0.02)))
            yield Progress(params={"step": done})
    finally:
        with Path(path).open("a") as file:
            file.write(f"ended after {done}\n")
    return Answer(params={"steps": done})


def turning(context: Context, request: Request) -> Generator[Progress, None, Answer]:
    """One step of params["seconds"] of work that gives turns; writes to params["file"] at its end."""
    yield Progress(params={"step": 0})
    worked = 0.0
    try:
        while worked < float(request.params.get("seconds", 60.0)):
            started = time.monotonic()
            time.sleep(0.005)
            worked += time.monotonic() - started
            context.turn()
    finally:
        Path(str(request.params.get("file", os.devnull))).write_text(f"{worked:.3f}")
    return Answer(params={"worked": worked})


def fail_midway(_context: Context, _request: Request) -> Generator[Progress, None, Answer]:
    yield Progress(params={"step": 1})
    raise ZeroDivisionError("a bug in step 2")


OPERATIONS = (
    Operation(name="avatar.render", kind="predict", call=render, model="avatar"),
    Operation(name="test.echo", kind="predict", call=echo),
    Operation(name="test.sleep", kind="predict", call=sleep),
    Operation(name="test.batch", kind="predict", call=fail_some, max_batch=4),
    Operation(name="test.crash", kind="predict", call=crash),
    Operation(name="test.fail", kind="predict", call=fail),
    Operation(name="test.untravelled", kind="predict", call=untravelled),
    Operation(name="test.count", kind="steps", call=count),
    Operation(name="test.turning", kind="steps", call=turning),
    Operation(name="test.fail_midway", kind="steps", call=fail_midway),
    *library.OPERATIONS,
)
