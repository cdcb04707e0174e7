"""How well a body fit agrees with what is seen."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from models.body import skin
from models.pose_landmarks import landmark_points
from models.raster import rasterize

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from blender_addon.contract.camera import Camera
    from blender_addon.contract.operations import PosedBody
    from models.body import Body
    from models.person_photo import PersonView

SEEN = 0.25
"""Weight from which a landmark counts as seen."""


def body_vertices(body: Body, posed: PosedBody) -> tuple[Tensor, Tensor]:
    """Return vertices (V, 3) and joints (55, 3) of a posed body, world metres."""
    arrays = (posed.pose, posed.betas, posed.expression, posed.transl)
    skinned = skin(body, *(torch.from_numpy(np.asarray(a, np.float32))[None] for a in arrays))
    return skinned.vertices[0], skinned.joints[0]


def body_mask(body: Body, posed: PosedBody, camera: Camera) -> NDArray[np.bool_]:
    """Return (H, W): where a camera sees the bare body."""
    vertices, _ = body_vertices(body, posed)
    seen = vertices.numpy().astype(np.float64) @ camera.R.T + camera.t
    fragments = rasterize(
        torch.from_numpy(seen.astype(np.float32))[None],
        body.faces,
        torch.from_numpy(camera.K.astype(np.float32))[None],
        (camera.height, camera.width),
    )
    return fragments.covered[0].numpy()


def fit_figures(
    view: PersonView, weights: Tensor, body: Body, posed: PosedBody, camera: Camera
) -> dict[str, float]:
    """Return a fit's figures.

    `landmarks_seen`: how many of the 33 count. `landmark_error`: their mean distance from the
    body's own, in pixels, and `landmark_error_mm` in millimetres at the person's distance. With a
    mask also `inside`: the share of the body's pixels that lie in it, and `iou`.
    """
    vertices, joints = body_vertices(body, posed)
    points = landmark_points(body)
    own = points.of(vertices[None, points.vertices], joints[None])[0].numpy()
    projected = camera.project(own)
    seen = weights.numpy() >= SEEN
    error = np.linalg.norm(projected[seen, :2] - view.landmarks[seen], axis=1)
    distance = float(np.median(projected[seen, 2]))
    figures = {
        "landmarks_seen": float(seen.sum()),
        "landmark_error": float(error.mean()),
        "landmark_error_mm": float(error.mean() * distance / camera.K[0, 0] * 1000.0),
        "distance": distance,
    }
    if view.mask is not None:
        mask, covered = view.mask > 0.5, body_mask(body, posed, camera)
        both = float((mask & covered).sum())
        figures["inside"] = both / max(float(covered.sum()), 1.0)
        figures["iou"] = both / max(float((mask | covered).sum()), 1.0)
    return figures
