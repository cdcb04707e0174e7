"""What things are made of, per pixel: skin, eyes, hair, cloth, leather.

Colours are linear light. Each material gets the pixels of its piece and returns their albedo,
gloss and a small tilt of the normal.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np

from training.people.noise import detail, mix, smoothstep

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.floating]

Color = tuple[float, float, float]
"""Straight sRGB, 0…1, as an artist picks it."""

Pattern = Literal[
    "plain", "stripes", "checks", "dots", "denim", "knit", "sport", "suit", "jacket", "tie",
    "flannel",
]  # fmt: skip
PATTERNS: tuple[Pattern, ...] = get_args(Pattern)

GIRTH = 0.16
"""Metres of radius at which patterns run around torso and skirt; cells meet at the seam."""

WAIST = -0.27
"""Height of the waist on the free body's template, metres."""


@dataclass(frozen=True)
class Pixels:
    """The pixels of one piece.

    Attributes:
        paint: (N, 3) metres on the unshaped template.
        rest: (N, 3) metres on the shaped person in the rest pose.
        coords: (N, 2) free coordinates of the piece.
        edge: (N,) metres to the nearest hem.
        palm: (N,) how far the rest pose's normal looks down, 0…1.
        footprint: metres between two samples of the image.
    """

    paint: Floats
    rest: Floats
    coords: Floats
    edge: Floats
    palm: Floats
    footprint: float

    def detail(self, points: Floats, scale: float | tuple[float, ...], seed: int) -> Floats:
        """Return noise that fades where the image cannot show it."""
        return detail(points, scale, self.footprint, seed)


@dataclass
class Look:
    """What a material says of its pixels.

    Attributes:
        albedo: (N, 3) linear.
        gloss: (N,) strength of the highlight.
        sharpness: its exponent.
        tilt: (N, 3) added to the normal, or None.
        soft: how far light wraps around, 0…1.
        strand: True for hair: the highlight stretches across strands.
    """

    albedo: Floats
    gloss: Floats
    sharpness: float = 20.0
    tilt: Floats | None = None
    soft: float = 0.2
    strand: bool = False


@dataclass(frozen=True, kw_only=True)
class Cloth:
    """A woven or knitted stuff.

    Attributes:
        pattern: its print.
        color: of the ground.
        accent: of the print.
        cell: metres of one repeat.
        hem: whether a seam runs along the hem.
        lower: colour of the ground below the waist, for suits of one piece; as `color` if None.
    """

    pattern: Pattern = "plain"
    color: Color = (0.5, 0.5, 0.5)
    accent: Color = (0.9, 0.9, 0.9)
    cell: float = 0.04
    hem: bool = True
    lower: Color | None = None


@dataclass(frozen=True, kw_only=True)
class Leather:
    """Shoes: an upper and a sole of another colour."""

    color: Color
    sole: Color = (0.9, 0.88, 0.84)
    accent: Color | None = None
    sole_height: float = 0.028


@dataclass(frozen=True, kw_only=True)
class Hair:
    """Hair of a colour; curls break the strands."""

    color: Color
    curly: bool = False


def linear(color: Color | NDArray[np.floating]) -> Floats:
    """Turn straight sRGB into linear light."""
    value = np.asarray(color, np.float32)
    return np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4).astype(
        np.float32
    )


