"""`dressform evaluate fit`: avatars from one photograph each, on other poses and views of the people.

Every stage of the fit is measured on frames that it never saw, and so is the photograph unwrapped
onto the bare body, which is what the fit must beat. docs/fit.md says what the figures mean.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image
from tqdm import tqdm

from models.body import load_body
from models.inversion_recipe import (
    CPU_FIT,
    OPTIMISED_STAGES,
    FitRecipe,
    FitStageRecipe,
    with_effort,
)
from models.memory import keep_freed_memory
from models.package import DEFAULT_LIBRARY, find_package
from training.captures import Capture, find_captures
from training.evaluation_perceptual import yardstick as choose_yardstick
from training.evaluation_tables import Bound, figure, publish
from training.wardrobe.fit_measure import (
    FitFigures,
    HeldOutFrames,
    Networks,
    capture_photo,
    check_people,
    means,
    photograph_of,
    run_fit,
    unwrapped_baseline,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from training.evaluation_perceptual import Yardstick

BASELINE = "unwrapped photograph"
BOUNDS = {
    "gain_psnr": Bound(2.0),
    "gain_ssim": Bound(0.02),
    "iou": Bound(0.93),
}
"""Of the last stage, over the unwrapped photograph; means over people."""
SHOWN = 3
"""Frames of each person in the sheet."""

__all__ = ["FitRecipe", "FitStageRecipe", "evaluate_fit"]


def evaluate_fit(
    captures: Path | list[Path] = Path("runs/strangers"),
    wardrobe: str = "wardrobe-people",
    library: Path = DEFAULT_LIBRARY,
    recipe: FitRecipe = CPU_FIT,
    effort: float = 1.0,
    people: int | None = None,
    frames: int | None = None,
    json: Path | None = None,
    pictures: Path | None = None,
    lpips_trunk: Path | None = None,
    threads: int = 2,
) -> int:
    """Measure avatars that are fitted to one photograph of people whom the wardrobe never saw.

    Args:
        captures: of those people, see `dressform dataset strangers`; their held-out frames measure.
        wardrobe: id of the package.
        library: where it, its dresser and its body lie.
        recipe: of the fit.
        effort: times its iterations.
        people: at most so many.
        frames: at most so many a person.
        json: also write {"figure": {"value", "bound", "ok"}} to this file.
        pictures: folder for a sheet a person.
        lpips_trunk: torchvision's AlexNet or VGG16 weights, for LPIPS.
        threads: of torch on the CPU.

    Returns:
        0 when every bound holds.
    """
    torch.set_num_threads(threads)
    keep_freed_memory()
    opened = [Capture.open(folder) for folder in find_captures(captures)][:people]
    body = load_body(find_package(library, opened[0].description.body))
    networks = Networks.load(library, wardrobe, body)
    check_people(networks.wardrobe, opened)
    stick = choose_yardstick(lpips_trunk)
    found: dict[str, dict[str, dict[str, float]]] = {}
    for capture in tqdm(opened, desc="fits", unit="person"):
        held_out = capture.frames("held-out")[:frames]
        known, sheet = _person(networks, capture, held_out, with_effort(recipe, effort), stick)
        found[capture.description.id] = known
        if pictures is not None:
            pictures.mkdir(parents=True, exist_ok=True)
            Image.fromarray(sheet).save(pictures / f"{capture.description.id}.png")
    return publish(summary(found, stick.name), json)


def summary(
    found: Mapping[str, Mapping[str, Mapping[str, float]]], distance: str
) -> dict[str, dict[str, Any]]:
    """Return figures with bounds: the last stage's means, its gains, every stage, every person.

    Args:
        found: by person and then by method, "encoder", the stages and `BASELINE` among them.
        distance: name of the perceptual distance.
    """
    methods = list(next(iter(found.values())))
    last = next(name for name in reversed(methods) if name != BASELINE)
    total = {method: _mean([person[method] for person in found.values()]) for method in methods}
    figures: dict[str, dict[str, Any]] = {}
    for name in ("psnr", "ssim"):
        gain = total[last][name] - total[BASELINE][name]
        figures[f"gain_{name}"] = figure(gain, BOUNDS[f"gain_{name}"])
    figures["iou"] = figure(total[last]["iou"], BOUNDS["iou"])
    for method in methods:
        prefix = method.replace(" ", "_")
        figures |= {f"{prefix}/{k}": figure(v) for k, v in _named(total[method], distance).items()}
    for person, known in found.items():
        for name in ("psnr", "ssim"):
            gain = known[last][name] - known[BASELINE][name]
            figures[f"{person}/gain_{name}"] = figure(gain)
        figures[f"{person}/iou"] = figure(known[last]["iou"])
    return figures


def _person(
    networks: Networks,
    capture: Capture,
    held_out: Sequence[int],
    recipe: FitRecipe,
    stick: Yardstick,
) -> tuple[dict[str, dict[str, float]], NDArray[np.uint8]]:
    """Fit one person; return the figures of every method, and a sheet."""
    photos = [capture_photo(capture, photograph_of(capture))]
    truth = HeldOutFrames(capture, held_out, networks.body)
    fitted, _ = run_fit(networks, photos, recipe, OPTIMISED_STAGES)
    renderers = {name: networks.renderer(each) for name, each in fitted.textures.items()}
    renderers[BASELINE] = unwrapped_baseline(networks, photos)
    known: dict[str, dict[str, float]] = {}
    columns = [[frame.image for frame in truth.frames[:SHOWN]]]
    for name, renderer in renderers.items():
        shown = truth.shown(renderer)
        figures: list[FitFigures] = truth.measure(shown, stick)
        known[name] = means(figures)
        if name in fitted.figures:
            known[name]["seconds"] = fitted.figures[name].seconds
        columns.append([each.image for each in shown[:SHOWN]])
    rows = np.concatenate([np.concatenate(column) for column in columns], axis=1)
    return known, (rows * 255.0 + 0.5).clip(0, 255).astype(np.uint8)


def _mean(figures: Sequence[Mapping[str, float]]) -> dict[str, float]:
    return {name: float(np.mean([each[name] for each in figures])) for name in figures[0]}


def _named(figures: Mapping[str, float], distance: str) -> dict[str, float]:
    return {distance if name == "distance" else name: value for name, value in figures.items()}
