"""Reads the uncompressed float32 multilayer EXR that Blender writes. No bpy.

Blender gives scripts no other way to a render's passes in the background. Blender 4 writes one
part with channels `ViewLayer.Pass.C`, Blender 5 one part per pass.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from ..contract.errors import InternalError

if TYPE_CHECKING:
    from numpy.typing import NDArray

_MAGIC = 20000630
_MULTIPART = 0x1000
_FLOAT = 2


@dataclass
class _Part:
    name: str = ""
    channels: list[str] = field(default_factory=list[str])
    left: int = 0
    top: int = 0
    columns: int = 0
    rows: int = 0


def read_exr(data: bytes) -> dict[str, NDArray[np.float32]]:
    """Return the channels of a file by name, each (H, W) float32, top row first.

    Raises:
        InternalError: not such a file, or cut off.
    """
    try:
        return _read(data)
    except (struct.error, IndexError, ValueError) as error:
        raise InternalError(f"Blender's EXR cannot be read: {error}") from error


def _read(data: bytes) -> dict[str, NDArray[np.float32]]:
    magic, version = struct.unpack_from("<II", data)
    if magic != _MAGIC:
        raise ValueError("it is no EXR file")
    multipart = bool(version & _MULTIPART)
    position, parts = 8, list[_Part]()
    while True:
        part, position = _header(data, position)
        parts.append(part)
        if not multipart:
            break
        if data[position] == 0:
            position += 1
            break
    tables: list[tuple[int, ...]] = []
    for part in parts:
        tables.append(struct.unpack_from(f"<{part.rows}Q", data, position))
        position += 8 * part.rows
    found: dict[str, NDArray[np.float32]] = {}
    for part, places in zip(parts, tables, strict=True):
        found |= _channels(data, part, places, skip=4 if multipart else 0)
    return found


def _header(data: bytes, position: int) -> tuple[_Part, int]:
    part = _Part()
    while data[position] != 0:
        name, position = _text(data, position)
        _kind, position = _text(data, position)
        (size,) = struct.unpack_from("<i", data, position)
        value = data[position + 4 : position + 4 + size]
        position += 4 + size
        if name == "channels":
            part.channels = _channel_list(value)
        elif name == "dataWindow":
            left, top, right, bottom = struct.unpack("<4i", value)
            part.left, part.top = left, top
            part.columns, part.rows = right - left + 1, bottom - top + 1
        elif name == "compression" and value[0] != 0:
            raise ValueError("it is compressed")
        elif name == "name":
            part.name = value.decode()
    return part, position + 1


def _text(data: bytes, position: int) -> tuple[str, int]:
    end = data.index(b"\0", position)
    return data[position:end].decode(), end + 1


def _channel_list(value: bytes) -> list[str]:
    names, position = list[str](), 0
    while value[position] != 0:
        name, position = _text(value, position)
        (kind,) = struct.unpack_from("<i", value, position)
        if kind != _FLOAT:
            raise ValueError(f"the channel {name} is not float32")
        names.append(name)
        position += 16
    return names


def _channels(
    data: bytes, part: _Part, places: tuple[int, ...], skip: int
) -> dict[str, NDArray[np.float32]]:
    count = len(part.channels)
    image = np.zeros((part.rows, count, part.columns), np.float32)
    for place in places:
        row, _size = struct.unpack_from("<ii", data, place + skip)
        values = np.frombuffer(data, "<f4", count * part.columns, place + skip + 8)
        image[row - part.top] = values.reshape(count, part.columns)
    prefix = f"{part.name}." if part.name else ""
    return {
        name if name.startswith(prefix) else prefix + name: image[:, index]
        for index, name in enumerate(part.channels)
    }
