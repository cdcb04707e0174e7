"""What a running training shows: people beside their truth, drawn people, and how far these differ."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch import Tensor

from blender_addon.contract.joints import JOINT_NAMES
from training.image_metrics import mean_figures, measure
from training.losses import NEUTRAL_GREY, composite, composite_premultiplied

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from models.dresser import Dressed
    from training.wardrobe.data import Batch, Crowd
    from training.wardrobe.model import WardrobeModel

COLUMNS = 8
"""People side by side in a grid."""
MEASURED = 24
"""Held-out frames that a look measures."""
DRAWN = 24
"""People drawn for the figures of diversity."""
PARTS = ("head", "torso", "legs", "feet", "hands")
"""Parts of the body whose mean colours are compared."""
_FEWEST = 40
"""Pixels of a part below which its colour says nothing."""
_AT_ONCE = 8

_OF_JOINT = {
    "neck": 0, "head": 0, "jaw": 0, "eye": 0,
    "pelvis": 1, "spine": 1, "collar": 1, "shoulder": 1,
    "hip": 2, "knee": 2, "ankle": 3, "foot": 3,
    "wrist": 4, "thumb": 4, "index": 4, "middle": 4, "ring": 4, "pinky": 4,
}  # fmt: skip


class Colours(NamedTuple):
    """Mean colours of parts of painted or captured people.

    Attributes:
        mean: (N, parts, 3) float64 sRGB 0…1; NaN where a part is not seen.
        person: (N,) whose image it is.
    """

    mean: NDArray[np.float64]
    person: NDArray[np.int64]


def part_map(crowd: Crowd) -> Tensor:
    """Return which part each texel belongs to, (S, S) int64; −1 off the body and on the arms."""
    layout = crowd.layout
    joint = layout.at_texels(crowd.people.body.skin_weights.float()).argmax(dim=1)
    of_joint = torch.tensor([_part_of(name) for name in JOINT_NAMES])
    parts = torch.full((layout.size**2,), -1, dtype=torch.int64)
    parts[layout.texel] = of_joint[joint]
    return parts.view(layout.size, layout.size)


def _part_of(name: str) -> int:
    for begin, part in _OF_JOINT.items():
        if begin in name:
            return part
    return -1


class Looker:
    """Renders what a training has learnt, always the same frames and draws.

    Args:
        crowd: the captures.
        seed: of drawn people.
    """

    def __init__(self, crowd: Crowd, seed: int) -> None:
        self._crowd = crowd
        self._seed = seed
        self._parts = part_map(crowd)
        count = len(crowd.train)
        self._people = [
            crowd.train[i]
            for i in np.linspace(0, count - 1, min(count, MEASURED)).round().astype(int)
        ]
        self._frames = [
            (person, (crowd.held_out_frames[person] or crowd.frames[person])[0])
            for person in self._people
        ]
        self._pairs = [self._pair(person) for person in self._people]

    def figures(self, model: WardrobeModel) -> dict[str, float]:
        """Return mean figures on held-out frames of training people, and of drawn people's spread."""
        measured = []
        for first in range(0, len(self._frames), _AT_ONCE):
            batch = self._crowd.batch_of(self._frames[first : first + _AT_ONCE])
            dressed = render(model, own_codes(model, batch), batch)
            measured += _measured(dressed, batch)
        values = {f"held-out/{k}": v for k, v in mean_figures(measured).items()}
        true, drawn = self._colours(model)
        return values | spread_figures(true, drawn)

    def grid(self, model: WardrobeModel) -> NDArray[np.uint8]:
        """Return pictures: training frames, held-out frames, drawn people in two poses, a blend.

        Rows: a training frame and how it is painted; a held-out frame of the same people and how
        it is painted; eight drawn people in two poses each; from the first person to the last.
        """
        people = self._people[:: max(len(self._people) // COLUMNS, 1)][:COLUMNS]
        rows: list[NDArray[np.uint8]] = []
        held_out = [
            (p, (self._crowd.held_out_frames[p] or self._crowd.frames[p])[-1]) for p in people
        ]
        for frames in ([(p, self._pair(p)[0]) for p in people], held_out):
            batch = self._crowd.batch_of(frames)
            rows.append(_row(true_images(batch)))
            rows.append(_row(images_of(render(model, own_codes(model, batch), batch))))
        with torch.no_grad():
            drawn = draw_people(model, len(people), self._seed)
        for pose in (0, 1):
            batch = self._crowd.batch_of([(p, self._pair(p)[pose]) for p in people])
            rows.append(_row(images_of(render(model, drawn, batch))))
        batch = self._crowd.batch_of([(people[0], self._pair(people[0])[0])] * len(people))
        ends = model.codes[[people[0], people[-1]]].detach()
        blend = torch.linspace(0, 1, len(people), device=ends.device)[:, None]
        rows.append(
            _row(images_of(render(model, ends[:1].lerp(ends[1:], blend), batch, apart=True)))
        )
        return np.concatenate(rows)

    def _pair(self, person: int) -> tuple[int, int]:
        """Return two frames of a person, those of all parts first."""
        description = self._crowd.people.captures[person].description
        frames = self._crowd.frames[person]
        whole = [i for i in frames if any("whole" in tag for tag in description.frames[i].tags)]
        chosen = [*whole, *frames, *frames]
        return chosen[0], chosen[1]

    def _colours(self, model: WardrobeModel) -> tuple[Colours, Colours]:
        """Return the part colours of training people and of as many drawn ones, two poses each."""
        with torch.no_grad():
            drawn = draw_people(model, len(self._people), self._seed + 1)
        true_rows, drawn_rows = [], []
        for first in range(0, len(self._people), _AT_ONCE // 2):
            some = range(first, min(first + _AT_ONCE // 2, len(self._people)))
            frames = [(self._people[k], frame) for k in some for frame in self._pairs[k]]
            batch = self._crowd.batch_of(frames)
            seen = seen_parts(batch, self._parts)
            dressed = render(model, drawn[list(some)], batch)
            true_rows.append(part_colours(true_images(batch), seen))
            drawn_rows.append(part_colours(images_of(dressed), seen))
        person = np.repeat(np.arange(len(self._people)), 2)
        return Colours(np.concatenate(true_rows), person), Colours(
            np.concatenate(drawn_rows), person
        )


@torch.no_grad()
def render(model: WardrobeModel, w: Tensor, batch: Batch, *, apart: bool = False) -> Dressed:
    """Render one style a person of a batch, or with `apart` one an image."""
    which = torch.arange(batch.shape[0]) if apart else None
    batch = batch.to(model.codes.device)
    which = None if which is None else which.to(model.codes.device)
    return model.dress(model.features(model.textures(w), batch, which), batch)


def own_codes(model: WardrobeModel, batch: Batch) -> Tensor:
    """Return the codes of a batch's people."""
    return model.codes[list(batch.people)].detach()


def draw_people(model: WardrobeModel, count: int, seed: int) -> Tensor:
    """Draw styles (count, style) from the prior that the model has."""
    random = torch.Generator().manual_seed(seed)
    if model.generator.mapping_network is None:
        return model.draw(count, random)
    z = torch.randn(count, model.generator.config.code, generator=random)
    return model.generator.mapping(z.to(model.codes.device))


def images_of(dressed: Dressed) -> Tensor:
    """Return images over grey (B, 3, H, W), 0…1."""
    return composite(dressed.rgb, dressed.masks[:, :1], NEUTRAL_GREY).float().cpu()


def true_images(batch: Batch) -> Tensor:
    """Return the captured images over grey (B, 3, H, W), 0…1."""
    return composite_premultiplied(batch.colour, batch.masks[:, :1], NEUTRAL_GREY).cpu()


def seen_parts(batch: Batch, parts: Tensor) -> Tensor:
    """Return which part each pixel of the dresser's input shows, (B, h, w) int64; −1 for none."""
    layers, height, width = batch.samples.shape
    images = layers // batch.layers
    count = int(torch.searchsorted(batch.samples.pixel, images * height * width))
    first = batch.samples.offset[:count]
    uv = batch.samples.uv[first]
    size = parts.shape[0]
    column = (uv[:, 0] * size).long().clamp(0, size - 1)
    row = ((1.0 - uv[:, 1]) * size).long().clamp(0, size - 1)
    seen = torch.full((images * height * width,), -1, dtype=torch.int64)
    seen[batch.samples.pixel[:count]] = parts[row, column]
    return seen.view(images, height, width)


def part_colours(images: Tensor, seen: Tensor) -> NDArray[np.float64]:
    """Return (B, parts, 3) mean colours of images (B, 3, H, W); NaN where a part is hardly seen."""
    ratio = images.shape[-1] // seen.shape[-1]
    small = torch.nn.functional.avg_pool2d(images, ratio) if ratio > 1 else images
    means = np.full((len(images), len(PARTS), 3), np.nan)
    for image, labels, row in zip(small, seen, means, strict=True):
        for part in range(len(PARTS)):
            where = labels == part
            if int(where.sum()) >= _FEWEST:
                row[part] = image[:, where].mean(dim=1).double().numpy()
    return means


def spread_figures(true: Colours, drawn: Colours) -> dict[str, float]:
    """Return how far drawn people's colours spread, over the captured ones', and their constancy.

    "spread/part" is the ratio of the standard deviations of the part's colour, over all channels;
    "identity" the mean distance of a person's part colours in two poses over that of two people.
    """
    values: dict[str, float] = {}
    ratios = []
    for part, name in enumerate(PARTS):
        own, other = (_deviation(colours.mean[:, part]) for colours in (drawn, true))
        if other > 0:
            values[f"spread/{name}"] = own / other
            ratios.append(own / other)
    values["spread/mean"] = float(np.mean(ratios)) if ratios else float("nan")
    values["identity"] = identity_ratio(drawn)
    values["identity/captured"] = identity_ratio(true)
    return values


def identity_ratio(colours: Colours) -> float:
    """Return the mean distance within people over that between people, on common parts."""
    own, others = [], []
    for i in range(len(colours.person)):
        for j in range(i):
            apart = np.linalg.norm(colours.mean[i] - colours.mean[j], axis=1)
            if np.isnan(apart).all():
                continue
            same = colours.person[i] == colours.person[j]
            (own if same else others).append(float(np.nanmean(apart)))
    return float(np.mean(own) / np.mean(others)) if own and others else float("nan")


def novelty(drawn: Colours, captured: Colours) -> float:
    """Return how far drawn people are from whom they resemble most, over the same of captured ones.

    Distances are means over the parts that both images show. About 1: drawn people differ from
    captured ones as these differ from one another; well below: they are copies of them.
    """
    nearest = [_nearest(row, captured.mean) for row in drawn.mean]
    others = [
        _nearest(row, captured.mean[captured.person != person])
        for row, person in zip(captured.mean, captured.person, strict=True)
    ]
    return float(np.nanmean(nearest) / np.nanmean(others))


def _nearest(one: NDArray[np.float64], others: NDArray[np.float64]) -> float:
    apart = np.linalg.norm(others - one, axis=2)
    both = ~np.isnan(apart)
    apart = np.where(both, apart, 0.0).sum(axis=1) / np.maximum(both.sum(axis=1), 1)
    apart = apart[both.any(axis=1)]
    return float(apart.min()) if len(apart) else float("nan")


def _deviation(colours: NDArray[np.float64]) -> float:
    known = colours[~np.isnan(colours).any(axis=1)]
    return float(np.sqrt(known.var(axis=0).sum())) if len(known) > 1 else 0.0


def _measured(dressed: Dressed, batch: Batch) -> list:
    predicted, true = images_of(dressed), true_images(batch)
    masks, true_masks = dressed.masks.float().cpu(), batch.masks
    return [
        measure(*(image.permute(1, 2, 0).numpy() for image in images))
        for images in zip(predicted, masks, true, true_masks, strict=True)
    ]


def _row(images: Tensor) -> NDArray[np.uint8]:
    pixels = (images.permute(0, 2, 3, 1).numpy() * 255.0 + 0.5).clip(0, 255).astype(np.uint8)
    return np.concatenate(list(pixels), axis=1)


def texture_rows(painted: Tensor, truth: Sequence[Tensor]) -> NDArray[np.uint8]:
    """Return colours of textures (P, 3, s, s), −1…1, row by row: the truth's, then painted ones."""
    rows = [*truth, painted]
    return np.concatenate([_row((row.clamp(-1, 1) * 0.5 + 0.5).cpu()) for row in rows])
