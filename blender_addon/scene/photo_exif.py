"""What a photograph's file says of it: how it is to be turned, and its lens. No bpy.

Blender reads neither. Source: Exif 2.3 (CIPA DC-008), and how JPEG, PNG and WebP carry it.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

_ORIENTATION, _EXIF_BLOCK, _FOCAL_35 = 0x0112, 0x8769, 0xA405
_PARTS = {3: "H", 4: "I"}
"""TIFF's types of the numbers that are wanted: short and long."""
_LARGEST = 64 << 20
"""Bytes of a file that are looked at: what is wanted stands at the beginning of all but PNG."""


@dataclass(frozen=True, kw_only=True)
class PhotoFacts:
    """What a file says of its photograph.

    Attributes:
        orientation: 1…8, as in Exif; 1 is upright.
        film_focal: focal length on film of 36 mm (full frame), or None when it is not told.
    """

    orientation: int = 1
    film_focal: float | None = None

    def upright(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return the stored image (H, W, …) turned so that up is up."""
        if self.orientation >= 5:
            image = np.swapaxes(image, 0, 1)
        # The stored first row is at the left and the right, stored columns go down and up.
        if self.orientation in (2, 3, 6, 7):
            image = image[:, ::-1]
        if self.orientation in (3, 4, 7, 8):
            image = image[::-1]
        return np.ascontiguousarray(image)


def read_facts(path: Path) -> PhotoFacts:
    """Return what a picture file says; nothing for files without Exif, or with damaged Exif."""
    try:
        with path.open("rb") as file:
            block = _exif_of(file.read(_LARGEST))
        return _facts(block)
    except (OSError, struct.error, IndexError):
        return PhotoFacts()


def _facts(tiff: bytes) -> PhotoFacts:
    if tiff[:2] not in (b"II", b"MM"):
        return PhotoFacts()
    order = "<" if tiff[:2] == b"II" else ">"
    first = _numbers(tiff, order, struct.unpack_from(f"{order}I", tiff, 4)[0])
    inner = _numbers(tiff, order, first[_EXIF_BLOCK]) if _EXIF_BLOCK in first else {}
    orientation, focal = first.get(_ORIENTATION, 1), inner.get(_FOCAL_35, 0)
    return PhotoFacts(
        orientation=orientation if 1 <= orientation <= 8 else 1,
        film_focal=float(focal) if 5 <= focal <= 1000 else None,
    )


def _numbers(tiff: bytes, order: str, start: int) -> dict[int, int]:
    """Return the single whole numbers of a directory by their tags."""
    found: dict[int, int] = {}
    (count,) = struct.unpack_from(f"{order}H", tiff, start)
    for place in range(start + 2, start + 2 + 12 * count, 12):
        tag, kind, many = struct.unpack_from(f"{order}HHI", tiff, place)
        if kind in _PARTS and many == 1:
            (found[tag],) = struct.unpack_from(f"{order}{_PARTS[kind]}", tiff, place + 8)
    return found


def _exif_of(data: bytes) -> bytes:
    """Return the TIFF structure inside a picture file; empty when there is none."""
    if data[:2] == b"\xff\xd8":
        return _exif_of_jpeg(data)
    if data[:8] == b"\x89PNG\r\n\x1a\n":
        return _chunk(data, 8, b"eXIf", ">I4s", after=4)
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        block = _chunk(data, 12, b"EXIF", "<4sI", even=True)
        return block.removeprefix(b"Exif\0\0")
    return data if data[:4] in (b"II*\0", b"MM\0*") else b""


def _exif_of_jpeg(data: bytes) -> bytes:
    place = 2
    while place + 4 <= len(data):
        mark, kind, size = struct.unpack_from(">BBH", data, place)
        if mark != 0xFF or kind == 0xDA:  # the picture itself begins
            break
        if kind == 0xE1 and data[place + 4 : place + 10] == b"Exif\0\0":
            return data[place + 10 : place + 2 + size]
        place += 2 + size
    return b""


def _chunk(
    data: bytes, place: int, wanted: bytes, header: str, *, after: int = 0, even: bool = False
) -> bytes:
    """Return the content of the first chunk of a name.

    Args:
        header: struct of a chunk's size and name, in the order of the file.
        after: bytes behind the content (PNG's checksum).
        even: whether contents are padded to an even size (RIFF).
    """
    while place + 8 <= len(data):
        one, other = struct.unpack_from(header, data, place)
        name, size = (one, other) if isinstance(one, bytes) else (other, one)
        if name == wanted:
            return data[place + 8 : place + 8 + size]
        place += 8 + size + after + (size % 2 if even else 0)
    return b""
