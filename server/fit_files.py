"""Users' own body fits that came as files, read in the terms of the wardrobe's body."""

from __future__ import annotations

import os
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from blender_addon.contract.errors import DressformError

if TYPE_CHECKING:
    from blender_addon.contract.camera import Camera
    from blender_addon.contract.operations import PosedBody
    from blender_addon.contract.wardrobe import AvatarFit
    from models.body import Body


def with_fits_read(asked: AvatarFit, body: Body) -> tuple[AvatarFit, list[str]]:
    """Return a request with its files of body fits read, and what was approximated in them.

    Raises:
        DressformError: a file is no fit; names it as the user knows it.
    """
    if not asked.fit_files:
        return asked, []
    from training.imports.photo_fit import read_photo_fit

    fits: list[tuple[PosedBody, Camera]] = []
    notes: list[str] = []
    for file, image in zip(asked.fit_files, asked.images, strict=True):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, file.name)
            path.write_bytes(file.content.tobytes())
            height, width = image.shape[:2]
            try:
                posed, camera, said = read_photo_fit(path, width, height, body, asked.focal)
            except DressformError as error:
                error.cause = error.cause.replace(f"{folder}{os.sep}", "")
                raise
        fits.append((posed, camera))
        notes += [f"{file.name}: {note}" for note in said]
    return replace(asked, fits=tuple(fits), fit_files=()), notes
