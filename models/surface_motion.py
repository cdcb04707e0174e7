"""Surface samples whose UV is differentiable in the mesh and the camera.

The rasteriser decides which face each sub-pixel sees, and that decision has no gradient: a
silhouette does not move, only what is seen inside it slides over the surface. With the face held
fixed, the UV that a sub-pixel sees is a smooth function of the face's three projected corners; it
is recomputed here in torch by the rasteriser's own formula, so that values agree and gradients
flow. The footprint, which chooses the mip level, counts as constant.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from models import surface_warp
from models.raster import check_mesh, supersampled
from models.surface import SurfaceSamples, samples_of

if TYPE_CHECKING:
    from torch import Tensor

_STEEPEST = 1e-2
"""Least ratio of a face's doubled area to the products that it is the difference of: faces seen
more edge-on than this give no gradient, which would be huge and mean nothing."""


def moving_samples(
    vertices: Tensor,
    faces: Tensor,
    corner_uv: Tensor,
    K: Tensor,
    size: tuple[int, int],
    *,
    supersampling: int = 2,
    near: float = 0.01,
) -> SurfaceSamples:
    """Do what `surface.surface_samples` does, with UVs differentiable in vertices and K.

    Args:
        vertices: (B, V, 3) float32 in camera space, metres.
        faces: (F, 3) vertex indices.
        corner_uv: (F, 3, 2) float32 UV of each face's corners.
        K: (B, 3, 3) float32 intrinsics in pixels of the final image, corner origin.
        size: (height, width) of the final image.
        supersampling: sub-pixels per pixel and axis.
        near: least visible depth in metres.
    """
    check_mesh(vertices, faces, K, size, near)
    keys, mesh = surface_warp.draw(
        vertices.detach().contiguous(),
        faces.to(torch.int32).contiguous(),
        supersampled(K.detach(), supersampling),
        (size[0] * supersampling, size[1] * supersampling),
        near,
    )
    samples = samples_of(keys, mesh, corner_uv, (vertices.shape[0], *size), supersampling)
    image, face, place = _sights(keys, size, supersampling)
    uv = _uv_at(vertices, faces, corner_uv, supersampled(K, supersampling), image, face, place)
    return SurfaceSamples(
        samples.shape,
        samples.supersampling,
        samples.pixel,
        samples.offset,
        uv,
        samples.footprint,
        samples.depth,
    )


def _sights(
    keys: Tensor, size: tuple[int, int], supersampling: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Return image (N,), face (N,) and place (N, 2) of all samples, in the order of pixels.

    Places are centres of sub-pixels: x, y in pixels of the supersampled image.
    """
    height, width = size
    s = supersampling
    by_pixel = keys.view(-1, height, s, width, s).permute(0, 1, 3, 2, 4).reshape(-1, s * s)
    pixel, part = (by_pixel != -1).nonzero(as_tuple=True)
    # The lower 32 bits of a key are the face.
    face = by_pixel[pixel, part] & 0xFFFFFFFF
    row = (pixel // width) % height * s + part // s
    column = pixel % width * s + part % s
    place = torch.stack([column, row], dim=1).to(torch.float32) + 0.5
    return pixel // (height * width), face, place


def _uv_at(
    vertices: Tensor,
    faces: Tensor,
    corner_uv: Tensor,
    K: Tensor,
    image: Tensor,
    face: Tensor,
    place: Tensor,
) -> Tensor:
    """Return the UV (N, 2) at places of faces, perspective-correct (`raster_warp.seen_at`)."""
    # Homogeneous pixels (x z, y z, z) of every vertex: no vertex is divided by its depth.
    projected = vertices @ K.transpose(1, 2)
    corners = faces.long()[face] + (image * vertices.shape[1])[:, None]
    points = projected.flatten(0, 1).index_select(0, corners.flatten()).view(-1, 3, 3)
    x, y = (points[..., k] - place[:, k : k + 1] * points[..., 2] for k in (0, 1))
    # Entries k are the products of the corners after k: b_k = x_{k+1} y_{k+2} − x_{k+2} y_{k+1}.
    first, second = x.roll(-1, 1) * y.roll(-2, 1), x.roll(-2, 1) * y.roll(-1, 1)
    weights = first - second
    total = weights.sum(dim=1, keepdim=True)
    with torch.no_grad():
        steep = total.abs() < _STEEPEST * first.abs().sum(dim=1, keepdim=True)
    weights = torch.where(steep, weights.detach(), weights)
    total = torch.where(steep, total.detach(), total)
    return ((weights / total)[..., None] * corner_uv[face]).sum(dim=1)
