"""A SIW StyleGAN's training as it runs: its stages, the gate between them, and where it stands."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch

from blender_addon.contract.errors import TrainingError
from models.siw import grow
from models.siw_encoder import StyleCodes
from models.siw_package import load_siw
from training.checkpoint import load_checkpoint, save_checkpoint
from training.siw_data import make_batch, to_images
from training.siw_figures import Painter, RegionColours, colours_of, held_out_figures
from training.siw_recipe import STAGES
from training.siw_report import sample_grid
from training.siw_step import SiwStep
from training.staged import StagedTraining, Stand

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from models.siw_package import Siw
    from training.divergence import DivergenceWatch
    from training.schedule import StagePlan
    from training.siw_data import Batch, PortraitSet
    from training.siw_recipe import SiwRecipe, StageName

GATE_EVERY = 50
"""Steps between looks at a gate that is still closed."""
COLOURS_OF = 256
"""Training portraits whose colours drawn ones are compared with."""
HELD_OUT = 24
"""Held-out portraits that a look paints."""
_CHUNK = 16


class SiwTraining(StagedTraining["StageName", "Batch"]):
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
        super().__init__(STAGES, recipe.schedule, out)
        _check(recipe)
        self.recipe = recipe
        self.portraits = portraits
        self.device = device
        self.stepper = SiwStep(recipe, device)
        self._colours: RegionColours | None = None
        self._longer: StagePlan | None = None

    @property
    def average(self) -> Siw:
        """The networks with the running average of weights: what is exported."""
        return self.stepper.average

    @property
    def watch(self) -> DivergenceWatch:
        """Of all stages."""
        return self.stepper.watch

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

    def recipe_values(self) -> dict[str, Any]:
        """Return the recipe as run."""
        return self.recipe.to_plain()

    def batch_of(self, step: int) -> Batch:
        """Return the portraits of a step, the same in all stages."""
        recipe = self.recipe
        size = recipe.architecture.size
        return make_batch(self.portraits, recipe.data, size, recipe.seed, step)

    def make(self, batch: Batch) -> dict[str, float]:
        """Make one step of the present stage."""
        if self.stage is None:
            raise RuntimeError("all stages are done")
        rate = self.stepper.images / max(self.seconds, 1e-9)
        seen = self.steps_of_stage * self.recipe.data.batch
        values = self.stepper.make(batch, self.stage, self.step, seen)
        images = float(self.stepper.images)
        stage = float(self.stand.stage)
        return values | {"stage": stage, "images": images, "images_per_second": rate}

    def save(self) -> None:
        """Write the checkpoint."""
        state = self.stepper.to_plain() | {
            "stand": list(self.stand),
            "digest": self.portraits.digest,
        }
        save_checkpoint(self.out, state)

    def measure(self) -> tuple[dict[str, float], NDArray[np.uint8]]:
        """Measure held-out portraits, and paint some of them."""
        painter = Painter(self._drawing().eval(), self.device, self.stepper.dtype)
        figures = held_out_figures(
            painter,
            self.portraits.held_out,
            self._training_colours(),
            count=HELD_OUT,
            seed=self.recipe.seed,
        )
        named = {f"held-out/{name}": value for name, value in figures.items()}
        return named, sample_grid(painter, self.portraits.held_out)

    def planned(self, name: StageName) -> StagePlan:
        """Return how long a stage is; a warm-up whose gate is closed is longer than planned."""
        if name == "warm_up" and self._longer is not None:
            return self._longer
        return super().planned(name)

    def may_end(self, name: StageName) -> bool:
        """Look at the gate after the warm-up; while it is closed, plan up to the next look.

        Raises:
            TrainingError: patience is over.
        """
        gate, planned = self.recipe.schedule.gate, self.recipe.schedule.warm_up
        if name != "warm_up" or not (gate.colour_error or gate.chroma):
            return True
        steps, seconds = self.steps_of_stage, self.seconds - self.stand.first_second
        most = replace(
            planned,
            steps=None if planned.steps is None else round(planned.steps * gate.patience),
            minutes=None if planned.minutes is None else planned.minutes * gate.patience,
        )
        over = most.progress(steps, seconds) >= 1.0
        # A look costs seconds: not after every step. Counted from the plan, so that a resumed
        # training looks where an unbroken one does.
        since = (steps - (planned.steps or 0)) % GATE_EVERY
        if (over or not since) and self._gate_is_open(over=over):
            return True
        next_look = steps + GATE_EVERY - since
        self._longer = replace(most, steps=min(next_look, most.steps or next_look))
        return False

    def ended(self, name: StageName) -> None:
        """Fix the prior of drawn styles once the warm-up is over."""
        if name == "warm_up" and self.stepper.model.encoder is not None:
            self._learn_prior()

    def _gate_is_open(self, *, over: bool) -> bool:
        gate, figures = self.recipe.schedule.gate, self.look()
        errors = [figures.get(f"held-out/error/{name}", 0.0) for name in ("cloth", "background")]
        hues = [value for name, value in figures.items() if name.startswith("held-out/hue/")]
        hue = sum(hues) / max(len(hues), 1)
        error_holds = not gate.colour_error or max(errors) <= gate.colour_error
        if error_holds and (not gate.chroma or hue >= gate.chroma):
            return True
        if over:
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
