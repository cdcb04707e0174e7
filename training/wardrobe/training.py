"""A wardrobe's training as it runs: its stages one after the other, and where it stands."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from blender_addon.contract.errors import TrainingError
from models.dresser import grown
from models.spectral_texture import spectral_maps
from training.checkpoint import load_checkpoint, save_checkpoint
from training.stage import run_stage
from training.wardrobe.first_codes import principal_codes
from training.wardrobe.from_package import is_package, package_state
from training.wardrobe.growth import first_values
from training.wardrobe.recipe import STAGES
from training.wardrobe.samples import Looker, texture_rows
from training.wardrobe.step import WardrobeStep

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor

    from models.dresser import Dresser
    from training.divergence import DivergenceWatch
    from training.dressing_report import Report
    from training.wardrobe.data import Batch, Crowd, TextureBatch
    from training.wardrobe.model import WardrobeModel
    from training.wardrobe.recipe import StageName, WardrobeRecipe, WardrobeStage

SHOWN_TEXTURES = 8


class Stand(NamedTuple):
    """Where a training stands.

    Attributes:
        step: steps made.
        seconds: of training, all sessions together.
        stage: number of the stage among `STAGES`; their count when all are done.
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

    planned: WardrobeStage
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


class WardrobeTraining:
    """A training: players, captures, and where it stands.

    Args:
        recipe: all that decides about it.
        crowd: what it sees.
        out: the run's folder.
        device: where it runs.

    Raises:
        TrainingError: no stage has an end, or stages and captures do not fit together.
    """

    def __init__(
        self, recipe: WardrobeRecipe, crowd: Crowd, out: Path, device: torch.device
    ) -> None:
        _check(recipe)
        self.recipe, self.crowd, self.out, self.device = recipe, crowd, out, device
        spectral = spectral_maps(crowd.people.body, recipe.generator.spectral_sizes)
        self.stepper = WardrobeStep(recipe, len(crowd.train), spectral, device)
        self.stand = Stand()
        self.stopping = threading.Event()
        self.looker: Looker | None = None
        self._looked_at: tuple[int, int] | None = None

    @property
    def average(self) -> WardrobeModel:
        """The networks with the running average of weights: what is exported."""
        return self.stepper.average

    @property
    def ids(self) -> list[str]:
        """Names of the people that have a code, in order."""
        return [self.crowd.people.ids[person] for person in self.crowd.train]

    def resume(self) -> bool:
        """Go on from the run's checkpoint, if there is one.

        Raises:
            TrainingError: the checkpoint is of other captures or another architecture.
        """
        state = load_checkpoint(self.out)
        if state is None:
            return False
        if state["people"] != self.ids:
            raise TrainingError(
                f"{self.out}: the checkpoint was trained on other captures",
                "give the same ones, or another --out with --init_from",
            )
        try:
            self.stepper.load(state)
        except (RuntimeError, ValueError, TypeError, KeyError) as error:
            raise TrainingError(
                f"{self.out}: the checkpoint is of another architecture or has other stages",
                "give the recipe that it was run with, or another --out with --init_from",
            ) from error
        self.stand = Stand(*state["stand"])
        return True

    def start(self, init_from: Path | None, dresser: Dresser | None = None) -> None:
        """Set first values from another training, whose images may be half as large.

        Args:
            init_from: folder of a run or of a wardrobe's package; people that it does not know
                start at its mean code.
            dresser: whose layers R takes over where names and shapes agree; a run's come last.

        Raises:
            TrainingError: the folder holds no checkpoint, or nothing in it fits.
        """
        if dresser is not None:
            for model in (self.stepper.model, self.stepper.average):
                model.dresser.load_state_dict(first_values(model.dresser, dresser))
        if init_from is None:
            self._first_codes()
            return
        state = package_state(init_from) if is_package(init_from) else load_checkpoint(init_from)
        if state is None or "people" not in state:
            raise TrainingError(
                f"{init_from} holds no checkpoint of a wardrobe",
                "give the folder of a run, or of a wardrobe's package",
            )
        for model in (self.stepper.model, self.stepper.average):
            self._take_over(model, state)
        if self.stepper.adversarial is not None and state["adversarial"] is not None:
            self.stepper.adversarial.grow_from(state["adversarial"])
        if self.stepper.adversarial is not None and self._enlarged(state):
            self.stepper.adversarial.grown = True

    def run(self, *, stop_after: float | None = None, progress: bool = False) -> list[float]:
        """Train until all stages or the session end; a checkpoint stands at the end.

        Args:
            stop_after: minutes of this session; the schedule stays as planned.
            progress: show a bar on stderr.

        Returns:
            the loss of each step made.

        Raises:
            TrainingDiverged: a loss is not finite or exploded; the last checkpoint stays.
        """
        history: list[float] = []
        begin = self.stand.seconds
        while (name := self._advance()) is not None and not self.stopping.is_set():
            left = None
            if stop_after is not None:
                left = stop_after - (self.stand.seconds - begin) / 60.0
                if left <= 0.0:
                    break
            running = RunningStage(self, name)
            history += run_stage(running, stop_after=left, progress=progress)
        return history

    def look(self, report: Report | None = None) -> dict[str, float]:
        """Measure held-out frames and drawn people, and show them; returns the figures."""
        model = self.stepper.average.eval()
        if self.stage_name == "texture":
            figures, picture = self._look_at_textures(model)
        else:
            looker = self._looking()
            figures, picture = looker.figures(model), looker.grid(model)
        if report is not None:
            self._looked_at = (self.stand.step, self.stand.stage)
            report.scalars(self.stand.step, figures | {"minutes": self.stand.seconds / 60.0})
            report.grid(self.stand.step, picture)
        return figures

    def looked_at_images(self) -> dict[str, float]:
        """Return the figures of rendered people, whatever the stage."""
        return self._looking().figures(self.stepper.average.eval())

    def run_steps(self, count: int, history: list[float]) -> None:
        """Train for so many steps and save; add their losses to a history."""
        for _ in range(count):
            name = self._advance()
            if name is None:
                return
            running = RunningStage(self, name)
            history.append(running.make(running.batch_of(running.step))["loss"])
            running.step += 1
            running.save()

    def _looking(self) -> Looker:
        if self.looker is None:
            self.looker = Looker(self.crowd, self.recipe.seed)
        return self.looker

    @property
    def has_looked(self) -> bool:
        """Whether what has been learnt by now has been shown."""
        return self._looked_at == (self.stand.step, self.stand.stage)

    @property
    def stage_name(self) -> StageName | None:
        """The stage that the next step belongs to; None when all are done."""
        return STAGES[self.stand.stage] if self.stand.stage < len(STAGES) else None

    def save(self) -> None:
        """Write the checkpoint."""
        state: dict[str, Any] = self.stepper.to_plain()
        save_checkpoint(self.out, state | {"stand": list(self.stand), "people": self.ids})

    @torch.no_grad()
    def _look_at_textures(self, model: WardrobeModel) -> tuple[dict[str, float], Any]:
        few = self.crowd.train[:: max(len(self.crowd.train) // SHOWN_TEXTURES, 1)][:SHOWN_TEXTURES]
        truth = self.crowd.textures_of(few)
        painted = model.textures(model.codes[few])[:, :3].cpu()
        error = ((painted - truth.colour).abs() * truth.visibility).sum()
        random = torch.Generator().manual_seed(self.recipe.seed)
        drawn = model.textures(model.draw(len(few), random))[:, :3].cpu()
        spread = drawn.std(dim=0).mean() / truth.colour.std(dim=0).mean().clamp_min(1e-6)
        figures = {
            "textures/error": float(error / (3.0 * truth.visibility.sum()).clamp_min(1.0)),
            "textures/spread": float(spread),
            "codes/deviation": float(model.codes.std(dim=0).mean()),
        }
        return figures, texture_rows(drawn, [truth.colour * truth.visibility, painted])

    def _advance(self) -> StageName | None:
        """Return the stage of the next step, past those that are done or not planned."""
        while (name := self.stage_name) is not None:
            stand = self.stand
            length = self.length()
            if length.progress(stand.step, stand.seconds) < 1.0:
                return name
            self.stand = stand._replace(
                stage=stand.stage + 1, first_step=stand.step, first_second=stand.seconds
            )
            self.stepper.begin_stage()
        return None

    def length(self) -> StageLength:
        """Return how long the present stage is."""
        schedule, stand = self.recipe.schedule, self.stand
        return StageLength(
            schedule.stage(STAGES[stand.stage]),
            stand.first_step,
            stand.first_second,
            schedule.report_minutes,
            schedule.checkpoint_minutes,
        )

    def _first_codes(self) -> None:
        codes = self.recipe.codes
        if codes.first == "random":
            return
        batch = self.crowd.textures_of(self.crowd.train)
        style = self.recipe.generator.style
        found = principal_codes(batch.colour, batch.visibility, style, even=codes.even)
        with torch.no_grad():
            for model in (self.stepper.model, self.stepper.average):
                model.codes.copy_(found * codes.deviation)

    def _take_over(self, model: WardrobeModel, state: dict[str, Any]) -> None:
        values: dict[str, Tensor] = state["average"]
        parts = {
            part: {
                name.removeprefix(f"{part}."): value
                for name, value in values.items()
                if name.startswith(f"{part}.")
            }
            for part in ("generator", "dresser")
        }
        try:
            own = model.generator.state_dict()
            model.generator.load_state_dict({**own, **parts["generator"]})
            model.dresser.load_state_dict(grown(parts["dresser"], model.dresser))
        except RuntimeError as error:
            raise TrainingError(
                "the run to start from has another architecture",
                "start from a run of the same generator, and of a dresser that can grow to this one",
            ) from error
        codes = values["codes"]
        place = {name: k for k, name in enumerate(state["people"])}
        with torch.no_grad():
            for k, name in enumerate(self.ids):
                known = place.get(name)
                model.codes[k] = codes.mean(dim=0) if known is None else codes[known]

    def _enlarged(self, state: dict[str, Any]) -> bool:
        has = any(name.startswith("dresser.enlarger.") for name in state["average"])
        return self.recipe.dresser.upscale == 2 and not has


class RunningStage:
    """One stage of a training for `stage.run_stage`; see `stage.Stage`."""

    def __init__(self, training: WardrobeTraining, name: StageName) -> None:
        self._training = training
        self._name: StageName = name
        self.out = training.out
        self.schedule = training.length()
        self.step = training.stand.step
        self.seconds = training.stand.seconds
        self.stopping = training.stopping
        self.watch: DivergenceWatch = training.stepper.watch

    def recipe_values(self) -> dict[str, Any]:
        """Return the recipe as run."""
        return self._training.recipe.to_plain()

    def batch_of(self, step: int) -> Batch | TextureBatch:
        """Return a step's batch: the same for the same step."""
        crowd, seed = self._training.crowd, self._training.recipe.seed
        if self._name == "texture":
            return crowd.texture_batch(seed, step)
        if self._name == "image":
            unwrapped = self._training.recipe.weights.unwrapped > 0
            return crowd.batch(seed, step, whole=False, unwrapped=unwrapped)
        return crowd.batch(seed, step)

    def make(self, batch: Batch | TextureBatch) -> dict[str, float]:
        """Make one step."""
        first = self.schedule.first_step
        progress = self.schedule.progress(self.step, self.seconds)
        return self._training.stepper.make(
            batch, self._name, self.step, self.step - first, progress
        )

    def save(self) -> None:
        """Write the checkpoint."""
        self._note()
        self._training.save()

    def look(self, report: Report) -> None:
        """Measure and show what has been learnt."""
        self._note()
        if not self._training.has_looked:
            self._training.look(report)

    def _note(self) -> None:
        stand = self._training.stand
        self._training.stand = stand._replace(step=self.step, seconds=self.seconds)


def _check(recipe: WardrobeRecipe) -> None:
    schedule = recipe.schedule
    if all(schedule.stage(name).skipped for name in STAGES):
        raise TrainingError("no stage has an end", "set steps or minutes of a stage")
    adversarial = not schedule.adversarial.skipped
    if adversarial and recipe.weights.adv_binary and recipe.data.frames < 2:
        raise TrainingError("D_binary needs two frames of a person", "set data.frames to 2 or more")
    if recipe.codes.prior == "mapping" and not recipe.generator.mapping_layers:
        raise TrainingError(
            "the prior is the mapping network, and the generator has none",
            'set generator.mapping_layers, or codes.prior to "gaussian"',
        )
