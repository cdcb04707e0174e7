"""One step of the wardrobe's training, in each of its stages."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from models.stylegan2_training import decay_of_half_life, follow
from training.divergence import DivergenceWatch
from training.schedule import fallen, risen
from training.wardrobe.adversarial import Adversarial
from training.wardrobe.data import TextureBatch
from training.wardrobe.losses import ImageLosses, texture_losses
from training.wardrobe.model import WardrobeModel, equalised_groups

if TYPE_CHECKING:
    from collections.abc import Sequence

    from training.wardrobe.data import Batch
    from training.wardrobe.recipe import StageName, WardrobeRecipe

IMAGE_TERMS = (
    "l1", "perceptual", "face_perceptual", "segmentation", "mask_entropy",
)  # fmt: skip
"""The losses of images against the truth."""


class WardrobeStep:
    """The players of a training, their optimisers, and the step that they make.

    Args:
        recipe: all that decides about them.
        people: captures that have a code, by index; the first ones of the crowd.
        spectral: maps of the body.
        device: where they lie.
    """

    def __init__(
        self,
        recipe: WardrobeRecipe,
        people: int,
        spectral: Sequence[Tensor] | None,
        device: torch.device,
    ) -> None:
        self.recipe = recipe
        self.device = device
        self.model = WardrobeModel(recipe, people, spectral).to(device)
        self.average = copy.deepcopy(self.model).eval().requires_grad_(requires_grad=False)
        self.watch = DivergenceWatch(recipe.schedule.explosion)
        self.images = 0
        self.image_losses = ImageLosses(recipe.weights, device)
        self.adversarial: Adversarial | None = None
        if not recipe.schedule.adversarial.skipped:
            self.adversarial = Adversarial(recipe, device)
        self.optimiser = self._adam()

    def make(
        self,
        batch: Batch | TextureBatch,
        stage: StageName,
        step: int,
        steps_of_stage: int,
        progress: float,
    ) -> dict[str, float]:
        """Make a step.

        Args:
            batch: textures in the texture stage, else images.
            stage: which losses take part.
            step: steps made before, in all stages.
            steps_of_stage: steps made before in this one.
            progress: how much of the stage is done, 0…1.

        Returns:
            losses by name.

        Raises:
            TrainingDiverged: a value is not finite or the losses exploded; no weight has moved.
        """
        random = torch.Generator().manual_seed(self.recipe.seed * 1_000_003 + step)
        self._set_rates(stage, steps_of_stage, progress)
        self._set_mode(stage, progress)
        if isinstance(batch, TextureBatch):
            parts, seen = self._texture_parts(batch, random, progress), len(batch.people)
        elif stage == "image":
            self._fade_in(progress)
            parts, seen = self._image_parts(batch.to(self.device), random), batch.shape[0]
        else:
            return self._against(batch.to(self.device), step, steps_of_stage, random)
        unwrapped = self.recipe.weights.unwrapped if stage == "image" else 1.0
        scale = self._scales(1.0, 0.0, unwrapped)
        values = self._improve(parts, step, scale, self.recipe.optimiser.clip)
        self._follow(seen, step)
        return values

    def begin_stage(self) -> None:
        """Forget how high the losses were: those of another stage are others."""
        self.watch = DivergenceWatch(self.recipe.schedule.explosion)

    def code_loss(self, codes: Tensor) -> Tensor:
        """Return half the codes' mean square: what keeps them near a unit Gaussian."""
        return 0.5 * codes.square().mean()

    def _texture_parts(
        self, batch: TextureBatch, random: torch.Generator, progress: float
    ) -> dict[str, Tensor]:
        size = self.recipe.generator.size
        quarter, half = self.recipe.data.coarse
        until = size // 4 if progress < quarter else size // 2 if progress < half else size
        own = self.model.codes[list(batch.people)]
        painted = self.model.textures(self._noisy(own, random), until)
        parts = texture_losses(painted, batch.to(self.device), self.recipe.weights)
        return parts | {"codes": self.code_loss(own)}

    def _image_parts(self, batch: Batch, random: torch.Generator) -> dict[str, Tensor]:
        own = self.model.codes[list(batch.people)]
        textures = self.model.textures(self._noisy(own, random))
        dressed = self.model.dress(self.model.features(textures, batch), batch)
        parts = self.image_losses.losses(dressed, batch)
        if batch.unwrapped is not None:
            # G has painted the textures anyway, and unwrapped photographs show all sides at once.
            parts |= texture_losses(textures, batch.unwrapped, self.recipe.weights)
        return parts | {"codes": self.code_loss(own)}

    def _against(
        self, batch: Batch, step: int, steps_of_stage: int, random: torch.Generator
    ) -> dict[str, float]:
        adversarial = self.adversarial
        if adversarial is None:
            raise RuntimeError("this training was planned without an adversarial stage")
        seen = steps_of_stage * batch.shape[0]
        self._set_fades(seen)
        drawn = adversarial.paint(self.model, batch, random)
        parts = adversarial.players_losses(self.model, drawn, batch, step, random)
        kept = self.recipe.weights.kept
        if drawn.paired and kept:
            own = self.image_losses.losses(drawn.of_pairs, drawn.pairs_of(batch))
            parts |= own
            parts["codes"] = self.code_loss(self.model.codes[list(batch.people)[: drawn.paired]])
        values = self._improve(parts, step, self._scales(kept, adversarial.weight_at(seen)))
        values |= adversarial.learn(drawn, batch, step)
        self._follow(batch.shape[0], step)
        return values

    def _fade_in(self, progress: float) -> None:
        """Let the image stage begin at half of R's size, which costs little more than half."""
        begin, end = self.recipe.data.small
        if self.recipe.dresser.upscale == 2 and end > 0:
            fade = (progress - begin) / max(end - begin, 1e-6)
            self.model.dresser.fade = self.average.dresser.fade = min(max(fade, 0.0), 1.0)

    def _set_fades(self, seen: int) -> None:
        """Bring grown layers in by the images seen in the adversarial stage."""
        images = self.recipe.adversaries.fade_images
        if not images or self.adversarial is None or not self.adversarial.grown:
            return
        fade = min(seen / images, 1.0)
        self.model.dresser.fade = self.average.dresser.fade = fade
        self.adversarial.set_fade(fade)

    def _noisy(self, codes: Tensor, random: torch.Generator) -> Tensor:
        deviation = self.recipe.codes.noise
        if not deviation:
            return codes
        return codes + deviation * torch.randn(codes.shape, generator=random).to(codes.device)

    def _improve(
        self, parts: dict[str, Tensor], step: int, scale: dict[str, float], clip: float = 0.0
    ) -> dict[str, float]:
        """Let G, R, codes and q_ξ learn, unless something went wrong."""
        loss = torch.stack([scale[name] * part for name, part in parts.items()]).sum()
        values = {f"loss/{name}": part.item() for name, part in parts.items()}
        values["loss"] = loss.item()
        truth = ("texture", "edges", *IMAGE_TERMS)
        supervised = sum(scale[k] * values[f"loss/{k}"] for k in truth if k in parts)
        self.watch.look(step, values, supervised)
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        if clip:
            for network in (self.model.generator, self.model.dresser):
                torch.nn.utils.clip_grad_norm_(network.parameters(), clip)
        self.optimiser.step()
        return values

    def _scales(self, kept: float, adversarial: float, unwrapped: float = 0.0) -> dict[str, float]:
        weights = self.recipe.weights
        scale = {name: getattr(weights, name) * kept for name in IMAGE_TERMS}
        scale |= {name: getattr(weights, name) * unwrapped for name in ("texture", "edges")}
        scale |= {name: getattr(weights, name) for name in ("augreg", "wreg")}
        for name in ("adv_unary", "adv_binary", "adv_face"):
            scale[name] = getattr(weights, name) * adversarial
        return scale | {
            "path": weights.path * self.recipe.adversaries.path_every,
            "codes": self.recipe.codes.pull,
        }

    def _follow(self, seen: int, step: int) -> None:
        self.images += seen
        every = self.recipe.optimiser.average_every
        if step % every:
            return
        optimiser = self.recipe.optimiser
        half_life = optimiser.average_images
        if optimiser.average_ramp:
            half_life = min(half_life, optimiser.average_ramp * self.images + 1.0)
        follow(self.average, self.model, decay_of_half_life(seen * every, half_life))

    def _adam(self) -> torch.optim.Adam:
        optimiser = self.recipe.optimiser
        groups: list[dict[str, Any]] = [
            {"params": list(self.model.generator.parameters()), "name": "generator", "gain": 1.0},
            {"params": [self.model.codes], "name": "codes", "gain": 1.0},
        ]
        dresser = equalised_groups(self.model.dresser, equalised=optimiser.equalised)
        groups += [{"params": own, "name": "dresser", "gain": gain} for gain, own in dresser]
        if self.adversarial is not None and self.adversarial.regressor is not None:
            own = list(self.adversarial.regressor.parameters())
            groups.append({"params": own, "name": "regressor", "gain": 1.0})
        betas = (optimiser.beta1, optimiser.beta2)
        return torch.optim.Adam(groups, optimiser.generator_rate, betas, eps=1e-8, fused=True)

    def _set_rates(self, stage: StageName, steps_of_stage: int, progress: float) -> None:
        optimiser = self.recipe.optimiser
        factor = risen(steps_of_stage, optimiser.warm_up)
        if stage == "adversarial":
            rates = {"generator": optimiser.generator_rate, "dresser": optimiser.dresser_rate}
        else:
            rates = {"generator": optimiser.texture_rate, "dresser": 0.0}
            if stage == "image":
                rates = {
                    "generator": optimiser.image_rate,
                    "dresser": optimiser.image_dresser_rate,
                }
            # Linear from half of the stage on: Adam's noise is then averaged away.
            factor *= fallen(min(2.0 - 2.0 * progress, 1.0), optimiser.floor)
        rates |= {"codes": optimiser.code_rate, "regressor": optimiser.regressor_rate}
        for group in self.optimiser.param_groups:
            group["lr"] = rates[group["name"]] * group["gain"] * factor
            beta1 = optimiser.beta1 if stage == "adversarial" else optimiser.fit_beta1
            group["betas"] = (beta1, optimiser.beta2)

    def _set_mode(self, stage: StageName, progress: float) -> None:
        share = self.recipe.optimiser.freeze_statistics
        self.model.train()
        if share < 1.0 and (stage == "adversarial" or progress >= share):
            self.model.freeze_statistics()

    def to_plain(self) -> dict[str, Any]:
        """Return what a checkpoint keeps."""
        return {
            "model": self.model.state_dict(),
            "average": self.average.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "adversarial": None if self.adversarial is None else self.adversarial.to_plain(),
            "watch": self.watch.to_plain(),
            "images": self.images,
            "fade": self.model.dresser.fade,
        }

    def load(self, state: dict[str, Any]) -> None:
        """Go on from a checkpoint.

        Raises:
            RuntimeError: it is of another architecture.
            ValueError: its optimisers are of other parts.
            TypeError: it has no adversaries where this training has them.
        """
        self.model.load_state_dict(state["model"])
        self.average.load_state_dict(state["average"])
        self.optimiser.load_state_dict(state["optimiser"])
        if self.adversarial is not None:
            self.adversarial.load(state["adversarial"])
        self.watch.load(state["watch"])
        self.images = int(state["images"])
        self.model.dresser.fade = self.average.dresser.fade = fade_in(state)


def fade_in(state: dict[str, Any]) -> float:
    """Return how far a checkpoint's dresser had its last layers faded in."""
    return float(state.get("fade", 1.0))
