"""`dressform evaluate portraits`: the shipped field of heads and painter, measured in one table.

The figures of `evaluate sof` and `evaluate siw` on what neither was trained on, with label maps that
the field draws; and what shows only when both work together: whether a parser finds the labels again,
and how much an orbit flickers.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from blender_addon.contract.errors import SplitLeak
from models.memory import keep_freed_memory
from models.package import DEFAULT_LIBRARY, find_package, read_manifest
from models.portrait_parser import NetworkParser
from models.siw_package import load_siw
from models.sof_package import load_sof
from models.sof_render import SofRenderer
from models.sof_space import SofSpace
from training.evaluation_tables import Bound, figure, publish
from training.heads.format import HeadSet
from training.portrait_fidelity import (
    drawn_label_maps,
    eye_contrast,
    label_fidelity,
    parser_fidelity,
)
from training.portrait_flicker import orbit_flicker
from training.siw_data import PortraitSet, to_images
from training.siw_evaluation import siw_figures
from training.siw_figures import Painter
from training.siw_frechet import features_of
from training.sof_evaluation import SofCounts, check_split, sof_figures

if TYPE_CHECKING:
    from models.portrait_parser import PortraitParser
    from models.sof_package import LoadedSof
    from training.siw_data import Portraits
    from training.siw_frechet import Features

FIDELITY = Bound(0.60)
MAPS_SEED = 20_000
"""Of the heads that are drawn."""


@dataclass(frozen=True, kw_only=True)
class PortraitCounts:
    """How much is measured, each at most.

    Attributes:
        sof: of the field's own figures.
        painted: portraits painted, compared with as many real ones.
        parsed: of these, whose labels a parser looks for.
        flickers: portraits that are orbited.
        frames: of their orbits.
    """

    sof: SofCounts = field(default_factory=SofCounts)
    painted: int = 240
    parsed: int = 120
    flickers: int = 2
    frames: int = 60


@dataclass(frozen=True)
class Shipped:
    """What is measured together.

    Attributes:
        heads: the field.
        painter: of kind "siw".
        parser: the judge.
    """

    heads: LoadedSof
    painter: Painter
    parser: PortraitParser


def evaluate_portraits(
    library: Path = DEFAULT_LIBRARY,
    heads: Path = Path("runs/heads"),
    portraits: Path = Path("runs/portraits"),
    sof: str = "sof-heads",
    siw: str = "siw-portraits",
    parser: str = "parser-portraits",
    counts: PortraitCounts = PortraitCounts(),
    inception: Path | None = None,
    seed: int = 1,
    threads: int = 2,
    json: Path | None = None,
) -> int:
    """Measure the networks that portraits are made of, on heads and portraits they never saw.

    Args:
        library: where the packages lie.
        heads: the set that the field was trained on; its held-out views and heads measure.
        portraits: the set that the painter was trained on; its held-out heads measure.
        sof: id of the field.
        siw: id of the painter.
        parser: id of the network that looks for labels in painted portraits.
        counts: how much is measured.
        inception: Inception-v3's weights, for FID; without them the distance is that of
            EfficientNet-lite2's features, under its own name.
        seed: of styles; heads and cameras have their own.
        threads: of torch on the CPU.
        json: also write {"figure_name": {"value", "bound", "ok"}} to this file.

    Returns:
        0 when every bound holds.
    """
    torch.set_num_threads(threads)
    keep_freed_memory()
    field_of_heads, known = load_sof(find_package(library, sof)), HeadSet.open(heads)
    check_split(field_of_heads, known)
    folder = find_package(library, siw)
    model = load_siw(folder)
    opened = PortraitSet.open(
        portraits, None, model.config.size, counts.painted, held_out=counts.painted
    )
    if read_manifest(folder).data.get("portraits") != opened.digest:
        raise SplitLeak(
            f"{siw!r} was trained on other portraits than {portraits}: which it has seen is not known",
            "give the set that it was trained on",
        )
    shipped = Shipped(
        field_of_heads,
        Painter(model, torch.device("cpu"), torch.float32),
        NetworkParser.open(find_package(library, parser)),
    )
    figures = portrait_figures(shipped, known, opened, features_of(2, inception), counts, seed)
    return publish(figures, json)


def portrait_figures(
    shipped: Shipped,
    heads: HeadSet,
    portraits: PortraitSet,
    features: Features,
    counts: PortraitCounts,
    seed: int,
) -> dict[str, dict[str, Any]]:
    """Return all figures with their bounds: "sof/…", "siw/…", "fidelity/…" and "flicker/…".

    Args:
        shipped: what is measured.
        heads: the field's set.
        portraits: the painter's set.
        features: of the Fréchet distance.
        counts: how much.
        seed: of styles.
    """
    found = sof_figures(shipped.heads, heads, counts.sof)
    figures = {f"sof/{name}": entry for name, entry in found.items()}
    renderer, space = SofRenderer(shipped.heads.sof), SofSpace(shipped.heads.codes)
    painter, size = shipped.painter, shipped.painter.model.config.size
    maps = drawn_label_maps(renderer, space, counts.painted, size, MAPS_SEED)
    served = portraits._replace(others=maps)
    found = siw_figures(painter, served, features, counts.painted, seed)
    figures |= {f"siw/{name}": entry for name, entry in found.items()}
    figures |= _fidelity(shipped, maps[: counts.parsed], portraits.held_out, counts.parsed, seed)
    return figures | _flicker(shipped, renderer, space, counts, seed)


def _fidelity(
    shipped: Shipped, maps: np.ndarray[Any, Any], held_out: Portraits, count: int, seed: int
) -> dict[str, dict[str, Any]]:
    painter = shipped.painter
    styles = painter.model.draw(len(maps), seed)
    found = label_fidelity(painter, shipped.parser, maps, styles)
    bounds = {"mean_iou": FIDELITY}
    figures = {f"fidelity/{name}": figure(value, bounds.get(name)) for name, value in found.items()}
    # What the judge gets wrong of real portraits, on whose label maps nothing was painted.
    real = parser_fidelity(shipped.parser, held_out.images[:count], held_out.labels[:count])
    figures["fidelity/real_mean_iou"] = figure(real["mean_iou"])
    labels = torch.from_numpy(held_out.labels[:count])
    drawn = painter.paint(labels, painter.model.draw(len(labels), seed))
    true = eye_contrast(to_images(held_out.images[:count]), labels)
    figures["fidelity/eye_contrast"] = figure(eye_contrast(drawn, labels) / true)
    return figures


def _flicker(
    shipped: Shipped, renderer: SofRenderer, space: SofSpace, counts: PortraitCounts, seed: int
) -> dict[str, dict[str, Any]]:
    painter = shipped.painter
    found = [
        orbit_flicker(
            renderer,
            painter,
            space.combination(MAPS_SEED + index),
            painter.model.draw(1, seed + index)[0],
            counts.frames,
        )
        for index in range(counts.flickers)
    ]
    if not found:
        return {}
    return {
        f"flicker/{name}": figure(float(np.mean([getattr(each, name) for each in found])))
        for name in ("warped", "still")
    }
