"""Blender's cameras as the contract's: final frames and the 3D viewport."""

# pyright: reportAttributeAccessIssue=false, reportOptionalMemberAccess=false
# pyright: reportIncompatibleMethodOverride=false, reportMissingModuleSource=false
# (Blender's stubs: unions of all data types, Optionals that never are None, other parameter names)

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..contract.camera import BlenderLens, Camera, from_blender
from ..contract.errors import UnsupportedCamera
from .merge_state import frame_scene
from .projection import from_view, to_smplx

if TYPE_CHECKING:
    import bpy


def lens_of(camera: bpy.types.Object, render: bpy.types.RenderSettings) -> BlenderLens:
    """Return what a camera object and the render settings say of the projection."""
    data = camera.data
    return BlenderLens(
        lens=data.lens,
        sensor_width=data.sensor_width,
        sensor_height=data.sensor_height,
        sensor_fit=data.sensor_fit,
        shift_x=data.shift_x,
        shift_y=data.shift_y,
        resolution_x=render.resolution_x,
        resolution_y=render.resolution_y,
        resolution_percentage=render.resolution_percentage,
        pixel_aspect_x=render.pixel_aspect_x,
        pixel_aspect_y=render.pixel_aspect_y,
        type=data.type,
    )


def scene_camera(depsgraph: bpy.types.Depsgraph) -> Camera:
    """Return the scene's camera as evaluated, in SMPL-X space, for the whole frame.

    A scene that renders the people of another looks through that one's camera.

    Raises:
        UnsupportedCamera: there is none, or it is not a perspective camera.
    """
    scene = frame_scene(depsgraph.scene)  # pyright: ignore[reportArgumentType]
    if scene.camera is None:
        raise UnsupportedCamera("the scene has no camera", "add one (Shift-A, Camera)")
    camera = scene.camera.evaluated_get(depsgraph)
    world = np.array(camera.matrix_world, np.float64)
    return to_smplx(from_blender(lens_of(camera, scene.render), world))


def view_camera(
    region: bpy.types.Region, view: bpy.types.RegionView3D, scale: float = 1.0
) -> Camera:
    """Return the camera of a 3D viewport, in SMPL-X space.

    Args:
        scale: image pixels per region pixel.

    Raises:
        UnsupportedCamera: an orthographic view.
    """
    camera = from_view(
        np.array(view.view_matrix), np.array(view.window_matrix), region.width, region.height
    )
    small = camera.cropped(
        0.0, 0.0, max(round(region.width * scale), 1), max(round(region.height * scale), 1), scale
    )
    return to_smplx(small)
