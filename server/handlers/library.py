"""`library.list` and `library.preview`: what the library holds. Run by the broker, without torch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from blender_addon.contract import operations
from blender_addon.contract.errors import ModelError, PackageDamaged
from blender_addon.contract.fields import parse_model_id
from server.operation import Answer, Context, Operation

if TYPE_CHECKING:
    from blender_addon.contract.wire import Request
    from models.package import Manifest


def list_models(context: Context, _request: Request) -> Answer:
    """Return params models: a list of {id, kind, name, digest, licence}.

    Avatars and wardrobes also have body and dresser, avatars betas and, if one made them, wardrobe.

    A package whose requirements are missing has the digest "" and says why in `problem`.
    """
    rows = [_row(context, manifest) for manifest in context.library.manifests()]
    return Answer(params={"models": rows})


def preview(context: Context, request: Request) -> Answer:
    """Return the array preview (H, W, 3 or 4) uint8, sRGB, of the model named by the param id."""
    from PIL import Image, UnidentifiedImageError

    path = context.library.preview_file(parse_model_id(request, "id"))
    try:
        with Image.open(path) as image:
            mode = "RGBA" if "A" in image.getbands() else "RGB"
            return Answer(arrays={"preview": np.asarray(image.convert(mode))})
    except (OSError, UnidentifiedImageError) as error:
        raise PackageDamaged(f"the preview {path.name} of {path.parent.name} is damaged") from error


def _row(context: Context, manifest: Manifest) -> dict[str, Any]:
    row: dict[str, Any] = {
        "id": manifest.id,
        "kind": manifest.kind,
        "name": manifest.name,
        "licence": manifest.licence,
    }
    try:
        row["digest"] = context.library.digest(manifest.id)
    except ModelError as error:
        row |= {"digest": "", "problem": error.cause}
    for role in ("body", "dresser"):
        if role in manifest.requirements:
            row[role] = manifest.requirements[role]
    if "wardrobe" in manifest.architecture:
        row["wardrobe"] = str(manifest.architecture["wardrobe"])
    betas = manifest.architecture.get("betas")
    if isinstance(betas, list):
        row["betas"] = betas
    return row


OPERATIONS = (
    Operation(name=operations.LIBRARY_LIST, kind="light", call=list_models),
    Operation(name=operations.LIBRARY_PREVIEW, kind="light", call=preview),
)
