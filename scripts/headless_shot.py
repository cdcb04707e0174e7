"""The shot that a script renders with Blender and no window: its options, scene and camera."""

# pyright: reportAttributeAccessIssue=false, reportOptionalMemberAccess=false
# pyright: reportMissingModuleSource=false
# (Blender's stubs: unions of all data types, Optionals that never are None)

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

import bpy
from headless import ZIP_VARIABLE, frame_range, image_size, render_frames

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

    AddCamera = Callable[[bpy.types.Scene, bpy.types.Object, str, tuple[int, int]], object]


@dataclass(frozen=True)
class Shot:
    """What is rendered, whoever it shows.

    Attributes:
        camera: a move's name, or a .json of keys.
        frames: first and last frame of this run.
        whole: first and last frame of the whole shot: moves and changes span it, so that split
            runs give the same frames.
        size: width and height in pixels.
        fps: frames per second.
        out: folder of the frames.
        blend: write the scene there instead of rendering it.
        extension: the extension's zip when one is given.
    """

    camera: str
    frames: tuple[int, int]
    whole: tuple[int, int]
    size: tuple[int, int]
    fps: int
    out: Path
    blend: Path | None
    extension: Path | None


def add_shot_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of every shot but `--camera`: each script has moves of its own."""
    add = parser.add_argument
    add("--frames", type=frame_range, default=(1, 48), help="A-B or A")
    add("--shot", type=frame_range, help="A-B of the whole shot when --frames is a part of it")
    add("--size", type=image_size, default=(512, 512), help="N or WxH pixels")
    add("--fps", type=int, default=24)
    add("--out", type=Path, required=True, help="folder of the frames")
    add("--save-blend", type=Path, help="also write the scene, without rendering")
    add("--extension", type=Path, help=f"the extension's zip (or {ZIP_VARIABLE})")


def shot_of(options: argparse.Namespace) -> Shot:
    """Return the shot that the options mean."""
    given = options.extension or os.environ.get(ZIP_VARIABLE)
    return Shot(
        camera=options.camera,
        frames=options.frames,
        whole=options.shot or options.frames,
        size=options.size,
        fps=options.fps,
        out=options.out,
        blend=options.save_blend,
        extension=Path(given) if given else None,
    )


def empty_scene(extension: str, shot: Shot) -> bpy.types.Scene:
    """Return Blender's scene without its objects, set to the shot's frames and size."""
    staging = import_module(f"{extension}.scene.staging")
    for ob in list(bpy.data.objects):
        bpy.data.objects.remove(ob)
    scene = bpy.context.scene
    staging.settings_for_film(scene, shot.size, shot.fps, shot.whole)
    return scene  # pyright: ignore[reportReturnType]


def add_camera(
    extension: str, scene: bpy.types.Scene, shot: Shot, ob: bpy.types.Object, add: AddCamera
) -> None:
    """Add the shot's camera to the scene.

    Args:
        extension: its module name.
        ob: what the camera looks at.
        add: adds a camera that makes a move, given scene, object, move and frames.
    """
    if shot.camera.endswith(".json"):
        staging = import_module(f"{extension}.scene.staging")
        staging.camera_from_keys(scene, json.loads(Path(shot.camera).read_text("utf-8")))
    else:
        add(scene, ob, shot.camera, shot.whole)


def render_shot(
    extension: str, scene: bpy.types.Scene, shot: Shot, digests: dict[str, str]
) -> None:
    """Render what is missing of a shot, or write its scene where that was asked for.

    Args:
        extension: its module name.
        digests: package id → digest, of all that the frames show.
    """
    if shot.blend is None:
        render_frames(extension, scene, shot.frames, shot.out, digests)
        return
    bpy.ops.wm.save_as_mainfile(filepath=str(shot.blend.resolve()), check_existing=False)
    print(f"scene: {shot.blend}")
