"""Cameras: OpenCV K and [R|t], with pixels whose origin is the image's upper left corner.

The centre of the first pixel is (0.5, 0.5). `x_pixel = K (R x_world + t)`, divided by its
third number, which is the depth in metres. `from_blender` holds Blender's own rules
(sensor fit, shift, pixel aspect, resolution percentage).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from .errors import BadParameter, UnsupportedCamera

if TYPE_CHECKING:
    from numpy.typing import NDArray

MAX_IMAGE_SIDE = 8192
"""Largest width or height of an image that a request may ask for, in pixels."""

FULL_FRAME = 36.0
"""Millimetres along the longer side of the film that lenses are compared on."""

_LAST_ROW = np.array([0.0, 0.0, 1.0])
_IDENTITY = np.eye(3)


def focal_on_film(millimetres: float, width: int, height: int) -> float:
    """Return the focal length in pixels of a lens, given as on full-frame film.

    Film of 36 mm is the longer side of the picture, whichever way the camera was held.
    """
    return millimetres / FULL_FRAME * max(width, height)


@dataclass(frozen=True, kw_only=True)
class Camera:
    """A pinhole camera.

    Attributes:
        K: (3, 3) float64 intrinsics in pixels, corner origin, no skew.
        R: (3, 3) float64 rotation from world to camera (x right, y down, z forward).
        t: (3,) float64 translation in metres.
        width: image width in pixels.
        height: image height in pixels.
    """

    K: NDArray[np.float64]
    R: NDArray[np.float64]
    t: NDArray[np.float64]
    width: int
    height: int

    def __post_init__(self) -> None:
        for name, shape in (("K", (3, 3)), ("R", (3, 3)), ("t", (3,))):
            value = np.asarray(getattr(self, name), np.float64)
            if value.shape != shape or not np.isfinite(value).all():
                raise BadParameter(f"camera.{name} must be finite numbers of shape {shape}")
            object.__setattr__(self, name, value)
        if not (1 <= self.width <= MAX_IMAGE_SIDE and 1 <= self.height <= MAX_IMAGE_SIDE):
            raise BadParameter(f"an image side must lie in 1…{MAX_IMAGE_SIDE} pixels")
        if self.K[0, 0] <= 0 or self.K[1, 1] <= 0:
            raise BadParameter("camera.K must have positive focal lengths")
        if np.abs(self.K[2] - _LAST_ROW).max() > 1e-6 or self.K[0, 1] or self.K[1, 0]:
            raise BadParameter("camera.K must be a pinhole without skew")
        if np.abs(self.R.T @ self.R - _IDENTITY).max() > 1e-3 or np.linalg.det(self.R) < 0:
            raise BadParameter("camera.R must be a rotation")

    @property
    def center(self) -> NDArray[np.float64]:
        """(3,) position in the world, metres."""
        return -self.R.T @ self.t

    def to_wire(self) -> dict[str, NDArray[np.float64]]:
        """Return the arrays K (3, 3) and Rt (3, 4) of a request."""
        return {"K": self.K, "Rt": np.concatenate([self.R, self.t[:, None]], axis=1)}

    def cropped(self, x: float, y: float, width: int, height: int, scale: float = 1.0) -> Camera:
        """Return the camera of a part of the image.

        Args:
            x: left edge of the part in pixels of this image; may be fractional or outside.
            y: top edge of the part.
            width: width of the new image in its own pixels.
            height: height of the new image in its own pixels.
            scale: new pixels per pixel of this image.
        """
        K = self.K.copy()
        K[0, 2] -= x
        K[1, 2] -= y
        K[:2] *= scale
        return Camera(K=K, R=self.R, t=self.t, width=width, height=height)

    def project(self, points: NDArray[np.floating]) -> NDArray[np.float64]:
        """Project world points (…, 3) to (…, 3): x and y in pixels, depth in metres.

        Points in the camera's own plane have no pixel: their x and y are not finite.
        """
        seen = np.asarray(points, np.float64) @ self.R.T + self.t
        pixels = seen @ self.K.T
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.concatenate([pixels[..., :2] / pixels[..., 2:], seen[..., 2:]], axis=-1)


def look_at(
    eye: NDArray[np.floating],
    target: NDArray[np.floating],
    up: NDArray[np.floating],
    *,
    focal: float,
    width: int,
    height: int,
) -> Camera:
    """Return the camera at `eye` (3,) that sees `target` (3,) in the middle of its image.

    Args:
        up: (3,) direction that points up in the image.
        focal: focal length in pixels.
    """
    forward = np.asarray(target, np.float64) - np.asarray(eye, np.float64)
    forward = forward / np.linalg.norm(forward)
    right = np.cross(forward, np.asarray(up, np.float64))
    if np.linalg.norm(right) < 1e-9:
        raise BadParameter("the camera's up direction is its viewing direction")
    right = right / np.linalg.norm(right)
    R = np.stack([right, np.cross(forward, right), forward])
    K = np.array([[focal, 0.0, width / 2], [0.0, focal, height / 2], [0.0, 0.0, 1.0]])
    return Camera(K=K, R=R, t=-R @ np.asarray(eye, np.float64), width=width, height=height)


@dataclass(frozen=True, kw_only=True)
class BlenderLens:
    """What Blender's camera and render settings say, in Blender's own units and names."""

    lens: float
    sensor_width: float
    sensor_height: float
    sensor_fit: str
    shift_x: float
    shift_y: float
    resolution_x: int
    resolution_y: int
    resolution_percentage: int
    pixel_aspect_x: float
    pixel_aspect_y: float
    type: str = "PERSP"


def from_blender(lens: BlenderLens, world: NDArray[np.floating]) -> Camera:
    """Turn a Blender camera into K, [R|t].

    Args:
        lens: the camera's and the render settings' numbers.
        world: (4, 4) matrix_world of the camera object; its scale does not count.

    Raises:
        UnsupportedCamera: orthographic or panoramic cameras.

    Source: checked against Blender's own calc_matrix_camera (docs/cameras.md).
    """
    if lens.type != "PERSP":
        raise UnsupportedCamera(
            f"a camera of type {lens.type} cannot be rendered: the network was trained on pinholes"
        )
    width = int(lens.resolution_x * lens.resolution_percentage / 100)
    height = int(lens.resolution_y * lens.resolution_percentage / 100)
    ax, ay = lens.pixel_aspect_x, lens.pixel_aspect_y
    horizontal = lens.sensor_fit == "HORIZONTAL" or (
        lens.sensor_fit == "AUTO" and width * ax >= height * ay
    )
    sensor = lens.sensor_height if lens.sensor_fit == "VERTICAL" else lens.sensor_width
    view = float(width) if horizontal else height * ay / ax
    fx = lens.lens / sensor * view
    K = np.array(
        [
            [fx, 0.0, width / 2 - lens.shift_x * view],
            [0.0, fx * ax / ay, height / 2 + lens.shift_y * view * ax / ay],
            [0.0, 0.0, 1.0],
        ]
    )
    matrix = np.asarray(world, np.float64)
    axes = matrix[:3, :3] / np.linalg.norm(matrix[:3, :3], axis=0)
    R = np.diag([1.0, -1.0, -1.0]) @ axes.T
    return Camera(K=K, R=R, t=-R @ matrix[:3, 3], width=width, height=height)
