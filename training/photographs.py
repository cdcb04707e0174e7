"""Makes synthetic portraits as varied as photographs are, so that what they teach is not their look.

A parser that has seen only portraits of our own fails on the first photograph unless colours,
backgrounds, light, sharpness, place and size differ more in training than among photographs.
All is drawn from one generator: the same generator gives the same picture.
"""

from __future__ import annotations

import io
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from blender_addon.contract.labels import Label, mirror_labels

if TYPE_CHECKING:
    from numpy.typing import NDArray

LUMA = np.array([0.299, 0.587, 0.114], np.float32)
RESTYLED = (Label.CLOTH, Label.HAT)
"""Regions that may take any pattern."""


@dataclass(frozen=True, kw_only=True)
class PhotographChances:
    """How much portraits are changed; chances are per portrait, 0…1.

    Attributes:
        scale: least and greatest enlargement.
        turn: greatest rotation in degrees, to both sides.
        shift: greatest shift in shares of the image's side.
        mirror: left and right swap, and the nose's halves their labels.
        background: another backdrop.
        cloth: another pattern on clothes and hats.
        hair: another tint of the hair.
        occluder: something before the head, labelled background.
        shadow: cast shadows and uneven light.
        colour: gamma, contrast, hue, saturation, white balance.
        grey: no colours at all.
        blur: out of focus, enlarged from fewer pixels, or sharpened.
        noise: of a sensor.
        jpeg: compression.
    """

    scale: tuple[float, float] = (0.5, 1.7)
    turn: float = 20.0
    shift: float = 0.12
    mirror: float = 0.5
    background: float = 0.7
    cloth: float = 0.35
    hair: float = 0.25
    occluder: float = 0.25
    shadow: float = 0.5
    colour: float = 0.9
    grey: float = 0.08
    blur: float = 0.6
    noise: float = 0.5
    jpeg: float = 0.5


