"""The adversary of a SIW StyleGAN: StyleGAN2's discriminator, or one that looks at fixed features."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from models.projected_discriminator import (
    ProjectedDiscriminator,
    ProjectedDiscriminatorConfig,
    hinge_generator_loss,
    hinge_loss,
)
from models.stylegan2_discriminator import Discriminator, DiscriminatorConfig
from models.stylegan2_training import discriminator_loss, generator_loss, gradient_penalty
from training.siw_losses import vary

if TYPE_CHECKING:
    from models.perceptual import LiteDistance
    from training.siw_recipe import SiwAdversary


class Adversary(nn.Module):
    """Judges portraits, and learns to.

    Args:
        settings: its kind and sizes.
        size: side of the portraits.
        dtype: that StyleGAN2's discriminator computes in.
        features: for the projected kind.
    """

    def __init__(
        self,
        settings: SiwAdversary,
        size: int,
        dtype: torch.dtype,
        features: LiteDistance | None,
    ) -> None:
        super().__init__()
        self._settings = settings
        self._dtype = dtype
        self.pixels: Discriminator | None = None
        self.projected: ProjectedDiscriminator | None = None
        if settings.kind == "stylegan2":
            config = DiscriminatorConfig(size=size, base=settings.base, widest=settings.widest)
            self.pixels = Discriminator(config)
        elif features is not None:
            projected = ProjectedDiscriminatorConfig(width=settings.width)
            self.projected = ProjectedDiscriminator(features, projected)

    def scores(self, images: Tensor) -> list[Tensor]:
        """Return scores of images (B, 3, H, W), −1…1, of each head."""
        if self.pixels is not None:
            return [self.pixels(images.to(self._dtype))]
        if self.projected is not None:
            return self.projected(images)
        raise RuntimeError("a projected adversary needs features")

    def loss(self, painted: Tensor, generator: torch.Generator) -> Tensor:
        """Return the generator's loss: how much the painted portraits look painted."""
        scores = self.scores(vary(painted, self._settings.augment, generator))
        return hinge_generator_loss(scores) if self.projected else generator_loss(scores[0])

    def own_loss(self, captured: Tensor, painted: Tensor, generator: torch.Generator) -> Tensor:
        """Return the discriminator's loss on captured and painted portraits (detached here)."""
        strength = self._settings.augment
        true = self.scores(vary(captured, strength, generator))
        false = self.scores(vary(painted.detach(), strength, generator))
        return hinge_loss(true, false) if self.projected else discriminator_loss(true[0], false[0])

    def penalty(self, captured: Tensor) -> Tensor:
        """Return R1 weighted for being computed now and then: γ / 2 · interval · E‖∇D‖²."""
        settings = self._settings
        images = captured[: settings.r1_images or None].detach().requires_grad_()
        weight = 0.5 * settings.r1 * settings.r1_every
        return weight * gradient_penalty(self.scores(images)[0], images)

    def penalised_at(self, step: int) -> bool:
        """Whether R1 is due; the projected kind has none."""
        settings = self._settings
        return settings.kind == "stylegan2" and settings.r1 > 0 and step % settings.r1_every == 0

    def optimiser(self) -> torch.optim.Adam:
        """Return its Adam; lazy R1 slows rate and decays as StyleGAN2 does."""
        settings = self._settings
        lazy = settings.kind == "stylegan2" and settings.r1 > 0
        share = settings.r1_every / (settings.r1_every + 1) if lazy else 1.0
        moving = [p for p in self.parameters() if p.requires_grad]
        return torch.optim.Adam(moving, settings.rate * share, (0.0, 0.99**share), eps=1e-8)
