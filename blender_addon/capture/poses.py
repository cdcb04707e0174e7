"""Natural poses for a sweep, drawn by family. No bpy.

Angles are radians about the axes of the T-pose (x to the person's left, y up, z forward). A
family gives the left limbs ranges to draw from; the right ones are drawn alike and mirrored.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np

from ..contract.joints import JOINT_COUNT, JOINT_INDEX
from ..contract.pose import rotation_from_axis_angle

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    Rotation = NDArray[np.float64]
    Range = tuple[float, float]

Family = Literal[
    "stand", "akimbo", "walk", "run", "reach", "sit", "turn", "crossed arms", "hands in front",
    "dance",
]  # fmt: skip
FAMILIES: tuple[Family, ...] = get_args(Family)
FAMILY_SHARES: dict[Family, float] = {
    "stand": 0.13, "akimbo": 0.06, "walk": 0.16, "run": 0.08, "reach": 0.14, "sit": 0.09,
    "turn": 0.08, "crossed arms": 0.06, "hands in front": 0.09, "dance": 0.11,
}  # fmt: skip

_MIRROR = np.diag([-1.0, 1.0, 1.0])
_X, _Y, _Z = np.eye(3)


@dataclass(frozen=True, kw_only=True)
class _Arm:
    """Ranges of an arm.

    Attributes:
        spread: from hanging at the side (0) to level (π/2).
        forward: swing to the front, up to overhead (π).
        inward: turn of the upper arm that brings a bent forearm before the chest.
        bend: of the elbow.
        roll: of the forearm about itself.
        wrist: either way, about each axis.
    """

    spread: Range = (0.16, 0.42)
    forward: Range = (-0.15, 0.2)
    inward: Range = (-0.2, 0.3)
    bend: Range = (0.1, 0.55)
    roll: Range = (-0.3, 0.3)
    wrist: float = 0.2


@dataclass(frozen=True, kw_only=True)
class _Leg:
    """Ranges of a leg: forward and out of the hip, turn of the foot, bend of the knee."""

    forward: Range = (-0.1, 0.12)
    out: Range = (0.0, 0.16)
    turn: Range = (-0.05, 0.3)
    bend: Range = (0.0, 0.18)


_HANGING = _Arm()
_ARMS: dict[Family, tuple[_Arm, ...]] = {
    # Several entries: one is drawn for each side.
    "stand": (_HANGING,),
    "akimbo": (_Arm(spread=(0.75, 0.95), forward=(-0.35, -0.1), inward=(0.75, 0.95),
                    bend=(1.5, 1.75), roll=(0.2, 0.4)),),
    "reach": (
        _Arm(spread=(0.1, 0.6), forward=(0.9, 2.9), inward=(-0.5, 0.4), bend=(0, 0.5),
             roll=(-0.6, 0.6), wrist=0.4),
        _Arm(spread=(1.2, 2.6), forward=(-0.2, 0.6), inward=(-0.5, 0.4), bend=(0, 0.5),
             roll=(-0.6, 0.6), wrist=0.4),
        _HANGING,
    ),
    "sit": (_Arm(spread=(0.2, 0.4), forward=(0.35, 0.8), inward=(0, 0.4), bend=(0.4, 1.2),
                 roll=(-0.2, 0.5)),),
    "turn": (_HANGING,),
    "hands in front": (_Arm(spread=(0.2, 0.5), forward=(0.15, 0.9), inward=(0.15, 0.6),
                            bend=(1.1, 1.9), roll=(-0.9, 0.9), wrist=0.35),),
    "dance": (_Arm(spread=(0.4, 2.3), forward=(-0.4, 1.2), inward=(-0.7, 0.6), bend=(0, 1.6),
                   roll=(-0.5, 0.5), wrist=0.5),),
}  # fmt: skip
_CROSSED = (
    _Arm(spread=(0.3, 0.4), forward=(0.67, 0.8), inward=(0.96, 1.08), bend=(1.7, 1.86),
         roll=(0, 0.3), wrist=0.1),
    _Arm(spread=(0.3, 0.4), forward=(0.53, 0.66), inward=(0.86, 0.98), bend=(1.6, 1.76),
         roll=(0, 0.3), wrist=0.1),
)  # fmt: skip
_LEGS: dict[Family, _Leg] = {
    "sit": _Leg(forward=(1.15, 1.6), out=(0.02, 0.3), turn=(-0.05, 0.25), bend=(0.9, 1.8)),
    "dance": _Leg(forward=(-0.3, 0.8), out=(0, 0.5), turn=(-0.1, 0.5), bend=(0, 0.9)),
}
_FINGERS: dict[str, tuple[float, Range, float, Range]] = {
    # Share, curl of the fingers, fan between them, fold of the thumb.
    "relaxed": (0.5, (0.15, 0.5), 0.02, (-0.05, 0.3)),
    "fist": (0.12, (1.0, 1.25), 0.0, (0.35, 0.55)),
    "spread": (0.13, (0.0, 0.12), 0.12, (-0.05, 0.2)),
    "point": (0.1, (0.9, 1.2), 0.02, (0.35, 0.55)),
    "flat": (0.15, (0.02, 0.1), 0.02, (-0.05, 0.3)),
}


class _Draft:
    """A pose being drawn."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng = rng
        self.rotations = np.tile(np.eye(3), (JOINT_COUNT, 1, 1))

    def draw(self, limits: Range) -> float:
        return float(self.rng.uniform(*limits))

    def turn(self, joint: str, rotation: Rotation, side: str = "") -> None:
        """Turn a joint further; on the right side the mirrored way."""
        name = f"{side}_{joint}" if side else joint
        own = _MIRROR @ rotation @ _MIRROR if side == "right" else rotation
        index = JOINT_INDEX[name]
        self.rotations[index] = self.rotations[index] @ own

    def arm(self, side: str, arm: _Arm, swing: float = 0.0, bend: float = 0.0) -> None:
        spread, forward = self.draw(arm.spread), self.draw(arm.forward) + swing
        upper = (
            _about(_X, -forward)
            @ _about(_Z, spread - np.pi / 2)
            @ _about(_X, self.draw(arm.inward))
        )
        # A raised arm takes the collarbone along.
        lift = min(0.4, 0.45 * (max(0.0, spread - 1.3) + 0.35 * max(0.0, abs(forward) - 1.5)))
        self.turn("collar", _about(_Z, lift), side)
        self.turn("shoulder", _about(_Z, -lift) @ upper, side)
        elbow = _about(_Y, -(self.draw(arm.bend) + bend)) @ _about(_X, self.draw(arm.roll))
        self.turn("elbow", elbow, side)
        self.turn("wrist", rotation_from_axis_angle(self.rng.uniform(-1, 1, 3) * arm.wrist), side)

    def leg(self, side: str, leg: _Leg, swing: float = 0.0, bend: float = 0.0) -> None:
        knee = self.draw(leg.bend) + bend
        forward = self.draw(leg.forward) + swing + (0.0 if leg.forward[0] > 1 else 0.4 * knee)
        hip = (
            _about(_Z, self.draw(leg.out)) @ _about(_X, -forward) @ _about(_Y, self.draw(leg.turn))
        )
        self.turn("hip", hip, side)
        self.turn("knee", _about(_X, knee), side)
        self.turn("ankle", _about(_X, self.draw((-0.12, 0.15))), side)


