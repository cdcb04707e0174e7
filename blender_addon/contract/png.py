"""A small PNG encoder: Blender's Python has no image library. Standard library and numpy."""

from __future__ import annotations

import struct
import zlib
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

SIGNATURE = b"\x89PNG\r\n\x1a\n"
_GREY, _COLOUR = 0, 2


def encode_png(pixels: NDArray[np.uint8] | NDArray[np.uint16], *, level: int = 6) -> bytes:
    """Return the bytes of a PNG file; the same pixels give the same bytes.

    Args:
        pixels: (H, W, 3) uint8 for RGB, or (H, W) uint16 for 16-bit grey.
        level: of zlib, 0…9.

    Raises:
        ValueError: any other type or shape.
    """
    if pixels.dtype == np.uint8 and pixels.ndim == 3 and pixels.shape[2] == 3:
        depth, kind, step = 8, _COLOUR, 3
        rows = np.ascontiguousarray(pixels, np.uint8).reshape(pixels.shape[0], -1)
    elif pixels.dtype == np.uint16 and pixels.ndim == 2:
        depth, kind, step = 16, _GREY, 2
        rows = np.ascontiguousarray(pixels.astype(">u2")).view(np.uint8)
    else:
        raise ValueError(f"no PNG is made of {pixels.dtype} of shape {pixels.shape}")
    height, width = pixels.shape[:2]
    header = struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, 0)
    body = zlib.compress(_filtered(rows, step).tobytes(), level)
    return b"".join(
        [SIGNATURE, _chunk(b"IHDR", header), _chunk(b"IDAT", body), _chunk(b"IEND", b"")]
    )


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def _filtered(rows: NDArray[np.uint8], step: int) -> NDArray[np.uint8]:
    """Give each row the filter of least absolute sum, as the PNG specification advises."""
    left, above, corner = np.zeros_like(rows), np.zeros_like(rows), np.zeros_like(rows)
    left[:, step:] = rows[:, :-step]
    above[1:] = rows[:-1]
    corner[1:, step:] = rows[:-1, :-step]
    mean = ((left.astype(np.uint16) + above) // 2).astype(np.uint8)
    # uint8 arithmetic wraps around, which is what the format asks for.
    choices = np.stack(
        [rows, rows - left, rows - above, rows - mean, rows - _paeth(left, above, corner)]
    )
    costs = np.abs(choices.view(np.int8).astype(np.int16)).sum(axis=2, dtype=np.int64)
    best = costs.argmin(axis=0)
    chosen = choices[best, np.arange(len(rows))]
    return np.concatenate([best.astype(np.uint8)[:, None], chosen], axis=1)


def _paeth(
    left: NDArray[np.uint8], above: NDArray[np.uint8], corner: NDArray[np.uint8]
) -> NDArray[np.uint8]:
    a, b, c = (part.astype(np.int16) for part in (left, above, corner))
    to_left, to_above, to_corner = np.abs(b - c), np.abs(a - c), np.abs(a + b - 2 * c)
    found = np.where(
        (to_left <= to_above) & (to_left <= to_corner), a, np.where(to_above <= to_corner, b, c)
    )
    return found.astype(np.uint8)
