"""The space of heads that a SOF spans: combinations, samples, interpolation, directions.

Source: SofGAN section 4.3, equations 5 and 6: a new head's code is a combination of codes of the
basis whose weights add up to 1. The Gaussian mixture over codes and the principal directions are
additions.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from blender_addon.contract.errors import BadParameter

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

SUM_TOLERANCE = 1e-3
"""How far the weights of a combination may be from adding up to 1."""
MIXTURE_VARIANCE = 0.95
"""Share of the codes' variance that the mixture's dimensions hold; the rest is drawn plainly."""
MOST_DIMENSIONS = 32
HEADS_PER_COMPONENT = 40
"""Fewer heads do not support one more component of the mixture."""
MOST_COMPONENTS = 5
_EM_STEPS = 40


@dataclass(frozen=True)
class Directions:
    """Principal directions of the basis, by falling spread.

    Attributes:
        mean: (code,) of the basis.
        axes: (D, code) of unit length.
        deviations: (D,) standard deviation of the basis along each.
    """

    mean: Tensor
    axes: Tensor
    deviations: Tensor


class SofSpace:
    """What can be done with codes.

    Args:
        codes: (N, code) float32 of the basis, N ≥ 2.
    """

    def __init__(self, codes: Tensor) -> None:
        if codes.ndim != 2 or len(codes) < 2:
            raise BadParameter("a space of heads needs the codes of at least two")
        self.codes = codes.detach().float()
        self.mean = self.codes.mean(dim=0)
        self.deviation = self.codes.std(dim=0).clamp_min(1e-6)
        self.directions = principal_directions(self.codes)
        self._mixture: Mixture | None = None

    def combine(self, weights: Tensor | Mapping[int, float]) -> Tensor:
        """Return Σ wᵢ zᵢ (equation 6).

        Args:
            weights: (N,), or by index of the basis, 0 for all others; any numbers that add up to
                1. Outside 0…1 they leave the heads that were learned.

        Raises:
            BadParameter: they do not add up to 1, or name a head that is not there.
        """
        if not isinstance(weights, torch.Tensor):
            dense = torch.zeros(len(self.codes), dtype=torch.float32)
            for index, weight in weights.items():
                if not 0 <= index < len(self.codes):
                    raise BadParameter(f"the basis has no head {index}")
                dense[index] = weight
            weights = dense
        if tuple(weights.shape) != (len(self.codes),) or not bool(torch.isfinite(weights).all()):
            raise BadParameter(f"there must be {len(self.codes)} finite weights")
        if abs(float(weights.sum()) - 1.0) > SUM_TOLERANCE:
            raise BadParameter(
                f"the weights of a head add up to {float(weights.sum()):.4g}, not to 1",
                "divide them by their sum",
            )
        return weights.to(self.codes) @ self.codes

    def combination(self, seed: int, bases: int = 3) -> Tensor:
        """Return a head between a few random ones of the basis."""
        random = _random(seed)
        count = min(bases, len(self.codes))
        chosen = torch.randperm(len(self.codes), generator=random)[:count]
        # Exponential numbers over their sum: every mixture is as likely as any other.
        weights = -torch.rand(count, generator=random).clamp_min(1e-9).log()
        weights = weights / weights.sum()
        return weights.to(self.codes) @ self.codes[chosen.to(self.codes.device)]

    def sample(self, seed: int, spread: float = 1.0) -> Tensor:
        """Return a head of the Gaussian mixture over the basis.

        Args:
            seed: equal seeds give equal heads.
            spread: of the samples round their component's middle; 0 gives the middle.
        """
        return self.mixture.sample(_random(seed), spread)

    @property
    def mixture(self) -> Mixture:
        """The Gaussian mixture, fitted when first asked for."""
        if self._mixture is None:
            self._mixture = Mixture.fit(self.codes, self.directions)
        return self._mixture

    @staticmethod
    def interpolate(start: Tensor, end: Tensor, share: float) -> Tensor:
        """Return the code a share of the way from one to another."""
        return torch.lerp(start, end, share)

    def moved(self, code: Tensor, amounts: Tensor) -> Tensor:
        """Move a code along the first principal directions.

        Args:
            code: (code,).
            amounts: (≤ D,) in standard deviations of the basis.

        Raises:
            BadParameter: there are fewer directions.
        """
        d = self.directions
        if amounts.ndim != 1 or len(amounts) > len(d.axes):
            raise BadParameter(f"there are {len(d.axes)} directions")
        count = len(amounts)
        return code + (amounts.to(code) * d.deviations[:count]) @ d.axes[:count]

    def amounts(self, code: Tensor, count: int) -> Tensor:
        """Return where a code lies along the first directions, in standard deviations."""
        d = self.directions
        return ((code - d.mean) @ d.axes[:count].T) / d.deviations[:count].clamp_min(1e-9)


@dataclass(frozen=True)
class Mixture:
    """A mixture of Gaussians with diagonal covariances along the principal directions.

    Attributes:
        directions: whose first dimensions hold the mixture.
        shares: (C,) of the components, sum 1.
        means: (C, d) in standard deviations.
        deviations: (C, d).
    """

    directions: Directions
    shares: Tensor
    means: Tensor
    deviations: Tensor

    @classmethod
    def fit(cls, codes: Tensor, directions: Directions) -> Mixture:
        """Fit by expectation–maximisation, from first middles far from each other."""
        variance = directions.deviations.square()
        held = variance.cumsum(dim=0) / variance.sum().clamp_min(1e-12)
        dimensions = min(int((held < MIXTURE_VARIANCE).sum()) + 1, MOST_DIMENSIONS, len(variance))
        spread = directions.deviations[:dimensions].clamp_min(1e-9)
        points = ((codes - directions.mean) @ directions.axes[:dimensions].T) / spread
        components = max(1, min(MOST_COMPONENTS, len(codes) // HEADS_PER_COMPONENT))
        means = _far_apart(points, components)
        deviations = torch.ones_like(means)
        shares = points.new_full((components,), 1.0 / components)
        for _ in range(_EM_STEPS):
            # Expectation: whose is each head? Of log densities, because those of many
            # dimensions are too small for floats.
            scaled = (points[:, None] - means) / deviations
            log = shares.log() - deviations.log().sum(dim=1) - 0.5 * scaled.square().sum(dim=2)
            belongs = torch.softmax(log, dim=1)
            # Maximisation; the added variance keeps a component from shrinking onto one head.
            count = belongs.sum(dim=0).clamp_min(1e-6)
            means = (belongs.T @ points) / count[:, None]
            second = (belongs.T @ points.square()) / count[:, None]
            deviations = (second - means.square()).clamp_min(0.05).sqrt()
            shares = count / count.sum()
        return cls(directions, shares, means, deviations)

    def sample(self, random: torch.Generator, spread: float) -> Tensor:
        """Return a code."""
        component = int(torch.multinomial(self.shares.cpu(), 1, generator=random))
        d = self.directions
        count = self.means.shape[1]
        # Every dimension's number is drawn, those outside the mixture as well.
        normal = torch.randn(len(d.axes), generator=random).to(self.means) * spread
        place = torch.cat(
            [self.means[component] + self.deviations[component] * normal[:count], normal[count:]]
        )
        return d.mean + (place * d.deviations) @ d.axes


def principal_directions(codes: Tensor) -> Directions:
    """Return the principal directions of codes (N, code); at most N − 1.

    Signs are fixed: of each axis the number farthest from 0 is positive.
    """
    mean = codes.mean(dim=0)
    _, spread, axes = torch.linalg.svd((codes - mean).double(), full_matrices=False)
    count = min(len(codes) - 1, codes.shape[1])
    axes = axes[:count]
    largest = axes.gather(1, axes.abs().argmax(dim=1, keepdim=True))
    axes = axes * largest.sign()
    deviations = spread[:count] / math.sqrt(max(len(codes) - 1, 1))
    return Directions(mean, axes.to(codes), deviations.to(codes))


def _far_apart(points: Tensor, count: int) -> Tensor:
    """Return `count` of the points: the one nearest to the middle, then the farthest in turn."""
    chosen = [int((points - points.mean(dim=0)).square().sum(dim=1).argmin())]
    while len(chosen) < count:
        gaps = (points[:, None] - points[chosen]).square().sum(dim=2).min(dim=1).values
        chosen.append(int(gaps.argmax()))
    return points[chosen].clone()


def _random(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)
