"""The settings of a parser's training, in groups; a recipe in YAML fills the same names.

`training/recipes/parser-cpu.yaml` is filled and commented. The architecture stands beside the
network (`models/parser_network.py`), how portraits become as varied as photographs beside that
(`training/photographs.py`); schedules are those of SOFs.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from models.parser_network import STRIDE, ParserConfig
from training.photographs import PhotographChances
from training.sof_recipe import SofSchedule

GROUPS = ("architecture", "data", "photographs", "weights", "optimiser", "schedule")
"""The groups of a recipe, each a dataclass."""


@dataclass(frozen=True, kw_only=True)
class ParserData:
    """What a step sees.

    Attributes:
        sizes: sides of the images; each step draws one.
        pixels: of a step: small images come in larger batches.
    """

    sizes: tuple[int, ...] = (128, 192)
    pixels: int = 8 * 128 * 128

    def __post_init__(self) -> None:
        if not self.sizes or any(size < 2 * STRIDE or size % STRIDE for size in self.sizes):
            raise ValueError(f"sizes must be multiples of {STRIDE}, at least {2 * STRIDE}")


@dataclass(frozen=True, kw_only=True)
class ParserWeights:
    """Weights of the losses.

    Attributes:
        labels: cross-entropy.
        frequency: a label counts its share of the pixels to the power of minus this.
        overlap: 1 − soft Dice, the mean over the labels that a batch shows.
    """

    labels: float = 1.0
    frequency: float = 0.35
    overlap: float = 0.5


@dataclass(frozen=True, kw_only=True)
class ParserOptimiser:
    """AdamW for the decoder; the features stay as they are.

    Attributes:
        rate: peak learning rate.
        decay: of the weights.
        beta2: decay of the second moment.
        clip: largest norm of the gradient.
        average: decay a step of the exponential average of weights that is exported.
        average_every: steps between updates of the average.
    """

    rate: float = 3e-3
    decay: float = 0.01
    beta2: float = 0.99
    clip: float = 1.0
    average: float = 0.995
    average_every: int = 4


@dataclass(frozen=True, kw_only=True)
class ParserRecipe:
    """All that decides about a training, beside its portraits.

    Attributes:
        architecture: of the decoder.
        data: what a step sees.
        photographs: how portraits are changed.
        weights: of the losses.
        optimiser: and the running average.
        schedule: how long, and how the rate changes.
        seed: of first values and batches.
    """

    architecture: ParserConfig = field(default_factory=ParserConfig)
    data: ParserData = field(default_factory=ParserData)
    photographs: PhotographChances = field(default_factory=PhotographChances)
    weights: ParserWeights = field(default_factory=ParserWeights)
    optimiser: ParserOptimiser = field(default_factory=ParserOptimiser)
    schedule: SofSchedule = field(default_factory=SofSchedule)
    seed: int = 0

    def to_plain(self) -> dict[str, Any]:
        """Return values for JSON."""
        return {name: asdict(getattr(self, name)) for name in GROUPS} | {"seed": self.seed}
