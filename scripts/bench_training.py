"""`dressform bench training`: what data loading and rasterising add to a training step.

Two clocks on the same training: steps that are given one of a few batches kept in memory, and
steps whose batches are cut, resampled and rasterised anew in a thread beside the network. They
take turns, so that whatever else the machine does falls on both alike.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

import torch

from models.memory import keep_freed_memory
from models.package import DEFAULT_LIBRARY
from server.figures import Figure, milliseconds, publish
from training.captures import find_captures
from training.dressing_recipe import DressingData, DressingRecipe, DressingSchedule
from training.dressing_training import DressingTraining
from training.prefetch import Prefetcher

if TYPE_CHECKING:
    from collections.abc import Iterator

    from training.dressing_data import Batch

SHARE_BOUND = 0.1
KEPT = 4
"""Batches in memory."""
TURN = 5
"""Steps before the other clock's turn; the first of each does not count."""


def bench_training(
    captures: Path | list[Path],
    data: DressingData = DressingData(),  # noqa: B008 - frozen
    library: Path = DEFAULT_LIBRARY,
    turns: int = 4,
    device: str = "auto",
    threads: int = 1,
    json: Path | None = None,
) -> int:
    """Time training steps on fresh batches against steps on batches kept in memory.

    Args:
        captures: a folder that holds captures, one a person, or a list of captures.
        data: crops, as the training cuts them.
        library: where the captures' body lies.
        turns: of each clock.
        device: "auto", "cpu", "cuda" or "cuda:0".
        threads: of torch on the CPU; a core beside them cuts the batches.
        json: also write {"figure_name": {"value", "bound", "ok"}} to this file.

    Returns:
        0 when the bound holds.
    """
    torch.set_num_threads(threads)
    keep_freed_memory()
    recipe = DressingRecipe(data=data, schedule=DressingSchedule(steps=10**6))
    with tempfile.TemporaryDirectory() as out:
        training = DressingTraining(
            recipe, find_captures(captures), Path(out), library=library, device=device
        )
        figures = training_figures(training, turns)
    return publish(figures, json)


def training_figures(training: DressingTraining, turns: int) -> list[Figure]:
    """Return the step's times on kept and on fresh batches, and what the latter add."""
    kept = [training.batch_of(step) for step in range(KEPT)]
    cached: list[float] = []
    fresh: list[float] = []
    for turn in range(turns):
        cached += _time_steps(training, iter([*kept, *kept][:TURN]))
        with Prefetcher(training.batch_of, KEPT + turn * TURN) as ahead:
            fresh += _time_steps(training, iter(ahead))
    started = time.perf_counter()
    training.batch_of(KEPT)
    alone = time.perf_counter() - started
    on_cached, on_fresh = median(cached), median(fresh)
    return [
        Figure(
            name="training_data_share",
            value=on_fresh / on_cached - 1.0,
            bound=SHARE_BOUND,
            unit="×",
            meaning="what cutting and rasterising batches adds to a step",
        ),
        milliseconds("step_cached_ms", on_cached, "a step on batches kept in memory"),
        milliseconds("step_fresh_ms", on_fresh, "a step as trainings make it"),
        milliseconds("batch_ms", alone, "cutting and rasterising one batch, nothing beside it"),
    ]


def _time_steps(training: DressingTraining, batches: Iterator[Batch]) -> list[float]:
    times: list[float] = []
    for step in range(TURN):
        started = time.perf_counter()
        batch = next(batches)
        for _ in training.stepper.make(batch, step, 0.0):
            pass
        times.append(time.perf_counter() - started)
    # The first waits for the first batch, which a training does once.
    return times[1:]
