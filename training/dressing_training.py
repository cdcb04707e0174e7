"""A neural dressing training as it runs: model, optimiser, data, and where it stands."""

from __future__ import annotations

import threading
from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

from blender_addon.contract.errors import TrainingError
from models.package import DEFAULT_LIBRARY
from models.shell import shell_distances
from training.checkpoint import load_checkpoint, save_checkpoint
from training.dressing_data import Batch, People, load_frames, make_batch
from training.dressing_model import DressingModel, RunningAverage, average_state
from training.dressing_report import look as look_at
from training.dressing_start import (
    start_from,
    start_from_kept_textures,
    start_from_plain_textures,
)
from training.dressing_step import DressingStep
from training.processes import Processes, start_fabric
from training.schedule import require_end
from training.stage import iterate_stage, losses_of

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Iterator
    from pathlib import Path

    from models.dresser import Dressed
    from training.divergence import DivergenceWatch
    from training.dressing_data import Frame
    from training.dressing_recipe import DressingRecipe, DressingSchedule
    from training.report import Report

HELD_OUT_FRAMES = 6
"""Frames a person that a running training looks at."""
WARM_START_CROPS = 4
"""Crops a step of the plain textures' fit."""


class StepReport(NamedTuple):
    """Where a training stands.

    Attributes:
        step: steps made so far.
        seconds: of training so far, all sessions together.
        progress: of the stage, 0…1.
        values: losses and rates of the step just made; None in the middle of a step.
    """

    step: int
    seconds: float
    progress: float
    values: dict[str, float] | None


