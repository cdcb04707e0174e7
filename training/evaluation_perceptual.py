"""Which perceptual distance an evaluation measures with, and under which name.

LPIPS is LPIPS only with its trunk's real weights: a file that the user gives. VGG19's feature
distance likewise. Without either, the offline distance of the training stands in, and its
figures carry its own name: they are comparable with each other, not with published ones.
"""

from __future__ import annotations

from pathlib import Path  # noqa: TC003 - jsonargparse reads the annotations
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from models.lpips_distance import LpipsDistance
from models.perceptual import LiteDistance, Vgg19Distance

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from training.evaluation_regions import Box

SMALLEST = 64
"""Least side in pixels of what the networks are shown; smaller boxes stand on their background."""
PART_SIZE = 96
"""Side to which boxes of heads and hands are enlarged."""


class Yardstick:
    """A perceptual distance with the name that its figures carry.

    Args:
        name: of the figures, snake_case.
        distance: (B, 3, H, W) twice, sRGB 0…1, to a scalar: the mean over the batch.
    """

    def __init__(self, name: str, distance: Callable[[Tensor, Tensor], Tensor]) -> None:
        self.name = name
        self._distance = distance

    @torch.inference_mode()
    def person(
        self, predicted: NDArray[np.floating], true: NDArray[np.floating], box: Box
    ) -> float:
        """Return the distance inside the person's box."""
        pair = [_padded(_tensor(image[box])) for image in (predicted, true)]
        return float(self._distance(*pair))

    @torch.inference_mode()
    def parts(
        self, predicted: NDArray[np.floating], true: NDArray[np.floating], boxes: Sequence[Box]
    ) -> float:
        """Return the mean distance over small boxes, each enlarged; NaN without any."""
        if not boxes:
            return float("nan")
        pair = [
            torch.cat([_enlarged(_tensor(image[box])) for box in boxes])
            for image in (predicted, true)
        ]
        return float(self._distance(*pair))


def yardstick(lpips_trunk: Path | None = None, vgg19: Path | None = None) -> Yardstick:
    """Return LPIPS if its trunk is given, else VGG19's distance if given, else the offline one.

    Args:
        lpips_trunk: torchvision's weights of AlexNet or VGG16.
        vgg19: torchvision's weights of VGG19.

    Raises:
        ModelError: a file does not hold such weights.
    """
    if lpips_trunk is not None:
        lpips = LpipsDistance(lpips_trunk)
        return Yardstick(f"lpips_{lpips.kind}", lpips)
    if vgg19 is not None:
        return Yardstick("vgg19_distance", Vgg19Distance(vgg19))
    return Yardstick("lite0_distance", LiteDistance())


def _tensor(image: NDArray[np.floating]) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(image, np.float32)).permute(2, 0, 1)[None]


def _padded(image: Tensor) -> Tensor:
    """Repeat the border, which is background in a person's box, up to the least size."""
    height, width = image.shape[-2:]
    wanted = (0, max(SMALLEST - width, 0), 0, max(SMALLEST - height, 0))
    return functional.pad(image, wanted, mode="replicate") if any(wanted) else image


def _enlarged(image: Tensor) -> Tensor:
    return functional.interpolate(image, size=(PART_SIZE, PART_SIZE), mode="bilinear")
