"""What a portrait adds to a head's form: colours, cloth, light and background, drawn by chance."""

from __future__ import annotations

import colorsys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from training.people.identities import CLOTH_COLORS, HAIR_COLORS, IRISES, SKIN_TONES
from training.people.materials import Cloth, Color, Hair, Pattern
from training.people.skin import Complexion
from training.people.studio import Lamp, Lights

if TYPE_CHECKING:
    from training.heads.persons import HeadPerson

_PATTERNS: tuple[Pattern, ...] = ("plain", "stripes", "checks", "dots", "denim", "knit", "flannel")
_METALS: tuple[Color, ...] = ((0.83, 0.68, 0.35), (0.80, 0.80, 0.82), (0.80, 0.55, 0.47))
_DIMMEST, _BRIGHTEST = 1.0, 1.18
"""Of the sum of a portrait's light: fair skin keeps its colour, dark skin its form."""


@dataclass(frozen=True, kw_only=True)
class Backdrop:
    """What is behind the head.

    Attributes:
        top: colour at the image's top, sRGB.
        bottom: colour at its bottom.
        blobs: number of soft patches out of focus.
        seed: of their places and colours.
        contrast: of the patches, 0…1.
    """

    top: Color
    bottom: Color
    blobs: int
    seed: int
    contrast: float


@dataclass(frozen=True, kw_only=True)
class PortraitColors:
    """Every colour of a portrait.

    Attributes:
        complexion: of skin, lips, brows and eyes.
        hair: of hair and beard.
        top: cloth of the shirt.
        collar: cloth of what closes it.
        hat: its cloth.
        frame: of glasses.
        lens: of sunglasses.
        metal: of ear-rings.
        necklace: of the necklace.
        lights: in head space.
        backdrop: behind the head.
    """

    complexion: Complexion
    hair: Hair
    top: Cloth
    collar: Cloth
    hat: Cloth
    frame: Color
    lens: Color
    metal: Color
    necklace: Color
    lights: Lights
    backdrop: Backdrop

    def attributes(self) -> dict[str, Any]:
        """Return the main colours as plain values, for heads.json."""
        return {
            "skin": _plain(self.complexion.skin),
            "iris": _plain(self.complexion.iris),
            "make_up": self.complexion.make_up,
            "hair_color": _plain(self.hair.color),
            "cloth": self.top.pattern,
            "cloth_color": _plain(self.top.color),
            "background": _plain(self.backdrop.top),
        }


def random_colors(person: HeadPerson, seed: int) -> PortraitColors:
    """Draw a head's colours; the same seed gives the same colours."""
    rng = np.random.default_rng([seed, 47])
    place = float(rng.uniform(0, len(SKIN_TONES) - 1))
    dark = place / (len(SKIN_TONES) - 1)
    tone = _between(SKIN_TONES, place) * rng.uniform([0.96, 0.96, 0.95], [1.02, 1.02, 1.04])
    hair = _hair_color(rng, dark)
    feminine = person.face.brow_weight < 1.0 and not person.beard
    made_up = feminine and rng.random() < 0.6
    lips = tone * np.array([0.88, 0.64, 0.62])
    if made_up:
        painted = np.array(colorsys.hsv_to_rgb(float(rng.uniform(-0.06, 0.03)) % 1.0, 0.72, 0.68))
        lips = lips + float(rng.uniform(0.2, 0.9)) * (painted - lips)
    complexion = Complexion(
        skin=_color(tone),
        lips=_color(lips),
        brows=_color(np.array(hair) * rng.uniform(0.5, 0.9)),
        iris=_color(
            np.array(IRISES[int(rng.integers(0, 2 if dark > 0.6 else len(IRISES)))])
            * rng.uniform(0.8, 1.2, 3)
        ),
        brow_weight=person.face.brow_weight,
        stubble=0.0 if feminine else float(rng.choice([0.0, 0.2, 0.5, 0.75])),
        blush=float(rng.uniform(0.2, 0.9)) * (1 - 0.5 * dark),
        freckles=float(rng.random() < 0.2) * (1 - dark),
        make_up=float(rng.uniform(0.35, 0.9)) if made_up else float(rng.uniform(0, 0.15)),
    )
    top = _cloth(rng)
    own_collar = person.collar is not None and person.collar.kind == "scarf"
    return PortraitColors(
        complexion=complexion,
        hair=Hair(color=hair, curly=person.hair.cut.style == "afro" or rng.random() < 0.06),
        top=top,
        collar=_cloth(rng) if own_collar else top,
        hat=Cloth(pattern="knit" if _knitted(person) else "plain", color=_any(rng), hem=False),
        frame=_frame(rng),
        lens=_color(np.array([0.05, 0.045, 0.045]) + 0.10 * rng.uniform(0, 1, 3)),
        metal=_METALS[int(rng.integers(len(_METALS)))],
        necklace=_any(rng) if _beads(person) else _METALS[int(rng.integers(len(_METALS)))],
        lights=_lights(rng),
        backdrop=_backdrop(rng),
    )


