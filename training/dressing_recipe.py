"""The settings of neural dressing's training, in groups; a recipe in YAML fills the same names.

`training/recipes/*.yaml` are filled and commented. The weights of the losses stand beside the
losses (`training/losses.py`), the architecture beside the network (`models/dresser.py`).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path  # noqa: TC003 - jsonargparse reads the annotations
from typing import Any, Literal

from models.dresser import STRIDE, DresserConfig
from training.adversaries import DressingAdversaries
from training.losses import DressingWeights
from training.schedule import StagePlan, cosine, fallen

GROUPS = (
    "architecture",
    "data",
    "weights",
    "optimiser",
    "schedule",
    "adversaries",
    "refine",
)
"""The groups of a recipe, each a dataclass."""


@dataclass(frozen=True, kw_only=True)
class DressingData:
    """What the network sees of the captures.

    Attributes:
        size: side of the training crops in network pixels, a multiple of 32.
        batch: crops a step.
        people_per_batch: of how many people; each costs the assembly of a texture a step.
        whole_share: share of crops that show the whole visible body, as the render path does;
            the others are windows at scales from there to one frame pixel per network pixel.
        detail_share: share of the windows that look at a hand or the face, where one is seen.
        margin: least and greatest side of a whole crop over the body's bounding box.
        finest: least frame pixels per network pixel; below 1 images would be enlarged, which
            teaches blur.
        supersampling: sub-pixels per pixel and axis of the rasterised body, as in the render path.
    """

    size: int = 160
    batch: int = 10
    people_per_batch: int = 5
    whole_share: float = 0.2
    detail_share: float = 0.5
    margin: tuple[float, float] = (1.1, 1.4)
    finest: float = 1.0
    supersampling: int = 2

    def __post_init__(self) -> None:
        if self.size % STRIDE or self.size <= 0:
            raise ValueError(f"size must be a multiple of {STRIDE}")


@dataclass(frozen=True, kw_only=True)
class DressingOptimiser:
    """Adam for textures and dresser.

    Attributes:
        trainable: "all"; "delta": textures and those parts of the dresser that an avatar's package
            can carry by itself (`models.dresser_delta`); "texture": textures alone, for people
            who share a dresser that stays as it is.
        texture_rate: learning rate of the textures (the paper's 5e-2 inflates them early on).
        dresser_rate: learning rate of R.
        beta1: decay of the first moment; the paper's is 0.5.
        clip: largest norm of the dresser's gradient; 0 is no limit.
        average: decay a step of the exponential average of weights that is exported; 0 is none.
        average_every: steps between updates of the average.
        warm_start: steps that fit a plain RGB texture first, which becomes three channels.
        texture_deviation: standard deviation of the textures' first values.
        texture_size: side of the finest level, a power of two; the paper's 512.
    """

    trainable: Literal["all", "delta", "texture"] = "all"
    texture_rate: float = 3e-3
    dresser_rate: float = 1e-3
    beta1: float = 0.9
    clip: float = 5.0
    average: float = 0.98
    average_every: int = 4
    warm_start: int = 60
    texture_deviation: float = 0.05
    texture_size: int = 512


@dataclass(frozen=True, kw_only=True)
class DressingSchedule(StagePlan):
    """How long a stage lasts and how its learning rates fall.

    The rates follow steps or minutes, whichever are further on.

    Attributes:
        decay: "cosine", "linear" or "constant".
        decay_from: share of the stage before the rates begin to fall.
        warm_up: steps in which the dresser's rate rises from 0.
        floor: last rate over the first.
        freeze_statistics: share of the stage after which batch normalisation uses its running
            statistics, as rendering does.
        report_minutes: minutes between sample grids.
        checkpoint_minutes: minutes between checkpoints.
        explosion: the training stops when its losses against the truth, smoothed over steps, are
            so many times their lowest value; 0 is never.
    """

    decay: Literal["cosine", "linear", "constant"] = "cosine"
    decay_from: float = 0.3
    warm_up: int = 20
    floor: float = 0.02
    freeze_statistics: float = 0.8
    report_minutes: float = 4.0
    checkpoint_minutes: float = 3.0
    explosion: float = 10.0

    def factor(self, progress: float) -> float:
        """Return the learning rates' factor at a progress of 0…1."""
        if self.decay == "constant" or progress <= self.decay_from:
            return 1.0
        rest = (progress - self.decay_from) / (1.0 - self.decay_from)
        return fallen(1.0 - rest if self.decay == "linear" else cosine(rest), self.floor)


@dataclass(frozen=True, kw_only=True)
class DressingRefinement:
    """Body fits as parameters, for captures whose poses were estimated (phase 2).

    Attributes:
        enabled: whether poses, shape and cameras of the training frames are refined.
        start: share of the stage before they move: the texture has to say something first.
        stop: share of the stage after which they stay.
        pose_rate: learning rate of rotations (radians) and of the translation (metres).
        betas_rate: of the shape coefficients.
        camera_rate: of the camera's rotation and position.
        prior: weight of the squared corrections, in units of what a fit may well be off.
        focal: also refine one focal length per person.
    """

    enabled: bool = False
    start: float = 0.2
    stop: float = 0.9
    pose_rate: float = 5e-4
    betas_rate: float = 1e-3
    camera_rate: float = 2e-4
    prior: float = 0.01
    focal: bool = False


def plain(settings: Any) -> dict[str, Any]:
    """Return a group of settings as values for JSON."""
    return {
        name: list(value) if isinstance(value, tuple) else value
        for name, value in asdict(settings).items()
    }


@dataclass(frozen=True, kw_only=True)
class DressingRecipe:
    """All that decides about a training, beside its captures.

    Attributes:
        architecture: of the dresser.
        data: what it sees.
        weights: of the losses.
        optimiser: Adam and the running average.
        schedule: how long, and how the rates fall.
        adversaries: the discriminators.
        refine: body fits as parameters.
        vgg19: torchvision's VGG19 weights; the offline distance stands in without them.
        vggface: VGG-Face's weights; the offline distance on face crops stands in without them.
        perceptual_stages: stages of the offline distance.
        seed: of first values and crops.
    """

    architecture: DresserConfig = field(default_factory=DresserConfig)
    data: DressingData = field(default_factory=DressingData)
    weights: DressingWeights = field(default_factory=DressingWeights)
    optimiser: DressingOptimiser = field(default_factory=DressingOptimiser)
    schedule: DressingSchedule = field(default_factory=DressingSchedule)
    adversaries: DressingAdversaries = field(default_factory=DressingAdversaries)
    refine: DressingRefinement = field(default_factory=DressingRefinement)
    vgg19: Path | None = None
    vggface: Path | None = None
    perceptual_stages: tuple[int, ...] = (0, 1, 2, 3)
    seed: int = 0

    def to_plain(self) -> dict[str, Any]:
        """Return values for JSON."""
        files = ("vgg19", "vggface")
        return {name: plain(getattr(self, name)) for name in GROUPS} | {
            **{name: str(getattr(self, name)) if getattr(self, name) else None for name in files},
            "perceptual_stages": list(self.perceptual_stages),
            "seed": self.seed,
        }
