"""The network that labels portraits: small, learnt, on top of features that know photographs.

The features are EfficientNet-lite0's, fixed, as in the offline perceptual distance: its ImageNet
weights come inside an installed package. What reads labels from them was trained on synthetic
portraits alone and is all that a package holds. Features of photographs, never moved by synthetic
images, are why it works on photographs at all; that it shares them with the painter's training
makes it a milder judge of painted portraits than a network of its own would be.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from blender_addon.contract.labels import LABEL_COUNT
from models.perceptual import LiteDistance

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

FEATURES = (16, 24, 40, 112, 320)
"""Channels of EfficientNet-lite0 at strides 2, 4, 8, 16 and 32."""
STRIDE = 32
"""Sides of the images must be multiples of this."""


@dataclass(frozen=True, kw_only=True)
class ParserConfig:
    """Sizes of the part that is learnt.

    Attributes:
        widths: channels at strides 2, 4, 8, 16 and 32.
        colours: channels that are read from the image itself, at stride 2: clean borders.
        dropout: share of the features that are silent in training, so that none is relied on.
    """

    widths: tuple[int, int, int, int, int] = (32, 48, 80, 112, 128)
    colours: int = 16
    dropout: float = 0.1

    def to_plain(self) -> dict[str, Any]:
        """Return the values for a manifest's architecture."""
        return {name: list(v) if isinstance(v, tuple) else v for name, v in asdict(self).items()}

    @classmethod
    def from_plain(cls, values: Mapping[str, Any]) -> ParserConfig:
        """Read the values of a manifest's architecture; unknown names are ignored."""
        plain: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value
            for name, value in values.items()
            if name in cls.__dataclass_fields__
        }
        return cls(**plain)


class ParserDecoder(nn.Module):
    """Reads labels from features, from the coarsest to the finest, as a U-Net does.

    Args:
        config: sizes.
    """

    def __init__(self, config: ParserConfig | None = None) -> None:
        super().__init__()
        self.config = config or ParserConfig()
        widths = self.config.widths
        self.drop = nn.Dropout2d(self.config.dropout)
        self.colours = nn.Sequential(
            _convolution(3, self.config.colours, stride=2),
            _convolution(self.config.colours, self.config.colours),
        )
        self.sides = nn.ModuleList(
            nn.Sequential(nn.Conv2d(given, width, 1, bias=False), nn.BatchNorm2d(width))
            for given, width in zip(FEATURES, widths, strict=True)
        )
        # Every pixel is told what the whole image shows.
        self.whole = nn.Linear(widths[-1], widths[-1])
        self.lowest = _convolution(widths[-1], widths[-1])
        self.narrow = nn.ModuleList(nn.Conv2d(above, width, 1) for width, above in pairwise(widths))
        self.blocks = nn.ModuleList(_convolution(width, width) for width in widths[:-1])
        self.last = _convolution(widths[0] + self.config.colours, widths[0])
        self.head = nn.Conv2d(widths[0], LABEL_COUNT, 1)
        self.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]

    def forward(self, features: Sequence[Tensor], images: Tensor) -> Tensor:
        """Return logits (B, 17, H / 2, W / 2).

        Args:
            features: of `LiteDistance` with all stages.
            images: (B, 3, H, W) sRGB 0…1.
        """
        sides = [side(self.drop(f)) for side, f in zip(self.sides, features, strict=True)]
        x = self.lowest(functional.relu(sides[-1]))
        x = x + self.whole(x.mean(dim=(2, 3)))[:, :, None, None]
        for level in reversed(range(len(sides) - 1)):
            x = functional.interpolate(self.narrow[level](x), scale_factor=2, mode="bilinear")
            x = self.blocks[level](functional.relu(x + sides[level]))
        x = self.last(torch.cat([x, self.colours(images * 2.0 - 1.0)], dim=1))
        return self.head(x)


class ParserNetwork(nn.Module):
    """Fixed features and the learnt decoder: image to label logits.

    Args:
        config: sizes of the decoder.
        trunk: the features, where they are in memory already.
    """

    def __init__(
        self, config: ParserConfig | None = None, trunk: LiteDistance | None = None
    ) -> None:
        super().__init__()
        self.trunk = trunk or LiteDistance()
        self.decoder = ParserDecoder(config)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits (B, 17, H, W) float32.

        Args:
            images: (B, 3, H, W) sRGB 0…1; H and W multiples of `STRIDE`.
        """
        return functional.interpolate(self.coarse(images), scale_factor=2, mode="bilinear")

    def coarse(self, images: Tensor) -> Tensor:
        """Return logits (B, 17, H / 2, W / 2) float32, as the decoder gives them."""
        with torch.no_grad():
            features = self.trunk.features(images)
        return self.decoder(features, images).float()


def _convolution(before: int, after: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(before, after, 3, stride=stride, padding=1, bias=False),
        nn.BatchNorm2d(after),
        nn.ReLU(),
    )
