"""What the principal directions of a wardrobe's codes do, in words for sliders.

A direction is followed two standard deviations to both sides of the mean person, rendered in fixed
poses; what changes most, over what the training people differ in, gives the name.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from training.wardrobe.samples import PARTS, images_of, part_colours, part_map, render, seen_parts

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from models.wardrobe import WardrobeSpace
    from training.wardrobe.data import Crowd
    from training.wardrobe.model import WardrobeModel

FAR = 2.0
"""Standard deviations to each side."""
POSES = 4
"""Frames in which a direction is looked at."""
LEAST = 0.15
"""Changes of less, in spreads of the training people, have no name."""
_TONES = {
    ("lighter", "darker"): np.array([1.0, 1.0, 1.0]) / 3.0,
    ("redder", "greener"): np.array([1.0, -1.0, 0.0]),
    ("bluer", "yellower"): np.array([-0.5, -0.5, 1.0]),
}
"""Words for more and for less of each."""


def direction_names(
    model: WardrobeModel, space: WardrobeSpace, crowd: Crowd, count: int
) -> list[str]:
    """Return names of the first directions, each unlike the others.

    Args:
        model: G and R in evaluation mode.
        space: of the codes.
        crowd: whose frames lend poses, and whose people say what counts as much.
        count: of directions.
    """
    frames = _poses(crowd)
    parts = part_map(crowd)
    spread, outline = _spreads(crowd, model)
    names: list[str] = []
    for index in range(min(count, len(space.axes))):
        step = space.moved([(index, FAR)])
        both = [_looks(model, space.mean + sign * step, crowd, frames, parts) for sign in (1, -1)]
        change = _tones(_mean(both[0][0] - both[1][0])) / (2.0 * FAR) / spread
        wider = (both[0][1] - both[1][1]) / (2.0 * FAR) / outline
        names.append(_name(change, wider, set(names), index))
    return names


def _poses(crowd: Crowd) -> list[tuple[int, int]]:
    """Return frames of the first person in which most of a body is seen."""
    person = crowd.train[0]
    capture = crowd.people.captures[person].description
    frames = crowd.frames[person]
    whole = [i for i in frames if any("whole" in tag for tag in capture.frames[i].tags)] or frames
    return [(person, index) for index in whole[:POSES]]


def _looks(
    model: WardrobeModel, w: Tensor, crowd: Crowd, frames: list[tuple[int, int]], parts: Tensor
) -> tuple[NDArray[np.float64], float]:
    """Return part colours (poses, parts, 3) of a person, and the share of pixels that they cover."""
    batch = crowd.batch_of(frames)
    styles = w[None] if w.shape[0] > 1 else w
    dressed = render(model, styles.to(model.codes.device), batch)
    colours = part_colours(images_of(dressed), seen_parts(batch, parts))
    return colours, float(dressed.masks[:, 0].mean())


def _spreads(crowd: Crowd, model: WardrobeModel) -> tuple[NDArray[np.float64], float]:
    """Return how training people differ, (parts, tones), and their outlines in one pose."""
    parts, frames = part_map(crowd), _poses(crowd)
    chosen = crowd.train[:: max(len(crowd.train) // 24, 1)]
    looks = [
        _looks(model, model.codes[person : person + 1].detach(), crowd, frames, parts)
        for person in chosen
    ]
    tones = np.stack([_tones(_mean(colours)) for colours, _ in looks])
    outline = np.std([cover for _, cover in looks])
    spread = np.ma.masked_invalid(tones).std(axis=0).filled(1.0)
    return np.maximum(spread, 1e-3), max(float(outline), 1e-4)


def _mean(colours: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the mean over poses; NaN where a part is seen in none."""
    return np.ma.masked_invalid(colours).mean(axis=0).filled(np.nan)


def _tones(colours: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return (parts, tones) of mean colours (parts, 3)."""
    return np.stack([colours @ tone for tone in _TONES.values()], axis=1)


def _name(change: NDArray[np.float64], wider: float, taken: set[str], index: int) -> str:
    """Return the strongest change's name that is not taken."""
    tones = list(_TONES)
    found: list[tuple[float, str]] = []
    for part, of_part in zip(PARTS, np.nan_to_num(change), strict=True):
        for tone, value in zip(tones, of_part, strict=True):
            found.append((abs(float(value)), f"{tone[0] if value > 0 else tone[1]} {part}"))
    found.append((abs(wider), "wider outline" if wider > 0 else "narrower outline"))
    for size, name in sorted(found, reverse=True):
        if size >= LEAST and name not in taken:
            return name
    return f"direction {index + 1}"
