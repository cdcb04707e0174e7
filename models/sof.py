"""The semantic occupancy field (SOF): a head's code and a camera's rays in, labels out.

Source: SofGAN sections 4 and 6.2. The hypernetwork H turns a code into the scene representer Φ,
an LSTM ray marcher finds where a ray ends, and the classifier Θ, one fully connected layer and a
softmax, says which of the portrait's labels is there. Rays that miss the head's bounding sphere,
and those that leave it, see background.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.rays import Chord, Rays, sphere_chord
from models.sof_field import FieldWeights, Hypernetwork, describe, point_inputs
from models.sof_march import Marcher, march

if TYPE_CHECKING:
    from collections.abc import Mapping

BACKGROUND = 0


@dataclass(frozen=True, kw_only=True)
class SofConfig:
    """Architecture of a SOF; the defaults are the paper's.

    Attributes:
        labels: classes of Θ, background first.
        code: numbers of a head's code: "z ∈ R²⁵⁶".
        hidden: channels of H's hidden layer.
        width: channels of Φ and inputs of Θ.
        layers: fully connected layers of Φ.
        frequencies: octaves of sines and cosines beside a point's coordinates; the paper has none.
        memory: states of the marcher's LSTM.
        steps: of the marcher.
        radius: of the sphere that holds every head, in metres round the head's origin.
    """

    labels: int = 17
    code: int = 256
    hidden: int = 256
    width: int = 256
    layers: int = 4
    frequencies: int = 0
    memory: int = 16
    steps: int = 10
    radius: float = 0.35

    def to_plain(self) -> dict[str, Any]:
        """Return the values for a manifest's architecture."""
        return asdict(self)

    @classmethod
    def from_plain(cls, values: Mapping[str, Any]) -> SofConfig:
        """Read the values of a manifest's architecture; unknown names are ignored."""
        names = cls.__dataclass_fields__
        return cls(**{name: value for name, value in values.items() if name in names})


class Marched(NamedTuple):
    """What rays see.

    Attributes:
        logits: (B, N, labels) float32 at the rays' ends; meaningless where `gone`.
        distance: (B, N) float32 metres along the rays to their ends.
        path: (steps + 1, B, N) where each step ended.
        chord: where the rays enter and leave the bounding sphere.
    """

    logits: Tensor
    distance: Tensor
    path: Tensor
    chord: Chord

    @property
    def gone(self) -> Tensor:
        """(B, N) bool: rays that miss the sphere or have left it, which see background."""
        return ~self.chord.hit | (self.distance > self.chord.far)

    @property
    def labels(self) -> Tensor:
        """(B, N) int64."""
        return self.logits.argmax(dim=-1).masked_fill(self.gone, BACKGROUND)


class Sof(nn.Module):
    """H, marcher and Θ: what all heads share.

    Args:
        config: sizes.
    """

    def __init__(self, config: SofConfig | None = None) -> None:
        super().__init__()
        self.config = config or SofConfig()
        c = self.config
        inputs = point_inputs(c.frequencies)
        self.hypernetwork = Hypernetwork(c.code, c.hidden, c.width, c.layers, inputs)
        self.marcher = Marcher(c.width, c.memory)
        self.classifier = nn.Linear(c.width, c.labels)

    def field(self, codes: Tensor, dtype: torch.dtype | None = None) -> FieldWeights:
        """Return Φ of heads by their codes (B, code), computed in `dtype` from its second layer."""
        return self.hypernetwork(codes, dtype)

    def describe(self, field: FieldWeights, points: Tensor) -> Tensor:
        """Return Φ's features (B, N, width) of points (B, N, 3) in metres."""
        return describe(field, points, self.config.radius, self.config.frequencies)

    def classify(self, features: Tensor) -> Tensor:
        """Return Θ's logits (B, N, labels) float32 of Φ's features."""
        theta, dtype = self.classifier, features.dtype
        return functional.linear(features, theta.weight.to(dtype)).float() + theta.bias

    def forward(self, codes: Tensor, rays: Rays, dtype: torch.dtype | None = None) -> Marched:
        """March every ray of a batch of heads: what training learns from.

        Args:
            codes: (B, code) float32.
            rays: origin (B, N or 1, 3), direction (B, N, 3).
            dtype: that Φ computes in; float32 when None.
        """
        return self.march(self.field(codes, dtype), rays)

    def march(self, field: FieldWeights, rays: Rays) -> Marched:
        """March every ray, all steps, through fields that are known already."""
        chord = sphere_chord(rays, self.config.radius)
        path = march(
            self.marcher,
            lambda points: self.describe(field, points),
            rays.origin,
            rays.direction,
            chord.near,
            self.config.steps,
        )
        end = rays.origin + path[-1][..., None] * rays.direction
        return Marched(self.classify(self.describe(field, end)), path[-1], path, chord)
