"""Materials of the synthetic people as textures: what the renderer draws per pixel, per texel."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image
from scipy.ndimage import distance_transform_edt

from training.people.materials import Pixels

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from training.people.atlas import Faces, Texels
    from training.people.materials import Look

_CHUNK = 1 << 19


@dataclass(frozen=True)
class Textures:
    """A piece's textures as PNG files.

    Attributes:
        albedo: sRGB colour.
        roughness: linear grey, 0…1.
    """

    albedo: bytes
    roughness: bytes


def bake(
    texels: Texels,
    corners: Faces,
    static: NDArray[np.float32],
    look: Callable[[Pixels, NDArray[np.float32]], Look],
    roughness: tuple[float, float],
    *,
    spread: bool,
) -> Textures:
    """Evaluate a material at every texel.

    Args:
        texels: of an atlas.
        corners: (F, 3) faces, indices into `static`.
        static: (V, 12) values of `figures.Figure`.
        look: the material, from pixels and their hand share.
        roughness: of no gloss and of gloss 1.
        spread: fill the texels beside the atlas's islands with their neighbours' colour.
    """
    count = texels.size * texels.size
    color = np.zeros((count, 3), np.uint8)
    rough = np.full(count, 128, np.uint8)
    for start in range(0, len(texels.index), _CHUNK):
        part = slice(start, start + _CHUNK)
        picked = static[corners[texels.face[part]]]
        values = np.einsum("nck,nc->nk", picked, texels.share[part])
        pixels = Pixels(
            paint=values[:, :3],
            rest=values[:, 3:6],
            coords=values[:, 6:8],
            edge=values[:, 8],
            palm=values[:, 9],
            footprint=texels.footprint,
        )
        seen = look(pixels, values[:, 11])
        color[texels.index[part]] = np.rint(255 * srgb(seen.albedo))
        share = np.clip(seen.gloss, 0, 1)
        mixed = roughness[0] + (roughness[1] - roughness[0]) * share
        rough[texels.index[part]] = np.rint(255 * np.clip(mixed, 0, 1))
    if spread:
        covered = np.zeros(count, bool)
        covered[texels.index] = True
        color, rough = _spread(covered, texels.size, color, rough)
    side = (texels.size, texels.size)
    return Textures(_png(color.reshape(*side, 3)), _png(rough.reshape(side)))


def srgb(light: NDArray[np.floating]) -> NDArray[np.float32]:
    """Turn linear light 0…1 into straight sRGB, without a shoulder."""
    light = np.clip(light, 0, 1)
    return np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055).astype(
        np.float32
    )


def _spread(
    covered: NDArray[np.bool_], size: int, *images: NDArray[np.uint8]
) -> list[NDArray[np.uint8]]:
    near: NDArray[np.int32] = distance_transform_edt(  # pyright: ignore[reportAssignmentType]
        ~covered.reshape(size, size), return_distances=False, return_indices=True
    )
    flat = (near[0] * size + near[1]).ravel()
    return [image[flat] for image in images]


def _png(image: NDArray[np.uint8]) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(image).save(stream, "PNG", compress_level=4)
    return stream.getvalue()
