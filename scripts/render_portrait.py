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
import sys
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import bpy

sys.path.insert(0, str(Path(__file__).resolve().parent))  # `blender -P` does not

from headless import frame_range, numbers, run, words_after_dashes
from headless_shot import Shot, add_camera, add_shot_options, empty_scene, render_shot, shot_of


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
        backdrop: show the painted background, too.
    """

    portrait: str
    shot: Shot
    head: str
    second_head: str
    head_frames: tuple[int, int]
    styles: str
    second_styles: str
    style_frames: tuple[int, int]
    truncation: float
    directions: tuple[float, ...]
    backdrop: bool


def main() -> int:
    """Render; return the exit code."""
    job = parse_job(words_after_dashes())
    return run("render_portrait", job.shot.extension, lambda extension: render(job, extension))


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
    add_shot_options(parser)
    options = parser.parse_args(words)
    shot = shot_of(options)
    return Job(
        portrait="" if options.portrait == "default" else options.portrait,
        shot=shot,
        head=options.head,
        second_head=options.second_head,
        head_frames=options.head_frames or shot.whole,
        styles=options.styles,
        second_styles=options.second_styles,
        style_frames=options.style_frames or shot.whole,
        truncation=options.truncation,
        directions=options.directions,
        backdrop=options.backdrop,
    )


def render(job: Job, extension: str) -> None:
    """Make the scene and render what is missing of it."""
    library = import_module(f"{extension}.library")
    link = import_module(f"{extension}.connection").current()
    known = library.fetch(link.endpoint(), previews=False, revive=link.revive)
    portrait = known.portrait(job.portrait)
    scene = make_scene(job, extension, portrait)
    render_shot(extension, scene, job.shot, {portrait.id: portrait.digest})


def make_scene(job: Job, extension: str, portrait: Any) -> bpy.types.Scene:
    """Return a scene with the portrait, its changes and the camera."""
    portraits = import_module(f"{extension}.scene.portraits")
    looks = import_module(f"{extension}.scene.portrait_staging")
    scene = empty_scene(extension, job.shot)
    scene.cursor.location = (0.0, 0.0, 0.0)
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
    add_camera(extension, scene, job.shot, ob, looks.add_camera)
    return scene


if __name__ == "__main__":
    sys.exit(main())
