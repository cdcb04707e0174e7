"""`dressform evaluate siw`: how good and how obedient painted portraits are, with figures to beat."""

from __future__ import annotations

from pathlib import Path  # noqa: TC003 - jsonargparse reads the annotations
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from PIL import Image

from blender_addon.contract.labels import Label
from models.siw_package import load_siw
from training.evaluation_tables import Bound, figure, publish
from training.siw_data import PortraitSet, to_images
from training.siw_figures import (
    Painter,
    colours_of,
    held_out_figures,
    restyle_locality,
)
from training.siw_frechet import features_of, frechet_distance
from training.siw_report import sample_grid

if TYPE_CHECKING:
    from collections.abc import Mapping

    from training.siw_data import Portraits
    from training.siw_frechet import Features

FRECHET = Bound(2.5, at_most=True)
"""Over the floor: the distance between training and held-out portraits."""
SPREAD = Bound(0.85)
HUE = Bound(0.75)
OUTSIDE = Bound(0.15, at_most=True)
"""Change of the rest over the change inside a restyled region."""
INSIDE = Bound(0.7)
"""Change of a restyled region's colour over the distance between real portraits'."""
RESTYLED_COUNT = 48
"""Held-out portraits that are restyled, at most."""
RESTYLED = (Label.HAIR, Label.CLOTH, Label.SKIN)


def evaluate_siw(
    package: Path,
    portraits: Path,
    labels: Path | None = None,
    count: int = 256,
    features: Literal[0, 2] = 2,
    inception: Path | None = None,
    json: Path | None = None,
    grid: Path | None = None,
    seed: int = 1,
    threads: int = 2,
) -> int:
    """Measure a SIW StyleGAN.

    Args:
        package: of kind "siw".
        portraits: a set with held-out heads.
        labels: a set whose label maps are painted (truncation 1.0); the portraits' own when none.
        count: portraits painted, and compared with as many real ones.
        features: 2 for EfficientNet-lite2's, which training never sees; 0 for lite0's, which it
            does, for comparisons among trainings of the same kind only.
        inception: Inception-v3's weights (.pth, .safetensors), to measure in its features instead:
            FID, where they are those that FID was defined with.
        json: also write {"figure_name": {"value", "bound", "ok"}} to this file.
        grid: also write a sample grid to this image.
        seed: of the styles.
        threads: of torch.

    Returns:
        0 when every bound holds.
    """
    torch.set_num_threads(threads)
    model = load_siw(package)
    opened = PortraitSet.open(portraits, labels, model.config.size)
    painter = Painter(model, torch.device("cpu"), torch.float32)
    figures = siw_figures(painter, opened, features_of(features, inception), count, seed)
    if grid is not None:
        Image.fromarray(sample_grid(painter, opened.held_out, seed)).save(grid)
    return publish(figures, json)


def siw_figures(
    painter: Painter, portraits: PortraitSet, features: Features, count: int, seed: int
) -> dict[str, dict[str, Any]]:
    """Return all figures with their bounds, by name.

    Args:
        painter: the network.
        portraits: real ones, and label maps to paint.
        features: of the Fréchet distance.
        count: portraits on either side.
        seed: of the styles.
    """
    train, held_out = portraits.train, portraits.held_out
    some = _evenly(len(train.images), count)
    real = colours_of(to_images(train.images[some]), torch.from_numpy(train.labels[some]))
    looked = held_out_figures(painter, held_out, real, count=count, seed=seed)
    figures = _with_bounds(looked)
    figures |= _locality(painter, held_out, real, seed)
    chosen = _evenly(len(portraits.others), count)
    labels = torch.from_numpy(portraits.others[chosen])
    painted = features(painter.paint(labels, painter.model.draw(len(labels), seed)))
    true = features(to_images(train.images[some]))
    unseen = features(to_images(held_out.images[:count]))
    # Equal sizes only: small sets are far apart by chance.
    least = min(len(painted), len(true), len(unseen))
    floor = frechet_distance(true[:least], unseen[:least])
    distance = frechet_distance(true[:least], painted[:least])
    name = f"Fréchet distance ({features.name}, {least})"
    figures[name] = figure(distance)
    figures[f"{name}, train against held-out"] = figure(floor)
    figures["frechet_over_floor"] = figure(distance / max(floor, 1e-9), FRECHET)
    return figures


def _with_bounds(looked: Mapping[str, float]) -> dict[str, dict[str, Any]]:
    bounds = {"spread": SPREAD, "hue": HUE}
    return {name: figure(value, bounds.get(name.split("/")[0])) for name, value in looked.items()}


def _locality(
    painter: Painter, portraits: Portraits, real: Any, seed: int
) -> dict[str, dict[str, Any]]:
    figures: dict[str, dict[str, Any]] = {}
    labels = torch.from_numpy(portraits.labels[_evenly(len(portraits.labels), RESTYLED_COUNT)])
    for region in RESTYLED:
        try:
            found = restyle_locality(painter, labels, region, real, seed)
        except ValueError:
            continue
        name = f"restyle/{region.name.lower()}"
        figures[f"{name}/outside"] = figure(found.outside / max(found.inside, 1e-9), OUTSIDE)
        figures[f"{name}/inside"] = figure(found.moved / max(found.apart, 1e-9), INSIDE)
    return figures


def _evenly(count: int, wanted: int) -> np.ndarray[Any, np.dtype[np.int64]]:
    return np.linspace(0, count - 1, min(count, wanted)).round().astype(np.int64)
