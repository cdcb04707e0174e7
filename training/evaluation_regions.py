"""Where a person's head and hands lie in a frame: boxes round the posed body's own vertices.

Regions come from the truth alone (its pose, camera and masks), so that every method is measured
on the same pixels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from blender_addon.contract.joints import HEAD_JOINTS, LEFT_HAND_JOINTS, RIGHT_HAND_JOINTS
from models.body import skin

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from blender_addon.contract.camera import Camera
    from blender_addon.contract.operations import PosedBody
    from models.body import Body

NEAR = 0.01
"""Least visible depth in metres."""
HEAD_MARGIN = 0.3
"""Of the head's larger side, on each side of its box: room for hair."""
HAND_MARGIN = 0.2
SMALLEST_SIDE = 8
"""A box with a shorter side, in pixels, shows nothing worth a figure."""
FEWEST_PIXELS = 20
"""A region counts when the truth shows so many pixels of it."""

Box = tuple[slice, slice]
"""Rows and columns of an image."""


@dataclass(frozen=True)
class BodyParts:
    """Which vertices of a body are head and hands: those that follow their joints most.

    Attributes:
        body: the body.
        head: indices of vertices, likewise left_hand and right_hand.
    """

    body: Body
    head: NDArray[np.int64]
    left_hand: NDArray[np.int64]
    right_hand: NDArray[np.int64]

    @classmethod
    def of(cls, body: Body) -> BodyParts:
        """Sort a body's vertices by the joint that moves them most."""
        owner = body.skin_weights.argmax(dim=1).cpu().numpy()

        def following(joints: Iterable[int]) -> NDArray[np.int64]:
            return np.flatnonzero(np.isin(owner, list(joints)))

        return cls(
            body, following(HEAD_JOINTS), following(LEFT_HAND_JOINTS), following(RIGHT_HAND_JOINTS)
        )


def camera_vertices(body: Body, posed: PosedBody, camera: Camera) -> NDArray[np.float32]:
    """Return a posed body's vertices (V, 3) in camera space, metres."""
    values = (posed.pose, posed.betas, posed.expression, posed.transl)
    with torch.inference_mode():
        batch = [torch.from_numpy(np.array(v, np.float32))[None] for v in values]
        world = skin(body, *(v.to(body.v_template.device) for v in batch)).vertices[0].cpu().numpy()
    return np.asarray(world @ camera.R.T + camera.t, np.float32)


def projected(vertices: NDArray[np.floating], camera: Camera) -> NDArray[np.float64]:
    """Return camera-space points (N, 3) as x and y in pixels and depth in metres."""
    depth = vertices[:, 2:].astype(np.float64)
    flat = vertices[:, :2] / np.maximum(depth, 1e-6)
    return np.concatenate([flat * camera.K[[0, 1], [0, 1]] + camera.K[:2, 2], depth], axis=1)


def head_box(
    parts: BodyParts, pixels: NDArray[np.floating], masks: NDArray[np.floating]
) -> Box | None:
    """Return the head's box, or None where the truth shows no head there.

    Args:
        parts: of the body.
        pixels: (V, 3) projected vertices.
        masks: (H, W, 3) true masks, 0…1.
    """
    box = _box(pixels[parts.head], HEAD_MARGIN, masks.shape[0], masks.shape[1])
    return box if box is not None and _shown(masks[..., 0], box) else None


def hand_boxes(
    parts: BodyParts, pixels: NDArray[np.floating], masks: NDArray[np.floating]
) -> tuple[Box, ...]:
    """Return the boxes of those hands that the true hand mask shows, the left one first."""
    boxes = (
        _box(pixels[hand], HAND_MARGIN, masks.shape[0], masks.shape[1])
        for hand in (parts.left_hand, parts.right_hand)
    )
    return tuple(box for box in boxes if box is not None and _shown(masks[..., 1], box))


def boxes_mask(boxes: Iterable[Box], shape: tuple[int, int]) -> NDArray[np.bool_]:
    """Return an image (H, W) that is set inside any of the boxes."""
    inside = np.zeros(shape, bool)
    for box in boxes:
        inside[box] = True
    return inside


def _shown(mask: NDArray[np.floating], box: Box) -> bool:
    return int((mask[box] > 0.5).sum()) >= FEWEST_PIXELS


def _box(points: NDArray[np.floating], margin: float, height: int, width: int) -> Box | None:
    points = points[points[:, 2] > NEAR]
    if not len(points):
        return None
    low, high = points[:, :2].min(axis=0), points[:, :2].max(axis=0)
    slack = margin * float((high - low).max())
    left, top = np.maximum(np.floor(low - slack), 0).astype(int)
    right, bottom = np.minimum(np.ceil(high + slack), (width, height)).astype(int)
    if right - left < SMALLEST_SIDE or bottom - top < SMALLEST_SIDE:
        return None
    return slice(int(top), int(bottom)), slice(int(left), int(right))
