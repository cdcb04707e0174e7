"""The broker's workers: started, watched, killed when they hang, restarted when they die."""

from __future__ import annotations

import json
import logging
import os
import secrets
import subprocess
import sys
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from server.jobs import Job
    from server.worker import WorkerSettings

log = logging.getLogger(__name__)

HOPELESS_STARTS = 3
"""After this many failed starts in a row, waiting requests are told so."""

_FIRST_DELAY, _LONGEST_DELAY = 0.25, 10.0

# Torch's threads sleep while they wait for each other. By default they spin, and where Blender or
# anything else wants the cores too, a frame takes ten times as long. Must be set at the start.
_WAITING = {"OMP_WAIT_POLICY": "PASSIVE"}

State = Literal["starting", "ready", "down"]


@dataclass(kw_only=True)
class WorkerLimits:
    """How long a worker may be silent, in seconds, before it counts as hung."""

    hang_seconds: float
    startup_seconds: float = 180.0


@dataclass(eq=False, kw_only=True)
class WorkerHandle:
    """One worker as the broker sees it.

    Attributes:
        index: its place in the pool.
        jobs: what it works on, by job number.
        restarts: how often it had to be started again.
        failures: failed starts since it last was ready.
    """

    index: int
    identity: bytes = b""
    process: subprocess.Popen[bytes] | None = None
    state: State = "down"
    device: str = ""
    last_heard: float = 0.0
    restart_at: float = 0.0
    restarts: int = -1
    failures: int = 0
    jobs: dict[int, Job] = field(default_factory=dict)

    def accepts(self, job: Job) -> bool:
        """Whether the job may be sent now: one long job, and beside it one batch of renders."""
        mine = list(self.jobs.values())
        if job.operation.kind == "steps":
            return all(running.operation.kind != "steps" for running in mine)
        batch = [running for running in mine if running.operation.kind == "predict"]
        return not batch or (
            len(batch) < job.operation.max_batch
            and all(running.operation is job.operation for running in batch)
        )

    def heard(self, now: float) -> None:
        """Note that something came from the worker; anything counts as a sign of life."""
        self.last_heard = now

    def trouble(self, now: float, limits: WorkerLimits) -> str:
        """Return what is wrong with the process, or an empty text."""
        if self.process is None:
            return ""
        code = self.process.poll()
        if code is not None:
            return f"exited with code {code}"
        silence = now - self.last_heard
        if silence > (limits.startup_seconds if self.state == "starting" else limits.hang_seconds):
            return f"gave no sign of life for {silence:.1f} s"
        return ""


class WorkerPool:
    """All workers of a broker.

    Args:
        settings: of every worker; each gets a routing id of its own.
        count: how many.
        limits: when one counts as hung.
    """

    def __init__(self, settings: WorkerSettings, count: int, limits: WorkerLimits) -> None:
        self._settings = settings
        self._limits = limits
        self.workers = [WorkerHandle(index=index) for index in range(count)]

    def start_due(self, now: float) -> None:
        """Start every worker that is down and whose time has come."""
        for worker in self.workers:
            if worker.state == "down" and worker.restart_at <= now:
                self._start(worker, now)

    def lost(self, now: float) -> Iterator[tuple[WorkerHandle, list[Job], str]]:
        """Bury each worker that died or hung; yield it with the jobs it had and the reason."""
        for worker in self.workers:
            reason = worker.trouble(now, self._limits)
            if reason:
                jobs = list(worker.jobs.values())
                self._bury(worker, now, reason)
                yield worker, jobs, reason

    def find(self, identity: bytes) -> WorkerHandle | None:
        """Return the worker of a routing id; ids of dead ones and of strangers are unknown."""
        return next((w for w in self.workers if w.process and w.identity == identity), None)

    def ready(self) -> list[WorkerHandle]:
        """Return the workers that take work, those with the least of it first."""
        return sorted(
            (worker for worker in self.workers if worker.state == "ready"),
            key=lambda worker: len(worker.jobs),
        )

    def hopeless(self) -> bool:
        """Whether no worker comes up."""
        return all(worker.failures >= HOPELESS_STARTS for worker in self.workers)

    def stop(self, patience: float) -> None:
        """End all workers; those that do not go within the patience (seconds) are killed."""
        processes = [worker.process for worker in self.workers if worker.process is not None]
        for process in processes:
            if process.stdin is not None:
                process.stdin.close()
        for process in processes:
            _reap(process, patience)
        for worker in self.workers:
            worker.process, worker.state = None, "down"

    def _start(self, worker: WorkerHandle, now: float) -> None:
        worker.identity = b"w" + secrets.token_bytes(16)  # ZeroMQ keeps ids that begin with 0
        settings = asdict(self._settings) | {"identity": worker.identity.hex()}
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "server.worker"],
            stdin=subprocess.PIPE,
            stdout=sys.stderr.fileno(),  # our own standard output carries the ready line only
            env=_WAITING | os.environ,
        )
        worker.process = process
        worker.state = "starting"
        worker.restarts += 1
        worker.heard(now)
        log.info("worker starting worker=%d pid=%d", worker.index, process.pid)
        try:
            _write(process, json.dumps(settings).encode() + b"\n")
        except OSError:
            log.warning("worker gone before it could start worker=%d", worker.index)

    def _bury(self, worker: WorkerHandle, now: float, reason: str) -> None:
        process = worker.process
        log.error("worker lost worker=%d reason=%s jobs=%d", worker.index, reason, len(worker.jobs))
        if process is not None:
            process.kill()
            _reap(process, patience=1.0)
        # One that had been at work is needed again now; one that cannot start is given time.
        worker.failures = worker.failures + 1 if worker.state == "starting" else 0
        delay = _FIRST_DELAY * 2 ** (worker.failures - 1) if worker.failures else 0.0
        worker.restart_at = now + min(delay, _LONGEST_DELAY)
        worker.process, worker.state = None, "down"
        worker.jobs.clear()


def _write(process: subprocess.Popen[bytes], line: bytes) -> None:
    if process.stdin is not None:
        process.stdin.write(line)
        process.stdin.flush()


def _reap(process: subprocess.Popen[bytes], patience: float) -> None:
    try:
        process.wait(patience)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    finally:
        if process.stdin is not None:
            process.stdin.close()


def describe(workers: Sequence[WorkerHandle], now: float) -> list[dict[str, object]]:
    """Return the workers' states as `health` shows them."""
    return [
        {
            "state": worker.state,
            "pid": worker.process.pid if worker.process else 0,
            "device": worker.device,
            "jobs": len(worker.jobs),
            "long_jobs": sum(job.operation.kind == "steps" for job in worker.jobs.values()),
            "restarts": worker.restarts,
            "silent_seconds": round(now - worker.last_heard, 3),
        }
        for worker in workers
    ]
