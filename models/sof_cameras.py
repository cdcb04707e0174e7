"""Cameras as parameters: where they stand, what they look at, and how they are turned.

SofGAN's second round knows a camera by its position alone (section 6.2, c ∈ R³): it looks at the
head's origin, upright. Photographs are cropped and tilted, so the point that is looked at and a
roll may move as well. The focal length is given: a label map alone cannot tell it from distance.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np
import torch
from torch import nn

from blender_addon.contract.camera import Camera
from models.rays import Pinhole

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

Freedom = Literal["fixed", "position", "pose"]
"""What of a camera moves: nothing, the paper's position, or also target and roll."""

NEAREST = 0.45
"""Metres from the head's origin that a camera keeps: outside of the head."""


class CameraParameters(nn.Module):
    """A batch of cameras that a fit may move.

    Args:
        position: (B, 3) metres in head space.
        target: (B, 3) metres: seen at the principal point.
        roll: (B,) radians, turning the image clockwise.
        K: (B, 3, 3) intrinsics, which stay.
    """

    def __init__(self, position: Tensor, target: Tensor, roll: Tensor, K: Tensor) -> None:
        super().__init__()
        self.position = nn.Parameter(position.clone())
        self.target = nn.Parameter(target.clone())
        self.roll = nn.Parameter(roll.clone())
        self.register_buffer("K", K.clone())

    @classmethod
    def of(cls, cameras: Sequence[Camera]) -> CameraParameters:
        """Return the parameters of cameras; their axes pass the origin at the target."""
        pinhole = Pinhole.of(*cameras)
        forward = pinhole.R[:, 2]
        position = pinhole.center
        along = -(position * forward).sum(dim=1, keepdim=True)
        target = position + along * forward
        upright = orientation(position, target, torch.zeros(len(cameras)))
        # The roll left over between the camera's own right and the upright one's.
        right = pinhole.R[:, 0]
        roll = torch.atan2((right * upright[:, 1]).sum(dim=1), (right * upright[:, 0]).sum(dim=1))
        return cls(position, target, roll, pinhole.K)

    def free(self, freedom: Freedom) -> list[nn.Parameter]:
        """Return the parameters that move; the others are frozen."""
        moving = {"fixed": [], "position": [self.position], "pose": list(self.parameters())}
        chosen = moving[freedom]
        for parameter in self.parameters():
            parameter.requires_grad_(any(parameter is each for each in chosen))
        return chosen

    def forward(self, index: Tensor | None = None) -> Pinhole:
        """Return the cameras (of these indices), differentiably."""
        position, target, roll = self.position, self.target, self.roll
        intrinsics = self.get_buffer("K")
        if index is not None:
            position, target, roll = position[index], target[index], roll[index]
            intrinsics = intrinsics[index]
        R = orientation(position, target, roll)
        return Pinhole(intrinsics, R, -(R @ position[..., None])[..., 0])

    @torch.no_grad()
    def keep_outside(self) -> None:
        """Move cameras that have come too near back out."""
        distance = self.position.norm(dim=1, keepdim=True).clamp_min(1e-6)
        self.position.mul_((NEAREST / distance).clamp_min(1.0))

    @torch.no_grad()
    def camera(self, index: int, width: int, height: int) -> Camera:
        """Return one camera as numbers."""
        pinhole = self(torch.tensor([index], device=self.position.device))
        K, R, t = (each[0].double().cpu().numpy() for each in pinhole)
        # Float32 rotations are orthogonal to seven digits: as good as these digits go.
        u, _, v = np.linalg.svd(R)
        return Camera(K=K, R=u @ v, t=t, width=width, height=height)


def orientation(position: Tensor, target: Tensor, roll: Tensor) -> Tensor:
    """Return rotations (B, 3, 3) from head space to cameras that look from position to target."""
    forward = nn.functional.normalize(target - position, dim=1)
    up = torch.zeros_like(forward)
    up[:, 1] = 1.0
    right = nn.functional.normalize(torch.linalg.cross(forward, up), dim=1)
    down = torch.linalg.cross(forward, right)
    cosine, sine = roll.cos()[:, None], roll.sin()[:, None]
    turned = cosine * right + sine * down
    return torch.stack([turned, cosine * down - sine * right, forward], dim=1)


class CameraError(NamedTuple):
    """How far a fitted camera is from the true one.

    Attributes:
        degrees: between the directions from the head's origin to the two.
        metres: between the two distances from the origin, absolute.
    """

    degrees: float
    metres: float


def camera_error(fitted: Camera, truth: Camera) -> CameraError:
    """Compare where two cameras stand."""
    a, b = fitted.center, truth.center
    cosine = float(a @ b / (np.linalg.norm(a) * np.linalg.norm(b)))
    degrees = float(np.degrees(np.arccos(np.clip(cosine, -1.0, 1.0))))
    return CameraError(degrees, abs(float(np.linalg.norm(a) - np.linalg.norm(b))))