class DressingTraining:
    """A training as it runs: model, optimiser, data and where it stands.

    Args:
        recipe: all that decides about it.
        captures: folders, one a person.
        out: the run's folder.
        library: where the body lies.
        device: "auto", "cpu", "cuda", "cuda:0".
        devices: processes; each takes `data.batch` crops a step.
        overfit: train on so many frames in all; 0 for all there are.
    """

    def __init__(
        self,
        recipe: DressingRecipe,
        captures: Iterable[Path],
        out: Path,
        *,
        library: Path = DEFAULT_LIBRARY,
        device: str = "auto",
        devices: int = 1,
        overfit: int = 0,
    ) -> None:
        require_end(recipe.schedule)
        self.recipe = recipe
        self.out = out
        self.people = People.open(list(captures), library)
        if recipe.architecture.shell:
            self.people = replace(self.people, shell=shell_distances(self.people.body))
        self.frames = self._read_frames(overfit)
        self.held_out = load_frames(self.people, "held-out", HELD_OUT_FRAMES)
        self.fabric = start_fabric(device, devices)
        self.processes = Processes(self.fabric)
        self.device = self.fabric.device
        self.stepper = DressingStep(recipe, self.people, self.frames, self.fabric, self.processes)
        self.average: RunningAverage | None = None
        self.step = 0
        self.seconds = 0.0
        self.stopping = threading.Event()

    @property
    def model(self) -> DressingModel:
        """The dresser and the textures as they are trained."""
        return self.stepper.model

    def resume(self) -> bool:
        """Go on from the run's checkpoint, if there is one.

        Raises:
            TrainingError: the checkpoint is of other captures or another architecture.
        """
        state = load_checkpoint(self.out)
        if state is None:
            return False
        if state["digests"] != self._digests():
            raise TrainingError(
                f"{self.out}: the checkpoint was trained on other captures",
                "give the same captures in the same order, or another --out with --init-from",
            )
        try:
            self.stepper.load(state)
        except (RuntimeError, ValueError, TypeError, KeyError) as error:
            raise TrainingError(
                f"{self.out}: the checkpoint is of another architecture or has other losses",
                "give the recipe that it was run with, or another --out with --init-from",
            ) from error
        self.step, self.seconds = int(state["step"]), float(state["seconds"])
        self._start_average()
        if self.average is not None and state["average"] is not None:
            for name, value in state["average"].items():
                self.average.values[name].copy_(value)
        return True

    def start(self, init_from: Path | None = None, plain_textures: Path | None = None) -> None:
        """Set first values: from a run or packages where given, from plain RGB textures elsewhere."""
        started: set[int] = set()
        if init_from is not None:
            started = start_from(self.model, self.people, init_from)
        if plain_textures is not None:
            started |= start_from_kept_textures(self.model, self.people, plain_textures)
        start_from_plain_textures(
            self.model,
            replace(self.people, shell=None),  # plain colours lie on the body
            self.frames,
            # As many crops whatever a process takes: all start alike, and like one alone.
            replace(self.recipe.data, batch=WARM_START_CROPS, people_per_batch=1),
            steps=self.recipe.optimiser.warm_start,
            seed=self.recipe.seed,
            leave=started,
        )
        # Every process fitted the same; rounding may differ between machines.
        self.processes.copy_first(list(self.model.state_dict().values()))
        self._start_average()

    def run(self, *, stop_after: float | None = None, progress: bool = False) -> list[float]:
        """Train until the stage or the session ends; a checkpoint stands at the end.

        Args:
            stop_after: minutes of this session.
            progress: show a bar on stderr.

        Returns:
            the loss of each step made.

        Raises:
            TrainingDiverged: a loss or gradient is not finite; the last checkpoint stays.
        """
        return losses_of(self._made(stop_after), self, progress=progress)

    def iterate(self, stop_after: float | None = None) -> Iterator[StepReport]:
        """Train step by step, and let the caller do something else in between.

        Yields twice a step: before the backward pass (`values` is None) and when the step is
        made. Closing the iterator between ends the session like `stop_after`: with a checkpoint.
        Time that the caller takes does not count.

        Args:
            stop_after: minutes of this session.

        Raises:
            TrainingDiverged: a loss or gradient is not finite; the last checkpoint stays.
        """
        with closing(self._made(stop_after)) as made:
            for values in made:
                done = self.schedule.progress(self.step, self.seconds)
                yield StepReport(self.step, self.seconds, done, values)

    @property
    def schedule(self) -> DressingSchedule:
        """How long the stage is."""
        return self.recipe.schedule

    @property
    def watch(self) -> DivergenceWatch:
        """Looked at in each step."""
        return self.stepper.watch

    def recipe_values(self) -> dict[str, Any]:
        """Return the recipe as run."""
        return self.recipe.to_plain()

    def save(self) -> None:
        """Write the checkpoint; of several processes the first does."""
        if self.processes.is_first:
            state = self.stepper.to_plain() | {
                "people": self.people.ids,
                "digests": self._digests(),
                "step": self.step,
                "seconds": self.seconds,
                "average": None if self.average is None else self.average.values,
            }
            save_checkpoint(self.out, state)
        self.processes.wait()

    def batch_of(self, step: int) -> Batch:
        """Return this process's crops of a step."""
        data, count = self.recipe.data, self.processes.count
        together = replace(
            data, batch=count * data.batch, people_per_batch=count * data.people_per_batch
        )
        share = (self.processes.rank, count)
        return make_batch(self.people, self.frames, together, self.recipe.seed, step, share=share)

    def look(self, report: Report) -> None:
        """Render frames that it does not train on, and measure them."""
        shown = [held or own for held, own in zip(self.held_out, self.frames, strict=True)]
        shown = [some[:HELD_OUT_FRAMES] for some in shown]
        model = self.averaged_model()

        def dress(batch: Batch) -> Dressed:
            with self.fabric.autocast():
                return model(self.fabric.to_device(batch))

        figures, picture = look_at(dress, self.people, shown, self.recipe.data.size)
        report.scalars(self.step, figures | {"minutes": self.seconds / 60})
        report.grid(self.step, picture)

    def averaged_model(self) -> DressingModel:
        """Return a model in evaluation mode with the running average, or the model's values."""
        size = self.recipe.optimiser.texture_size
        model = DressingModel(self.recipe.architecture, len(self.frames), texture_size=size)
        model = model.to(self.device)
        average = None if self.average is None else self.average.values
        model.load_state_dict(average_state(self.model.state_dict(), average))
        return model.eval()

    def _made(self, stop_after: float | None) -> Generator[dict[str, float] | None]:
        return iterate_stage(self, self._parts, stop_after=stop_after, processes=self.processes)

    def _parts(self, batch: Batch) -> Iterator[dict[str, float] | None]:
        """Make one step; the caller gets the turn in the middle."""
        progress = self.schedule.progress(self.step, self.seconds)
        for values in self.stepper.make(batch, self.step, progress):
            if values is not None:
                self._follow()
            yield values

    def _follow(self) -> None:
        every = self.recipe.optimiser.average_every
        if self.average is not None and (self.step + 1) % every == 0:
            self.average.update(self.model, self.step + 1, every)

    def _start_average(self) -> None:
        if self.recipe.optimiser.average:
            self.average = RunningAverage(self.model, self.recipe.optimiser.average)

    def _read_frames(self, overfit: int) -> list[list[Frame]]:
        limit = -(-overfit // len(self.people.captures)) if overfit else None
        frames = load_frames(self.people, "train", limit)
        if not all(frames):
            raise TrainingError("a capture has no training frames", "check its splits")
        return frames

    def _digests(self) -> list[str]:
        return [capture.digest for capture in self.people.captures]
