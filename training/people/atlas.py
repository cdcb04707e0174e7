"""Texture atlases of pieces of surface: the body's own for skin, and one of small cells for the rest.

In a cell atlas two triangles of like size share a square cell, each with a border of texels whose
values go on beyond the triangle's sides, so that filtering finds the same values on both sides
of a seam.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from models.raster import rasterize

Array = NDArray[np.float64]
Faces = NDArray[np.int64]

_PAD, _GAP = 1.5, 3.0
_SMALLEST, _LARGEST = 8, 96


@dataclass(frozen=True)
class Texels:
    """The texels of a square texture that show something.

    Attributes:
        size: texels along a side.
        index: (N,) flat index, row 0 at the top.
        face: (N,) face that each shows.
        share: (N, 3) barycentrics; beyond 0…1 in the borders of cells.
        footprint: metres between two texels.
    """

    size: int
    index: NDArray[np.int64]
    face: NDArray[np.int64]
    share: NDArray[np.float32]
    footprint: float

    def values(self, corners: Faces, attributes: NDArray[np.floating]) -> NDArray[np.float32]:
        """Interpolate (V, k) attributes of faces (F, 3) at the texels: (N, k)."""
        picked = attributes.astype(np.float32)[corners[self.face]]
        return np.einsum("nck,nc->nk", picked, self.share)


def cell_atlas(vertices: Array, faces: Faces, size: int) -> tuple[NDArray[np.float32], Texels]:
    """Lay faces out in cells, as finely as the texture allows.

    Args:
        vertices: (V, 3) metres.
        faces: (F, 3).
        size: texels along a side of the texture.

    Returns:
        (F, 3, 2) UVs of each face's corners, v up, and the texels.

    Raises:
        ValueError: so many faces do not fit, even in the smallest cells.
    """
    turned, first = _right_angle_first(vertices, faces)
    legs = np.linalg.norm(vertices[turned[:, 1:]] - vertices[turned[:, :1]], axis=2).max(axis=1)
    order = np.argsort(-legs, kind="stable")
    longest = legs[order[::2]]
    density, side = _fit(longest, size)
    corner = _packed(side, size)
    if corner is None:
        raise ValueError(f"{len(faces)} faces do not fit {size}² texels")
    uv = np.empty((len(faces), 3, 2))
    parts: list[tuple[NDArray[np.int64], ...]] = []
    shares: list[NDArray[np.float64]] = []
    for half in range(2):
        mine = order[half::2]
        n, place = side[: len(mine)], corner[: len(mine)]
        leg = n - 2 * _PAD - _GAP
        flat = np.stack([0 * leg, 0 * leg, leg, 0 * leg, 0 * leg, leg], 1).reshape(-1, 3, 2) + _PAD
        if half:
            flat = n[:, None, None] - flat
        uv[mine] = place[:, None] + flat
        for cell in np.unique(n):
            these = n == cell
            row, column = np.divmod(np.arange(cell * cell), cell)
            away = np.stack([column, row], 1) + 0.5
            inside = away.sum(axis=1) < cell if not half else away.sum(axis=1) >= cell
            spot = away[inside] if not half else cell - away[inside]
            share = (spot - _PAD) / (cell - 2 * _PAD - _GAP)
            share = np.concatenate([1 - share.sum(axis=1, keepdims=True), share], axis=1)
            x = place[these, :1] + column[inside]
            y = place[these, 1:] + row[inside]
            faces_here = np.broadcast_to(mine[these][:, None], x.shape)
            parts.append(((y * size + x).ravel(), faces_here.ravel()))
            shares.append(np.tile(share, (int(these.sum()), 1)))
    index = np.concatenate([part[0] for part in parts])
    face = np.concatenate([part[1] for part in parts])
    share = _turned_back(np.concatenate(shares), first[face])
    uv = _turned_back(uv.swapaxes(1, 2), first[:, None]).swapaxes(1, 2)
    uv = uv / size
    uv[..., 1] = 1 - uv[..., 1]
    texels = Texels(size, index, face, share.astype(np.float32), 1 / density)
    return uv.astype(np.float32), texels


def own_atlas(
    vertices: Array, faces: Faces, uv: NDArray[np.floating], uv_faces: Faces, size: int
) -> Texels:
    """Return the texels of a mesh that has UVs of its own.

    Args:
        vertices: (V, 3) metres.
        faces: (F, 3) vertex indices.
        uv: (T, 2), v up.
        uv_faces: (F, 3) UV indices.
        size: texels along a side.
    """
    flat = np.stack([uv[:, 0] * size, (1 - uv[:, 1]) * size, np.ones(len(uv))], axis=1)
    fragments = rasterize(
        torch.from_numpy(flat.astype(np.float32))[None],
        torch.from_numpy(uv_faces.astype(np.int32)),
        torch.eye(3)[None],
        (size, size),
    )
    face = fragments.face[0].numpy().ravel()
    index = np.flatnonzero(face >= 0)
    share = fragments.barycentric[0].numpy().reshape(-1, 3)[index]
    a, b, c = (vertices[faces[:, k]] for k in range(3))
    area = np.linalg.norm(np.cross(b - a, c - a), axis=1).sum() / 2
    return Texels(
        size, index, face[index].astype(np.int64), share, float(np.sqrt(area / len(index)))
    )


def _right_angle_first(vertices: Array, faces: Faces) -> tuple[Faces, NDArray[np.int64]]:
    """Turn each face so that its widest corner comes first; return how far it was turned."""
    points = vertices[faces]
    opposite = np.linalg.norm(points[:, [2, 0, 1]] - points[:, [1, 2, 0]], axis=2)
    first = opposite.argmax(axis=1)
    order = (first[:, None] + np.arange(3)) % 3
    return np.take_along_axis(faces, order, axis=1), first


def _turned_back(values: NDArray[np.floating], first: NDArray[np.int64]) -> NDArray[np.floating]:
    """Undo `_right_angle_first` along the last axis."""
    order = (np.arange(3) - first[..., None]) % 3
    return np.take_along_axis(values, np.broadcast_to(order, values.shape), axis=-1)


def _fit(longest: Array, size: int) -> tuple[float, NDArray[np.int64]]:
    """Return the highest density (texels per metre) at which the cells fit, and their sides."""
    low, high = 1.0, 40_000.0
    for _ in range(40):
        middle = float(np.sqrt(low * high))
        if _packed(_sides(longest, middle), size) is None:
            high = middle
        else:
            low = middle
    return low, _sides(longest, low)


def _sides(longest: Array, density: float) -> NDArray[np.int64]:
    side = np.ceil(longest * density + 2 * _PAD + _GAP).astype(np.int64)
    return np.clip(side, _SMALLEST, _LARGEST)


def _packed(side: NDArray[np.int64], size: int) -> NDArray[np.int64] | None:
    """Return the (N, 2) corners of cells in rows of one side length, or None."""
    if int(side.max()) > size:
        return None
    corner = np.empty((len(side), 2), np.int64)
    top = 0
    for cell in np.unique(side)[::-1]:
        these = np.flatnonzero(side == cell)
        per_row = size // int(cell)
        row, column = np.divmod(np.arange(len(these)), per_row)
        corner[these] = np.stack([column * cell, top + row * cell], axis=1)
        top += (int(row[-1]) + 1) * int(cell)
        if top > size:
            return None
    return corner
