"""LPIPS as a distance to train and fit with: learned weights on the features of a given trunk.

Source: Zhang et al. 2018. The package holds the learned weights; AlexNet's or VGG16's own are a file
that the user gives. Without it the offline distance stands in under its own name.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any, cast

import torch

from blender_addon.contract.errors import ModelError
from models.perceptual import LiteDistance, PerceptualDistance, read_weights

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor


class LpipsDistance(PerceptualDistance):
    """LPIPS, version 0.1.

    Args:
        trunk: torchvision's weights of AlexNet or VGG16, .pth or .safetensors.

    Attributes:
        kind: "alex" or "vgg".

    Raises:
        ModelError: the file does not hold such weights.
    """

    def __init__(self, trunk: Path) -> None:
        super().__init__()
        import lpips

        given = read_weights(trunk)
        first = given.get("features.0.weight")
        alex = first is not None and tuple(first.shape) == (64, 3, 11, 11)
        self.kind = "alex" if alex else "vgg"
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # its use of torchvision is older than torchvision
            network: Any = lpips.LPIPS(net=self.kind, pnet_rand=True, verbose=False)
        # The trunk's slices keep the numbers of torchvision's layers: slice2.3 is features.3.
        own = network.net.state_dict()
        try:
            named = {name: given["features." + name.split(".", 1)[1]] for name in own}
            network.net.load_state_dict(named)
        except (KeyError, RuntimeError) as error:
            raise ModelError(
                f"{trunk} does not hold the weights of LPIPS' {self.kind} trunk",
                "give torchvision's alexnet or vgg16 weights (.pth), or leave LPIPS out",
            ) from error
        self.name = f"LPIPS ({self.kind})"
        self.network = network.eval().requires_grad_(requires_grad=False)
        for module in self.network.modules():
            if isinstance(module, torch.nn.ReLU):
                module.inplace = False  # earlier layers' features are still needed

    def train(self, mode: bool = True) -> LpipsDistance:
        """Stay in evaluation mode: a yardstick does not learn."""
        del mode
        return cast("LpipsDistance", super().train(mode=False))

    def _features(self, images: Tensor) -> list[Tensor]:
        network: Any = self.network
        return [_unit(each) for each in network.net(network.scaling_layer(2.0 * images - 1.0))]

    def _distance(self, index: int, one: Tensor, other: Tensor) -> Tensor:
        network: Any = self.network
        return network.lins[index]((one - other).square()).mean()


def fit_distance(trunk: Path | None) -> PerceptualDistance:
    """Return LPIPS when its trunk is given, else the offline distance."""
    return LiteDistance() if trunk is None else LpipsDistance(trunk)


def _unit(features: Tensor) -> Tensor:
    # The small number keeps the gradient finite where all features are 0.
    return features * features.square().sum(dim=1, keepdim=True).add(1e-10).rsqrt()
