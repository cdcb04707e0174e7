"""Fingers of a body fit: bent as the hands that are seen, at ease where none is."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from blender_addon.contract.joints import JOINT_INDEX

if TYPE_CHECKING:
    from torch import Tensor

    from models.person_photo import PersonView

_FIRST = {"index": 5, "middle": 9, "ring": 13, "pinky": 17}
"""Knuckle of each finger among MediaPipe's 21 points of a hand; the wrist is 0."""
LEAST_SURE = 0.5
_LARGEST = 1.6


def finger_curls(view: PersonView, at_ease: Tensor) -> Tensor:
    """Return axis-angles (55, 3) whose fingers are bent as those that are seen.

    Each finger's three joints bend by the angles between the segments on their two sides; the thumb,
    whose joints turn otherwise, stays at ease.

    Args:
        view: with or without hands.
        at_ease: (55, 3) for the hands that are not seen.
    """
    turns = at_ease.clone()
    if view.hands_world is None or view.hands_seen is None:
        return turns
    for number, (side, sign) in enumerate((("left", -1.0), ("right", 1.0))):
        if view.hands_seen[number] < LEAST_SURE:
            continue
        points = view.hands_world[number].astype(np.float64)
        for finger, first in _FIRST.items():
            chain = points[[0, *range(first, first + 4)]]
            segments = np.diff(chain, axis=0)
            segments /= np.linalg.norm(segments, axis=1, keepdims=True).clip(1e-6)
            angles = np.arccos((segments[:-1] * segments[1:]).sum(axis=1).clip(-1.0, 1.0))
            for k, angle in enumerate(angles, start=1):
                turns[JOINT_INDEX[f"{side}_{finger}{k}"], 2] = sign * min(float(angle), _LARGEST)
    return turns
