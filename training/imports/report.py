"""What an import says about each frame, on the screen and in the capture's `source`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from training.imports.planning import PlannedFrame
    from training.imports.writing import WrittenFrame

_PARTS = ("body", "hands", "face")


def header() -> str:
    """Return the table's first two lines."""
    title = (
        f"{'frame':<24} {'split':<9} {'body px':>8} {'hands px':>8} {'face px':>8} {'overlap':>8}"
    )
    return f"{title}\n{'-' * len(title)}"


def frame_row(frame: WrittenFrame) -> str:
    """Return a frame's line: mean distances from the keypoints, overlap of mask and bare body."""
    cells = " ".join(f"{_number(getattr(frame.plan.error, part)):>8}" for part in _PARTS)
    return f"{frame.plan.name[-24:]:<24} {frame.plan.split:<9} {cells} {frame.overlap:>8.3f}"


def summary(written: Sequence[WrittenFrame]) -> str:
    """Return the lines below the table: means and the worst frame."""
    errors = mean_errors([frame.plan for frame in written])
    cells = " ".join(f"{_number(errors[part]):>8}" for part in _PARTS)
    overlap = float(np.mean([frame.overlap for frame in written]))
    held = sum(frame.plan.split == "held-out" for frame in written)
    worst = min(written, key=lambda frame: frame.overlap)
    return (
        f"{'mean':<24} {'':<9} {cells} {overlap:>8.3f}\n"
        f"{len(written) - held} frames to train on, {held} held out; least overlap of mask and "
        f"body: {worst.overlap:.3f} in {worst.plan.name}"
    )


def mean_errors(plans: Sequence[PlannedFrame]) -> dict[str, float]:
    """Return the mean distance in pixels per part; NaN where nothing was seen."""
    found: dict[str, float] = {}
    for part in _PARTS:
        values = [getattr(plan.error, part) for plan in plans]
        seen = [value for value in values if not np.isnan(value)]
        found[part] = float(np.mean(seen)) if seen else float("nan")
    return found


def source_errors(plans: Sequence[PlannedFrame]) -> dict[str, Any] | None:
    """Return the distances as plain values for capture.json, or None without keypoints."""
    frames = {
        plan.name: {
            part: round(getattr(plan.error, part), 3)
            for part in _PARTS
            if not np.isnan(getattr(plan.error, part))
        }
        for plan in plans
        if not np.isnan(plan.error.overall)
    }
    if not frames:
        return None
    means = {p: round(v, 3) for p, v in mean_errors(plans).items() if not np.isnan(v)}
    return {"unit": "pixels of the frames as imported from", "mean": means, "frames": frames}


def _number(value: float) -> str:
    return "–" if np.isnan(value) else f"{value:.2f}"
