"""What is known of a person's pose before a photograph is seen: a Gaussian and limits per joint.

The mean is somebody who stands with hanging arms: that is what joints outside the photograph do.
Axis-angles of SMPL-X's joints, whose unposed body stands with its arms straight out: x turns a
limb's upper end forwards and back in the legs and about itself in the arms. Spreads and limits are
rounded ranges of everyday motion; knees and elbows are hinges that bend one way.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch

from blender_addon.contract.joints import BODY_JOINTS, JOINT_INDEX, LEFT_HAND, RIGHT_HAND

if TYPE_CHECKING:
    from torch import Tensor

Triple = tuple[float, float, float]

_NONE: Triple = (0.0, 0.0, 0.0)
# Mean, spread, least and largest angle about x, y, z, of the left side.
_MIDDLE: dict[str, tuple[Triple, Triple, Triple, Triple]] = {
    **dict.fromkeys(
        ("spine1", "spine2", "spine3"),
        (_NONE, (0.15, 0.12, 0.1), (-0.4, -0.5, -0.4), (0.7, 0.5, 0.4)),
    ),
    **dict.fromkeys(
        ("neck", "head"), (_NONE, (0.2, 0.25, 0.15), (-0.6, -0.9, -0.5), (0.6, 0.9, 0.5))
    ),
}
_LEFT: dict[str, tuple[Triple, Triple, Triple, Triple]] = {
    "hip": (_NONE, (0.5, 0.25, 0.2), (-2.2, -0.9, -0.5), (0.7, 0.9, 0.9)),
    "knee": ((0.1, 0.0, 0.0), (0.6, 0.05, 0.05), (-0.05, -0.15, -0.1), (2.6, 0.15, 0.1)),
    "ankle": (_NONE, (0.25, 0.15, 0.15), (-0.7, -0.5, -0.5), (0.7, 0.5, 0.5)),
    "foot": (_NONE, (0.1, 0.05, 0.05), (-0.5, -0.2, -0.2), (0.3, 0.2, 0.2)),
    "collar": (_NONE, (0.1, 0.15, 0.15), (-0.3, -0.5, -0.3), (0.3, 0.5, 0.6)),
    "shoulder": ((0.0, 0.0, -1.15), (0.5, 0.6, 0.6), (-1.6, -2.3, -1.8), (1.6, 1.2, 1.8)),
    "elbow": ((0.0, -0.25, 0.0), (0.4, 0.8, 0.05), (-1.5, -2.6, -0.1), (1.5, 0.05, 0.1)),
    "wrist": (_NONE, (0.3, 0.2, 0.3), (-1.2, -0.6, -1.2), (1.2, 0.6, 1.2)),
}
FINGER_CURL = 0.25
"""Radians that the fingers' joints of a hand at ease are bent."""
_MIRROR = (1.0, -1.0, -1.0)
"""What is a mirrored rotation's share of each axis."""


class PosePrior(NamedTuple):
    """Of the 21 body joints, each (21, 3) radians: mean, spread, least and largest angles."""

    mean: Tensor
    spread: Tensor
    least: Tensor
    largest: Tensor

    def cost(self, pose: Tensor) -> Tensor:
        """Return the squared deviations of axis-angles (B, 21, 3) in spreads, summed: (B,)."""
        return ((pose - self.mean) / self.spread).square().sum(dim=(1, 2))

    def excess(self, pose: Tensor) -> Tensor:
        """Return the squared radians beyond the limits of axis-angles (B, 21, 3), summed: (B,)."""
        beyond = (pose - self.largest).clamp_min(0.0) + (self.least - pose).clamp_min(0.0)
        return beyond.square().sum(dim=(1, 2))


def pose_prior() -> PosePrior:
    """Return the prior of a person's pose."""
    table = torch.zeros(4, len(BODY_JOINTS), 3)
    mirror = torch.tensor(_MIRROR)
    for name, values in _MIDDLE.items():
        table[:, JOINT_INDEX[name] - 1] = torch.tensor(values)
    for name, values in _LEFT.items():
        mean, spread, least, largest = torch.tensor(values)
        table[:, JOINT_INDEX[f"left_{name}"] - 1] = torch.stack([mean, spread, least, largest])
        low, high = (
            torch.minimum(least * mirror, largest * mirror),
            torch.maximum(least * mirror, largest * mirror),
        )
        table[:, JOINT_INDEX[f"right_{name}"] - 1] = torch.stack([mean * mirror, spread, low, high])
    return PosePrior(*table)


def hands_at_ease() -> Tensor:
    """Return axis-angles (55, 3) that only bend the fingers, thumbs aside."""
    turns = torch.zeros(len(JOINT_INDEX), 3)
    for names, sign in ((LEFT_HAND, -1.0), (RIGHT_HAND, 1.0)):
        for name in names:
            if "thumb" not in name:
                turns[JOINT_INDEX[name], 2] = sign * FINGER_CURL
    return turns
