"""Names for a SOF's directions: what a step along each does to the label maps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from blender_addon.contract.camera import look_at
from blender_addon.contract.labels import LABEL_COUNT, Label

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from blender_addon.contract.camera import Camera
    from models.sof_render import SofRenderer
    from models.sof_space import SofSpace

AZIMUTHS = (0.0, 0.9, -0.9)
"""Radians of the cameras that look at what a direction does."""
SIZE = 96
_DISTANCE = 1.4
_FOCAL = 2.2
_FACE = (
    Label.SKIN,
    Label.BROW,
    Label.EYE,
    Label.RIGHT_NOSE,
    Label.LEFT_NOSE,
    Label.INNER_MOUTH,
    Label.UPPER_LIP,
    Label.LOWER_LIP,
)
_LEAST_AREA = 0.002
"""Share of the pixels that a change is measured against, at least: specks say little."""

_WORDS: dict[Label, str] = {
    Label.BROW: "brows",
    Label.EYE: "eyes",
    Label.RIGHT_NOSE: "nose",
    Label.LEFT_NOSE: "nose",
    Label.INNER_MOUTH: "open mouth",
    Label.UPPER_LIP: "lips",
    Label.LOWER_LIP: "lips",
    Label.EAR: "ears",
    Label.EAR_RING: "ear-rings",
    Label.GLASSES: "glasses",
    Label.NECK: "neck",
    Label.NECKLACE: "necklace",
    Label.CLOTH: "clothes",
    Label.HAIR: "hair",
    Label.HAT: "hat",
}


@dataclass(frozen=True)
class DirectionEffect:
    """What a direction does.

    Attributes:
        name: such as "hair +": what grows most, by its own measure, towards positive amounts.
        changes: from two deviations below the mean head to two above it, by word: the difference
            of areas over their mean.
    """

    name: str
    changes: dict[str, float]


def direction_effects(
    renderer: SofRenderer, space: SofSpace, count: int, amount: float = 2.0
) -> list[DirectionEffect]:
    """Look at what the first directions do to the mean head.

    Args:
        renderer: of the SOF.
        space: of its codes.
        count: of directions.
        amount: standard deviations of the two heads that are compared.

    Returns:
        one per direction; names are unique.
    """
    effects: list[DirectionEffect] = []
    used: dict[str, int] = {}
    for index in range(min(count, len(space.directions.axes))):
        step = torch.zeros(index + 1)
        step[index] = amount
        less, more = (
            _measures(renderer, space.moved(space.mean, sign * step)) for sign in (-1.0, 1.0)
        )
        changes = {
            word: (more[word] - less[word]) / max(0.5 * (more[word] + less[word]), _LEAST_AREA)
            for word in more
        }
        word = max(changes, key=lambda w: abs(changes[w]))
        name = f"{word} {'+' if changes[word] > 0 else '−'}"
        used[name] = used.get(name, 0) + 1
        if used[name] > 1:
            name = f"{name} ({used[name]})"
        effects.append(DirectionEffect(name, changes))
    return effects


def _measures(renderer: SofRenderer, code: torch.Tensor) -> Mapping[str, float]:
    maps = [renderer.label_map(code, _camera(azimuth)).labels.cpu().numpy() for azimuth in AZIMUTHS]
    areas = np.mean([np.bincount(m.ravel(), minlength=LABEL_COUNT) / m.size for m in maps], axis=0)
    words = dict.fromkeys(_WORDS.values(), 0.0)
    for label, word in _WORDS.items():
        words[word] += float(areas[label])
    width, height = _extent(np.isin(maps[0], _FACE))
    return words | {"width of the face": width, "height of the face": height}


def _extent(mask: NDArray[np.bool_]) -> tuple[float, float]:
    """Return width and height of a mask as shares of the image; few stray pixels do not count."""
    sides = []
    for axis in (0, 1):
        profile = mask.sum(axis=axis)
        sides.append(float((profile > 0.1 * max(profile.max(), 1)).sum()) / mask.shape[axis])
    return sides[0], sides[1]


def _camera(azimuth: float) -> Camera:
    eye = _DISTANCE * np.array([np.sin(azimuth), 0.0, np.cos(azimuth)])
    up = np.array([0.0, 1.0, 0.0])
    return look_at(eye, np.zeros(3), up, focal=_FOCAL * SIZE, width=SIZE, height=SIZE)
