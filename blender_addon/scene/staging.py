"""Scenes made by a script: engine, camera moves and frame range around a person."""

# pyright: reportAttributeAccessIssue=false, reportOptionalMemberAccess=false
# pyright: reportIncompatibleMethodOverride=false, reportMissingModuleSource=false
# (Blender's stubs: unions of all data types, Optionals that never are None, other parameter names)

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import bpy

from ..contract.errors import UnsupportedCamera

if TYPE_CHECKING:
    from collections.abc import Callable

FACTORY_TRANSFORMS = ("AgX", "Filmic")
"""View transforms that a new scene may have without anybody having chosen them."""


def prepare_scene(scene: bpy.types.Scene) -> bool:
    """Let a scene render with Dressform in the Standard view, as its first person is added.

    Returns:
        Whether anything was changed. A scene that renders with Dressform already is left alone.
    """
    if scene.render.engine == "DRESSFORM":  # pyright: ignore[reportUnnecessaryComparison]
        return False
    scene.render.engine = "DRESSFORM"
    if scene.view_settings.view_transform in FACTORY_TRANSFORMS:  # pyright: ignore[reportUnnecessaryContains]
        scene.view_settings.view_transform = "Standard"
    return True


def settings_for_film(
    scene: bpy.types.Scene, size: tuple[int, int], fps: int, frames: tuple[int, int]
) -> None:
    """Set all that decides about the pixels of a scripted film, whatever the start-up file says.

    Args:
        size: width and height in pixels.
        frames: first and last frame.
    """
    render, view = scene.render, scene.view_settings
    render.engine = "DRESSFORM"
    render.resolution_x, render.resolution_y = size
    render.resolution_percentage = 100
    render.pixel_aspect_x = render.pixel_aspect_y = 1.0
    render.use_border = render.use_compositing = render.use_sequencer = False
    render.fps, render.fps_base = fps, 1.0
    render.dither_intensity = 0.0
    render.use_file_extension = False
    render.image_settings.file_format = "PNG"
    render.image_settings.color_mode = "RGBA"
    render.image_settings.color_depth = "8"
    # What differs between two runs must not lie in the files.
    for what in ("date", "time", "render_time", "filename", "hostname", "memory"):
        setattr(render, f"use_stamp_{what}", False)
    view.view_transform, view.look = "Standard", "None"
    view.exposure, view.gamma, view.use_curve_mapping = 0.0, 1.0, False
    scene.frame_start, scene.frame_end = frames


def add_camera(
    scene: bpy.types.Scene, rig: bpy.types.Object, move: str, frames: tuple[int, int]
) -> bpy.types.Object:
    """Add the scene's camera, moving around a person.

    Args:
        rig: who it looks at; its motion is keyed already.
        move: one of `CAMERA_MOVES`.
        frames: first and last frame of the move.
    """
    if move not in CAMERA_MOVES:
        raise UnsupportedCamera(
            f"there is no camera move {move!r}", f"choose one of {', '.join(CAMERA_MOVES)}"
        )
    data = bpy.data.cameras.new("Camera")
    camera = bpy.data.objects.new("Camera", data)
    scene.collection.objects.link(camera)
    scene.camera = camera
    CAMERA_MOVES[move](scene, rig, camera, frames)
    scene.frame_set(frames[0])
    return camera


def _orbit(
    scene: bpy.types.Scene,
    rig: bpy.types.Object,
    camera: bpy.types.Object,
    frames: tuple[int, int],
) -> None:
    """Once around the person, at chest height."""
    camera.data.lens = 50.0
    target = _aim(scene, camera, (0.0, 0.0, 0.95))
    _follow(target, rig)
    camera.parent = target
    for frame in range(frames[0], frames[1] + 1):
        angle = 2.0 * math.pi * (frame - frames[0]) / (frames[1] - frames[0] + 1)
        _key_location(camera, (3.6 * math.sin(angle), -3.6 * math.cos(angle), 0.3), frame)


