"""The cast: five people written by hand, whom the shipped avatars and the benchmark show."""

from __future__ import annotations

import numpy as np

from training.people.garments import Shoes, Top, Trousers
from training.people.hair import HairCut
from training.people.identities import Identity
from training.people.materials import GIRTH, Cloth, Hair, Leather
from training.people.skin import Complexion
from training.people.skirts import SkirtCut

_CELL = 2 * np.pi * GIRTH

ANNA = Identity(
    name="anna",
    seed=4_001,
    betas=(-0.3, 1.2, 0.3, -0.4, -0.4, 0.3, 0.0, 0.3, 0.4, -0.3),
    complexion=Complexion(
        skin=(0.94, 0.77, 0.67),
        lips=(0.78, 0.37, 0.37),
        brows=(0.28, 0.16, 0.09),
        iris=(0.26, 0.44, 0.36),
        brow_weight=1.1,
        blush=0.7,
        freckles=0.5,
        make_up=0.6,
    ),
    hair_cut=HairCut(style="long", volume=0.021, length=0.36),
    hair=Hair(color=(0.55, 0.29, 0.13)),
    top=(
        Top(sleeve=0.62, neck="round", hem=0.01, ease=0.010),
        Cloth(pattern="stripes", color=(0.92, 0.89, 0.83), accent=(0.70, 0.20, 0.23), cell=0.045),
    ),
    skirt=(
        SkirtCut(length=0.92, flare=0.05, pleats=14),
        Cloth(
            pattern="checks", color=(0.14, 0.28, 0.44), accent=(0.62, 0.74, 0.80), cell=_CELL / 20
        ),
    ),
    shoes=(Shoes(shaft=0.0), Leather(color=(0.36, 0.18, 0.13), sole=(0.16, 0.10, 0.08))),
)

MARCUS = Identity(
    name="marcus",
    seed=4_002,
    betas=(0.7, -1.6, -0.3, 0.4, -0.2, 0.1, 0.6, 0.4, 0.3, -0.4),
    complexion=Complexion(
        skin=(0.44, 0.295, 0.215),
        lips=(0.42, 0.24, 0.21),
        brows=(0.07, 0.055, 0.05),
        iris=(0.26, 0.16, 0.10),
        brow_weight=1.25,
        stubble=0.55,
        blush=0.2,
        make_up=0.0,
    ),
    hair_cut=HairCut(style="short", volume=0.010),
    hair=Hair(color=(0.10, 0.085, 0.08), curly=True),
    shirt=(
        Top(sleeve=1.9, neck="collar", hem=0.0, ease=0.005),
        Cloth(pattern="tie", color=(0.90, 0.91, 0.93), accent=(0.55, 0.13, 0.17), hem=False),
    ),
    top=(
        Top(sleeve=1.93, neck="jacket", hem=0.06, ease=0.018),
        Cloth(pattern="jacket", color=(0.20, 0.24, 0.36), accent=(0.08, 0.08, 0.10)),
    ),
    trousers=(
        Trousers(leg=1.99, ease=0.011, flare=0.020),
        Cloth(pattern="plain", color=(0.20, 0.24, 0.36)),
    ),
    shoes=(Shoes(shaft=0.0), Leather(color=(0.15, 0.11, 0.09), sole=(0.07, 0.06, 0.06))),
)

ROSA = Identity(
    name="rosa",
    seed=4_003,
    betas=(-0.2, 0.6, 0.4, 0.3, 1.8, -1.4, -0.5, 0.2, 0.0, 0.4),
    complexion=Complexion(
        skin=(0.68, 0.47, 0.34),
        lips=(0.58, 0.30, 0.27),
        brows=(0.10, 0.07, 0.06),
        iris=(0.32, 0.20, 0.11),
        brow_weight=1.1,
        blush=0.45,
        make_up=0.3,
    ),
    hair_cut=HairCut(style="afro", volume=0.06),
    hair=Hair(color=(0.17, 0.11, 0.08), curly=True),
    top=(
        Top(sleeve=0.45, neck="v", hem=0.035, ease=0.013),
        Cloth(
            pattern="sport", color=(0.13, 0.47, 0.45), accent=(0.97, 0.78, 0.25), cell=_CELL / 14
        ),
    ),
    trousers=(
        Trousers(leg=0.72, ease=0.013, flare=0.018),
        Cloth(pattern="plain", color=(0.17, 0.18, 0.24)),
    ),
    shoes=(
        Shoes(shaft=0.02),
        Leather(color=(0.93, 0.92, 0.90), sole=(0.95, 0.62, 0.25), accent=(0.13, 0.47, 0.45)),
    ),
)

ELIAS = Identity(
    name="elias",
    seed=4_004,
    betas=(0.5, -1.3, 0.4, 0.5, 1.5, 0.6, -0.4, 0.2, 0.3, 0.2),
    complexion=Complexion(
        skin=(0.84, 0.63, 0.53),
        lips=(0.66, 0.40, 0.37),
        brows=(0.42, 0.40, 0.38),
        iris=(0.34, 0.45, 0.55),
        brow_weight=1.35,
        stubble=0.2,
        blush=0.9,
        freckles=0.2,
        make_up=0.0,
    ),
    hair_cut=HairCut(style="short", volume=0.012),
    hair=Hair(color=(0.60, 0.58, 0.56)),
    beard=Hair(color=(0.66, 0.64, 0.61)),
    hat=Cloth(pattern="knit", color=(0.60, 0.25, 0.12), hem=False),
    top=(
        Top(sleeve=1.9, neck="collar", hem=0.06, ease=0.013),
        Cloth(
            pattern="flannel", color=(0.50, 0.10, 0.10), accent=(0.10, 0.12, 0.16), cell=_CELL / 12
        ),
    ),
    trousers=(
        Trousers(leg=1.99, ease=0.011, flare=0.014),
        Cloth(pattern="denim", color=(0.22, 0.32, 0.48)),
    ),
    shoes=(
        Shoes(shaft=0.055, sole=0.028),
        Leather(color=(0.46, 0.28, 0.15), sole=(0.20, 0.16, 0.13)),
    ),
)

MEI = Identity(
    name="mei",
    seed=4_005,
    betas=(-1.1, 1.3, -0.2, 0.3, -1.3, 0.3, 0.4, -0.2, -0.3, 0.1),
    complexion=Complexion(
        skin=(0.93, 0.76, 0.63),
        lips=(0.76, 0.36, 0.36),
        brows=(0.10, 0.075, 0.065),
        iris=(0.21, 0.13, 0.085),
        brow_weight=0.85,
        blush=0.55,
        make_up=0.5,
    ),
    hair_cut=HairCut(style="bob", volume=0.016),
    hair=Hair(color=(0.10, 0.078, 0.07)),
    top=(
        Top(sleeve=0.28, neck="wide", hem=0.01, ease=0.008),
        Cloth(pattern="dots", color=(0.93, 0.72, 0.20), accent=(0.98, 0.96, 0.90), cell=_CELL / 16),
    ),
    skirt=(
        SkirtCut(length=0.78, flare=0.06, pleats=12),
        Cloth(pattern="dots", color=(0.93, 0.72, 0.20), accent=(0.98, 0.96, 0.90), cell=_CELL / 16),
    ),
    shoes=(Shoes(shaft=-0.01), Leather(color=(0.93, 0.92, 0.90), sole=(0.75, 0.70, 0.63))),
)

CAST: tuple[Identity, ...] = (ANNA, MARCUS, ROSA, ELIAS, MEI)
