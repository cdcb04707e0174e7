"""SMPL-X's 55 joints on MakeHuman's rig, and the way from its A-pose to the T-pose."""

from __future__ import annotations

import functools
import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from blender_addon.contract.errors import ModelError
from blender_addon.contract.joints import JOINT_COUNT, JOINT_INDEX, JOINT_NAMES, PARENTS
from training.makehuman.data import DECIMETRE, base_mesh, bone_weights, bones

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

PELVIS_HEIGHT = -0.35
"""Metres: where SMPL-X puts the pelvis of its template."""

_FINGER_OF_DIGIT = {"1": "thumb", "2": "index", "3": "middle", "4": "ring", "5": "pinky"}
_DIGIT_OF_FINGER = {finger: digit for digit, finger in _FINGER_OF_DIGIT.items()}
_SIDES = {"L": "left_", "R": "right_"}
_CENTRAL = {
    "root": "pelvis",
    "spine05": "pelvis",
    "spine04": "spine1",
    "spine03": "spine2",
    "spine02": "spine3",
    "spine01": "spine3",
    "neck01": "neck",
    "neck02": "neck",
    "neck03": "neck",
    "head": "head",
    "jaw": "jaw",
}
_SIDED = (
    ("pelvis", "pelvis"),
    ("breast", "spine3"),
    ("eye", "eye_smplhf"),
    ("upperleg", "hip"),
    ("lowerleg", "knee"),
    ("foot", "ankle"),
    ("toe", "foot"),
    ("clavicle", "collar"),
    ("shoulder01", "collar"),
    ("upperarm", "shoulder"),
    ("lowerarm", "elbow"),
    ("wrist", "wrist"),
    ("metacarpal", "wrist"),
)
_HEAD_OF_JOINT = {
    "pelvis": "spine05",
    "spine1": "spine04",
    "spine2": "spine03",
    "spine3": "spine02",
    "neck": "neck01",
    "head": "head",
    "jaw": "jaw",
    "hip": "upperleg01",
    "knee": "lowerleg01",
    "ankle": "foot",
    "collar": "clavicle",
    "shoulder": "upperarm01",
    "elbow": "lowerarm01",
    "wrist": "wrist",
    "eye_smplhf": "eye",
}
_FINGER_SPREAD = {"index": 0.12, "middle": 0.0, "ring": -0.10, "pinky": -0.22}
"""Slope in z per x of the straightened fingers."""


@dataclass(frozen=True)
class TPose:
    """A person in T-pose, metres.

    Attributes:
        vertices: (19158, 3).
        joints: (55, 3).
        rotations: (55, 3, 3) accumulated rotation of each joint from the A-pose.
    """

    vertices: Array
    joints: Array
    rotations: Array


@functools.cache
def skin_weights() -> Array:
    """Return (19158, 55): the rig's weights gathered to SMPL-X's joints; rows sum to 1."""
    names, weights = bone_weights()
    gathered = np.zeros((len(weights), JOINT_COUNT))
    for column, bone in enumerate(names):
        gathered[:, JOINT_INDEX[_joint_of_bone(bone)]] += weights[:, column]
    free = gathered.sum(axis=1) < 0.5
    gathered[free, JOINT_INDEX["pelvis"]] = 1.0
    return gathered / gathered.sum(axis=1, keepdims=True)


def joints(vertices: Array) -> Array:
    """Return the (55, 3) joints of a person in the units and pose of `vertices` (19158, 3)."""
    found = np.zeros((JOINT_COUNT, 3))
    for name, index in JOINT_INDEX.items():
        if name.endswith("_foot"):
            side = name[0].upper()
            toes = [_end(vertices, f"toe{toe}-1.{side}", "head") for toe in range(1, 6)]
            found[index] = np.mean(toes, axis=0)
        else:
            found[index] = _end(vertices, _bone_of_joint(name), "head")
    return found


def t_pose(vertices: Array) -> TPose:
    """Turn a person's A-pose (decimetres) into SMPL-X's T-pose (metres); legs stay.

    Upper arm, forearm and hand come to lie along ±x, the fingers slightly spread.
    """
    rest = joints(vertices)
    goals = _arm_goals(vertices, rest)
    local = np.tile(np.eye(3), (JOINT_COUNT, 1, 1))
    total = np.tile(np.eye(3), (JOINT_COUNT, 1, 1))
    for joint in range(JOINT_COUNT):
        before = total[PARENTS[joint]] if joint else np.eye(3)
        total[joint] = before
        if joint in goals:
            direction, wanted = goals[joint]
            total[joint] = _rotation_between(before @ direction, wanted) @ before
            local[joint] = before.T @ total[joint]
    posed, placed = blend(vertices, rest, local, skin_weights())
    # The pelvis of SMPL-X's template stands slightly behind the origin and below it.
    origin = placed[0] - np.array([0.0, PELVIS_HEIGHT, 0.01]) / DECIMETRE
    return TPose((posed - origin) * DECIMETRE, (placed - origin) * DECIMETRE, total)


