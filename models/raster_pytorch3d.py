"""The optional rasteriser backend: pytorch3d.

pytorch3d works in normalised device coordinates (x left, y up) and knows no corner-origin
intrinsics, so vertices are projected here. It cuts triangles at the near plane itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from blender_addon.contract.errors import MissingExtra

if TYPE_CHECKING:
    from torch import Tensor


def fragments(
    vertices: Tensor, faces: Tensor, K: Tensor, size: tuple[int, int], near: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Rasterise: face (B, H, W) int32, barycentric (B, H, W, 3), depth (B, H, W) float32.

    Raises:
        MissingExtra: pytorch3d is not installed.
    """
    rasterize_meshes, meshes_of = _import()
    batch = vertices.shape[0]
    projected = _to_device_coordinates(vertices, K, size)
    meshes = meshes_of(verts=projected, faces=faces.long().expand(batch, -1, -1))
    found, depth, barycentric, _ = rasterize_meshes(
        meshes,
        image_size=size,
        blur_radius=0.0,
        faces_per_pixel=1,
        perspective_correct=True,
        clip_barycentric_coords=False,
        cull_backfaces=False,
        z_clip_value=near,
        cull_to_frustum=False,
    )
    found, depth, barycentric = found[..., 0], depth[..., 0], barycentric[..., 0, :]
    empty = found < 0
    # Ids count through the batch.
    first = torch.arange(batch, device=found.device)[:, None, None] * faces.shape[0]
    face = torch.where(empty, -1, found - first).to(torch.int32)
    depth = depth.masked_fill(empty, torch.inf)
    return face, barycentric.masked_fill(empty[..., None], 0.0), depth


def _to_device_coordinates(vertices: Tensor, K: Tensor, size: tuple[int, int]) -> Tensor:
    """Project to pytorch3d's device coordinates, in which the shorter side spans −1…1."""
    height, width = size
    pixels = torch.einsum("bij,bvj->bvi", K, vertices)
    depth = vertices[..., 2]
    # Behind the camera pytorch3d needs a signed depth; at 0 it needs a number at all.
    divisor = torch.where(depth.abs() < 1e-8, torch.full_like(depth, 1e-8), depth)
    half = min(height, width) / 2
    x = (width / 2 - pixels[..., 0] / divisor) / half
    y = (height / 2 - pixels[..., 1] / divisor) / half
    return torch.stack([x, y, depth], dim=-1)


def _import() -> tuple[Any, Any]:
    try:
        from pytorch3d.renderer.mesh.rasterize_meshes import (  # pyright: ignore[reportMissingImports]
            rasterize_meshes,
        )
        from pytorch3d.structures import Meshes  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise MissingExtra(
            "the pytorch3d rasteriser backend is not installed",
            "install pytorch3d for your version of torch (docs/rasteriser.md), "
            "or use the default backend, warp",
        ) from error
    return rasterize_meshes, Meshes
