"""The losses of neural dressing, one named piece each, and their weights.

All take float32 in 0…1 and return a scalar. Colour is compared only as composites over a
background: the straight colour outside the person has no meaning.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional

if TYPE_CHECKING:
    from models.dresser import Dressed

NEUTRAL_GREY = 200 / 255
"""The background of everything that is looked at or measured."""


@dataclass(frozen=True, kw_only=True)
class DressingWeights:
    """How much each loss counts.

    The paper's own weights (StylePeople, Table 1) belong to the scale of VGG19's loss; these
    defaults belong to the offline distance.

    Attributes:
        l1: absolute difference of composites over random backgrounds.
        perceptual: perceptual distance of composites over neutral grey.
        segmentation: Dice loss over foreground, hands and face (L_segm).
        mask_entropy: cross-entropy of the three masks.
        mipmap: penalty on the texture's fine levels (L_mipmap).
        face_hands: how many times a pixel of face or hands counts in `l1`; 1 is no preference.
    """

    l1: float = 20.0
    perceptual: float = 1.0
    segmentation: float = 1.0
    mask_entropy: float = 1.0
    mipmap: float = 0.02
    face_hands: float = 4.0


def composite(colour: Tensor, alpha: Tensor, background: Tensor | float) -> Tensor:
    """Lay straight colour (B, 3, H, W) with coverage (B, 1, H, W) over a background."""
    return colour * alpha + background * (1.0 - alpha)


def composite_premultiplied(colour: Tensor, alpha: Tensor, background: Tensor | float) -> Tensor:
    """Lay premultiplied colour (B, 3, H, W) with coverage (B, 1, H, W) over a background."""
    return colour + background * (1.0 - alpha)


def dice_loss(predicted: Tensor, true: Tensor) -> Tensor:
    """Return L_segm = −log(2‖M ⊙ M̂‖ / (‖M‖ + ‖M̂‖)), averaged over the batch.

    Args:
        predicted: M̂ (B, 3, H, W): foreground, hands, face.
        true: M of the same shape.

    The norms are plain 2-norms, taken jointly over the three channels and all pixels of one
    image. One is added to numerator and denominator (a pixel's worth), so that an image
    without a person has the loss 0 when nothing is predicted, and finite gradients always.
    Computed in float32 whatever comes in.

    Source: StylePeople supplementary, section 1.2.
    """
    predicted, true = predicted.float(), true.float()
    overlap = 2.0 * _norm(predicted * true) + 1.0
    total = _norm(true) + _norm(predicted) + 1.0
    return -(overlap / total).log().mean()


def mask_entropy(predicted: Tensor, true: Tensor) -> Tensor:
    """Return the mean binary cross-entropy of masks in 0…1; soft truth is allowed.

    Beside the Dice loss, whose gradient fades where a sigmoid is saturated: small hands and faces
    then stay at 0 for good. This one's does not fade.
    """
    # Torch refuses NaN here with an error of its own; the other losses carry it on to the check
    # for divergence.
    known = predicted.float().nan_to_num(nan=0.5).clamp(0.0, 1.0)
    return functional.binary_cross_entropy(known, true.float().clamp(0.0, 1.0))


def weighted_l1(predicted: Tensor, true: Tensor, weight: Tensor) -> Tensor:
    """Return the mean of |predicted − true| with a weight per pixel (B, 1, H, W).

    The weights are not normalised: a pixel of weight 4 counts as four, others stay as they are.
    """
    return ((predicted - true).abs() * weight).mean()


def detail_weight(true_masks: Tensor, face_hands: float) -> Tensor:
    """Return the weight per pixel (B, 1, H, W): `face_hands` on hands and face, 1 elsewhere."""
    detail = true_masks[:, 1:].amax(dim=1, keepdim=True)
    return 1.0 + (face_hands - 1.0) * detail


def composite_l1(
    dressed: Dressed,
    colour: Tensor,
    masks: Tensor,
    *,
    background: Tensor,
    face_hands: float = 1.0,
) -> Tensor:
    """Return the L1 of predicted and true composites over one random colour per image.

    A random background makes a wrong coverage cost as much as a wrong colour does, which
    trains the mask's soft edge well.

    Args:
        colour: (B, 3, H, W) true colour, premultiplied by the foreground mask.
        masks: (B, 3, H, W) true masks.
        background: (B, 3, 1, 1) colours, 0…1.
        face_hands: see `detail_weight`.
    """
    predicted = composite(dressed.rgb, dressed.masks[:, :1], background)
    true = composite_premultiplied(colour, masks[:, :1], background)
    return weighted_l1(predicted, true, detail_weight(masks, face_hands))


def weighted_sum(parts: dict[str, Tensor], weights: DressingWeights) -> Tensor:
    """Return Σ weight · loss over the parts, whose names are fields of the weights."""
    return torch.stack([getattr(weights, name) * loss for name, loss in parts.items()]).sum()


def _norm(images: Tensor) -> Tensor:
    # sqrt has an infinite slope at 0: the small number keeps the gradient of an empty mask finite.
    return images.square().sum(dim=(1, 2, 3)).add(1e-12).sqrt()
