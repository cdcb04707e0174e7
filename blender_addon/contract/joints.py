"""The 55 joints of SMPL-X in their order, their parents, and groups of them."""

from __future__ import annotations

_BODY = (
    "pelvis",
    "left_hip",
    "right_hip",
    "spine1",
    "left_knee",
    "right_knee",
    "spine2",
    "left_ankle",
    "right_ankle",
    "spine3",
    "left_foot",
    "right_foot",
    "neck",
    "left_collar",
    "right_collar",
    "head",
    "left_shoulder",
    "right_shoulder",
    "left_elbow",
    "right_elbow",
    "left_wrist",
    "right_wrist",
)
_FACE = ("jaw", "left_eye_smplhf", "right_eye_smplhf")
_FINGERS = ("index", "middle", "pinky", "ring", "thumb")

LEFT_HAND = tuple(f"left_{finger}{k}" for finger in _FINGERS for k in (1, 2, 3))
RIGHT_HAND = tuple(f"right_{finger}{k}" for finger in _FINGERS for k in (1, 2, 3))

JOINT_NAMES: tuple[str, ...] = _BODY + _FACE + LEFT_HAND + RIGHT_HAND
"""Names in SMPL-X order."""

JOINT_COUNT = len(JOINT_NAMES)

JOINT_INDEX: dict[str, int] = {name: index for index, name in enumerate(JOINT_NAMES)}


def _parents() -> tuple[int, ...]:
    parents = [-1, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 9, 9, 12, 13, 14, 16, 17, 18, 19]
    parents += [15, 15, 15]
    for wrist in (20, 21):
        for _ in _FINGERS:
            first = len(parents)
            parents += [wrist, first, first + 1]
    return tuple(parents)


PARENTS: tuple[int, ...] = _parents()
"""Index of each joint's parent; −1 for the pelvis."""

BODY_JOINTS = tuple(range(1, 22))
"""The 21 joints of SMPL-X's body_pose (63 numbers)."""

HEAD_JOINTS = tuple(JOINT_INDEX[name] for name in ("head", *_FACE))
LEFT_HAND_JOINTS = tuple(JOINT_INDEX[name] for name in ("left_wrist", *LEFT_HAND))
RIGHT_HAND_JOINTS = tuple(JOINT_INDEX[name] for name in ("right_wrist", *RIGHT_HAND))

MASK_CHANNELS = ("foreground", "hands", "face")
"""The dresser's three mask channels (StylePeople, section 1.1)."""
