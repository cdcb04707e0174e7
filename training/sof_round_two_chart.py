"""`dressform evaluate sof-round-two`: the paper's Figure 5 drawn from a run's curve.

Left, how well label maps are met in the views that were fitted and in other views of the same heads;
right, how far the cameras, which the training never saw, still are from the true ones. The modules'
release is marked.
"""

from __future__ import annotations

import json as json_module
from pathlib import Path  # noqa: TC003 - jsonargparse reads the annotations
from typing import TYPE_CHECKING

from blender_addon.contract.errors import TrainingError
from training.charts import Series, beside, line_chart
from training.evaluation_tables import figure, publish
from training.sof_round_two import CURVE_FILE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from PIL.Image import Image

CHART_FILE = "curve.jpg"
JPEG_QUALITY = 88

Entry = dict[str, float]


def show_round_two(run: Path, picture: Path | None = None, json: Path | None = None) -> int:
    """Draw what a second round did, and print its figures before and after the release.

    Args:
        run: folder of `dressform train sof-round-two`.
        picture: where the chart goes; curve.jpg in the run's folder when not given.
        json: also write {"figure_name": {"value", "bound", "ok"}} to this file.
    """
    curve = read_curve(run)
    file = picture or run / CHART_FILE
    file.parent.mkdir(parents=True, exist_ok=True)
    chart(curve).save(file, quality=JPEG_QUALITY)
    moments = {"start": curve[0], "release": at_release(curve), "end": curve[-1]}
    figures = {
        f"{name}_at_{moment}": figure(entry[name])
        for name in ("iou_fitted", "iou_others", "camera_degrees", "camera_metres")
        for moment, entry in moments.items()
        if name in entry
    }
    return publish(figures, json)


def read_curve(run: Path) -> list[Entry]:
    """Return a run's curve, in order of its steps.

    Raises:
        TrainingError: there is none.
    """
    file = run / CURVE_FILE
    lines = file.read_text(encoding="utf-8").splitlines() if file.is_file() else []
    if not lines:
        raise TrainingError(f"{run} holds no curve", "run `dressform train sof-round-two` first")
    return [json_module.loads(line) for line in lines]


def at_release(curve: Sequence[Entry]) -> Entry:
    """Return the last point at which the modules had not moved yet."""
    released = next((k for k, entry in enumerate(curve) if entry["released"]), len(curve) - 1)
    # The point at the release itself is measured before the first step with free modules.
    return curve[released]


def chart(curve: Sequence[Entry]) -> Image:
    """Return both panels beside each other."""
    marks = {"release": at_release(curve)["step"]} if curve[-1]["released"] else {}
    overlaps = line_chart(
        [
            _series(curve, "iou_fitted", "fitted view"),
            *([_series(curve, "iou_others", "another view")] if "iou_others" in curve[0] else []),
        ],
        title="mean IoU of the labels",
        across="steps",
        marks=marks,
    )
    errors = line_chart(
        [_series(curve, "camera_degrees", "direction")],
        title="error of the hidden cameras, degrees (median)",
        across="steps",
        marks=marks,
    )
    return beside([overlaps, errors])


def _series(curve: Sequence[Entry], what: str, name: str) -> Series:
    return Series(name, [(entry["step"], entry[what]) for entry in curve])
