"""StyleGAN2's discriminator: residual blocks down to 4², minibatch standard deviation, one score.

Source: Karras et al. 2020, configuration F. Portraits and generated textures' renders use it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from models.stylegan2 import EqualConv2d, EqualLinear, activate, downsample

LAST = 4
"""Resolution at which the blocks end."""


@dataclass(frozen=True, kw_only=True)
class DiscriminatorConfig:
    """Architecture of a StyleGAN2 discriminator.

    Attributes:
        size: side of the images, a power of two ≥ 8.
        channels: of the images.
        base: channels at resolution r are base / r, up to `widest`. StyleGAN2's is 32768.
        widest: most channels.
        group: images whose spread `minibatch_deviation` measures together.
    """

    size: int = 1024
    channels: int = 3
    base: int = 32768
    widest: int = 512
    group: int = 4

    def __post_init__(self) -> None:
        if self.size < 2 * LAST or self.size & (self.size - 1):
            raise ValueError(f"size must be a power of two, at least {2 * LAST}")

    def width(self, resolution: int) -> int:
        """Return the channels at a resolution."""
        return min(self.widest, self.base // resolution)


class Discriminator(nn.Module):
    """Scores images: high for captured ones, low for generated ones.

    Args:
        config: sizes.
    """

    def __init__(self, config: DiscriminatorConfig | None = None) -> None:
        super().__init__()
        self.config = config or DiscriminatorConfig()
        width = self.config.width
        sizes: list[int] = []
        size = self.config.size
        while size > LAST:
            sizes.append(size)
            size //= 2
        self.from_colour = EqualConv2d(self.config.channels, width(self.config.size), 1)
        self.blocks = nn.ModuleList(_Block(width(r), width(r // 2)) for r in sizes)
        last = width(LAST)
        self.last = EqualConv2d(last + 1, last, 3)
        self.hidden = EqualLinear(last * LAST * LAST, last)
        self.score = EqualLinear(last, 1)

    def forward(self, images: Tensor) -> Tensor:
        """Return unbounded scores (B, 1), float32, of images (B, channels, size, size), −1…1.

        Computes in the dtype of the images.
        """
        x = self.features(images)[-1]
        deviation = minibatch_deviation(x, self.config.group)
        x = activate(self.last(torch.cat([x, deviation], dim=1)))
        return self.score(activate(self.hidden(x.flatten(1).float())))

    def features(self, images: Tensor) -> list[Tensor]:
        """Return what each block makes of images, fine to coarse: fits compare images by it."""
        x = activate(self.from_colour(images.contiguous(memory_format=torch.channels_last)))
        found: list[Tensor] = []
        for block in self.blocks:
            x = block(x)
            found.append(x)
        return found


class _Block(nn.Module):
    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.first = EqualConv2d(inputs, inputs, 3)
        self.second = EqualConv2d(inputs, outputs, 3, down=True)
        self.skip = EqualConv2d(inputs, outputs, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        y = activate(self.second(activate(self.first(x))))
        return (y + self.skip(downsample(x))) / math.sqrt(2.0)


def minibatch_deviation(x: Tensor, group: int) -> Tensor:
    """Return one map (B, 1, H, W) of how much the images of a group differ.

    The standard deviation over the group of each feature and pixel, averaged over both: a
    generator whose images are all alike gives itself away.

    Args:
        x: (B, C, H, W).
        group: images that are compared; the largest divisor of B up to this.
    """
    batch, channels, height, width = x.shape
    size = max(n for n in range(1, min(group, batch) + 1) if batch % n == 0)
    grouped = x.float().reshape(size, batch // size, channels, height, width)
    deviation = torch.sqrt(grouped.var(dim=0, unbiased=False) + 1e-8).mean(dim=(1, 2, 3))
    return deviation.repeat(size)[:, None, None, None].expand(-1, 1, height, width).to(x.dtype)
