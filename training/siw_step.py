"""One step of a SIW StyleGAN's training, in each of its stages."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from models.dresser import autocast_dtype
from models.perceptual import LiteDistance
from models.siw import one_hot
from models.siw_layers import Styles
from models.siw_package import Siw
from models.siw_style import StylePrior
from models.stylegan2_training import PathLength, decay_of_half_life, follow
from training.divergence import DivergenceWatch
from training.siw_adversary import Adversary
from training.siw_losses import recovery_loss, region_colour_loss, swapped_style_loss

if TYPE_CHECKING:
    from models.siw_encoder import StyleCodes, StyleEncoder
    from training.siw_data import Batch
    from training.siw_recipe import SiwRecipe, StageName

PATH_NOISE = 7919
"""Keeps the path length's random numbers apart from the step's other ones."""


class Drawn(NamedTuple):
    """Styles drawn for portraits that have no truth.

    Attributes:
        styles: to paint with.
        codes: (U, 17, Z) they come from, for reading them back; None without a style encoder.
        certain: (U, 17) bool, regions that take one code alone.
    """

    styles: Styles
    codes: Tensor | None
    certain: Tensor | None


class SiwStep:
    """The players of a training, their optimisers, and the step that they make.

    Args:
        recipe: all that decides about them.
        device: where they lie.
    """

    def __init__(self, recipe: SiwRecipe, device: torch.device) -> None:
        self.recipe = recipe
        self.device = device
        self.dtype = autocast_dtype(device) or torch.float32
        with torch.random.fork_rng():
            torch.manual_seed(recipe.seed)
            self.model = Siw(recipe.architecture).to(device)
        self.average = copy.deepcopy(self.model).eval().requires_grad_(requires_grad=False)
        self.path = PathLength().to(device)
        self.watch = DivergenceWatch(recipe.schedule.explosion)
        self.images = 0
        needs_features = recipe.weights.perceptual or recipe.adversary.kind == "projected"
        self.features = LiteDistance().to(device) if needs_features else None
        self.adversary: Adversary | None = None
        self.own_optimiser: torch.optim.Adam | None = None
        if recipe.weights.adversarial:
            with torch.random.fork_rng():
                torch.manual_seed(recipe.seed + 1)
                size = recipe.architecture.size
                self.adversary = Adversary(recipe.adversary, size, self.dtype, self.features)
            self.adversary.to(device)
            self.own_optimiser = self.adversary.optimiser()
        self.optimiser = self._adam()

    def make(
        self, batch: Batch, stage: StageName, step: int, images_of_stage: int
    ) -> dict[str, float]:
        """Make a step.

        Args:
            batch: on any device.
            stage: which losses take part.
            step: steps made before.
            images_of_stage: portraits seen in this stage, for the adversary's ramp.

        Returns:
            losses by name.

        Raises:
            TrainingDiverged: a value is not finite or the losses exploded; no weight has moved.
        """
        batch = batch.to(self.device)
        random = torch.Generator().manual_seed(self.recipe.seed * 1_000_003 + step)
        self._set_rates(stage)
        if stage == "warm_up":
            values = self._warm_up(batch, step, random)
        else:
            values = self._against(batch, stage, step, images_of_stage, random)
        self.images += len(batch.images)
        optimiser = self.recipe.optimiser
        half_life = optimiser.average_images
        if optimiser.average_ramp:
            half_life = min(half_life, optimiser.average_ramp * self.images + 1.0)
        follow(self.average, self.model, decay_of_half_life(len(batch.images), half_life))
        return values

    def learn_prior(self, codes: StyleCodes) -> None:
        """Take the spread of all training portraits' codes as the prior of drawn ones."""
        prior = StylePrior.of(codes.mean, (0.5 * codes.log_variance).exp(), codes.present)
        self.model.prior = self.average.prior = prior

    def _warm_up(self, batch: Batch, step: int, random: torch.Generator) -> dict[str, float]:
        encoder, weights = self._encoder(), self.recipe.weights
        labels = one_hot(batch.labels, self.recipe.architecture.labels)
        codes = encoder(batch.images, labels)
        z = codes.sample(torch.randn(codes.mean.shape, generator=random).to(self.device))
        count = len(z)
        swapped = min(round(count * self.recipe.data.swapped), count // 2)
        own = count - swapped
        # The last portraits' label maps take the first ones' styles.
        painted = self._paint(labels, Styles.by_region(self._map(z[:own], z[:swapped])))
        parts = self._paired(painted[:own], batch.images[:own], labels[:own])
        if swapped and weights.colour:
            parts["swapped"] = swapped_style_loss(
                painted[own:], labels[own:], batch.images[:swapped], labels[:swapped]
            )
        if weights.divergence:
            parts["divergence"] = codes.divergence()
        return self._improve(parts, step, None)

    def _against(
        self, batch: Batch, stage: StageName, step: int, seen: int, random: torch.Generator
    ) -> dict[str, float]:
        """Make a step with drawn styles and the adversary; one painting serves both players."""
        recipe, weights = self.recipe, self.recipe.weights
        settings, regions = recipe.adversary, recipe.architecture.labels
        unpaired = stage == "unpaired"
        share = recipe.data.paired_unpaired if unpaired else recipe.data.paired
        count = len(batch.images)
        paired = round(count * share) if self.model.encoder is not None else 0
        free_labels = batch.others[paired:] if unpaired else batch.labels[paired:]
        labels = one_hot(torch.cat([batch.labels[:paired], free_labels]), regions)
        parts: dict[str, Tensor] = {}
        images: list[Tensor] = []
        deviation: Tensor | None = None
        if paired:
            codes, deviation = self._read(batch.images[:paired], labels[:paired])
            z = codes.sample(torch.randn(codes.mean.shape, generator=random).to(self.device))
            own = self._paint(labels[:paired], Styles.by_region(self.model.mapping(z)))
            parts |= self._paired(own, batch.images[:paired], labels[:paired])
            images.append(own)
        drawn = self._draw(count - paired, stage, random)
        free = self._paint(labels[paired:], drawn.styles)
        images.append(free)
        painted = torch.cat(images)
        own_loss: Tensor | None = None
        if self.adversary is not None:
            self.adversary.requires_grad_(requires_grad=False)
            ramp = min(1.0, (seen + count) / max(settings.ramp_images, 1))
            parts["adversarial"] = ramp * self.adversary.loss(painted, random)
        if weights.recovery and drawn.codes is not None and self.model.encoder is not None:
            read = self.model.encoder(free, labels[paired:])
            if deviation is None:
                deviation = torch.ones(1, device=self.device)
            parts["recovery"] = recovery_loss(read, drawn.codes, deviation, drawn.certain)
        if unpaired and settings.path and step % settings.path_every == 0:
            parts["path"] = self._path_length(labels[paired:], stage, step)
        if self.adversary is not None:
            own_loss = self._judge(batch.captured, painted, step, random)
        return self._improve(parts, step, own_loss)

    def _judge(
        self, captured: Tensor, painted: Tensor, step: int, random: torch.Generator
    ) -> Tensor | None:
        """Return the discriminator's loss; its parameters learn from it alone."""
        if self.adversary is None:
            return None
        for parameter in self.adversary.parameters():
            # The fixed mixing of features never learns.
            parameter.requires_grad_()
        if self.adversary.projected is not None:
            self.adversary.projected.mixing.requires_grad_(requires_grad=False)
        loss = self.adversary.own_loss(captured[: len(painted)], painted, random)
        if self.adversary.penalised_at(step):
            loss = loss + self.adversary.penalty(captured)
        return loss

    def _draw(self, count: int, stage: StageName, random: torch.Generator) -> Drawn:
        """Draw styles: one a portrait, or two mixed by region."""
        architecture, mixing = self.recipe.architecture, self.recipe.adversary.mixing
        regions = architecture.labels
        two = torch.rand(count, generator=random) < mixing
        similarity = torch.rand(count, regions, generator=random)
        similarity = torch.where(two[:, None], similarity, 1.0).to(self.device)
        if self.model.prior is None:
            shape = (count, architecture.code)
            if architecture.mapping == "regions":
                shape = (count, regions, architecture.code)
            first, second = (
                self.model.mapping(torch.randn(shape, generator=random).to(self.device))
                for _ in range(2)
            )
            if not mixing:
                # One style costs half of two blended ones.
                shared = architecture.mapping == "shared"
                one = Styles.everywhere(first) if shared else Styles.by_region(first)
                return Drawn(one, None, None)
            return Drawn(Styles.mixed(first, second, similarity), None, None)
        one, other = (self.model.prior.draw(count, random).to(self.device) for _ in range(2))
        if stage == "unpaired":
            # The paper's equation 8: outputs are blended.
            first, second = self.model.mapping(one), self.model.mapping(other)
            styles = Styles.mixed(first, second, similarity)
            return Drawn(styles, one, similarity >= 1.0)
        # Cheaper: each region takes either code, by one convolution.
        takes_first = (similarity >= 0.5)[..., None]
        codes = torch.where(takes_first, one, other)
        return Drawn(Styles.by_region(self.model.mapping(codes)), codes, None)

    def _path_length(self, labels: Tensor, stage: StageName, step: int) -> Tensor:
        settings = self.recipe.adversary
        random = torch.Generator().manual_seed(self.recipe.seed * PATH_NOISE + step)
        count = max(1, len(labels) // settings.path_shrink)
        drawn = self._draw(count, stage, random)
        painted = self._paint(labels[:count], drawn.styles)
        noise = torch.randn(painted.shape, generator=random).to(self.device)
        penalty = self.path(painted, drawn.styles.w, noise)
        return settings.path * settings.path_every * penalty

    def _paired(self, painted: Tensor, captured: Tensor, labels: Tensor) -> dict[str, Tensor]:
        weights = self.recipe.weights
        parts: dict[str, Tensor] = {}
        if weights.l1:
            parts["l1"] = functional.l1_loss(painted, captured)
        if weights.perceptual and self.features is not None:
            parts["perceptual"] = self.features(painted * 0.5 + 0.5, captured * 0.5 + 0.5)
        if weights.colour:
            parts["colour"] = region_colour_loss(painted, captured, labels)
        return parts

    def _improve(
        self, parts: dict[str, Tensor], step: int, own_loss: Tensor | None
    ) -> dict[str, float]:
        """Let both players learn from their losses, unless something went wrong."""
        scale = vars(self.recipe.weights) | {"path": 1.0, "swapped": self.recipe.weights.colour}
        loss = torch.stack([scale[name] * part for name, part in parts.items()]).sum()
        values = {f"loss/{name}": part.item() for name, part in parts.items()}
        supervised = sum(
            scale[name] * values[f"loss/{name}"] for name in ("l1", "perceptual") if name in parts
        )
        if own_loss is not None:
            values["discriminator"] = own_loss.item()
        values["loss"] = loss.item()
        self.watch.look(step, values, supervised)
        self.optimiser.zero_grad(set_to_none=True)
        if own_loss is not None and self.own_optimiser is not None:
            self.own_optimiser.zero_grad(set_to_none=True)
            own_loss.backward()
        # The generator's graph was built while the adversary's parameters took no gradient.
        loss.backward()
        if own_loss is not None and self.own_optimiser is not None:
            self.own_optimiser.step()
        self.optimiser.step()
        return values

    def _paint(self, labels: Tensor, styles: Styles) -> Tensor:
        return self.model.generator(labels, styles, self.dtype)

    def _map(self, own: Tensor, swapped: Tensor) -> Tensor:
        return self.model.mapping(torch.cat([own, swapped]))

    def _read(self, images: Tensor, labels: Tensor) -> tuple[StyleCodes, Tensor]:
        """Read codes without learning to read: the encoder is fixed once the prior is."""
        with torch.no_grad():
            codes = self._encoder()(images, labels)
            deviation = (0.5 * codes.log_variance).exp().mean(dim=0)
        return codes, deviation

    def _encoder(self) -> StyleEncoder:
        if self.model.encoder is None:
            raise RuntimeError("this stage needs a style encoder (architecture.photo_encoder)")
        return self.model.encoder

    def _adam(self) -> torch.optim.Adam:
        optimiser, adversary = self.recipe.optimiser, self.recipe.adversary
        stages = self.recipe.schedule
        lazy = adversary.path > 0 and stages.warm_up.skipped and stages.adversarial.skipped
        share = adversary.path_every / (adversary.path_every + 1) if lazy else 1.0
        groups: list[dict[str, Any]] = [
            {"params": list(self.model.generator.parameters()), "name": "generator"},
            {"params": list(self.model.mapping.parameters()), "name": "mapping"},
        ]
        if self.model.encoder is not None:
            groups.append({"params": list(self.model.encoder.parameters()), "name": "encoder"})
        betas = (optimiser.beta1**share, optimiser.beta2**share)
        self._rate_share = share
        return torch.optim.Adam(groups, optimiser.generator_rate, betas, eps=1e-8)

    def _set_rates(self, stage: StageName) -> None:
        optimiser = self.recipe.optimiser
        later = 1.0 if stage == "warm_up" else optimiser.later
        mapping = optimiser.mapping_rate * (1.0 if stage == "warm_up" else optimiser.mapping_later)
        rates = {
            "generator": optimiser.generator_rate,
            "mapping": mapping,
            "encoder": optimiser.mapping_rate,
        }
        for group in self.optimiser.param_groups:
            group["lr"] = rates[group["name"]] * later * self._rate_share
        if self.model.encoder is not None:
            # Once codes are drawn from a prior, what they mean must stay.
            self.model.encoder.requires_grad_(stage == "warm_up")

    def to_plain(self) -> dict[str, Any]:
        """Return what a checkpoint keeps."""
        prior, own = self.model.prior, self.own_optimiser
        return {
            "model": self.model.state_dict(),
            "average": self.average.state_dict(),
            "prior": None if prior is None else prior._asdict(),
            "optimiser": self.optimiser.state_dict(),
            "adversary": None if self.adversary is None else self.adversary.state_dict(),
            "own_optimiser": None if own is None else own.state_dict(),
            "path": self.path.state_dict(),
            "watch": self.watch.to_plain(),
            "images": self.images,
        }

    def load(self, state: dict[str, Any]) -> None:
        """Go on from a checkpoint.

        Raises:
            RuntimeError: it is of another architecture.
            ValueError: its optimisers are of other parts.
            TypeError: it has no adversary where this training has one.
        """
        self.model.load_state_dict(state["model"])
        self.average.load_state_dict(state["average"])
        prior = state["prior"]
        if prior is not None:
            prior = StylePrior(**{k: v.to(self.device) for k, v in prior.items()})
        self.model.prior = self.average.prior = prior
        self.optimiser.load_state_dict(state["optimiser"])
        if self.adversary is not None and self.own_optimiser is not None:
            self.adversary.load_state_dict(state["adversary"])
            self.own_optimiser.load_state_dict(state["own_optimiser"])
        self.path.load_state_dict(state["path"])
        self.watch.load(state["watch"])
        self.images = int(state["images"])
