"""L_VGGFace: the distance of faces in the features of a network that recognises people.

Source: StylePeople supplementary, section 1.2. The network is VGG-Face (Parkhi et al. 2015), a
VGG16. Its weights are not shipped and never fetched: they are a file that the user gives.
Without it the offline distance on the same crops stands in under its own name.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from blender_addon.contract.errors import ModelError
from models.perceptual import PerceptualDistance, read_weights

if TYPE_CHECKING:
    from pathlib import Path

_BLOCKS = ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))
"""Channels and convolutions of VGG16's blocks, between which the resolution halves."""
_WEIGHTS = (1 / 32, 1 / 16, 1 / 8, 1 / 4, 1.0)
"""Of each block's first features, as for VGG19 (`models.perceptual.VGG19_LAYERS`)."""
_MEAN = (129.186279296875, 104.76238250732422, 93.59396362304688)
"""Mean red, green and blue of VGG-Face's training images, 0…255; they were not scaled further."""


class VggFaceDistance(PerceptualDistance):
    """Weighted mean absolute difference of VGG-Face features of face crops.

    Args:
        weights: state dict, .pth (loaded with weights_only) or .safetensors, whose convolutions
            are called conv1_1 … conv5_3; what follows conv5_1 is not used.

    Raises:
        ModelError: the file is missing or does not hold these weights.
    """

    name = "VGGFace distance"

    def __init__(self, weights: Path) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(_blocks())
        try:
            self._load(weights)
        except (KeyError, RuntimeError) as error:
            raise ModelError(
                f"{weights} does not hold VGG-Face's weights ({error})",
                "give a state dict with conv1_1.weight … conv5_1.bias, or leave it out for the "
                "offline distance",
            ) from error
        self.eval().requires_grad_(False)
        self.register_buffer("mean", torch.tensor(_MEAN)[:, None, None], persistent=False)

    def _load(self, weights: Path) -> None:
        given = read_weights(weights)
        for number, block in enumerate(self.blocks, start=1):
            for index, layer in enumerate(cast("nn.Sequential", block), start=1):
                name = f"conv{number}_{index}"
                kept = {part: given[f"{name}.{part}"] for part in ("weight", "bias")}
                layer.load_state_dict(kept)

    def _features(self, images: Tensor) -> list[Tensor]:
        hidden = images * 255.0 - cast("Tensor", self.mean)
        found: list[Tensor] = []
        for number, block in enumerate(self.blocks):
            if number:
                hidden = functional.max_pool2d(hidden, 2)
            for index, layer in enumerate(cast("nn.Sequential", block)):
                hidden = functional.relu(layer(hidden))
                if index == 0:
                    found.append(hidden)
        return found

    def _distance(self, index: int, one: Tensor, other: Tensor) -> Tensor:
        return _WEIGHTS[index] * functional.l1_loss(one, other)


def _blocks() -> list[nn.Sequential]:
    blocks: list[nn.Sequential] = []
    before = 3
    for number, (channels, count) in enumerate(_BLOCKS):
        # Of the last block only the first features are compared.
        used = 1 if number == len(_BLOCKS) - 1 else count
        convolutions = [
            nn.Conv2d(before if k == 0 else channels, channels, 3, padding=1) for k in range(used)
        ]
        blocks.append(nn.Sequential(*convolutions))
        before = channels
    return blocks
