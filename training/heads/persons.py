"""Who a head is: shape, expression, hair and what it wears, drawn by chance.

A head of a given seed is the same in every set. Colours are drawn apart (`portraits`), so that
label maps say nothing of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from training.heads.collars import Collar, CollarKind
from training.heads.cuts import HeadHair
from training.heads.face_labels import FacePaint
from training.heads.hats import Hat, HatKind
from training.heads.shape import Features, random_features
from training.heads.wearings import (
    EarRing,
    EarRingKind,
    Glasses,
    Necklace,
    NecklaceKind,
    Rim,
)
from training.people.garments import Neck, Top
from training.people.hair import HairCut, HairStyle

if TYPE_CHECKING:
    from numpy.typing import NDArray

EXPRESSIONS = 10

_STYLES: dict[HairStyle, float] = {
    "none": 0.05, "short": 0.36, "bob": 0.14, "long": 0.20, "bun": 0.08, "afro": 0.09,
    "ponytail": 0.08,
}  # fmt: skip
_FLAT: tuple[HairStyle, ...] = ("none", "short", "bob", "long")
"""Cuts that go under a hat."""


@dataclass(frozen=True, kw_only=True)
class HeadPerson:
    """Everything that makes a head's form.

    Attributes:
        seed: of what is uneven.
        betas: (n,) shape coefficients of the body.
        features: of the face.
        expression: (m,) expression coefficients.
        jaw: radians that the mouth is open.
        gaze: radians of the eyes to the left and down.
        neck: radians by which the neck bends, turns and tilts: the head stays, the shoulders move.
        face: where brows and lips are drawn.
        hair: the cut.
        top: shirt or pullover.
        collar: at its neck, or None.
        hat: or None.
        glasses: or None.
        ear_ring: or None.
        necklace: or None.
        beard: whether a full beard grows; it counts as skin, as in CelebAMask-HQ.
    """

    seed: int
    betas: tuple[float, ...]
    features: Features
    expression: tuple[float, ...]
    jaw: float
    gaze: tuple[float, float]
    neck: tuple[float, float, float]
    face: FacePaint
    hair: HeadHair
    top: Top
    collar: Collar | None = None
    hat: Hat | None = None
    glasses: Glasses | None = None
    ear_ring: EarRing | None = None
    necklace: Necklace | None = None
    beard: bool = False

    def attributes(self) -> dict[str, Any]:
        """Return what the head is and wears as plain values, for heads.json."""
        return {
            "betas": list(self.betas),
            "expression": list(self.expression),
            "jaw": self.jaw,
            "gaze": list(self.gaze),
            "hair": self.hair.cut.style,
            "fringe": self.hair.fringe > 0,
            "hat": self.hat.kind if self.hat else None,
            "glasses": None if not self.glasses else "dark" if self.glasses.dark else "clear",
            "ear_ring": self.ear_ring.kind if self.ear_ring else None,
            "necklace": self.necklace.kind if self.necklace else None,
            "collar": self.collar.kind if self.collar else None,
            "beard": self.beard,
        }


def random_person(seed: int) -> HeadPerson:
    """Draw a head; the same seed gives the same head."""
    rng = np.random.default_rng([seed, 41])
    style = cast("HairStyle", str(rng.choice(list(_STYLES), p=list(_STYLES.values()))))
    hat = _hat(rng) if style in _FLAT and rng.random() < 0.22 else None
    feminine = style in ("bob", "long", "bun", "ponytail") or rng.random() < 0.3
    collar = _collar(rng) if rng.random() < 0.36 else None
    open_neck = collar is None
    return HeadPerson(
        seed=int(rng.integers(1 << 30)),
        betas=_rounded(np.clip(rng.normal(0, 0.85, 10), -1.8, 1.8)),
        features=random_features(rng),
        expression=_rounded(np.clip(rng.normal(0, 0.45, EXPRESSIONS), -1.3, 1.3)),
        jaw=_jaw(rng),
        gaze=(_drawn(rng, -0.35, 0.35), _drawn(rng, -0.14, 0.2)),
        neck=(_drawn(rng, -0.12, 0.16), _drawn(rng, -0.25, 0.25), _drawn(rng, -0.1, 0.1)),
        face=FacePaint(
            brow_weight=_drawn(rng, 0.75, 1.1) if feminine else _drawn(rng, 0.9, 1.5),
            brow_lift=_drawn(rng, -0.003, 0.004),
            brow_tilt=_drawn(rng, -0.003, 0.006),
            lip_height=_drawn(rng, 0.85, 1.2),
        ),
        hair=_hair(rng, style, hat=hat is not None),
        top=_top(rng, collar),
        collar=collar,
        hat=hat,
        glasses=_glasses(rng) if rng.random() < 0.25 else None,
        ear_ring=_ear_ring(rng) if rng.random() < (0.5 if feminine else 0.12) else None,
        necklace=_necklace(rng)
        if open_neck and rng.random() < (0.5 if feminine else 0.15)
        else None,
        beard=not feminine and bool(rng.random() < 0.28),
    )


def _hair(rng: np.random.Generator, style: HairStyle, *, hat: bool) -> HeadHair:
    volume = {"afro": (0.030, 0.065), "short": (0.003, 0.024)}.get(style, (0.010, 0.020))
    long = style in ("bob", "long")
    # Hair ends above the shoulders or falls behind them: it cannot lie on them in folds.
    behind = style == "ponytail" or rng.random() < 0.4
    cut = HairCut(
        style=style,
        volume=_drawn(rng, *volume),
        length=_drawn(rng, 0.2, 0.4) if behind else _drawn(rng, 0.10, 0.165),
        reach=_drawn(rng, 2.0, 2.55) if long else 2.12,
        gather=_drawn(rng, 0.42, 0.6) if behind else _drawn(rng, 0.0, 0.2),
    )
    fringed = not hat and style in ("short", "bob", "long") and rng.random() < 0.5
    receding = style == "short" and not fringed and rng.random() < 0.35
    return HeadHair(
        cut=cut,
        lift=_drawn(rng, -0.006, 0.010),
        recede=_drawn(rng, 0.006, 0.022) if receding else _drawn(rng, 0.0, 0.005),
        fringe=_drawn(rng, 0.014, 0.040) if fringed else 0.0,
        swept=float(rng.choice([-1.0, 0.0, 1.0])),
        ragged=_drawn(rng, 0.001, 0.008),
    )


def _hat(rng: np.random.Generator) -> Hat:
    kind = cast("HatKind", str(rng.choice(["knit", "brim", "peak", "beret"])))
    height = {"brim": (0.02, 0.05), "peak": (0.012, 0.03)}.get(kind, (0.02, 0.04))
    brim = (0.045, 0.095) if kind == "brim" else (0.055, 0.08)
    return Hat(kind=kind, height=_drawn(rng, *height), brim=_drawn(rng, *brim))


def _glasses(rng: np.random.Generator) -> Glasses:
    rim = cast("Rim", str(rng.choice(["round", "oval", "square", "cat"])))
    height = (0.019, 0.024) if rim == "round" else (0.014, 0.020)
    return Glasses(
        rim=rim,
        width=_drawn(rng, 0.022, 0.027),
        height=_drawn(rng, *height),
        thickness=_drawn(rng, 0.0011, 0.0024),
        dark=bool(rng.random() < 0.3),
    )


def _ear_ring(rng: np.random.Generator) -> EarRing:
    kind = cast("EarRingKind", str(rng.choice(["stud", "hoop", "drop"])))
    size = {"stud": (0.006, 0.011), "hoop": (0.018, 0.045), "drop": (0.02, 0.045)}[kind]
    return EarRing(kind=kind, size=_drawn(rng, *size))


def _necklace(rng: np.random.Generator) -> Necklace:
    kind = cast("NecklaceKind", str(rng.choice(["chain", "beads", "pendant"])))
    width = (0.003, 0.006) if kind == "beads" else (0.0016, 0.0028)
    return Necklace(kind=kind, drop=_drawn(rng, 0.0, 0.05), width=_drawn(rng, *width))


def _collar(rng: np.random.Generator) -> Collar:
    kind = cast(
        "CollarKind", str(rng.choice(["turtleneck", "shirt", "scarf"], p=[0.35, 0.45, 0.2]))
    )
    return Collar(kind=kind, height=_drawn(rng, -0.004, 0.014))


def _top(rng: np.random.Generator, collar: Collar | None) -> Top:
    neck = "collar" if collar else str(rng.choice(["round", "wide", "v"]))
    return Top(sleeve=1.0, neck=cast("Neck", neck), hem=0.0, ease=_drawn(rng, 0.008, 0.014))


def _jaw(rng: np.random.Generator) -> float:
    kind = rng.random()
    if kind < 0.6:
        return _drawn(rng, 0.0, 0.02)
    return _drawn(rng, 0.04, 0.13) if kind < 0.88 else _drawn(rng, 0.13, 0.30)


def _drawn(rng: np.random.Generator, low: float, high: float) -> float:
    return round(float(rng.uniform(low, high)), 4)


def _rounded(values: NDArray[np.floating]) -> tuple[float, ...]:
    return tuple(float(value) for value in np.round(values, 3))
