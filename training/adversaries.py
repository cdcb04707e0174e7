"""The three adversaries of neural dressing, what they are shown, and how they learn.

Source: StylePeople supplementary, section 1.2. D_full sees whole crops, D_head heads and D_hands
each hand by itself. Heads and hands are multiplied by their channel of the segmentation before
they are cropped: by the predicted one where the image is drawn, by the true one where it is real.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple, cast

import torch
from torch import Tensor, nn

from models.discriminators import PatchDiscriminator, PatchDiscriminatorConfig
from models.regions import HEAD, LEFT_HAND, RIGHT_HAND, Region, Squares, crop, find_squares
from training.losses import (
    ADVERSARIAL,
    NEUTRAL_GREY,
    DressingWeights,
    adversarial_loss,
    composite,
    composite_premultiplied,
    discriminator_loss,
)

if TYPE_CHECKING:
    from models.dresser import Dressed
    from training.dressing_data import Batch
    from training.losses import Norm


@dataclass(frozen=True, kw_only=True)
class DressingAdversaries:
    """The discriminators of neural dressing; their losses' weights stand with the other weights.

    Attributes:
        start: share of the stage before they take part.
        full_rate: learning rate of D_full.
        head_rate: learning rate of D_head.
        hands_rate: learning rate of D_hands.
        beta1: decay of their Adam's first moment.
        full: architecture of D_full.
        regions: architecture of D_head and D_hands.
        head_size: side of the head's crop in pixels.
        hands_size: side of each hand's crop in pixels.
    """

    start: float = 0.0
    full_rate: float = 2e-4
    head_rate: float = 2e-4
    hands_rate: float = 2e-4
    beta1: float = 0.5
    full: PatchDiscriminatorConfig = field(
        default_factory=lambda: PatchDiscriminatorConfig(width=32, layers=3)
    )
    regions: PatchDiscriminatorConfig = field(
        default_factory=lambda: PatchDiscriminatorConfig(width=32, layers=2)
    )
    head_size: int = 64
    hands_size: int = 48


class Views(NamedTuple):
    """What the discriminators are shown of a batch, by the name of the term they serve.

    Attributes:
        drawn: images or crops made of the prediction, with gradients.
        true: the same places of the captured images.
        images: in the batch.
    """

    drawn: dict[str, Tensor]
    true: dict[str, Tensor]
    images: int


class Adversaries(nn.Module):
    """The discriminators whose terms have a weight.

    Args:
        settings: sizes and rates.
        weights: of the losses; a term of weight 0 has no discriminator.
        seed: of first values.
    """

    def __init__(self, settings: DressingAdversaries, weights: DressingWeights, seed: int) -> None:
        super().__init__()
        self.settings = settings
        self.norms: Norm = weights.norms
        self.networks = nn.ModuleDict()
        for index, term in enumerate(ADVERSARIAL):
            if getattr(weights, term):
                config = settings.full if term == "adversarial" else settings.regions
                self.networks[term] = PatchDiscriminator(config, seed=seed + 1 + index)

    @property
    def any(self) -> bool:
        """Whether there is a discriminator at all."""
        return len(self.networks) > 0

    def rates(self) -> dict[str, float]:
        """Return the learning rate of each discriminator by its term."""
        settings = self.settings
        every = zip(
            ADVERSARIAL,
            (settings.full_rate, settings.head_rate, settings.hands_rate),
            strict=True,
        )
        return {term: rate for term, rate in every if term in self.networks}

    def optimiser(self) -> torch.optim.Adam:
        """Return an Adam with one group per discriminator, in the order of `rates`."""
        groups = [
            {"params": list(self.networks[term].parameters()), "lr": rate}
            for term, rate in self.rates().items()
        ]
        return torch.optim.Adam(groups, betas=(self.settings.beta1, 0.999), fused=True)

    def views(self, dressed: Dressed, batch: Batch) -> Views:
        """Return what the discriminators see of a dressed batch and of the truth."""
        drawn_image = composite(dressed.rgb, dressed.masks[:, :1], NEUTRAL_GREY)
        true_image = composite_premultiplied(batch.colour, batch.masks[:, :1], NEUTRAL_GREY)
        drawn: dict[str, Tensor] = {}
        true: dict[str, Tensor] = {}
        for term in self.networks:
            if term == "adversarial":
                drawn[term], true[term] = drawn_image, true_image
                continue
            regions = (HEAD,) if term == "adversarial_head" else (LEFT_HAND, RIGHT_HAND)
            is_head = term == "adversarial_head"
            size = self.settings.head_size if is_head else self.settings.hands_size
            squares = find_squares(batch, regions)
            drawn[term] = masked_crop(drawn_image, dressed.masks, regions[0], squares, size)
            true[term] = masked_crop(true_image, batch.masks, regions[0], squares, size)
        return Views(drawn, true, len(true_image))

    def losses(self, views: Views) -> dict[str, Tensor]:
        """Return L_adv, L_advface and L_advhands by term; gradients reach the drawn images only."""
        self.requires_grad_(False)
        parts: dict[str, Tensor] = {}
        for term, images in views.drawn.items():
            if len(images):
                scores = self._judge(term, images)
                parts[term] = adversarial_loss(scores, views.images, self.norms)
        return parts

    def own_losses(self, views: Views) -> dict[str, Tensor]:
        """Return the discriminators' own losses by term; gradients reach them only."""
        self.requires_grad_(True)
        parts: dict[str, Tensor] = {}
        for term, images in views.drawn.items():
            if len(images):
                both = torch.cat([images.detach(), views.true[term]])
                drawn, true = self._judge(term, both).chunk(2)
                parts[term] = discriminator_loss(drawn, true, views.images, self.norms)
        return parts

    def _judge(self, term: str, images: Tensor) -> Tensor:
        return cast("PatchDiscriminator", self.networks[term])(images)


def masked_crop(
    images: Tensor, masks: Tensor, region: Region, squares: Squares, size: int
) -> Tensor:
    """Return C(I ⊙ M): images times a region's mask, cropped to (N, 3, size, size)."""
    mask = masks[:, region.channel : region.channel + 1]
    return crop(images * mask, squares, size)
