r"""Make an avatar of a Blender character without a window: render it, train, write the package.

    blender -b -P scripts/make_neural.py -- character.blend --name Nova

or, with bpy as a Python module, `PYTHON scripts/make_neural.py character.blend --name Nova`. The
server is that of DRESSFORM_ENDPOINT, or one that is started for it (DRESSFORM_PYTHON). Started
again with the same --work folder it goes on where it stopped. Exit code 0: the avatar is in the
server's library; 1: not, and the reason is printed; 2: the options are wrong.
docs/own-avatar.md walks through it.
"""

# pyright: reportAttributeAccessIssue=false, reportOptionalMemberAccess=false
# pyright: reportMissingModuleSource=false
# (Blender's stubs: unions of all data types, Optionals that never are None)

from __future__ import annotations

import argparse
import hashlib
import shutil
import sys
from dataclasses import asdict
from importlib import import_module
from pathlib import Path
from typing import Any

import bpy

sys.path.insert(0, str(Path(__file__).resolve().parent))  # `blender -P` does not

from capture_character import find_package, take_archive

DIGEST_FILE = "character.sha256"


def main() -> int:
    """Make the avatar; return the exit code."""
    words = sys.argv[sys.argv.index("--") + 1 :] if "--" in sys.argv else sys.argv[1:]
    archive, words = take_archive(words)
    options = parse_options(words)
    package = find_package(archive)
    if package is None:
        print("make_neural: the Dressform extension is not here", file=sys.stderr)
        return 1
    errors = import_module(f"{package}.contract.errors")
    try:
        avatar = run(package, options)
    except errors.DressformError as error:
        print(f"make_neural: {error.cause}\n  next step: {error.next_step}", file=sys.stderr)
        print(f"  [{error.code}]", file=sys.stderr)
        return 1
    finally:
        import_module(f"{package}.connection").current().stop()
    print(avatar)
    return 0


def run(package: str, options: argparse.Namespace) -> str:
    """Make the avatar; return its id."""
    service = import_module(f"{package}.make_neural")
    character = import_module(f"{package}.neural_character")
    errors = import_module(f"{package}.contract.errors")
    train = import_module(f"{package}.contract.avatar_train")
    if not options.character.is_file():
        raise errors.BadCharacter(f"there is no character at {options.character}")
    bpy.ops.wm.open_mainfile(filepath=str(options.character.resolve()), load_ui=False)
    if not options.rig:
        find = import_module(f"{package}.capture.character").find_character
        options.rig = find(bpy.context.scene).rig.name
    order = service.Order(
        name=options.name or options.rig,
        avatar=train.avatar_id(options.name or options.rig),
        rig=options.rig,
        frames=options.frames,
        held_out=options.held_out,
        size=options.size,
        samples=options.samples,
        lights=options.lights,
        licence=options.licence,
        minutes=None if options.steps else options.minutes,
        steps=options.steps,
        recipe=options.recipe,
        replace=options.replace,
    )
    folder = options.work or options.character.with_suffix(".neural")
    _prepare(service, order, folder, options.character)
    said: list[str] = []

    def tell(progress: Any) -> None:
        if not said or said[-1] != progress.text:
            said.append(progress.text)
            print(f"{progress.share:4.0%} {progress.text}", file=sys.stderr, flush=True)

    made = service.make_neural(order, folder, character.surroundings(), on_progress=tell)
    return str(made.id)


def _prepare(service: Any, order: Any, folder: Path, blend: Path) -> None:
    """Save a copy into the work folder, unless it holds this very order and character already."""
    digest = hashlib.sha256(blend.read_bytes()).hexdigest()
    before, mark = service.Order.load(folder), folder / DIGEST_FILE
    copy = folder / service.CHARACTER_FILE
    same = before is not None and asdict(before) == asdict(order)
    if same and copy.is_file() and mark.is_file() and mark.read_text("ascii") == digest:
        return
    # Frames of another order or another state of the character are not this one's.
    shutil.rmtree(folder / service.CAPTURE_FOLDER, ignore_errors=True)
    folder.mkdir(parents=True, exist_ok=True)
    # Saved by Blender, so that paths of textures stay right.
    bpy.ops.wm.save_as_mainfile(filepath=str(copy.resolve()), copy=True, check_existing=False)
    mark.write_text(digest, "ascii")


def parse_options(words: list[str]) -> argparse.Namespace:
    """Read the options; exits with code 2 when they are wrong."""
    parser = argparse.ArgumentParser(
        prog="make_neural", description="Make an avatar of a Blender character."
    )
    parser.add_argument("character", type=Path, help="a .blend")
    parser.add_argument("--name", default="", help="of the avatar; default: the rig's")
    parser.add_argument("--rig", default="", help="armature, when the file holds several")
    parser.add_argument("--frames", type=int, default=200, help="to train on")
    parser.add_argument("--held-out", type=int, default=20, help="frames to measure on")
    parser.add_argument("--size", type=int, default=512, help="side of the images in pixels")
    parser.add_argument("--samples", type=int, default=12, help="of Cycles")
    parser.add_argument("--lights", choices=("studio", "scene"), default="studio")
    parser.add_argument("--licence", default="not stated", help="of the images")
    parser.add_argument("--minutes", type=float, help="of training; default: the recipe's")
    parser.add_argument("--steps", type=int, help="of training, instead of minutes")
    parser.add_argument("--recipe", default="", help="of training; default: the server's choice")
    parser.add_argument("--replace", action="store_true", help="an avatar of this name")
    parser.add_argument("--work", type=Path, help="folder of frames; default: beside the .blend")
    return parser.parse_args(words)


if __name__ == "__main__":
    sys.exit(main())
