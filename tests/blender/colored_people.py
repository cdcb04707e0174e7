"""People who are colours, with heads in the upper third of a frame: tests know every pixel.

For servers (wardrobe_handlers.py) and for Blender's Python, which has no server.
"""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING

import numpy as np

from blender_addon.contract.avatar_look import AvatarLook, LookSource

if TYPE_CHECKING:
    from numpy.typing import NDArray


def color_of(source: LookSource, avatar: str) -> NDArray[np.float64]:
    """(3,) 0…1 of somebody."""
    named = f"seed {source.seed}" if source.seed is not None else source.avatar or avatar
    return np.random.default_rng(zlib.crc32(named.encode())).uniform(0.1, 0.9, 3)


def picture(look: AvatarLook | None, avatar: str, height: int, width: int) -> NDArray[np.uint8]:
    """(height, width, 3) uint8: the person's colour, and above it the head's."""
    look = look or AvatarLook()
    whole = np.zeros(3)
    for source, weight in look.sources:
        whole += weight * color_of(source, avatar)
    for index, amount in look.directions:
        whole[index] += 0.1 * amount
    head, amount = look.parts.get("head", (LookSource(), 0.0))
    above = (1 - amount) * whole + amount * color_of(head, avatar)
    shown = np.empty((height, width, 3))
    shown[: height // 3], shown[height // 3 :] = above, whole
    return np.round(np.clip(shown, 0, 1) * 255).astype(np.uint8)