def sample_pose(rng: np.random.Generator, family: Family) -> NDArray[np.float64]:
    """Draw a pose.

    Args:
        rng: source of all chance.
        family: what the person does.

    Returns:
        (55, 3, 3) local rotations; the root faces any direction.
    """
    draft = _Draft(rng)
    if family in ("walk", "run"):
        _gait(draft, draft.draw((0.25, 0.55) if family == "walk" else (0.75, 1.0)))
    else:
        _hold(draft, family)
    if family == "turn":
        way = float(rng.choice([-1.0, 1.0])) * draft.draw((0.4, 1.0))
        for joint, share in (("spine1", 0.2), ("spine2", 0.25), ("neck", 0.35), ("head", 0.4)):
            draft.turn(joint, _about(_Y, way * share))
    _trunk(draft, lively=family in ("dance", "reach"))
    for side in ("left", "right"):
        _fingers(draft, side)
    _face(draft)
    draft.rotations[0] = _about(_Y, draft.draw((-np.pi, np.pi))) @ draft.rotations[0]
    return draft.rotations


def standing_still(rng: np.random.Generator, jitter: float = 0.03) -> NDArray[np.float64]:
    """Return a pose of somebody who tries to stand still, arms a little off the body."""
    draft = _Draft(np.random.default_rng(7))
    for side in ("left", "right"):
        draft.arm(side, _Arm(spread=(0.5, 0.5), forward=(0, 0), inward=(0, 0), bend=(0.2, 0.2),
                             roll=(0, 0), wrist=0.0))  # fmt: skip
        draft.leg(side, _Leg(forward=(0, 0), out=(0.1, 0.1), turn=(0.1, 0.1), bend=(0.03, 0.03)))
    noise = rotation_from_axis_angle(rng.normal(0, jitter, (JOINT_COUNT, 3)))
    return draft.rotations @ noise


