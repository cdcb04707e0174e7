"""What a SIW StyleGAN is measured by: colours by region, diversity, locality, Fréchet distance.

Colours are sRGB 0…1. A region counts in the portraits that show at least 30 pixels of 128² of it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from blender_addon.contract.labels import LABEL_COUNT, Label
from models.siw import one_hot
from models.siw_encoder import region_statistics
from models.siw_layers import Styles
from training.siw_data import to_images
from training.siw_losses import SEEN

if TYPE_CHECKING:
    from models.siw_package import Siw
    from training.siw_data import Portraits

SHOWN: dict[str, Label] = {
    "background": Label.BACKGROUND,
    "skin": Label.SKIN,
    "lips": Label.LOWER_LIP,
    "neck": Label.NECK,
    "cloth": Label.CLOTH,
    "hair": Label.HAIR,
}
"""Regions whose figures are reported."""
_CHUNK = 8
_FEWEST = 4
"""Portraits that must show a region before its spread says something."""


class RegionColours(NamedTuple):
    """Mean colours of regions over several portraits.

    Attributes:
        mean: (N, 17, 3), 0…1.
        seen: (N, 17) bool.
    """

    mean: Tensor
    seen: Tensor


class Painter(NamedTuple):
    """A network and how it computes.

    Attributes:
        model: in evaluation mode.
        device: where it lies.
        dtype: that it computes in.
    """

    model: Siw
    device: torch.device
    dtype: torch.dtype

    @torch.no_grad()
    def paint(self, labels: Tensor, styles: Tensor) -> Tensor:
        """Return images (N, 3, H, W), −1…1, clamped, on the CPU.

        Args:
            labels: (N, H, W) uint8.
            styles: w, (N, 17, W).
        """
        painted = [
            self.model.generator(
                one_hot(some.to(self.device), LABEL_COUNT), Styles.by_region(w), self.dtype
            )
            for some, w in zip(labels.split(_CHUNK), styles.split(_CHUNK), strict=True)
        ]
        return torch.cat(painted).clamp(-1.0, 1.0).cpu()

    @torch.no_grad()
    def read_styles(self, images: Tensor, labels: Tensor, seed: int = 0) -> Tensor:
        """Return the styles w (N, 17, W) of portraits; absent regions get drawn ones.

        Args:
            images: (N, 3, H, W), −1…1.
            labels: (N, H, W) uint8.
            seed: of what is drawn.

        Raises:
            RuntimeError: the network reads no styles.
        """
        encoder = self.model.encoder
        if encoder is None:
            raise RuntimeError("this network has no style encoder")
        generator = torch.Generator().manual_seed(seed)
        drawn: Tensor | None = None
        if self.model.prior is not None:
            drawn = self.model.prior.draw(len(images), generator)
        found: list[Tensor] = []
        for index, (some, marks) in enumerate(
            zip(images.split(_CHUNK), labels.split(_CHUNK), strict=True)
        ):
            codes = encoder(some.to(self.device), one_hot(marks.to(self.device), LABEL_COUNT))
            z = codes.mean
            if drawn is not None:
                others = drawn[index * _CHUNK : index * _CHUNK + len(z)]
                z = torch.where(codes.present[..., None], z, others.to(z.device))
            found.append(self.model.mapping(z))
        return torch.cat(found)


def colours_of(images: Tensor, labels: Tensor) -> RegionColours:
    """Return the mean colours of each region of images (N, 3, H, W), −1…1."""
    means: list[Tensor] = []
    seen: list[Tensor] = []
    for some, marks in zip(images.split(_CHUNK), labels.split(_CHUNK), strict=True):
        mean, _, share = region_statistics(some * 0.5 + 0.5, one_hot(marks, LABEL_COUNT))
        means.append(mean)
        seen.append(share >= SEEN)
    return RegionColours(torch.cat(means), torch.cat(seen))


def colour_errors(painted: RegionColours, captured: RegionColours) -> dict[str, float]:
    """Return the mean error of each shown region's mean colour, 0…1, of the same label maps."""
    errors: dict[str, float] = {}
    for name, label in SHOWN.items():
        both = painted.seen[:, label] & captured.seen[:, label]
        if both.any():
            difference = painted.mean[both, label] - captured.mean[both, label]
            errors[name] = difference.abs().mean().item()
    return errors


