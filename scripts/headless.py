"""What the scripts share that render films with Blender and no window.

Frames that are finished are skipped, unless anything that their pixels depend on has changed; a
frame is written under another name and renamed when it is whole, so several machines may share a
folder and a range.
"""

# pyright: reportAttributeAccessIssue=false, reportOptionalMemberAccess=false
# pyright: reportIncompatibleMethodOverride=false, reportMissingModuleSource=false
# (Blender's stubs: unions of all data types, Optionals that never are None, other parameter names)

from __future__ import annotations

import argparse
import os
import struct
import sys
import time
import zlib
from importlib import import_module
from typing import TYPE_CHECKING

import bpy

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

EXTENSION = "bl_ext.user_default.dressform"
ZIP_VARIABLE = "DRESSFORM_EXTENSION_ZIP"
STAMP = "dressform-request "


class SetupProblem(Exception):
    """The script cannot start; the message says why and what to do."""


def words_after_dashes() -> list[str]:
    """Return the script's own options: what stands behind "--" on the command line."""
    return sys.argv[sys.argv.index("--") + 1 :] if "--" in sys.argv else []


def run(script: str, archive: Path | None, work: Callable[[str], None]) -> int:
    """Find the extension, do the work with it, print what goes wrong; return the exit code.

    Args:
        script: name for messages.
        archive: the extension's zip when one is given.
        work: gets the extension's module name.
    """
    try:
        extension = find_extension(archive)
    except SetupProblem as problem:
        print(f"{script}: {problem}", file=sys.stderr)
        return 1
    errors = import_module(f"{extension}.contract.errors")
    try:
        work(extension)
    except errors.DressformError as error:
        print(f"{script}: {error.cause}\n  next step: {error.next_step}", file=sys.stderr)
        print(f"  [{error.code}]", file=sys.stderr)
        return 1
    except (OSError, RuntimeError) as error:  # bpy.ops raise RuntimeError with the report's text
        print(f"{script}: {str(error).strip()}", file=sys.stderr)
        return 1
    finally:
        bpy.ops.preferences.addon_disable(module=extension)
    return 0


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


def numbers(text: str) -> tuple[float, ...]:
    """Read "1.5,0,-1": amounts along principal directions."""
    found = tuple(float(part) for part in text.split(","))
    if len(found) > 8 or not all(abs(value) <= 20 for value in found):
        raise argparse.ArgumentTypeError("at most 8 numbers within −20…20")
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


def render_frames(
    extension: str,
    scene: bpy.types.Scene,
    frames: tuple[int, int],
    out: Path,
    digests: dict[str, str],
) -> None:
    """Render each frame of a range that is not there yet.

    Args:
        extension: its module name.
        frames: first and last frame.
        out: folder of the frames.
        digests: package id → digest, of all that the frames show.
    """
    portraits = import_module(f"{extension}.scene.portraits")
    cameras = import_module(f"{extension}.scene.cameras")
    compose = import_module(f"{extension}.engine.compose")
    out.mkdir(parents=True, exist_ok=True)
    first, last = frames
    for frame in range(first, last + 1):
        target = out / f"frame_{frame:04d}.png"
        scene.frame_set(frame)
        depsgraph = bpy.context.evaluated_depsgraph_get()
        request = compose.frame_digest(
            portraits.visible_subjects(depsgraph), cameras.scene_camera(depsgraph), digests
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
