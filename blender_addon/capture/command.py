"""The command that captures a character: options, progress lines, exit codes.

Runs inside Blender, from scripts/capture_character.py or from the extension:
`import bl_ext.user_default.dressform.capture.command as c; sys.exit(c.main([...]))`.

Each frame is one JSON line on standard output, `{"frame": 12, "of": 240, "name": "t0011",
"seconds": 1.1, "kept": false}`, and one line for people on standard error. The last line is
`{"capture": "DIR", "frames": 240}`, or `{"error": {"code", "cause", "next_step"}}`.
"""

# pyright: reportAttributeAccessIssue=false, reportOptionalMemberAccess=false
# pyright: reportIncompatibleMethodOverride=false, reportMissingModuleSource=false
# (Blender's stubs: unions of all data types, Optionals that never are None, other parameter names)

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import bpy

from ..contract.errors import BadCharacter, BadParameter, DressformError
from ..scene.motion_files import read_motion
from ..scene.motions import OWN_MOTIONS, own_motion
from .character import find_character
from .generate import PlanOptions, make_plan
from .plan import load_plan
from .reference import reference_body, rest_mesh
from .solids import fit_solids
from .sweep import SweepSettings, sweep

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..scene.motion_files import Motion
    from .character import Character
    from .plan import PlannedFrame


def main(words: Sequence[str]) -> int:
    """Capture the character of the open file, or of the file named first; return the exit code.

    0: the capture is whole; 1: not, and the reason is printed; 2: the options are wrong.
    """
    options = parse_options(words)
    try:
        run(options)
    except DressformError as error:
        _say({"error": {"code": error.code, "cause": error.cause, "next_step": error.next_step}})
        _tell(f"capture_character: {error.cause}\n  next step: {error.next_step}\n  [{error.code}]")
        return 1
    except (OSError, RuntimeError) as error:  # bpy.ops raise RuntimeError with the report's text
        cause = str(error).strip()
        _say({"error": {"code": "internal", "cause": cause, "next_step": "see the lines above"}})
        _tell(f"capture_character: {cause}")
        return 1
    return 0


def parse_options(words: Sequence[str]) -> argparse.Namespace:
    """Read the options; exits with code 2 when they are wrong."""
    parser = argparse.ArgumentParser(
        prog="capture_character", description="Render a character into a capture."
    )
    parser.add_argument("character", type=Path, nargs="?", help="a .blend; default: the open file")
    parser.add_argument("--out", type=Path, required=True, help="folder of the capture")
    parser.add_argument("--id", default="", help="name of the capture; default: the file's")
    parser.add_argument("--licence", default="not stated", help="licence of the images")
    parser.add_argument("--rig", default="", help="name of the armature when there are several")
    parser.add_argument("--plan", type=Path, help=".npz of poses and cameras; default: own plan")
    parser.add_argument(
        "--size", type=image_size, help="N or WxH pixels; default 512, or the plan's"
    )
    parser.add_argument(
        "--first", type=int, default=0, help="render only the plan's first N frames"
    )
    parser.add_argument("--frames", type=int, default=200, help="training frames of the own plan")
    parser.add_argument("--held-out", type=int, default=40, help="held-out frames of the own plan")
    parser.add_argument("--orbit", type=int, default=0, help="frames of one orbit, standing still")
    parser.add_argument(
        "--sequence",
        action="append",
        default=[],
        metavar="MOTION:N",
        help="N consecutive frames of walk, dance, wave or a motion file, held out; repeatable",
    )
    parser.add_argument("--seed", type=int, default=0, help="of the own plan")
    parser.add_argument("--samples", type=int, default=12, help="of a training frame")
    parser.add_argument("--held-out-samples", type=int, default=48, help="of a held-out frame")
    parser.add_argument("--denoise", choices=("held-out", "all", "none"), default="all")
    parser.add_argument("--lights", choices=("studio", "scene"), default="studio")
    parser.add_argument("--no-depth", action="store_true", help="write no depth")
    parser.add_argument("--threads", type=int, default=0, help="of Cycles; default: all")
    return parser.parse_args(list(words))


