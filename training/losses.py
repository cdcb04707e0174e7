"""The losses of neural dressing, one named piece each, and their weights.

All take float32 in 0…1 and return a scalar. Colour is compared only as composites over a
background: the straight colour outside the person has no meaning.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor
from torch.nn import functional

from blender_addon.contract.errors import TrainingError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from models.dresser import Dressed

NEUTRAL_GREY = 200 / 255
"""The background of everything that is looked at or measured."""


Norm = Literal["rms", "written"]
"""How ‖·‖₂ of a texture's level or of a map of scores is taken: as the paper writes it, or as a
root mean square, so that one weight holds for every resolution."""


@dataclass(frozen=True, kw_only=True)
class DressingWeights:
    """How much each loss counts; 0 switches it off, at no cost.

    The paper's own weights (StylePeople, Table 1) belong to the scale of VGG19's loss; these
    defaults belong to the offline distance.

    Attributes:
        l1: absolute difference of composites over random backgrounds.
        perceptual: perceptual distance of composites over neutral grey (L_vgg).
        vggface: distance of face crops in VGG-Face's features (L_vggface), when its weights are
            given.
        face_perceptual: the offline distance of face crops, when they are not.
        segmentation: Dice loss over foreground, hands and face (L_segm).
        mask_entropy: cross-entropy of the three masks.
        adversarial: against the discriminator of whole crops (L_adv).
        adversarial_head: against the discriminator of heads (L_advface).
        adversarial_hands: against the discriminator of hands (L_advhands).
        mipmap: penalty on the texture's fine levels (L_mipmap).
        face_hands: how many times a pixel of face or hands counts in `l1`; 1 is no preference.
        norms: "written": ‖·‖₂ of L_mipmap and of the adversarial losses as in the paper; "rms":
            root mean squares.
    """

    l1: float = 40.0
    perceptual: float = 1.0
    vggface: float = 0.2
    face_perceptual: float = 0.2
    segmentation: float = 1.0
    mask_entropy: float = 10.0
    adversarial: float = 0.0
    adversarial_head: float = 0.0
    adversarial_hands: float = 0.0
    mipmap: float = 0.02
    face_hands: float = 4.0
    norms: Norm = "rms"


ADVERSARIAL = ("adversarial", "adversarial_head", "adversarial_hands")
"""The terms that need a discriminator."""

Term = Literal[
    "perceptual",
    "face_perceptual",
    "segmentation",
    "adversarial",
    "adversarial_head",
    "adversarial_hands",
    "mipmap",
    "l1",
    "mask_entropy",
]
"""A loss that can be switched off by name. The first seven are Table 1's, the others ours."""

ABLATIONS: dict[Term, tuple[str, ...]] = {
    "perceptual": ("perceptual",),
    "face_perceptual": ("vggface", "face_perceptual"),
    "segmentation": ("segmentation",),
    "adversarial": ("adversarial",),
    "adversarial_head": ("adversarial_head",),
    "adversarial_hands": ("adversarial_hands",),
    "mipmap": ("mipmap",),
    "l1": ("l1",),
    "mask_entropy": ("mask_entropy",),
}
"""Term → the weights that are 0 without it."""


def without(weights: DressingWeights, terms: Iterable[Term]) -> DressingWeights:
    """Return weights with some terms switched off.

    Raises:
        TrainingError: there is no such term.
    """
    off: dict[str, Any] = {}
    for term in terms:
        if term not in ABLATIONS:
            raise TrainingError(f"there is no term {term!r}", f"one of {', '.join(ABLATIONS)}")
        off |= dict.fromkeys(ABLATIONS[term], 0.0)
    return replace(weights, **off)


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


def patch_distance(scores: Tensor, target: float, norms: Norm) -> Tensor:
    """Return ‖target − D‖₂ of each image's map of scores (N, 1, h, w), (N,) in float32."""
    square = (scores.float() - target).square().flatten(1)
    total = square.sum(dim=1) if norms == "written" else square.mean(dim=1)
    # As for the masks' norm: a finite slope where every score is right.
    return (total + 1e-12).sqrt()


def adversarial_loss(drawn: Tensor, images: int, norms: Norm = "written") -> Tensor:
    """Return L_adv^R = ‖1 − D(Î)‖₂, per image of the batch.

    Args:
        drawn: (N, 1, h, w) scores of drawn images or of crops of them.
        images: in the batch. An image's crops add up and a hidden region counts 0, so that the
            mean over a batch is the mean over its shares.
        norms: see `Norm`.

    Source: StylePeople supplementary, section 1.2, likewise for head and hands.
    """
    return patch_distance(drawn, 1.0, norms).sum() / images


def discriminator_loss(drawn: Tensor, true: Tensor, images: int, norms: Norm) -> Tensor:
    """Return L_adv^D = ‖D(Î)‖₂ + ‖1 − D(I)‖₂, per image of the batch.

    Args:
        drawn: (N, 1, h, w) scores of drawn images or crops.
        true: of the captured ones.
        images: see `adversarial_loss`.
        norms: see `Norm`.
    """
    distance = patch_distance(drawn, 0.0, norms) + patch_distance(true, 1.0, norms)
    return distance.sum() / images


def weighted_sum(parts: dict[str, Tensor], weights: DressingWeights) -> Tensor:
    """Return Σ weight · loss over the parts, whose names are fields of the weights."""
    return torch.stack([getattr(weights, name) * loss for name, loss in parts.items()]).sum()


def _norm(images: Tensor) -> Tensor:
    # sqrt has an infinite slope at 0: the small number keeps the gradient of an empty mask finite.
    return images.square().sum(dim=(1, 2, 3)).add(1e-12).sqrt()
