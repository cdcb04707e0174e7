"""The square in which a portrait is painted, and how a frame sees it.

The painter has learnt upright heads in the middle of square images. So it paints as a camera sees
that stands where the frame's camera stands but looks straight at the head, upright; between the two
images there is an exact homography, because both look from one point. Panning, tilting, rolling and
shifting the frame's camera then move the painted picture and do not change it.

The square shows what the frame shows of the head, at least ±`LEAST_HALF` metres (the painter wants
context) and at most the head's whole sphere.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from blender_addon.contract.camera import Camera

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

LEAST_HALF = 0.17
"""Half the width of the narrowest square at the head, metres: that of portraits in training."""
RIM = 1.03
"""Room between what the frame sees and the square's border."""
CLOSEST_HALF = 0.11
"""Half the width, in metres, that an image of the painter's own size shows where training came
closest: portraits of ±0.19 m enlarged by 1.7. No square is painted more finely than that."""
MOST_ENLARGED = 2.5
MOST_PIXELS = 384
"""How far squares are enlarged beyond the painter's own size, for the time it takes."""
_MULTIPLE = 32
WIDEST = 2.5
"""Tangent of the square's greatest half angle: for cameras within the head's sphere."""
_DIGITS = 5
"""Decimals of a camera's place in metres: a hundredth of a millimetre."""
_ON_POLE = 0.999
_BAND_PIXELS = 1 << 20
"""Frame pixels that are pasted at once: large frames need no memory of their size many times."""


@dataclass(frozen=True)
class Square:
    """A square image of a head, and the frame that it belongs to.

    Attributes:
        camera: of the square; looks at the head's origin, the head's top is up.
        frame: camera of the frame; it stands at the same place.
    """

    camera: Camera
    frame: Camera

    @property
    def to_square(self) -> NDArray[np.float64]:
        """(3, 3) from frame pixels (x, y, 1) to square pixels times their depth there."""
        turn = self.camera.R @ self.frame.R.T
        return self.camera.K @ turn @ np.linalg.inv(self.frame.K)

    def scaled(self, size: int) -> Square:
        """Return the same square with another number of pixels."""
        old = self.camera
        return Square(old.cropped(0, 0, size, size, size / old.width), self.frame)


def choose_square(frame: Camera, radius: float, size: int) -> Square | None:
    """Return the square for a frame, or None when the frame shows nothing of the head's sphere.

    Args:
        frame: camera in head space.
        radius: of the head's sphere in metres.
        size: side of the square in pixels.
    """
    # Cameras that only turn stand still to the last digit, so that what is painted stays.
    center = np.round(frame.center, _DIGITS)
    distance = float(np.linalg.norm(center))
    if not np.isfinite(distance) or distance < 1e-3:
        return None
    R = _upright(frame, -center / distance)
    # Tangents of half angles at the square's border.
    outside = distance > 1.05 * radius
    whole = radius / np.sqrt(distance**2 - radius**2) if outside else WIDEST
    whole = min(whole, WIDEST)
    visible = _visible(frame, R, whole)
    if len(visible) == 0:
        return None
    shown = RIM * float(np.abs(visible).max())
    half = min(max(shown, LEAST_HALF / distance), whole)
    focal = 0.5 * size / half
    K = np.array([[focal, 0.0, size / 2], [0.0, focal, size / 2], [0.0, 0.0, 1.0]])
    return Square(Camera(K=K, R=R, t=-R @ center, width=size, height=size), frame)


class Band(NamedTuple):
    """Some rows of a frame.

    Attributes:
        rows: of the frame.
        columns: of the frame.
        seen: (1, C, h, w) what is seen there.
        depth_ratio: (h, w) metres along the frame's axis per metre along the square's axis.
    """

    rows: slice
    columns: slice
    seen: Tensor
    depth_ratio: Tensor