def as_photograph(
    image: NDArray[np.uint8],
    labels: NDArray[np.uint8],
    size: int,
    chances: PhotographChances,
    rng: np.random.Generator,
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Change one portrait.

    Args:
        image: (S, S, 3) uint8 sRGB.
        labels: (S, S) uint8.
        size: side of the result in pixels.
        chances: how much.
        rng: source of all chance.

    Returns:
        image (size, size, 3) uint8 and labels (size, size) uint8.
    """
    image, labels = _placed(image, labels, size, chances, rng)
    picture = image.astype(np.float32) / 255.0
    for regions, chance in (((Label.BACKGROUND,), chances.background), (RESTYLED, chances.cloth)):
        if rng.random() < chance:
            picture = _repainted(picture, labels, regions, rng)
    if rng.random() < chances.hair:
        tint = rng.uniform(0.3, 1.8, 3).astype(np.float32)
        hair = np.isin(labels, (Label.HAIR, Label.BROW))
        picture[hair] = np.clip(picture[hair] * tint, 0, 1)
    if rng.random() < chances.occluder:
        picture, labels = _occluded(picture, labels, rng)
    if rng.random() < chances.shadow:
        picture = picture * _light(size, rng)[..., None]
    if rng.random() < chances.colour:
        picture = _recoloured(picture, rng)
    if rng.random() < chances.grey:
        picture = np.repeat((picture @ LUMA)[..., None], 3, axis=2)
    return _as_taken(picture, chances, rng), labels


def pattern(size: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """Return a backdrop or cloth of any kind, (size, size, 3) 0…1."""
    kind = rng.integers(5)
    count = int(rng.integers(2, 6))
    colours = rng.uniform(0, 1, (count, 3)).astype(np.float32)
    if rng.random() < 0.5:
        # Real surroundings are seldom garish.
        grey = colours @ LUMA
        colours = grey[:, None] + np.float32(rng.uniform(0, 0.4)) * (colours - grey[:, None])
    if kind == 0:
        place = _along(size, rng)
    elif kind == 1:
        wave = np.sin(_along(size, rng) * rng.uniform(6, 80) + rng.uniform(0, 6))
        place = (wave > 0).astype(np.float32) if rng.random() < 0.5 else 0.5 + 0.5 * wave
    elif kind == 2:
        place = _blobs(size, int(rng.integers(2, 14)), rng)
    elif kind == 3:
        place = np.zeros((size, size), np.float32)
        for cells in (3, 7, 16, 40):
            place += _blobs(size, cells, rng) * rng.uniform(0, 1)
        place = (place - place.min()) / max(float(np.ptp(place)), 1e-6)
    else:
        return _collage(size, colours.astype(np.float32), rng)
    steps = np.linspace(0, 1, count)
    if rng.random() < 0.3:
        place = np.round(place * (count - 1)) / (count - 1)
    painted = [np.interp(place, steps, colours[:, channel]) for channel in range(3)]
    return np.stack(painted, axis=2).astype(np.float32)


def _placed(
    image: NDArray[np.uint8],
    labels: NDArray[np.uint8],
    size: int,
    chances: PhotographChances,
    rng: np.random.Generator,
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Enlarge, turn, shift and mirror; what lies outside goes on as the border does."""
    side = image.shape[0]
    least, most = chances.scale
    scale = math.exp(rng.uniform(math.log(least), math.log(most)))
    angle = math.radians(rng.uniform(-chances.turn, chances.turn))
    # Smaller heads may stand farther from the middle.
    reach = chances.shift * side * max(1.0, 1.0 / scale)
    x, y = rng.uniform(-reach, reach, 2)
    step = side / size / scale
    turn = np.array([[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]])
    middle = side / 2 + np.array([x, y])
    if step > 1.5:
        # Fewer pixels first: an average of what a new pixel covers, instead of a sample of it.
        fewer = max(round(side / step), 8)
        reduced = Image.fromarray(image).resize((fewer, fewer), Image.Resampling.BOX)
        image, ratio = np.array(reduced), fewer / side
    else:
        ratio = 1.0
    picture = _cut(image, size, ratio * step * turn, ratio * middle, Image.Resampling.BILINEAR)
    map_ = _cut(labels, size, step * turn, middle, Image.Resampling.NEAREST)
    if rng.random() < chances.mirror:
        return np.ascontiguousarray(picture[:, ::-1]), np.ascontiguousarray(mirror_labels(map_))
    return picture, map_


def _cut(
    pixels: NDArray[np.uint8],
    size: int,
    turn: NDArray[np.float64],
    middle: NDArray[np.float64],
    how: Image.Resampling,
) -> NDArray[np.uint8]:
    """Return a turned square of an image: `turn` (2, 2) is in its pixels per new pixel."""
    corners = middle + np.array([[-1, -1], [-1, 1], [1, -1], [1, 1]]) * (size / 2) @ turn.T
    beyond = max(-corners.min(), corners.max() - len(pixels), 0.0)
    margin = math.ceil(beyond) + 2
    rest = [(0, 0)] * (pixels.ndim - 2)
    source = Image.fromarray(np.pad(pixels, [(margin, margin)] * 2 + rest, mode="edge"))
    start = middle + margin - turn @ np.array([size / 2, size / 2])
    places = (*turn[0], start[0], *turn[1], start[1])
    return np.array(source.transform((size, size), Image.Transform.AFFINE, places, how))


def _repainted(
    picture: NDArray[np.float32],
    labels: NDArray[np.uint8],
    regions: tuple[Label, ...],
    rng: np.random.Generator,
) -> NDArray[np.float32]:
    """Paint regions with a pattern, softly at the border; cloth keeps its folds."""
    size = len(labels)
    mask = Image.fromarray((np.isin(labels, regions) * 255).astype(np.uint8))
    mask = mask.filter(ImageFilter.GaussianBlur(float(rng.uniform(0.3, 0.9))))
    share = np.asarray(mask, np.float32)[..., None] / 255.0
    fresh = pattern(size, rng)
    if Label.BACKGROUND not in regions:
        folds = (picture @ LUMA)[..., None]
        inside = np.isin(labels, regions)
        mean = float(folds[inside].mean()) if inside.any() else 0.5
        fresh = np.clip(fresh * (folds + 0.1) / (mean + 0.1), 0, 1)
    return (picture + share * (fresh - picture)).astype(np.float32)


def _occluded(
    picture: NDArray[np.float32], labels: NDArray[np.uint8], rng: np.random.Generator
) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """Hold something before the head: an ellipse or a polygon of any pattern."""
    size = len(labels)
    mask = Image.new("L", (size, size))
    draw = ImageDraw.Draw(mask)
    for _ in range(int(rng.integers(1, 3))):
        middle = rng.uniform(0, size, 2)
        reach = rng.uniform(0.04, 0.2, 2) * size
        if rng.random() < 0.5:
            draw.ellipse([*(middle - reach), *(middle + reach)], fill=255)
        else:
            angles = np.sort(rng.uniform(0, 2 * np.pi, int(rng.integers(3, 7))))
            ring = middle[:, None] + reach[:, None] * np.stack([np.cos(angles), np.sin(angles)])
            draw.polygon([(float(x), float(y)) for x, y in ring.T], fill=255)
    inside = np.asarray(mask) > 127
    picture, labels = picture.copy(), labels.copy()
    picture[inside] = pattern(size, rng)[inside]
    labels[inside] = Label.BACKGROUND
    return picture, labels


def _light(size: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """Return factors: light that falls off to a side, and a shadow with a soft edge."""
    light = 1.0 + rng.uniform(-0.4, 0.4) * (_along(size, rng) - 0.5)
    if rng.random() < 0.6:
        edge = rng.uniform(2, 60)
        shadow = _blobs(size, int(rng.integers(2, 6)), rng) if rng.random() < 0.5 else None
        place = _along(size, rng) if shadow is None else shadow
        lit = 1.0 / (1.0 + np.exp(-edge * (place - rng.uniform(0.25, 0.75))))
        light = light * (1.0 - rng.uniform(0.2, 0.65) * lit)
    return light.astype(np.float32)


def _recoloured(picture: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
    grey = (picture @ LUMA)[..., None]
    changed: NDArray[np.floating] = grey + rng.uniform(0.3, 1.5) * (picture - grey)
    if rng.random() < 0.35:
        changed = changed @ _hue(math.radians(rng.uniform(-40, 40)))
    changed = changed * rng.uniform(0.8, 1.2, 3)
    mean, contrast = float(changed.mean()), rng.uniform(0.6, 1.5)
    changed = np.clip(mean + contrast * (changed - mean) + rng.uniform(-0.12, 0.12), 0, 1)
    return (changed ** math.exp(rng.uniform(-0.5, 0.5))).astype(np.float32)


def _as_taken(
    picture: NDArray[np.float32], chances: PhotographChances, rng: np.random.Generator
) -> NDArray[np.uint8]:
    """Return what a camera would have kept: blur, noise, compression."""
    size = len(picture)
    image = Image.fromarray((np.clip(picture, 0, 1) * 255.0 + 0.5).astype(np.uint8))
    if rng.random() < chances.blur:
        kind = rng.random()
        if kind < 0.4:
            image = image.filter(ImageFilter.GaussianBlur(float(rng.uniform(0.2, 1.6))))
        elif kind < 0.8:
            fewer = max(int(size * rng.uniform(0.35, 0.9)), 8)
            smaller = image.resize((fewer, fewer), Image.Resampling.BOX)
            image = smaller.resize((size, size), Image.Resampling.BICUBIC)
        else:
            image = image.filter(ImageFilter.UnsharpMask(2, int(rng.uniform(50, 200)), 0))
    if rng.random() < chances.noise:
        grain = int(rng.integers(1, 3))
        few = -(-size // grain)
        noise = rng.normal(0, rng.uniform(1, 14), (few, few, 3 if rng.random() < 0.6 else 1))
        noise = noise.repeat(grain, 0).repeat(grain, 1)[:size, :size]
        noisy = np.asarray(image, np.float32) + noise.astype(np.float32)
        image = Image.fromarray(np.clip(noisy, 0, 255).astype(np.uint8))
    if rng.random() < chances.jpeg:
        file = io.BytesIO()
        image.save(file, "JPEG", quality=int(rng.integers(25, 95)))
        image = Image.open(file)
    return np.array(image)


def _along(size: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """Return a ramp 0…1 in any direction."""
    angle = rng.uniform(0, 2 * np.pi)
    y, x = np.mgrid[0:size, 0:size].astype(np.float32) / size - 0.5
    ramp = x * np.cos(angle) + y * np.sin(angle)
    return ((ramp - ramp.min()) / float(np.ptp(ramp))).astype(np.float32)


def _blobs(size: int, cells: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """Return smooth noise 0…1."""
    few = Image.fromarray((rng.uniform(0, 255, (cells, cells))).astype(np.uint8))
    return np.asarray(few.resize((size, size), Image.Resampling.BICUBIC), np.float32) / 255.0


def _collage(
    size: int, colours: NDArray[np.float32], rng: np.random.Generator
) -> NDArray[np.float32]:
    """Return boxes, ellipses and lines before each other, as shelves, signs and flags are."""
    shades = [tuple(int(255 * value) for value in colour) for colour in colours]
    image = Image.new("RGB", (size, size), shades[0])
    draw = ImageDraw.Draw(image)
    for _ in range(int(rng.integers(3, 25))):
        shade = shades[int(rng.integers(len(shades)))]
        corner = rng.uniform(-0.2, 1, 2) * size
        far = corner + rng.uniform(0.05, 0.6, 2) * size
        kind = rng.integers(3)
        if kind == 0:
            draw.rectangle([*corner, *far], fill=shade)
        elif kind == 1:
            draw.ellipse([*corner, *far], fill=shade)
        else:
            draw.line([*corner, *far], fill=shade, width=int(rng.integers(1, 12)))
    if rng.random() < 0.5:
        image = image.filter(ImageFilter.GaussianBlur(float(rng.uniform(0.5, 6))))
    return np.asarray(image, np.float32) / 255.0


def _hue(angle: float) -> NDArray[np.float32]:
    """Return the (3, 3) rotation about grey, to multiply from the right."""
    c, s = math.cos(angle), math.sin(angle)
    third, root = (1 - c) / 3, s / math.sqrt(3)
    turn = [
        [c + third, third - root, third + root],
        [third + root, c + third, third - root],
        [third - root, third + root, c + third],
    ]
    return np.array(turn, np.float32)
