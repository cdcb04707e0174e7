"""A training of several stages, one after the other: where it stands, and what takes it on.

A subclass says what the stages are about; `training.stage.run_stage` takes each through its steps.
"""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar

from blender_addon.contract.errors import TrainingError
from training.stage import run_stage, write_recipe

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from training.divergence import DivergenceWatch
    from training.report import Report
    from training.schedule import StagedSchedule, StagePlan

Name = TypeVar("Name", bound=str)
Batch = TypeVar("Batch")


class Stand(NamedTuple):
    """Where a training stands.

    Attributes:
        step: steps made.
        seconds: of training, all sessions together.
        stage: number of the present stage; their count when all are done.
        first_step: step at which it began.
        first_second: seconds at which it began.
    """

    step: int = 0
    seconds: float = 0.0
    stage: int = 0
    first_step: int = 0
    first_second: float = 0.0


@dataclass(frozen=True)
class StageLength:
    """How long a stage is, in steps and seconds of the whole training; see `stage.Length`."""

    planned: StagePlan
    first_step: int
    first_second: float
    report_minutes: float
    checkpoint_minutes: float

    @property
    def steps(self) -> int | None:
        """Step at which the stage ends, if planned."""
        return None if self.planned.steps is None else self.first_step + self.planned.steps

    def progress(self, step: int, seconds: float) -> float:
        """Return how much of the stage is done, 0…1."""
        return self.planned.progress(step - self.first_step, seconds - self.first_second)


class StagedTraining(ABC, Generic[Name, Batch]):
    """A training of several stages; what `stage.run_stage` runs, once for each of them.

    Args:
        stages: their names, in order.
        plan: their lengths.
        out: the run's folder.

    Attributes:
        stand: where it stands.
        stopping: set to end the session with a checkpoint.

    Raises:
        TrainingError: no stage has an end.
    """

    def __init__(self, stages: Sequence[Name], plan: StagedSchedule, out: Path) -> None:
        if all(plan.stage(name).skipped for name in stages):
            raise TrainingError("no stage has an end", "set steps or minutes of a stage")
        self._stages, self._plan, self.out = stages, plan, out
        self.stand = Stand()
        self.stopping = threading.Event()
        self._shown: tuple[tuple[int, int], dict[str, float]] | None = None

    @property
    @abstractmethod
    def watch(self) -> DivergenceWatch:
        """Looked at in `make`; see `stage.Stage`."""

    @abstractmethod
    def recipe_values(self) -> dict[str, Any]:
        """Return the recipe as run, as values for JSON."""

    @abstractmethod
    def batch_of(self, step: int) -> Batch:
        """Return a step's batch in the present stage: the same for the same step."""

    @abstractmethod
    def make(self, batch: Batch) -> dict[str, float]:
        """Make one step of the present stage; return its values, "loss" among them."""

    @abstractmethod
    def save(self) -> None:
        """Write the checkpoint."""

    @abstractmethod
    def measure(self) -> tuple[dict[str, float], NDArray[np.uint8]]:
        """Return figures of what has been learnt, and a picture (H, W, 3) that shows it."""

    def may_end(self, name: Name) -> bool:
        """Return whether a stage may end whose planned length is over; else it is longer now."""
        del name
        return True

    def ended(self, name: Name) -> None:
        """Get ready for what comes after a stage."""

    def planned(self, name: Name) -> StagePlan:
        """Return how long a stage is."""
        return self._plan.stage(name)

    @property
    def step(self) -> int:
        """Steps made."""
        return self.stand.step

    @step.setter
    def step(self, step: int) -> None:
        self.stand = self.stand._replace(step=step)

    @property
    def seconds(self) -> float:
        """Seconds of training, all sessions together."""
        return self.stand.seconds

    @seconds.setter
    def seconds(self, seconds: float) -> None:
        self.stand = self.stand._replace(seconds=seconds)

    @property
    def stage(self) -> Name | None:
        """The stage that the next step belongs to; None when all are done."""
        return self._stages[self.stand.stage] if self.stand.stage < len(self._stages) else None

    @property
    def schedule(self) -> StageLength:
        """How long the present stage is."""
        stand, plan = self.stand, self._plan
        return StageLength(
            self.planned(self._stages[stand.stage]),
            stand.first_step,
            stand.first_second,
            plan.report_minutes,
            plan.checkpoint_minutes,
        )

    @property
    def steps_of_stage(self) -> int:
        """Steps made in the present stage."""
        return self.stand.step - self.stand.first_step

    def run(
        self, *, stop_after: float | None = None, until: int | None = None, progress: bool = False
    ) -> list[float]:
        """Train until all stages or the session end; a checkpoint stands at the end.

        Args:
            stop_after: minutes of this session; the schedule stays as planned.
            until: pause once so many steps have been made, sessions before counted; whoever asks
                for a pause looks for himself.
            progress: show a bar on stderr.

        Returns:
            the loss of each step made.

        Raises:
            TrainingDiverged: a loss is not finite or exploded; the last checkpoint stays.
            TrainingError: a stage has not reached what the next one needs.
        """
        # Also of a training that is done already.
        write_recipe(self.out, self.recipe_values())
        history: list[float] = []
        begin, was_done = self.seconds, self.stage is None
        while not self.stopping.is_set() and (until is None or self.step < until):
            left = None
            if stop_after is not None:
                left = stop_after - (self.seconds - begin) / 60.0
                if left <= 0.0:
                    break
            name = self.advance()
            if name is None:
                if not was_done:
                    # What the last stage's end has changed.
                    self.save()
                break
            history += run_stage(self, stop_after=left, until=until, progress=progress, title=name)
        return history

    def advance(self) -> Name | None:
        """Return the stage of the next step, past those that are done or not planned."""
        while (name := self.stage) is not None:
            if self.schedule.progress(self.step, self.seconds) < 1.0:
                return name
            if not self._plan.stage(name).skipped and not self.may_end(name):
                return name
            self.stand = self.stand._replace(
                stage=self.stand.stage + 1, first_step=self.step, first_second=self.seconds
            )
            self.ended(name)
        return None

    def look(self, report: Report | None = None) -> dict[str, float]:
        """Measure what has been learnt, and show it in a report; at the same place only once.

        Returns:
            the figures.
        """
        place = (self.stand.step, self.stand.stage)
        if self._shown is not None and self._shown[0] == place:
            return self._shown[1]
        figures, picture = self.measure()
        if report is not None:
            self._shown = (place, figures)
            report.scalars(self.step, figures | {"minutes": self.seconds / 60.0})
            report.grid(self.step, picture)
        return figures
