"""Motions become keyframes of a person's rig."""

# pyright: reportAttributeAccessIssue=false, reportOptionalMemberAccess=false
# pyright: reportIncompatibleMethodOverride=false, reportMissingModuleSource=false
# (Blender's stubs: unions of all data types, Optionals that never are None, other parameter names)

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import bpy
import numpy as np

from ..contract.errors import BadMotion
from ..contract.joints import JOINT_NAMES
from ..contract.pose import Y_UP_TO_Z_UP
from .keying import copy_curves, curves_of
from .motion_files import Motion, UpAxis, on_the_ground, read_motion, upright
from .people import betas_of, joint_table_of
from .pose_math import basis_rotations, quaternions
from .properties import expression_name
from .rig import default_betas, rest_matrices
from .stand_in import joint_positions, to_blender
from .worn_looks import LOOK_GROUP

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

_FOLDER = Path(__file__).resolve().parent.parent / "motions"

OWN_MOTIONS = [
    ("walk", "Walk", "Walk forward, arms swinging"),
    ("dance", "Dance", "Step from side to side with the arms up"),
    ("wave", "Turn and Wave", "Turn around once and wave"),
]
"""The motions that ship, as an enum's items."""


def own_motion(name: str) -> Path:
    """Return the file of a motion that ships.

    Raises:
        BadMotion: there is none of this name.
    """
    if name not in [item[0] for item in OWN_MOTIONS]:
        raise BadMotion(
            f"there is no motion {name!r}", f"choose one of {', '.join(i[0] for i in OWN_MOTIONS)}"
        )
    return _FOLDER / f"{name}.npz"


def import_motion(
    context: bpy.types.Context,
    rig: bpy.types.Object,
    paths: Sequence[Path],
    *,
    start: int = 1,
    up_axis: UpAxis | None = None,
    at_rig: bool = True,
    set_range: bool = False,
) -> tuple[str, ...]:
    """Read motion files and key them on a person's rig.

    Args:
        start: frame of the first key.
        up_axis: which way is up in the file; None for what the file's kind says.
        at_rig: start where the rig stands, feet on its ground; else the file's own place.
        set_range: let the scene play exactly the motion.

    Returns:
        What was left out, in words.

    Raises:
        BadMotion: a file cannot be read as a motion.
        VPoserPose: a file holds a VPoser code.
    """
    motion = read_motion(paths)
    last = key_motion(context.scene, rig, motion, start=start, up_axis=up_axis, at_rig=at_rig)  # pyright: ignore[reportArgumentType]
    if set_range:
        context.scene.frame_start, context.scene.frame_end = start, last
    return motion.notes


def key_motion(
    scene: bpy.types.Scene,
    rig: bpy.types.Object,
    motion: Motion,
    *,
    start: int = 1,
    up_axis: UpAxis | None = None,
    at_rig: bool = True,
) -> int:
    """Key a motion at the scene's frame rate, in a new action; return its last frame.

    Keys of whom the person looks like go along.
    """
    rate = scene.render.fps / scene.render.fps_base
    joints = joint_positions(joint_table_of(rig), betas_of(rig))
    sampled = upright(motion, joints[0], rate, up_axis)
    rest = rest_matrices(rig)
    pelvis = sampled.pelvis
    if at_rig:
        own = joint_positions(joint_table_of(rig), default_betas(rig))
        clearances = rest[0, 2, 3] + own[:, 1] - own[0, 1]  # the rig's T-pose stands on its origin
        pelvis = on_the_ground(sampled, joints, clearances)
        pelvis[:, [0, 2]] += (rest[0, :3, 3] @ Y_UP_TO_Z_UP)[[0, 2]] - pelvis[0, [0, 2]]
    turns = quaternions(basis_rotations(rest, sampled.pose))
    # A root bone's location is measured from its rest place along its own rest axes.
    moves = (to_blender(pelvis) - rest[0, :3, 3]) @ rest[0, :3, :3]
    frames = np.arange(len(turns), dtype=np.float64) + start
    looks = [curve for curve in curves_of(rig) if curve.data_path.startswith(LOOK_GROUP)]
    curves = _new_curves(rig, Path(motion_name(rig)).name)
    copy_curves(looks, curves)
    for index, name in enumerate(JOINT_NAMES):
        bone = rig.pose.bones[name]
        bone.rotation_mode = "QUATERNION"
        _key(curves, bone.path_from_id("rotation_quaternion"), frames, turns[:, index])
    _key(curves, rig.pose.bones[JOINT_NAMES[0]].path_from_id("location"), frames, moves)
    for index in range(min(sampled.expression.shape[1], rig.dressform.expressions)):
        _key(curves, f'["{expression_name(index)}"]', frames, sampled.expression[:, index, None])
    return int(frames[-1])


def motion_name(rig: bpy.types.Object) -> str:
    """Return the name of the action of a person's motion."""
    return f"{rig.name} Motion"


def _new_curves(ob: bpy.types.Object, name: str) -> Any:
    """Give an object a new action and return its collection of curves."""
    data = ob.animation_data or ob.animation_data_create()
    action = bpy.data.actions.new(name)
    data.action = action
    if not hasattr(action, "layers"):  # before Blender 4.4
        return action.fcurves
    slot = action.slots.new("OBJECT", ob.name)
    data.action_slot = slot
    strip = action.layers.new("Layer").strips.new(type="KEYFRAME")
    return strip.channelbag(slot, ensure=True).fcurves


def _key(curves: Any, path: str, frames: NDArray[np.float64], values: NDArray[np.float64]) -> None:
    """Key values (N, channels), linear between frames."""
    single = values.shape[1] == 1
    for channel in range(values.shape[1]):
        curve = curves.new(path, index=0 if single else channel)
        curve.keyframe_points.add(len(frames))
        points = np.stack([frames, values[:, channel]], axis=1).astype(np.float32)
        curve.keyframe_points.foreach_set("co", points.ravel())
        curve.keyframe_points.foreach_set("interpolation", np.full(len(frames), 1, np.int32))
        curve.update()
