"""Rotations as parameters of fits."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch import Tensor


def rotations(axis_angles: Tensor) -> Tensor:
    """Return the rotation matrices (…, 3, 3) of axis-angle vectors (…, 3), differentiable at 0."""
    # A tiny angle instead of 0: neither the root nor the quotients lose their gradients there.
    square = axis_angles.square().sum(dim=-1, keepdim=True)[..., None] + 1e-12
    angle = square.sqrt()
    x, y, z = axis_angles.unbind(-1)
    zero = torch.zeros_like(x)
    cross = torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], dim=-1)
    cross = cross.view(*axis_angles.shape, 3)
    identity = torch.eye(3, device=axis_angles.device, dtype=axis_angles.dtype)
    # (1 − cos a) / a² loses all digits in float32 for small a; 2 sin²(a / 2) / a² does not.
    half = (angle / 2).sin() / (angle / 2)
    return identity + angle.sin() / angle * cross + 0.5 * half.square() * (cross @ cross)
