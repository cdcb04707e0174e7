r"""Render an avatar in motion with Blender, without opening it.

    blender -b -P scripts/render_avatar.py -- --avatar ID --motion walk --camera orbit \
        --frames 1-48 --size 512 --out DIR

or, with bpy as a Python module, `PYTHON scripts/render_avatar.py -- …`. Makes its own scene and
renders it through the extension's engine. Frames that are finished are skipped, unless anything
that their pixels depend on has changed; a frame is written under another name and renamed when
it is whole, so several machines may share a folder and a range. The person may look like others,
and change on the way: `--seed 7 --blend ben:0-1 --redress head=ada,feet=seed:3`
(docs/wardrobe.md). Exit code 0: every frame is there; 1: not, and the reason is printed; 2: the
options are wrong.
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
        motion: a name, or a file.
        look: options of the look by the names that `LookChange` has for them.
    """

    avatar: str
    motion: str
    shot: Shot
    look: dict[str, Any]


def main() -> int:
    """Render; return the exit code."""
    job = parse_job(words_after_dashes())
    return run("render_avatar", job.shot.extension, lambda extension: render(job, extension))


def parse_job(words: list[str]) -> Job:
    """Read the options; exits with code 2 when they are wrong."""
    parser = argparse.ArgumentParser(prog="render_avatar", description=(__doc__ or "")[:72])
    parser.add_argument("--avatar", default="", help="id in the library; default: the first")
    parser.add_argument("--motion", default="walk", help="walk, dance, wave, or a file")
    parser.add_argument(
        "--camera", default="orbit", help="orbit, walk-past, static, or a .json of keys"
    )
    add_shot_options(parser)
    _add_look_options(parser)
    options = parser.parse_args(words)
    shot = shot_of(options)
    return Job(
        avatar="" if options.avatar == "default" else options.avatar,
        motion=options.motion,
        shot=shot,
        look={
            "seed": options.seed,
            "blend": options.blend,
            "redress": options.redress,
            "directions": options.directions,
            "second_directions": options.second_directions,
            "truncation": options.truncation,
            "wardrobe": options.wardrobe,
            "frames": options.look_frames or shot.whole,
        },
    )


def _add_look_options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("look", "A is an amount 0…1, or A-B that changes in the shot")
    add.add_argument("--seed", type=int, help="a person whom the wardrobe draws")
    add.add_argument("--blend", default="", help="WHO:A, …: whom to go towards; id, seed:N")
    add.add_argument("--redress", default="", help="PART=WHO or PART=WHO:A, …")
    add.add_argument("--directions", type=numbers, default=(), help="A,B,… along the directions")
    add.add_argument("--second-directions", type=numbers, default=(), help="that they change to")
    add.add_argument("--truncation", type=float, help="of seeds: 0 the mean person … 1 as drawn")
    add.add_argument("--wardrobe", default="", help="id; default: the one that fits the avatar")
    add.add_argument("--look-frames", type=frame_range, help="A-B of changes; default: the shot")


def render(job: Job, extension: str) -> None:
    """Make the scene and render what is missing of it."""
    library = import_module(f"{extension}.library")
    link = import_module(f"{extension}.connection").current()
    known = library.fetch(link.endpoint(), previews=False, revive=link.revive)
    avatar = known.first_or(job.avatar)
    template = library.fetch_template(link.endpoint(), avatar.body, revive=link.revive)
    scene = make_scene(job, extension, avatar, template)
    digests = {each.id: each.digest for each in (*known.avatars, *known.wardrobes)}
    render_shot(extension, scene, job.shot, digests)


def make_scene(job: Job, extension: str, avatar: Any, template: Any) -> bpy.types.Scene:
    """Return a scene with the person, the motion and the camera."""
    rig_module = import_module(f"{extension}.scene.rig")
    motions = import_module(f"{extension}.scene.motions")
    staging = import_module(f"{extension}.scene.staging")
    scene = empty_scene(extension, job.shot)
    rig = rig_module.add_person(
        bpy.context, template, avatar.id, name=avatar.name, betas=avatar.betas
    )
    looks = import_module(f"{extension}.scene.look_staging")
    looks.stage_look(rig, looks.LookChange(**job.look))
    named = job.motion in [item[0] for item in motions.OWN_MOTIONS]
    path = motions.own_motion(job.motion) if named else Path(job.motion)
    for note in motions.import_motion(bpy.context, rig, [path], start=job.shot.whole[0]):
        print(f"note: {note}")
    add_camera(extension, scene, job.shot, rig, staging.add_camera)
    return scene


if __name__ == "__main__":
    sys.exit(main())
