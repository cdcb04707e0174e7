"""The settings of a SOF's training, in groups; a recipe in YAML fills the same names.

`training/recipes/sof-*.yaml` are filled and commented. The architecture stands beside the network
(`models/sof.py`).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from models.sof import SofConfig
from training.schedule import StagePlan, cosine, fallen, risen

GROUPS = ("architecture", "data", "weights", "optimiser", "schedule")
"""The groups of a recipe, each a dataclass."""


@dataclass(frozen=True, kw_only=True)
class SofData:
    """Which rays a step sees.

    Attributes:
        heads: of a step; H makes one Φ for each.
        views: of each of these heads.
        rays: of each of these views.
        marched: share of the rays that are marched; where depth is known, the others still teach
            the field at the surface and before it, at a fifth of the cost.
        near: share of the rays near the head, including the details'.
        details: share of the rays at brows, eyes, lips, jewellery and glasses.
        margin: of "near" and, a fifth of it, of "at", as a share of the image's side.
    """

    heads: int = 8
    views: int = 2
    rays: int = 1024
    marched: float = 0.5
    near: float = 0.75
    details: float = 0.2
    margin: float = 0.04

    def __post_init__(self) -> None:
        if not 0.0 <= self.details <= self.near <= 1.0:
            raise ValueError("0 ≤ details ≤ near ≤ 1 must hold")
        if not 0.0 < self.marched <= 1.0:
            raise ValueError("marched must lie in 0…1")


@dataclass(frozen=True, kw_only=True)
class SofWeights:
    """Weights of the losses; 0 switches one off, at no cost.

    Attributes:
        labels: cross-entropy of what marched rays see: the paper's only loss.
        frequency: a label counts its share of the rays to the power of minus this.
        depth: how far marched rays end from the true surface, in centimetres (Huber).
        surface: cross-entropy of points at the true surface.
        empty: cross-entropy of points before it, where background must be.
        bounds: squared metres by which rays end before the bounding sphere.
        code: mean square of the codes.
    """

    labels: float = 1.0
    frequency: float = 0.35
    depth: float = 0.2
    surface: float = 0.5
    empty: float = 0.25
    bounds: float = 10.0
    code: float = 1e-3

    @property
    def need_depth(self) -> bool:
        """Whether a term asks for the true surface."""
        return bool(self.depth or self.surface or self.empty)


@dataclass(frozen=True, kw_only=True)
class SofOptimiser:
    """Adam for the modules and the codes.

    Attributes:
        rate: peak learning rate of H, marcher and Θ; the paper's is 1e-4.
        code_rate: of the codes.
        beta2: decay of the second moment.
        clip: largest norm of the gradient; 0 is no limit.
        average: decay a step of the exponential average of weights that is exported; 0 is none.
        average_every: steps between updates of the average.
        deviation: standard deviation of the codes' first values.
    """

    rate: float = 1e-3
    code_rate: float = 2e-3
    beta2: float = 0.99
    clip: float = 1.0
    average: float = 0.995
    average_every: int = 4
    deviation: float = 0.1


@dataclass(frozen=True, kw_only=True)
class SofSchedule(StagePlan):
    """How long a stage lasts: linear warm-up, then cosine decay.

    The rates follow steps or minutes, whichever are further on.

    Attributes:
        warm_up: steps in which the rates rise from 0.
        floor: last rate over the peak.
        report_minutes: minutes between sample grids.
        checkpoint_minutes: minutes between checkpoints.
        explosion: the training stops when its smoothed loss is so many times its lowest value; 0
            is never.
    """

    warm_up: int = 100
    floor: float = 0.02
    report_minutes: float = 5.0
    checkpoint_minutes: float = 5.0
    explosion: float = 10.0

    def factor(self, step: int, progress: float) -> float:
        """Return the learning rates' factor at a step and a progress of 0…1."""
        return risen(step, self.warm_up) * fallen(cosine(progress), self.floor)


@dataclass(frozen=True, kw_only=True)
class SofRecipe:
    """All that decides about a training, beside its heads.

    Attributes:
        architecture: of the SOF.
        data: which rays a step sees.
        weights: of the losses.
        optimiser: Adam and the running average.
        schedule: how long, and how the rates change.
        seed: of first values and rays.
    """

    architecture: SofConfig = field(default_factory=SofConfig)
    data: SofData = field(default_factory=SofData)
    weights: SofWeights = field(default_factory=SofWeights)
    optimiser: SofOptimiser = field(default_factory=SofOptimiser)
    schedule: SofSchedule = field(default_factory=SofSchedule)
    seed: int = 0

    def to_plain(self) -> dict[str, Any]:
        """Return values for JSON."""
        return {name: asdict(getattr(self, name)) for name in GROUPS} | {"seed": self.seed}
