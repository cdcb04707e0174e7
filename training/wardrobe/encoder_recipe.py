"""The settings of the photo encoder's training; `training/recipes/photo-encoder-cpu.yaml` is filled."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from models.photo_encoder import PhotoEncoderConfig
from training.schedule import StagePlan

EncoderKind = Literal["generated", "captures", "both"]
"""The paper's G-encoder sees generated people, its A-encoder captured ones; ours may see both."""


@dataclass(frozen=True, kw_only=True)
class EncoderData:
    """What the encoder sees.

    Attributes:
        drawn: people that the wardrobe draws.
        views: images of each of them, in poses of the captures.
        truncation: of the drawn people.
        frames: images of each captured person.
        batch: images a step.
        hidden: share of a batch that also loses what another image of the batch does not show.
        light: standard deviation of each image's gain.
        tint: standard deviation of each channel's gain.
        noise: standard deviation of each texel's colour, −1…1.
        held_out: one in so many people is kept for measuring.
    """

    drawn: int = 300
    views: int = 2
    truncation: float = 1.0
    frames: int = 4
    batch: int = 16
    hidden: float = 0.5
    light: float = 0.1
    tint: float = 0.04
    noise: float = 0.03
    held_out: int = 12


@dataclass(frozen=True, kw_only=True)
class EncoderWeights:
    """Weights of the losses; 0 switches a term off, at no cost.

    Attributes:
        w: squared error of w in units of its spread, where the code is known.
        texture: absolute difference of the colours that G makes of both codes, at `texture_size`:
            errors of w that nobody sees do not count.
        texture_size: a resolution of G; finer layers learn from the other terms.
        l1: captured images, through G and R: composites over random backgrounds.
        perceptual: composites over grey.
        images_every: steps between those, whose gradients then count so many times.
        people: captured people in each of those.
    """

    w: float = 1.0
    texture: float = 0.0
    texture_size: int = 64
    l1: float = 0.0
    perceptual: float = 0.0
    images_every: int = 4
    people: int = 2


@dataclass(frozen=True, kw_only=True)
class EncoderSchedule:
    """How long the training is.

    Attributes:
        rate: of Adam; fixed, as in the paper.
        floor: last rate over the first, along half a cosine; 1 is fixed.
        training: steps or minutes, whichever ends first.
        report_minutes: minutes between reports.
        checkpoint_minutes: minutes between checkpoints.
    """

    rate: float = 1e-3
    floor: float = 1.0
    training: StagePlan = field(default_factory=lambda: StagePlan(steps=400))
    report_minutes: float = 5.0
    checkpoint_minutes: float = 5.0

    @property
    def steps(self) -> int | None:
        """Planned, if any."""
        return self.training.steps

    def progress(self, step: int, seconds: float) -> float:
        """Return how much of the training is done, 0…1."""
        return self.training.progress(step, seconds)


@dataclass(frozen=True, kw_only=True)
class EncoderRecipe:
    """All that decides about a training, beside wardrobe and captures.

    Attributes:
        kind: which people it sees.
        architecture: of the encoder; layers and style are the wardrobe's.
        data: what it sees.
        weights: of the losses.
        schedule: how long.
        seed: of first values, draws and batches.
    """

    kind: EncoderKind = "generated"
    architecture: PhotoEncoderConfig = field(default_factory=PhotoEncoderConfig)
    data: EncoderData = field(default_factory=EncoderData)
    weights: EncoderWeights = field(default_factory=EncoderWeights)
    schedule: EncoderSchedule = field(default_factory=EncoderSchedule)
    seed: int = 0

    def to_plain(self) -> dict[str, Any]:
        """Return values for JSON."""
        return asdict(self)
