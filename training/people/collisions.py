"""Does a pose push an arm or a leg through the body? Ellipsoids around the big bones tell."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from blender_addon.contract.joints import JOINT_INDEX
from training.people.skeleton import posed_joints

if TYPE_CHECKING:
    from numpy.typing import NDArray

_SOLID = (
    "pelvis", "spine1", "spine2", "spine3", "head", "left_hip", "right_hip", "left_knee",
    "right_knee",
)  # fmt: skip
_TORSO = ("pelvis", "spine1", "spine2", "spine3", "head")
# Collarbone and shoulder flesh belongs to spine3's breadth but moves with the arm.
_NARROW = {"spine3": 0.8, "spine2": 0.9}


@dataclass(frozen=True)
class Solids:
    """Ellipsoids around bones, in the rest pose.

    Attributes:
        centers: (n, 3) metres.
        radii: (n, 3) half axes along x, y, z.
        joints: (n,) the joint that carries each.
    """

    centers: NDArray[np.float64]
    radii: NDArray[np.float64]
    joints: NDArray[np.int64]


def body_solids(
    vertices: NDArray[np.floating], weights: NDArray[np.floating], *, cloth: float = 0.01
) -> Solids:
    """Fit ellipsoids to the vertices that each big bone carries.

    Args:
        vertices: (V, 3) shaped body in the rest pose.
        weights: (V, 55) skinning weights.
        cloth: thickness that clothes add, metres.
    """
    owner = weights.argmax(axis=1)
    centers, radii = [], []
    for name in _SOLID:
        points = vertices[owner == JOINT_INDEX[name]]
        low, high = np.percentile(points, [3, 97], axis=0)
        half = (high - low) / 2 + cloth
        half[0] *= _NARROW.get(name, 1.0)
        # A box's ellipsoid of equal extent is too small at its ends along the bone.
        half[1] *= 1.25
        centers.append((low + high) / 2)
        radii.append(half)
    joints = np.array([JOINT_INDEX[name] for name in _SOLID])
    return Solids(np.array(centers), np.array(radii), joints)


def penetrates(
    transforms: NDArray[np.float64],
    rest: NDArray[np.floating],
    solids: Solids,
    *,
    tolerance: float = 0.97,
) -> bool:
    """Say whether a hand, a forearm or a leg stands inside another part of the body.

    Args:
        transforms: (55, 3, 4) of `joint_transforms`.
        rest: (55, 3) rest joints.
        solids: of the same person.
        tolerance: factor on the ellipsoids; below 1 they may be dented.
    """
    joints = posed_joints(transforms, rest)
    for side, other in (("left", "right"), ("right", "left")):
        arm = _arm_points(joints, side)
        thighs = ("left_hip", "right_hip")
        if _inside(arm, (*_TORSO, *thighs), transforms, solids, tolerance):
            return True
        leg = _leg_points(joints, side)
        if _inside(leg, (f"{other}_hip", f"{other}_knee"), transforms, solids, tolerance):
            return True
    return _forearms_cross(joints)


def _arm_points(joints: NDArray[np.float64], side: str) -> NDArray[np.float64]:
    elbow, wrist = (joints[JOINT_INDEX[f"{side}_{name}"]] for name in ("elbow", "wrist"))
    knuckle, last = (joints[JOINT_INDEX[f"{side}_{name}"]] for name in ("middle1", "middle3"))
    thumb = joints[JOINT_INDEX[f"{side}_thumb3"]]
    tip = last + (last - joints[JOINT_INDEX[f"{side}_middle2"]])
    along = [elbow + k * (wrist - elbow) for k in (0.0, 0.3, 0.6, 0.85, 1.0)]
    return np.array([*along, (wrist + knuckle) / 2, knuckle, last, tip, thumb])


def _leg_points(joints: NDArray[np.float64], side: str) -> NDArray[np.float64]:
    knee, ankle, foot = (
        joints[JOINT_INDEX[f"{side}_{name}"]] for name in ("knee", "ankle", "foot")
    )
    return np.array([knee, (knee + ankle) / 2, ankle, foot])


def _inside(
    points: NDArray[np.float64],
    names: tuple[str, ...],
    transforms: NDArray[np.float64],
    solids: Solids,
    tolerance: float,
) -> bool:
    wanted = [_SOLID.index(name) for name in names]
    carried = transforms[solids.joints[wanted]]
    local = points[None] - carried[:, None, :, 3]
    rest = np.einsum("nba,npb->npa", carried[:, :, :3], local)
    distance = (rest - solids.centers[wanted][:, None]) / solids.radii[wanted][:, None]
    return bool(((distance**2).sum(-1) < tolerance**2).any())


def _forearms_cross(joints: NDArray[np.float64], least: float = 0.055) -> bool:
    def forearm(side: str) -> NDArray[np.float64]:
        elbow, wrist, knuckle = (
            joints[JOINT_INDEX[f"{side}_{name}"]] for name in ("elbow", "wrist", "middle1")
        )
        steps = np.linspace(0, 1, 9)[:, None]
        return np.concatenate([elbow + steps * (wrist - elbow), wrist + steps * (knuckle - wrist)])

    gap = np.linalg.norm(forearm("left")[:, None] - forearm("right")[None], axis=-1)
    return bool(gap.min() < least)
