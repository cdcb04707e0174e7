"""The body's surface as a batch of images sees it: where in UV space, and how finely.

Between the rasteriser and the texture look-up. Nothing here depends on the texture, so a training
may compute the samples of a frame once, keep them on disk (`SurfaceSamples.pack`) and look the
changing texture up at them in every step (`texture.gather_features`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch.nn import functional

from models import surface_warp
from models.raster import check_mesh, supersampled

if TYPE_CHECKING:
    from torch import Tensor

FINEST_FOOTPRINT = -16.0
"""Footprints are from this to 0, in log2 of UV units: the kernel clamps them."""


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

    def pack(self) -> dict[str, Tensor]:
        """Return the samples as plain integer tensors for a file, on the CPU.

        UV and footprint become 16 bits: steps of 1/65535 of the UV square and 1/4096 of a level.
        """
        step = 65535 / -FINEST_FOOTPRINT
        packed = {
            "shape": torch.tensor([*self.shape, self.supersampling], dtype=torch.int32),
            "pixel": self.pixel.to(torch.int32),
            "count": self.offset.diff().to(torch.uint8),
            "uv": (self.uv.clamp(0, 1) * 65535).round().to(torch.uint16),
            "footprint": ((self.footprint - FINEST_FOOTPRINT) * step).round().to(torch.uint16),
            "depth": self.depth.flatten()[self.pixel],
        }
        return {name: tensor.cpu() for name, tensor in packed.items()}

    @classmethod
    def unpack(cls, packed: dict[str, Tensor]) -> SurfaceSamples:
        """Rebuild what `pack` returned."""
        batch, height, width, supersampling = (int(number) for number in packed["shape"])
        step = 65535 / -FINEST_FOOTPRINT
        pixel = packed["pixel"].long()
        depth = torch.full((batch * height * width,), torch.inf, device=pixel.device)
        depth[pixel] = packed["depth"]
        return cls(
            (batch, height, width),
            supersampling,
            pixel,
            functional.pad(packed["count"].long().cumsum(0), (1, 0)),
            packed["uv"].to(torch.float32) / 65535,
            packed["footprint"].to(torch.float32) / step + FINEST_FOOTPRINT,
            depth.view(batch, height, width),
        )


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
    check_mesh(vertices, faces, K, size, near)
    shape = (vertices.shape[0], *size)
    keys, mesh = surface_warp.draw(
        vertices.detach().contiguous(),
        faces.to(torch.int32).contiguous(),
        supersampled(K.detach(), supersampling),
        (size[0] * supersampling, size[1] * supersampling),
        near,
    )
    return samples_of(keys, mesh, corner_uv, shape, supersampling)


def samples_of(
    keys: Tensor,
    mesh: list[object],
    corner_uv: Tensor,
    shape: tuple[int, int, int],
    supersampling: int,
) -> SurfaceSamples:
    """Return the samples of a z-buffer.

    Args:
        keys: (B, H · s, W · s) int64, as `surface_warp.draw` returned it.
        mesh: likewise.
        corner_uv: (F, 3, 2) float32 UV of each face's corners.
        shape: (B, H, W) of the final images.
        supersampling: s, sub-pixels per pixel and axis.
    """
    counts, depth = surface_warp.count(keys, mesh, shape, supersampling)
    pixel = counts.flatten().nonzero()[:, 0]
    offset = functional.pad(counts.flatten()[pixel].cumsum(0), (1, 0))
    uv, footprint = surface_warp.collect(
        keys, mesh, corner_uv.detach().contiguous(), pixel, offset, supersampling
    )
    return SurfaceSamples(shape, supersampling, pixel, offset, uv, footprint, depth)
