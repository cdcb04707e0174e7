"""Poses a character's rig for the frames of a sweep, and gives it back as it was."""

# pyright: reportAttributeAccessIssue=false, reportOptionalMemberAccess=false
# pyright: reportIncompatibleMethodOverride=false, reportMissingModuleSource=false
# (Blender's stubs: unions of all data types, Optionals that never are None, other parameter names)

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from mathutils import Matrix

from ..contract.errors import BadCharacter
from ..contract.joints import JOINT_INDEX, JOINT_NAMES
from ..contract.pose import Y_UP_TO_Z_UP, axis_angle_from_rotation
from ..scene.people import betas_of, joint_table_of
from ..scene.pose_math import basis_rotations, quaternions, uniform_scale
from ..scene.properties import expression_name
from ..scene.rig import rest_matrices
from ..scene.stand_in import joint_positions

if TYPE_CHECKING:
    import bpy

    from ..contract.operations import PosedBody

POSE_TOLERANCE = 2e-3
"""Largest difference of what was asked and what the rig shows: radians and metres."""

_BONE_STATE = (
    "rotation_mode", "location", "rotation_quaternion", "rotation_euler", "rotation_axis_angle",
    "scale",
)  # fmt: skip


class RigPoser:
    """Holds a rig free of actions, constraints and drivers on its pose, until `restore`.

    Drivers of bone locations stay: they carry the shape sliders (`scene.rig`).

    Raises:
        BadCharacter: the rig is scaled: a capture's parameters are metres of the body itself.
        UnsupportedTransform: the rig is sheared, mirrored or scaled unevenly.
    """

    def __init__(self, rig: bpy.types.Object) -> None:
        scale = uniform_scale(np.array(rig.matrix_world, np.float64), rig.name)
        if abs(scale - 1.0) > 1e-3:
            raise BadCharacter(
                f"the rig {rig.name} is scaled by {scale:.3f}",
                "set its scale and its parents' to 1; make a larger person with the shape sliders",
            )
        self._rig = rig
        self._rest = rest_matrices(rig)
        self._bones = [
            (bone, {name: _plain(getattr(bone, name)) for name in _BONE_STATE})
            for bone in rig.pose.bones
        ]
        self._sliders = {name: rig[name] for name in _expressions(rig) if name in rig}
        self._matrix = rig.matrix_world.copy()
        self._undo: list[tuple[Any, str, Any]] = []
        self._release()
        for bone, _ in self._bones:
            bone.rotation_mode = "QUATERNION"
            bone.scale = (1.0, 1.0, 1.0)
            bone.location = (0.0, 0.0, 0.0)
            bone.rotation_quaternion = (1.0, 0.0, 0.0, 0.0)

    def apply(self, body: PosedBody) -> None:
        """Pose the rig: rotations, place and expression (SMPL-X axes, world space)."""
        rig = self._rig
        world = np.array(rig.matrix_world, np.float64)
        turn = Y_UP_TO_Z_UP.T @ world[:3, :3] @ Y_UP_TO_Z_UP
        pose = np.asarray(body.pose, np.float64).copy()
        pose[0] = turn.T @ pose[0]
        for name, values in zip(
            JOINT_NAMES, quaternions(basis_rotations(self._rest, pose)[None])[0], strict=True
        ):
            rig.pose.bones[name].rotation_quaternion = values.tolist()
        joints = joint_positions(joint_table_of(rig), betas_of(rig))
        pelvis = Y_UP_TO_Z_UP @ (np.asarray(body.transl, np.float64) + joints[0])
        local = (np.linalg.inv(world) @ [*pelvis, 1.0])[:3]
        moved = np.linalg.inv(self._rest[0, :3, :3]) @ (local - self._rest[0, :3, 3])
        rig.pose.bones[JOINT_NAMES[0]].location = moved.tolist()
        names = _expressions(rig)
        for index, name in enumerate(names):
            rig[name] = float(body.expression[index]) if index < len(body.expression) else 0.0
        rig.update_tag()

    def restore(self) -> None:
        """Give the rig back as it was."""
        for bone, state in self._bones:
            for name, value in state.items():
                setattr(bone, name, value)
        for name, value in self._sliders.items():
            self._rig[name] = value
        for owner, name, value in reversed(self._undo):
            setattr(owner, name, value)
        self._rig.update_tag()

    def _release(self) -> None:
        rig = self._rig
        data = rig.animation_data
        if data is not None:
            slot = getattr(data, "action_slot", None)
            self._set(data, "use_nla", False)
            if data.action is not None:
                if slot is not None:
                    self._undo.append((data, "action_slot", slot))
                self._set(data, "action", None)
            for curve in data.drivers:
                bone_location = curve.data_path.startswith("pose.bones") and (
                    curve.data_path.endswith(".location")
                )
                if not bone_location:
                    self._set(curve, "mute", True)
        for bone in rig.pose.bones:
            for constraint in bone.constraints:
                self._set(constraint, "mute", True)
        self._set(rig.data, "pose_position", "POSE")

    def _set(self, owner: Any, name: str, value: Any) -> None:
        self._undo.append((owner, name, getattr(owner, name)))
        setattr(owner, name, value)


def check_pose(wanted: PosedBody, shown: PosedBody, name: str) -> None:
    """Check that a rig shows the pose that it was given.

    Raises:
        BadCharacter: something else moves the rig.
    """
    between = np.swapaxes(np.asarray(wanted.pose, np.float64), -1, -2) @ shown.pose
    angles = np.linalg.norm(axis_angle_from_rotation(between), axis=-1)
    worst = int(angles.argmax())
    if angles[worst] > POSE_TOLERANCE:
        raise BadCharacter(
            f"the bone {JOINT_NAMES[worst]} of {name} does not take the pose it is given",
            "take drivers, parents and constraints off the rig",
        )
    if np.abs(shown.transl - wanted.transl).max() > POSE_TOLERANCE:
        raise BadCharacter(f"the rig {name} does not go where it is placed")


def root_turn(body: PosedBody) -> Matrix:
    """Return the rotation of a person's root in Blender's world, 4×4."""
    turn = Y_UP_TO_Z_UP @ np.asarray(body.pose[JOINT_INDEX["pelvis"]], np.float64) @ Y_UP_TO_Z_UP.T
    return Matrix(turn.tolist()).to_4x4()


def _expressions(rig: bpy.types.Object) -> list[str]:
    return [expression_name(index) for index in range(rig.dressform.expressions)]


def _plain(value: Any) -> Any:
    return value if isinstance(value, str) else tuple(value)
