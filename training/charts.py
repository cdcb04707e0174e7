"""Line charts as pictures, for curves that the docs show."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

from PIL import Image, ImageDraw, ImageFont

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#333333")
"""Told apart by people who see fewer colours (Okabe and Ito)."""
SIZE = (640, 400)
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 24, 40, 48
_INK, _FAINT = "#333333", "#e2e2e2"
_OVERSIZE = 2
"""Drawn so much larger, then reduced: smooth lines."""


class Series(NamedTuple):
    """One line of a chart.

    Attributes:
        name: in the legend.
        points: (x, y), in order of x; values that are not finite leave a gap at the end of a line.
    """

    name: str
    points: Sequence[tuple[float, float]]


def line_chart(
    series: Sequence[Series],
    *,
    title: str,
    across: str,
    marks: Mapping[str, float] | None = None,
    logarithmic: bool = False,
    size: tuple[int, int] = SIZE,
) -> Image.Image:
    """Draw lines over a common axis.

    Args:
        series: at least one, with at least one finite point between them.
        title: what goes up, with its unit.
        across: what goes to the right.
        marks: dashed uprights, by what is written beside them.
        logarithmic: whether up is logarithmic; all values must then be positive.
        size: width and height in pixels.
    """
    shown = [[p for p in each.points if all(map(math.isfinite, p))] for each in series]
    xs = [x for points in shown for x, _ in points] + list((marks or {}).values())
    ys = [y for points in shown for _, y in points]
    x_ticks = _ticks(min(0.0, *xs), max(xs))
    y_ticks = _powers(min(ys), max(ys)) if logarithmic else _ticks(min(ys), max(ys))
    s = _OVERSIZE
    width, height = size[0] * s, size[1] * s
    picture = Image.new("RGB", (width, height), "white")
    draw = ImageDraw.Draw(picture)
    font = ImageFont.load_default(13 * s)
    left, right = _LEFT * s, width - _RIGHT * s
    top, bottom = _TOP * s, height - _BOTTOM * s

    def column(x: float) -> float:
        return left + (right - left) * _share(x, x_ticks[0], x_ticks[-1])

    def row(y: float) -> float:
        low, high = y_ticks[0], y_ticks[-1]
        if logarithmic:
            y, low, high = math.log(y), math.log(low), math.log(high)
        return bottom - (bottom - top) * _share(y, low, high)

    for y in y_ticks:
        draw.line([(left, row(y)), (right, row(y))], _FAINT, s)
        draw.text((left - 6 * s, row(y)), f"{y:g}", _INK, font, anchor="rm")
    for x in x_ticks:
        draw.line([(column(x), bottom), (column(x), bottom + 4 * s)], _INK, s)
        draw.text((column(x), bottom + 7 * s), f"{x:g}", _INK, font, anchor="ma")
    draw.line([(left, top), (left, bottom), (right, bottom)], _INK, s)
    draw.text((left, 10 * s), title, _INK, ImageFont.load_default(15 * s))
    draw.text((right, height - 20 * s), across, _INK, font, anchor="ra")
    for name, x in (marks or {}).items():
        for y in range(top, bottom, 10 * s):
            draw.line([(column(x), y), (column(x), y + 5 * s)], _INK, s)
        draw.text((column(x) + 5 * s, top), name, _INK, font)
    drawn: list[tuple[float, float]] = []
    for index, points in enumerate(shown):
        colour = COLOURS[index % len(COLOURS)]
        places = [(column(x), row(y)) for x, y in points]
        draw.line(places, colour, 2 * s, joint="curve")
        for x, y in places:
            draw.ellipse([x - 3 * s, y - 3 * s, x + 3 * s, y + 3 * s], colour)
        drawn += places
        drawn += [((a + c) / 2, (b + d) / 2) for (a, b), (c, d) in pairwise(places)]
    _legend(draw, [each.name for each in series], font, (left, top, right, bottom), drawn)
    return picture.resize(size, Image.Resampling.LANCZOS)


def beside(pictures: Sequence[Image.Image]) -> Image.Image:
    """Return pictures of one height beside each other."""
    joined = Image.new("RGB", (sum(p.width for p in pictures), pictures[0].height), "white")
    left = 0
    for picture in pictures:
        joined.paste(picture, (left, 0))
        left += picture.width
    return joined


def _legend(
    draw: ImageDraw.ImageDraw,
    names: Sequence[str],
    font: ImageFont.FreeTypeFont | ImageFont.ImageFont,
    plot: tuple[int, int, int, int],
    drawn: Sequence[tuple[float, float]],
) -> None:
    """Write the legend into the corner of the plot that hides least of what was drawn."""
    s = _OVERSIZE
    left, top, right, bottom = plot
    wide = max(draw.textlength(name, font) for name in names) + 44 * s
    high = 18 * s * len(names) + 6 * s
    corners = [(a, b) for b in (top, bottom - high) for a in (right - wide, left + 2 * s)]

    def hidden(corner: tuple[float, float]) -> int:
        a, b = corner
        return sum(a - s < x < a + wide + s and b - s < y < b + high + s for x, y in drawn)

    x, y = min(corners, key=hidden)
    draw.rectangle([x, y, x + wide, y + high], "white", _FAINT, s)
    x += 36 * s
    for index, name in enumerate(names):
        middle = y + 18 * s * index + 12 * s
        draw.line([(x - 30 * s, middle), (x - 8 * s, middle)], COLOURS[index % len(COLOURS)], 3 * s)
        draw.text((x, middle), name, _INK, font, anchor="lm")


def _share(value: float, low: float, high: float) -> float:
    return (value - low) / (high - low)


def _ticks(low: float, high: float) -> list[float]:
    """Return about five round numbers that span the values."""
    span = max(high - low, 1e-9)
    rough = span / 5
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(f * power for f in (1, 2, 2.5, 5, 10) if f * power >= rough * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(k * step, 10) for k in range(first, max(last, first + 1) + 1)]


def _powers(low: float, high: float) -> list[float]:
    """Return 1, 2 and 5 times powers of ten that span positive values."""
    rounded = [
        f * 10.0**k
        for k in range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
        for f in (1, 2, 5)
    ]
    first = max(k for k, value in enumerate(rounded) if value <= low * 1.001)
    last = min(k for k, value in enumerate(rounded) if value >= high * 0.999)
    return [round(v, 10) for v in rounded[first : max(last, first + 1) + 1]]
