"""Does a pose push an arm or a leg through the body? Ellipsoids around big bones tell. No bpy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..contract.joints import JOINT_INDEX, PARENTS

if TYPE_CHECKING:
    from numpy.typing import NDArray

_TRUNK = ("pelvis", "spine1", "spine2", "spine3", "head")
_LEGS = ("left_hip", "right_hip", "left_knee", "right_knee")
_CLOTH = 0.012
_LEAST_VERTICES = 12


@dataclass(frozen=True)
class Solids:
    """Ellipsoids that bones carry, in the rest pose.

    Attributes:
        names: of the bones.
        centers: (n, 3) metres, SMPL-X axes.
        radii: (n, 3) half axes along x, y, z.
        joints: (55, 3) rest joints.
    """

    names: tuple[str, ...]
    centers: NDArray[np.float64]
    radii: NDArray[np.float64]
    joints: NDArray[np.float64]


def fit_solids(
    vertices: NDArray[np.floating], owners: NDArray[np.integer], joints: NDArray[np.floating]
) -> Solids:
    """Fit an ellipsoid to the vertices of each big bone.

    Args:
        vertices: (V, 3) unposed body, SMPL-X axes, metres.
        owners: (V,) joint of the largest weight of each.
        joints: (55, 3) unposed joints.
    """
    names: list[str] = []
    centers: list[NDArray[np.float64]] = []
    radii: list[NDArray[np.float64]] = []
    for name in (*_TRUNK, *_LEGS):
        points = np.asarray(vertices, np.float64)[owners == JOINT_INDEX[name]]
        if len(points) < _LEAST_VERTICES:
            continue
        low, high = np.percentile(points, [3, 97], axis=0)
        half = (high - low) / 2 + _CLOTH
        half[1] *= 1.25  # an ellipsoid of the box's height is too thin at its ends
        if name == "spine3":
            half[0] *= 0.8  # the shoulders' flesh goes with the arms
        names.append(name)
        centers.append((low + high) / 2)
        radii.append(half)
    shape = (len(names), 3)
    return Solids(
        tuple(names),
        np.array(centers).reshape(shape),
        np.array(radii).reshape(shape),
        np.asarray(joints, np.float64),
    )


def collides(pose: NDArray[np.floating], solids: Solids) -> bool:
    """Tell whether a hand, forearm or lower leg is inside the body, or forearms meet.

    Args:
        pose: (55, 3, 3) local rotations; where the root is does not matter.
    """
    turned, placed = _chain(np.asarray(pose, np.float64), solids.joints)
    thighs = ("left_hip", "right_hip")
    for side, other in (("left", "right"), ("right", "left")):
        if _inside(_arm(placed, side), (*_TRUNK, *thighs), turned, placed, solids):
            return True
        leg = (f"{other}_hip", f"{other}_knee")
        if _inside(_leg(placed, side), leg, turned, placed, solids):
            return True
    gap = np.linalg.norm(_forearm(placed, "left")[:, None] - _forearm(placed, "right"), axis=-1)
    return bool(gap.min() < 0.055)


def _chain(
    pose: NDArray[np.float64], joints: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    turned, placed = pose.copy(), joints.copy()
    for joint, parent in enumerate(PARENTS[1:], start=1):
        placed[joint] = placed[parent] + turned[parent] @ (joints[joint] - joints[parent])
        turned[joint] = turned[parent] @ turned[joint]
    return turned, placed


def _inside(
    points: NDArray[np.float64],
    names: tuple[str, ...],
    turned: NDArray[np.float64],
    placed: NDArray[np.float64],
    solids: Solids,
) -> bool:
    for name in names:
        if name not in solids.names:
            continue
        index, joint = solids.names.index(name), JOINT_INDEX[name]
        rest = (points - placed[joint]) @ turned[joint] + solids.joints[joint]
        distance = (rest - solids.centers[index]) / solids.radii[index]
        if ((distance**2).sum(axis=1) < 0.94).any():
            return True
    return False


def _arm(placed: NDArray[np.float64], side: str) -> NDArray[np.float64]:
    last, before = _at(placed, side, "middle3"), _at(placed, side, "middle2")
    tip = last + (last - before)
    extra = [last, tip, _at(placed, side, "thumb3")]
    return np.concatenate([_forearm(placed, side), np.array(extra)])


def _forearm(placed: NDArray[np.float64], side: str) -> NDArray[np.float64]:
    elbow, wrist, knuckle = (_at(placed, side, n) for n in ("elbow", "wrist", "middle1"))
    steps = np.linspace(0, 1, 8)[:, None]
    return np.concatenate([elbow + steps * (wrist - elbow), wrist + steps * (knuckle - wrist)])


def _leg(placed: NDArray[np.float64], side: str) -> NDArray[np.float64]:
    knee, ankle, foot = (_at(placed, side, n) for n in ("knee", "ankle", "foot"))
    return np.array([knee, (knee + ankle) / 2, ankle, foot])


def _at(placed: NDArray[np.float64], side: str, name: str) -> NDArray[np.float64]:
    return placed[JOINT_INDEX[f"{side}_{name}"]]
