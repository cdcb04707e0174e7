"""The avatars of the library as a gallery with pictures."""

# pyright: reportAttributeAccessIssue=false, reportOptionalMemberAccess=false
# pyright: reportIncompatibleMethodOverride=false, reportMissingModuleSource=false
# (Blender's stubs: unions of all data types, Optionals that never are None, other parameter names)

from __future__ import annotations

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


def items(_self: Any, _context: bpy.types.Context | None) -> list[tuple[str, str, str, int, int]]:
    """Return the gallery's entries; Blender needs the same objects again and again."""
    return _items or [_EMPTY]


_EMPTY = ("", "No avatars yet", "Start the server, then Refresh", 0, 0)


def refresh() -> None:
    """Rebuild the entries from what the library is known to hold (main thread only)."""
    known = library.known
    _items.clear()
    for number, avatar in enumerate(known.avatars):
        # By the digest too: an avatar that was replaced has another face.
        icon = _icon(f"{avatar.id} {avatar.digest}", known.previews.get(avatar.id))
        text = f"{avatar.name} ({avatar.licence})" if avatar.licence else avatar.name
        entry = (avatar.id, avatar.name, text, icon, number)
        # Blender keeps pointers to these texts: keep every one that it was ever shown.
        _items.append(_shown.setdefault(f"{entry}", entry))


def progress_icon(preview: NDArray[np.uint8] | None) -> int:
    """Return the icon of the last picture of an avatar in the making; 0 when there is none yet.

    Args:
        preview: (H, W, 3) sRGB; the same array again is not looked at again.
    """
    global _shown_preview  # noqa: PLW0603 - belongs to the preview collection
    if _icons is None or preview is None:
        return 0
    if preview is not _shown_preview:
        _shown_preview = preview
        whole = np.ones((*preview.shape[:2], 4), np.float32)
        whole[..., :3] = preview / np.float32(255)
        _icons.pop(_PROGRESS, None)
        _set_pixels(_icons.new(_PROGRESS), whole)
    return _icons[_PROGRESS].icon_id


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
    if _icons is not None:
        bpy.utils.previews.remove(_icons)
        _icons = None
