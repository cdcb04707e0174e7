"""A wardrobe's training as it runs: its stages one after the other, and where it stands."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from blender_addon.contract.errors import TrainingError
from models.dresser import grown
from models.spectral_texture import spectral_maps
from training.checkpoint import load_checkpoint, save_checkpoint
from training.staged import StagedTraining, Stand
from training.wardrobe.first_codes import principal_codes
from training.wardrobe.from_package import is_package, package_state
from training.wardrobe.growth import first_values
from training.wardrobe.recipe import STAGES
from training.wardrobe.samples import Looker, texture_rows
from training.wardrobe.step import WardrobeStep

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

    from models.dresser import Dresser
    from training.divergence import DivergenceWatch
    from training.wardrobe.data import Batch, Crowd, TextureBatch
    from training.wardrobe.model import WardrobeModel
    from training.wardrobe.recipe import StageName, WardrobeRecipe

SHOWN_TEXTURES = 8


class WardrobeTraining(StagedTraining["StageName", "Batch | TextureBatch"]):
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
        super().__init__(STAGES, recipe.schedule, out)
        _check(recipe)
        self.recipe, self.crowd, self.device = recipe, crowd, device
        spectral = spectral_maps(crowd.people.body, recipe.generator.spectral_sizes)
        self.stepper = WardrobeStep(recipe, len(crowd.train), spectral, device)
        self.looker: Looker | None = None

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

    @property
    def watch(self) -> DivergenceWatch:
        """Of the present stage."""
        return self.stepper.watch

    def recipe_values(self) -> dict[str, Any]:
        """Return the recipe as run."""
        return self.recipe.to_plain()

    def batch_of(self, step: int) -> Batch | TextureBatch:
        """Return a step's batch in the present stage: the same for the same step."""
        crowd, seed = self.crowd, self.recipe.seed
        if self.stage == "texture":
            return crowd.texture_batch(seed, step)
        if self.stage == "image":
            return crowd.batch(seed, step, whole=False, unwrapped=self.recipe.weights.unwrapped > 0)
        return crowd.batch(seed, step)

    def make(self, batch: Batch | TextureBatch) -> dict[str, float]:
        """Make one step of the present stage."""
        if self.stage is None:
            raise RuntimeError("all stages are done")
        progress = self.schedule.progress(self.step, self.seconds)
        return self.stepper.make(batch, self.stage, self.step, self.steps_of_stage, progress)

    def ended(self, name: StageName) -> None:
        """Begin the next stage's watch anew."""
        del name
        self.stepper.begin_stage()

    def measure(self) -> tuple[dict[str, float], NDArray[np.uint8]]:
        """Measure held-out frames and drawn people, and paint them."""
        model = self.stepper.average.eval()
        if self.stage == "texture":
            return self._look_at_textures(model)
        return self._looking().figures(model), self._looking().grid(model)

    def looked_at_images(self) -> dict[str, float]:
        """Return the figures of rendered people, whatever the stage."""
        return self._looking().figures(self.stepper.average.eval())

    def _looking(self) -> Looker:
        if self.looker is None:
            self.looker = Looker(self.crowd, self.recipe.seed)
        return self.looker

    def save(self) -> None:
        """Write the checkpoint."""
        state: dict[str, Any] = self.stepper.to_plain()
        save_checkpoint(self.out, state | {"stand": list(self.stand), "people": self.ids})

    @torch.no_grad()
    def _look_at_textures(self, model: WardrobeModel) -> tuple[dict[str, float], NDArray[np.uint8]]:
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


def _check(recipe: WardrobeRecipe) -> None:
    adversarial = not recipe.schedule.adversarial.skipped
    if adversarial and recipe.weights.adv_binary and recipe.data.frames < 2:
        raise TrainingError("D_binary needs two frames of a person", "set data.frames to 2 or more")
    if recipe.codes.prior == "mapping" and not recipe.generator.mapping_layers:
        raise TrainingError(
            "the prior is the mapping network, and the generator has none",
            'set generator.mapping_layers, or codes.prior to "gaussian"',
        )
