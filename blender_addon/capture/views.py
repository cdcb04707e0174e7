"""Cameras of a sweep: all around the person, whole body and close-ups. No bpy."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, get_args

import numpy as np

from ..contract.camera import Camera, look_at
from ..contract.joints import JOINT_INDEX

if TYPE_CHECKING:
    from numpy.typing import NDArray

View = Literal["whole", "upper", "legs", "head", "hand"]
VIEWS: tuple[View, ...] = get_args(View)
VIEW_SHARES: dict[View, float] = {
    "whole": 0.5, "upper": 0.16, "legs": 0.09, "head": 0.15, "hand": 0.1,
}  # fmt: skip

_ELEVATION = float(np.radians(-15.0)), float(np.radians(45.0))
_LEAST_DEPTH = 0.3
_FLESH: dict[View, tuple[float, float]] = {
    "whole": (0.13, 0.15), "upper": (0.16, 0.18), "legs": (0.12, 0.14), "head": (0.06, 0.13),
    "hand": (0.04, 0.1),
}  # fmt: skip


def sample_view(
    rng: np.random.Generator,
    view: View,
    joints: NDArray[np.floating],
    facing: NDArray[np.floating],
    size: tuple[int, int],
) -> Camera:
    """Draw a camera that sees a part of a posed person.

    Args:
        rng: source of all chance.
        view: which part.
        joints: (55, 3) posed joints, SMPL-X world.
        facing: (3, 3) rotation of the root.
        size: width and height of the image.
    """
    # A head is looked at from the front more often than from behind.
    frontal = view == "head" and rng.random() < 0.6
    azimuth = float(rng.normal(0, 0.7) if frontal else rng.uniform(-np.pi, np.pi))
    elevation = float(np.clip(rng.normal(0.12, 0.24), *_ELEVATION))
    near = view in ("head", "hand")
    distance = float(rng.uniform(1.0, 2.5) if near else rng.uniform(2.2, 5.0))
    return camera_at(
        joints, facing, size, azimuth=azimuth, elevation=elevation, distance=distance,
        view=view, flesh=float(rng.uniform(*_FLESH[view])), roll=float(rng.normal(0, 0.04)),
        fill=float(rng.uniform(0.86, 0.98)), shift=rng.uniform(-0.7, 0.7, 2),
    )  # fmt: skip


def camera_at(
    joints: NDArray[np.floating],
    facing: NDArray[np.floating],
    size: tuple[int, int],
    *,
    azimuth: float,
    elevation: float,
    distance: float,
    view: View = "whole",
    flesh: float = 0.14,
    roll: float = 0.0,
    fill: float = 0.94,
    shift: NDArray[np.floating] | None = None,
) -> Camera:
    """Return the camera that fits a part of a person into the image.

    Args:
        joints: (…, 55, 3) posed joints of one or several moments.
        facing: (3, 3) rotation of the root: azimuth 0 is in front of the person.
        size: width and height of the image.
        azimuth: radians; positive towards the person's left.
        elevation: radians over the horizon.
        distance: metres; grows when the person is in the way.
        view: what must be in the picture.
        flesh: metres around the joints.
        roll: sideways tilt of up.
        fill: share of the image that the subject fills along its longer side.
        shift: (2,) where in the spare room the subject sits, −1…1.
    """
    every = np.asarray(joints, np.float64).reshape(-1, len(JOINT_INDEX), 3)
    front = np.asarray(facing, np.float64) @ np.array([0.0, 0.0, 1.0])
    turn = azimuth + float(np.arctan2(front[0], front[2]))
    points = np.concatenate([_subject(view, moment, turn) for moment in every])
    center = (points.min(axis=0) + points.max(axis=0)) / 2
    level = np.cos(elevation)
    away = np.array([np.sin(turn) * level, np.sin(elevation), np.cos(turn) * level])
    # A close-up from inside somebody's arm shows nothing: stand back until all is ahead.
    distance = max(distance, float(((every - center) @ away).max()) + _LEAST_DEPTH)
    up = np.array([np.sin(roll), 1.0, 0.0])
    width, height = size
    camera = look_at(center + distance * away, center, up, focal=1.0, width=width, height=height)
    seen = points @ camera.R.T + camera.t
    flat = seen[:, :2] / seen[:, 2:]
    low, high = flat.min(axis=0) - flesh / distance, flat.max(axis=0) + flesh / distance
    sides = np.array([width, height], np.float64)
    focal = float((fill * sides / (high - low)).min())
    slack = np.maximum(0.5 * sides - focal * (high - low) / 2, 0.0)
    middle = 0.5 * sides - focal * (low + high) / 2
    if shift is not None:
        middle = middle + np.asarray(shift) * slack
    K = np.array([[focal, 0.0, middle[0]], [0.0, focal, middle[1]], [0.0, 0.0, 1.0]])
    return Camera(K=K, R=camera.R, t=camera.t, width=width, height=height)


def _subject(view: View, joints: NDArray[np.float64], turn: float) -> NDArray[np.float64]:
    head, neck = joints[JOINT_INDEX["head"]], joints[JOINT_INDEX["neck"]]
    crown = (head + 0.8 * (head - neck))[None]
    if view == "whole":
        return np.concatenate([joints, crown])
    if view == "upper":
        names = ("left_hip", "right_hip", "left_shoulder", "right_shoulder", "head")
        return np.concatenate([_at(joints, names), crown])
    if view == "legs":
        sides = ("left", "right")
        return _at(
            joints, tuple(f"{s}_{n}" for s in sides for n in ("hip", "knee", "ankle", "foot"))
        )
    if view == "head":
        names = ("neck", "head", "jaw", "left_eye_smplhf", "right_eye_smplhf")
        return np.concatenate([_at(joints, names), crown])
    # The hand on the camera's side; the other one may be behind the body.
    between = joints[JOINT_INDEX["left_wrist"]] - joints[JOINT_INDEX["right_wrist"]]
    side = "left" if between @ np.array([np.sin(turn), 0.0, np.cos(turn)]) > 0 else "right"
    names = tuple(n for n in JOINT_INDEX if n.startswith(f"{side}_") and n[-1] in "123")
    return _at(joints, (*names, f"{side}_wrist"))


def _at(joints: NDArray[np.float64], names: tuple[str, ...]) -> NDArray[np.float64]:
    return joints[[JOINT_INDEX[name] for name in names]]
