"""Motions become keyframes of a person's rig."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import bpy
import numpy as np

from ..contract.errors import BadMotion
from ..contract.joints import JOINT_NAMES
from .motion_files import Motion, UpAxis, read_motion, upright
from .pose_math import basis_rotations, quaternions
from .properties import PELVIS_TABLE, beta_name, expression_name
from .rig import rest_matrices
from .stand_in import pelvis_position, to_blender

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
    set_range: bool = False,
) -> tuple[str, ...]:
    """Read motion files and key them on a person's rig.

    Args:
        start: frame of the first key.
        up_axis: which way is up in the file; None for what the file's kind says.
        set_range: let the scene play exactly the motion.

    Returns:
        What was left out, in words.

    Raises:
        BadMotion: a file cannot be read as a motion.
        VPoserPose: a file holds a VPoser code.
    """
    motion = read_motion(paths)
    last = key_motion(context.scene, rig, motion, start=start, up_axis=up_axis)
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
) -> int:
    """Key a motion at the scene's frame rate, in a new action; return its last frame."""
    rate = scene.render.fps / scene.render.fps_base
    joint = _pelvis_joint(rig)
    sampled = upright(motion, joint, rate, up_axis)
    rest = rest_matrices(rig)
    turns = quaternions(basis_rotations(rest, sampled.pose))
    # A root bone's location is measured from its rest place along its own rest axes.
    moves = (to_blender(sampled.pelvis) - rest[0, :3, 3]) @ rest[0, :3, :3]
    frames = np.arange(len(turns), dtype=np.float64) + start
    curves = _new_curves(rig, Path(motion_name(rig)).name)
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


def _pelvis_joint(rig: bpy.types.Object) -> NDArray[np.float64]:
    betas = np.array([float(rig[beta_name(i)]) for i in range(rig.dressform.betas)], np.float64)
    return pelvis_position(np.array(rig.data[PELVIS_TABLE]).reshape(3, -1), betas)


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


def _key(
    curves: Any, path: str, frames: NDArray[np.float64], values: NDArray[np.float64]
) -> None:
    """Key values (N, channels), linear between frames."""
    single = values.shape[1] == 1
    for channel in range(values.shape[1]):
        curve = curves.new(path, index=0 if single else channel)
        curve.keyframe_points.add(len(frames))
        points = np.stack([frames, values[:, channel]], axis=1).astype(np.float32)
        curve.keyframe_points.foreach_set("co", points.ravel())
        curve.keyframe_points.foreach_set("interpolation", np.full(len(frames), 1, np.int32))
        curve.update()
