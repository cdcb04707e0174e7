"""Reads the style code of every region from an image and its label map.

Pooled colours say most: mean and spread of each region's pixels, and pooled features of two small
convolutions for what a mean does not see (strands, patterns, gloss). Training pairs it with the
generator as an auto-encoder (`training/siw_step.py`); afterwards it gives the styles of photographs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.stylegan2 import SLOPE

if TYPE_CHECKING:
    from models.siw_config import SiwConfig

SIDE = 128
"""Resolution at which the convolutions look, whatever the image's."""
LEAST_SHARE = 5e-4
"""Share of the image below which a region counts as absent: 8 pixels of 128²."""
HIDDEN = 64
LOG_VARIANCE = (-8.0, 2.0)
"""Limits of the codes' log variance."""


class StyleCodes(NamedTuple):
    """A Gaussian code for each region.

    Attributes:
        mean: (B, 17, Z), 0 where the region is absent.
        log_variance: (B, 17, Z), 0 where absent.
        present: (B, 17) bool.
    """

    mean: Tensor
    log_variance: Tensor
    present: Tensor

    def sample(self, noise: Tensor) -> Tensor:
        """Return codes with noise (B, 17, Z) from N(0, 1); absent regions get the noise itself."""
        drawn = self.mean + noise * (0.5 * self.log_variance).exp()
        return torch.where(self.present[..., None], drawn, noise)

    def divergence(self) -> Tensor:
        """Return KL(code ‖ N(0, 1)), summed over regions and numbers, mean over images."""
        terms = self.mean.square() + self.log_variance.exp() - self.log_variance - 1.0
        return 0.5 * (terms * self.present[..., None]).sum(dim=(1, 2)).mean()


class StyleEncoder(nn.Module):
    """Image and label map to a code per region.

    Args:
        config: sizes; `photo_encoder` must not be 0.
    """

    def __init__(self, config: SiwConfig) -> None:
        super().__init__()
        width, regions = config.photo_encoder, config.labels
        self.near = nn.Conv2d(5, width, 3, stride=2, padding=1)
        self.far = nn.Conv2d(width, 2 * width, 3, stride=2, padding=1)
        self.further = nn.Conv2d(2 * width, 2 * width, 3, padding=1)
        features = 6 + width + 2 * width
        self.first = _per_region(regions, features, HIDDEN)
        self.first_bias = nn.Parameter(torch.zeros(regions, HIDDEN))
        self.second = _per_region(regions, HIDDEN, 2 * config.code)
        self.second_bias = nn.Parameter(torch.zeros(regions, 2 * config.code))
        with torch.no_grad():
            # Codes start nearly certain (variance e⁻²): noise then hides no colour.
            self.second_bias[:, config.code :] = -2.0

    def forward(self, images: Tensor, labels: Tensor) -> StyleCodes:
        """Read codes.

        Args:
            images: (B, 3, H, W), −1…1.
            labels: (B, 17, H, W) one-hot; H and W at least 16.
        """
        mean, deviation, share = region_statistics(images, labels)
        small = _to_side(images)
        masks = _to_side(labels)
        x = torch.cat([small, _coordinates(small)], dim=1)
        near = functional.leaky_relu(self.near(x), SLOPE)
        far = functional.leaky_relu(self.far(near), SLOPE)
        far = functional.leaky_relu(self.further(far), SLOPE)
        pooled = [_pool(near, masks), _pool(far, masks)]
        features = torch.cat([mean, 3.0 * deviation, *pooled], dim=2)
        hidden = torch.einsum("brf,rfh->brh", features, self.first) + self.first_bias
        hidden = functional.leaky_relu(hidden, SLOPE)
        out = torch.einsum("brh,rhz->brz", hidden, self.second) + self.second_bias
        present = share >= LEAST_SHARE
        code, log_variance = out.chunk(2, dim=2)
        shown = present[..., None].to(code.dtype)
        return StyleCodes(code * shown, log_variance.clamp(*LOG_VARIANCE) * shown, present)


def region_statistics(images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return each region's mean colour, its deviation, and its share of the image.

    Args:
        images: (B, 3, H, W).
        labels: (B, R, H, W) one-hot.

    Returns:
        mean (B, R, 3) and standard deviation (B, R, 3), 0 and small where absent; share (B, R).
    """
    area = labels.sum(dim=(2, 3))
    flat, masks = images.flatten(2), labels.flatten(2)
    divisor = area.clamp(min=1.0)[..., None]
    mean = masks @ flat.transpose(1, 2) / divisor
    square = masks @ flat.square().transpose(1, 2) / divisor
    # A floor under the root: its gradient is infinite at 0.
    deviation = (square - mean.square()).clamp(min=1e-5).sqrt()
    return mean, deviation, area / (images.shape[2] * images.shape[3])


def _pool(features: Tensor, masks: Tensor) -> Tensor:
    """Return (B, R, C), the mean of features over each region."""
    masks = functional.adaptive_avg_pool2d(masks, (features.shape[2], features.shape[3]))
    total = masks.sum(dim=(2, 3)).clamp(min=0.05)[..., None]
    return masks.flatten(2) @ features.flatten(2).transpose(1, 2) / total


def _to_side(x: Tensor) -> Tensor:
    factor = max(1, min(x.shape[-2:]) // SIDE)
    return functional.avg_pool2d(x, factor) if factor > 1 else x


def _coordinates(x: Tensor) -> Tensor:
    """Return (B, 2, H, W), −1…1: light comes from a side."""
    across = torch.linspace(-1.0, 1.0, x.shape[3], device=x.device, dtype=x.dtype)
    down = torch.linspace(-1.0, 1.0, x.shape[2], device=x.device, dtype=x.dtype)
    y, x_ = torch.meshgrid(down, across, indexing="ij")
    return torch.stack([x_, y]).expand(len(x), -1, -1, -1)


def _per_region(regions: int, inputs: int, outputs: int) -> nn.Parameter:
    """Return a linear layer's weights for each region, with He initialisation."""
    deviation = (2.0 / (1.0 + SLOPE * SLOPE) / inputs) ** 0.5
    return nn.Parameter(torch.randn(regions, inputs, outputs) * deviation)
