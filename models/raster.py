"""From meshes to pixels: which triangle each pixel sees, where on it, and how far away.

One interface over two backends: `warp` (default, CPU and CUDA) and `pytorch3d` (optional).
Vertices are in OpenCV camera space (x right, y down, z forward, metres); intrinsics are in
pixels with the origin in the image's corner, so the first pixel's centre is (0.5, 0.5).
Visibility has no gradient; `barycentrics` recomputes the coordinates inside the visible faces
differentiably, and `interpolate` is differentiable with respect to the attributes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import torch

from blender_addon.contract.errors import BadParameter
from models import operators

if TYPE_CHECKING:
    from torch import Tensor

Backend = Literal["warp", "pytorch3d"]


@dataclass(frozen=True)
class Fragments:
    """What a batch of images sees.

    Attributes:
        face: (B, H, W) int32 face ids, −1 where empty.
        barycentric: (B, H, W, 3) float32, perspective-correct, of the face's three corners,
            0 where empty.
        depth: (B, H, W) float32 camera-space z in metres, inf where empty.
    """

    face: Tensor
    barycentric: Tensor
    depth: Tensor

    @property
    def covered(self) -> Tensor:
        """(B, H, W) bool: where a face is seen."""
        return self.face >= 0


def rasterize(
    vertices: Tensor,
    faces: Tensor,
    K: Tensor,
    size: tuple[int, int],
    *,
    near: float = 0.01,
    backend: Backend = "warp",
) -> Fragments:
    """Find the nearest face at every pixel centre of a batch of images.

    Faces are seen from both sides. What lies nearer than `near` is cut away exactly: ids and
    barycentrics still refer to the whole face. Triangles without area and those with a vertex
    that is not finite are not drawn. Equal depths go to the lower face id: the same input gives
    the same bytes.

    Args:
        vertices: (B, V, 3) float32 in camera space, metres.
        faces: (F, 3) int32 or int64 vertex indices, shared by the batch.
        K: (B, 3, 3) float32 pinhole intrinsics in pixels, corner origin, last row (0, 0, 1).
        size: (height, width) of the images in pixels.
        near: least visible depth in metres, above 0.
        backend: `warp`, or `pytorch3d` if it is installed.

    Raises:
        BadParameter: shapes, dtypes, devices or indices do not fit together.
        MissingExtra: the backend is not installed.
    """
    check_mesh(vertices, faces, K, size, near)
    if backend == "pytorch3d":
        from models import raster_pytorch3d

        face, barycentric, depth = raster_pytorch3d.fragments(vertices, faces, K, size, near)
    else:
        face, barycentric, depth = operators.rasterize(
            vertices.detach().contiguous(),
            faces.to(torch.int32).contiguous(),
            K.detach().contiguous(),
            size[0],
            size[1],
            near,
        )
    return Fragments(face, barycentric, depth)


def interpolate(fragments: Fragments, corner_attributes: Tensor) -> Tensor:
    """Interpolate attributes of face corners over the visible surface.

    Args:
        fragments: what the images see.
        corner_attributes: (F, 3, C) or, one set per image, (B, F, 3, C) floats; for attributes
            of vertices pass `attributes[faces]`, for UVs `uv[uv_faces]`.

    Returns:
        (B, H, W, C), 0 where empty; differentiable with respect to the attributes and, if the
        fragments' barycentrics are, to those.
    """
    where = fragments.covered
    barycentric = fragments.barycentric[where]
    face = fragments.face[where].long()
    if corner_attributes.ndim == 4:
        image = where.nonzero()[:, 0]
        corners = corner_attributes[image, face]
    else:
        corners = corner_attributes[face]
    values = (barycentric.to(corners.dtype)[:, :, None] * corners).sum(dim=1)
    shape = (*fragments.face.shape, corner_attributes.shape[-1])
    return values.new_zeros(shape).masked_scatter(where[..., None].expand(shape), values)


def barycentrics(vertices: Tensor, faces: Tensor, K: Tensor, fragments: Fragments) -> Tensor:
    """Recompute the barycentrics of the visible faces, differentiably.

    Args:
        vertices: (B, V, 3) in camera space, metres.
        faces: (F, 3) vertex indices.
        K: (B, 3, 3) intrinsics in pixels.
        fragments: what `rasterize` returned for these; only its face ids are used.

    Returns:
        (B, H, W, 3), 0 where empty, differentiable with respect to vertices and K. Which face a
        pixel sees is taken as constant: silhouettes have no gradient.
    """
    where = fragments.covered
    image, row, column = where.nonzero(as_tuple=True)
    corners = faces.long()[fragments.face[where].long()]
    seen = vertices[image[:, None], corners]
    depth = seen[..., 2]
    pixels = torch.einsum("nij,nkj->nki", K[image, :2], seen)
    # Homogeneous pixels relative to the pixel's centre, as in the Warp kernel.
    x = pixels[..., 0] - (column.to(depth.dtype) + 0.5)[:, None] * depth
    y = pixels[..., 1] - (row.to(depth.dtype) + 0.5)[:, None] * depth
    edges = (x * y.roll(-1, dims=1) - x.roll(-1, dims=1) * y).roll(-1, dims=1)
    values = edges / edges.sum(dim=1, keepdim=True)
    shape = (*fragments.face.shape, 3)
    return values.new_zeros(shape).masked_scatter(where[..., None].expand(shape), values)


def supersampled(K: Tensor, factor: int) -> Tensor:
    """Return intrinsics (B, 3, 3) of the same view with `factor` sub-pixels per pixel and axis."""
    return K * K.new_tensor([factor, factor, 1.0])[:, None]


def check_mesh(
    vertices: Tensor, faces: Tensor, K: Tensor, size: tuple[int, int], near: float
) -> None:
    """Refuse a batch that cannot be rasterised.

    Raises:
        BadParameter: says which argument is wrong and what it should be.
    """
    _require(
        vertices.ndim == 3 and vertices.shape[2] == 3 and vertices.dtype == torch.float32,
        "vertices must be (B, V, 3) float32",
    )
    _require(
        faces.ndim == 2 and faces.shape[1] == 3 and faces.dtype in (torch.int32, torch.int64),
        "faces must be (F, 3) int32 or int64",
    )
    _require(
        tuple(K.shape) == (vertices.shape[0], 3, 3) and K.dtype == torch.float32,
        "K must be (B, 3, 3) float32",
    )
    _require(
        vertices.device == faces.device == K.device,
        "vertices, faces and K must be on one device",
    )
    _require(
        len(size) == 2 and min(size) >= 1 and max(size) <= 32768,
        "size must be a height and a width from 1 to 32768",
    )
    _require(near > 0, "near must be above 0")


def _require(condition: bool, expectation: str) -> None:
    if not condition:
        raise BadParameter(expectation, "correct the arguments of the rasteriser")
