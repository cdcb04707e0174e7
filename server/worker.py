"""A worker process: owns one device, does what the broker sends, may die without harm.

Started by `server.pool` as `python -m server.worker` with its settings as one JSON line on
standard input, which stays open: when it ends, the broker is gone and the worker exits at once,
whatever it is doing. One thread does all work: a batch at a time for renders, one step at a time
for long jobs; between two steps, and where a step gives its turn, it serves whatever else has come.
"""

from __future__ import annotations

import inspect
import json
import logging
import os
import signal
import sys
import threading
import time
import traceback
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, cast

import msgpack
import zmq

from blender_addon.contract.errors import Cancelled, DressformError, InternalError, UnknownOperation
from blender_addon.contract.wire import (
    Frame,
    Reply,
    Request,
    decode_request,
    encode_reply,
    error_reply,
    request_id_of,
)
from server import envelope
from server.library import Library
from server.operation import (
    Answer,
    Context,
    HandlerTable,
    Operation,
    Progress,
    load_table,
    result_reply,
)
from server.storage import Storage

if TYPE_CHECKING:
    from collections.abc import Generator

log = logging.getLogger("server.worker")

_PROGRESS_SECONDS = 0.1

_SHARE, _LONGEST_SHARE = 0.5, 0.3
"""How long a long job goes on after renders before the next of them: times what they took, and
seconds at most. So neither starves the other."""


@dataclass(frozen=True, kw_only=True)
class WorkerSettings:
    """What the broker tells a worker on its standard input.

    Attributes:
        endpoint: where the broker listens for workers.
        identity: this worker's secret routing id, hexadecimal.
        device: "auto", "cpu" or "cuda:N".
        library: folder of model packages.
        user_library: another one, which the server may write.
        captures: folder of the captures that clients sent.
        handlers: module that holds the operations.
        log_level: of Python's logging.
    """

    endpoint: str
    identity: str
    device: str
    library: str
    user_library: str
    captures: str
    handlers: str
    log_level: int = logging.INFO


@dataclass(frozen=True)
class _Work:
    number: int
    request: Request
    operation: Operation


@dataclass
class _LongJob:
    work: _Work
    steps: Generator[Progress, None, Answer]
    reported: float = 0.0
    stage: object = None
    renders_from: float = 0.0
    cancelled: bool = False


