"""Label maps as Blender images, and a palette and brush to paint them with."""

# pyright: reportAttributeAccessIssue=false, reportOptionalMemberAccess=false
# pyright: reportIncompatibleMethodOverride=false, reportMissingModuleSource=false
# (Blender's stubs: unions of all data types, Optionals that never are None, other parameter names)

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import bpy
import numpy as np

from ..contract.labels import PALETTE, labels_to_colors

if TYPE_CHECKING:
    from numpy.typing import NDArray

PALETTE_NAME = "Dressform Labels"


def label_image(name: str, labels: NDArray[np.uint8]) -> bpy.types.Image:
    """Return a new image of a label map in the palette's colours, packed into the file.

    Args:
        labels: (H, W) uint8, top row first.
    """
    height, width = labels.shape
    image = bpy.data.images.new(name, width, height, alpha=False)
    pixels = np.ones((height, width, 4), np.float32)
    pixels[..., :3] = labels_to_colors(labels[::-1]) / np.float32(255)
    image.pixels.foreach_set(pixels.ravel())
    image.update()
    image.pack()
    return image


def use_label_palette(scene: bpy.types.Scene) -> bpy.types.Palette:
    """Let image painting offer the labels' colours, with a brush that has no soft edge."""
    palette = bpy.data.palettes.get(PALETTE_NAME)
    if palette is None:
        palette = bpy.data.palettes.new(PALETTE_NAME)
        palette.use_fake_user = True
    palette.colors.clear()
    for color in PALETTE:
        entry = palette.colors.new()
        entry.color = ui_color(entry, color)
    paint = scene.tool_settings.image_paint
    paint.palette = palette
    if paint.brush is not None:
        _sharpen(paint.brush)
    return palette


def ui_color(owner: Any, color: NDArray[np.uint8]) -> tuple[float, float, float]:
    """Return an sRGB byte colour as a brush's or palette's `color` holds it.

    Until Blender 4.5 these are sRGB values, from 5.0 on linear ones; the property says which.
    """
    from ..engine.pixels import linear_from_srgb

    values = color.astype(np.float64) / 255.0
    if owner.bl_rna.properties["color"].subtype == "COLOR":
        values = linear_from_srgb(values)
    red, green, blue = (float(value) for value in values)
    return red, green, blue


def _sharpen(brush: Any) -> None:
    """Take everything off a brush that would mix two labels' colours."""
    brush.strength, brush.blend = 1.0, "MIX"
    brush.use_paint_antialiasing = False
    # Blender 5 renamed it.
    for name in ("curve_distance_falloff_preset", "curve_preset"):
        if hasattr(brush, name):
            setattr(brush, name, "CONSTANT")
            return


def pack_painted(objects: Any) -> int:
    """Pack painted label maps that were changed into the file; return how many were."""
    count = 0
    for ob in objects:
        image = ob.dressform_portrait.painted
        if image is not None and image.is_dirty:
            image.pack()
            count += 1
    return count