def cloth_look(cloth: Cloth, pixels: Pixels) -> Look:
    """Return how a piece of cloth looks."""
    ground, accent = linear(cloth.color), linear(cloth.accent)
    across, down = _thread(pixels)
    soft = max(0.0006, 0.6 * pixels.footprint)
    if cloth.pattern == "stripes":
        albedo = mix(ground, accent, _band(down, cloth.cell, soft))
    elif cloth.pattern == "checks":
        one, other = _band(across, cloth.cell, soft), _band(down, cloth.cell, soft)
        albedo = mix(ground, accent, 0.5 * (one + other))
    elif cloth.pattern == "flannel":
        albedo = _flannel(ground, accent, across, down, cloth.cell, soft)
    elif cloth.pattern == "dots":
        albedo = mix(ground, accent, _dots(across, down, cloth.cell, soft))
    elif cloth.pattern == "sport":
        albedo = _sport(ground, accent, pixels, across, down, cloth.cell, soft)
    else:
        albedo = np.broadcast_to(ground, (len(across), 3)).astype(np.float32)
    if cloth.lower is not None:
        below = smoothstep(WAIST + soft, WAIST - soft, pixels.paint[:, 1])
        belt = smoothstep(0.016, 0.015, np.abs(pixels.paint[:, 1] - WAIST))
        albedo = mix(albedo, linear(cloth.lower), below)
        albedo = albedo * (1 - 0.6 * belt)[:, None]
    gloss = 0.05 if cloth.pattern == "suit" else 0.03
    albedo, tilt_size = _woven(cloth, albedo, accent, pixels, across, down, soft)
    weave = pixels.detail(pixels.paint, 420.0, 7)
    albedo = albedo * (1 + 0.06 * weave)[:, None]
    if cloth.hem:
        # A stitched line, and the dark of the cloth's thickness at the very edge.
        stitch = smoothstep(0.0028, 0.0012, np.abs(pixels.edge - 0.016))
        rim = smoothstep(0.0035, 0.0005, pixels.edge)
        albedo = albedo * (1 - 0.22 * stitch - 0.35 * rim)[:, None]
    creases = np.stack(
        [pixels.detail(pixels.paint, (34.0, 22.0, 34.0), 20 + k) for k in range(3)], 1
    )
    return Look(
        albedo, np.full(len(across), gloss, np.float32), 12.0, creases * tilt_size * 1.6, 0.22
    )


def _woven(
    cloth: Cloth,
    albedo: Floats,
    accent: Floats,
    pixels: Pixels,
    across: Floats,
    down: Floats,
    soft: float,
) -> tuple[Floats, float]:
    """Return the colours of patterns that are more than print, and how uneven the cloth lies."""
    tilt_size = 0.05
    if cloth.pattern == "denim":
        twill = pixels.detail(np.stack([across + down, down * 0.15], 1), 900.0, 3)
        worn = pixels.detail(pixels.paint, 9.0, 5)
        albedo = albedo * (1 + 0.16 * twill + 0.25 * worn)[:, None]
        tilt_size = 0.08
    elif cloth.pattern == "knit":
        rib = np.sin(across * (2 * np.pi / 0.007)) * np.clip(1.5 - pixels.footprint / 0.0014, 0, 1)
        albedo = albedo * (1 + 0.13 * rib)[:, None]
        tilt_size = 0.1
    elif cloth.pattern == "suit":
        line = _band(across, 0.016, soft, 0.06) * np.clip(1.6 - pixels.footprint / 0.0012, 0, 1)
        albedo = mix(albedo, accent, 0.22 * line)
    if cloth.pattern == "jacket":
        albedo = _jacket(albedo, accent, pixels)
    elif cloth.pattern == "tie":
        albedo = _tie(albedo, accent, pixels)
    return albedo, tilt_size


def leather_look(leather: Leather, pixels: Pixels) -> Look:
    """Return how shoes look; `coords[:, 1]` is the height above the ground."""
    height = pixels.coords[:, 1]
    sole = smoothstep(leather.sole_height + 0.001, leather.sole_height - 0.001, height)
    albedo = mix(linear(leather.color), linear(leather.sole), sole)
    seam = smoothstep(0.0016, 0.0006, np.abs(height - leather.sole_height))
    albedo = albedo * (1 - 0.5 * seam)[:, None]
    if leather.accent is not None:
        ahead = pixels.paint[:, 2]
        stripe = smoothstep(0.2, 0.35, np.sin((ahead + 0.6 * height) * (2 * np.pi / 0.034)))
        side = smoothstep(0.0, 0.015, ahead - 0.035) * smoothstep(0.115, 0.1, ahead)
        upper = (1 - sole) * smoothstep(0.042, 0.047, height) * smoothstep(0.075, 0.07, height)
        albedo = mix(albedo, linear(leather.accent), stripe * side * upper)
    albedo = albedo * (1 + 0.05 * pixels.detail(pixels.paint, 300.0, 4))[:, None]
    gloss = (0.22 * (1 - sole) + 0.04).astype(np.float32)
    return Look(albedo, gloss, 28.0, None, 0.12)


