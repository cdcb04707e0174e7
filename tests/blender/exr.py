"""Reads uncompressed float32 EXR files as Blender writes them: one part, or one per pass."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from pathlib import Path


def read(path: Path) -> dict[str, np.ndarray]:
    """Return the channels by name, (H, W) float32, top row first."""
    data = path.read_bytes()
    magic, version = struct.unpack_from("<II", data)
    assert magic == 20000630
    multipart = bool(version & 0x1000)
    position, headers = 8, []
    while True:
        header, position = _header(data, position)
        headers.append(header)
        if not multipart:
            break
        if data[position] == 0:
            position += 1
            break
    found: dict[str, np.ndarray] = {}
    heights = [header["rows"] for header in headers]
    offsets = []
    for rows in heights:
        offsets.append(struct.unpack_from(f"<{rows}Q", data, position))
        position += 8 * rows
    for header, places in zip(headers, offsets, strict=True):
        found |= _channels(data, header, places, skip=4 if multipart else 0)
    return found


def _header(data: bytes, position: int) -> tuple[dict, int]:
    header: dict = {}
    while data[position] != 0:
        name, position = _text(data, position)
        _kind, position = _text(data, position)
        (size,) = struct.unpack_from("<i", data, position)
        value = data[position + 4 : position + 4 + size]
        position += 4 + size
        if name == "channels":
            header["channels"] = _channel_list(value)
        elif name == "dataWindow":
            left, top, right, bottom = struct.unpack("<4i", value)
            header |= {"left": left, "top": top}
            header |= {"columns": right - left + 1, "rows": bottom - top + 1}
        elif name == "compression":
            assert value[0] == 0, "the reader knows no compression"
        elif name == "name":
            header["name"] = value.decode()
    return header, position + 1


def _text(data: bytes, position: int) -> tuple[str, int]:
    end = data.index(b"\0", position)
    return data[position:end].decode(), end + 1


def _channel_list(value: bytes) -> list[str]:
    names, position = [], 0
    while value[position] != 0:
        name, position = _text(value, position)
        (kind,) = struct.unpack_from("<i", value, position)
        assert kind == 2, "the reader knows only float32"
        names.append(name)
        position += 16
    return names


def _channels(data: bytes, header: dict, places: tuple, skip: int) -> dict[str, np.ndarray]:
    names, columns = header["channels"], header["columns"]
    image = np.zeros((header["rows"], len(names), columns), np.float32)
    for place in places:
        row, _size = struct.unpack_from("<ii", data, place + skip)
        values = np.frombuffer(data, "<f4", len(names) * columns, place + skip + 8)
        image[row - header["top"]] = values.reshape(len(names), columns)
    prefix = f"{header['name']}." if "name" in header else ""
    return {
        name if name.startswith(prefix) else prefix + name: image[:, index]
        for index, name in enumerate(names)
    }
