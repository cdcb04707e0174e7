"""SIW StyleGAN: paints a portrait onto a label map, each region in its own style.

Source: SofGAN (Chen et al. 2020, first version), section 5.1. One-hot labels pass three SIW
StyleConv blocks down to 256×16², then StyleGAN2's up-blocks with the same convolutions, SPADE at
64²–256² but not in the blocks that paint colours, and no noise. What depends on the label map
alone (`LabelParts`) is computed once for all styles that are tried on it.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.siw_config import SiwConfig
from models.siw_layers import RegionConv, RegionMap, Spade, Styles
from models.stylegan2 import upsample

if TYPE_CHECKING:
    from collections.abc import Iterable

CONSTANT_SIDE = 4


class LabelParts(NamedTuple):
    """What a portrait needs of its label map, whatever the styles.

    Attributes:
        one_hot: (B, 17, h, w) at the encoder's input.
        maps: regions by nominal resolution.
        spade: (γ, √2 β) of each convolution, by nominal resolution.
    """

    one_hot: Tensor
    maps: dict[int, RegionMap]
    spade: dict[int, list[tuple[Tensor, Tensor]]]


class SiwGenerator(nn.Module):
    """Label map and styles to an image.

    Args:
        config: sizes.
    """

    def __init__(self, config: SiwConfig | None = None) -> None:
        super().__init__()
        self.config = config or SiwConfig()
        c = self.config
        bias = c.style_bias
        resolutions = c.resolutions
        self.constant: nn.Parameter | None = None
        self.encoder = nn.ModuleList()
        if c.start == "constant":
            before = c.width(CONSTANT_SIDE)
            self.constant = nn.Parameter(torch.randn(1, before, CONSTANT_SIDE, CONSTANT_SIDE))
        else:
            widths = (c.labels, *c.encoder)
            self.encoder.extend(
                RegionConv(a, b, 3, c.style, style_bias=bias) for a, b in pairwise(widths)
            )
            before = c.encoder[-1]
        self.blocks = nn.ModuleDict()
        self.colours = nn.ModuleDict()
        self.spade = nn.ModuleDict()
        for resolution in resolutions:
            width, first = c.width(resolution), resolution == resolutions[0]
            convs = [RegionConv(before, width, 3, c.style, up=not first, style_bias=bias)]
            if not first:
                convs.append(RegionConv(width, width, 3, c.style, style_bias=bias))
            self.blocks[str(resolution)] = nn.ModuleList(convs)
            if resolution in c.spade:
                modulated = (width,) * len(convs)
                self.spade[str(resolution)] = Spade(
                    c.labels, c.spade_hidden, modulated, c.spade_kernel
                )
            if resolution >= c.colour_from:
                self.colours[str(resolution)] = RegionConv(
                    width, 3, 1, c.style, colour=True, style_bias=bias
                )
            before = width

    def prepare(self, labels: Tensor, dtype: torch.dtype = torch.float32) -> LabelParts:
        """Compute what depends on the label map alone.

        Args:
            labels: (B, 17, H, W) one-hot at the image's resolution. H and W need not be `size`,
                but multiples of size / label_size × 8; with a constant start they are `size`.
            dtype: that the painting is to be computed in, on the way and in `paint`.
        """
        c = self.config
        at = labels.to(dtype).contiguous(memory_format=torch.channels_last)
        wanted = set(c.resolutions)
        if c.start == "labels":
            wanted |= {c.label_size, c.label_size // 2, c.label_size // 4}
        maps: dict[int, RegionMap] = {}
        spade: dict[int, list[tuple[Tensor, Tensor]]] = {}
        one_hot = at
        resolution = c.size
        while resolution >= min(wanted):
            if resolution in wanted:
                maps[resolution] = RegionMap.of(at, hard=resolution == c.size)
            if str(resolution) in self.spade:
                spade[resolution] = self.spade[str(resolution)](at)
            if resolution == c.label_size:
                one_hot = at
            at = functional.avg_pool2d(at, 2)
            resolution //= 2
        return LabelParts(one_hot, maps, spade)

    def paint(self, parts: LabelParts, styles: Styles) -> Tensor:
        """Return images (B, 3, H, W), float32, about −1…1.

        Args:
            parts: of `prepare`; of one label map, or of as many as there are styles.
            styles: on the same device.
        """
        parts = _as_many(parts, len(styles.w))
        x = self._start(parts, styles)
        image: Tensor | None = None
        before = self.config.resolutions[0]
        for resolution in self.config.resolutions:
            here = parts.maps[resolution]
            spade = parts.spade.get(resolution)
            for index, conv in enumerate(_convs(self.blocks[str(resolution)])):
                source = parts.maps[before] if index == 0 else here
                x = conv(x, styles, source, here, spade[index] if spade else None)
            before = resolution
            if image is not None:
                image = upsample(image)
            if str(resolution) in self.colours:
                own = self.colours[str(resolution)](x, styles, here, here).float()
                image = own if image is None else image + own
        if image is None:
            raise RuntimeError("no resolution paints colours")
        return image

    def forward(self, labels: Tensor, styles: Styles, dtype: torch.dtype = torch.float32) -> Tensor:
        """Paint label maps (B, 17, H, W), one-hot: `prepare` and `paint` in one."""
        return self.paint(self.prepare(labels, dtype), styles)

    def _start(self, parts: LabelParts, styles: Styles) -> Tensor:
        if self.constant is not None:
            shape = (len(styles.w), -1, -1, -1)
            return self.constant.to(parts.one_hot.dtype).expand(*shape)
        x = parts.one_hot
        resolution = self.config.label_size
        for conv in self.encoder:
            here = parts.maps[resolution]
            x = functional.avg_pool2d(conv(x, styles, here, here), 2)
            resolution //= 2
        return x


def one_hot(labels: Tensor, count: int) -> Tensor:
    """Return (B, count, H, W) float32 of label maps (B, H, W), any integer type."""
    hot = functional.one_hot(labels.long(), count).permute(0, 3, 1, 2)
    return hot.float().contiguous(memory_format=torch.channels_last)


def grow(larger: SiwGenerator, smaller: SiwGenerator) -> list[str]:
    """Start a larger generator from a trained smaller one, so that it paints the same picture.

    What both have in the same shape is copied; new resolutions paint no colours at first, so the
    image is the smaller one's, enlarged.

    Returns:
        the names of the parameters that were not copied.
    """
    known = smaller.state_dict()
    own = larger.state_dict()
    fresh: list[str] = []
    for name, value in own.items():
        if name in known and known[name].shape == value.shape:
            value.copy_(known[name])
        else:
            fresh.append(name)
    with torch.no_grad():
        for resolution in larger.config.resolutions:
            if resolution > smaller.config.size and str(resolution) in larger.colours:
                for name, parameter in larger.colours[str(resolution)].named_parameters():
                    if not name.startswith("conv.affine"):
                        parameter.zero_()
    return fresh


def _convs(block: nn.Module) -> Iterable[RegionConv]:
    return (module for module in block.children() if isinstance(module, RegionConv))


def _as_many(parts: LabelParts, count: int) -> LabelParts:
    """Repeat one label map's parts for several styles, without copying where torch can."""
    if len(parts.one_hot) == count:
        return parts

    def many(x: Tensor) -> Tensor:
        return x.expand(count, *x.shape[1:])

    def map_of(each: RegionMap) -> RegionMap:
        rows = each.rows
        if rows is not None:
            first = torch.arange(count, device=rows.device)[:, None] * each.shares.shape[2]
            rows = rows + first
        return each._replace(shares=many(each.shares), rows=rows)

    return LabelParts(
        many(parts.one_hot),
        {resolution: map_of(each) for resolution, each in parts.maps.items()},
        {r: [(many(g), many(b)) for g, b in pairs] for r, pairs in parts.spade.items()},
    )
