"""The studio: soft light from all around, a key, a fill and two rims, fixed to the person's root.

The lights turn with the person, so that light baked into an avatar is the same function of the
pose in every frame. Portraits bring lights of their own (`Lights`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from training.people.noise import smoothstep

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from training.people.materials import Look

    Floats = NDArray[np.floating]


@dataclass(frozen=True)
class Lamp:
    """A lamp: direction towards it, linear colour, and whether it makes highlights."""

    direction: tuple[float, float, float]
    color: tuple[float, float, float]
    highlights: bool = True


@dataclass(frozen=True)
class Lights:
    """Lamps, and the linear light from above and from below."""

    lamps: tuple[Lamp, ...]
    sky: tuple[float, float, float]
    ground: tuple[float, float, float]


STUDIO = Lights(
    lamps=(
        Lamp((0.50, 0.62, 0.72), (0.98, 0.93, 0.86)),
        Lamp((-0.80, 0.25, 0.50), (0.26, 0.29, 0.34), highlights=False),
        Lamp((-0.55, 0.45, -0.75), (0.36, 0.37, 0.42)),
        Lamp((0.65, 0.35, -0.70), (0.30, 0.28, 0.26)),
    ),
    sky=(0.47, 0.49, 0.53),
    ground=(0.24, 0.22, 0.20),
)
"""In the axes of the person's root."""


def shade(
    look: Look, normal: Floats, view: Floats, open_to_light: Floats, lights: Lights = STUDIO
) -> Floats:
    """Light the pixels of a material.

    Args:
        look: N pixels of a material.
        normal: (N, 3) unit, in the lights' axes, towards the viewer.
        view: (N, 3) unit, towards the camera, in the lights' axes.
        open_to_light: (N,) ambient occlusion, 1 for open.
        lights: what shines.

    Returns:
        (N, 3) linear light.
    """
    if look.tilt is not None:
        normal = normal + look.tilt
        normal = normal / np.linalg.norm(normal, axis=1, keepdims=True)
    up = (0.5 + 0.5 * normal[:, 1])[:, None]
    sky, ground = np.array(lights.sky, np.float32), np.array(lights.ground, np.float32)
    light = (ground * (1 - up) + sky * up) * open_to_light[:, None]
    shine = np.zeros_like(light)
    # What lies deep is also hidden from most lamps, but less than from the sky.
    lamp_open = np.sqrt(open_to_light)[:, None]
    for source in lights.lamps:
        way = np.asarray(source.direction, np.float32)
        way = way / np.linalg.norm(way)
        lamp = np.asarray(source.color, np.float32)
        facing = normal @ way
        wrapped = np.clip((facing + look.soft) / (1 + look.soft), 0, 1)
        light = light + lamp * (wrapped * wrapped ** (0.5 * look.soft))[:, None] * lamp_open
        if source.highlights:
            half = view + way
            half = half / np.maximum(np.linalg.norm(half, axis=1, keepdims=True), 1e-6)
            near = np.clip((normal * half).sum(axis=1), 0, 1)
            spot = near**look.sharpness * smoothstep(-0.05, 0.25, facing)
            shine = shine + lamp * (look.gloss * spot)[:, None] * lamp_open
    grazing = (1 - np.clip((normal * view).sum(axis=1), 0, 1)) ** 4
    sheen = (0.05 + 0.25 * look.gloss) * grazing * open_to_light
    return look.albedo * light + 0.55 * shine + sheen[:, None] * sky


def to_srgb(light: Floats) -> Floats:
    """Turn linear light into straight sRGB, 0…1, with a soft shoulder for the brightest."""
    light = np.where(
        light > 0.75, 0.75 + 0.25 * np.tanh((light - 0.75) / 0.25), np.maximum(light, 0)
    )
    return np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055).astype(
        np.float32
    )
