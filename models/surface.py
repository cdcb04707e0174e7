"""The body's surface as a batch of images sees it: where in UV space, and how finely.

Between the rasteriser and the texture look-up. Nothing here depends on the texture, so a training
may compute the samples of a frame once, keep them on disk (`SurfaceSamples.pack`) and look the
changing texture up at them in every step (`texture.gather_features`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch.nn import functional

from models.raster import edge_functions, interpolate, rasterize, supersampled

if TYPE_CHECKING:
    from torch import Tensor

FOOTPRINT_RANGE = (-16.0, 0.0)
"""Footprints stored in 16 bits span this range, in log2 of UV units per sample."""


@dataclass(frozen=True)
class SurfaceSamples:
    """The body's surface as seen through every sub-pixel of a batch of images.

    It depends on pose, camera and body, not on the texture, so it can be kept between the
    steps of a training. Samples are ordered by pixel.

    Attributes:
        shape: (B, H, W) of the images.
        supersampling: sub-pixels per pixel and axis, s.
        pixel: (P,) int64 flat indices into (B, H, W) of the pixels with any surface, ascending.
        offset: (P + 1,) int64: pixel p's samples are offset[p] … offset[p + 1] − 1.
        uv: (N, 2) float32 UV coordinates, v up.
        footprint: (N,) float32 log2 of the side of the square in UV units that has the area
            which one sub-pixel sees.
        depth: (B, H, W) float32 nearest depth of a pixel's samples in metres, inf where none.
    """

    shape: tuple[int, int, int]
    supersampling: int
    pixel: Tensor
    offset: Tensor
    uv: Tensor
    footprint: Tensor
    depth: Tensor

    @property
    def per_pixel(self) -> int:
        """Sub-pixels of a pixel."""
        return self.supersampling * self.supersampling


def surface_samples(
    vertices: Tensor,
    faces: Tensor,
    corner_uv: Tensor,
    K: Tensor,
    size: tuple[int, int],
    *,
    supersampling: int = 2,
    near: float = 0.01,
) -> SurfaceSamples:
    """Rasterise a batch of meshes into samples of their surface.

    The level of detail comes from the face's own projection, not from neighbouring pixels, so
    seams and silhouettes do not disturb it: the projection's Jacobian determinant is
    |∂(u, v)/∂(x, y)| = a z² / A, with a twice the face's area in UV, A twice its area in
    homogeneous pixels, z the depth at the pixel.

    Args:
        vertices: (B, V, 3) float32 in camera space, metres.
        faces: (F, 3) vertex indices.
        corner_uv: (F, 3, 2) float32 UV of each face's corners: `uv[uv_faces]`.
        K: (B, 3, 3) float32 intrinsics in pixels of the final image, corner origin.
        size: (height, width) of the final image.
        supersampling: sub-pixels per pixel and axis.
        near: least visible depth in metres.
    """
    height, width = size
    s = supersampling
    K_s = supersampled(K, s)
    fragments = rasterize(vertices.detach(), faces, K_s, (height * s, width * s), near=near)
    # Reorder to (B, H, W, s, s): samples of one pixel follow one another.
    covered = _by_pixel(fragments.covered, s)
    order = _by_pixel(fragments.covered.flatten().cumsum(0).view_as(fragments.face) - 1, s)
    order = order[covered]
    uv = interpolate(fragments, corner_uv)[fragments.covered][order]
    edges, _ = edge_functions(vertices.detach(), faces, K_s, fragments)
    z = fragments.depth[fragments.covered]
    uv_area = _doubled_area(corner_uv)[fragments.face[fragments.covered].long()]
    determinant = uv_area * z * z / edges.sum(dim=1).abs()
    footprint = (0.5 * determinant.log2()).clamp(*FOOTPRINT_RANGE)[order]
    counts = covered.flatten(3).sum(dim=3).flatten()
    pixel = counts.nonzero()[:, 0]
    offset = functional.pad(counts[pixel].cumsum(0), (1, 0))
    depth = _by_pixel(fragments.depth, s).flatten(3).amin(dim=3)
    return SurfaceSamples(
        (vertices.shape[0], height, width), s, pixel, offset, uv, footprint, depth
    )


def _by_pixel(values: Tensor, s: int) -> Tensor:
    """Reorder (B, H · s, W · s) to (B, H, W, s, s)."""
    batch, height, width = values.shape
    return values.view(batch, height // s, s, width // s, s).transpose(2, 3)


def _doubled_area(corners: Tensor) -> Tensor:
    """Return twice the unsigned area (F,) of triangles (F, 3, 2)."""
    first, second = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    return (first[:, 0] * second[:, 1] - first[:, 1] * second[:, 0]).abs()
