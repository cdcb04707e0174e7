"""`dressform evaluate parser`: how well a parser labels portraits that it has never seen.

Held-out portraits as they are, and changed as photographs differ. Real photographs with labels
are not among the data: what a user brings (`--images`, `--labels`) is measured the same way.
"""

from __future__ import annotations

from pathlib import Path  # noqa: TC003 - jsonargparse reads the command's annotations
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image

from blender_addon.contract.errors import SplitLeak
from blender_addon.contract.labels import labels_to_colors
from models.label_agreement import FREQUENT, Confusion
from models.package import read_manifest
from models.portrait_parser import SIZE, NetworkParser
from training.evaluation_tables import Bound, figure, publish
from training.heads.folders import LabelledFolder
from training.heads.format import HeadSet
from training.photographs import PhotographChances, as_photograph
from training.siw_data import PortraitSet

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    Pair = tuple[NDArray[np.uint8], NDArray[np.uint8]]

PORTRAITS = Bound(0.75)
PHOTOGRAPHS = Bound(0.60)
SHOWN = 16
ACROSS = 8


def evaluate_parser(
    package: Path,
    portraits: Path,
    images: Path | None = None,
    labels: Path | None = None,
    count: int = 64,
    json: Path | None = None,
    picture: Path | None = None,
    threads: int = 2,
) -> int:
    """Measure a parser.

    Args:
        package: of kind "parser".
        portraits: the set that it was trained on; its held-out heads measure.
        images: also measure on these photographs, head and shoulders …
        labels: … with label maps (values 0…16) of the same names in this folder.
        count: portraits, at most.
        json: also write {"figure": {"value", "bound", "ok"}} to this file.
        picture: also write a sheet of some of them to this file.
        threads: of torch on the CPU.

    Returns:
        0 when every bound holds.
    """
    torch.set_num_threads(threads)
    parser, manifest = NetworkParser.open(package), read_manifest(package)
    source = HeadSet.open(portraits)
    if manifest.data.get("digest") != source.digest:
        raise SplitLeak(
            f"{manifest.id!r} was trained on another set of portraits than {portraits}",
            "give the set that it was trained on",
        )
    size = min(SIZE, source.size)
    known = PortraitSet.open(portraits, None, size, limit=1)
    chosen = np.linspace(0, len(known.held_out.images) - 1, count).round().astype(int)
    chosen = np.unique(chosen)
    plain = [(known.held_out.images[k], known.held_out.labels[k]) for k in chosen]
    changed = [
        as_photograph(image, truth, size, PhotographChances(), np.random.default_rng(k))
        for k, (image, truth) in zip(chosen, plain, strict=True)
    ]
    table: dict[str, dict[str, Any]] = {}
    shown: list[tuple[NDArray[np.uint8], ...]] = []
    sets: dict[str, tuple[Iterable[Pair], Bound | None]] = {
        "portraits": (plain, PORTRAITS),
        "photographs": (changed, PHOTOGRAPHS),
    }
    if images is not None and labels is not None:
        folder = LabelledFolder(images, labels, size)
        sets["given"] = (((folder.image(k), folder.labels(k)) for k in range(len(folder))), None)
    for name, (pairs, bound) in sets.items():
        total = Confusion.empty()
        for number, (image, truth) in enumerate(pairs):
            seen = parser.probabilities(image).argmax(axis=0).astype(np.uint8)
            total.add(truth, seen)
            if number < SHOWN:
                shown.append((image, labels_to_colors(truth), labels_to_colors(seen)))
        table |= _figures(name, total, bound)
    if picture is not None:
        Image.fromarray(_sheet(shown)).save(picture)
    return publish(table, json)


def _figures(name: str, total: Confusion, bound: Bound | None) -> dict[str, dict[str, Any]]:
    """Return mean IoU over labels of at least 0.5 % of the pixels, over all, and each label's."""
    table = {
        f"{name}/mean_iou": figure(total.mean_iou(FREQUENT), bound),
        f"{name}/mean_iou_all": figure(total.mean_iou(0.0)),
        f"{name}/accuracy": figure(total.accuracy),
    }
    return table | {f"{name}/{key}": figure(value) for key, value in total.by_name().items()}


def _sheet(shown: list[tuple[NDArray[np.uint8], ...]]) -> NDArray[np.uint8]:
    rows: list[NDArray[np.uint8]] = []
    across = min(ACROSS, len(shown))
    for start in range(0, len(shown) - across + 1, across):
        some = shown[start : start + across]
        rows += [np.concatenate(list(layer), axis=1) for layer in zip(*some, strict=True)]
    return np.concatenate(rows)
