"""What neural dressing minimises: every loss of a dressed batch by its name in the weights."""

from __future__ import annotations

from typing import TYPE_CHECKING

from models.perceptual import perceptual_distance
from models.regions import HEAD, Crops, crop, find_squares
from models.vggface import VggFaceDistance
from training.losses import (
    ADVERSARIAL,
    NEUTRAL_GREY,
    composite,
    composite_l1,
    composite_premultiplied,
    dice_loss,
    mask_entropy,
)

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from models.dresser import Dressed
    from models.perceptual import PerceptualDistance
    from training.dressing_data import Batch
    from training.dressing_model import DressingModel
    from training.dressing_recipe import DressingRecipe


class DressingObjective:
    """The losses against the truth; the adversaries' stand in `training.adversaries`.

    Args:
        recipe: weights, and the files of the perceptual networks.
        device: where the images are.

    Raises:
        ModelError: a file of weights cannot be read.
    """

    def __init__(self, recipe: DressingRecipe, device: torch.device) -> None:
        self._weights = recipe.weights
        self._face_size = recipe.adversaries.head_size
        offline = perceptual_distance(stages=recipe.perceptual_stages)
        self.distance: PerceptualDistance = (
            perceptual_distance(recipe.vgg19) if recipe.vgg19 else offline
        ).to(device)
        # L_vggface goes by its own name; what stands in for it has another.
        self.face_term = "vggface" if recipe.vggface else "face_perceptual"
        self.face_distance: PerceptualDistance = (
            VggFaceDistance(recipe.vggface) if recipe.vggface else offline
        ).to(device)

    def losses(self, dressed: Dressed, batch: Batch, model: DressingModel) -> dict[str, Tensor]:
        """Return each loss that has a weight.

        Args:
            dressed: predicted; its masks are 0 where the truth is unknown.
            batch: the truth.
            model: whose textures are penalised.
        """
        weights = self._weights
        predicted = composite(dressed.rgb, dressed.masks[:, :1], NEUTRAL_GREY)
        true = composite_premultiplied(batch.colour, batch.masks[:, :1], NEUTRAL_GREY)
        parts: dict[str, Tensor] = {}
        if weights.l1:
            parts["l1"] = composite_l1(
                dressed,
                batch.colour,
                batch.masks,
                background=batch.background,
                face_hands=weights.face_hands,
            )
        if weights.perceptual:
            parts["perceptual"] = self.distance(predicted, true)
        if getattr(weights, self.face_term):
            face = face_loss(self.face_distance, predicted, true, batch, self._face_size)
            if face is not None:
                parts[self.face_term] = face
        if weights.segmentation:
            parts["segmentation"] = dice_loss(dressed.masks, batch.masks)
        if weights.mask_entropy:
            parts["mask_entropy"] = mask_entropy(dressed.masks, batch.masks)
        if weights.mipmap:
            normalised = weights.norms == "rms"
            parts["mipmap"] = model.mipmap_penalty(batch, normalised=normalised)
        return parts


def face_loss(
    distance: PerceptualDistance, predicted: Tensor, true: Tensor, batch: Crops, size: int
) -> Tensor | None:
    """Return a distance on the crops of faces, per image of the batch; None if no face is seen.

    An image without a face counts 0, so that the mean over a batch is the mean over its shares.

    Args:
        distance: of crops (N, 3, size, size).
        predicted: (B, 3, H, W) over grey.
        true: the same of the captured image.
        batch: with joints and true masks.
        size: side of the crops, at least 32.
    """
    squares = find_squares(batch, (HEAD,))
    count = len(squares.image)
    if not count:
        return None
    value = distance(crop(predicted, squares, size), crop(true, squares, size))
    return value * (count / len(predicted))


def supervised_share(values: dict[str, float], weights: object) -> float:
    """Return Σ weight · loss over the losses that compare with the truth."""
    return sum(
        getattr(weights, name) * value
        for name, value in values.items()
        if name not in (*ADVERSARIAL, "mipmap")
    )
