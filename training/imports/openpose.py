"""OpenPose keypoints: how well a fit lies on what was seen.

Hips and neck are left out: OpenPose marks them elsewhere than SMPL-X has its joints.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from blender_addon.contract.joints import JOINT_INDEX
from training.imports.arrays import wrong

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

_ARMS = {
    2: "right_shoulder",
    3: "right_elbow",
    4: "right_wrist",
    5: "left_shoulder",
    6: "left_elbow",
    7: "left_wrist",
}
BODY_25: Mapping[int, str] = {
    **_ARMS,
    10: "right_knee",
    11: "right_ankle",
    13: "left_knee",
    14: "left_ankle",
    15: "right_eye_smplhf",
    16: "left_eye_smplhf",
}
"""Keypoints of OpenPose's 25 and the joints of SMPL-X that they mark."""

COCO_18: Mapping[int, str] = {
    **_ARMS,
    9: "right_knee",
    10: "right_ankle",
    12: "left_knee",
    13: "left_ankle",
    14: "right_eye_smplhf",
    15: "left_eye_smplhf",
}
"""The same for its 18 (COCO), which People-Snapshot has."""

_FINGERS = ("thumb", "index", "middle", "ring", "pinky")
HAND_21: Mapping[int, str] = {
    1 + 4 * finger + joint: f"{name}{joint + 1}"
    for finger, name in enumerate(_FINGERS)
    for joint in range(3)
}
"""Hand keypoints (0 is the wrist, the fourth of each finger its tip) and finger joints."""

INNER_FACE = slice(17, 68)
"""Of OpenPose's 70 face keypoints, those that are SMPL-X's 51 inner landmarks."""

MIN_CONFIDENCE = 0.3


@dataclass(frozen=True, kw_only=True)
class Keypoints:
    """One person's keypoints: rows of x, y in pixels and confidence 0…1.

    Attributes:
        body: (25, 3) or (18, 3).
        left_hand: (21, 3), or None.
        right_hand: (21, 3), or None.
        face: (70, 3), or None.
    """

    body: NDArray[np.float64]
    left_hand: NDArray[np.float64] | None = None
    right_hand: NDArray[np.float64] | None = None
    face: NDArray[np.float64] | None = None


@dataclass(frozen=True, kw_only=True)
class ReprojectionError:
    """Mean distances in pixels between a fit's joints and the keypoints; NaN: none was seen."""

    body: float
    hands: float
    face: float

    @property
    def overall(self) -> float:
        """The body's, or else that of the first other part that was seen."""
        for value in (self.body, self.hands, self.face):
            if not np.isnan(value):
                return value
        return float("nan")


def read_openpose(path: Path) -> list[Keypoints]:
    """Read NAME_keypoints.json: one entry per person that OpenPose saw, maybe none.

    Raises:
        CaptureError: a field is missing or wrong; names it.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise wrong(path, "", f"is not readable JSON ({error})") from error
    people = cast("dict[str, Any]", content).get("people") if isinstance(content, dict) else None
    if not isinstance(people, list):
        raise wrong(path, "people", "is not a list", "write it with openpose --write_json")
    return [_person(row, path, index) for index, row in enumerate(cast("list[Any]", people))]


def reprojection_error(
    people: Sequence[Keypoints],
    joints: NDArray[np.floating],
    landmarks: NDArray[np.floating] | None = None,
    min_confidence: float = MIN_CONFIDENCE,
) -> ReprojectionError:
    """Compare a projected fit with the person among those seen that it fits best.

    Args:
        people: who was seen; may be empty.
        joints: (55, 3) projected joints: x, y in pixels, depth in metres.
        landmarks: (51, 3) projected face landmarks.
        min_confidence: keypoints below it do not count.
    """
    errors = [_error(person, joints, landmarks, min_confidence) for person in people]
    seen = [error for error in errors if not np.isnan(error.overall)]
    nothing = ReprojectionError(body=np.nan, hands=np.nan, face=np.nan)
    return min(seen, key=lambda error: error.overall, default=nothing)


def _error(
    person: Keypoints,
    joints: NDArray[np.floating],
    landmarks: NDArray[np.floating] | None,
    min_confidence: float,
) -> ReprojectionError:
    names = BODY_25 if len(person.body) == 25 else COCO_18
    body = _distances(person.body, names, "", joints, min_confidence)
    hands = [
        distance
        for side, points in (("left_", person.left_hand), ("right_", person.right_hand))
        if points is not None
        for distance in _distances(points, HAND_21, side, joints, min_confidence)
    ]
    face: list[float] = []
    if landmarks is not None and person.face is not None:
        seen = person.face[INNER_FACE]
        good = (seen[:, 2] >= min_confidence) & (landmarks[:, 2] > 0)
        face = list(np.linalg.norm(seen[good, :2] - landmarks[good, :2], axis=1))
    return ReprojectionError(body=_mean(body), hands=_mean(hands), face=_mean(face))


def _distances(
    points: NDArray[np.float64],
    names: Mapping[int, str],
    side: str,
    joints: NDArray[np.floating],
    min_confidence: float,
) -> list[float]:
    found: list[float] = []
    for index, name in names.items():
        joint = joints[JOINT_INDEX[side + name]]
        if points[index, 2] >= min_confidence and joint[2] > 0:
            found.append(float(np.linalg.norm(points[index, :2] - joint[:2])))
    return found


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values)) if values else float("nan")


def _person(row: Any, path: Path, index: int) -> Keypoints:
    fields = cast("dict[str, Any]", row) if isinstance(row, dict) else {}

    def points(name: str, *counts: int) -> NDArray[np.float64] | None:
        values = fields.get(name)
        if values in (None, []):
            return None
        where = f"people[{index}].{name}"
        try:
            flat = np.asarray(values, np.float64).reshape(-1)
        except (TypeError, ValueError) as error:
            raise wrong(path, where, "is not a list of numbers") from error
        if len(flat) not in [3 * count for count in counts]:
            want = " or ".join(str(3 * count) for count in counts)
            raise wrong(path, where, f"has {len(flat)} numbers, not {want}")
        if not np.isfinite(flat).all():
            raise wrong(path, where, "holds numbers that are not finite")
        return flat.reshape(-1, 3)

    body = points("pose_keypoints_2d", 25, 18)
    if body is None:
        raise wrong(path, f"people[{index}].pose_keypoints_2d", "is missing")
    return Keypoints(
        body=body,
        left_hand=points("hand_left_keypoints_2d", 21),
        right_hand=points("hand_right_keypoints_2d", 21),
        face=points("face_keypoints_2d", 70),
    )
