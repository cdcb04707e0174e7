"""Batches made ahead in a thread, so that the network does not wait for its data."""

from __future__ import annotations

import threading
from queue import Full, Queue
from typing import TYPE_CHECKING, Generic, Self, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import TracebackType

Batch = TypeVar("Batch")


class Prefetcher(Generic[Batch]):
    """Makes the batches of coming steps in a thread, so that the network does not wait.

    Use as a context manager and iterate; errors of the thread are raised where it is iterated.

    Args:
        make: from step to batch.
        first: the first step.
        ahead: batches kept ready.
    """

    def __init__(self, make: Callable[[int], Batch], first: int, ahead: int = 2) -> None:
        self._make = make
        self._step = first
        self._queue: Queue[Batch | BaseException] = Queue(ahead)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="batches", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stopping.set()
        self._thread.join()

    def __iter__(self) -> Iterator[Batch]:
        while True:
            item = self._queue.get()
            if isinstance(item, BaseException):
                raise item
            yield item

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                item: Batch | BaseException = self._make(self._step)
            except BaseException as error:  # noqa: BLE001 - handed to the thread that trains
                item = error
            self._step += 1
            while not self._stopping.is_set():
                try:
                    self._queue.put(item, timeout=0.1)
                    break
                except Full:
                    continue
            if isinstance(item, BaseException):
                return