class Worker:
    """The loop of a worker process."""

    def __init__(
        self, settings: WorkerSettings, table: HandlerTable, socket: zmq.Socket[bytes]
    ) -> None:
        self._table = table
        self._socket = socket
        self._long: _LongJob | None = None
        self._batch: list[_Work] = []
        self._serving = False
        self._said_alive = time.monotonic()
        self._context = Context(
            library=Library(Path(settings.library), Path(settings.user_library)),
            device=settings.device,
            storage=Storage.beside(Path(settings.user_library), Path(settings.captures)),
            heartbeat=self._say_alive,
            turn=self._turn,
        )

    def run(self) -> None:
        """Prepare, then serve until the process ends."""
        try:
            if self._table.prepare is not None:
                self._table.prepare(self._context)
        except DressformError as error:
            log.exception("cannot start")
            self._socket.send_multipart(
                [envelope.FAILED, cast("bytes", msgpack.packb(error.to_wire()))]
            )
            return
        self._socket.send_multipart([envelope.READY, self._context.device.encode()])
        log.info("ready device=%s pid=%d", self._context.device, os.getpid())
        while True:
            self._receive()
            self._serve()
            self._step()

    def _turn(self) -> None:
        """Serve what has come, in the middle of a long job's step."""
        if self._long is None or self._serving:
            return
        self._receive()
        if self._long.cancelled:
            raise Cancelled
        self._serve()

    def _serve(self) -> None:
        """Render what waits, unless a long job has not had its share of the time yet."""
        job, started = self._long, time.monotonic()
        if not self._batch or (job is not None and started < job.renders_from):
            return
        self._serving = True
        try:
            self._predict()
        finally:
            self._serving = False
        if job is not None:
            ended = time.monotonic()
            job.renders_from = ended + min(_SHARE * (ended - started), _LONGEST_SHARE)

    def _receive(self) -> None:
        """Take all messages that are there; wait for one when there is nothing to do."""
        flags = zmq.NOBLOCK if self._long or self._batch else 0
        while True:
            try:
                frames = self._socket.recv_multipart(flags, copy=False)
            except zmq.Again:
                break
            self._sort_in(frames)
            flags = 0 if frames[0].bytes == envelope.WORK_AND_MORE else zmq.NOBLOCK
        self._say_alive()

    def _sort_in(self, frames: list[zmq.Frame]) -> None:
        kind, number = frames[0].bytes, envelope.unpack_number(frames[1].bytes)
        if kind == envelope.STOP:
            self._stop(number)
            return
        contents: list[Frame] = [frame.buffer for frame in frames[2:]]
        try:
            request = decode_request(contents)
            operation = self._table.operations.get(request.operation)
            if operation is None or operation.kind == "light":
                raise UnknownOperation(f"the worker does not know {request.operation!r}")
            work = _Work(number, request, operation)
            if operation.kind == "steps":
                self._long = _LongJob(work, operation.call(self._context, request))
            else:
                self._batch.append(work)
        except Exception as error:  # noqa: BLE001 - neither a message nor a handler ends the worker
            self._send_error(number, request_id_of(contents), _typed(error))

    def _predict(self) -> None:
        while self._batch:
            first = self._batch[0].operation
            batch = [work for work in self._batch if work.operation is first][: first.max_batch]
            self._batch = [work for work in self._batch if work not in batch]
            self._run_batch(batch)

    def _run_batch(self, batch: list[_Work]) -> None:
        started = time.perf_counter()
        try:
            answers = batch[0].operation.call(self._context, [work.request for work in batch])
        except Exception as error:  # noqa: BLE001 - a handler's bug must not end the worker
            if len(batch) > 1:  # only one of them may be to blame
                for work in batch:
                    self._run_batch([work])
                return
            self._send_error(batch[0].number, batch[0].request.id, _typed(error))
            return
        seconds = time.perf_counter() - started
        for work, answer in zip(batch, answers, strict=True):
            timed = {"seconds": seconds, "cached": False, **answer.params}
            self._send_answer(work, replace(answer, params=timed))

    def _step(self) -> None:
        job = self._long
        if job is None:
            return
        try:
            progress = next(job.steps)
            if job.cancelled:
                job.steps.close()
                raise Cancelled
        except StopIteration as end:
            self._long = None
            self._send_answer(job.work, cast("Answer", end.value))
        except Exception as error:  # noqa: BLE001 - a handler's bug must not end the worker
            self._long = None
            self._send_error(job.work.number, job.work.request.id, _typed(error))
        else:
            now, stage = time.monotonic(), progress.params.get("stage")
            news = bool(progress.arrays) or stage != job.stage
            if news or now - job.reported >= _PROGRESS_SECONDS:
                job.reported, job.stage = now, stage
                reply = Reply(
                    id=job.work.request.id,
                    kind="progress",
                    params=progress.params,
                    arrays=progress.arrays,
                )
                self._send(envelope.PROGRESS, job.work.number, "", encode_reply(reply))

    def _stop(self, number: int) -> None:
        job = self._long
        if job is None or job.work.number != number:
            return
        if inspect.getgeneratorstate(job.steps) == inspect.GEN_RUNNING:
            job.cancelled = True  # within its step, which ends at its next turn
            return
        self._long = None
        job.steps.close()
        self._send_error(number, job.work.request.id, Cancelled())

    def _send_answer(self, work: _Work, answer: Answer) -> None:
        try:
            frames = encode_reply(result_reply(work.request, answer))
        except (DressformError, TypeError, ValueError, OverflowError) as error:
            failure = InternalError(f"the answer to {work.operation.name} cannot travel: {error}")
            self._send_error(work.number, work.request.id, failure)
            return
        self._send(envelope.RESULT, work.number, answer.digest, frames)

    def _send_error(self, number: int, request_id: str, error: DressformError) -> None:
        try:
            frames = encode_reply(error_reply(request_id, error))
        except (TypeError, ValueError, OverflowError):
            error.details.clear()
            frames = encode_reply(error_reply(request_id, error))
        self._send(envelope.ERROR, number, "", frames)

    def _send(self, kind: bytes, number: int, digest: str, frames: list[Frame]) -> None:
        self._said_alive = time.monotonic()
        # Large frames leave without a copy: handlers have given their arrays away.
        self._socket.send_multipart(
            [kind, envelope.pack_number(number), digest.encode(), *frames], copy=False
        )

    def _say_alive(self) -> None:
        now = time.monotonic()
        if now - self._said_alive >= envelope.HEARTBEAT_SECONDS / 2:
            self._said_alive = now
            self._socket.send(envelope.ALIVE)


def _typed(error: Exception) -> DressformError:
    if isinstance(error, DressformError):
        return error
    log.error("handler failed\n%s", "".join(traceback.format_exception(error)))
    where = traceback.extract_tb(error.__traceback__)[-1]
    return InternalError(
        f"{type(error).__name__}: {error}", place=f"{Path(where.filename).name}:{where.lineno}"
    )


def _exit_with_broker() -> None:
    # Raw reads: the buffered reader's lock would be fought over when the process ends.
    while os.read(0, 4096):
        pass
    os._exit(0)


def main() -> None:
    """Run a worker with the settings on standard input."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the broker's to handle
    line = b""
    while not line.endswith(b"\n"):
        byte = os.read(0, 1)
        if not byte:
            return
        line += byte
    settings = WorkerSettings(**json.loads(line))
    logging.basicConfig(
        level=settings.log_level,
        stream=sys.stderr,
        format="%(asctime)s %(levelname)s %(name)s %(message)s",
    )
    threading.Thread(target=_exit_with_broker, name="broker-watch", daemon=True).start()
    context = zmq.Context()
    socket = context.socket(zmq.DEALER)
    socket.setsockopt(zmq.ROUTING_ID, bytes.fromhex(settings.identity))
    socket.setsockopt(zmq.LINGER, 1000)
    socket.setsockopt(zmq.SNDHWM, 0)
    socket.setsockopt(zmq.RCVHWM, 0)
    socket.setsockopt(zmq.RCVTIMEO, int(envelope.HEARTBEAT_SECONDS * 1000))
    socket.connect(settings.endpoint)
    try:
        Worker(settings, load_table(settings.handlers), socket).run()
    finally:
        socket.close()
        context.term()


if __name__ == "__main__":
    main()
