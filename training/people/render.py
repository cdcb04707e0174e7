"""A figure in a pose, seen by a camera: image and masks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from models.raster import rasterize
from training.people.figures import face_share
from training.people.materials import (
    Cloth,
    Leather,
    Look,
    Pixels,
    cloth_look,
    hair_look,
    leather_look,
)
from training.people.noise import smoothstep
from training.people.skin import eye_look, skin_look
from training.people.studio import shade, to_srgb

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from blender_addon.contract.camera import Camera
    from blender_addon.contract.operations import PosedBody
    from training.people.figures import Figure

    Floats = NDArray[np.float32]

_NEAR = 0.05


@dataclass(frozen=True)
class Picture:
    """A rendered frame.

    Attributes:
        image: (H, W, 3) uint8 sRGB over black, so premultiplied by the foreground.
        masks: (H, W, 3) uint8: foreground, hands, face.
    """

    image: NDArray[np.uint8]
    masks: NDArray[np.uint8]


def render(figure: Figure, body: PosedBody, camera: Camera, *, samples: int = 2) -> Picture:
    """Render a frame.

    Args:
        figure: the dressed person.
        body: its pose; the betas must be the figure's own.
        camera: where from.
        samples: per pixel along each side.
    """
    vertices = figure.posed(body)
    x, y, width, height = _window(vertices, camera)
    image = np.zeros((camera.height, camera.width, 3), np.uint8)
    masks = np.zeros((camera.height, camera.width, 3), np.uint8)
    if width == 0 or height == 0:
        return Picture(image, masks)
    part = camera.cropped(x, y, width * samples, height * samples, samples)
    layers = _render_part(figure, body, vertices, part)
    layers = layers.reshape(height, samples, width, samples, 6).mean(axis=(1, 3))
    bytes_ = np.rint(layers * 255).astype(np.uint8)
    image[y : y + height, x : x + width] = bytes_[..., :3]
    masks[y : y + height, x : x + width] = bytes_[..., 3:]
    return Picture(image, masks)


def _window(vertices: Floats, camera: Camera) -> tuple[int, int, int, int]:
    """Return x, y, width, height of the part of the image that the person can cover."""
    seen = vertices @ camera.R.T + camera.t
    if seen[:, 2].min() < _NEAR:
        return 0, 0, camera.width, camera.height
    pixels = camera.project(vertices)[:, :2]
    low = np.clip(np.floor(pixels.min(axis=0)) - 1, 0, [camera.width, camera.height]).astype(int)
    high = np.clip(np.ceil(pixels.max(axis=0)) + 1, 0, [camera.width, camera.height]).astype(int)
    size = np.maximum(high - low, 0)
    return int(low[0]), int(low[1]), int(size[0]), int(size[1])


def _render_part(figure: Figure, body: PosedBody, vertices: Floats, camera: Camera) -> Floats:
    """Return (H, W, 6) float32: premultiplied sRGB, foreground, hands, face."""
    seen = (vertices @ camera.R.T + camera.t).astype(np.float32)
    fragments = rasterize(
        torch.from_numpy(seen)[None],
        torch.from_numpy(figure.faces),
        torch.from_numpy(camera.K.astype(np.float32))[None],
        (camera.height, camera.width),
        near=_NEAR,
    )
    face = fragments.face[0].numpy()
    covered = face >= 0
    layers = np.zeros((camera.height, camera.width, 6), np.float32)
    if not covered.any():
        return layers
    face = face[covered]
    share = fragments.barycentric[0].numpy()[covered]
    depth = fragments.depth[0].numpy()[covered]
    corners = figure.faces[face]
    owner = figure.owner[face]
    root = body.pose[0].astype(np.float32)
    footprint = float(np.median(depth)) / float(camera.K[0, 0])
    static = _at(figure.static, corners, share)
    turned = figure.normal_operator(vertices) @ root
    normal = _unit(_at(turned, corners, share))
    view = _unit((camera.center.astype(np.float32) - _at(vertices, corners, share)) @ root)
    # Cloth is seen from both sides.
    back = (normal * view).sum(axis=1) < 0
    inside = back & (owner >= 2)
    normal = np.where(inside[:, None], -normal, normal)
    openness = static[:, 10] * np.where(inside, 0.45, 1.0).astype(np.float32)
    colors = np.empty((len(face), 3), np.float32)
    for piece in np.unique(owner):
        mine = owner == piece
        look = look_of(figure, int(piece), _pixels(static[mine], footprint), static[mine, 11])
        colors[mine] = shade(look, normal[mine], view[mine], openness[mine])
    hands = np.where(owner == 0, smoothstep(0.45, 0.55, static[:, 11]), 0)
    faces = np.where(owner <= 1, face_share(figure.bare, static[:, :3]), 0)
    layers[covered] = np.concatenate(
        [to_srgb(colors), np.ones((len(face), 1), np.float32), hands[:, None], faces[:, None]],
        axis=1,
    )
    return layers


def _pixels(static: Floats, footprint: float) -> Pixels:
    return Pixels(
        paint=static[:, :3],
        rest=static[:, 3:6],
        coords=static[:, 6:8],
        edge=static[:, 8],
        palm=static[:, 9],
        footprint=footprint,
    )


def look_of(figure: Figure, owner: int, pixels: Pixels, hand: Floats) -> Look:
    """Return how the pixels of one owner (`Figure.owner`) look; `hand` (N,) is the hands' share."""
    complexion = figure.identity.complexion
    if owner == 0:
        return skin_look(complexion, figure.bare, figure.nails, pixels, hand)
    if owner == 1:
        return eye_look(complexion, figure.bare, pixels)
    material = figure.pieces[owner - 2].material
    if isinstance(material, Cloth):
        return cloth_look(material, pixels)
    if isinstance(material, Leather):
        return leather_look(material, pixels)
    return hair_look(material, pixels)


def _at(values: Floats, corners: NDArray[np.int64], share: Floats) -> Floats:
    """Interpolate (V, k) values at N pixels from their face's corners."""
    result = values[corners[:, 0]] * share[:, :1]
    result += values[corners[:, 1]] * share[:, 1:2]
    result += values[corners[:, 2]] * share[:, 2:]
    return result


def _unit(vectors: Floats) -> Floats:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9)
