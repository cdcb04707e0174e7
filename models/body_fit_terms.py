"""What a body fit is measured by: landmarks, directions of limbs, contour, and what is known before.

All terms are squared residuals over the squares of how far each may well be off, so that they add up
like logarithms of probabilities. Lengths in the photograph count in metres at the person's distance:
a fit is the same in a small and in a large photograph.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from scipy import ndimage
from torch.nn import functional

from models.pose_landmarks import LANDMARK_INDEX, LANDMARK_NAMES

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from models.person_photo import PersonView

_SPREADS = {
    "nose": 0.015, "eye_inner": 0.015, "eye": 0.015, "eye_outer": 0.015, "ear": 0.02,
    "mouth": 0.015, "shoulder": 0.03, "elbow": 0.03, "wrist": 0.025, "pinky": 0.03, "index": 0.03,
    "thumb": 0.03, "hip": 0.05, "knee": 0.035, "ankle": 0.03, "heel": 0.04, "foot_index": 0.04,
}  # fmt: skip
"""How far landmarks of photographs may well be off, metres."""
ROBUST = 0.15
"""Metres from which a landmark counts as wrong rather than as far off."""
DIRECTION_SPREAD = 0.35
"""Radians that the guessed directions of limbs in space may well be off."""
INSIDE_SPREAD, AROUND_SPREAD = 0.02, 0.035
"""Metres that the body may well reach out of the mask, and clothes around it from the body."""
CONTOUR_COUNT = 24.0
"""How many independent measurements a whole contour is taken for: its points know of each other."""
CONTOUR_POINTS = 240
_LEAST_DEPTH = 0.05
_BEYOND = 0.2
"""How much the direction of a limb beyond the edge counts."""

BONES: tuple[tuple[str, str], ...] = (
    *((f"{s}_shoulder", f"{s}_elbow") for s in ("left", "right")),
    *((f"{s}_elbow", f"{s}_wrist") for s in ("left", "right")),
    *((f"{s}_wrist", f"{s}_index") for s in ("left", "right")),
    *((f"{s}_wrist", f"{s}_pinky") for s in ("left", "right")),
    *((f"{s}_hip", f"{s}_knee") for s in ("left", "right")),
    *((f"{s}_knee", f"{s}_ankle") for s in ("left", "right")),
    *((f"{s}_heel", f"{s}_foot_index") for s in ("left", "right")),
    *((f"{s}_hip", f"{s}_shoulder") for s in ("left", "right")),
    ("right_shoulder", "left_shoulder"),
    ("right_hip", "left_hip"),
    ("right_ear", "left_ear"),
    ("left_ear", "nose"),
    ("right_ear", "nose"),
)
"""Pairs of landmarks whose direction in space is compared."""
_FROM = torch.tensor([LANDMARK_INDEX[a] for a, _ in BONES])
_TO = torch.tensor([LANDMARK_INDEX[b] for _, b in BONES])


def landmark_weights(view: PersonView, margin: float = 0.02) -> NDArray[np.float32]:
    """Return how much each landmark counts, (33,), 0…1.

    What lies beyond the edge of the photograph is guessed by the networks, not seen.
    """
    slack = margin * max(view.width, view.height)
    x, y = view.landmarks.T
    inside = (x > -slack) & (y > -slack) & (x < view.width + slack) & (y < view.height + slack)
    return np.where(inside, np.square(view.visibility), 0.0).astype(np.float32)


@dataclass(frozen=True, kw_only=True)
class Seen:
    """A view as tensors.

    Attributes:
        landmarks: (33, 2) pixels.
        weights: (33,) 0…1.
        precision: (33,) one over the squared metres that a landmark may be off.
        directions: (len(BONES), 3) of unit length, x right, y up, z towards the camera; or None.
        direction_weights: (len(BONES),).
        distance: (H, W) pixels to the mask, 0 inside; or None.
        contour: (N, 2) pixels on the mask's edge, what the photograph's edge cuts left out; or None.
        stride: pixels of the photograph per pixel of `distance`.
    """

    landmarks: Tensor
    weights: Tensor
    precision: Tensor
    directions: Tensor | None
    direction_weights: Tensor
    distance: Tensor | None
    contour: Tensor | None
    stride: float

    @classmethod
    def of(cls, view: PersonView) -> Seen:
        """Return what terms need of a view."""
        weights = torch.from_numpy(landmark_weights(view))
        spreads = torch.tensor([_SPREADS[_part(name)] for name in LANDMARK_NAMES])
        directions = None
        if view.world is not None:
            flipped = torch.from_numpy(view.world * np.array([1.0, -1.0, -1.0], np.float32))
            directions = functional.normalize(flipped[_TO] - flipped[_FROM], dim=1)
        # Limbs that leave the photograph are guessed as parts of a whole person: they count less.
        guessed = torch.from_numpy(np.square(view.visibility)) * _BEYOND
        visible = torch.maximum(weights, guessed)
        distance = contour = None
        stride = 1.0
        if view.mask is not None and (view.mask > 0.5).any():
            distance, contour, stride = _contour(view.mask)
        return cls(
            landmarks=torch.from_numpy(view.landmarks),
            weights=weights,
            precision=spreads.pow(-2),
            directions=directions,
            direction_weights=torch.minimum(visible[_FROM], visible[_TO]),
            distance=distance,
            contour=contour,
            stride=stride,
        )


def project(points: Tensor, focal: float, width: int, height: int) -> Tensor:
    """Return pixels (…, 2) of points (…, 3): x right, y up, the camera at 0 looking along −z."""
    depth = (-points[..., 2:]).clamp_min(_LEAST_DEPTH)
    flat = torch.cat([points[..., :1], -points[..., 1:2]], dim=-1) / depth * focal
    return flat + flat.new_tensor([width / 2, height / 2])


def landmark_cost(seen: Seen, pixels: Tensor, metres: float) -> Tensor:
    """Return (B,) of projected landmarks (B, 33, 2); `metres` is what a pixel stands for."""
    square = (pixels - seen.landmarks).square().sum(dim=2) * metres**2
    return (seen.weights * seen.precision * _robust(square, ROBUST)).sum(dim=1)


def direction_cost(seen: Seen, landmarks: Tensor) -> Tensor:
    """Return (B,) of landmarks in space (B, 33, 3); 0 when nothing is known of directions."""
    if seen.directions is None:
        return landmarks.new_zeros(len(landmarks))
    along = functional.normalize(landmarks[:, _TO] - landmarks[:, _FROM], dim=2)
    # 2 (1 − cos) is the squared angle of small ones.
    square = 2.0 * (1.0 - (along * seen.directions).sum(dim=2))
    return (seen.direction_weights * _robust(square, 1.0)).sum(dim=1) / DIRECTION_SPREAD**2


def inside_cost(seen: Seen, pixels: Tensor, counts: Tensor, metres: float) -> Tensor:
    """Return (B,): how far projected vertices (B, N, 2) lie outside the mask.

    Args:
        seen: the view, with a mask.
        pixels: of the vertices; those outside the photograph do not count.
        counts: (N,) how much each vertex counts.
        metres: what a pixel stands for.
    """
    if seen.distance is None:
        return pixels.new_zeros(len(pixels))
    height, width = seen.distance.shape
    size = pixels.new_tensor([width, height]) * seen.stride
    place = pixels / size * 2.0 - 1.0
    field = seen.distance.expand(len(pixels), 1, height, width)
    away = functional.grid_sample(
        field, place[:, None], padding_mode="border", align_corners=False
    )[:, 0, 0]
    shown = (place.detach().abs() < 1.0).all(dim=2) * counts
    cost = shown * _robust((away * metres).square(), 0.1)
    # The mean over what the photograph shows: of a half-length portrait that is half a body.
    return CONTOUR_COUNT * cost.sum(dim=1) / shown.sum(dim=1).clamp_min(1.0) / INSIDE_SPREAD**2


def around_cost(seen: Seen, pixels: Tensor, counts: Tensor, metres: float) -> Tensor:
    """Return (B,): how far the mask's edge lies from the nearest projected vertex (B, N, 2).

    What is not seen is not pulled there: arguments as of `inside_cost`.
    """
    if seen.contour is None:
        return pixels.new_zeros(len(pixels))
    with torch.no_grad():
        nearest = torch.cdist(seen.contour.expand(len(pixels), -1, -1), pixels).argmin(dim=2)
    chosen = pixels.gather(1, nearest[..., None].expand(-1, -1, 2))
    square = (chosen - seen.contour).square().sum(dim=2) * metres**2
    cost = counts[nearest] * _robust(square, 0.08)
    return CONTOUR_COUNT * cost.mean(dim=1) / AROUND_SPREAD**2


def _robust(square: Tensor, scale: float) -> Tensor:
    """Return Geman and McClure's bounded squares: errors far beyond the scale stop pulling."""
    return square * scale**2 / (square + scale**2)


def _part(name: str) -> str:
    return name.removeprefix("left_").removeprefix("right_")


def _contour(mask: NDArray[np.float32]) -> tuple[Tensor, Tensor, float]:
    """Return distances to the mask in pixels, points of its edge, and the stride of the former."""
    # A field of some 256 pixels is as fine as a body fit can be.
    step = max(1, max(mask.shape) // 256)
    inside = mask[step // 2 :: step, step // 2 :: step] > 0.5
    distance = np.asarray(ndimage.distance_transform_edt(~inside), np.float32) * step
    eroded = np.asarray(ndimage.binary_erosion(inside, border_value=1), bool)
    edge = inside & ~eroded
    y, x = np.nonzero(edge)
    if len(x) > CONTOUR_POINTS:
        chosen = np.linspace(0, len(x) - 1, CONTOUR_POINTS).astype(int)
        x, y = x[chosen], y[chosen]
    points = np.stack([x + 0.5, y + 0.5], axis=1).astype(np.float32) * step
    return torch.from_numpy(distance), torch.from_numpy(points), float(step)
