"""Whether a package of the users' own may be written under an id."""

from __future__ import annotations

from typing import TYPE_CHECKING

from blender_addon.contract.errors import BadParameter, UnknownModel

if TYPE_CHECKING:
    from models.package import Manifest
    from server.operation import Context


def made_before(
    context: Context, model: str, request: str, *, what: str, field: str, replace: bool
) -> Manifest | None:
    """Return the manifest of a package if this very request made it, None if the id is free.

    Args:
        context: whose library is looked through.
        model: id of the package.
        request: digest of the request, as the package's recipe keeps it.
        what: "avatar" or "portrait", for the error.
        field: that named the id.
        replace: whether a user's package of this id may be replaced; those that come with the
            server never are.

    Raises:
        BadParameter: the id is somebody else's.
    """
    try:
        manifest = context.library.manifest(model)
    except UnknownModel:
        return None
    if manifest.recipe.get("request") == request:
        return manifest
    if context.library.package(model).parent != context.storage.library:
        raise BadParameter(
            f"{model!r} is one of the {what}s that come with the server",
            "give another name",
            field=field,
        )
    if not replace:
        raise BadParameter(
            f"there is already {model!r}, another {what}",
            "give another name, or allow it to be replaced",
            field=field,
        )
    return None
