"""`dressform evaluate wardrobe`: drawn people against captured ones.

Drawn people wear the poses, body shapes and cameras of people whom no training saw, so that what
differs is what the wardrobe made up.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path  # noqa: TC003 - jsonargparse reads the annotations
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from PIL import Image

from blender_addon.contract.errors import CaptureError, SplitLeak
from models.dresser_package import load_dresser
from models.memory import keep_freed_memory
from models.package import DEFAULT_LIBRARY, find_package
from models.wardrobe import Wardrobe
from training.captures import find_captures
from training.evaluation_tables import Bound, figure, publish
from training.siw_frechet import features_of, frechet_distance
from training.wardrobe.data import Crowd
from training.wardrobe.model import WardrobeModel
from training.wardrobe.recipe import WardrobeData, WardrobeRecipe
from training.wardrobe.samples import (
    Colours,
    images_of,
    novelty,
    part_colours,
    part_map,
    render,
    seen_parts,
    spread_figures,
    true_images,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from models.package import Manifest
    from training.siw_frechet import Features

IDENTITY = Bound(0.6, at_most=True)
DIVERSITY = Bound(0.7)
_AT_ONCE = 12
_WHOLE = "whole"
"""In the tags of frames that show all of a person."""

Frame = tuple[int, int]
"""A capture and the index of one of its frames."""


@dataclass(frozen=True, kw_only=True)
class WardrobeCounts:
    """How much is measured.

    Attributes:
        people: drawn.
        poses: of each.
        truncation: of what is drawn; 1 is as drawn.
    """

    people: int = 100
    poses: int = 3
    truncation: float = 1.0


class Shown(NamedTuple):
    """Images of people and what they say.

    Attributes:
        images: (N, 3, S, S) float32 over grey, 0…1.
        colours: of their parts.
    """

    images: Tensor
    colours: Colours


def evaluate_wardrobe(
    captures: Path | list[Path],
    library: Path = DEFAULT_LIBRARY,
    wardrobe: str = "wardrobe-people",
    counts: WardrobeCounts = WardrobeCounts(),
    size: int = 256,
    inception: Path | None = None,
    seed: int = 1,
    threads: int = 2,
    sheet: Path | None = None,
    json: Path | None = None,
) -> int:
    """Measure the people whom a wardrobe draws.

    Args:
        captures: folder of captures of many people, or several: those that the wardrobe was trained
            on, and others that it was not, whose poses the drawn people take.
        library: where the packages lie.
        wardrobe: id of the package.
        counts: how much is measured.
        size: side of the images.
        inception: Inception-v3's weights, for FID; without them the distance is that of
            EfficientNet-lite2's features, under its own name.
        seed: of the drawn people, and of which captured frames they are compared with.
        threads: of torch on the CPU.
        sheet: also write a picture of every drawn person, a row of poses each.
        json: also write {"figure_name": {"value", "bound", "ok"}} to this file.

    Returns:
        0 when every bound holds.

    Raises:
        SplitLeak: the package does not say whom it was trained on.
        CaptureError: there are too few captures of either kind.
    """
    torch.set_num_threads(threads)
    keep_freed_memory()
    loaded = Wardrobe.load(library, wardrobe)
    model = model_of(loaded, library)
    upscale = model.dresser.config.upscale
    crowd = Crowd.open(
        find_captures(captures),
        library,
        WardrobeData(size=size, margin=(1.2, 1.2), memory=0.5),
        upscale=upscale,
        texture_size=loaded.generator.config.size,
        shell=model.dresser.config.shell,
    )
    known, unknown = split_people(loaded.manifest, crowd.people.ids)
    styles = torch.stack([loaded.draw(seed + k, counts.truncation) for k in range(counts.people)])
    frames = whole_frames(crowd, unknown, counts.people, counts.poses)
    drawn = show_drawn(model, crowd, styles, frames)
    count = counts.people * counts.poses
    captured = show_captured(crowd, some_frames(crowd, known, count, seed))
    others = show_captured(crowd, some_frames(crowd, unknown, count, seed))
    figures = wardrobe_figures(drawn, captured, others, features_of(2, inception))
    everybody = show_captured(crowd, some_frames(crowd, known, len(known), seed))
    figures["novelty"] = figure(novelty(drawn.colours, everybody.colours))
    if sheet is not None:
        write_sheet(sheet, drawn.images, counts.poses)
    return publish(figures, json)


def wardrobe_figures(
    drawn: Shown, captured: Shown, others: Shown, features: Features
) -> dict[str, dict[str, Any]]:
    """Return the figures with their bounds.

    Args:
        drawn: people by chance.
        captured: of people that the wardrobe was trained on.
        others: captured, of people that it was not: what the distance is at its least.
        features: of the Fréchet distance.
    """
    count = min(len(each.images) for each in (drawn, captured, others))
    seen = [features(each.images[:count] * 2.0 - 1.0) for each in (drawn, captured, others)]
    distance, floor = frechet_distance(seen[0], seen[1]), frechet_distance(seen[2], seen[1])
    figures = {
        "frechet/distance": figure(distance),
        "frechet/floor": figure(floor),
        "frechet/images": figure(float(count)),
        "frechet/over_floor": figure(distance / floor),
    }
    spread = spread_figures(captured.colours, drawn.colours)
    bounds = {"identity": IDENTITY, "spread/mean": DIVERSITY}
    figures |= {name: figure(value, bounds.get(name)) for name, value in spread.items()}
    return figures


def model_of(wardrobe: Wardrobe, library: Path) -> WardrobeModel:
    """Return a wardrobe's networks as the training holds them, with one code: the mean person's."""
    dresser = load_dresser(find_package(library, wardrobe.manifest.requirements["dresser"]))
    recipe = WardrobeRecipe(generator=wardrobe.generator.config, dresser=dresser.config)
    model = WardrobeModel(recipe, 1, None)
    model.generator, model.dresser = wardrobe.generator, dresser
    return model.eval().requires_grad_(requires_grad=False)


def split_people(manifest: Manifest, ids: Sequence[str]) -> tuple[list[int], list[int]]:
    """Return which captures a wardrobe was trained on, and which not.

    Raises:
        SplitLeak: its package does not say.
        CaptureError: there are none of a kind.
    """
    trained = {entry["id"] for entry in manifest.data.get("captures", [])}
    if not trained:
        raise SplitLeak(
            f"{manifest.id!r} does not say whom it was trained on", "export it again from its run"
        )
    known = [index for index, name in enumerate(ids) if name in trained]
    unknown = [index for index, name in enumerate(ids) if name not in trained]
    if len(known) < 2 or len(unknown) < 2:
        raise CaptureError(
            f"{len(known)} captures are of people that {manifest.id!r} knows, {len(unknown)} are not",
            "give at least two of each",
        )
    return known, unknown


def whole_frames(crowd: Crowd, people: Sequence[int], count: int, poses: int) -> list[list[Frame]]:
    """Return the poses of `count` drawn people: each takes those of one captured person."""
    found: list[list[Frame]] = []
    for k in range(count):
        person = people[k % len(people)]
        frames = _whole(crowd, person)
        first = (k // len(people)) * poses
        found.append([(person, frames[(first + j) % len(frames)]) for j in range(poses)])
    return found


def some_frames(crowd: Crowd, people: Sequence[int], count: int, seed: int) -> list[Frame]:
    """Return frames of captured people, as evenly as there are, those of a person adjacent."""
    rng = np.random.default_rng(seed)
    each = -(-count // len(people))
    found: list[Frame] = []
    for person in rng.permutation(people):
        frames = rng.permutation(_whole(crowd, int(person)))[:each]
        found += [(int(person), int(index)) for index in frames]
    return found[:count]


@torch.no_grad()
def show_drawn(
    model: WardrobeModel, crowd: Crowd, styles: Tensor, frames: Sequence[Sequence[Frame]]
) -> Shown:
    """Render drawn people, one row of styles (L, W) each, in their poses."""
    parts = part_map(crowd)
    images: list[Tensor] = []
    colours: list[Any] = []
    for w, own in zip(styles, frames, strict=True):
        batch = crowd.batch_of(own)
        dressed = images_of(render(model, w[None], batch))
        images.append(dressed)
        colours.append(part_colours(dressed, seen_parts(batch, parts)))
    person = np.repeat(np.arange(len(frames)), [len(own) for own in frames])
    return Shown(torch.cat(images), Colours(np.concatenate(colours), person))


def show_captured(crowd: Crowd, frames: Sequence[Frame]) -> Shown:
    """Return captured images as drawn people are shown."""
    parts = part_map(crowd)
    images: list[Tensor] = []
    colours: list[Any] = []
    for first in range(0, len(frames), _AT_ONCE):
        batch = crowd.batch_of(frames[first : first + _AT_ONCE])
        images.append(true_images(batch))
        colours.append(part_colours(images[-1], seen_parts(batch, parts)))
    person = np.array([person for person, _ in frames])
    return Shown(torch.cat(images), Colours(np.concatenate(colours), person))


def write_sheet(file: Path, images: Tensor, poses: int) -> None:
    """Write all images as one picture, people side by side, their poses below one another."""
    across = max(1, round((len(images) * poses) ** 0.5) // poses * poses)
    pixels = (images.permute(0, 2, 3, 1).numpy() * 255.0 + 0.5).clip(0, 255).astype(np.uint8)
    rows = [pixels[k : k + across] for k in range(0, len(pixels), across)]
    blank = np.full_like(pixels[0], 127)
    lines = [np.concatenate([*row, *[blank] * (across - len(row))], axis=1) for row in rows]
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.concatenate(lines)).save(file)


def _whole(crowd: Crowd, person: int) -> list[int]:
    frames = crowd.people.captures[person].description.frames
    whole = [k for k, frame in enumerate(frames) if any(_WHOLE in tag for tag in frame.tags)]
    return whole or list(range(len(frames)))
