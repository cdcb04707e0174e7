"""Sizes of a SIW StyleGAN; the defaults are SofGAN's at 1024²."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

from blender_addon.contract.labels import LABEL_COUNT

if TYPE_CHECKING:
    from collections.abc import Mapping

HALVINGS = 3
"""SIW StyleConv blocks of the label encoder; each halves the resolution."""


@dataclass(frozen=True, kw_only=True)
class SiwConfig:
    """Architecture of a SIW StyleGAN: generator, mapping and style encoder.

    Attributes:
        size: side of the images, a power of two.
        start: what the up-blocks begin with: "labels", the paper's encoder of the label map, or
            "constant", StyleGAN2's learned 4² block (the paper's comparison).
        label_size: side of the label map that the encoder takes in, at most `size`.
        encoder: channels after each of the encoder's blocks. The text says 256×16² at the end.
        base: channels of the up-blocks at resolution r are base / r, up to `widest`.
        widest: most channels.
        style: numbers of w.
        code: numbers of z.
        mapping: "shared", StyleGAN2's one mapping for all regions; or "regions", a small one that
            also knows which region it maps for.
        mapping_layers: fully connected layers of the mapping.
        mapping_width: their width, for "regions"; the shared mapping has `style`.
        mapping_rate: learning rate multiplier of the shared mapping.
        spade: resolutions whose convolutions SPADE modulates. None for StyleGAN2's baseline.
        spade_hidden: channels between label map and γ, β.
        spade_kernel: sides of the convolutions to the hidden channels and on to γ, β.
        style_bias: whether a region's style also shifts features after each convolution. The
            paper has none; small generators learn colours sooner with it.
        colour_from: lowest resolution that paints colours (StyleGAN2's ToRGB); the paper's is the
            first.
        photo_encoder: channels of the first convolution of the style encoder, which reads styles
            from images; 0 is none.
    """

    size: int = 1024
    start: Literal["labels", "constant"] = "labels"
    label_size: int = 128
    encoder: tuple[int, int, int] = (64, 128, 256)
    base: int = 32768
    widest: int = 512
    style: int = 512
    code: int = 512
    mapping: Literal["shared", "regions"] = "shared"
    mapping_layers: int = 8
    mapping_width: int = 512
    mapping_rate: float = 0.01
    spade: tuple[int, ...] = (64, 128, 256)
    spade_hidden: int = 128
    spade_kernel: tuple[int, int] = (3, 3)
    style_bias: bool = False
    colour_from: int = 4
    photo_encoder: int = 0

    def __post_init__(self) -> None:
        for name in ("size", "label_size"):
            side = getattr(self, name)
            if side < 2 ** (HALVINGS + 2) or side & (side - 1):
                raise ValueError(f"{name} must be a power of two, at least {2 ** (HALVINGS + 2)}")
        if self.label_size > self.size:
            raise ValueError("label_size must not be above size")
        if self.colour_from > self.size:
            raise ValueError("colour_from must not be above size: nothing would paint")

    @property
    def labels(self) -> int:
        """Number of labels, and of regions that have a style."""
        return LABEL_COUNT

    @property
    def resolutions(self) -> tuple[int, ...]:
        """Resolutions of the up-blocks, from the first on."""
        first = 4 if self.start == "constant" else self.label_size >> HALVINGS
        return tuple(first << k for k in range((self.size // first).bit_length()))

    def width(self, resolution: int) -> int:
        """Return the up-blocks' channels at a resolution."""
        return min(self.widest, self.base // resolution)

    def to_plain(self) -> dict[str, Any]:
        """Return the values for a manifest's architecture."""
        return {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items()}

    @classmethod
    def from_plain(cls, values: Mapping[str, Any]) -> SiwConfig:
        """Read the values of a manifest's architecture; unknown names are ignored."""
        names = cls.__dataclass_fields__
        plain: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value
            for name, value in values.items()
            if name in names
        }
        return cls(**plain)
