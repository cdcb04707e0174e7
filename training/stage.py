"""The loop of a training stage: batches, steps, log, checkpoints, looks, and an orderly end.

What a training is about stands in its own class; here stands what any has to do besides.
"""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from training.prefetch import Prefetcher
from training.report import Report

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Generator, Iterator
    from pathlib import Path

    from training.divergence import DivergenceWatch
    from training.processes import Processes

LOG_EVERY = 20
"""Steps between entries of the log."""
RECIPE_FILE = "recipe.json"

Batch = TypeVar("Batch")
Batch_co = TypeVar("Batch_co", covariant=True)


class Length(Protocol):
    """What the loop needs of a schedule; steps and seconds are the whole training's."""

    @property
    def steps(self) -> int | None:
        """Step at which the stage ends, if planned."""
        ...

    @property
    def report_minutes(self) -> float:
        """Minutes between looks."""
        ...

    @property
    def checkpoint_minutes(self) -> float:
        """Minutes between checkpoints."""
        ...

    def progress(self, step: int, seconds: float) -> float:
        """Return how much of the stage is done, 0…1."""
        ...


class Stage(Protocol[Batch_co]):
    """What the loop needs of a training.

    Attributes:
        out: the run's folder.
        stopping: set to end the session with a checkpoint.
    """

    out: Path
    stopping: threading.Event

    @property
    def schedule(self) -> Length:
        """How long the stage is."""
        ...

    @property
    def watch(self) -> DivergenceWatch:
        """Looked at in `make`; while it is in doubt no checkpoint is written."""
        ...

    @property
    def step(self) -> int:
        """Steps made."""
        ...

    @step.setter
    def step(self, step: int) -> None: ...

    @property
    def seconds(self) -> float:
        """Seconds of training so far, over all sessions."""
        ...

    @seconds.setter
    def seconds(self, seconds: float) -> None: ...

    def recipe_values(self) -> dict[str, Any]:
        """Return the recipe as run, as values for JSON."""
        ...

    def batch_of(self, step: int) -> Batch_co:
        """Return a step's batch: the same for the same step."""
        ...

    def save(self) -> None:
        """Write the checkpoint."""
        ...

    def look(self, report: Report) -> object:
        """Measure and show what has been learnt; what it returns is not looked at."""
        ...


class WholeStage(Stage[Batch], Protocol[Batch]):
    """A training that makes its steps in one go."""

    def make(self, batch: Batch) -> dict[str, float]:
        """Make one step; return its values, "loss" among them."""
        ...


def run_stage(
    stage: WholeStage[Batch],
    *,
    stop_after: float | None = None,
    until: int | None = None,
    progress: bool = False,
    title: str | None = None,
    processes: Processes | None = None,
) -> list[float]:
    """Train until the stage or the session ends; a checkpoint stands at the end.

    Args:
        stage: resumed or new.
        stop_after: minutes of this session; the schedule stays as planned.
        until: pause at this step; whoever asks for a pause looks for himself.
        progress: show a bar on stderr.
        title: of the bar.
        processes: that train together, if several may.

    Returns:
        the loss of each step made.

    Raises:
        TrainingDiverged: a loss is not finite, or has exploded; the last checkpoint stays.
    """

    def whole(batch: Batch) -> Iterator[dict[str, float]]:
        yield stage.make(batch)

    made = iterate_stage(stage, whole, stop_after=stop_after, until=until, processes=processes)
    return losses_of(made, stage, progress=progress, title=title)


def losses_of(
    made: Iterator[dict[str, float] | None],
    stage: Stage[Batch],
    *,
    progress: bool,
    title: str | None = None,
) -> list[float]:
    """Return the losses of the steps that `iterate_stage` makes, under a bar where wanted."""
    from tqdm import tqdm

    total, first = stage.schedule.steps, stage.step
    history: list[float] = []
    with tqdm(desc=title, total=total, initial=first, disable=not progress, unit="step") as bar:
        for values in made:
            if values is not None:
                history.append(values["loss"])
                bar.update()
    return history