def blend(vertices: Array, rest: Array, local: Array, weights: Array) -> tuple[Array, Array]:
    """Skin (V, 3) vertices by local rotations (55, 3, 3); return vertices and joints."""
    rotations = np.zeros((JOINT_COUNT, 3, 3))
    places = np.zeros((JOINT_COUNT, 3))
    for joint, parent in enumerate(PARENTS):
        if parent < 0:
            rotations[joint], places[joint] = local[joint], rest[joint]
            continue
        rotations[joint] = rotations[parent] @ local[joint]
        places[joint] = places[parent] + rotations[parent] @ (rest[joint] - rest[parent])
    shifts = places - np.einsum("jab,jb->ja", rotations, rest)
    blended = np.einsum("vj,jab->vab", weights, rotations, optimize=True)
    return np.einsum("vab,vb->va", blended, vertices) + weights @ shifts, places


def _arm_goals(vertices: Array, rest: Array) -> dict[int, tuple[Array, Array]]:
    goals: dict[int, tuple[Array, Array]] = {}
    for side, letter, x in (("left", "L", 1.0), ("right", "R", -1.0)):
        outward = np.array([x, 0.0, 0.0])
        chain = [f"{side}_{name}" for name in ("shoulder", "elbow", "wrist", "middle1")]
        for joint, following in itertools.pairwise(chain):
            here, there = JOINT_INDEX[joint], JOINT_INDEX[following]
            goals[here] = (rest[there] - rest[here], outward)
        for finger, spread in _FINGER_SPREAD.items():
            indices = [JOINT_INDEX[f"{side}_{finger}{k}"] for k in (1, 2, 3)]
            tip = _end(vertices, f"finger{_DIGIT_OF_FINGER[finger]}-3.{letter}", "tail")
            places = [*(rest[index] for index in indices), tip]
            for k, index in enumerate(indices):
                goals[index] = (places[k + 1] - places[k], np.array([x, 0.0, spread]))
    return goals


def _rotation_between(one: Array, other: Array) -> Array:
    a, b = one / np.linalg.norm(one), other / np.linalg.norm(other)
    x, y, z = np.cross(a, b)
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.eye(3) + cross + cross @ cross / (1.0 + a @ b)


def _joint_of_bone(bone: str) -> str:
    name, _, letter = bone.partition(".")
    if name in _CENTRAL:
        return _CENTRAL[name]
    side = _SIDES.get(letter, "")
    if name.startswith("finger"):
        return f"{side}{_FINGER_OF_DIGIT[name[6]]}{name[-1]}"
    for start, joint in _SIDED:
        if name.startswith(start) and (start != "eye" or name == "eye"):
            return joint if joint in JOINT_NAMES else f"{side}{joint}"
    return _joint_of_bone(bones()[bone]["parent"])  # bones of the face follow their parents


def _bone_of_joint(joint: str) -> str:
    if joint in _HEAD_OF_JOINT:
        return _HEAD_OF_JOINT[joint]
    side, name = joint.split("_", maxsplit=1)
    letter = side[0].upper()
    if name in _HEAD_OF_JOINT:
        return f"{_HEAD_OF_JOINT[name]}.{letter}"
    return f"finger{_DIGIT_OF_FINGER[name[:-1]]}-{name[-1]}.{letter}"


def _end(vertices: Array, bone: str, end: str) -> Array:
    """Return where a bone's head or tail lies on a person."""
    rule: dict[str, Any] = bones()[bone][end]
    strategy = rule["strategy"]
    if strategy == "CUBE":
        return vertices[_cube(rule["cube_name"])].mean(axis=0)
    if strategy == "VERTEX":
        return vertices[rule["vertex_index"]]
    if strategy == "MEAN":
        return vertices[rule["vertex_indices"]].mean(axis=0)
    raise ModelError(f"MakeHuman's rig places bone {bone} by an unknown strategy {strategy}")


@functools.cache
def _cube(name: str) -> NDArray[np.int64]:
    return base_mesh().vertices_of(name)
