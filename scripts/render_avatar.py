r"""Render an avatar in motion with Blender, without opening it.

    blender -b -P scripts/render_avatar.py -- --avatar ID --motion walk --camera orbit \
        --frames 1-48 --size 512 --out DIR

or, with bpy as a Python module, `PYTHON scripts/render_avatar.py -- …`. Makes its own scene and
renders it through the extension's engine. Frames that are finished are skipped, unless anything
that their pixels depend on has changed; a frame is written under another name and renamed when
it is whole, so several machines may share a folder and a range. Exit code 0: every frame is
there; 1: not, and the reason is printed; 2: the options are wrong.
"""

# pyright: reportAttributeAccessIssue=false, reportOptionalMemberAccess=false
# pyright: reportIncompatibleMethodOverride=false, reportMissingModuleSource=false
# (Blender's stubs: unions of all data types, Optionals that never are None, other parameter names)

from __future__ import annotations

import argparse
import json
import os
import struct
import sys
import time
import zlib
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import bpy

EXTENSION = "bl_ext.user_default.dressform"
ZIP_VARIABLE = "DRESSFORM_EXTENSION_ZIP"
STAMP = "dressform-request "


class SetupProblem(Exception):
    """The script cannot start; the message says why and what to do."""


@dataclass(frozen=True)
class Job:
    """What to render.

    Attributes:
        frames: first and last frame of this run.
        whole: first and last frame of the whole shot: camera moves span it, so that split runs
            give the same frames.
        size: width and height in pixels.
    """

    avatar: str
    motion: str
    camera: str
    frames: tuple[int, int]
    whole: tuple[int, int]
    size: tuple[int, int]
    fps: int
    out: Path
    blend: Path | None
    extension: Path | None


def main() -> int:
    """Render; return the exit code."""
    words = sys.argv[sys.argv.index("--") + 1 :] if "--" in sys.argv else []
    job = parse_job(words)
    try:
        extension = find_extension(job.extension)
    except SetupProblem as problem:
        print(f"render_avatar: {problem}", file=sys.stderr)
        return 1
    errors = import_module(f"{extension}.contract.errors")
    try:
        render(job, extension)
    except errors.DressformError as error:
        print(f"render_avatar: {error.cause}\n  next step: {error.next_step}", file=sys.stderr)
        print(f"  [{error.code}]", file=sys.stderr)
        return 1
    except (OSError, RuntimeError) as error:  # bpy.ops raise RuntimeError with the report's text
        print(f"render_avatar: {str(error).strip()}", file=sys.stderr)
        return 1
    finally:
        bpy.ops.preferences.addon_disable(module=extension)
    return 0


def parse_job(words: list[str]) -> Job:
    """Read the options; exits with code 2 when they are wrong."""
    parser = argparse.ArgumentParser(prog="render_avatar", description=(__doc__ or "")[:72])
    parser.add_argument("--avatar", default="", help="id in the library; default: the first")
    parser.add_argument("--motion", default="walk", help="walk, dance, wave, or a file")
    parser.add_argument(
        "--camera", default="orbit", help="orbit, walk-past, static, or a .json of keys"
    )
    parser.add_argument("--frames", type=frame_range, default=(1, 48), help="A-B or A")
    parser.add_argument(
        "--shot", type=frame_range, help="A-B of the whole shot when --frames is a part of it"
    )
    parser.add_argument("--size", type=image_size, default=(512, 512), help="N or WxH pixels")
    parser.add_argument("--fps", type=int, default=24)
    parser.add_argument("--out", type=Path, required=True, help="folder of the frames")
    parser.add_argument("--save-blend", type=Path, help="also write the scene, without rendering")
    parser.add_argument("--extension", type=Path, help=f"the extension's zip (or {ZIP_VARIABLE})")
    options = parser.parse_args(words)
    given = options.extension or os.environ.get(ZIP_VARIABLE)
    return Job(
        avatar="" if options.avatar == "default" else options.avatar,
        motion=options.motion,
        camera=options.camera,
        frames=options.frames,
        whole=options.shot or options.frames,
        size=options.size,
        fps=options.fps,
        out=options.out,
        blend=options.save_blend,
        extension=Path(given) if given else None,
    )


def frame_range(text: str) -> tuple[int, int]:
    """Read "A-B" or "A"."""
    first, _, last = text.partition("-")
    found = int(first), int(last or first)
    if not 0 <= found[0] <= found[1]:
        raise argparse.ArgumentTypeError(f"{text!r} is no range of frames")
    return found


def image_size(text: str) -> tuple[int, int]:
    """Read "N" or "WxH"."""
    width, _, height = text.lower().partition("x")
    found = int(width), int(height or width)
    if not all(16 <= side <= 8192 for side in found):
        raise argparse.ArgumentTypeError("a side has 16…8192 pixels")
    return found


