"""`dressform evaluate sof`: a field of heads on views and heads that it was not trained on.

Held-out views of its own heads; held-out heads fitted from one view with a known camera and
compared in their other views, against the mean head; the baked head against the marched one; and
an orbit whose labels must stay where they are on the head.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path  # noqa: TC003 - jsonargparse reads the command's annotations
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import torch
from PIL import Image

from blender_addon.contract.errors import SplitLeak
from models.baked_head import BakeSettings, bake_head
from models.label_agreement import Confusion, agreement_off_borders
from models.label_orbit import orbit_agreement, orbit_cameras
from models.sof_fit import FitSettings, FitView, fit_head
from models.sof_package import load_sof
from models.sof_render import SofRenderer
from models.sof_space import SofSpace
from training.evaluation_tables import Bound, figure, publish
from training.heads.format import HeadSet
from training.sof_look import sheet

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray
    from torch import Tensor

    from models.sof_package import LoadedSof
    from training.heads.format import HeadView

BOUNDS = {
    "mean_iou": Bound(0.78),
    "iou_brow": Bound(0.55),
    "iou_eye": Bound(0.55),
    "fitted_mean_iou": Bound(0.70),
    "fitted_gain": Bound(0.10),
    "baked_agreement": Bound(0.96),
    "orbit_agreement": Bound(0.95),
}
ORBIT_FRAMES = 120
SIDEWAYS = 1.0
"""Radians to both sides of the orbit, and of the views that baked heads are compared in."""


@dataclass(frozen=True, kw_only=True)
class SofCounts:
    """How much is measured, each at most.

    Attributes:
        views: held-out views of training heads.
        fitted: held-out heads.
        baked: training heads that are baked.
        orbits: training heads that are orbited.
        frames: of each orbit.
        fit_steps: of each fit.
        bake: how heads are baked; as served when None.
    """

    views: int = 120
    fitted: int = 8
    baked: int = 3
    orbits: int = 1
    frames: int = ORBIT_FRAMES
    fit_steps: int = 200
    bake: BakeSettings | None = None


Maps = tuple["NDArray[np.uint8]", ...]
Row = TypeVar("Row")


def evaluate_sof(
    package: Path,
    heads: Path,
    views: int = 120,
    fitted: int = 8,
    baked: int = 3,
    orbits: int = 1,
    fit_steps: int = 200,
    json: Path | None = None,
    picture: Path | None = None,
    threads: int = 2,
) -> int:
    """Measure a field of heads.

    Args:
        package: folder of a package of kind "sof".
        heads: the set that it was trained on; its held-out views and heads measure.
        views: held-out views of training heads, at most.
        fitted: held-out heads, at most.
        baked: training heads that are baked.
        orbits: training heads that are orbited.
        fit_steps: of each fit.
        json: also write {"figure": {"value", "bound", "ok"}} to this file.
        picture: also write the sheets to this folder.
        threads: of torch on the CPU.

    Returns:
        0 when every bound holds.
    """
    torch.set_num_threads(threads)
    loaded, known = load_sof(package), HeadSet.open(heads)
    check_split(loaded, known)
    counts = SofCounts(views=views, fitted=fitted, baked=baked, orbits=orbits, fit_steps=fit_steps)
    pictures: dict[str, list[Maps]] = {}
    figures = sof_figures(loaded, known, counts, pictures)
    if picture is not None:
        picture.mkdir(parents=True, exist_ok=True)
        for name, maps in pictures.items():
            Image.fromarray(sheet(maps)).save(picture / f"{name}.png")
    return publish(figures, json)


def sof_figures(
    loaded: LoadedSof,
    heads: HeadSet,
    counts: SofCounts,
    pictures: dict[str, list[Maps]] | None = None,
) -> dict[str, dict[str, Any]]:
    """Return all figures with their bounds, by name.

    Args:
        loaded: the field.
        heads: the set that it was trained on.
        counts: how much is measured.
        pictures: takes the label maps that were compared, by what they show.
    """
    renderer = SofRenderer(loaded.sof)
    shown = {} if pictures is None else pictures
    figures = held_out_views(renderer, loaded, heads, counts.views, shown)
    figures |= held_out_heads(renderer, loaded, heads, counts.fitted, counts.fit_steps, shown)
    figures |= baked_heads(renderer, loaded.codes[: counts.baked], shown, counts.bake)
    figures |= orbited_heads(renderer, loaded.codes[: counts.orbits], counts.frames)
    return {name: figure(value, BOUNDS.get(name)) for name, value in figures.items()}


def check_split(loaded: LoadedSof, heads: HeadSet) -> None:
    """Refuse a set whose held-out heads the package may have seen.

    Raises:
        SplitLeak: the package was trained on another set, or its basis holds a held-out head.
    """
    held_out = {head.id for head in heads.heads if head.split == "held-out"}
    leaked = sorted(held_out & set(loaded.heads))
    if leaked:
        raise SplitLeak(f"{loaded.manifest.id!r} was trained on the held-out head {leaked[0]!r}")
    if loaded.manifest.data.get("digest") != heads.digest:
        raise SplitLeak(
            f"{loaded.manifest.id!r} was trained on another set of heads than {heads.folder}",
            "give the set that it was trained on",
        )


def held_out_views(
    renderer: SofRenderer,
    loaded: LoadedSof,
    heads: HeadSet,
    limit: int,
    pictures: dict[str, list[Maps]],
) -> dict[str, float]:
    """Measure held-out views of the basis' heads."""
    basis = set(loaded.heads)
    views = _spread([view for view in heads.views("held-out") if view.head in basis], limit)
    total = Confusion.empty()
    off: list[NDArray[np.float32]] = []
    for view in views:
        truth = heads.labels(view)
        seen = renderer.label_map(loaded.code(view.head), view.camera)
        labels = seen.labels.cpu().numpy()
        total.add(truth, labels)
        pictures.setdefault("held-out-views", []).append((truth, labels))
        depth = heads.depth(view)
        both = (depth > 0) & (labels > 0)
        off.append(np.abs(seen.depth.cpu().numpy() - depth)[both])
    if not views:
        return {}
    named = {f"iou_{name.replace('-', '_')}": value for name, value in total.by_name().items()}
    return {
        "mean_iou": total.mean_iou(),
        "accuracy": total.accuracy,
        "depth_mm": 1000.0 * float(np.median(np.concatenate(off))),
        **named,
    }


