"""Frames of render passes: empty ones, bytes of images, and depth beyond what was seen."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from blender_addon.contract.portraits import NOT_PAINTED

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from blender_addon.contract.camera import Camera


GROUND = 200
"""Grey behind what is transparent, in pictures without alpha."""


def empty_frame(camera: Camera, passes: Sequence[str]) -> dict[str, NDArray[Any]]:
    """Return a frame in which nothing is, by pass.

    Args:
        camera: of the frame.
        passes: of rgba, depth, masks and labels (`portraits.PORTRAIT_PASSES`).
    """
    size = (camera.height, camera.width)
    empty: dict[str, NDArray[Any]] = {}
    if "rgba" in passes:
        empty["rgba"] = np.zeros((*size, 4), np.uint8)
    if "depth" in passes:
        empty["depth"] = np.full(size, np.inf, np.float32)
    if "masks" in passes:
        empty["masks"] = np.zeros((*size, 3), np.uint8)
    if "labels" in passes:
        empty["labels"] = np.full(size, NOT_PAINTED, np.uint8)
    return {name: empty[name] for name in passes}


def image_bytes(image: Tensor) -> NDArray[np.uint8]:
    """Turn (1, C, H, W) in 0…1 into (H, W, C) uint8."""
    scaled = image[0].permute(1, 2, 0).mul(255.0).add_(0.5).clamp_(0.0, 255.0)
    return scaled.to(torch.uint8).contiguous().cpu().numpy()


def over_grey(rgba: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return a premultiplied image (H, W, 4) before grey, (H, W, 3) uint8."""
    through = (255 - rgba[..., 3:].astype(np.float32)) / 255.0
    return np.rint(rgba[..., :3] + through * GROUND).clip(0, 255).astype(np.uint8)


def filled_depth(depth: Tensor) -> Tensor:
    """Extend a surface's depth smoothly to the pixels beyond it, as those of hair and cloth.

    Args:
        depth: (1, H, W) metres, inf off the surface.

    Returns:
        (1, H, W), finite everywhere unless the surface covers nothing. Off it, values come
        from averages over ever larger squares: those of the nearest known pixels, feathered.
    """
    known = torch.isfinite(depth)[None].float()
    values = torch.where(torch.isfinite(depth), depth, 0.0)[None]
    sums, counts = [values], [known]
    while min(sums[-1].shape[-2:]) > 1:
        sums.append(functional.avg_pool2d(sums[-1], 2, ceil_mode=True))
        counts.append(functional.avg_pool2d(counts[-1], 2, ceil_mode=True))
    filled = sums[-1] / counts[-1].clamp_min(1e-12)
    for total, count in zip(reversed(sums[:-1]), reversed(counts[:-1]), strict=True):
        coarse = functional.interpolate(filled, size=total.shape[-2:], mode="nearest")
        filled = torch.where(count > 0, total / count.clamp_min(1e-12), coarse)
    return torch.where(known.amax() > 0, filled, torch.inf)[0]
