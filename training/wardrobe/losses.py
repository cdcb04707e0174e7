"""What the wardrobe's training minimises beside the adversaries: textures, images, regularisation.

The image losses are those of neural dressing (`training/losses.py`); here stands what goes on top.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.perceptual import perceptual_distance
from models.stylegan2 import EqualConv2d, EqualLinear, activate
from models.texture import OFF_BODY_UV
from training.losses import (
    NEUTRAL_GREY,
    composite,
    composite_l1,
    composite_premultiplied,
    dice_loss,
    mask_entropy,
)
from training.objective import face_loss

if TYPE_CHECKING:
    from models.dresser import Dressed
    from training.losses import Norm
    from training.wardrobe.data import Batch, TextureBatch
    from training.wardrobe.recipe import WardrobeWeights

COARSEST = 3
"""Halvings of a texture that the texture stage compares, too."""


def texture_losses(
    painted: Tensor, batch: TextureBatch, weights: WardrobeWeights
) -> dict[str, Tensor]:
    """Return the losses of painted textures against unwrapped photographs.

    Args:
        painted: (P, C, s, s); the first three channels are colour −1…1. s may be smaller than
            the photographs: these are then averaged down.
        batch: the truth and how well it was seen.
        weights: which losses.
    """
    seen, colour = batch.visibility, batch.colour * batch.visibility
    ratio = seen.shape[-1] // painted.shape[-1]
    if ratio > 1:
        seen, colour = (functional.avg_pool2d(x, ratio) for x in (seen, colour))
    parts: dict[str, Tensor] = {}
    if weights.edges:
        parts["edges"] = edge_difference(painted[:, :3], colour / seen.clamp_min(1e-3), seen)
    if weights.texture:
        own = painted[:, :3] * seen
        scales = []
        for _ in range(COARSEST + 1):
            scales.append((own - colour).abs().sum() / (3.0 * seen.sum()).clamp_min(1.0))
            own, colour, seen = (functional.avg_pool2d(x, 2) for x in (own, colour, seen))
        parts["texture"] = torch.stack(scales).mean()
    return parts


def edge_difference(one: Tensor, other: Tensor, seen: Tensor) -> Tensor:
    """Return the mean difference of neighbours' differences, where both neighbours are seen."""
    total = one.new_zeros(())
    for axis in (2, 3):
        both = torch.minimum(
            seen.narrow(axis, 1, seen.shape[axis] - 1), seen.narrow(axis, 0, seen.shape[axis] - 1)
        )
        difference = (one - other).diff(dim=axis).abs() * both
        total = total + difference.sum() / (3.0 * both.sum()).clamp_min(1.0)
    return 0.5 * total


class ImageLosses:
    """The losses of dressed images against the truth, as in neural dressing.

    Args:
        weights: which, and how the perceptual ones look.
        device: where the images are.
    """

    def __init__(self, weights: WardrobeWeights, device: torch.device) -> None:
        self._weights = weights
        self._distance = None
        if weights.perceptual or weights.face_perceptual:
            self._distance = perceptual_distance(stages=weights.perceptual_stages).to(device)

    def losses(self, dressed: Dressed, batch: Batch) -> dict[str, Tensor]:
        """Return each loss that has a weight."""
        weights = self._weights
        parts: dict[str, Tensor] = {}
        if weights.l1:
            parts["l1"] = composite_l1(
                dressed,
                batch.colour,
                batch.masks,
                background=batch.background,
                face_hands=weights.face_hands,
            )
        if self._distance is not None:
            predicted = composite(dressed.rgb, dressed.masks[:, :1], NEUTRAL_GREY)
            true = composite_premultiplied(batch.colour, batch.masks[:, :1], NEUTRAL_GREY)
            if weights.face_perceptual:
                size = weights.face_size
                face = face_loss(self._distance, predicted, true, batch, size)
                if face is not None:
                    parts["face_perceptual"] = face
            if weights.perceptual:
                ratio = max(
                    predicted.shape[-1] // (weights.perceptual_size or predicted.shape[-1]), 1
                )
                if ratio > 1:
                    predicted, true = (functional.avg_pool2d(x, ratio) for x in (predicted, true))
                parts["perceptual"] = self._distance(predicted, true)
        if weights.segmentation:
            parts["segmentation"] = dice_loss(dressed.masks, batch.masks)
        if weights.mask_entropy:
            parts["mask_entropy"] = mask_entropy(dressed.masks, batch.masks)
        return parts


