"""Whether a package of the users' own may be written under an id."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

import numpy as np

from blender_addon.contract.errors import BadParameter, UnknownModel

if TYPE_CHECKING:
    from collections.abc import Mapping

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


def request_digest(
    params: Mapping[str, Any], arrays: Mapping[str, np.ndarray[Any, Any]], models: str
) -> str:
    """Return what names the work: asked again after a lost worker, it is answered at once.

    Args:
        params: of the request; whether an older package may be replaced does not count.
        arrays: of the request.
        models: digest of the packages that do the work.
    """
    words = json.dumps([{**params, "replace": None}, models], sort_keys=True)
    hashed = hashlib.sha256(words.encode())
    for name, array in sorted(arrays.items()):
        hashed.update(f"{name} {array.shape}".encode())
        hashed.update(np.ascontiguousarray(array).tobytes())
    return hashed.hexdigest()
