"""What "Make Neural" needs of the open file: which character, what is missing, and a copy of it."""

# pyright: reportAttributeAccessIssue=false, reportOptionalMemberAccess=false
# pyright: reportIncompatibleMethodOverride=false, reportMissingModuleSource=false
# (Blender's stubs: unions of all data types, Optionals that never are None, other parameter names)

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import bpy

from . import connection
from .capture.character import find_character
from .contract.errors import BadCharacter, DressformError
from .contract.joints import JOINT_NAMES
from .make_neural import CHARACTER_FILE, Order, Surroundings, blender_command

if TYPE_CHECKING:
    from collections.abc import Iterator

FOLDER = "make_neural"


def rig_of(ob: bpy.types.Object | None) -> bpy.types.Object | None:
    """Return the SMPL-X rig that an object is, is bound to, or hangs below; None without one."""
    while ob is not None:
        for candidate in (ob, *_armatures_of(ob)):
            if candidate.type == "ARMATURE" and set(JOINT_NAMES) <= set(
                candidate.data.bones.keys()
            ):
                return candidate
        ob = ob.parent
    return None


def why_not(scene: bpy.types.Scene, ob: bpy.types.Object | None) -> DressformError | None:
    """Return what keeps the selected character from being made neural, or None."""
    rig = rig_of(ob)
    if rig is None:
        return BadCharacter(
            "no character is selected",
            "select a character that is bound to the rig of a person (Add Person makes one)",
        )
    try:
        find_character(scene, rig.name)
    except DressformError as error:
        return error
    return None


def work_folder(avatar: str) -> Path:
    """Return the folder in which an avatar's frames are kept until it is made, and after."""
    package = __package__ or ""
    if package.startswith("bl_ext."):
        base = bpy.utils.extension_path_user(package, path=FOLDER, create=True)
        return Path(base) / avatar
    return Path(bpy.app.tempdir) / FOLDER / avatar


def begin(folder: Path) -> None:
    """Save a copy of the open file for the background Blender; the file itself stays as it is.

    Frames that an earlier attempt left in the folder go: they show the character as it was.

    Raises:
        BadCharacter: it cannot be saved.
    """
    forget(folder)
    folder.mkdir(parents=True, exist_ok=True)
    try:
        bpy.ops.wm.save_as_mainfile(
            filepath=str(folder / CHARACTER_FILE), copy=True, check_existing=False
        )
    except RuntimeError as error:
        raise BadCharacter(
            f"a copy of the scene cannot be saved: {str(error).strip()}", f"check {folder}"
        ) from error


def forget(folder: Path) -> None:
    """Remove the copy, the frames and the log of an avatar: it is made, or made anew."""
    if (folder / CHARACTER_FILE).is_file():
        shutil.rmtree(folder, ignore_errors=True)


def unfinished() -> list[Order]:
    """Return the orders whose avatar was never finished, and that can be gone on with."""
    return [order for order in map(Order.load, _folders()) if order is not None]


def surroundings() -> Surroundings:
    """Return this Blender and its server."""
    link = connection.current()
    return Surroundings(
        blender=blender_command(bpy.app.binary_path), endpoint=link.endpoint, revive=link.revive
    )


def _folders() -> Iterator[Path]:
    root = work_folder("any").parent
    for folder in sorted(root.iterdir()) if root.is_dir() else ():
        if (folder / CHARACTER_FILE).is_file():
            yield folder


def _armatures_of(ob: bpy.types.Object) -> Iterator[bpy.types.Object]:
    for modifier in ob.modifiers:
        if modifier.type == "ARMATURE" and modifier.object is not None:
            yield modifier.object
