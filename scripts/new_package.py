"""Where the commands put the packages that they make."""

from __future__ import annotations

from typing import TYPE_CHECKING

from blender_addon.contract.errors import BadParameter
from models.package import MANIFEST_FILE

if TYPE_CHECKING:
    from pathlib import Path


def free_folder(library: Path, identity: str, what: str, *, replace: bool) -> Path:
    """Return the folder of a new package.

    Args:
        library: that it goes to.
        identity: of the package.
        what: it is, with its article: "a portrait".
        replace: whether there may be one already.

    Raises:
        BadParameter: there is one, and it must stay.
    """
    folder = library / identity
    if (folder / MANIFEST_FILE).exists() and not replace:
        raise BadParameter(
            f"there is {what} {identity!r} already",
            "name another id with --identity, or allow it to be replaced with --replace true",
        )
    return folder