def iterate_stage(
    stage: Stage[Batch],
    make: Callable[[Batch], Iterator[dict[str, float] | None]],
    *,
    stop_after: float | None = None,
    until: int | None = None,
    processes: Processes | None = None,
) -> Generator[dict[str, float] | None]:
    """Train step by step, and let the caller do something else in between.

    Yields a step's values when it is made, and None wherever `make` does. Closing the iterator
    ends the session like `stop_after`: with a checkpoint. Time that the caller takes does not
    count.

    Args:
        stage: resumed or new.
        make: make a step in parts: yield None between them, and the step's values at last.
        stop_after: minutes of this session.
        until: pause at this step.
        processes: that train together, if several may; the first writes and looks.

    Raises:
        TrainingDiverged: a loss is not finite, or has exploded; the last checkpoint stays.
    """
    report: Report | None = None
    if processes is None or processes.is_first:
        write_recipe(stage.out, stage.recipe_values())
        report = Report(stage.out)
    try:
        yield from _steps(stage, make, report, stop_after, until, processes)
        stage.save()
        if until is None and report is not None:
            stage.look(report)
    finally:
        if report is not None:
            report.close()


def _steps(
    stage: Stage[Batch],
    make: Callable[[Batch], Iterator[dict[str, float] | None]],
    report: Report | None,
    stop_after: float | None,
    until: int | None,
    processes: Processes | None,
) -> Iterator[dict[str, float] | None]:
    schedule, session = stage.schedule, stage.seconds
    next_report = session + 60.0 * schedule.report_minutes
    next_save = session + 60.0 * schedule.checkpoint_minutes
    with Prefetcher(stage.batch_of, stage.step) as prefetcher:
        batches = iter(prefetcher)
        while schedule.progress(stage.step, stage.seconds) < 1.0:
            told = _average(processes, {"stop": float(stage.stopping.is_set())})["stop"] > 0.0
            if told or (until is not None and stage.step >= until):
                break
            if stop_after and stage.seconds - session > 60.0 * stop_after:
                break
            try:
                yield from _timed_step(stage, make, batches, report, processes)
            except GeneratorExit:
                stage.save()
                raise
            if stage.seconds >= next_save:
                if not stage.watch.in_doubt:
                    stage.save()
                next_save = stage.seconds + 60.0 * schedule.checkpoint_minutes
            if stage.seconds >= next_report:
                if report is not None:
                    stage.look(report)
                next_report = stage.seconds + 60.0 * schedule.report_minutes


def _timed_step(
    stage: Stage[Batch],
    make: Callable[[Batch], Iterator[dict[str, float] | None]],
    batches: Iterator[Batch],
    report: Report | None,
    processes: Processes | None,
) -> Iterator[dict[str, float] | None]:
    """Make one step; the clock stands while the caller has the turn.

    A caller that leaves in the middle of a step waits for its end: half a step has moved running
    statistics already, and a session must end where another can go on exactly.
    """
    started = time.monotonic()
    batch = next(batches)
    waited = time.monotonic() - started
    spent, left = waited, False
    parts = make(batch)
    while True:
        started = time.monotonic()
        values = next(parts)
        spent += time.monotonic() - started
        if values is not None:
            break
        if not left:
            try:
                yield None
            except GeneratorExit:
                left = True
    # The mean of all processes, so that their schedules stay the same.
    times = _average(processes, {"seconds": spent, "data_share": waited / max(spent, 1e-9)})
    stage.step += 1
    stage.seconds += times["seconds"]
    values |= times | {"steps_per_second": stage.step / max(stage.seconds, 1e-9)}
    if stage.step % LOG_EVERY == 0 and report is not None:
        report.scalars(stage.step, values)
    if left:
        raise GeneratorExit
    yield values


def _average(processes: Processes | None, values: dict[str, float]) -> dict[str, float]:
    return values if processes is None else processes.average(values)


def write_recipe(out: Path, values: dict[str, Any]) -> None:
    """Write the recipe as run into a run's folder."""
    out.mkdir(parents=True, exist_ok=True)
    (out / RECIPE_FILE).write_text(json.dumps(values, indent=1) + "\n", encoding="utf-8")
