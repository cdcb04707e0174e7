"""Cameras all around a person: whole body, upper body, legs, head and hands."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, get_args

import numpy as np

from blender_addon.contract.camera import Camera, look_at
from blender_addon.contract.joints import JOINT_INDEX

if TYPE_CHECKING:
    from numpy.typing import NDArray

View = Literal["whole", "upper", "legs", "head", "hand"]
VIEWS: tuple[View, ...] = get_args(View)
VIEW_SHARES: dict[View, float] = {
    "whole": 0.5, "upper": 0.16, "legs": 0.09, "head": 0.15, "hand": 0.1,
}  # fmt: skip

_LOWEST, _HIGHEST = np.radians(-15.0), np.radians(45.0)
_LEAST_DEPTH = 0.3


def sample_camera(
    rng: np.random.Generator,
    view: View,
    joints: NDArray[np.floating],
    *,
    facing: NDArray[np.floating],
    size: int,
    azimuth: float | None = None,
) -> Camera:
    """Draw a camera that sees a part of a posed person.

    Args:
        rng: source of all chance.
        view: which part.
        joints: (55, 3) posed joints.
        facing: (3, 3) rotation of the root: azimuth 0 is in front of the person.
        size: width and height of the image.
        azimuth: in radians; drawn from the whole circle when None.
    """
    forward = facing @ np.array([0.0, 0.0, 1.0])
    turn = rng.uniform(-np.pi, np.pi) if azimuth is None else azimuth
    turn += np.arctan2(forward[0], forward[2])
    points, margin = _subject(rng, view, joints, turn)
    center = (points.min(axis=0) + points.max(axis=0)) / 2
    elevation = np.clip(rng.normal(0.12, 0.24), _LOWEST, _HIGHEST)
    away = np.array(
        [np.sin(turn) * np.cos(elevation), np.sin(elevation), np.cos(turn) * np.cos(elevation)]
    )
    distance = (
        rng.uniform(2.2, 5.0) if view in ("whole", "legs", "upper") else rng.uniform(1.0, 2.5)
    )
    # A close-up from inside somebody's arm shows nothing: step back until all joints are ahead.
    nearest = float(((joints - center) @ away).max())
    distance = max(distance, nearest + _LEAST_DEPTH)
    up = np.array([np.sin(rng.normal(0, 0.04)), 1.0, 0.0])
    camera = look_at(center + distance * away, center, up, focal=1.0, width=size, height=size)
    seen = points @ camera.R.T + camera.t
    flat = seen[:, :2] / seen[:, 2:]
    low = flat.min(axis=0) - margin / distance
    high = flat.max(axis=0) + margin / distance
    middle, half = (low + high) / 2, float((high - low).max()) / 2
    focal = 0.5 * size * rng.uniform(0.86, 0.98) / half
    slack = 0.5 * size - focal * (high - low) / 2
    shift = rng.uniform(-0.7, 0.7, 2) * np.maximum(slack, 0.0)
    K = np.array(
        [
            [focal, 0.0, 0.5 * size - focal * middle[0] + shift[0]],
            [0.0, focal, 0.5 * size - focal * middle[1] + shift[1]],
            [0.0, 0.0, 1.0],
        ]
    )
    return Camera(K=K, R=camera.R, t=camera.t, width=size, height=size)


def _subject(
    rng: np.random.Generator, view: View, joints: NDArray[np.floating], turn: float
) -> tuple[NDArray[np.floating], float]:
    """Return the points that must be in the picture and the metres of flesh around them."""
    crown = joints[JOINT_INDEX["head"]] + 0.8 * (
        joints[JOINT_INDEX["head"]] - joints[JOINT_INDEX["neck"]]
    )
    if view == "whole":
        return np.concatenate([joints, crown[None]]), 0.13
    if view == "upper":
        names = ("left_hip", "right_hip", "left_shoulder", "right_shoulder", "head")
        return np.concatenate([_at(joints, names), crown[None]]), 0.16
    if view == "legs":
        names = tuple(
            f"{s}_{n}" for s in ("left", "right") for n in ("hip", "knee", "ankle", "foot")
        )
        return _at(joints, names), 0.12
    if view == "head":
        names = ("neck", "head", "jaw", "left_eye_smplhf", "right_eye_smplhf")
        return np.concatenate([_at(joints, names), crown[None]]), rng.uniform(0.06, 0.12)
    # The hand on the camera's side; the other one may be behind the body.
    between = joints[JOINT_INDEX["left_wrist"]] - joints[JOINT_INDEX["right_wrist"]]
    side = "left" if between @ np.array([np.sin(turn), 0.0, np.cos(turn)]) > 0 else "right"
    names = tuple(name for name in JOINT_INDEX if name.startswith(f"{side}_") and name[-1] in "123")
    return _at(joints, (*names, f"{side}_wrist")), rng.uniform(0.04, 0.1)


def _at(joints: NDArray[np.floating], names: tuple[str, ...]) -> NDArray[np.floating]:
    return joints[[JOINT_INDEX[name] for name in names]]
