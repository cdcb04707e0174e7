"""Plausible random poses by family, from standing and walking to crossed arms and dance.

Angles are radians about the axes of the T-pose (x to the person's left, y up, z forward). The
left side is written; the right one is its mirror image. Every joint ends within `LIMITS`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np

from blender_addon.contract.joints import JOINT_COUNT, JOINT_INDEX, JOINT_NAMES
from blender_addon.contract.pose import axis_angle_from_rotation, rotation_from_axis_angle
from training.people.joint_limits import LIMITS

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Rotation = NDArray[np.float64]
    Pose = dict[str, Rotation]

Family = Literal[
    "stand", "walk", "run", "dance", "reach", "sit", "turn", "crossed arms", "hands in front"
]
FAMILIES: tuple[Family, ...] = get_args(Family)

_MIRROR = np.diag([-1.0, 1.0, 1.0])


@dataclass(frozen=True, kw_only=True)
class PoseStyle:
    """What a person's clothes let the legs do.

    Attributes:
        stride: factor on how far the legs leave the hips, 0…1.
        sit: largest bend of the hips when sitting, radians.
    """

    stride: float = 1.0
    sit: float = 1.6


FREE = PoseStyle()
SKIRTED = PoseStyle(stride=0.5, sit=0.6)


def sample_pose(
    rng: np.random.Generator, family: Family, style: PoseStyle = FREE
) -> NDArray[np.float64]:
    """Draw a pose.

    Args:
        rng: source of all chance.
        family: what the person does.
        style: what the clothes allow.

    Returns:
        (55, 3, 3) float64 local rotations; the root faces any direction.
    """
    pose = _FAMILY_FUNCTIONS[family](rng, style)
    _spine_and_head(rng, pose)
    _hands(rng, pose)
    _face(rng, pose)
    yaw = _y(rng.uniform(-np.pi, np.pi))
    pose["pelvis"] = yaw @ pose.get("pelvis", np.eye(3))
    return _assemble(pose)


def walking_pose(phase: float, style: PoseStyle = FREE, *, seed: int = 0) -> NDArray[np.float64]:
    """Return one moment of a steady walk that faces +z.

    Args:
        phase: of the gait, 2π for two steps.
        style: what the clothes allow.
        seed: of what stays the same throughout the walk (hands, face, how the arms hang).

    Returns:
        (55, 3, 3) float64 local rotations.
    """
    rng = np.random.default_rng([seed, 17])
    pose = _gait(rng, style, speed=0.42, phase=phase)
    _spine_and_head(rng, pose)
    _hands(rng, pose)
    _face(rng, pose)
    return _assemble(pose)


def _assemble(pose: Pose) -> NDArray[np.float64]:
    rotations = np.tile(np.eye(3), (JOINT_COUNT, 1, 1))
    for name, rotation in pose.items():
        rotations[JOINT_INDEX[name]] = rotation
    axis_angle = axis_angle_from_rotation(rotations)
    limits = np.array([LIMITS[name] for name in JOINT_NAMES])[:, None]
    angle = np.linalg.norm(axis_angle, axis=1, keepdims=True)
    return rotation_from_axis_angle(axis_angle * np.minimum(1.0, limits / np.maximum(angle, 1e-9)))


def _x(angle: float) -> Rotation:
    return rotation_from_axis_angle(np.array([angle, 0.0, 0.0]))


def _y(angle: float) -> Rotation:
    return rotation_from_axis_angle(np.array([0.0, angle, 0.0]))


def _z(angle: float) -> Rotation:
    return rotation_from_axis_angle(np.array([0.0, 0.0, angle]))


def _set(pose: Pose, side: str, joint: str, left: Rotation) -> None:
    pose[f"{side}_{joint}"] = left if side == "left" else _MIRROR @ left @ _MIRROR


def _arm(
    pose: Pose,
    side: str,
    *,
    spread: float,
    forward: float = 0.0,
    inward: float = 0.0,
    bend: float = 0.0,
    roll: float = 0.0,
    wrist: tuple[float, float, float] = (0.0, 0.0, 0.0),
) -> None:
    """Set an arm.

    Args:
        spread: from hanging at the side (0) to level (π/2).
        forward: swing of the hanging arm to the front, up to overhead (π).
        inward: turn of the upper arm about itself, so that the bent forearm crosses the chest.
        bend: of the elbow.
        roll: of the forearm about itself.
        wrist: about the T-pose's axes.
    """
    shoulder = _x(-forward) @ _z(spread - np.pi / 2) @ _x(inward)
    raised = max(0.0, spread - 1.3) + 0.35 * max(0.0, abs(forward) - 1.5)
    lift = min(0.4, 0.45 * raised)
    _set(pose, side, "collar", _z(lift))
    _set(pose, side, "shoulder", _z(-lift) @ shoulder)
    _set(pose, side, "elbow", _y(-bend) @ _x(roll))
    _set(pose, side, "wrist", rotation_from_axis_angle(np.array(wrist)))


def _relaxed_arm(rng: np.random.Generator, pose: Pose, side: str, forward: float = 0.0) -> None:
    _arm(
        pose,
        side,
        spread=rng.uniform(0.16, 0.42),
        forward=forward + rng.uniform(-0.15, 0.2),
        inward=rng.uniform(-0.2, 0.3),
        bend=rng.uniform(0.1, 0.55),
        roll=rng.uniform(-0.3, 0.3),
        wrist=tuple(rng.uniform(-0.2, 0.2, 3)),
    )


def _leg(
    pose: Pose, side: str, *, forward: float, out: float = 0.0, turn: float = 0.0,
    bend: float = 0.0, toe: float = 0.0,
) -> None:  # fmt: skip
    _set(pose, side, "hip", _z(out) @ _x(-forward) @ _y(turn))
    _set(pose, side, "knee", _x(bend))
    _set(pose, side, "ankle", _x(toe))


def _standing_legs(rng: np.random.Generator, pose: Pose, style: PoseStyle) -> None:
    width = rng.uniform(-0.03, 0.22) * style.stride
    for side in ("left", "right"):
        bend = rng.uniform(0.0, 0.35) ** 1.5 * style.stride
        _leg(
            pose,
            side,
            forward=0.5 * bend + rng.uniform(-0.12, 0.12) * style.stride,
            out=width,
            turn=rng.uniform(-0.05, 0.35),
            bend=bend,
            toe=rng.uniform(-0.1, 0.1),
        )


def _stand(rng: np.random.Generator, style: PoseStyle) -> Pose:
    pose: Pose = {}
    _standing_legs(rng, pose, style)
    akimbo = rng.random() < 0.25
    for side in ("left", "right"):
        if akimbo:
            _arm(pose, side, spread=rng.uniform(0.75, 0.95), forward=rng.uniform(-0.35, -0.1),
                 inward=rng.uniform(0.75, 0.95), bend=rng.uniform(1.5, 1.75), roll=0.3)  # fmt: skip
        else:
            _relaxed_arm(rng, pose, side)
    return pose


def _gait(
    rng: np.random.Generator, style: PoseStyle, *, speed: float, phase: float | None = None
) -> Pose:
    """One moment of a walk (speed 0.5) or a run (1), at a drawn phase unless one is given."""
    pose: Pose = {}
    drawn = rng.uniform(0, 2 * np.pi)
    phase = drawn if phase is None else phase
    reach = (0.35 + 0.45 * speed) * style.stride
    for side, shift in (("left", 0.0), ("right", np.pi)):
        swing = np.sin(phase + shift)
        # The knee bends most while its leg comes forward.
        lifting = max(0.0, np.cos(phase + shift))
        bend = 0.12 + (0.4 + 1.0 * speed) * lifting**1.5 * (0.5 + 0.5 * style.stride)
        forward = reach * swing + 0.3 * bend * lifting
        _leg(pose, side, forward=forward, out=rng.uniform(-0.02, 0.05), turn=rng.uniform(0, 0.15),
             bend=bend, toe=-0.35 * swing * reach + 0.1)  # fmt: skip
        _arm(
            pose,
            side,
            spread=rng.uniform(0.18, 0.32),
            forward=-(0.35 + 0.5 * speed) * swing + 0.1,
            inward=rng.uniform(0.0, 0.3),
            bend=rng.uniform(0.25, 0.5) + 1.2 * max(0.0, speed - 0.5) * 2 - 0.2 * swing,
            wrist=tuple(rng.uniform(-0.2, 0.2, 3)),
        )
    pose["pelvis"] = _x(0.05 + 0.15 * max(0.0, speed - 0.5) * 2) @ _y(0.12 * np.sin(phase))
    pose["spine2"] = _y(-0.22 * np.sin(phase))
    return pose


def _walk(rng: np.random.Generator, style: PoseStyle) -> Pose:
    return _gait(rng, style, speed=rng.uniform(0.25, 0.55))


def _run(rng: np.random.Generator, style: PoseStyle) -> Pose:
    return _gait(rng, style, speed=rng.uniform(0.75, 1.0))


def _dance(rng: np.random.Generator, style: PoseStyle) -> Pose:
    pose: Pose = {}
    for side in ("left", "right"):
        lift = rng.random() ** 2
        _leg(
            pose,
            side,
            forward=rng.uniform(-0.35, 1.2) * lift * style.stride,
            out=rng.uniform(0.0, 0.55) * style.stride,
            turn=rng.uniform(-0.1, 0.5),
            bend=rng.uniform(0.0, 1.3) * lift,
            toe=rng.uniform(-0.2, 0.6) * lift,
        )
        _arm(
            pose,
            side,
            spread=rng.uniform(0.4, 2.3),
            forward=rng.uniform(-0.4, 1.2),
            inward=rng.uniform(-0.7, 0.6),
            bend=rng.uniform(0.0, 1.7) * rng.random(),
            roll=rng.uniform(-0.5, 0.5),
            wrist=tuple(rng.uniform(-0.5, 0.5, 3)),
        )
    pose["spine2"] = _z(rng.uniform(-0.25, 0.25)) @ _y(rng.uniform(-0.35, 0.35))
    pose["pelvis"] = _z(rng.uniform(-0.12, 0.12)) @ _x(rng.uniform(-0.1, 0.2))
    return pose


def _reach(rng: np.random.Generator, style: PoseStyle) -> Pose:
    pose: Pose = {}
    _standing_legs(rng, pose, style)
    side, other = ("left", "right") if rng.random() < 0.5 else ("right", "left")
    both = rng.random() < 0.3
    for name in (side, other) if both else (side,):
        sideways = rng.random() < 0.4
        _arm(
            pose,
            name,
            spread=rng.uniform(1.2, 2.6) if sideways else rng.uniform(0.1, 0.6),
            forward=rng.uniform(-0.2, 0.6) if sideways else rng.uniform(0.9, 2.9),
            inward=rng.uniform(-0.5, 0.4),
            bend=rng.uniform(0.0, 0.5),
            roll=rng.uniform(-0.6, 0.6),
            wrist=tuple(rng.uniform(-0.4, 0.4, 3)),
        )
    if not both:
        _relaxed_arm(rng, pose, other)
    pose["spine1"] = _x(rng.uniform(-0.05, 0.3))
    pose["spine2"] = _y(rng.uniform(-0.3, 0.3)) @ _z(rng.uniform(-0.15, 0.15))
    return pose


def _sit(rng: np.random.Generator, style: PoseStyle) -> Pose:
    pose: Pose = {}
    bend = min(style.sit, rng.uniform(1.2, 1.6))
    out = rng.uniform(0.02, 0.3) * style.stride
    for side in ("left", "right"):
        forward = bend + rng.uniform(-0.08, 0.08)
        _leg(pose, side, forward=forward, out=out, turn=rng.uniform(-0.05, 0.25),
             bend=bend + rng.uniform(-0.35, 0.25), toe=rng.uniform(-0.15, 0.2))  # fmt: skip
        _arm(
            pose,
            side,
            spread=rng.uniform(0.2, 0.4),
            forward=rng.uniform(0.35, 0.8),
            inward=rng.uniform(0.0, 0.4),
            bend=rng.uniform(0.4, 1.2),
            roll=rng.uniform(-0.2, 0.5),
            wrist=tuple(rng.uniform(-0.25, 0.25, 3)),
        )
    pose["pelvis"] = _x(rng.uniform(-0.2, 0.15))
    pose["spine1"] = _x(rng.uniform(-0.05, 0.25))
    return pose


def _turn(rng: np.random.Generator, style: PoseStyle) -> Pose:
    pose = _stand(rng, style) if rng.random() < 0.5 else _walk(rng, style)
    way = rng.choice([-1.0, 1.0]) * rng.uniform(0.5, 1.0)
    for joint, share in (("spine1", 0.2), ("spine2", 0.25), ("spine3", 0.25), ("neck", 0.3)):
        pose[joint] = _y(way * share)
    pose["head"] = _y(way * rng.uniform(0.2, 0.6)) @ _x(rng.uniform(-0.15, 0.2))
    return pose


def _crossed_arms(rng: np.random.Generator, style: PoseStyle) -> Pose:
    pose: Pose = {}
    _standing_legs(rng, pose, style)
    upper = rng.random() < 0.5
    for side in ("left", "right"):
        above = (side == "left") == upper
        _arm(
            pose,
            side,
            spread=rng.uniform(0.3, 0.4),
            forward=(0.72 if above else 0.58) + rng.uniform(-0.05, 0.08),
            inward=(1.02 if above else 0.92) + rng.uniform(-0.06, 0.06),
            bend=(1.78 if above else 1.68) + rng.uniform(-0.08, 0.08),
            roll=rng.uniform(0.0, 0.3),
            wrist=(0.0, 0.0, rng.uniform(-0.15, 0.15)),
        )
    return pose


def _hands_in_front(rng: np.random.Generator, style: PoseStyle) -> Pose:
    pose: Pose = {}
    _standing_legs(rng, pose, style)
    for side in ("left", "right"):
        _arm(
            pose,
            side,
            spread=rng.uniform(0.2, 0.5),
            forward=rng.uniform(0.15, 0.9),
            inward=rng.uniform(0.15, 0.6),
            bend=rng.uniform(1.1, 1.9),
            roll=rng.uniform(-0.9, 0.9),
            wrist=tuple(rng.uniform(-0.35, 0.35, 3)),
        )
    return pose


_FAMILY_FUNCTIONS: dict[Family, Callable[[np.random.Generator, PoseStyle], Pose]] = {
    "stand": _stand,
    "walk": _walk,
    "run": _run,
    "dance": _dance,
    "reach": _reach,
    "sit": _sit,
    "turn": _turn,
    "crossed arms": _crossed_arms,
    "hands in front": _hands_in_front,
}


def _spine_and_head(rng: np.random.Generator, pose: Pose) -> None:
    for joint in ("spine1", "spine2", "spine3"):
        small = rotation_from_axis_angle(rng.uniform(-0.06, 0.06, 3) + np.array([0.02, 0, 0]))
        pose[joint] = pose.get(joint, np.eye(3)) @ small
    for joint in ("neck", "head"):
        small = rotation_from_axis_angle(rng.uniform(-1, 1, 3) * np.array([0.16, 0.25, 0.09]))
        pose[joint] = pose.get(joint, np.eye(3)) @ small


def _hands(rng: np.random.Generator, pose: Pose) -> None:
    for side in ("left", "right"):
        shape = rng.choice(
            ["relaxed", "fist", "spread", "point", "flat"], p=[0.5, 0.12, 0.13, 0.1, 0.15]
        )
        for order, finger in enumerate(("index", "middle", "ring", "pinky")):
            curl = {
                "relaxed": rng.uniform(0.15, 0.45) + 0.07 * order,
                "fist": rng.uniform(1.0, 1.25),
                "spread": rng.uniform(0.0, 0.12),
                "point": rng.uniform(0.0, 0.1) if finger == "index" else rng.uniform(0.9, 1.2),
                "flat": rng.uniform(0.02, 0.1),
            }[str(shape)]
            fan = (1.5 - order) * (0.12 if shape == "spread" else 0.02)
            for k, share in ((1, 0.85), (2, 1.15), (3, 0.75)):
                sideways = _y(-fan) if k == 1 else np.eye(3)
                _set(pose, side, f"{finger}{k}", sideways @ _z(-curl * share))
        # Across the palm: about the axis square to the thumb and to the way towards the ring finger.
        across = np.cross([0.55, -0.55, 0.6], [0.35, 0.0, -0.9])
        across = across / np.linalg.norm(across)
        fold = rng.uniform(0.35, 0.55) if shape in ("fist", "point") else rng.uniform(-0.05, 0.3)
        for k, share in ((1, 0.5), (2, 0.8), (3, 0.9)):
            _set(pose, side, f"thumb{k}", rotation_from_axis_angle(across * fold * share))


def _face(rng: np.random.Generator, pose: Pose) -> None:
    opening = rng.uniform(0.0, 0.14) if rng.random() < 0.3 else rng.uniform(0.0, 0.03)
    pose["jaw"] = _x(opening)
    gaze = _y(rng.uniform(-0.25, 0.25)) @ _x(rng.uniform(-0.12, 0.15))
    pose["left_eye_smplhf"] = gaze
    pose["right_eye_smplhf"] = gaze
