"""The studio: soft light from all around, a key, a fill and two rims, fixed to the person's root.

The lights turn with the person, so that light baked into an avatar is the same function of the
pose in every frame.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from training.people.noise import smoothstep

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from training.people.materials import Look

    Floats = NDArray[np.floating]

_LIGHTS: tuple[tuple[tuple[float, float, float], tuple[float, float, float], bool], ...] = (
    # Direction towards the light in the root's axes, colour (linear), does it make highlights.
    ((0.50, 0.62, 0.72), (0.98, 0.93, 0.86), True),
    ((-0.80, 0.25, 0.50), (0.26, 0.29, 0.34), False),
    ((-0.55, 0.45, -0.75), (0.36, 0.37, 0.42), True),
    ((0.65, 0.35, -0.70), (0.30, 0.28, 0.26), True),
)
_SKY = np.array([0.47, 0.49, 0.53], np.float32)
_GROUND = np.array([0.24, 0.22, 0.20], np.float32)


def shade(look: Look, normal: Floats, view: Floats, open_to_light: Floats) -> Floats:
    """Light the pixels of a material.

    Args:
        look: N pixels of a material.
        normal: (N, 3) unit, in the root's axes, towards the viewer.
        view: (N, 3) unit, towards the camera, in the root's axes.
        open_to_light: (N,) ambient occlusion, 1 for open.

    Returns:
        (N, 3) linear light.
    """
    if look.tilt is not None:
        normal = normal + look.tilt
        normal = normal / np.linalg.norm(normal, axis=1, keepdims=True)
    up = (0.5 + 0.5 * normal[:, 1])[:, None]
    light = (_GROUND * (1 - up) + _SKY * up) * open_to_light[:, None]
    shine = np.zeros_like(light)
    # What lies deep is also hidden from most lamps, but less than from the sky.
    lamp_open = np.sqrt(open_to_light)[:, None]
    for direction, color, highlights in _LIGHTS:
        way = np.asarray(direction, np.float32)
        way = way / np.linalg.norm(way)
        lamp = np.asarray(color, np.float32)
        facing = normal @ way
        wrapped = np.clip((facing + look.soft) / (1 + look.soft), 0, 1)
        light = light + lamp * (wrapped * wrapped ** (0.5 * look.soft))[:, None] * lamp_open
        if highlights:
            half = view + way
            half = half / np.maximum(np.linalg.norm(half, axis=1, keepdims=True), 1e-6)
            near = np.clip((normal * half).sum(axis=1), 0, 1)
            spot = near**look.sharpness * smoothstep(-0.05, 0.25, facing)
            shine = shine + lamp * (look.gloss * spot)[:, None] * lamp_open
    grazing = (1 - np.clip((normal * view).sum(axis=1), 0, 1)) ** 4
    sheen = (0.05 + 0.25 * look.gloss) * grazing * open_to_light
    return look.albedo * light + 0.55 * shine + sheen[:, None] * _SKY


def to_srgb(light: Floats) -> Floats:
    """Turn linear light into straight sRGB, 0…1, with a soft shoulder for the brightest."""
    light = np.where(
        light > 0.75, 0.75 + 0.25 * np.tanh((light - 0.75) / 0.25), np.maximum(light, 0)
    )
    return np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055).astype(
        np.float32
    )
