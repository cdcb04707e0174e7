"""The broker: takes clients' requests, queues them, hands them to workers, brings answers back.

One asyncio loop, no torch. It reads headers only; arrays pass through as they came. What a
request goes through: validation → cache → queue → worker → cache → reply. Every request that
can be read gets exactly one result or typed error, unless its client is gone.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgpack

from blender_addon.contract import fields, operations, wire
from blender_addon.contract.errors import (
    BadMessage,
    Cancelled,
    DeadlineExceeded,
    DressformError,
    InternalError,
    ServerStopping,
    SetupError,
    Superseded,
    UnknownOperation,
    WorkerLost,
    from_wire,
)
from blender_addon.contract.versions import PROJECT_VERSION, WIRE_VERSION
from server import envelope
from server.cache import WORTH_KEEPING_SECONDS, ResultCache, cache_key, renamed_reply
from server.jobs import Job, JobQueue
from server.light import LightOperations
from server.operation import dependencies
from server.pool import WorkerHandle, WorkerPool, describe
from server.sockets import LoopSocket

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import zmq

    from server.operation import Context, HandlerTable, Operation

log = logging.getLogger(__name__)

_TICK_SECONDS = 0.1

Params = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class BrokerSettings:
    """Limits of a broker.

    Attributes:
        queue_size: requests that may wait.
        queue_bytes: bytes that waiting requests may hold.
        cache_bytes: bytes of results kept.
        linger_seconds: for replies on their way out when the server stops.
    """

    queue_size: int = 64
    queue_bytes: int = 2 << 30
    cache_bytes: int = 512 << 20
    linger_seconds: float = 0.5


class Broker:
    """Talks to clients and workers over two bound ROUTER sockets.

    Args:
        clients: bound; becomes the broker's.
        workers: bound where only this machine's processes reach it; becomes the broker's.
        table: the operations that workers (and light ones that the broker) carry out.
        pool: the workers, not started yet.
        context: what the operations that the broker runs itself are given.
        settings: limits.
    """

    def __init__(
        self,
        clients: zmq.Socket[bytes],
        workers: zmq.Socket[bytes],
        table: HandlerTable,
        pool: WorkerPool,
        context: Context,
        settings: BrokerSettings,
    ) -> None:
        self._sockets = clients, workers
        self._table = table
        self._pool = pool
        self._library = context.library
        self._settings = settings
        self._queue = JobQueue(settings.queue_size, settings.queue_bytes)
        self._cache = ResultCache(settings.cache_bytes)
        self._open: dict[tuple[bytes, str], Job] = {}
        self._open_light: set[tuple[bytes, str]] = set()
        self._numbers = itertools.count(1)
        self._seconds_per_job = 0.1
        self._light = LightOperations(context)
        self._last_greeting = 0.0
        self._fatal: DressformError | None = None
        self._own: dict[str, Callable[[bytes, wire.Request], Params]] = {
            operations.HELLO: self._hello,
            operations.HEALTH: self._health,
            operations.JOB_CANCEL: self._cancel,
        }

    async def run(self, stop: asyncio.Event) -> None:
        """Serve until `stop` is set; then answer what is open with `ServerStopping`.

        Raises:
            SetupError: the workers say that this machine cannot run them.
        """
        self._loop = asyncio.get_running_loop()
        self._started = self._loop.time()
        self._stop = stop
        clients, workers = self._sockets
        self._clients = LoopSocket(clients, self._loop, self._on_client)
        self._workers = LoopSocket(workers, self._loop, self._on_worker)
        try:
            while not stop.is_set():
                self._tick()
                try:
                    await asyncio.wait_for(stop.wait(), _TICK_SECONDS)
                except TimeoutError:
                    continue
        finally:
            for job in list(self._open.values()):
                self._fail(job, ServerStopping())
            self._clients.close(self._settings.linger_seconds)
            self._workers.close(0.0)
            self._pool.stop(patience=2.0)
            self._light.close()
        if self._fatal is not None:
            raise self._fatal

    # --- requests ------------------------------------------------------------------------

    def _on_client(self, frames: list[zmq.Frame]) -> None:
        client, message = frames[0].bytes, frames[1:]
        contents: list[wire.Frame] = [frame.buffer for frame in message]
        try:
            self._accept(client, message, contents)
        except DressformError as error:
            self._reply(client, wire.error_reply(wire.request_id_of(contents), error))
        except Exception as error:
            log.exception("request failed in the broker")
            failure = InternalError(f"{type(error).__name__}: {error}")
            self._reply(client, wire.error_reply(wire.request_id_of(contents), failure))

    def _accept(
        self, client: bytes, message: list[zmq.Frame], contents: Sequence[wire.Frame]
    ) -> None:
        request = wire.decode_request(contents)
        own = self._own.get(request.operation)
        if own is not None:
            self._reply(
                client, wire.Reply(id=request.id, kind="result", params=own(client, request))
            )
            return
        operation = self._table.operations.get(request.operation)
        if operation is None:
            raise UnknownOperation(f"the server does not know the operation {request.operation!r}")
        if operation.kind == "light":
            self._start_light(client, operation, request)
            return
        self._enqueue(self._job(client, message, contents, request, operation))

    def _start_light(self, client: bytes, operation: Operation, request: wire.Request) -> None:
        waiting = client, request.id

        def done(reply: wire.Reply) -> None:
            self._open_light.discard(waiting)
            self._reply(client, reply)

        self._light.start(operation, request, done)
        self._open_light.add(waiting)

    def _job(
        self,
        client: bytes,
        message: list[zmq.Frame],
        contents: Sequence[wire.Frame],
        request: wire.Request,
        operation: Operation,
    ) -> Job:
        if (client, request.id) in self._open:
            raise BadMessage(f"the request id {request.id!r} is in use by an open request")
        now = self._loop.time()
        priority = operations.priority_of(request.params)
        job = Job(
            number=next(self._numbers),
            client=client,
            request_id=request.id,
            operation=operation,
            priority="job" if operation.kind == "steps" else priority,
            stream=fields.text(request.params, "stream", default=""),
            deadline=now + request.timeout,
            frames=list(message),
            size=sum(len(frame) for frame in message),
            arrived=now,
        )
        if operation.model:
            job.digest = self._library.digest(*dependencies(operation, self._library, request))
            job.cache_key = cache_key(request, contents[1:], job.digest)
        return job

    def _enqueue(self, job: Job) -> None:
        if job.cache_key and self._answer_from_cache(job):
            return
        if self._pool.hopeless():
            raise WorkerLost(
                "the worker process does not start", "see the server's log for the reason"
            )
        wait = self._seconds_per_job * (len(self._queue) + 1) / len(self._pool.workers)
        superseded = self._queue.push(job, min(max(wait, 0.05), 5.0))
        self._open[job.client, job.request_id] = job
        for older in superseded:
            self._fail(older, Superseded())
        self._dispatch()

    def _answer_from_cache(self, job: Job) -> bool:
        cached = self._cache.get(job.cache_key)
        if cached is None:
            return False
        self._close(job)
        self._clients.send([job.client, *renamed_reply(cached, job.request_id)])
        return True

    # --- the broker's own operations -----------------------------------------------------

    def _hello(self, _client: bytes, request: wire.Request) -> Params:
        operations.check_hello(request)
        ready = self._pool.ready()
        return {
            "wire": WIRE_VERSION,
            "server": PROJECT_VERSION,
            "operations": sorted({*self._own, *self._table.operations}),
            "device": ready[0].device if ready else "",
            "ready": bool(ready),
        }

    def _health(self, _client: bytes, _request: wire.Request) -> Params:
        now = self._loop.time()
        return {
            "uptime_seconds": round(now - self._started, 3),
            "queue": self._queue.counts(),
            "open": len(self._open),
            "workers": describe(self._pool.workers, now),
            "cache": {
                "entries": len(self._cache),
                "bytes": self._cache.bytes,
                "hits": self._cache.figures.hits,
                "misses": self._cache.figures.misses,
            },
        }

    def _cancel(self, client: bytes, request: wire.Request) -> Params:
        job = self._open.get((client, operations.parse_job_cancel(request)))
        if job is not None:
            self._abandon(job, Cancelled())
        return {"found": job is not None}

    # --- workers -------------------------------------------------------------------------

    def _dispatch(self) -> None:
        for worker in self._pool.ready():
            chosen: list[Job] = []
            while len(self._queue):
                job = self._queue.pop(worker.accepts)
                if job is None:
                    break
                if job.deadline <= self._loop.time():
                    self._fail(job, DeadlineExceeded())
                    continue
                # Rendered while it waited, for an attempt before this one or for somebody else.
                if job.cache_key in self._cache and self._answer_from_cache(job):
                    continue
                job.attempts += 1
                job.dispatched = self._loop.time()
                if not worker.jobs:
                    worker.heard(job.dispatched)  # its silence is counted from now
                worker.jobs[job.number] = job
                chosen.append(job)
            for left, job in zip(range(len(chosen) - 1, -1, -1), chosen, strict=True):
                kind = envelope.WORK_AND_MORE if left else envelope.WORK
                number = envelope.pack_number(job.number)
                self._workers.send([worker.identity, kind, number, *job.frames])

    def _on_worker(self, frames: list[zmq.Frame]) -> None:
        worker = self._pool.find(frames[0].bytes)
        if worker is None:
            return
        worker.heard(self._loop.time())
        kind = frames[1].bytes
        if kind == envelope.READY:
            worker.state, worker.failures, worker.device = "ready", 0, frames[2].bytes.decode()
            log.info("worker ready worker=%d device=%s", worker.index, worker.device)
            self._dispatch()
        elif kind == envelope.FAILED:
            self._on_failed_start(from_wire(msgpack.unpackb(frames[2].bytes)))
        elif kind != envelope.ALIVE:
            self._on_answer(worker, kind, frames[2:])

    def _on_answer(self, worker: WorkerHandle, kind: bytes, frames: list[zmq.Frame]) -> None:
        number = envelope.unpack_number(frames[0].bytes)
        job = worker.jobs.get(number)
        if job is None:
            return
        digest, reply = frames[1].bytes.decode(), frames[2:]
        if not job.answered and not self._clients.send([job.client, *reply]):
            self._on_lost_client(job.client)
        if kind == envelope.PROGRESS:
            return
        del worker.jobs[number]
        self._close(job)
        seconds = self._loop.time() - job.dispatched
        self._seconds_per_job += 0.2 * (seconds - self._seconds_per_job)
        # A digest other than the one of its arrival: the package changed meanwhile.
        cacheable = kind == envelope.RESULT and job.cache_key and digest == job.digest
        if cacheable and seconds >= WORTH_KEEPING_SECONDS:
            self._cache.put(job.cache_key, reply)
        self._dispatch()

    def _on_failed_start(self, error: DressformError) -> None:
        log.error("worker cannot start cause=%s", error)
        if isinstance(error, SetupError):  # trying again cannot help
            self._fatal = error
            self._stop.set()

    # --- time ----------------------------------------------------------------------------

    def _tick(self) -> None:
        now = self._loop.time()
        for worker, jobs, reason in self._pool.lost(now):
            for job in jobs:
                self._on_lost_work(job, f"worker {worker.index} {reason}")
        self._pool.start_due(now)
        for job in self._queue.expire(now):
            self._fail(job, DeadlineExceeded())
        for job in [job for job in self._open.values() if job.deadline <= now]:
            self._abandon(job, DeadlineExceeded())
        if len(self._queue) and self._pool.hopeless():
            for job in self._queue.remove(lambda _: True):
                self._fail(job, WorkerLost("the worker process does not start"))
        self._dispatch()
        if now - self._last_greeting >= envelope.HEARTBEAT_SECONDS:
            self._last_greeting = now
            self._greet_waiting_clients()

    def _on_lost_work(self, job: Job, reason: str) -> None:
        if job.answered:
            return
        # A second worker may do better; a long job is its client's to start again.
        if job.attempts < 2 and job.operation.kind == "predict":
            self._queue.put_back(job)
            return
        self._fail(job, WorkerLost(f"the worker was lost while working on this ({reason})"))

    def _greet_waiting_clients(self) -> None:
        """Tell each waiting client that the server lives, and learn which clients do not."""
        running = {id(job) for worker in self._pool.workers for job in worker.jobs.values()}
        for job in list(self._open.values()):
            if job.answered:
                continue
            params = {"state": "running" if id(job) in running else "queued"}
            greeting = wire.Reply(id=job.request_id, kind="progress", params=params)
            if not self._reply(job.client, greeting):
                self._on_lost_client(job.client)
        for client, request_id in self._open_light:
            greeting = wire.Reply(id=request_id, kind="progress", params={"state": "running"})
            self._reply(client, greeting)

    def _on_lost_client(self, client: bytes) -> None:
        mine = [job for job in self._open.values() if job.client == client]
        log.info("client lost open=%d", len(mine))
        for job in mine:
            self._abandon(job, Cancelled())

    # --- ends ----------------------------------------------------------------------------

    def _abandon(self, job: Job, error: DressformError) -> None:
        """End a job early: a waiting one leaves the queue, a running long one is stopped."""
        self._queue.remove(lambda waiting: waiting is job)
        for worker in self._pool.workers:
            if job.number in worker.jobs and job.operation.kind == "steps":
                number = envelope.pack_number(job.number)
                self._workers.send([worker.identity, envelope.STOP, number])
        self._fail(job, error)

    def _fail(self, job: Job, error: DressformError) -> None:
        if not job.answered:
            self._close(job)
            self._reply(job.client, wire.error_reply(job.request_id, error))

    def _close(self, job: Job) -> None:
        if not job.answered:
            job.answered = True
            self._open.pop((job.client, job.request_id), None)

    def _reply(self, client: bytes, reply: wire.Reply) -> bool:
        return self._clients.send([client, *wire.encode_reply(reply)])
