"""Measured figures with bounds: how `bench` and `doctor` show and store them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class Figure:
    """A measured value and what it must not exceed.

    Attributes:
        name: snake_case; stable, for programs.
        value: as measured.
        bound: the largest value that is right; None for a value that only explains others.
        unit: "×", "ms", …
        meaning: one line for people.
    """

    name: str
    value: float
    bound: float | None
    unit: str
    meaning: str

    @property
    def ok(self) -> bool:
        """Whether the bound holds."""
        return self.bound is None or self.value <= self.bound


def milliseconds(name: str, seconds: float, meaning: str) -> Figure:
    """Return a time in milliseconds that only explains others: it has no bound."""
    return Figure(name=name, value=1e3 * seconds, bound=None, unit="ms", meaning=meaning)


def publish(figures: Sequence[Figure], file: Path | None) -> int:
    """Print the figures of a command, and write them where a file is given.

    Returns:
        the command's exit code: 0 when every bound holds.
    """
    print(figure_table(figures))  # noqa: T201 - the caller's own output
    if file is not None:
        write_figures(figures, file)
    return 0 if all(figure.ok for figure in figures) else 1


def figure_table(figures: Sequence[Figure]) -> str:
    """Return the figures as aligned lines."""
    rows = [("figure", "value", "bound", "", "")]
    for figure in figures:
        bound = "" if figure.bound is None else f"≤ {figure.bound:g}"
        verdict = "" if figure.bound is None else ("ok" if figure.ok else "FAILS")
        rows.append(
            (figure.name, f"{figure.value:.3g} {figure.unit}", bound, verdict, figure.meaning)
        )
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    return "\n".join(
        "  ".join([*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[4]])
        for row in rows
    )


def write_figures(figures: Sequence[Figure], file: Path) -> None:
    """Write {"figure_name": {"value", "bound", "ok"}}."""
    plain = {f.name: {"value": f.value, "bound": f.bound, "ok": f.ok} for f in figures}
    file.write_text(json.dumps(plain, indent=1) + "\n", encoding="utf-8")
