"""Pictures out of Blender: files that it reads, what a camera sees, images that are open."""

# pyright: reportAttributeAccessIssue=false, reportOptionalMemberAccess=false
# pyright: reportIncompatibleMethodOverride=false, reportMissingModuleSource=false
# (Blender's stubs: unions of all data types, Optionals that never are None, other parameter names)

from __future__ import annotations

import tempfile
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import bpy
import numpy as np

from ..contract.camera import focal_on_film, from_blender
from ..contract.errors import BadParameter, UnsupportedCamera
from .cameras import lens_of
from .photo_exif import PhotoFacts, read_facts

if TYPE_CHECKING:
    from collections.abc import Generator

    from numpy.typing import NDArray

PICTURE_FILES = "*.jpg;*.jpeg;*.png;*.tif;*.tiff;*.webp;*.bmp"

_STILL = {
    "media_type": "IMAGE",  # first: it decides which formats there are
    "file_format": "PNG",
    "color_mode": "RGB",
    "color_depth": "8",
}


@dataclass(frozen=True, kw_only=True)
class Still:
    """A picture of a person.

    Attributes:
        image: (H, W, 3) uint8 sRGB, upright.
        focal: focal length in pixels; None when nobody knows it.
    """

    image: NDArray[np.uint8]
    focal: float | None = None


def image_bytes(image: bpy.types.Image) -> NDArray[np.uint8]:
    """Return an image's pixels (H, W, 4) uint8 as stored, top row first."""
    width, height = image.size
    values = np.empty(width * height * image.channels, np.float32)
    image.pixels.foreach_get(values)
    pixels = values.reshape(height, width, image.channels)[::-1]
    found = np.full((height, width, 4), 255, np.uint8)
    count = min(image.channels, 4)
    found[..., :count] = np.round(np.clip(pixels[..., :count], 0.0, 1.0) * 255.0)
    if image.channels == 1:
        found[..., 1:3] = found[..., :1]
    return found


def read_photo(path: Path) -> Still:
    """Return a picture file, read by Blender and turned as its Exif says.

    Raises:
        BadParameter: it is no picture that Blender can read.
    """
    try:
        image = bpy.data.images.load(str(path))
    except RuntimeError as error:
        raise BadParameter(
            f"{path.name} cannot be read as a picture", "choose a JPEG or PNG file"
        ) from error
    try:
        if not image.has_data and not len(image.pixels):  # pyright: ignore[reportArgumentType]
            raise BadParameter(f"{path.name} holds no picture", "choose a JPEG or PNG file")
        return _upright(image, path)
    finally:
        bpy.data.images.remove(image)


def read_mask(path: Path) -> NDArray[np.uint8]:
    """Return a picture file of a person in white as (H, W) uint8.

    Raises:
        BadParameter: it is no picture that Blender can read.
    """
    return read_photo(path).image.mean(axis=2).round().astype(np.uint8)


def _upright(image: bpy.types.Image, path: Path) -> Still:
    """Return an image of a file with what that file says of it."""
    changed = image.is_dirty  # turned or painted here: the file tells of another picture
    facts = PhotoFacts() if changed or not path.is_file() else read_facts(path)
    pixels = facts.upright(image_bytes(image)[..., :3])
    height, width = pixels.shape[:2]
    told = facts.film_focal
    return Still(image=pixels, focal=focal_on_film(told, width, height) if told else None)


def open_image(name: str) -> Still:
    """Return an image of this Blender file, upright.

    Raises:
        BadParameter: there is none of that name, or it holds no pixels in sRGB.
    """
    image = bpy.data.images.get(name)
    if image is None:
        raise BadParameter(f"there is no image {name!r}", "open a photograph in an Image Editor")
    if image.type in ("RENDER_RESULT", "COMPOSITING") or not len(image.pixels):  # pyright: ignore[reportArgumentType]
        raise BadParameter(
            f"{name} cannot be read", "take the camera's still instead, or save it as a file"
        )
    if image.is_float:
        raise BadParameter(f"{name} is not in sRGB", "save it as a PNG, and take that file")
    return _upright(image, Path(bpy.path.abspath(image.filepath, library=image.library)))


def camera_still(scene: bpy.types.Scene) -> Still:
    """Render what the scene's camera sees, with the scene's engine.

    The scene's settings are as before when this returns.

    Raises:
        UnsupportedCamera: the scene has none.
        RuntimeError: the engine's, when it cannot render.
    """
    if scene.camera is None:
        raise UnsupportedCamera("the scene has no camera", "add one that sees the person")
    with tempfile.TemporaryDirectory() as folder, _set_for_still(scene, f"{folder}/still.png"):
        bpy.ops.render.render(write_still=True, scene=scene.name)
        still = read_photo(Path(folder, "still.png"))
    with suppress(UnsupportedCamera):  # an orthographic camera, which another engine rendered
        seen = from_blender(
            lens_of(scene.camera, scene.render), np.array(scene.camera.matrix_world)
        )
        still = replace(still, focal=float(seen.K[0, 0]))
    return still


@contextmanager
def _set_for_still(scene: bpy.types.Scene, path: str) -> Generator[None]:
    render: Any = scene.render
    wanted = [(render, "filepath", path), (render, "use_file_extension", False)]
    wanted += [(render.image_settings, name, value) for name, value in _STILL.items()]
    before: list[tuple[Any, str, Any]] = []
    try:
        for holder, name, value in wanted:
            if hasattr(holder, name):  # there are media types since Blender 5.0
                before.append((holder, name, getattr(holder, name)))
                setattr(holder, name, value)
        yield
    finally:
        for holder, name, value in before:  # in this order, too: the format decides about depths
            setattr(holder, name, value)
