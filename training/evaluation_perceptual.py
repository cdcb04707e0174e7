"""Which perceptual distance an evaluation measures with, and under which name.

LPIPS is LPIPS only with its trunk's real weights: a file that the user gives. VGG19's feature
distance likewise. Without either, the offline distance of the training stands in, and its
figures carry its own name: they are comparable with each other, not with published ones.
"""

from __future__ import annotations

import warnings
from pathlib import Path  # noqa: TC003 - jsonargparse reads the annotations
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from blender_addon.contract.errors import ModelError
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
        kind, network = _lpips(lpips_trunk)
        return Yardstick(f"lpips_{kind}", lambda a, b: network(a, b, normalize=True).mean())
    if vgg19 is not None:
        return Yardstick("vgg19_distance", Vgg19Distance(vgg19))
    return Yardstick("lite0_distance", LiteDistance())


def _lpips(trunk: Path) -> tuple[str, Any]:
    import lpips

    try:
        given = cast("dict[str, Tensor]", torch.load(trunk, map_location="cpu", weights_only=True))
        first = tuple(given["features.0.weight"].shape)
    except Exception as error:
        raise ModelError(
            f"{trunk} cannot be read as weights of AlexNet or VGG16: {error}",
            "give torchvision's alexnet or vgg16 weights (.pth), or leave LPIPS out",
        ) from error
    kind = "alex" if first == (64, 3, 11, 11) else "vgg"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # its use of torchvision is older than torchvision
        network = lpips.LPIPS(net=kind, pnet_rand=True, verbose=False)
    # The trunk's slices keep the numbers of torchvision's layers: "slice2.3.weight" is features.3.
    own = network.net.state_dict()
    try:
        named = {name: given["features." + name.split(".", 1)[1]] for name in own}
        network.net.load_state_dict(named)
    except (KeyError, RuntimeError) as error:
        raise ModelError(
            f"{trunk} does not hold the weights of LPIPS' {kind} trunk",
            "give torchvision's alexnet or vgg16 weights (.pth), or leave LPIPS out",
        ) from error
    return kind, network.eval().requires_grad_(requires_grad=False)


def _tensor(image: NDArray[np.floating]) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(image, np.float32)).permute(2, 0, 1)[None]


def _padded(image: Tensor) -> Tensor:
    """Repeat the border, which is background in a person's box, up to the least size."""
    height, width = image.shape[-2:]
    wanted = (0, max(SMALLEST - width, 0), 0, max(SMALLEST - height, 0))
    return functional.pad(image, wanted, mode="replicate") if any(wanted) else image


def _enlarged(image: Tensor) -> Tensor:
    return functional.interpolate(image, size=(PART_SIZE, PART_SIZE), mode="bilinear")