def image_size(text: str) -> tuple[int, int]:
    """Read "N" or "WxH"."""
    width, _, height = text.lower().partition("x")
    try:
        found = int(width), int(height or width)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is no size") from error
    if not all(16 <= side <= 8192 for side in found):
        raise argparse.ArgumentTypeError("a side has 16…8192 pixels")
    return found


def run(options: argparse.Namespace) -> None:
    """Capture as the options say, printing progress."""
    digest = open_character(options.character)
    scene: Any = bpy.context.scene
    character = find_character(scene, options.rig)
    frames = plan_frames(character, options)
    settings = SweepSettings(
        samples=options.samples,
        held_out_samples=options.held_out_samples,
        denoise=options.denoise,
        lights=options.lights,
        depth=not options.no_depth,
        threads=options.threads,
    )
    name = options.id or Path(bpy.data.filepath).stem or character.rig.name
    progress = sweep(
        character,
        frames,
        options.out,
        settings,
        id=name,
        licence=options.licence,
        character_digest=digest,
        user_scene=scene,
    )
    for done in progress:
        _say(
            {
                "frame": done.index + 1,
                "of": done.count,
                "name": done.name,
                "seconds": round(done.seconds, 3),
                "kept": done.kept,
            }
        )
        took = "already there" if done.kept else f"{done.seconds:.2f} s"
        _tell(f"frame {done.name} ({done.index + 1} of {done.count}): {took}")
    _say({"capture": str(options.out), "frames": len(frames)})


def open_character(path: Path | None) -> str:
    """Open a character's file, if one is given; return the digest of the file that is open.

    Raises:
        BadCharacter: there is no such file, or Blender cannot open it.
    """
    if path is not None:
        if not path.is_file():
            raise BadCharacter(f"there is no character at {path}", "check the path")
        try:
            bpy.ops.wm.open_mainfile(filepath=str(path.resolve()), load_ui=False)
        except RuntimeError as error:
            raise BadCharacter(f"{path} cannot be opened: {str(error).strip()}") from error
    opened = bpy.data.filepath
    return hashlib.sha256(Path(opened).read_bytes()).hexdigest() if opened else ""


def plan_frames(character: Character, options: argparse.Namespace) -> list[PlannedFrame]:
    """Return the frames that the options ask for.

    Raises:
        BadParameter: the plan file or an option is not valid.
        BadMotion: a sequence's motion cannot be read.
        BadCharacter: the rig's body is gone, so that no poses can be drawn.
    """
    if options.plan is not None:
        frames = load_plan(options.plan, size=options.size)
    else:
        frames = own_plan(character, options)
    if not frames:
        raise BadParameter("the plan holds no frame", "ask for some with --frames")
    return frames[: options.first] if options.first else frames


def own_plan(character: Character, options: argparse.Namespace) -> list[PlannedFrame]:
    """Draw a plan for a character."""
    ob = reference_body(character)
    if ob is None:
        raise BadCharacter(
            f"the body that came with the rig {character.rig.name} is gone: poses cannot be "
            "checked for collisions",
            "keep the stand-in (hidden will do), or give a plan with --plan",
        )
    body = rest_mesh(character, ob)
    plan = PlanOptions(
        train=options.frames,
        held_out=options.held_out,
        orbit=options.orbit,
        sequences=tuple(_sequence(text) for text in options.sequence),
        seed=options.seed,
        size=options.size or (512, 512),
    )
    return make_plan(
        plan,
        character.joints,
        fit_solids(body.vertices, body.owners, character.joints),
        betas=character.betas,
        expressions=character.rig.dressform.expressions,
    )


def _sequence(text: str) -> tuple[str, Motion, int]:
    name, _, count = text.rpartition(":")
    if not name or not count.isdigit() or int(count) < 1:
        raise BadParameter(f"{text!r} is no sequence", "write it as MOTION:N, such as walk:24")
    known = name in [item[0] for item in OWN_MOTIONS]
    path = own_motion(name) if known else Path(name)
    return path.stem, read_motion([path]), int(count)


def _say(fields: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(fields, ensure_ascii=False) + "\n")
    sys.stdout.flush()


def _tell(text: str) -> None:
    sys.stderr.write(text + "\n")
    sys.stderr.flush()
