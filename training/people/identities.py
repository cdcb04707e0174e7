"""Who somebody is: shape, colours, hair and clothes, drawn by chance or written by hand."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, cast

import numpy as np

from training.people.garments import Neck, Shoes, Top, Trousers
from training.people.hair import HAIR_STYLES, HairCut, HairStyle
from training.people.materials import Cloth, Color, Hair, Leather, Pattern
from training.people.poses import FREE, SKIRTED, PoseStyle
from training.people.skin import Complexion
from training.people.skirts import SkirtCut

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True)
class AssetPiece:
    """A piece of clothing or hair from the asset folder.

    Attributes:
        name: file name without suffix, such as "long01".
        material: what it is made of.
    """

    name: str
    material: Cloth | Leather | Hair


@dataclass(frozen=True, kw_only=True)
class Identity:
    """Everything that makes a person; the same identity always looks the same.

    Attributes:
        name: id of the person.
        seed: of creases, strands and blotches.
        betas: shape coefficients.
        complexion: colours of skin and eyes.
        hair_cut: procedural hair, or None.
        hair: its material.
        top: shirt and its cloth, or None.
        shirt: what is worn under an open top, or None.
        trousers: trousers and their cloth, or None.
        skirt: skirt and its cloth, or None.
        shoes: shoes and their leather, or None.
        hat: whether a knitted cap covers the crown, and its cloth.
        beard: what a full beard is made of, or None.
        assets: pieces from the asset folder.
    """

    name: str
    seed: int
    betas: tuple[float, ...]
    complexion: Complexion
    hair_cut: HairCut | None = None
    hair: Hair = field(default_factory=lambda: Hair(color=(0.2, 0.13, 0.08)))
    top: tuple[Top, Cloth] | None = None
    shirt: tuple[Top, Cloth] | None = None
    trousers: tuple[Trousers, Cloth] | None = None
    skirt: tuple[SkirtCut, Cloth] | None = None
    shoes: tuple[Shoes, Leather] | None = None
    hat: Cloth | None = None
    beard: Hair | None = None
    assets: tuple[AssetPiece, ...] = ()

    @property
    def pose_style(self) -> PoseStyle:
        """What the clothes let the legs do."""
        return SKIRTED if self.skirt is not None else FREE

    def shape(self) -> NDArray[np.float32]:
        """(n,) float32 shape coefficients."""
        return np.array(self.betas, np.float32)


SKIN_TONES: tuple[Color, ...] = (
    (0.96, 0.80, 0.71), (0.91, 0.72, 0.60), (0.85, 0.64, 0.50), (0.75, 0.54, 0.40),
    (0.62, 0.43, 0.31), (0.50, 0.34, 0.25), (0.38, 0.25, 0.18),
)  # fmt: skip
HAIR_COLORS: tuple[Color, ...] = (
    (0.10, 0.08, 0.07), (0.19, 0.13, 0.09), (0.33, 0.22, 0.13), (0.52, 0.35, 0.18),
    (0.78, 0.60, 0.36), (0.50, 0.22, 0.10), (0.62, 0.60, 0.58),
)  # fmt: skip
IRISES: tuple[Color, ...] = (
    (0.32, 0.20, 0.12), (0.42, 0.29, 0.15), (0.35, 0.42, 0.26), (0.34, 0.48, 0.60),
    (0.45, 0.52, 0.55),
)  # fmt: skip
CLOTH_COLORS: tuple[Color, ...] = (
    (0.88, 0.87, 0.84), (0.17, 0.19, 0.25), (0.72, 0.22, 0.22), (0.16, 0.38, 0.58),
    (0.22, 0.46, 0.34), (0.88, 0.68, 0.26), (0.55, 0.30, 0.52), (0.86, 0.52, 0.42),
    (0.40, 0.42, 0.44), (0.55, 0.42, 0.30), (0.24, 0.58, 0.62), (0.30, 0.20, 0.22),
)  # fmt: skip

HAIR_PIECES = ("bob01", "bob02", "long01", "short01", "short02", "short03", "short04")
CURLY_PIECES = ("afro01",)
SHOE_PIECES = ("shoes01", "shoes03", "shoes04")
SUIT_PIECES = (
    "female_casualsuit01", "female_casualsuit02", "female_elegantsuit01", "female_sportsuit01",
    "male_casualsuit01", "male_casualsuit02", "male_casualsuit03", "male_casualsuit04",
    "male_casualsuit05", "male_casualsuit06", "male_elegantsuit01", "male_worksuit01",
)  # fmt: skip


def random_identity(name: str, seed: int, *, assets: bool = False) -> Identity:
    """Draw a person.

    Args:
        name: id of the person.
        seed: the same seed gives the same person.
        assets: whether the person may wear pieces of the asset set.
    """
    rng = np.random.default_rng([seed, 11])
    betas = np.clip(rng.normal(0, 0.9, 10), -1.8, 1.8).round(3)
    tone_place = rng.uniform(0, len(SKIN_TONES) - 1)
    skin = _between(SKIN_TONES, tone_place)
    dark = tone_place / (len(SKIN_TONES) - 1)
    # Fair hair goes with fair skin as a rule.
    hair_color = HAIR_COLORS[int(rng.integers(0, 2 if dark > 0.6 else len(HAIR_COLORS)))]
    hair_color = cast("Color", tuple(np.clip(np.array(hair_color) * rng.uniform(0.85, 1.15), 0, 1)))
    style = cast("HairStyle", str(rng.choice(HAIR_STYLES)))
    feminine = style in ("long", "bob", "bun", "ponytail") or rng.random() < 0.2
    complexion = Complexion(
        skin=skin,
        lips=cast("Color", tuple(np.array(skin) * np.array([0.86, 0.62, 0.60]))),
        brows=cast("Color", tuple(0.75 * np.array(hair_color))),
        iris=IRISES[int(rng.integers(0, 2 if dark > 0.5 else len(IRISES)))],
        brow_weight=rng.uniform(0.75, 1.3),
        stubble=0.0 if feminine else float(rng.choice([0.0, 0.25, 0.6])),
        blush=rng.uniform(0.3, 0.8) * (1 - 0.5 * dark),
        freckles=float(rng.random() < 0.25) * (1 - dark),
        make_up=rng.uniform(0.2, 0.6) if feminine else 0.1,
    )
    first, second, third = rng.permutation(len(CLOTH_COLORS))[:3]
    upper = _cloth(rng, CLOTH_COLORS[first], CLOTH_COLORS[second])
    skirted = feminine and rng.random() < 0.5
    identity = Identity(
        name=name,
        seed=int(rng.integers(1 << 30)),
        betas=tuple(float(b) for b in betas),
        complexion=complexion,
        hair_cut=_hair_cut(rng, style),
        hair=Hair(color=hair_color, curly=style == "afro"),
        top=(_top(rng, tucked=skirted), upper),
        skirt=(_skirt(rng), _skirt_cloth(rng, CLOTH_COLORS[third], upper)) if skirted else None,
        trousers=None if skirted else _trousers(rng, CLOTH_COLORS[third]),
        shoes=_shoes(rng),
        hat=_hat(rng, style),
    )
    return _with_assets(rng, identity) if assets else identity


def _with_assets(rng: np.random.Generator, identity: Identity) -> Identity:
    """Swap some procedural pieces for pieces of the asset set."""
    pieces: list[AssetPiece] = []
    if identity.hat is None and rng.random() < 0.6:
        curly = identity.hair.curly
        name = str(rng.choice(CURLY_PIECES if curly else HAIR_PIECES))
        pieces.append(AssetPiece(name=name, material=identity.hair))
        identity = replace(identity, hair_cut=None)
    if identity.shoes is not None and rng.random() < 0.6:
        leather = replace(identity.shoes[1], accent=None, sole_height=0.018)
        pieces.append(AssetPiece(name=str(rng.choice(SHOE_PIECES)), material=leather))
        identity = replace(identity, shoes=None)
    if identity.top is not None and identity.skirt is None and rng.random() < 0.4:
        below = identity.trousers[1].color if identity.trousers else None
        cloth = replace(identity.top[1], pattern="plain", hem=False, lower=below)
        pieces.append(AssetPiece(name=str(rng.choice(SUIT_PIECES)), material=cloth))
        identity = replace(identity, top=None, trousers=None)
    return replace(identity, assets=tuple(pieces))


def _hat(rng: np.random.Generator, style: HairStyle) -> Cloth | None:
    if style in ("afro", "bun", "ponytail") or rng.random() > 0.2:
        return None
    color = CLOTH_COLORS[int(rng.integers(len(CLOTH_COLORS)))]
    return Cloth(pattern="knit", color=color, hem=False)


def _between(colors: tuple[Color, ...], place: float) -> Color:
    low = min(int(place), len(colors) - 2)
    a, b = np.array(colors[low]), np.array(colors[low + 1])
    return cast("Color", tuple(a + (place - low) * (b - a)))


def _hair_cut(rng: np.random.Generator, style: HairStyle) -> HairCut:
    volume = {"afro": rng.uniform(0.045, 0.07), "short": rng.uniform(0.008, 0.022)}
    return HairCut(
        style=style,
        volume=volume.get(style, rng.uniform(0.011, 0.018)),
        length=rng.uniform(0.22, 0.42),
    )


def _top(rng: np.random.Generator, *, tucked: bool) -> Top:
    return Top(
        sleeve=float(rng.choice([0.25, 0.6, 0.7, 1.3, 1.95])),
        neck=cast("Neck", str(rng.choice(["round", "wide", "v"]))),
        hem=0.01 if tucked else rng.uniform(0.02, 0.10),
        ease=rng.uniform(0.009, 0.014),
    )


def _cloth(rng: np.random.Generator, color: Color, accent: Color) -> Cloth:
    pattern = cast(
        "Pattern", str(rng.choice(["plain", "stripes", "checks", "dots", "knit", "sport"]))
    )
    cells = 2 * np.pi * 0.16 / float(rng.choice([14, 18, 24, 30]))
    return Cloth(pattern=pattern, color=color, accent=accent, cell=cells)


def _trousers(rng: np.random.Generator, color: Color) -> tuple[Trousers, Cloth]:
    leg = float(rng.choice([0.62, 0.9, 1.97, 1.97, 1.97]))
    cut = Trousers(leg=leg, ease=rng.uniform(0.007, 0.012), flare=rng.uniform(0.004, 0.02))
    if rng.random() < 0.5:
        blue = cast("Color", tuple(np.array([0.20, 0.28, 0.42]) * rng.uniform(0.7, 1.5)))
        return cut, Cloth(pattern="denim", color=blue)
    return cut, Cloth(pattern="plain", color=color)


def _skirt(rng: np.random.Generator) -> SkirtCut:
    return SkirtCut(
        length=rng.uniform(0.6, 1.05),
        flare=rng.uniform(0.02, 0.09),
        pleats=int(rng.choice([0, 12, 16, 20])),
    )


def _skirt_cloth(rng: np.random.Generator, color: Color, upper: Cloth) -> Cloth:
    if rng.random() < 0.5:
        return Cloth(pattern="plain", color=color)
    pattern = cast("Pattern", str(rng.choice(["checks", "dots", "stripes"])))
    return Cloth(pattern=pattern, color=color, accent=upper.color, cell=2 * np.pi * 0.16 / 22)


def _shoes(rng: np.random.Generator) -> tuple[Shoes, Leather]:
    color = CLOTH_COLORS[int(rng.integers(len(CLOTH_COLORS)))]
    sporty = rng.random() < 0.6
    sole: Color = (0.90, 0.88, 0.85) if sporty else (0.12, 0.09, 0.08)
    accent: Color | None = (0.92, 0.90, 0.86) if sporty and rng.random() < 0.6 else None
    return Shoes(shaft=rng.uniform(-0.005, 0.05)), Leather(color=color, sole=sole, accent=accent)
