"""From what an artist set on a portrait to the look that requests carry. No bpy.

Blends are normalised here: sliders run from 0 to 1 each, the server wants weights that add up
to 1. What is the package's own is left out, so that an untouched portrait sends next to nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from ..contract.errors import BadParameter
from ..contract.labels import LABEL_COUNT
from ..contract.portraits import OWN, HeadShape, PortraitLook, RegionStyle, Source

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from ..contract.portraits import Blend

DIRECTIONS = 8
"""How many of the principal directions an artist gets sliders for."""

MAX_HEADS = 6
"""Most heads that a portrait blends from."""


@dataclass(frozen=True, kw_only=True)
class HeadSource:
    """A head to blend from.

    Attributes:
        weight: of the slider, 0…1.
        seed: for one drawn by chance.
        head: for one that the SOF learned from.
        code: (C,) for one that is stored with the object; without any of the three, the package's.
    """

    weight: float
    seed: int | None = None
    head: str = ""
    code: NDArray[np.float32] | None = None


@dataclass(frozen=True, kw_only=True)
class StyleSource:
    """A style of one region.

    Attributes:
        seed: for one drawn by chance.
        row: (W,) for one that is stored with the object; without either, the package's own.
    """

    seed: int | None = None
    row: NDArray[np.float32] | None = None

    @property
    def is_own(self) -> bool:
        """Whether it is the package's own."""
        return self.seed is None and self.row is None


@dataclass(frozen=True, kw_only=True)
class RegionLook:
    """How one region is styled.

    Attributes:
        first: the style.
        second: what it is mixed with.
        mix: 0 shows the first, 1 the second.
        truncation: 1 leaves the style, 0 is the mean style.
    """

    first: StyleSource = field(default_factory=StyleSource)
    second: StyleSource = field(default_factory=StyleSource)
    mix: float = 0.0
    truncation: float = 1.0


def look_of(
    portrait: str,
    heads: Sequence[HeadSource],
    directions: Sequence[float],
    regions: Mapping[int, RegionLook],
    name: str = "the portrait",
) -> PortraitLook:
    """Return the look that a portrait's settings mean.

    Args:
        portrait: id of the package.
        heads: what the head is blended from; none means the package's own.
        directions: amounts, in standard deviations.
        regions: by label.
        name: what to call the portrait in an error.

    Raises:
        BadParameter: all weights are 0.
    """
    codes: list[NDArray[np.float32]] = []
    rows: list[NDArray[np.float32]] = []
    shape = HeadShape(blend=_heads(heads, codes, name), directions=_trimmed(directions))
    styles: dict[int, RegionStyle] = {}
    for label, region in sorted(regions.items()):
        blend = _styles(label, region, rows)
        if blend != ((OWN, 1.0),) or region.truncation != 1.0:
            styles[label] = RegionStyle(blend=blend, truncation=region.truncation)
    return PortraitLook(
        portrait=portrait,
        shape=shape,
        styles=styles,
        codes=_stacked(codes, f"{name}'s stored heads"),
        style_rows=_stacked(rows, f"{name}'s stored styles"),
    )


def _heads(heads: Sequence[HeadSource], codes: list[NDArray[np.float32]], name: str) -> Blend:
    if not heads:
        return ((OWN, 1.0),)
    total = sum(head.weight for head in heads)
    if total <= 1e-6:
        raise BadParameter(
            f"the weights of {name}'s heads are all 0", "raise the weight of one of them"
        )
    blend: list[tuple[Source, float]] = []
    for head in heads:
        if head.weight <= 0.0:
            continue
        if head.code is not None:
            source = Source(row=len(codes))
            codes.append(np.asarray(head.code, np.float32))
        elif head.seed is not None:
            source = Source(seed=head.seed)
        else:
            source = Source(head=head.head)
        blend.append((source, head.weight / total))
    return tuple(blend)


def _styles(label: int, region: RegionLook, rows: list[NDArray[np.float32]]) -> Blend:
    mix = min(max(region.mix, 0.0), 1.0)
    parts = [(region.first, 1.0 - mix), (region.second, mix)]
    blend: list[tuple[Source, float]] = []
    for style, weight in parts:
        if weight == 0.0:
            continue
        if style.row is not None:
            blend.append((_row_of(label, style.row, rows), weight))
        else:
            blend.append((Source(seed=style.seed), weight))
    if len(blend) == 2 and blend[0][0] == blend[1][0]:
        return ((blend[0][0], 1.0),)
    return tuple(blend)


def _row_of(label: int, style: NDArray[np.float32], rows: list[NDArray[np.float32]]) -> Source:
    """Put a region's style into the first row that has room for it, and name that row."""
    for index, row in enumerate(rows):
        if row.shape[1] == len(style) and np.isnan(row[label]).all():
            row[label] = style
            return Source(row=index)
    row = np.full((LABEL_COUNT, len(style)), np.nan, np.float32)
    row[label] = style
    rows.append(row)
    return Source(row=len(rows) - 1)


def _stacked(arrays: list[NDArray[np.float32]], what: str) -> NDArray[np.float32] | None:
    if not arrays:
        return None
    if len({array.shape for array in arrays}) > 1:
        raise BadParameter(
            f"{what} come from networks of different sizes", "take them anew from this portrait"
        )
    return np.nan_to_num(np.stack(arrays)).astype(np.float32)


def _trimmed(directions: Sequence[float]) -> tuple[float, ...]:
    values = [float(value) for value in directions]
    while values and values[-1] == 0.0:
        values.pop()
    return tuple(values)
