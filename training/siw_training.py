"""A SIW StyleGAN's training as it runs: its stages, the gate between them, and where it stands."""

from __future__ import annotations

import json
import threading
import time
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

import torch

from blender_addon.contract.errors import TrainingError
from models.siw import grow
from models.siw_encoder import StyleCodes
from models.siw_package import load_siw
from training.checkpoint import load_checkpoint, save_checkpoint
from training.prefetch import Prefetcher
from training.siw_data import make_batch, to_images
from training.siw_figures import Painter, RegionColours, colours_of, held_out_figures
from training.siw_recipe import STAGES
from training.siw_report import SiwReport, sample_grid
from training.siw_step import SiwStep

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from models.siw_package import Siw
    from training.siw_data import Batch, PortraitSet
    from training.siw_recipe import SiwRecipe, StageName

LOG_EVERY = 20
"""Steps between entries of the log."""
GATE_EVERY = 50
"""Steps between looks at a gate that is still closed."""
RECIPE_FILE = "recipe.json"
COLOURS_OF = 256
"""Training portraits whose colours drawn ones are compared with."""
HELD_OUT = 24
"""Held-out portraits that a look paints."""
_CHUNK = 16


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


class SiwTraining:
    """A training: players, portraits, and where it stands.

    Args:
        recipe: all that decides about it.
        portraits: what it sees.
        out: the run's folder.
        device: where it runs.

    Raises:
        TrainingError: no stage has an end, or a stage needs what the architecture lacks.
    """

    def __init__(
        self, recipe: SiwRecipe, portraits: PortraitSet, out: Path, device: torch.device
    ) -> None:
        _check(recipe)
        self.recipe = recipe
        self.portraits = portraits
        self.out = out
        self.device = device
        self.stepper = SiwStep(recipe, device)
        self.stand = Stand()
        self.stopping = threading.Event()
        self._colours: RegionColours | None = None
        self._looked_at: int | None = None

    @property
    def average(self) -> Siw:
        """The networks with the running average of weights: what is exported."""
        return self.stepper.average

    @property
    def stage(self) -> StageName | None:
        """The stage that the next step belongs to; None when all are done."""
        return STAGES[self.stand.stage] if self.stand.stage < len(STAGES) else None

    def resume(self) -> bool:
        """Go on from the run's checkpoint, if there is one.

        Raises:
            TrainingError: the checkpoint is of other portraits or another architecture.
        """
        state = load_checkpoint(self.out)
        if state is None:
            return False
        if state["digest"] != self.portraits.digest:
            raise TrainingError(
                f"{self.out}: the checkpoint was trained on other portraits",
                "give the same sets, or another --out with --init-from",
            )
        try:
            self.stepper.load(state)
        except (RuntimeError, ValueError, TypeError, KeyError) as error:
            raise TrainingError(
                f"{self.out}: the checkpoint is of another architecture or has other losses",
                "give the recipe that it was run with, or another --out with --init-from",
            ) from error
        self.stand = Stand(*state["stand"])
        return True

    def start(self, init_from: Path | None) -> None:
        """Set first values from a package of kind "siw", also of a smaller size.

        Raises:
            UnknownModel: there is no such package.
            TrainingError: it fits in nothing.
        """
        if init_from is None:
            return
        source = load_siw(init_from).to(self.device)
        for model in (self.stepper.model, self.stepper.average):
            try:
                model.mapping.load_state_dict(source.mapping.state_dict())
                if model.encoder is not None and source.encoder is not None:
                    model.encoder.load_state_dict(source.encoder.state_dict())
            except RuntimeError as error:
                raise TrainingError(
                    f"{init_from}: its styles are of another kind or size",
                    "start from a package of the same style, code and mapping",
                ) from error
            grow(model.generator, source.generator)
            model.prior = source.prior

    def run(
        self,
        *,
        stop_after: float | None = None,
        until: int | None = None,
        progress: bool = False,
    ) -> list[float]:
        """Train until all stages or the session end; a checkpoint stands at the end.

        Args:
            stop_after: minutes of this session.
            until: pause once so many steps have been made, sessions before counted; whoever asks
                for a pause looks for himself.
            progress: show a bar on stderr.

        Returns:
            the loss of each step made.

        Raises:
            TrainingDiverged: a loss is not finite or exploded; the last checkpoint stays.
            TrainingError: the warm-up did not pass its gate.
        """
        from tqdm import tqdm

        self.out.mkdir(parents=True, exist_ok=True)
        text = json.dumps(self.recipe.to_plain(), indent=1)
        (self.out / RECIPE_FILE).write_text(text + "\n", encoding="utf-8")
        report = SiwReport(self.out)
        history: list[float] = []
        try:
            with tqdm(initial=self.stand.step, disable=not progress, unit="step") as bar:
                for values in self._steps(report, stop_after, until):
                    history.append(values["loss"])
                    bar.set_postfix_str(self.stage or "done")
                    bar.update()
            if until is None and self._looked_at != self.stand.step:
                self.look(report)
        finally:
            report.close()
        return history

    def save(self) -> None:
        """Write the checkpoint."""
        state = self.stepper.to_plain() | {
            "stand": list(self.stand),
            "digest": self.portraits.digest,
        }
        save_checkpoint(self.out, state)

    def look(self, report: SiwReport | None = None) -> dict[str, float]:
        """Measure on held-out portraits, and show a grid of them; returns the figures."""
        model = self._drawing()
        painter = Painter(model.eval(), self.device, self.stepper.dtype)
        figures = held_out_figures(
            painter,
            self.portraits.held_out,
            self._training_colours(),
            count=HELD_OUT,
            seed=self.recipe.seed,
        )
        if report is not None:
            self._looked_at = self.stand.step
            named = {f"held-out/{name}": value for name, value in figures.items()}
            report.scalars(self.stand.step, named | {"minutes": self.stand.seconds / 60.0})
            report.grid(self.stand.step, sample_grid(painter, self.portraits.held_out))
        return figures

    def batch_of(self, step: int) -> Batch:
        """Return the portraits of a step."""
        recipe = self.recipe
        size = recipe.architecture.size
        return make_batch(self.portraits, recipe.data, size, recipe.seed, step)

    def _steps(
        self, report: SiwReport, stop_after: float | None, until: int | None = None
    ) -> Iterator[dict[str, float]]:
        schedule = self.recipe.schedule
        session = self.stand.seconds
        next_report = session + 60.0 * schedule.report_minutes
        next_save = session + 60.0 * schedule.checkpoint_minutes
        with Prefetcher(self.batch_of, self.stand.step) as prefetcher:
            batches = iter(prefetcher)
            while not self.stopping.is_set():
                if until is not None and self.stand.step >= until:
                    break
                stage = self._advance()
                if stage is None:
                    break
                if stop_after and self.stand.seconds - session > 60.0 * stop_after:
                    break
                yield self._timed_step(batches, stage, report)
                if self.stand.seconds >= next_save and not self.stepper.watch.in_doubt:
                    self.save()
                    next_save = self.stand.seconds + 60.0 * schedule.checkpoint_minutes
                if self.stand.seconds >= next_report:
                    self.look(report)
                    next_report = self.stand.seconds + 60.0 * schedule.report_minutes
        self.save()

    def _timed_step(
        self, batches: Iterator[Batch], stage: StageName, report: SiwReport
    ) -> dict[str, float]:
        started = time.monotonic()
        batch = next(batches)
        stand = self.stand
        seen = (stand.step - stand.first_step) * self.recipe.data.batch
        values = self.stepper.make(batch, stage, stand.step, seen)
        spent = time.monotonic() - started
        self.stand = stand._replace(step=stand.step + 1, seconds=stand.seconds + spent)
        if self.stand.step % LOG_EVERY == 0:
            images = self.stepper.images
            rate = images / max(self.stand.seconds, 1e-9)
            extra = {"stage": float(stand.stage), "images": images, "images_per_second": rate}
            report.scalars(self.stand.step, values | extra)
        return values

    def _advance(self) -> StageName | None:
        """Return the stage of the next step; on the way from one to the next, prepare it."""
        while (stage := self.stage) is not None:
            stand = self.stand
            planned = self.recipe.schedule.stage(stage)
            steps = stand.step - stand.first_step
            seconds = stand.seconds - stand.first_second
            progress = planned.progress(steps, seconds)
            if progress < 1.0:
                return stage
            if stage == "warm_up" and not planned.skipped and not self._may_pass(steps, seconds):
                return stage
            self.stand = stand._replace(
                stage=stand.stage + 1, first_step=stand.step, first_second=stand.seconds
            )
            if stage == "warm_up" and self.stepper.model.encoder is not None:
                self._learn_prior()
        return None

    def _may_pass(self, steps: int, seconds: float) -> bool:
        """Look at the gate after the warm-up.

        Raises:
            TrainingError: patience is over.
        """
        gate, planned = self.recipe.schedule.gate, self.recipe.schedule.warm_up
        if not gate.colour_error and not gate.chroma:
            return True
        longer = replace(
            planned,
            steps=None if planned.steps is None else round(planned.steps * gate.patience),
            minutes=None if planned.minutes is None else planned.minutes * gate.patience,
        )
        over = longer.progress(steps, seconds) >= 1.0
        # A look costs seconds: not after every step.
        if (steps - (planned.steps or 0)) % GATE_EVERY and not over:
            return False
        figures = self.look()
        errors = [figures.get(f"error/{name}", 0.0) for name in ("cloth", "background")]
        hues = [value for name, value in figures.items() if name.startswith("hue/")]
        hue = sum(hues) / max(len(hues), 1)
        error_holds = not gate.colour_error or max(errors) <= gate.colour_error
        if error_holds and (not gate.chroma or hue >= gate.chroma):
            return True
        if over:
            self.save()
            raise TrainingError(
                f"{self.out}: the styles have not learnt enough for an adversary: colours of cloth "
                f"and background are {max(errors):.3f} off, hues spread {hue:.2f} × the portraits'",
                "train the warm-up longer, give more portraits, or loosen schedule.gate",
            )
        return False

    def _learn_prior(self) -> None:
        """Read the codes of all training portraits: what drawn styles are like from now on."""
        encoder = self.stepper.average.encoder
        if encoder is None:
            return
        # The encoder that stays is the averaged one; the prior is about its codes.
        if self.stepper.model.encoder is not None:
            self.stepper.model.encoder.load_state_dict(encoder.state_dict())
        self.stepper.learn_prior(self._codes(encoder))

    def _drawing(self) -> Siw:
        """Return the averaged networks, with a prior of the moment while none is fixed."""
        model = self.stepper.average
        model.prior = self.stepper.model.prior
        if model.prior is None and model.encoder is not None:
            from models.siw_style import StylePrior

            codes = self._codes(model.encoder, COLOURS_OF)
            deviation = (0.5 * codes.log_variance).exp()
            model.prior = StylePrior.of(codes.mean, deviation, codes.present)
        return model

    @torch.no_grad()
    def _codes(self, encoder: torch.nn.Module, limit: int | None = None) -> StyleCodes:
        from models.siw import one_hot

        train = self.portraits.train
        count = len(train.images) if limit is None else min(limit, len(train.images))
        found: list[StyleCodes] = []
        for first in range(0, count, _CHUNK):
            images = to_images(train.images[first : min(first + _CHUNK, count)])
            labels = torch.from_numpy(train.labels[first : min(first + _CHUNK, count)])
            hot = one_hot(labels.to(self.device), self.recipe.architecture.labels)
            found.append(encoder(images.to(self.device), hot))
        return StyleCodes(*(torch.cat(parts) for parts in zip(*found, strict=True)))

    def _training_colours(self) -> RegionColours:
        if self._colours is None:
            train = self.portraits.train
            images = to_images(train.images[:COLOURS_OF])
            self._colours = colours_of(images, torch.from_numpy(train.labels[:COLOURS_OF]))
        return self._colours


def _check(recipe: SiwRecipe) -> None:
    schedule = recipe.schedule
    if all(schedule.stage(name).skipped for name in STAGES):
        raise TrainingError("no stage has an end", "set steps or minutes of a stage")
    paired = not schedule.warm_up.skipped or not schedule.adversarial.skipped
    if paired and not recipe.architecture.photo_encoder:
        raise TrainingError(
            "warm-up and adversarial stage learn styles from portraits, which needs a style encoder",
            "set architecture.photo_encoder, or train the unpaired stage alone",
        )
    if recipe.architecture.photo_encoder and recipe.architecture.mapping != "regions":
        raise TrainingError(
            "a style encoder gives a code a region, which the shared mapping does not take",
            'set architecture.mapping to "regions"',
        )
