"""Losses of SIW StyleGAN's auto-encoding: colours by region, codes read back, and augmentation."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional

from models.siw_encoder import LEAST_SHARE, region_statistics

if TYPE_CHECKING:
    from models.siw_encoder import StyleCodes

SEEN = 4 * LEAST_SHARE
"""Share of the image from which on a region's colour is worth comparing: 30 pixels of 128²."""
_SHIFT = 0.125
_COLOUR = 0.3


def region_colour_loss(painted: Tensor, captured: Tensor, labels: Tensor) -> Tensor:
    """Return the mean absolute difference of the regions' mean colours, over all regions seen.

    Small regions count as much as large ones: without this lips and brows drift.

    Args:
        painted: (B, 3, H, W).
        captured: the same shape, on the same label maps.
        labels: (B, 17, H, W) one-hot.
    """
    mine, _, share = region_statistics(painted, labels)
    theirs, _, _ = region_statistics(captured, labels)
    return _over_regions((mine - theirs).abs(), share >= SEEN)


def swapped_style_loss(
    painted: Tensor, labels: Tensor, source: Tensor, source_labels: Tensor
) -> Tensor:
    """Compare a portrait painted with another's styles with that other, region by region.

    There is no true image of it; mean and spread of each region's colours are all that is asked.

    Args:
        painted: (B, 3, H, W) on `labels`, in the styles of `source`.
        labels: (B, 17, H, W) one-hot.
        source: (B, 3, H, W) where the styles come from.
        source_labels: (B, 17, H, W) one-hot.
    """
    mean, deviation, share = region_statistics(painted, labels)
    true_mean, true_deviation, true_share = region_statistics(source, source_labels)
    both = (share >= SEEN) & (true_share >= SEEN)
    difference = (mean - true_mean).abs() + (deviation - true_deviation).abs()
    return _over_regions(difference, both)


def recovery_loss(
    read: StyleCodes, codes: Tensor, deviation: Tensor, certain: Tensor | None = None
) -> Tensor:
    """Return how far codes read from painted portraits are from those they were painted with.

    Args:
        read: by the style encoder, of painted portraits.
        codes: (B, 17, Z) they were painted with.
        deviation: (17, Z) spread of an encoder's code, the unit of the distance.
        certain: (B, 17) bool, regions whose code is known; None for all.
    """
    units = deviation + 0.1
    difference = (read.mean - codes).abs() / units
    wanted = read.present if certain is None else read.present & certain
    return _over_regions(difference, wanted)


def vary(images: Tensor, strength: float, generator: torch.Generator) -> Tensor:
    """Shift images and change their colours, differentiably: an adversary of few images needs it.

    Args:
        images: (B, 3, H, W), −1…1.
        strength: 0 leaves them as they are.
        generator: on the CPU.

    Source: Zhao et al. 2020 (translation, brightness, saturation, contrast).
    """
    if not strength:
        return images
    batch, _, height, width = images.shape
    amounts = torch.rand(batch, 5, generator=generator).to(images.device) * 2.0 - 1.0
    bright, saturation, contrast = (
        amounts[:, i, None, None, None] * _COLOUR * strength for i in range(3)
    )
    images = images + bright
    grey = images.mean(dim=1, keepdim=True)
    images = grey + (images - grey) * (1.0 + saturation)
    mean = images.mean(dim=(1, 2, 3), keepdim=True)
    images = mean + (images - mean) * (1.0 + contrast)
    # One shift for the batch: per image it would take a gather.
    down = round(float(amounts[0, 3]) * _SHIFT * strength * height)
    across = round(float(amounts[0, 4]) * _SHIFT * strength * width)
    padded = functional.pad(images, (abs(across), abs(across), abs(down), abs(down)), "replicate")
    top, left = abs(down) + down, abs(across) + across
    return padded[:, :, top : top + height, left : left + width]


def _over_regions(difference: Tensor, wanted: Tensor) -> Tensor:
    weight = wanted[..., None].to(difference.dtype)
    total = weight.sum() * difference.shape[-1]
    return (difference * weight).sum() / total.clamp(min=1.0)