def hair_look(hair: Hair, pixels: Pixels) -> Look:
    """Return how hair looks: streaks along the strands, darker roots."""
    across, along = pixels.coords[:, 0], pixels.coords[:, 1]
    if hair.curly:
        fine = pixels.detail(pixels.paint, 260.0, 11)
        broad = pixels.detail(pixels.paint, 90.0, 12)
        tilt = np.stack([pixels.detail(pixels.paint, 170.0, 13 + k) for k in range(3)], 1) * 0.55
    else:
        wave = across + 0.004 * pixels.detail(np.stack([across, along], 1), (40.0, 9.0), 10)
        fine = pixels.detail(np.stack([wave, along], 1), (1500.0, 9.0), 11)
        broad = pixels.detail(np.stack([wave, along], 1), (260.0, 4.0), 12)
        tilt = np.stack(
            [pixels.detail(np.stack([wave, along], 1), (700.0, 7.0), 13 + k) for k in range(3)], 1
        )
        tilt = tilt * 0.22
    streak = 1 + 0.24 * fine + 0.3 * broad
    albedo = linear(hair.color)[None] * np.clip(streak, 0.3, 1.9)[:, None]
    gloss = (0.3 * np.clip(1 + 0.6 * fine, 0, 2) * (0.35 if hair.curly else 1)).astype(np.float32)
    return Look(
        albedo.astype(np.float32), gloss, 14.0, tilt.astype(np.float32), 0.25, strand=not hair.curly
    )


def _thread(pixels: Pixels) -> tuple[Floats, Floats]:
    """Return the coordinates of the print: around and down the torso, along and around sleeves."""
    x, y, z = pixels.paint.T
    around = np.arctan2(pixels.coords[:, 0], pixels.coords[:, 1]) * GIRTH
    sleeve = np.abs(x) > 0.2
    around_arm = np.arctan2(z - 0.02, y - 0.096) * 0.06
    across = np.where(sleeve, around_arm, around)
    down = np.where(sleeve, np.abs(x), y)
    return across.astype(np.float32), down.astype(np.float32)


def _band(value: Floats, cell: float, soft: float, share: float = 0.5) -> Floats:
    """Return 1 inside the stripes, 0 between, with edges `soft` metres wide to each side."""
    phase = np.abs((value / cell) % 1.0 - 0.5) * 2
    width = min(0.3, 2 * soft / cell)
    return smoothstep(1 - share - width, 1 - share + width, phase)


def _dots(across: Floats, down: Floats, cell: float, soft: float) -> Floats:
    row = np.floor(down / cell)
    u = (across / cell + 0.5 * (row % 2)) % 1.0 - 0.5
    v = (down / cell) % 1.0 - 0.5
    width = max(0.02, soft / cell)
    return smoothstep(0.27 + width, 0.27 - width, np.hypot(u, v).astype(np.float32))


def _flannel(
    ground: Floats, accent: Floats, across: Floats, down: Floats, cell: float, soft: float
) -> Floats:
    """A lumberjack's checks: broad bands that darken where they cross, a fine pale line between."""
    one, other = _band(across, cell, soft), _band(down, cell, soft)
    pale = _band(across + cell / 4, cell, soft, 0.09) + _band(down + cell / 4, cell, soft, 0.09)
    albedo = mix(ground, accent, 0.46 * (one + other))
    return mix(albedo, np.array([0.62, 0.50, 0.34], np.float32), 0.4 * np.clip(pale, 0, 1))


