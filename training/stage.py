"""The loop of a training stage: batches, steps, log, checkpoints, looks, and an orderly end.

What a training is about stands in its own class; here stands what any has to do besides.
"""

from __future__ import annotations

import json
import time
from contextlib import closing
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from training.prefetch import Prefetcher
from training.report import Report

if TYPE_CHECKING:
    import threading
    from pathlib import Path

    from training.divergence import DivergenceWatch

LOG_EVERY = 20
"""Steps between entries of the log."""
RECIPE_FILE = "recipe.json"

Batch = TypeVar("Batch")


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


class Stage(Protocol[Batch]):
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

    def batch_of(self, step: int) -> Batch:
        """Return a step's batch: the same for the same step."""
        ...

    def make(self, batch: Batch) -> dict[str, float]:
        """Make one step; return its values, "loss" among them."""
        ...

    def save(self) -> None:
        """Write the checkpoint."""
        ...

    def look(self, report: Report) -> object:
        """Measure and show what has been learnt; what it returns is not looked at."""
        ...


def run_stage(
    stage: Stage[Batch],
    *,
    stop_after: float | None = None,
    until: int | None = None,
    progress: bool = False,
    title: str | None = None,
) -> list[float]:
    """Train until the stage or the session ends; a checkpoint stands at the end.

    Args:
        stage: resumed or new.
        stop_after: minutes of this session; the schedule stays as planned.
        until: pause at this step; whoever asks for a pause looks for himself.
        progress: show a bar on stderr.
        title: of the bar.

    Returns:
        the loss of each step made.

    Raises:
        TrainingDiverged: a loss is not finite, or has exploded; the last checkpoint stays.
    """
    from tqdm import tqdm

    write_recipe(stage.out, stage.recipe_values())
    report = Report(stage.out)
    history: list[float] = []
    schedule, session = stage.schedule, stage.seconds
    next_report = stage.seconds + 60 * schedule.report_minutes
    next_save = stage.seconds + 60 * schedule.checkpoint_minutes
    bar = tqdm(
        desc=title, total=schedule.steps, initial=stage.step, disable=not progress, unit="step"
    )
    with closing(report):
        with Prefetcher(stage.batch_of, stage.step) as prefetcher, bar:
            batches = iter(prefetcher)
            while (
                schedule.progress(stage.step, stage.seconds) < 1.0 and not stage.stopping.is_set()
            ):
                if stop_after and stage.seconds - session > 60 * stop_after:
                    break
                if until is not None and stage.step >= until:
                    break
                started = time.monotonic()
                values = stage.make(next(batches))
                stage.step += 1
                stage.seconds += time.monotonic() - started
                history.append(values["loss"])
                bar.update()
                if stage.step % LOG_EVERY == 0:
                    speed = {"steps_per_second": stage.step / max(stage.seconds, 1e-9)}
                    report.scalars(stage.step, values | speed)
                if stage.seconds >= next_save:
                    if not stage.watch.in_doubt:
                        stage.save()
                    next_save = stage.seconds + 60 * schedule.checkpoint_minutes
                if stage.seconds >= next_report:
                    stage.look(report)
                    next_report = stage.seconds + 60 * schedule.report_minutes
        stage.save()
        if until is None:
            stage.look(report)
    return history


def write_recipe(out: Path, values: dict[str, Any]) -> None:
    """Write the recipe as run into a run's folder."""
    out.mkdir(parents=True, exist_ok=True)
    (out / RECIPE_FILE).write_text(json.dumps(values, indent=1) + "\n", encoding="utf-8")
