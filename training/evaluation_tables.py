"""Figures with bounds: as a table for people and as JSON for programs."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

COLUMNS = {
    "psnr_person": "person dB",
    "psnr_box": "box dB",
    "ssim_box": "SSIM",
    "iou_foreground": "IoU",
    "iou_hands": "hands",
    "iou_face": "face",
    "psnr_head": "head dB",
    "psnr_hands": "hands dB",
    "detail": "detail",
    "flicker": "flicker",
    "perceptual_box": "distance",
}
"""Figures of the table, in order, with their headings; JSON holds more."""
_WIDTH = 10


@dataclass(frozen=True)
class Bound:
    """What a figure must reach, or with `at_most` must not exceed."""

    value: float
    at_most: bool = False

    def holds(self, value: float) -> bool:
        """Whether a value is within the bound."""
        return value <= self.value if self.at_most else value >= self.value


def figure(value: float, bound: Bound | None = None) -> dict[str, Any]:
    """Return {"value", "bound", "ok"}; NaN becomes null, which fulfils no bound."""
    known = not np.isnan(value)
    return {
        "value": round(value, 4) if known else None,
        "bound": None if bound is None else bound.value,
        "ok": bound is None or (known and bound.holds(value)),
    }


def named(figures: Mapping[str, float], distance: str) -> dict[str, float]:
    """Return figures under the names they are published with: the distance by its own name."""
    return {name.replace("perceptual", distance): value for name, value in figures.items()}


def header(width: int) -> str:
    """Return the table's first line."""
    return " " * width + "".join(f"{heading:>{_WIDTH}}" for heading in COLUMNS.values())


def row(label: str, figures: Mapping[str, float], width: int) -> str:
    """Return a line of the table; what was not measured is a dash."""
    return f"{label:<{width}}" + cells([figures.get(name) for name in COLUMNS])


def cells(values: Iterable[float | None]) -> str:
    """Return numbers as aligned cells."""
    return "".join(_cell(value) for value in values)


def bounds_row(bounds: Mapping[str, Bound], width: int) -> str:
    """Return the bounds below their columns."""
    marks = [
        "–"
        if name not in bounds
        else f"{'≤' if bounds[name].at_most else '≥'} {bounds[name].value:g}"
        for name in COLUMNS
    ]
    return f"{'bound':<{width}}" + "".join(f"{mark:>{_WIDTH}}" for mark in marks)


def verdict(figures: Mapping[str, Mapping[str, Any]], missing: Sequence[str]) -> str:
    """Return the last lines: which bounds fail, and which could not be measured."""
    failed = [name for name, entry in figures.items() if not entry["ok"]]
    lines = [f"outside its bound: {', '.join(failed)}" if failed else "all bounds hold"]
    if missing:
        lines.append(f"not measured: {', '.join(missing)}")
    return "\n".join(lines)


def publish(figures: Mapping[str, Mapping[str, Any]], file: Path | None) -> int:
    """Print the figures of a command, a line each, and write them where a file is given.

    Returns:
        the command's exit code: 0 when every bound holds.
    """
    width = max(len(name) for name in figures) + 2
    for name, entry in figures.items():
        print(f"{name:<{width}}{_line(entry)}")  # noqa: T201 - the caller's own output
    if file is not None:
        write_json(file, figures)
    return 0 if all(entry["ok"] for entry in figures.values()) else 1


def write_json(file: Path, figures: Mapping[str, Mapping[str, Any]]) -> None:
    """Write {"figure": {"value", "bound", "ok"}}."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


def _line(entry: Mapping[str, Any]) -> str:
    value, bound, held = entry["value"], entry["bound"], entry["ok"]
    shown = f"{'–' if value is None else f'{value:.4f}':>10}"
    if bound is None:
        return shown
    # A value on the right side of its bound says which side that is.
    least = value is None or (value >= bound) == held
    return f"{shown}  {'≥' if least else '≤'} {bound:<7g}{'ok' if held else 'FAILS'}"


def _cell(value: float | None) -> str:
    if value is None or np.isnan(value):
        return f"{'–':>{_WIDTH}}"
    return f"{value:>{_WIDTH}.3f}" if abs(value) < 2 else f"{value:>{_WIDTH}.2f}"