def find_extension(archive: Path | None) -> str:
    """Return the extension's module, enabled; install it from the zip when one is given.

    Raises:
        SetupProblem: there is none.
    """
    if archive is not None:
        if not archive.exists():
            raise SetupProblem(f"there is no extension at {archive}")
        bpy.ops.extensions.package_install_files(
            filepath=str(archive.resolve()), repo="user_default", enable_on_install=True
        )
    for module in [*bpy.context.preferences.addons.keys(), EXTENSION]:
        if module.endswith(".dressform") and _enable(module):
            return module
    raise SetupProblem(
        "the Dressform extension is not installed in this Blender\n  next step: install it, or "
        f"name its zip with --extension or {ZIP_VARIABLE} (scripts/build_extension.py makes it)"
    )


def _enable(module: str) -> bool:
    import addon_utils

    return addon_utils.enable(module, default_set=True) is not None


def render(job: Job, extension: str) -> None:
    """Make the scene and render what is missing of it."""
    library = import_module(f"{extension}.library")
    link = import_module(f"{extension}.connection").current()
    known = library.fetch(link.endpoint(), previews=False, revive=link.revive)
    avatar = known.first_or(job.avatar)
    template = library.fetch_template(link.endpoint(), avatar.body, revive=link.revive)
    scene = make_scene(job, extension, avatar, template)
    if job.blend is not None:
        bpy.ops.wm.save_as_mainfile(filepath=str(job.blend.resolve()), check_existing=False)
        print(f"scene: {job.blend}")
        return
    render_frames(job, extension, scene, {avatar.id: avatar.digest})


def make_scene(job: Job, extension: str, avatar: Any, template: Any) -> bpy.types.Scene:
    """Return a scene with the person, the motion and the camera."""
    rig_module = import_module(f"{extension}.scene.rig")
    motions = import_module(f"{extension}.scene.motions")
    staging = import_module(f"{extension}.scene.staging")
    for ob in list(bpy.data.objects):
        bpy.data.objects.remove(ob)
    scene = bpy.context.scene
    staging.settings_for_film(scene, job.size, job.fps, job.whole)
    rig = rig_module.add_person(
        bpy.context, template, avatar.id, name=avatar.name, betas=avatar.betas
    )
    named = job.motion in [item[0] for item in motions.OWN_MOTIONS]
    path = motions.own_motion(job.motion) if named else Path(job.motion)
    for note in motions.import_motion(bpy.context, rig, [path], start=job.whole[0]):
        print(f"note: {note}")
    if job.camera.endswith(".json"):
        staging.camera_from_keys(scene, json.loads(Path(job.camera).read_text("utf-8")))
    else:
        staging.add_camera(scene, rig, job.camera, job.whole)
    return scene  # pyright: ignore[reportReturnType]


def render_frames(
    job: Job, extension: str, scene: bpy.types.Scene, digests: dict[str, str]
) -> None:
    """Render each frame of the range that is not there yet."""
    people = import_module(f"{extension}.scene.people")
    cameras = import_module(f"{extension}.scene.cameras")
    compose = import_module(f"{extension}.engine.compose")
    job.out.mkdir(parents=True, exist_ok=True)
    first, last = job.frames
    for frame in range(first, last + 1):
        target = job.out / f"frame_{frame:04d}.png"
        scene.frame_set(frame)
        depsgraph = bpy.context.evaluated_depsgraph_get()
        request = compose.frame_digest(
            people.visible_people(depsgraph), cameras.scene_camera(depsgraph), digests
        )
        done = frame - first + 1, last - first + 1
        if finished(target, request):
            print(f"frame {frame} ({done[0]} of {done[1]}): already there", flush=True)
            continue
        started = time.monotonic()
        render_one(scene, target, request)
        took = time.monotonic() - started
        print(f"frame {frame} ({done[0]} of {done[1]}): {took:.2f} s", flush=True)


def render_one(scene: bpy.types.Scene, target: Path, request: str) -> None:
    """Render the current frame into `target`, whole or not at all."""
    # Another process may work on the same frame: each writes a file of its own.
    partial = target.with_name(f".{target.stem}.{os.getpid()}.part.png")
    scene.render.filepath = str(partial.resolve())
    scene.render.use_stamp_note = True
    scene.render.stamp_note_text = STAMP + request
    try:
        bpy.ops.render.render(write_still=True)
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)


def finished(target: Path, request: str) -> bool:
    """Tell whether a frame is there, whole, and was made from the same request."""
    try:
        return (STAMP + request) in png_texts(target.read_bytes())
    except (OSError, ValueError):
        return False


def png_texts(data: bytes) -> list[str]:
    """Return the text chunks' values of a whole PNG.

    Raises:
        ValueError: it is damaged or cut off.
    """
    if data[:8] != b"\x89PNG\r\n\x1a\n":
        raise ValueError("not a PNG")
    position, texts = 8, list[str]()
    while position + 12 <= len(data):
        length, kind = struct.unpack(">I4s", data[position : position + 8])
        body = data[position + 8 : position + 8 + length]
        check = data[position + 8 + length : position + 12 + length]
        if len(check) != 4 or struct.unpack(">I", check)[0] != zlib.crc32(kind + body):
            raise ValueError("a chunk is damaged")
        if kind == b"tEXt":
            texts.append(body.partition(b"\0")[2].decode("latin1"))
        elif kind == b"IEND":
            return texts
        position += 12 + length
    raise ValueError("the end is missing")


if __name__ == "__main__":
    sys.exit(main())
