"""Temporal flicker: how much a moving person's surface changes from frame to frame.

The posed bodies of two consecutive frames say exactly where each point of the body's surface
goes. The later frame is warped back along that motion and compared with the earlier one. What
remains in the true frames is light and cloth that really change; a prediction that shimmers
leaves more.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from scipy.ndimage import binary_dilation, distance_transform_edt
from torch.nn import functional

from models.raster import interpolate, rasterize
from training.evaluation_regions import NEAR, projected

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from blender_addon.contract.camera import Camera
    from models.body import Body
    from training.captures import Capture

SEQUENCE_TAG = "sequence:"
"""A frame tagged `sequence:NAME` belongs to that sequence; its frames follow in capture order."""
REACH = 0.08
"""How far beyond the bare body hair and cloth move with it, as a share of the image's width."""
SAME_SURFACE = 0.03
"""Metres between a point's depth and the nearest surface's, above which it is hidden."""


class Flow(NamedTuple):
    """Where each pixel of one frame is in the next.

    Attributes:
        x: (H, W) float32 pixels of the next frame, corner origin; likewise y.
        known: (H, W) bool: on the body or near it, and not hidden in the next frame.
    """

    x: NDArray[np.float32]
    y: NDArray[np.float32]
    known: NDArray[np.bool_]


def sequences(capture: Capture, indices: Sequence[int] | None = None) -> dict[str, list[int]]:
    """Return the frames of each tagged sequence, by its name, in order."""
    found: dict[str, list[int]] = {}
    for index in range(len(capture)) if indices is None else indices:
        for tag in capture.description.frames[index].tags:
            if tag.startswith(SEQUENCE_TAG):
                found.setdefault(tag.removeprefix(SEQUENCE_TAG), []).append(index)
    return {name: frames for name, frames in found.items() if len(frames) > 1}


def surface_flow(
    body: Body,
    vertices: tuple[NDArray[np.float32], NDArray[np.float32]],
    cameras: tuple[Camera, Camera],
) -> Flow:
    """Return the motion of the body's surface from one frame to the next, exact on the body.

    Beyond the body, up to `REACH`, a pixel moves as the nearest pixel of the body.

    Args:
        body: whose faces the vertices belong to.
        vertices: (V, 3) in each frame's camera space, metres.
        cameras: of both frames, of one size.
    """
    size = (cameras[0].height, cameras[0].width)
    points = [torch.from_numpy(v)[None] for v in vertices]
    intrinsics = [torch.from_numpy(c.K.astype(np.float32))[None] for c in cameras]
    now, then = (
        rasterize(p, body.faces, K, size, near=NEAR)
        for p, K in zip(points, intrinsics, strict=True)
    )
    goal = interpolate(now, points[1][0][body.faces.long()])[0].numpy()
    pixels = projected(goal.reshape(-1, 3), cameras[1]).reshape(*size, 3)
    column, row = np.floor(pixels[..., 0]), np.floor(pixels[..., 1])
    within = (column >= 0) & (column < size[1]) & (row >= 0) & (row < size[0])
    at = row.clip(0, size[0] - 1).astype(int), column.clip(0, size[1] - 1).astype(int)
    seen = np.abs(then.depth[0].numpy()[at] - pixels[..., 2]) < SAME_SURFACE
    covered = now.covered[0].numpy()
    visible = covered & within & seen
    # Asked for indices, it returns both; its stub does not say so.
    found: Any = distance_transform_edt(~covered, return_indices=True)
    distance, nearest = found
    rows, columns = np.indices(size)
    moved = pixels[nearest[0], nearest[1], :2] + np.stack(
        [columns - nearest[1], rows - nearest[0]], axis=-1
    )
    known = visible[nearest[0], nearest[1]] & (distance <= REACH * size[1])
    return Flow(moved[..., 0].astype(np.float32), moved[..., 1].astype(np.float32), known)


def warped(image: NDArray[np.floating], flow: Flow) -> NDArray[np.float32]:
    """Return the next frame (H, W, 3) as seen from the earlier one, by cubic interpolation."""
    height, width = image.shape[:2]
    grid = np.stack([2 * flow.x / width - 1, 2 * flow.y / height - 1], axis=-1)
    planes = torch.from_numpy(np.ascontiguousarray(image, np.float32)).permute(2, 0, 1)[None]
    taken = functional.grid_sample(
        planes,
        torch.from_numpy(grid.astype(np.float32))[None],
        mode="bicubic",
        padding_mode="border",
        align_corners=False,
    )
    return taken[0].permute(1, 2, 0).numpy()


def counted(flow: Flow, mask: NDArray[np.floating]) -> NDArray[np.bool_]:
    """Return the pixels that count: the true person, two pixels around it, and a known motion."""
    return flow.known & np.asarray(binary_dilation(mask > 0.5, iterations=2), bool)


def warped_difference(
    earlier: NDArray[np.floating],
    later: NDArray[np.floating],
    flow: Flow,
    where: NDArray[np.bool_],
) -> float:
    """Return Σ |warped later frame − earlier frame| over pixels (mean over channels)."""
    difference = np.abs(warped(later, flow) - earlier).mean(axis=-1)
    return float(difference[where].sum(dtype=np.float64))
