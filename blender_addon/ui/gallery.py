"""The avatars, wardrobes and portraits of the library as galleries with pictures."""

# pyright: reportAttributeAccessIssue=false, reportOptionalMemberAccess=false
# pyright: reportIncompatibleMethodOverride=false, reportMissingModuleSource=false
# (Blender's stubs: unions of all data types, Optionals that never are None, other parameter names)

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import bpy
import bpy.utils.previews
import numpy as np

from .. import library

if TYPE_CHECKING:
    from numpy.typing import NDArray

ICON_SIDE = 128

_PROGRESS = "an avatar in the making"

_icons: Any = None
_shown_preview: NDArray[np.uint8] | None = None
_shown: dict[str, tuple[str, str, str, int, int]] = {}
_items: list[tuple[str, str, str, int, int]] = []
_portrait_items: list[tuple[str, str, str, int, int]] = []
_wardrobe_items: list[tuple[str, str, str, int, int]] = []


def items(_self: Any, _context: bpy.types.Context | None) -> list[tuple[str, str, str, int, int]]:
    """Return the gallery's entries; Blender needs the same objects again and again."""
    return _items or [_EMPTY]


def portrait_items(
    _self: Any, _context: bpy.types.Context | None
) -> list[tuple[str, str, str, int, int]]:
    """Return the entries of the gallery of portraits."""
    return _portrait_items or [_NO_PORTRAITS]


def wardrobe_items(
    _self: Any, _context: bpy.types.Context | None
) -> list[tuple[str, str, str, int, int]]:
    """Return the wardrobes to choose from."""
    return _wardrobe_items or [_NO_WARDROBES]


_EMPTY = ("", "No avatars yet", "Start the server, then Refresh", 0, 0)
_NO_PORTRAITS = ("", "No portraits yet", "Start the server, then Refresh", 0, 0)
_NO_WARDROBES = ("", "No wardrobe yet", "Start the server, then Refresh", 0, 0)


def refresh() -> None:
    """Rebuild the entries from what the library is known to hold (main thread only)."""
    for items_of, entries in (
        (_items, library.known.avatars),
        (_portrait_items, library.known.portraits),
        (_wardrobe_items, library.known.wardrobes),
    ):
        items_of.clear()
        items_of.extend(_entry(number, entry) for number, entry in enumerate(entries))


def show(scene: str, kind: str, identity: str) -> None:
    """List the library anew, and choose one of it in a scene's gallery (main thread only).

    Args:
        scene: its name; it may be gone.
        kind: "avatar" or "portrait".
        identity: of the package.
    """
    refresh()
    found = bpy.data.scenes.get(scene)
    if found is not None:
        with contextlib.suppress(TypeError):  # a gallery that was emptied meanwhile
            setattr(found.dressform, kind, identity)


def _entry(
    number: int, model: library.Avatar | library.PortraitEntry
) -> tuple[str, str, str, int, int]:
    # By the digest too: an avatar that was replaced has another face.
    icon = _icon(f"{model.id} {model.digest}", library.known.previews.get(model.id))
    text = f"{model.name} ({model.licence})" if model.licence else model.name
    entry = (model.id, model.name, text, icon, number)
    # Blender keeps pointers to these texts: keep every one that it was ever shown.
    return _shown.setdefault(f"{entry}", entry)


def picture_icon(key: str, picture: NDArray[np.uint8] | None) -> int:
    """Return the icon of a picture (H, W, 3) uint8 sRGB; 0 when there is none.

    Args:
        key: names the picture's content; known ones are not made again.
    """
    return known_icon(key) or _icon(key, None if picture is None else whole_picture(picture))


def known_icon(key: str) -> int:
    """Return the icon of a picture that `picture_icon` was given before; 0 otherwise."""
    return _icons[key].icon_id if _icons is not None and key in _icons else 0


def forget_icon(key: str) -> None:
    """Free the icon of a picture that is not shown any more."""
    if _icons is not None:
        _icons.pop(key, None)


def whole_picture(picture: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return (H, W, 3) bytes as (H, W, 4) floats."""
    whole = np.ones((*picture.shape[:2], 4), np.float32)
    whole[..., :3] = picture / np.float32(255)
    return whole


def progress_icons(preview: NDArray[np.uint8] | None) -> list[int]:
    """Return the icons of the last picture of somebody in the making; none when there is none yet.

    A picture of two squares, what was given and what was made of it, has an icon for each: side by
    side they fill a panel.

    Args:
        preview: (H, W, 3) sRGB; the same array again is not looked at again.
    """
    global _shown_preview  # noqa: PLW0603 - belongs to the preview collection
    if _icons is None or preview is None:
        return []
    pictures = _squares(preview)
    names = [f"{_PROGRESS} {number}" for number in range(len(pictures))]
    if preview is not _shown_preview:
        _shown_preview = preview
        for name, picture in zip(names, pictures, strict=True):
            _icons.pop(name, None)
            _set_pixels(_icons.new(name), whole_picture(picture))
    return [_icons[name].icon_id for name in names]


def _squares(picture: NDArray[np.uint8]) -> list[NDArray[np.uint8]]:
    height, width = picture.shape[:2]
    if height == 2 * width:
        return [picture[:width], picture[width:]]
    return [picture[:, :height], picture[:, height:]] if width == 2 * height else [picture]


def _icon(key: str, preview: NDArray[np.float32] | None) -> int:
    if _icons is None or preview is None:
        return 0
    if key not in _icons:
        _set_pixels(_icons.new(key), preview)
    return _icons[key].icon_id


def _set_pixels(image: Any, picture: NDArray[np.float32]) -> None:
    small = _fitted(picture)
    image.image_size = (small.shape[1], small.shape[0])
    image.image_pixels_float = np.ascontiguousarray(small[::-1]).ravel().tolist()


def _fitted(image: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the picture at most `ICON_SIDE` long, by averaging blocks."""
    step = -(-max(image.shape[:2]) // ICON_SIDE)
    height, width = (side // step * step for side in image.shape[:2])
    blocks = image[:height, :width].reshape(height // step, step, width // step, step, 4)
    return blocks.mean(axis=(1, 3))


def register() -> None:
    """Make room for the pictures."""
    global _icons  # noqa: PLW0603 - Blender's preview collections are module state
    _icons = bpy.utils.previews.new()


def unregister() -> None:
    """Free the pictures."""
    global _icons  # noqa: PLW0603
    _items.clear()
    _portrait_items.clear()
    _wardrobe_items.clear()
    if _icons is not None:
        bpy.utils.previews.remove(_icons)
        _icons = None
