"""Discriminators that look at patches: which parts of an image look drawn rather than captured.

Source: StylePeople supplementary, section 1.2 ("all discriminators employ PatchGAN structure"),
which means Isola et al. 2017: convolutions of width 4, each halving the resolution and doubling
the channels, and one score per patch at the end.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

WIDEST = 8
"""Channels grow to so many times the first layer's, as in Isola et al."""


@dataclass(frozen=True, kw_only=True)
class PatchDiscriminatorConfig:
    """Architecture of a patch discriminator.

    Attributes:
        width: channels of the first layer.
        layers: halvings of the resolution. 3 see patches of 70² pixels, 2 of 34², 1 of 16².
        normalise: instance normalisation after all layers but the first and last. Statistics
            are an image's own: they depend neither on the batch nor on the number of processes.
    """

    width: int = 64
    layers: int = 3
    normalise: bool = True


class PatchDiscriminator(nn.Module):
    """PatchGAN: a score per patch, 1 for what was captured and 0 for what was drawn.

    Args:
        config: sizes.
        channels: of the images.
        seed: of the first values.
    """

    def __init__(
        self,
        config: PatchDiscriminatorConfig | None = None,
        *,
        channels: int = 3,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.config = config or PatchDiscriminatorConfig()
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.layers = _layers(self.config, channels)
        self.layers.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]

    def forward(self, images: Tensor) -> Tensor:
        """Return unbounded scores (B, 1, h, w) of images (B, channels, H, W) in 0…1.

        H and W at least 2^(layers + 2), so that a patch is left at the end.
        """
        scaled = (2.0 * images - 1.0).contiguous(memory_format=torch.channels_last)
        return self.layers(scaled)


def _layers(config: PatchDiscriminatorConfig, channels: int) -> nn.Sequential:
    widths = [config.width * min(2**k, WIDEST) for k in range(config.layers + 1)]
    layers: list[nn.Module] = []
    before = channels
    for index, after in enumerate(widths):
        # The last of these keeps the resolution, as in the paper that this comes from.
        stride = 2 if index < config.layers else 1
        layers.append(nn.Conv2d(before, after, 4, stride=stride, padding=1))
        if index and config.normalise:
            layers.append(nn.InstanceNorm2d(after))
        layers.append(nn.LeakyReLU(0.2))
        before = after
    layers.append(nn.Conv2d(before, 1, 4, padding=1))
    for layer in layers:
        if isinstance(layer, nn.Conv2d) and layer.bias is not None:
            nn.init.normal_(layer.weight, std=0.02)
            nn.init.zeros_(layer.bias)
    return nn.Sequential(*layers)
