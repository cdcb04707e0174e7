"""Work shared out to processes of one thread each; results come in the order of the tasks."""

from __future__ import annotations

import multiprocessing
import os
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

import torch

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Sequence

Task = TypeVar("Task")
Result = TypeVar("Result")

_CHUNK = 4


@contextmanager
def mapped(
    make: Callable[[Task], Result], tasks: Sequence[Task], workers: int
) -> Generator[Iterator[Result]]:
    """Yield `make` of each task in order, made by processes or, for 0 workers, here.

    Args:
        make: a module's own function.
        tasks: that can be pickled.
        workers: how many processes.
    """
    if workers == 0:
        yield (make(task) for task in tasks)
        return
    context = multiprocessing.get_context("spawn")
    with _one_thread_each(), ProcessPoolExecutor(workers, context, initializer=_start) as pool:
        try:
            yield pool.map(make, tasks, chunksize=_CHUNK)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


@contextmanager
def _one_thread_each() -> Generator[None]:
    """Let processes that start now use one thread: linear algebra reads this at import."""
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    before = {name: os.environ.get(name) for name in names}
    os.environ.update(dict.fromkeys(names, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _start() -> None:
    torch.set_num_threads(1)
