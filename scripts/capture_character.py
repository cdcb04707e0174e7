r"""Sweep a character over poses and cameras with Cycles: a capture that avatars are trained on.

    blender -b character.blend --python-exit-code 1 -P scripts/capture_character.py -- --out DIR

or, with bpy as a Python module, `PYTHON scripts/capture_character.py character.blend --out DIR`.
The installed extension is used where there is one, else the checkout that this script stands
in. Finished frames are kept: started again, it goes on at the missing ones. Exit code 0: the
capture is whole; 1: not, and the reason is printed; 2: the options are wrong.
docs/own-avatar.md walks through it.
"""

# pyright: reportAttributeAccessIssue=false, reportOptionalMemberAccess=false
# pyright: reportMissingModuleSource=false
# (Blender's stubs: unions of all data types, Optionals that never are None)

from __future__ import annotations

import os
import sys
from importlib import import_module
from pathlib import Path

import bpy

EXTENSION_WORD = "--extension"
ZIP_VARIABLE = "DRESSFORM_EXTENSION_ZIP"
CHECKOUT = Path(__file__).resolve().parent.parent


def main() -> int:
    """Capture; return the exit code."""
    words = sys.argv[sys.argv.index("--") + 1 :] if "--" in sys.argv else sys.argv[1:]
    archive, words = take_archive(words)
    package = find_package(archive)
    if package is None:
        print(
            "capture_character: neither the Dressform extension nor its checkout is here\n  next "
            f"step: install it, or name its zip with {EXTENSION_WORD} or {ZIP_VARIABLE}",
            file=sys.stderr,
        )
        return 1
    return import_module(f"{package}.capture.command").main(words)


def take_archive(words: list[str]) -> tuple[str, list[str]]:
    """Return the zip that --extension or the environment names, and the other words."""
    if EXTENSION_WORD not in words:
        return os.environ.get(ZIP_VARIABLE, ""), words
    at = words.index(EXTENSION_WORD)
    return "".join(words[at + 1 : at + 2]), words[:at] + words[at + 2 :]


def find_package(archive: str) -> str | None:
    """Return the name of the add-on's package, ready to import; None when there is none."""
    if archive and Path(archive).is_file():
        bpy.ops.extensions.package_install_files(
            filepath=str(Path(archive).resolve()), repo="user_default", enable_on_install=True
        )
    for module in bpy.context.preferences.addons.keys():  # noqa: SIM118 - Blender's collection
        if module.endswith(".dressform"):
            return module
    if not (CHECKOUT / "blender_addon" / "capture").is_dir():
        return None
    sys.path.insert(0, str(CHECKOUT))
    # The checkout is not enabled as an add-on: rigs remember their person all the same.
    properties = import_module("blender_addon.scene.properties")
    if not hasattr(bpy.types.Object, "dressform"):
        properties.register()
    return "blender_addon"


if __name__ == "__main__":
    sys.exit(main())
