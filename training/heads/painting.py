"""A bust painted per pixel: image and label map of a portrait."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from training.heads.maps import Seen, label_map, look
from training.people.materials import Color, Look, Pixels, cloth_look, hair_look, linear
from training.people.noise import mix, smoothstep
from training.people.skin import eye_look, skin_look
from training.people.studio import shade, to_srgb
from training.people.surfaces import NormalOperator, occlusion

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from blender_addon.contract.camera import Camera
    from training.heads.busts import Bust
    from training.heads.colors import Backdrop, PortraitColors

    Floats = NDArray[np.float32]

_SAMPLES = 2
_SOLID = ("skin", "eyes")
_GUMS = np.array([0.10, 0.022, 0.022], np.float32)
_TEETH: Color = (0.80, 0.76, 0.69)


@dataclass(frozen=True)
class Shell:
    """What light needs of a bust, whoever looks: normals (V, 3) and openness (V,)."""

    normals: Floats
    openness: Floats


def shell_of(bust: Bust) -> Shell:
    """Measure a bust's normals and how open it lies to the light."""
    normals = NormalOperator(bust.faces, len(bust.vertices))(bust.vertices)
    vertices, outward = bust.vertices.astype(np.float64), normals.astype(np.float64)
    openness = occlusion(vertices, outward, vertices, bust.faces)
    return Shell(normals, openness.astype(np.float32))