def _lights(rng: np.random.Generator) -> Lights:
    """Draw a key from any side of the face, a fill, rims, and the light of the room."""
    turn, height = rng.uniform(-1.3, 1.3), rng.uniform(-0.05, 1.0)
    warmth = rng.normal(0, 0.07)
    tint = np.array([1 + warmth, 1.0, 1 - warmth])
    key = float(rng.uniform(0.45, 1.15))
    room = float(rng.uniform(0.28, 0.62))
    fill = float(rng.uniform(0.05, 0.35))
    total = 0.75 * key + room + 0.5 * fill
    scale = float(np.clip(total, _DIMMEST, _BRIGHTEST)) / total
    rim = float(rng.uniform(0.0, 0.55)) * scale
    around = np.array([np.sin(turn), height, np.cos(turn)])
    other = np.array([-np.sin(turn) - 0.3 * np.sign(turn), 0.2, 0.6])
    cool = np.array([1 - 0.5 * warmth, 1.0, 1 + 0.8 * warmth])
    return Lights(
        lamps=(
            Lamp(_triple(around), _triple(key * scale * tint)),
            Lamp(_triple(other), _triple(fill * scale * cool), highlights=False),
            Lamp((-0.6, 0.5, -0.7), _triple(rim * cool)),
            Lamp((0.6, 0.4, -0.7), _triple(rim * rng.uniform(0, 1) * tint)),
        ),
        sky=_triple(room * scale * cool * rng.uniform(0.95, 1.05, 3)),
        ground=_triple(0.5 * room * scale * tint),
    )


def _backdrop(rng: np.random.Generator) -> Backdrop:
    hue, saturation = float(rng.random()), float(rng.uniform(0, 0.55) ** 1.3)
    value = float(rng.uniform(0.12, 0.97))
    top = np.array(colorsys.hsv_to_rgb(hue, saturation, value))
    bottom = np.clip(top * rng.uniform(0.6, 1.25) + rng.normal(0, 0.04, 3), 0, 1)
    plain = rng.random() < 0.45
    return Backdrop(
        top=_color(top),
        bottom=_color(bottom),
        blobs=0 if plain else int(rng.integers(4, 26)),
        seed=int(rng.integers(1 << 30)),
        contrast=float(rng.uniform(0.15, 0.75)),
    )


def _hair_color(rng: np.random.Generator, dark: float) -> Color:
    if rng.random() < 0.05:
        return _any(rng)
    # Fair hair goes with fair skin as a rule.
    many = 2 if dark > 0.65 and rng.random() < 0.85 else len(HAIR_COLORS)
    base = np.array(HAIR_COLORS[int(rng.integers(many))])
    return _color(base * rng.uniform(0.75, 1.25) * rng.uniform(0.94, 1.06, 3))


def _cloth(rng: np.random.Generator) -> Cloth:
    pattern = "plain" if rng.random() < 0.35 else _PATTERNS[int(rng.integers(1, len(_PATTERNS)))]
    cells = 2 * np.pi * 0.16 / float(rng.choice([14, 18, 24, 30, 40]))
    color = (0.25, 0.33, 0.48) if pattern == "denim" else _any(rng)
    return Cloth(pattern=pattern, color=color, accent=_any(rng), cell=cells)


def _frame(rng: np.random.Generator) -> Color:
    if rng.random() < 0.3:
        return _METALS[int(rng.integers(len(_METALS)))]
    return (0.06, 0.05, 0.05) if rng.random() < 0.5 else _any(rng)


def _any(rng: np.random.Generator) -> Color:
    if rng.random() < 0.4:
        return CLOTH_COLORS[int(rng.integers(len(CLOTH_COLORS)))]
    hue, saturation = float(rng.random()), float(rng.uniform(0.05, 0.85))
    return colorsys.hsv_to_rgb(hue, saturation, float(rng.uniform(0.12, 0.92)))


def _knitted(person: HeadPerson) -> bool:
    return person.hat is not None and person.hat.kind == "knit"


def _beads(person: HeadPerson) -> bool:
    return person.necklace is not None and person.necklace.kind == "beads"


def _between(colors: tuple[Color, ...], place: float) -> np.ndarray[Any, np.dtype[np.float64]]:
    low = min(int(place), len(colors) - 2)
    a, b = np.array(colors[low]), np.array(colors[low + 1])
    return a + (place - low) * (b - a)


def _color(values: np.ndarray[Any, np.dtype[np.float64]]) -> Color:
    return _triple(np.clip(values, 0.0, 1.0))


def _triple(values: np.ndarray[Any, np.dtype[np.float64]]) -> tuple[float, float, float]:
    a, b, c = (float(value) for value in values)
    return a, b, c


def _plain(color: Color) -> list[float]:
    return [round(value, 3) for value in color]
