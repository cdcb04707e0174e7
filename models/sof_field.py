"""The field of a head: the hypernetwork H makes the weights of Φ from a code, Φ describes points.

Source: SofGAN sections 4.2, 4.3 and 6.2: Φ : R³ → Rⁿ is a fully connected network of 4 layers, H
has one hidden layer of 256 channels. Φ's layers are normalised without parameters of their own.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

CODE_SHARE = 0.5
"""How much of a weight's first deviation comes from the code at a hidden layer of unit size."""


class FieldWeights(NamedTuple):
    """Φ of a batch of heads.

    Attributes:
        matrices: per layer (B, in, out); the first float32, the others as computed with.
        biases: per layer (B, 1, out).
    """

    matrices: tuple[Tensor, ...]
    biases: tuple[Tensor, ...]

    def __getitem__(self, heads: slice | Tensor) -> FieldWeights:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Return the weights of some of the heads."""
        return FieldWeights(
            tuple(each[heads] for each in self.matrices), tuple(each[heads] for each in self.biases)
        )


class Hypernetwork(nn.Module):
    """H: code (B, code) → weights of Φ.

    Args:
        code: numbers of a code.
        hidden: channels of the one hidden layer.
        width: channels of Φ's layers.
        layers: fully connected layers of Φ.
        inputs: numbers that describe a point.
    """

    def __init__(self, code: int, hidden: int, width: int, layers: int, inputs: int) -> None:
        super().__init__()
        self.shapes = [(inputs, width)] + [(width, width)] * (layers - 1)
        self.hidden = nn.Linear(code, hidden)
        self.output = nn.Linear(hidden, sum(i * o + o for i, o in self.shapes))
        self._reset()

    @torch.no_grad()
    def _reset(self) -> None:
        # The bias of H's last layer is the Φ that all heads share, initialised as any network
        # (He); codes move the weights around it.
        weights, biases = [], []
        for inputs, outputs in self.shapes:
            deviation = math.sqrt(2.0 / inputs)
            biases += [deviation * torch.randn(inputs * outputs), torch.zeros(outputs)]
            spread = CODE_SHARE * deviation / math.sqrt(self.output.in_features)
            size = (inputs * outputs + outputs, self.output.in_features)
            weights.append(spread * torch.randn(size))
        self.output.weight.copy_(torch.cat(weights))
        self.output.bias.copy_(torch.cat(biases))

    def forward(self, codes: Tensor, dtype: torch.dtype | None = None) -> FieldWeights:
        """Return the weights of codes (B, code).

        Args:
            codes: float32.
            dtype: of all layers but the first, whose inputs are metres and need their digits.
        """
        flat = self.output(functional.relu(self.hidden(codes)))
        matrices, biases = [], []
        start = 0
        for index, (inputs, outputs) in enumerate(self.shapes):
            kind = flat.dtype if index == 0 else dtype or flat.dtype
            end = start + inputs * outputs
            matrix = flat[:, start:end].view(-1, inputs, outputs)
            bias = flat[:, end : end + outputs].view(-1, 1, outputs)
            matrices.append(matrix.to(kind))
            biases.append(bias.to(kind))
            start = end + outputs
        return FieldWeights(tuple(matrices), tuple(biases))


def describe(weights: FieldWeights, points: Tensor, radius: float, frequencies: int) -> Tensor:
    """Φ: describe points of heads.

    Args:
        weights: of B heads.
        points: (B, N, 3) float32 in head space, metres.
        radius: of the bounding sphere: its inside has coordinates in −1…1.
        frequencies: octaves of sines and cosines beside the coordinates; the paper has none.

    Returns:
        (B, N, width) features, not negative, in the dtype of the last layer.
    """
    features = points / radius
    if frequencies:
        octaves = (0.5 * math.pi) * 2.0 ** torch.arange(frequencies, device=points.device)
        angles = (features[..., None, :] * octaves[:, None]).flatten(-2)
        features = torch.cat([features, angles.sin(), angles.cos()], dim=-1)
    for matrix, bias in zip(weights.matrices, weights.biases, strict=True):
        features = torch.baddbmm(bias, features.to(matrix.dtype), matrix)
        features = functional.relu(functional.layer_norm(features, features.shape[-1:]))
    return features


def point_inputs(frequencies: int) -> int:
    """Return how many numbers describe a point."""
    return 3 + 6 * frequencies
