"""A discriminator that looks at features of a fixed network instead of at pixels.

Source: Sauer et al. 2021 (Projected GANs), reduced: EfficientNet-lite0's ImageNet features at four
strides, a fixed random mixing of channels, and a small patch discriminator on each. What images
look like is known to the fixed network already, so that it says something useful after minutes,
where a discriminator from nothing needs hours. A Fréchet distance in the same features flatters
whoever was trained with it: measure with another network's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from models.dresser import autocast_dtype

if TYPE_CHECKING:
    from collections.abc import Sequence

    from models.perceptual import LiteDistance

STAGES = (1, 2, 3, 4)
"""Stages of lite0: strides 4, 8, 16, 32."""
LITE0_CHANNELS = (16, 24, 40, 112, 320)


@dataclass(frozen=True, kw_only=True)
class ProjectedDiscriminatorConfig:
    """Architecture of a projected discriminator.

    Attributes:
        mixed: channels after the fixed random mixing.
        width: channels of each head's hidden layer.
    """

    mixed: int = 64
    width: int = 64


class ProjectedDiscriminator(nn.Module):
    """Scores images by heads on fixed features.

    Args:
        features: of the fixed network; it is not part of this module's parameters or state.
        config: sizes.
    """

    def __init__(
        self, features: LiteDistance, config: ProjectedDiscriminatorConfig | None = None
    ) -> None:
        super().__init__()
        self.config = config or ProjectedDiscriminatorConfig()
        # In a tuple: a module as attribute would be saved and counted with this one.
        self._features = (features,)
        c = self.config
        self.mixing = nn.ModuleList()
        self.heads = nn.ModuleList()
        for stage in STAGES:
            mixing = nn.Conv2d(LITE0_CHANNELS[stage], c.mixed, 1, bias=False)
            nn.init.kaiming_normal_(mixing.weight, nonlinearity="linear")
            self.mixing.append(mixing.requires_grad_(requires_grad=False))
            self.heads.append(
                nn.Sequential(
                    spectral_norm(nn.Conv2d(c.mixed, c.width, 3, padding=1)),
                    nn.LeakyReLU(0.2),
                    spectral_norm(nn.Conv2d(c.width, c.width, 3, padding=1)),
                    nn.LeakyReLU(0.2),
                    spectral_norm(nn.Conv2d(c.width, 1, 1)),
                )
            )

    def forward(self, images: Tensor) -> list[Tensor]:
        """Return unbounded scores (B, 1, h, w), float32, of each head.

        Args:
            images: (B, 3, H, W), −1…1, H and W at least 64.
        """
        found = self._features[0].features(images * 0.5 + 0.5)
        dtype = autocast_dtype(images.device)
        scores: list[Tensor] = []
        with torch.autocast(images.device.type, dtype or torch.bfloat16, enabled=dtype is not None):
            for stage, mixing, head in zip(STAGES, self.mixing, self.heads, strict=True):
                scores.append(head(mixing(found[stage])).float())
        return scores


def hinge_loss(captured: Sequence[Tensor], generated: Sequence[Tensor]) -> Tensor:
    """Return the discriminator's hinge loss, mean over heads: max(0, 1 − D(x)) + max(0, 1 + D(G))."""
    pairs = zip(captured, generated, strict=True)
    terms = [torch.relu(1.0 - a).mean() + torch.relu(1.0 + b).mean() for a, b in pairs]
    return torch.stack(terms).mean()


def hinge_generator_loss(scores: Sequence[Tensor]) -> Tensor:
    """Return −D(G), mean over heads."""
    return -torch.stack([each.mean() for each in scores]).mean()