def spreads(painted: RegionColours, captured: RegionColours) -> dict[str, tuple[float, float]]:
    """Return how diverse the painted regions are, over how diverse the captured ones are.

    Returns:
        name → (spread of colours, spread of hues). Hues apart: light and dark alone hide grey.
    """
    ratios: dict[str, tuple[float, float]] = {}
    for name, label in SHOWN.items():
        mine = painted.mean[painted.seen[:, label], label]
        theirs = captured.mean[captured.seen[:, label], label]
        if min(len(mine), len(theirs)) < _FEWEST:
            continue
        colour = mine.std(dim=0).mean() / theirs.std(dim=0).mean().clamp(min=1e-6)
        hue = _hues(mine).std(dim=0).mean() / _hues(theirs).std(dim=0).mean().clamp(min=1e-6)
        ratios[name] = (colour.item(), hue.item())
    return ratios


class Locality(NamedTuple):
    """What a new style for one region does.

    Attributes:
        inside: mean absolute change of the region's pixels, 0…1.
        outside: the same of all other pixels.
        moved: mean absolute change of the region's mean colour.
        apart: the same between two real portraits' regions.
    """

    inside: float
    outside: float
    moved: float
    apart: float


def restyle_locality(
    painter: Painter, labels: Tensor, region: Label, captured: RegionColours, seed: int = 0
) -> Locality:
    """Give one region of each portrait another drawn style, and see what changes.

    Args:
        painter: the network.
        labels: (N, H, W) uint8; those without the region are left out.
        region: which.
        captured: colours of real portraits.
        seed: of the styles.

    Raises:
        ValueError: no label map shows the region, or fewer than two real portraits do.
    """
    area = (labels == region).float().mean(dim=(1, 2))
    labels = labels[area >= SEEN]
    real = captured.mean[captured.seen[:, region], region]
    if not len(labels) or len(real) < 2:
        raise ValueError(f"too few portraits show {region.name.lower()}")
    before = painter.model.draw(len(labels), seed)
    after = before.clone()
    after[:, region] = painter.model.draw(len(labels), seed + 1)[:, region]
    first, second = painter.paint(labels, before), painter.paint(labels, after)
    change = (second - first).abs().mean(dim=1) / 2.0
    within = labels == region
    mean_change = colours_of(second, labels).mean - colours_of(first, labels).mean
    return Locality(
        change[within].mean().item(),
        change[~within].mean().item(),
        mean_change[:, region].abs().mean().item(),
        (real - real.roll(1, 0)).abs().mean().item(),
    )


def held_out_figures(
    painter: Painter, held_out: Portraits, captured: RegionColours, *, count: int, seed: int
) -> dict[str, float]:
    """Measure what a running training looks at.

    Args:
        painter: the network, with a prior where its styles come from one.
        held_out: portraits of heads it never saw.
        captured: colours of training portraits, for the spread.
        count: portraits to paint, at most.
        seed: of the styles.

    Returns:
        "l1", "error/REGION", "spread/REGION" and "hue/REGION", as far as they can be measured.
    """
    count = min(count, len(held_out.images))
    images = to_images(held_out.images[:count])
    labels = torch.from_numpy(held_out.labels[:count])
    figures: dict[str, float] = {}
    if painter.model.encoder is not None:
        painted = painter.paint(labels, painter.read_styles(images, labels, seed))
        figures["l1"] = (painted - images).abs().mean().item() / 2.0
        errors = colour_errors(colours_of(painted, labels), colours_of(images, labels))
        figures |= {f"error/{name}": value for name, value in errors.items()}
    drawn = painter.paint(labels, painter.model.draw(count, seed))
    for name, (colour, hue) in spreads(colours_of(drawn, labels), captured).items():
        figures[f"spread/{name}"], figures[f"hue/{name}"] = colour, hue
    return figures


def _hues(colours: Tensor) -> Tensor:
    """Return two opponent axes, (N, 2), of colours (N, 3): red–green and blue–yellow."""
    red, green, blue = colours.unbind(dim=-1)
    return torch.stack([red - green, blue - (red + green) / 2.0], dim=-1)