def paint_portrait(
    bust: Bust, shell: Shell, colors: PortraitColors, camera: Camera
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Return a portrait's (H, W, 3) uint8 sRGB image and its (H, W) uint8 label map.

    Args:
        bust: the head.
        shell: of `shell_of`.
        colors: of everything.
        camera: where from.
    """
    height, width = camera.height, camera.width
    fine = camera.cropped(0, 0, width * _SAMPLES, height * _SAMPLES, _SAMPLES)
    seen = look(bust, fine)
    image = backdrop_image(colors.backdrop, height, width).repeat(_SAMPLES, 0).repeat(_SAMPLES, 1)
    image[seen.covered] = to_srgb(_light(bust, shell, colors, fine, seen))
    image = image.reshape(height, _SAMPLES, width, _SAMPLES, 3).mean(axis=(1, 3))
    labels = label_map(bust, look(bust, camera))
    return np.rint(np.clip(image, 0, 1) * 255).astype(np.uint8), labels


@dataclass(frozen=True)
class PartPixels:
    """The pixels of an image that show one part of a bust.

    Attributes:
        name: of the part.
        mine: (N,) bool, which of the N pixels that show the bust.
        look: what they are made of.
        normal: (M, 3) unit, towards the viewer.
        view: (M, 3) unit, towards the camera.
        openness: (M,) to the light.
    """

    name: str
    mine: NDArray[np.bool_]
    look: Look
    normal: Floats
    view: Floats
    openness: Floats


def parts_seen(
    bust: Bust, shell: Shell, colors: PortraitColors, camera: Camera, seen: Seen
) -> Iterator[PartPixels]:
    """Yield the materials of the pixels that a camera sees, part by part."""
    corners = bust.faces[seen.face]
    values = np.concatenate(
        [bust.static, shell.normals, bust.vertices, shell.openness[:, None]], axis=1
    )
    at = np.einsum("nc,nck->nk", seen.share, values[corners])
    static, normal, place, openness = at[:, :9], at[:, 9:12], at[:, 12:15], at[:, 15]
    normal = normal / np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-9)
    view = camera.center.astype(np.float32) - place
    view = view / np.linalg.norm(view, axis=1, keepdims=True)
    footprint = float(np.median(seen.depth)) / float(camera.K[0, 0])
    owner = bust.owner[seen.face]
    for index, part in enumerate(bust.parts):
        mine = owner == index
        if not mine.any():
            continue
        n, v, open_ = normal[mine], view[mine], openness[mine]
        if part.name not in _SOLID:
            # Cloth, hair and brims are seen from both sides.
            inside = (n * v).sum(axis=1) < 0
            n = np.where(inside[:, None], -n, n)
            open_ = open_ * np.where(inside, np.float32(0.45), np.float32(1.0))
        pixels = _pixels(bust, part.name, static[mine], footprint)
        yield PartPixels(part.name, mine, _look_of(bust, part.name, colors, pixels), n, v, open_)


def _light(bust: Bust, shell: Shell, colors: PortraitColors, camera: Camera, seen: Seen) -> Floats:
    """(N, 3) linear light of the pixels seen."""
    light = np.empty((len(seen.face), 3), np.float32)
    for part in parts_seen(bust, shell, colors, camera, seen):
        light[part.mine] = shade(part.look, part.normal, part.view, part.openness, colors.lights)
    return light


def _pixels(bust: Bust, part: str, static: Floats, footprint: float) -> Pixels:
    paint = static[:, :3]
    if part == "skin":
        paint = bust.person.face.moved(paint, bust.bare)
    return Pixels(
        paint=paint,
        rest=static[:, 3:6],
        coords=static[:, 6:8],
        edge=static[:, 8],
        palm=np.zeros(len(static), np.float32),
        footprint=footprint,
    )


def _look_of(bust: Bust, part: str, colors: PortraitColors, pixels: Pixels) -> Look:
    count = len(pixels.paint)
    if part == "skin":
        none = np.zeros(count, np.float32)
        look_ = skin_look(colors.complexion, bust.bare, [], pixels, none)
        # Deep in the mouth, beyond what is drawn as its inside.
        look_.albedo = mix(look_.albedo, _GUMS, smoothstep(0.3, 0.7, pixels.coords[:, 0]))
        return look_
    if part == "eyes":
        return eye_look(colors.complexion, bust.bare, pixels)
    if part in ("hair", "beard"):
        return hair_look(colors.hair, pixels)
    cloths = {"top": colors.top, "collar": colors.collar, "hat": colors.hat}
    if part in cloths:
        return cloth_look(cloths[part], pixels)
    hard = {
        "glasses": (colors.frame, 0.55),
        "lenses": (colors.lens, 0.9),
        "ear-rings": (colors.metal, 0.9),
        "necklace": (colors.necklace, 0.7),
        "teeth": (_TEETH, 0.35),
    }
    color, gloss = hard[part]
    return _hard(color, gloss, count)


def _hard(color: Color, gloss: float, count: int) -> Look:
    """Metal, plastic and glass: even and shiny."""
    albedo = np.broadcast_to(linear(color), (count, 3)).astype(np.float32)
    return Look(albedo, np.full(count, gloss, np.float32), 45.0, None, 0.1)


def backdrop_image(backdrop: Backdrop, height: int, width: int) -> Floats:
    """(H, W, 3) sRGB: a gradient with soft patches out of focus."""
    down = np.linspace(0, 1, height, dtype=np.float32)[:, None, None]
    top, bottom = np.array(backdrop.top, np.float32), np.array(backdrop.bottom, np.float32)
    image = np.tile(top + down * (bottom - top), (1, width, 1)).astype(np.float32)
    rng = np.random.default_rng(backdrop.seed)
    row, column = np.mgrid[0:height, 0:width].astype(np.float32) / height
    for _ in range(backdrop.blobs):
        y, x = rng.uniform(-0.1, 1.1, 2)
        radius = rng.uniform(0.05, 0.35)
        long = rng.uniform(0.6, 1.7)
        away = np.hypot((row - y) / long, column - x) / radius
        soft = smoothstep(1.0, float(rng.uniform(0.2, 0.85)), away) * backdrop.contrast
        color = np.clip(top + rng.normal(0, 0.22, 3), 0, 1).astype(np.float32)
        share = soft * np.float32(rng.uniform(0.4, 1.0))
        image = (image + share[..., None] * (color - image)).astype(np.float32)
    return image
