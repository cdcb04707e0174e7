"""Fitting a style for each region to a photograph whose label map is known.

The style encoder reads a first code for each region; regions that the photograph hides (an ear
under hair) get what the prior expects beside the others. Then the styles move until the painted
portrait looks like the photograph: on the photograph's own labels, where pixels compare, and on the
fitted head's labels, which are what will be seen from all sides. A prior keeps them where the
painter has learnt to paint.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from blender_addon.contract.labels import Label
from models.perceptual import LiteDistance
from models.portrait_paint import paint
from models.siw import one_hot
from models.siw_encoder import region_statistics
from models.siw_layers import Styles

if TYPE_CHECKING:
    from collections.abc import Generator

    from models.siw import LabelParts
    from models.siw_package import Siw

PERCEPTUAL_SIDE = 128
"""Side at which features compare while fitting: a step stays short."""
DRAWN = 256
"""Styles that are drawn to know how they spread."""
GREY = 0.5
"""What stands behind both heads when they are compared."""
LITTLE = 0.006
"""Share of the image at which a region's labels count half: a parser's borders are off by a pixel or
two, and of brows and lips that leaves little that is theirs."""
LEAST_SHARE = 5e-4
"""Share of the image below which a region has no colours to compare."""


@dataclass(frozen=True, kw_only=True)
class StyleFitSettings:
    """How styles are fitted.

    Attributes:
        steps: of Adam.
        rate: learning rate, in standard deviations of drawn styles.
        pixels: weight of the mean absolute difference of pixels whose labels agree.
        perceptual: weight of the offline perceptual distance.
        colour: weight of the difference of each region's mean colour and spread.
        prior: weight of the mean square of the styles' way from the mean style, in deviations.
        fitted: every so many steps paint the fitted labels, the others the photograph's own.
    """

    steps: int = 60
    rate: float = 0.06
    pixels: float = 4.0
    perceptual: float = 0.2
    colour: float = 4.0
    prior: float = 0.2
    fitted: int = 2


class StyleTarget(NamedTuple):
    """What styles are fitted to: a photograph in the square that is painted.

    Attributes:
        image: (1, 3, S, S) sRGB, 0…1.
        labels: (S, S) uint8 of the photograph.
        fitted: (S, S) uint8 of the fitted head from the same camera.
    """

    image: Tensor
    labels: Tensor
    fitted: Tensor


def first_styles(painter: Siw, target: StyleTarget) -> Tensor:
    """Return styles (17, W) as the encoder reads them, or the mean styles where there is none."""
    mean = painter.get_buffer("style_mean")
    if painter.encoder is None:
        return mean.clone()
    labels = one_hot(target.labels[None], painter.config.labels)
    read = painter.encoder(target.image * 2.0 - 1.0, labels)
    codes, present = read.mean[0], read.present[0]
    if painter.prior is not None:
        codes = _completed(codes, present, painter.prior.mean, painter.prior.factor)
        present = torch.ones_like(present)
    styles = painter.mapping(codes[None])[0]
    return torch.where(present[:, None], styles, mean)


def iterate_styles(
    painter: Siw, target: StyleTarget, settings: StyleFitSettings | None = None
) -> Generator[Tensor]:
    """Fit styles step by step; yields (17, W) after each.

    Args:
        painter: stays as it is.
        target: the photograph and its labels.
        settings: how.
    """
    chosen = settings or StyleFitSettings()
    with torch.inference_mode(mode=False), torch.enable_grad():
        fit = _StyleFit(painter, target, chosen)
    for step in range(chosen.steps):
        with torch.inference_mode(mode=False), torch.enable_grad():
            styles = fit.step(step)
        yield styles


@torch.inference_mode()
def painting(painter: Siw, labels: Tensor, styles: Tensor) -> Tensor:
    """Return (1, 3, S, S) 0…1, a label map (S, S) painted in styles (17, W)."""
    hot = one_hot(labels[None], painter.config.labels)
    return paint(painter.generator, painter.generator.prepare(hot), styles)


@torch.inference_mode()
def portrait_distance(target: StyleTarget, painted: Tensor) -> float:
    """Return the offline perceptual distance between photograph and painting (1, 3, S, S).

    Each stands before grey, cut out by its own labels: nobody fits a backdrop.
    """
    distance = LiteDistance().to(painted.device)
    ours = _before_grey(painted, target.fitted)
    theirs = _before_grey(target.image, target.labels)
    return float(distance(ours, theirs))


class _StyleFit:
    """A fit as it runs."""

    def __init__(self, painter: Siw, target: StyleTarget, settings: StyleFitSettings) -> None:
        # Tensors made in inference mode cannot take part in gradients.
        target = StyleTarget(*(each.clone() for each in target))
        self._painter, self._target, self._settings = painter, target, settings
        self._mean = painter.get_buffer("style_mean").clone()
        with torch.no_grad():
            self._deviation = painter.draw(DRAWN, 0).std(dim=0).clamp_min(1e-4)
            first = first_styles(painter, target)
            self._own = _prepared(painter, target.labels)
            self._fitted = _prepared(painter, target.fitted)
            self._colours = _colours(target.image, target.labels, painter.config.labels)
            self._distance = LiteDistance().to(target.image.device)
            self._features = self._distance.features(_smaller(target.image))
        # Small regions start nearer to the mean style, and stay nearer.
        share = self._colours[2][0]
        self._trust = share / (share + LITTLE)
        for half in (Label.RIGHT_NOSE, Label.LEFT_NOSE):
            # What lies beside a nose has its colours.
            self._trust[half] = self._trust[Label.SKIN] * (share[half] > LEAST_SHARE)
        way = (first - self._mean) / self._deviation * self._trust.clamp_min(0.5)[:, None]
        self._way = way.detach().requires_grad_()
        self._optimizer = torch.optim.Adam([self._way], betas=(0.9, 0.98))

    def styles(self) -> Tensor:
        return self._mean + self._deviation * self._way

    def step(self, step: int) -> Tensor:
        settings = self._settings
        share = 0.5 + 0.5 * math.cos(math.pi * step / settings.steps)
        for group in self._optimizer.param_groups:
            group["lr"] = settings.rate * (0.05 + 0.95 * share)
        fitted = settings.fitted > 0 and step % settings.fitted == 0
        labels = self._target.fitted if fitted else self._target.labels
        parts = self._fitted if fitted else self._own
        image = self._painter.generator.paint(parts, Styles.by_region(self.styles()[None]))
        image = image.float() * 0.5 + 0.5
        loss = settings.prior * (self._way.square().mean(dim=1) / self._trust.clamp_min(0.1)).mean()
        loss = loss + settings.pixels * self._pixels(image, labels)
        loss = loss + settings.colour * self._colour(image, labels)
        if not fitted and settings.perceptual:
            near = self._distance(_smaller(image), self._features)
            loss = loss + settings.perceptual * near
        (self._way.grad,) = torch.autograd.grad(loss, [self._way])
        self._optimizer.step()
        return self.styles().detach()

    def _pixels(self, image: Tensor, labels: Tensor) -> Tensor:
        """Return the mean difference where the labels painted are the photograph's."""
        same = (labels == self._target.labels) & (labels != Label.BACKGROUND)
        difference = (image - self._target.image).abs().mean(dim=1)[0]
        return (difference * same).sum() / same.sum().clamp_min(1)

    def _colour(self, image: Tensor, labels: Tensor) -> Tensor:
        """Return how far the regions' mean colours and spreads are, by how far they are trusted."""
        mean, deviation, share = _colours(image, labels, self._painter.config.labels)
        known_mean, known_deviation, known_share = self._colours
        both = (share > LEAST_SHARE) & (known_share > LEAST_SHARE)
        off = (mean - known_mean).abs() + 0.5 * (deviation - known_deviation).abs()
        weight = both * self._trust
        return (off.mean(dim=2) * weight).sum() / weight.sum().clamp_min(1e-6)