class Regressor(nn.Module):
    """q_ξ: reads the code that an image was generated from.

    Args:
        size: side of the images.
        style: numbers of w.
        width: channels after the first halving; they double with each, up to eight times.
    """

    def __init__(self, size: int, style: int, width: int) -> None:
        super().__init__()
        halvings = max(int(math.log2(size)) - 3, 1)
        widths = [4] + [width * min(2**k, 8) for k in range(halvings)]
        self.layers = nn.ModuleList(
            EqualConv2d(before, after, 3, down=True) for before, after in pairwise(widths)
        )
        self.read = EqualLinear(widths[-1], style)

    def forward(self, images: Tensor) -> Tensor:
        """Return codes (B, style) of images (B, 4, H, W), −1…1."""
        x = images.contiguous(memory_format=torch.channels_last)
        for layer in self.layers:
            x = activate(layer(x))
        return self.read(x.mean(dim=(2, 3)).float())


def wreg_loss(read: Tensor, w: Tensor, norms: Norm) -> Tensor:
    """Return L_wreg = ‖q_ξ(I) − w‖², averaged over the batch.

    Args:
        read: (B, style) of `Regressor`.
        w: (B, style).
        norms: "written" sums over the code, "rms" takes the mean.
    """
    square = (read - w).square()
    return (square.sum(dim=1) if norms == "written" else square.mean(dim=1)).mean()


@dataclass(frozen=True)
class ImageTransforms:
    """Tr of L_augreg, one for each image of a batch: flip, rotation, scale, translation.

    Attributes:
        matrix: (B, 2, 3) float32: from places in the result to places in the source, −1…1.
    """

    matrix: Tensor

    @classmethod
    def draw(cls, count: int, generator: torch.Generator) -> ImageTransforms:
        """Draw transforms: half are flipped; ±20°, scales 0.8–1.25, shifts up to an eighth."""
        uniform = torch.rand(count, 5, generator=generator)
        angle = (uniform[:, 0] - 0.5) * math.radians(40.0)
        scale = torch.exp((uniform[:, 1] - 0.5) * 2.0 * math.log(1.25))
        flip = torch.where(uniform[:, 2] < 0.5, -1.0, 1.0)
        shift = (uniform[:, 3:] - 0.5) * 0.5
        cosine, sine = torch.cos(angle) * scale, torch.sin(angle) * scale
        rows = [torch.stack([cosine * flip, -sine, shift[:, 0]], dim=1)]
        rows.append(torch.stack([sine * flip, cosine, shift[:, 1]], dim=1))
        return cls(torch.stack(rows, dim=1))

    def apply(self, images: Tensor) -> Tensor:
        """Return transformed images (B, C, H, W); 0 comes in from outside."""
        grid = functional.affine_grid(
            self.matrix.to(images.device), list(images.shape), align_corners=False
        )
        return functional.grid_sample(images, grid, padding_mode="zeros", align_corners=False)

    def apply_to_features(self, features: Tensor, texture_channels: int) -> Tensor:
        """Transform rasterised features; outside is off the body.

        Args:
            features: (B, layers · (texture_channels + 2), h, w).
            texture_channels: of the texture; two UV channels follow in each layer.
        """
        rest = features.new_zeros(features.shape[1])
        for last in range(texture_channels + 2, features.shape[1] + 1, texture_channels + 2):
            rest[last - 2 : last] = OFF_BODY_UV
        rest = rest[:, None, None]
        return self.apply(features - rest) + rest


def augreg_loss(transformed: Dressed, dressed_again: Dressed) -> Tensor:
    """Return L_augreg = ‖Tr(f(J)) − f(Tr(J))‖, a mean absolute difference of RGB and mask.

    Colour counts where there is a person: it has no meaning elsewhere. Both arguments hold
    premultiplied colour in `rgb`.
    """
    colour = (transformed.rgb - dressed_again.rgb).abs().mean()
    mask = (transformed.masks[:, :1] - dressed_again.masks[:, :1]).abs().mean()
    return colour + mask
