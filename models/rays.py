"""Rays of pinhole cameras through a head's bounding sphere.

Everything is differentiable with respect to the camera, because fits move cameras.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch

if TYPE_CHECKING:
    from torch import Tensor

    from blender_addon.contract.camera import Camera


class Rays(NamedTuple):
    """Rays in head space.

    Attributes:
        origin: (..., 3) float32, metres; may be of one row that serves all directions.
        direction: (..., 3) float32 of unit length.
    """

    origin: Tensor
    direction: Tensor


class Chord(NamedTuple):
    """What a ray shares with the bounding sphere.

    Attributes:
        near: (...) metres along the ray to where it enters, at least 0: a camera may stand inside.
        far: (...) metres to where it leaves. Where a ray misses, both are its nearest approach.
        hit: (...) bool.
    """

    near: Tensor
    far: Tensor
    hit: Tensor


class Pinhole(NamedTuple):
    """A batch of cameras as tensors; see contract/camera.py for the conventions.

    Attributes:
        K: (B, 3, 3) float intrinsics in pixels, corner origin.
        R: (B, 3, 3) float world to camera.
        t: (B, 3) float metres.
    """

    K: Tensor
    R: Tensor
    t: Tensor

    @classmethod
    def of(cls, *cameras: Camera, device: torch.device | str = "cpu") -> Pinhole:
        """Return cameras as float32 tensors."""
        return cls(
            *(
                torch.stack([torch.as_tensor(getattr(c, name)) for c in cameras])
                .to(torch.float32)
                .to(device)
                for name in ("K", "R", "t")
            )
        )

    @property
    def center(self) -> Tensor:
        """(B, 3) positions in the world, metres."""
        return -(self.R.transpose(1, 2) @ self.t[..., None])[..., 0]


def pixel_rays(cameras: Pinhole, x: Tensor, y: Tensor) -> Rays:
    """Return the rays through points of the images.

    Args:
        cameras: B of them.
        x: (B, N) or (1, N) float pixels from the image's left edge; a pixel's centre is at +0.5.
        y: the same from the upper edge.

    Returns:
        origin (B, 1, 3), direction (B, N, 3).
    """
    K = cameras.K
    u = (x - K[:, 0, 2, None]) / K[:, 0, 0, None]
    v = (y - K[:, 1, 2, None]) / K[:, 1, 1, None]
    seen = torch.stack([u, v, torch.ones_like(u)], dim=-1)
    seen = seen * seen.square().sum(dim=-1, keepdim=True).rsqrt()
    return Rays(cameras.center[:, None], seen @ cameras.R)


def depth_per_distance(cameras: Pinhole, direction: Tensor) -> Tensor:
    """Return the camera-space z of one metre along each ray: (B, N) of directions (B, N, 3)."""
    return (direction @ cameras.R[:, 2, :, None])[..., 0]


def sphere_chord(rays: Rays, radius: float) -> Chord:
    """Return what rays share with the sphere of a radius in metres round the origin."""
    nearest = -(rays.origin * rays.direction).sum(dim=-1)
    # From the vector to the nearest point, not from |o|² − nearest²: that difference loses digits.
    off = (rays.origin + nearest[..., None] * rays.direction).square().sum(dim=-1)
    half = (radius**2 - off).clamp_min(0.0).sqrt()
    far = nearest + half
    return Chord((nearest - half).clamp_min(0.0), far, (off < radius**2) & (far > 0.0))