def _completed(codes: Tensor, present: Tensor, mean: Tensor, factor: Tensor) -> Tensor:
    """Return codes (17, Z) in which absent regions have what a joint Gaussian expects of them."""
    size = codes.shape[1]
    known = present.repeat_interleave(size)
    if not bool(known.any()) or bool(known.all()):
        return codes if bool(known.any()) else mean.view_as(codes)
    covariance = factor @ factor.T
    inner = covariance[known][:, known]
    inner = inner + 1e-2 * inner.diagonal().mean() * torch.eye(len(inner), device=inner.device)
    way = torch.linalg.solve(inner, codes.flatten()[known] - mean[known])
    found = codes.flatten().clone()
    found[~known] = mean[~known] + covariance[~known][:, known] @ way
    return found.view_as(codes)


def _prepared(painter: Siw, labels: Tensor) -> LabelParts:
    return painter.generator.prepare(one_hot(labels[None], painter.config.labels))


def _colours(image: Tensor, labels: Tensor, count: int) -> tuple[Tensor, Tensor, Tensor]:
    return region_statistics(image, one_hot(labels[None], count))


def _smaller(image: Tensor) -> Tensor:
    factor = image.shape[-1] // PERCEPTUAL_SIDE
    return functional.avg_pool2d(image, factor) if factor > 1 else image


def _before_grey(image: Tensor, labels: Tensor) -> Tensor:
    return torch.where((labels > 0)[None, None], image, torch.full_like(image, GREY))