def held_out_heads(
    renderer: SofRenderer,
    loaded: LoadedSof,
    heads: HeadSet,
    limit: int,
    steps: int,
    pictures: dict[str, list[Maps]],
) -> dict[str, float]:
    """Fit held-out heads to one view each, and measure the others; the mean head beside."""
    space = SofSpace(loaded.codes)
    rest: dict[str, list[HeadView]] = {}
    for view in heads.views(None, heads="held-out"):
        rest.setdefault(view.head, []).append(view)
    fitted, mean, own = Confusion.empty(), Confusion.empty(), Confusion.empty()
    for views in _spread(list(rest.values()), limit):
        if len(views) < 2:
            continue
        # The view that looks most squarely at the face says most about it.
        first = max(views, key=lambda view: float(view.camera.center[2]))
        target = heads.labels(first)
        settings = FitSettings(steps=steps, freedom="fixed")
        code = fit_head(renderer, space, [FitView(target, first.camera)], settings).code
        own.add(target, renderer.label_map(code, first.camera).labels.cpu().numpy())
        for view in (each for each in views if each is not first):
            truth = heads.labels(view)
            seen = renderer.label_map(code, view.camera).labels.cpu().numpy()
            average = renderer.label_map(space.mean, view.camera).labels.cpu().numpy()
            fitted.add(truth, seen)
            mean.add(truth, average)
            pictures.setdefault("held-out-heads", []).append((truth, seen, average))
    if not fitted.counts.sum():
        return {}
    return {
        "fitted_mean_iou": fitted.mean_iou(),
        "fitted_gain": fitted.mean_iou() - mean.mean_iou(),
        "mean_head_iou": mean.mean_iou(),
        "fitted_view_iou": own.mean_iou(),
    }


def baked_heads(
    renderer: SofRenderer,
    codes: Tensor,
    pictures: dict[str, list[Maps]],
    settings: BakeSettings | None = None,
) -> dict[str, float]:
    """Bake heads, and compare them with the march outside of 1-pixel borders."""
    agreements: list[float] = []
    for code in codes:
        head = bake_head(renderer, code, settings)
        for camera in orbit_cameras(8, 256, widest=SIDEWAYS):
            marched = renderer.label_map(code, camera).labels.cpu().numpy()
            baked = head.label_map(camera).labels.cpu().numpy()
            agreements.append(agreement_off_borders(marched, baked))
            pictures.setdefault("baked", []).append((marched, baked))
    return {"baked_agreement": float(np.mean(agreements))} if agreements else {}


def orbited_heads(
    renderer: SofRenderer, codes: Tensor, frames: int = ORBIT_FRAMES
) -> dict[str, float]:
    """Orbit heads at 256², and follow every pixel into the next frame."""
    found = [
        orbit_agreement(
            (camera, renderer.label_map(code, camera))
            for camera in orbit_cameras(frames, 256, widest=SIDEWAYS)
        )
        for code in codes
    ]
    if not found:
        return {}
    return {
        "orbit_agreement": float(np.mean([each.labels for each in found])),
        "orbit_followed": float(np.mean([each.followed for each in found])),
        "orbit_depth_mm": 1000.0 * float(np.mean([each.depth for each in found])),
    }


def _spread(rows: Sequence[Row], limit: int) -> list[Row]:
    """Return at most so many of the rows, from all over them."""
    if len(rows) <= limit:
        return list(rows)
    return [rows[k] for k in np.linspace(0, len(rows) - 1, limit).astype(int)]