def _walk_past(
    scene: bpy.types.Scene,
    rig: bpy.types.Object,
    camera: bpy.types.Object,
    frames: tuple[int, int],
) -> None:
    """The person walks past; the camera moves along slowly and turns after them."""
    camera.data.lens = 45.0
    target = _aim(scene, camera, (0.0, 0.0, 0.92))
    _follow(target, rig)
    start, end = (_pelvis(scene, rig, frame) for frame in frames)
    middle = [(a + b) / 2 for a, b in zip(start, end, strict=True)]
    along = [b - a for a, b in zip(start, end, strict=True)]
    length = math.hypot(along[0], along[1]) or 1.0
    side = (along[1] / length, -along[0] / length)
    # From half in front to half behind: the person comes, passes, and goes on.
    for frame, part in ((frames[0], 0.4), (frames[1], -0.2)):
        position = (
            middle[0] + side[0] * 2.55 + along[0] * part,
            middle[1] + side[1] * 2.55 + along[1] * part,
            1.35 - 0.3 * part,
        )
        _key_location(camera, position, frame)


def _static(
    scene: bpy.types.Scene,
    rig: bpy.types.Object,
    camera: bpy.types.Object,
    frames: tuple[int, int],
) -> None:
    """Still, in front of where the person starts."""
    camera.data.lens = 50.0
    pelvis = _pelvis(scene, rig, frames[0])
    camera.location = (pelvis[0], pelvis[1] - 3.6, 0.95)
    camera.rotation_euler = (math.pi / 2, 0.0, 0.0)


CAMERA_MOVES: dict[
    str,
    Callable[[bpy.types.Scene, bpy.types.Object, bpy.types.Object, tuple[int, int]], None],
] = {"orbit": _orbit, "walk-past": _walk_past, "static": _static}
"""Camera moves by name."""


def camera_from_keys(scene: bpy.types.Scene, keys: Any) -> bpy.types.Object:
    """Add the scene's camera from a list of keys (docs/cameras.md).

    Args:
        keys: `[{"frame": 1, "position": [x, y, z], "target": [x, y, z], "lens": 50}, …]` in
            Blender's axes; positions in metres, the lens in millimetres.

    Raises:
        UnsupportedCamera: it is not such a list.
    """
    data = bpy.data.cameras.new("Camera")
    camera = bpy.data.objects.new("Camera", data)
    scene.collection.objects.link(camera)
    scene.camera = camera
    target = _aim(scene, camera, (0.0, 0.0, 0.0))
    try:
        for key in keys:
            frame = int(key["frame"])
            _key_location(camera, _point(key["position"]), frame)
            _key_location(target, _point(key["target"]), frame)
            data.lens = float(key.get("lens", 50.0))
            data.keyframe_insert("lens", frame=frame)
    except (TypeError, ValueError, KeyError, AttributeError) as error:
        raise UnsupportedCamera(
            "the file of camera keys is not a list of frame, position and target",
            "see docs/cameras.md for the form",
        ) from error
    return camera


def _point(values: Any) -> tuple[float, float, float]:
    x, y, z = (float(value) for value in values)
    return x, y, z


def _aim(
    scene: bpy.types.Scene, camera: bpy.types.Object, location: tuple[float, float, float]
) -> bpy.types.Object:
    target = bpy.data.objects.new("Camera Target", None)
    target.location = location
    scene.collection.objects.link(target)
    constraint = camera.constraints.new("TRACK_TO")
    constraint.target = target
    constraint.track_axis, constraint.up_axis = "TRACK_NEGATIVE_Z", "UP_Y"
    return target


def _follow(target: bpy.types.Object, rig: bpy.types.Object) -> None:
    """Keep the target over the person, at its own height: a camera that bobs looks wrong."""
    constraint = target.constraints.new("COPY_LOCATION")
    constraint.target, constraint.subtarget = rig, "pelvis"
    constraint.use_z = False


def _key_location(ob: bpy.types.Object, position: tuple[float, float, float], frame: int) -> None:
    ob.location = position
    ob.keyframe_insert("location", frame=frame)


def _pelvis(scene: bpy.types.Scene, rig: bpy.types.Object, frame: int) -> list[float]:
    scene.frame_set(frame)
    depsgraph = bpy.context.evaluated_depsgraph_get()
    posed = rig.evaluated_get(depsgraph)
    return list(posed.matrix_world @ posed.pose.bones["pelvis"].head)  # pyright: ignore[reportArgumentType]
