"""Shapes of people: MakeHuman's macro targets, mixed by a phenotype."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import product
from typing import TYPE_CHECKING

from training.makehuman.data import base_mesh, face_unit, target

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    from numpy.typing import NDArray

HEAD_TARGETS = (
    "head/head-oval",
    "head/head-round",
    "head/head-square",
    "nose/nose-scale-horiz-incr",
    "chin/chin-width-incr",
    "head/head-fat-incr",
)
"""Local targets that vary faces beyond the macro targets."""


def _no_weights() -> dict[str, float]:
    return {}


@dataclass(frozen=True, kw_only=True)
class Phenotype:
    """A person's shape. All values lie within 0…1.

    Attributes:
        gender: 0 female, 1 male.
        age: 0 young (25), 1 old (90).
        muscle: little to much.
        weight: thin to heavy.
        height: short to tall.
        proportions: uncommon to ideal.
        ancestry: shares of the African, Asian and Caucasian targets; sum 1.
        details: weights of local targets by name.
        face: weights of face units by name.
    """

    gender: float = 0.5
    age: float = 0.0
    muscle: float = 0.5
    weight: float = 0.5
    height: float = 0.5
    proportions: float = 0.5
    ancestry: tuple[float, float, float] = (1 / 3, 1 / 3, 1 / 3)
    details: Mapping[str, float] = field(default_factory=_no_weights)
    face: Mapping[str, float] = field(default_factory=_no_weights)


def random_phenotype(rng: np.random.Generator) -> Phenotype:
    """Draw a phenotype from a plausible population."""
    gender = rng.uniform(0.0, 0.15) if rng.random() < 0.5 else rng.uniform(0.85, 1.0)
    african, asian, caucasian = rng.dirichlet([0.6] * 3)
    chosen = [name for name in HEAD_TARGETS if rng.random() < 0.3]
    return Phenotype(
        gender=gender,
        age=rng.beta(1, 2),
        muscle=rng.beta(3, 3),
        weight=rng.beta(2.2, 2.2),
        height=rng.beta(9, 9),
        proportions=rng.beta(4, 4),
        ancestry=(african, asian, caucasian),
        details={name: rng.uniform(0.0, 0.6) for name in chosen},
    )


def shape(phenotype: Phenotype) -> NDArray[np.float64]:
    """Return all vertices of a person, (19158, 3) decimetres, A-pose."""
    vertices = base_mesh().vertices.copy()
    for name, weight in _macro_targets(phenotype).items():
        if weight > 1e-6:
            indices, offsets = target(name)
            vertices[indices] += weight * offsets
    for name, weight in phenotype.details.items():
        indices, offsets = target(name)
        vertices[indices] += weight * offsets
    for name, weight in phenotype.face.items():
        indices, offsets = face_unit(name)
        vertices[indices] += weight * offsets
    return vertices


def _macro_targets(p: Phenotype) -> dict[str, float]:
    """Return MakeHuman's macro targets with their weights: products of the factors' shares."""
    genders = {"female": 1 - p.gender, "male": p.gender}
    ages = {"young": 1 - p.age, "old": p.age}
    muscles = _three("minmuscle", "averagemuscle", "maxmuscle", p.muscle)
    weights = _three("minweight", "averageweight", "maxweight", p.weight)
    heights = {"minheight": max(0.0, 1 - 2 * p.height), "maxheight": max(0.0, 2 * p.height - 1)}
    proportions = {
        "uncommonproportions": max(0.0, 1 - 2 * p.proportions),
        "idealproportions": max(0.0, 2 * p.proportions - 1),
    }
    ancestries = dict(zip(("african", "asian", "caucasian"), p.ancestry, strict=True))
    found: dict[str, float] = {}
    for (sex, of_sex), (age, of_age) in product(genders.items(), ages.items()):
        for ancestry, share in ancestries.items():
            found[f"macrodetails/{ancestry}-{sex}-{age}"] = of_sex * of_age * share
        for (muscle, of_muscle), (weight, of_weight) in product(muscles.items(), weights.items()):
            build = f"{sex}-{age}-{muscle}-{weight}"
            amount = of_sex * of_age * of_muscle * of_weight
            found[f"macrodetails/universal-{build}"] = amount
            for height, share in heights.items():
                found[f"macrodetails/height/{build}-{height}"] = amount * share
            for proportion, share in proportions.items():
                found[f"macrodetails/proportions/{build}-{proportion}"] = amount * share
    return found


def _three(low: str, middle: str, high: str, value: float) -> dict[str, float]:
    return {
        low: max(0.0, 1 - 2 * value),
        middle: 1 - abs(2 * value - 1),
        high: max(0.0, 2 * value - 1),
    }
