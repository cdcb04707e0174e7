r"""Render a portrait with Blender, without opening it: camera, styles and head may change.

    blender -b -P scripts/render_portrait.py -- --portrait ID --camera sway --frames 1-60 \
        --size 512 --styles hair=3 --second-styles hair=8 --style-frames 20-40 \
        --second-head seed:5 --head-frames 30-60 --out DIR

or, with bpy as a Python module, `PYTHON scripts/render_portrait.py -- …`. Makes its own scene and
renders it through the extension's engine. Frames that are finished are skipped, unless anything
that their pixels depend on has changed; several machines may share a folder and a range. Exit
code 0: every frame is there; 1: not, and the reason is printed; 2: the options are wrong.
docs/portraits.md lists the names of regions.
"""

# pyright: reportAttributeAccessIssue=false, reportOptionalMemberAccess=false
# pyright: reportIncompatibleMethodOverride=false, reportMissingModuleSource=false
# (Blender's stubs: unions of all data types, Optionals that never are None, other parameter names)

from __future__ import annotations

import argparse
import json
import os
import sys
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import bpy

sys.path.insert(0, str(Path(__file__).resolve().parent))  # `blender -P` does not

from headless import (
    ZIP_VARIABLE,
    frame_range,
    image_size,
    numbers,
    render_frames,
    run,
    words_after_dashes,
)


@dataclass(frozen=True)
class Job:
    """What to render.

    Attributes:
        head: of the first frames: "own", "seed:N" or "head:ID".
        second_head: that it becomes; empty for none.
        head_frames: first and last frame of that change.
        styles: "hair=3,complexion=own".
        second_styles: that they become; empty for none.
        style_frames: first and last frame of that change.
        truncation: of all regions.
        directions: amounts along the first principal directions.
        frames: first and last frame of this run.
        whole: first and last frame of the whole shot: moves and changes span it, so that split
            runs give the same frames.
        size: width and height in pixels.
    """

    portrait: str
    camera: str
    head: str
    second_head: str
    head_frames: tuple[int, int]
    styles: str
    second_styles: str
    style_frames: tuple[int, int]
    truncation: float
    directions: tuple[float, ...]
    backdrop: bool
    frames: tuple[int, int]
    whole: tuple[int, int]
    size: tuple[int, int]
    fps: int
    out: Path
    blend: Path | None
    extension: Path | None


def main() -> int:
    """Render; return the exit code."""
    job = parse_job(words_after_dashes())
    return run("render_portrait", job.extension, lambda extension: render(job, extension))


def parse_job(words: list[str]) -> Job:
    """Read the options; exits with code 2 when they are wrong."""
    parser = argparse.ArgumentParser(
        prog="render_portrait", description="Render a portrait with Blender, without opening it."
    )
    add = parser.add_argument
    add("--portrait", default="", help="id in the library; default: the first")
    add("--camera", default="sway", help="sway (±30°), orbit, static, or a .json of keys")
    add("--head", default="own", help="own, seed:N or head:ID")
    add("--second-head", default="", help="a head that it becomes")
    add("--head-frames", type=frame_range, help="A-B of that change; default: the shot")
    add("--styles", default="", help="REGION=SEED or =own, …; a region, a group, or all")
    add("--second-styles", default="", help="styles that these regions change to")
    add("--style-frames", type=frame_range, help="A-B of that change; default: the shot")
    add("--truncation", type=float, default=1.0, help="0: the mean styles … 1: as they are")
    add("--directions", type=numbers, default=(), help="A,B,… along the principal directions")
    add("--backdrop", action="store_true", help="show the painted background, too")
    add("--frames", type=frame_range, default=(1, 48), help="A-B or A")
    add("--shot", type=frame_range, help="A-B of the whole shot when --frames is a part of it")
    add("--size", type=image_size, default=(512, 512), help="N or WxH pixels")
    add("--fps", type=int, default=24)
    add("--out", type=Path, required=True, help="folder of the frames")
    add("--save-blend", type=Path, help="also write the scene, without rendering")
    add("--extension", type=Path, help=f"the extension's zip (or {ZIP_VARIABLE})")
    options = parser.parse_args(words)
    whole = options.shot or options.frames
    given = options.extension or os.environ.get(ZIP_VARIABLE)
    return Job(
        portrait="" if options.portrait == "default" else options.portrait,
        camera=options.camera,
        head=options.head,
        second_head=options.second_head,
        head_frames=options.head_frames or whole,
        styles=options.styles,
        second_styles=options.second_styles,
        style_frames=options.style_frames or whole,
        truncation=options.truncation,
        directions=options.directions,
        backdrop=options.backdrop,
        frames=options.frames,
        whole=whole,
        size=options.size,
        fps=options.fps,
        out=options.out,
        blend=options.save_blend,
        extension=Path(given) if given else None,
    )


def render(job: Job, extension: str) -> None:
    """Make the scene and render what is missing of it."""
    library = import_module(f"{extension}.library")
    link = import_module(f"{extension}.connection").current()
    known = library.fetch(link.endpoint(), previews=False, revive=link.revive)
    portrait = known.portrait(job.portrait)
    scene = make_scene(job, extension, portrait)
    if job.blend is not None:
        bpy.ops.wm.save_as_mainfile(filepath=str(job.blend.resolve()), check_existing=False)
        print(f"scene: {job.blend}")
        return
    render_frames(extension, scene, job.frames, job.out, {portrait.id: portrait.digest})


def make_scene(job: Job, extension: str, portrait: Any) -> bpy.types.Scene:
    """Return a scene with the portrait, its changes and the camera."""
    portraits = import_module(f"{extension}.scene.portraits")
    looks = import_module(f"{extension}.scene.portrait_staging")
    staging = import_module(f"{extension}.scene.staging")
    for ob in list(bpy.data.objects):
        bpy.data.objects.remove(ob)
    scene = bpy.context.scene
    scene.cursor.location = (0.0, 0.0, 0.0)
    staging.settings_for_film(scene, job.size, job.fps, job.whole)
    ob = portraits.add_portrait(bpy.context, portrait.id, name=portrait.name)
    state = ob.dressform_portrait
    state.backdrop = job.backdrop
    for index, amount in enumerate(job.directions):
        state.directions[index] = amount
    for region in state.regions:
        region.truncation = job.truncation
    looks.set_head(ob, job.head)
    looks.set_styles(ob, looks.parse_styles(job.styles))
    if job.second_head:
        looks.key_second_head(ob, job.second_head, job.head_frames)
    if job.second_styles:
        looks.key_second_styles(ob, looks.parse_styles(job.second_styles), job.style_frames)
    if job.camera.endswith(".json"):
        staging.camera_from_keys(scene, json.loads(Path(job.camera).read_text("utf-8")))
    else:
        looks.add_camera(scene, ob, job.camera, job.whole)
    return scene  # pyright: ignore[reportReturnType]


if __name__ == "__main__":
    sys.exit(main())
