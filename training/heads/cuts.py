"""Hair for heads: the people's cuts with hairlines of their own, fringes and sideburns."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from training.people.hair import HairCut, grow, hat_field
from training.people.noise import noise, smoothstep
from training.people.surfaces import clip

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from training.heads.hats import Hat
    from training.people.bare import BareBody
    from training.people.surfaces import Surface

    Array = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class HeadHair:
    """A hair cut and the line at which it meets the face; lengths in metres.

    Attributes:
        cut: of the people's generator.
        lift: how far the hairline lies above the usual one.
        recede: how far it draws back at the temples.
        fringe: how far hair falls over the forehead.
        swept: −1…1: to which side the fringe falls; 0 straight down.
        ragged: depth of the fringe's locks.
    """

    cut: HairCut = field(default_factory=lambda: HairCut(style="short"))
    lift: float = 0.0
    recede: float = 0.0
    fringe: float = 0.0
    swept: float = 0.0
    ragged: float = 0.004


def grow_hair(
    bare: BareBody, hair: HeadHair, seed: int, *, under: Hat | None = None
) -> Surface | None:
    """Return the hair as a surface, or None for a bald head.

    Args:
        bare: the person.
        hair: the cut and its line.
        seed: of its unevenness.
        under: a hat: the crown is pressed flat, and what the hat covers is left out.
    """
    # The hairline is a curve on the template: where the template is lower, the line is higher.
    template = bare.template.copy()
    template[:, 1] -= _line_shift(bare, hair, seed)
    grown = grow(replace(bare, template=template), hair.cut, seed, under_hat=under is not None)
    if grown is None or under is None:
        return grown
    # Not a lock above the rim: falling hair stands off the head farther than a hat does.
    rim = -0.004 if under.kind == "brim" else 0.004
    return clip(grown, rim - hat_field(bare, grown.paint))


def _line_shift(bare: BareBody, hair: HeadHair, seed: int) -> Array:
    """(V,) metres by which the hairline lies higher at each vertex of the template."""
    x = bare.template[:, 0]
    ahead = bare.template[:, 2] - bare.mark("head")[2]
    front = smoothstep(0.040, 0.062, ahead)
    shift = hair.lift * front
    temple = np.exp(-(((np.abs(x) - 0.038) / 0.018) ** 2))
    shift = shift + hair.recede * temple * front
    if hair.fringe <= 0:
        return shift
    lean = 0.5 + 0.5 * np.tanh(hair.swept * x / 0.022) if hair.swept else np.ones_like(x)
    locks = noise(np.stack([x + 0.3 * hair.swept * bare.template[:, 1], 0 * x], 1), 170.0, seed)
    fall = hair.fringe * lean + hair.ragged * locks * lean
    return shift - fall * front
