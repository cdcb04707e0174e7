"""What an avatar does while it is looked at: a neutral pose and five motions."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from blender_addon.contract.joints import JOINT_COUNT, JOINT_INDEX, LEFT_HAND, RIGHT_HAND
from blender_addon.contract.operations import PosedBody
from blender_addon.contract.pose import rotation_from_axis_angle

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

MOTIONS = Path(__file__).resolve().parents[1] / "blender_addon" / "motions"
FILES = ("walk", "wave", "dance")
"""Motions that ship with the add-on."""

Turns = dict[str, tuple[float, float, float]]
"""Axis-angles in radians by joint, about the T-pose's axes (x to the person's left, y up)."""


def neutral(betas: NDArray[np.float32]) -> PosedBody:
    """Return a person who stands with the arms a little away from the body."""
    return posed(_arms_down(), betas)


def motion(name: str, frames: int, betas: NDArray[np.float32]) -> list[PosedBody]:
    """Return evenly spread moments of a motion.

    Args:
        name: "walk", "wave", "dance", "reach" or "squat".
        frames: how many.
        betas: of the person.
    """
    if name in _MADE:
        moments = (np.arange(frames) + 0.5) / frames
        return [posed(_MADE[name](float(moment)), betas) for moment in moments]
    with np.load(MOTIONS / f"{name}.npz", allow_pickle=False) as file:
        poses, transl = file["poses"], file["trans"]
    # The files stand Z up, as AMASS does; the body's own space is Y up.
    upright = rotation_from_axis_angle(np.array([-np.pi / 2, 0.0, 0.0]))
    chosen = ((np.arange(frames) + 0.5) / frames * len(poses)).astype(int)
    bodies: list[PosedBody] = []
    for i in chosen:
        pose = rotation_from_axis_angle(poses[i].reshape(JOINT_COUNT, 3))
        pose[0] = upright @ pose[0]
        bodies.append(_body(pose, transl[i] @ upright.T, betas))
    return bodies


def posed(turns: Turns, betas: NDArray[np.float32]) -> PosedBody:
    """Return a body whose joints are turned, with relaxed fingers; the feet are not grounded."""
    axis_angles = np.zeros((JOINT_COUNT, 3))
    for hand, sign in ((LEFT_HAND, -1.0), (RIGHT_HAND, 1.0)):
        for finger in hand:
            if "thumb" not in finger:
                axis_angles[JOINT_INDEX[finger]] = (0.0, 0.0, sign * 0.25)
    for name, turn in turns.items():
        axis_angles[JOINT_INDEX[name]] = turn
    return _body(rotation_from_axis_angle(axis_angles), np.zeros(3), betas)


def _body(
    pose: NDArray[np.floating], transl: NDArray[np.floating], betas: NDArray[np.float32]
) -> PosedBody:
    return PosedBody(
        pose=pose.astype(np.float32),
        transl=transl.astype(np.float32),
        betas=betas,
        expression=np.zeros(1, np.float32),
    )


def _arms_down() -> Turns:
    return {
        "left_shoulder": (0.0, -0.1, -1.05),
        "right_shoulder": (0.0, 0.1, 1.05),
        "left_elbow": (0.0, -0.25, 0.0),
        "right_elbow": (0.0, 0.25, 0.0),
    }


def _reach(moment: float) -> Turns:
    """Lift one arm to the front and overhead, lean, look after it; then the other one."""
    phase = (2.0 * moment) % 1.0
    lift = np.sin(np.pi * phase)
    turns = _arms_down()
    left = moment < 0.5
    side, sign = ("left", 1.0) if left else ("right", -1.0)
    turns[f"{side}_shoulder"] = (0.0, -sign * (0.1 + 1.1 * lift), sign * (-1.05 + 1.6 * lift))
    turns[f"{side}_elbow"] = (0.0, -sign * 0.25 * (1.0 - lift), 0.0)
    turns["spine2"] = (0.12 * lift, sign * -0.2 * lift, sign * -0.12 * lift)
    turns["head"] = (-0.25 * lift, sign * 0.35 * lift, 0.0)
    return turns


def _squat(moment: float) -> Turns:
    """Sit down as on a chair and get up again, hands to the front."""
    depth = np.sin(np.pi * moment)
    turns = _arms_down()
    for side, sign in (("left", 1.0), ("right", -1.0)):
        turns[f"{side}_hip"] = (-1.45 * depth, sign * 0.1 * depth, sign * 0.15 * depth)
        turns[f"{side}_knee"] = (1.6 * depth, 0.0, 0.0)
        turns[f"{side}_ankle"] = (-0.2 * depth, 0.0, 0.0)
        turns[f"{side}_shoulder"] = (0.0, -sign * (0.1 + 0.8 * depth), -sign * 1.05)
    turns["spine1"] = (0.3 * depth, 0.0, 0.0)
    turns["neck"] = (-0.15 * depth, 0.0, 0.0)
    return turns


_MADE: dict[str, Callable[[float], Turns]] = {"reach": _reach, "squat": _squat}
NAMES = (*FILES, *_MADE)
"""The five motions."""
