"""Starting NVIDIA Warp and launching its kernels on torch's devices."""

import contextlib
import os
import threading
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path

import torch
import warp as wp

# Warp logs compilation to stdout, which belongs to our commands.
wp.config.log_level = wp.LOG_ERROR

SMALLEST_BAND = 96
"""Rows: images are not cut into bands lower than this."""

_lock = threading.Lock()
_loaded: set[tuple[str, str]] = set()
_executors: list[ThreadPoolExecutor] = []
if hasattr(os, "register_at_fork"):
    # A forked child (a data loader's worker) has the list but not the threads.
    os.register_at_fork(after_in_child=_executors.clear)


def start() -> None:
    """Start Warp, once per process and without a word."""
    with _lock:
        if not _loaded:
            with _without_stderr():
                wp.init()
            _loaded.add(("warp", "started"))


@contextlib.contextmanager
def _without_stderr() -> Generator[None]:
    """Discard what native code writes to stderr: Warp warns of a missing CUDA driver there."""
    if torch.cuda.is_available():
        yield
        return
    saved = os.dup(2)
    try:
        with Path(os.devnull).open("wb") as sink:
            os.dup2(sink.fileno(), 2)
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)


def launch(
    kernel: wp.Kernel, dim: tuple[int, ...], inputs: list[object], device: torch.device
) -> None:
    """Launch a kernel on torch's device and current stream, once `start` has been called.

    The first launch compiles the kernel's module, or loads it from Warp's cache on disk
    (`WARP_CACHE_PATH`, else the user's cache folder); several processes may do so at once.
    """
    target = wp.device_from_torch(device)
    loaded = (kernel.module.name, str(device))
    if loaded not in _loaded:
        with _lock:
            wp.load_module(kernel.module, device=target)
            _loaded.add(loaded)
    stream = wp.stream_from_torch(device) if device.type == "cuda" else None
    wp.launch(kernel, dim=dim, inputs=inputs, device=target, stream=stream, record_tape=False)


def in_bands(
    height: int, device: torch.device, work: Callable[[int, int], None], per_thread: int = 1
) -> None:
    """Do work(top, bottom) for all rows of an image.

    Warp runs a launch on one processor thread: on the CPU, rows are shared out among as many
    threads as torch may use. The work on a band writes its own rows only, so the result does
    not depend on it.

    Args:
        height: rows of the image.
        device: where `work` launches.
        work: launches kernels for the rows top … bottom − 1.
        per_thread: bands per thread; several even out what a busy processor delays.
    """
    threads = 1
    if device.type == "cpu":
        threads = max(1, min(torch.get_num_threads(), height // SMALLEST_BAND))
    if threads == 1:
        work(0, height)
        return
    count = threads * per_thread
    edges = [height * index // count for index in range(count + 1)]
    bands = iter(list(pairwise(edges)))

    def work_on() -> None:
        # Whoever is free takes the next band; a list's iterator hands each out once.
        for top, bottom in bands:
            work(top, bottom)

    helpers = [_executor().submit(work_on) for _ in range(threads - 1)]
    try:
        work_on()
    finally:
        for helper in helpers:
            if not helper.cancel():
                helper.result()


def _executor() -> ThreadPoolExecutor:
    with _lock:
        if not _executors:
            _executors.append(ThreadPoolExecutor(os.cpu_count(), "raster"))
        return _executors[0]


def columns_per_thread(device: torch.device, width: int) -> int:
    """A thread per pixel on CUDA; per row on the CPU, where starting one costs as a pixel does."""
    return 1 if device.type == "cuda" else width
