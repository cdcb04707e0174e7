"""The broker's queue: bounded, by priority, newest of a stream only. Knows no socket and no clock."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from blender_addon.contract.errors import Busy
from blender_addon.contract.operations import PRIORITIES

if TYPE_CHECKING:
    from collections.abc import Callable

    from blender_addon.contract.operations import Priority
    from server.operation import Operation


@dataclass(eq=False, kw_only=True, slots=True)
class Job:
    """A request from its arrival to its answer.

    Attributes:
        number: unique within the broker's life; names the job to workers.
        client: routing id of whoever asked.
        request_id: the client's own id.
        operation: what is asked.
        priority: when it is to run.
        stream: name of a viewport's stream, or empty.
        deadline: in the broker's clock, seconds.
        frames: the message as it came, passed on to the worker unchanged.
        size: bytes of the message.
        cache_key: of the answer, empty when it is not cached.
        digest: of the models named, when it arrived.
        arrived: in the broker's clock.
        attempts: how many workers have had it.
        dispatched: when the last of them got it, in the broker's clock.
        answered: the client has its result or error; what still runs runs for nobody.
    """

    number: int
    client: bytes
    request_id: str
    operation: Operation
    priority: Priority
    stream: str
    deadline: float
    frames: list[Any]
    size: int
    arrived: float
    cache_key: str = ""
    digest: str = ""
    attempts: int = 0
    dispatched: float = 0.0
    answered: bool = False


class JobQueue:
    """Jobs that wait for a worker.

    Args:
        max_jobs: how many may wait.
        max_bytes: how large their messages may be together.
    """

    def __init__(self, max_jobs: int, max_bytes: int) -> None:
        self._max_jobs = max_jobs
        self._max_bytes = max_bytes
        self._waiting: dict[Priority, list[Job]] = {priority: [] for priority in PRIORITIES}
        self._count = 0
        self._bytes = 0

    def __len__(self) -> int:
        return self._count

    def counts(self) -> dict[str, int]:
        """Return how many jobs wait, by priority."""
        return {priority: len(jobs) for priority, jobs in self._waiting.items()}

    def push(self, job: Job, retry_after: float) -> list[Job]:
        """Add a job.

        Args:
            job: the newest one of its stream, if it has a stream.
            retry_after: seconds that a refused client is told to wait.

        Returns:
            the jobs that it supersedes, which wait no longer.

        Raises:
            Busy: there is no room.
        """
        older: list[Job] = []
        if job.stream:
            older = self.remove(lambda j: j.stream == job.stream and j.client == job.client)
        if self._count >= self._max_jobs or self._bytes + job.size > self._max_bytes:
            for dropped in older:  # none of them is lost to a request that is refused
                self._add(dropped)
            raise Busy(
                f"the server's queue is full ({self._count} requests wait)",
                retry_after=round(retry_after, 3),
            )
        self._add(job)
        return older

    def put_back(self, job: Job) -> None:
        """Add a job that was taken before, as the next of its priority and beyond any limit."""
        self._waiting[job.priority].insert(0, job)
        self._count += 1
        self._bytes += job.size

    def pop(self, accepts: Callable[[Job], bool]) -> Job | None:
        """Take the most urgent, then oldest job that is accepted."""
        for jobs in self._waiting.values():
            for index, job in enumerate(jobs):
                if accepts(job):
                    del jobs[index]
                    self._forget(job)
                    return job
        return None

    def remove(self, chosen: Callable[[Job], bool]) -> list[Job]:
        """Take all jobs that are chosen."""
        removed: list[Job] = []
        for priority, jobs in self._waiting.items():
            gone = [job for job in jobs if chosen(job)]
            if gone:
                self._waiting[priority] = [job for job in jobs if job not in gone]
                removed += gone
        for job in removed:
            self._forget(job)
        return removed

    def expire(self, now: float) -> list[Job]:
        """Take all jobs whose deadline is over."""
        return self.remove(lambda job: job.deadline <= now)

    def _add(self, job: Job) -> None:
        self._waiting[job.priority].append(job)
        self._count += 1
        self._bytes += job.size

    def _forget(self, job: Job) -> None:
        self._count -= 1
        self._bytes -= job.size
