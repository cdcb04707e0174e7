"""A look becomes an avatar's package: people of a wardrobe, and those that were trained together."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from models.avatar_preview import preview
from models.look_packages import look_packages
from models.package import write_package
from models.wardrobe_package import TEXTURE, save_wardrobe_avatar

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from blender_addon.contract.avatar_look import AvatarLook
    from models.avatar_look import LookedPerson
    from models.look_packages import Packages
    from models.package import Manifest

PREVIEW_SIZE = 256


def save_look(
    folder: Path,
    packages: Packages,
    avatar: str,
    look: AvatarLook,
    person: LookedPerson,
    *,
    name: str,
    betas: Sequence[float] | None = None,
    recipe: dict[str, Any] | None = None,
) -> Manifest:
    """Write a look as an ordinary avatar; an older one of the folder is replaced.

    Args:
        folder: named by the package's id.
        packages: where the look's people lie.
        avatar: id of the package that the look is for.
        look: what it is.
        person: what `Looks.person` made of it.
        name: what people read.
        betas: shape of the body; the look's own blend when left out.
        recipe: of the package, to which the look is added.
    """
    made = person.made
    shape = made.betas if betas is None else tuple(betas)
    own = packages.manifest(avatar)
    licences = {packages.manifest(each).licence for each in look_packages(packages, avatar, look)}
    picture = preview(person.renderer, np.array(shape, np.float32)).resize(
        (PREVIEW_SIZE, PREVIEW_SIZE), Image.Resampling.BOX
    )
    recipe = {**(recipe or {}), "avatar": avatar, "look": look.to_wire()}
    licence = " AND ".join(sorted(licences))
    if made.wardrobe:
        return save_wardrobe_avatar(
            folder, packages.manifest(made.wardrobe), made.texture, made.w,
            name=name, licence=licence, betas=shape, recipe=recipe, preview=picture,
        )  # fmt: skip
    manifest = replace(
        own,
        kind="avatar",
        id=folder.name,
        name=name,
        licence=licence,
        architecture=own.architecture | {"betas": [round(float(beta), 6) for beta in shape]},
        recipe=recipe,
        data={},
        metrics={},
    )
    return write_package(folder, manifest, {TEXTURE: made.texture.half().cpu()}, picture)