def _jacket(ground: Floats, accent: Floats, pixels: Pixels) -> Floats:
    """Lapels along the opening, a breast pocket, a button, the line where the fronts meet."""
    x, y, z = pixels.paint.T
    front = smoothstep(-0.005, 0.015, z)
    level = (0.171 - y) / 0.33
    away = (np.abs(x) - 0.08 * (1 - level)) * 0.95
    width = 0.052 * smoothstep(1.0, 0.35, level) * smoothstep(-0.15, 0.1, level) + 0.004
    notch = smoothstep(0.008, 0.0, np.abs(level - 0.2 - away * 1.5) * 0.33) * (away > 0.025)
    lapel = smoothstep(width + 0.001, width - 0.001, away) * front * (level < 1.0)
    line = smoothstep(0.0028, 0.0008, np.abs(away - width)) * front * (level < 1.0) * (level > 0.0)
    fold = smoothstep(0.003, 0.0008, np.abs(x)) * front * (level >= 0.97)
    pocket = smoothstep(0.0022, 0.0008, np.abs(y + 0.0 - 0.02 - 0.1 * (x - 0.09))) * (
        np.abs(x - 0.095) < 0.035
    )
    flap = smoothstep(0.003, 0.001, np.abs(y + 0.315)) * (np.abs(np.abs(x) - 0.105) < 0.05)
    dark = np.clip(line + fold + front * (pocket + flap) + 0.8 * notch * lapel, 0, 1)
    button = smoothstep(0.0085, 0.0065, np.hypot(x - 0.008, y + 0.185)) * front
    button = np.maximum(button, smoothstep(0.0085, 0.0065, np.hypot(x - 0.008, y + 0.275)) * front)
    albedo = ground * (1 + 0.22 * lapel)[:, None]
    albedo = albedo * (1 - 0.62 * dark)[:, None]
    return mix(albedo, accent, 0.8 * button)


def _tie(ground: Floats, accent: Floats, pixels: Pixels) -> Floats:
    """A tie with its knot, and the points of a collar."""
    x, y, z = pixels.paint.T
    top = 0.135
    front = smoothstep(0.0, 0.02, z)
    half = np.where(
        y > top - 0.04, 0.017 - 0.15 * (top - y), 0.012 + 0.085 * np.clip(top - 0.04 - y, 0, 0.3)
    )
    tie = (
        smoothstep(half + 0.001, half - 0.001, np.abs(x)) * smoothstep(top + 0.003, top, y) * front
    )
    stripes = smoothstep(0.3, 0.5, np.sin((x + y) * (2 * np.pi / 0.026)))
    colored = accent * (1 - 0.35 * stripes)[:, None]
    knot = smoothstep(0.002, 0.0006, np.abs(y - (top - 0.04)))
    points = smoothstep(0.002, 0.0008, np.abs(np.abs(x) - 0.018 - 0.55 * (y - top + 0.03)))
    points = points * front * (y > top - 0.035) * (1 - tie)
    albedo = ground * (1 - 0.4 * points)[:, None]
    return mix(albedo, colored * (1 - 0.5 * knot)[:, None], tie)


def _sport(
    ground: Floats,
    accent: Floats,
    pixels: Pixels,
    across: Floats,
    down: Floats,
    cell: float,
    soft: float,
) -> Floats:
    """Zigzags across the chest, a band down each side."""
    x, y, z = pixels.paint.T
    zig = np.abs((across / cell) % 1.0 - 0.5) * cell
    level = down - zig
    chevrons = _band(level.astype(np.float32), cell * 0.8, soft, 0.4)
    chest = smoothstep(-0.10, -0.097, y) * smoothstep(0.09, 0.087, y) * (np.abs(x) < 0.2)
    share = chevrons * chest
    side = smoothstep(0.030, 0.0285, np.abs(z + 0.005)) * (np.abs(x) < 0.2) * (np.abs(x) > 0.06)
    return mix(ground, accent, np.maximum(share, side * (1 - chest)))