def _hold(draft: _Draft, family: Family) -> None:
    arms: tuple[_Arm, ...] = _CROSSED if family == "crossed arms" else _ARMS[family]
    order = draft.rng.permutation(len(arms))
    for number, side in enumerate(("left", "right")):
        draft.leg(side, _LEGS.get(family, _Leg()))
        draft.arm(side, arms[int(order[number % len(arms)])])


def _gait(draft: _Draft, speed: float) -> None:
    """One moment of a walk (speed 0.5) or a run (1)."""
    phase = draft.draw((0, 2 * np.pi))
    reach, hurry = 0.35 + 0.45 * speed, max(0.0, speed - 0.5) * 2
    for side, shift in (("left", 0.0), ("right", np.pi)):
        swing = float(np.sin(phase + shift))
        # The knee bends most while its leg comes forward.
        lifting = max(0.0, float(np.cos(phase + shift)))
        knee = 0.1 + (0.4 + speed) * lifting**1.5
        leg = _Leg(forward=(0, 0), out=(-0.02, 0.05), turn=(0, 0.15), bend=(0, 0.05))
        draft.leg(side, leg, swing=reach * swing, bend=knee)
        arm = _Arm(spread=(0.18, 0.32), inward=(0, 0.3), forward=(0.05, 0.15), bend=(0.25, 0.5))
        draft.arm(side, arm, swing=-(0.35 + 0.5 * speed) * swing, bend=1.2 * hurry - 0.15 * swing)
    draft.turn("pelvis", _about(_X, 0.05 + 0.15 * hurry) @ _about(_Y, 0.12 * float(np.sin(phase))))
    draft.turn("spine2", _about(_Y, -0.22 * float(np.sin(phase))))


def _trunk(draft: _Draft, *, lively: bool) -> None:
    width = 0.16 if lively else 0.06
    for joint in ("spine1", "spine2", "spine3"):
        draft.turn(joint, rotation_from_axis_angle(draft.rng.uniform(-width, width, 3) + 0.02 * _X))
    for joint in ("neck", "head"):
        turned = draft.rng.uniform(-1, 1, 3) * np.array([0.16, 0.28, 0.09])
        draft.turn(joint, rotation_from_axis_angle(turned))


def _fingers(draft: _Draft, side: str) -> None:
    names = list(_FINGERS)
    shape = names[int(draft.rng.choice(len(names), p=[_FINGERS[name][0] for name in names]))]
    _, curl, fan, fold = _FINGERS[shape]
    for order, finger in enumerate(("index", "middle", "ring", "pinky")):
        amount = draft.draw((0, 0.1) if shape == "point" and finger == "index" else curl)
        for knuckle, share in ((1, 0.85), (2, 1.15), (3, 0.75)):
            sideways = _about(_Y, -(1.5 - order) * fan) if knuckle == 1 else np.eye(3)
            draft.turn(f"{finger}{knuckle}", sideways @ _about(_Z, -amount * share), side)
    across = np.cross([0.55, -0.55, 0.6], [0.35, 0.0, -0.9])
    across = across / np.linalg.norm(across)
    amount = draft.draw(fold)
    for knuckle, share in ((1, 0.5), (2, 0.8), (3, 0.9)):
        draft.turn(f"thumb{knuckle}", rotation_from_axis_angle(across * amount * share), side)


def _face(draft: _Draft) -> None:
    draft.turn("jaw", _about(_X, draft.draw((0, 0.14) if draft.rng.random() < 0.3 else (0, 0.03))))
    gaze = _about(_Y, draft.draw((-0.25, 0.25))) @ _about(_X, draft.draw((-0.12, 0.15)))
    for side in ("left", "right"):
        draft.rotations[JOINT_INDEX[f"{side}_eye_smplhf"]] = gaze


def _about(axis: NDArray[np.float64], angle: float) -> Rotation:
    return rotation_from_axis_angle(axis * angle)


def share_list(shares: Mapping[Family, float]) -> list[float]:
    """Return the shares in the order of `FAMILIES`, summing to 1."""
    values = np.array([shares[family] for family in FAMILIES])
    return (values / values.sum()).tolist()
