"""First codes of the training people: what tells their unwrapped photographs apart.

Random first codes put people who look alike anywhere; a generator then learns each by heart, and
between two codes there is nobody. Principal components of the colours put likeness into the codes
from the start: neighbours look alike, a mean is a mean, and drawn codes mix what goes together.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

_SIDE = 32
"""Prints and folds are finer than this: they shall not decide who is whose neighbour."""
_SEEN = 0.05
"""Least mean visibility of a texel at that size that counts."""


def principal_codes(
    colours: Tensor, visibility: Tensor, style: int, *, even: bool = True
) -> Tensor:
    """Return one code a person, components uncorrelated and of mean variance 1.

    Args:
        colours: (P, 3, S, S) unwrapped colours, −1…1; S ≥ 32 or any smaller power of two.
        visibility: (P, 1, S, S) how well each texel was seen, 0…1. A texel that a person does not
            show has the mean colour of those who do.
        even: whether each component has the variance 1; otherwise they keep their shares of the
            people's differences, so that what matters most is learnt first.
        style: numbers of a code. Beyond the P − 1 components that there are, they are 0.

    Returns:
        (P, style) float32, by falling share of the people's differences.
    """
    people = len(colours)
    side = min(_SIDE, colours.shape[-1])
    weight = functional.adaptive_avg_pool2d(visibility.double(), side)
    summed = functional.adaptive_avg_pool2d((colours * visibility).double(), side)
    colour = summed / weight.clamp_min(1e-6)
    seen = (weight > _SEEN).double()
    mean = (colour * seen).sum(dim=0) / seen.sum(dim=0).clamp_min(1.0)
    difference = ((colour - mean) * seen).flatten(1)
    difference = difference - difference.mean(dim=0)
    left, values, right = torch.linalg.svd(difference, full_matrices=False)
    # A component's sign is anybody's guess: its largest number counts as positive.
    largest = right.abs().argmax(dim=1, keepdim=True)
    left = left * right.gather(1, largest).sign().T
    count = min(style, people - 1, int((values > values.max() * 1e-6).sum()))
    codes = torch.zeros(people, style, dtype=torch.float32)
    codes[:, :count] = (left[:, :count] * max(people - 1, 1) ** 0.5).float()
    if not even and count:
        share = values[:count] / values[:count].square().mean().sqrt()
        codes[:, :count] *= share.float()
    return codes