def finer(square: Square, size: int) -> Square:
    """Return a square with as many pixels as make the painter paint best.

    The painter is convolutional: what it learnt of enlarged portraits serves for squares that are
    larger than its own, which show more at once. It depends on the square's width in metres only:
    small frames show the same picture as large ones.

    Args:
        square: of `choose_square`.
        size: side of the painter's own images in pixels.
    """
    camera = square.camera
    half = 0.5 * camera.width / camera.K[0, 0] * float(np.linalg.norm(camera.t))
    most = max(size, min(MOST_ENLARGED * size, MOST_PIXELS))
    side = min(max(size * half / CLOSEST_HALF, size), most)
    return square.scaled(max(int(side) // _MULTIPLE * _MULTIPLE, size))


def paste(square: Square, planes: Tensor, *, nearest: bool = False) -> Iterator[Band]:
    """See an image of the square through the frame.

    Args:
        square: where it belongs.
        planes: (1, C, S, S) float, of any resolution.
        nearest: take the nearest pixel instead of blending; outside the square are zeros anyway.

    Yields:
        the part of the frame that may see the square, band by band.
    """
    found = _target(square)
    if found is None:
        return
    rows, columns = found
    if not nearest:
        planes = _averaged(square, planes)
    mode = "nearest" if nearest else "bilinear"
    matrix = torch.from_numpy(square.to_square).to(planes.device)
    side = square.camera.width
    x = torch.arange(columns.start, columns.stop, device=planes.device) + 0.5
    step = max(_BAND_PIXELS // max(len(x), 1), 1)
    for top in range(rows.start, rows.stop, step):
        band = slice(top, min(top + step, rows.stop))
        y = torch.arange(band.start, band.stop, device=planes.device)[:, None] + 0.5
        # In double precision: products of large pixel numbers cancel.
        u, v, z = (
            (row[0] * x.double() + row[1] * y.double() + row[2]).to(torch.float32) for row in matrix
        )
        ahead = z > 1e-6
        grid = torch.stack([u, v], dim=-1) / z.clamp_min(1e-6)[..., None] * (2.0 / side) - 1.0
        grid = torch.where(ahead[..., None], grid, 2e3)
        seen = functional.grid_sample(
            planes, grid[None], mode=mode, padding_mode="zeros", align_corners=False
        )
        yield Band(band, columns, seen, 1.0 / z.clamp_min(1e-6))


def looked_up(square: Square, image: NDArray[np.uint8], outside: NDArray[np.uint8]) -> Tensor:
    """Sample an image of the frame at the square's pixels.

    Args:
        square: as large as `outside`.
        image: (H, W) of the frame.
        outside: (S, S): what the square has where the frame does not reach.

    Returns:
        (S, S) uint8 on the processor.
    """
    size = square.camera.width
    y, x = np.mgrid[0:size, 0:size] + 0.5
    pixels = np.stack([x, y, np.ones_like(x)], axis=-1) @ np.linalg.inv(square.to_square).T
    z = pixels[..., 2]
    known = z > 1e-9
    column, row = (np.floor(pixels[..., k] / np.where(known, z, 1.0)) for k in range(2))
    height, width = image.shape
    known &= (column >= 0) & (column < width) & (row >= 0) & (row < height)
    result = outside.copy()
    result[known] = image[row[known].astype(np.int64), column[known].astype(np.int64)]
    return torch.from_numpy(result)


def _upright(frame: Camera, forward: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the rotation of a camera that looks along `forward` with the head's top up."""
    up = np.array([0.0, 1.0, 0.0])
    if abs(forward[1]) > _ON_POLE:
        # From straight above, up is what the frame calls up; or, looking past it, ahead.
        up = -frame.R[1] if abs(frame.R[1] @ forward) < 0.9 else frame.R[2]
    right = np.cross(forward, up)
    right /= np.linalg.norm(right)
    return np.stack([right, np.cross(forward, right), forward])


def _visible(frame: Camera, R: NDArray[np.float64], half: float) -> NDArray[np.float64]:
    """Return the corners (n, 2), in tangents, of what a frame shows of the square ±half."""
    K, turn = frame.K, frame.R @ R.T
    # A direction d = (u, v, 1) of the square has the frame's pixel K turn d: the frame's four
    # borders are planes through the camera, straight lines of u and v.
    x, y, z = K @ turn
    polygon = half * np.array([[-1.0, -1.0], [1.0, -1.0], [1.0, 1.0], [-1.0, 1.0]])
    for border in (x, frame.width * z - x, y, frame.height * z - y):
        polygon = _clipped(polygon, border)
    return polygon


def _clipped(polygon: NDArray[np.float64], border: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the part of a convex polygon (n, 2) where a u + b v + c ≥ 0."""
    if len(polygon) == 0:
        return polygon
    inside = polygon @ border[:2] + border[2]
    corners: list[NDArray[np.float64]] = []
    for here, there, a, b in zip(
        polygon, np.roll(polygon, -1, axis=0), inside, np.roll(inside, -1), strict=True
    ):
        if a >= 0:
            corners.append(here)
        if (a >= 0) != (b >= 0):
            corners.append(here + (there - here) * (a / (a - b)))
    return np.array(corners).reshape(-1, 2)


def _target(square: Square) -> tuple[slice, slice] | None:
    """Return rows and columns of the frame that may see the square."""
    frame, side = square.frame, float(square.camera.width)
    corners = np.array([[0.0, 0.0], [side, 0.0], [side, side], [0.0, side]])
    pixels = np.c_[corners, np.ones(4)] @ np.linalg.inv(square.to_square).T
    low, high = np.zeros(2), np.array([frame.width, frame.height], np.float64)
    if (pixels[:, 2] > 1e-6).all():
        points = pixels[:, :2] / pixels[:, 2:]
        low = np.clip(np.floor(points.min(axis=0)) - 1, low, high)
        high = np.clip(np.ceil(points.max(axis=0)) + 1, low, high)
    (left, top), (right, bottom) = low.astype(int), high.astype(int)
    if right <= left or bottom <= top:
        return None
    return slice(int(top), int(bottom)), slice(int(left), int(right))


def pixels_per_frame_pixel(square: Square) -> float:
    """Return how many pixels of the square make one of the frame, at the square's middle."""
    middle = 0.5 * square.camera.width
    x, y, z = np.linalg.inv(square.to_square) @ np.array([middle, middle, 1.0])
    matrix = square.to_square
    # The homography's derivative at that pixel; its determinant is the ratio of areas.
    u, v, w = matrix @ np.array([x / z, y / z, 1.0])
    area = np.linalg.det(
        np.stack(
            [
                (matrix[0, :2] * w - u * matrix[2, :2]) / w**2,
                (matrix[1, :2] * w - v * matrix[2, :2]) / w**2,
            ]
        )
    )
    return float(np.sqrt(abs(area)))


def _averaged(square: Square, planes: Tensor) -> Tensor:
    """Average an image down to the frame's pixels where it is finer than they are."""
    size = planes.shape[-1]
    ratio = pixels_per_frame_pixel(square) * size / square.camera.width
    wanted = max(round(size / ratio), 1) if np.isfinite(ratio) and ratio > 0 else size
    if wanted >= size:
        return planes
    return functional.interpolate(planes, size=(wanted, wanted), mode="bilinear", antialias=True)
