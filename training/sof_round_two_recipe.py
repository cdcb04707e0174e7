"""The settings of a SOF's second round, in groups; a recipe in YAML fills the same names."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from models.sof_cameras import Freedom  # noqa: TC001 - jsonargparse reads the annotations
from training.schedule import cosine, fallen, risen


@dataclass(frozen=True, kw_only=True)
class RoundTwoData:
    """What a step sees.

    Attributes:
        maps: label maps of a step.
        rays: of each.
        near: share of the rays near the head, including the details'.
        details: share of the rays at brows, eyes, lips, jewellery and glasses.
        margin: of "near", as a share of the image's side.
        frequency: a label counts its share of the rays to the power of minus this.
    """

    maps: int = 8
    rays: int = 1024
    near: float = 0.75
    details: float = 0.2
    margin: float = 0.04
    frequency: float = 0.35


@dataclass(frozen=True, kw_only=True)
class RoundTwoOptimiser:
    """Adam for codes, cameras and, once released, modules.

    Attributes:
        code_rate: learning rate of the codes.
        camera_rate: of the cameras, metres and radians.
        module_rate: of the modules after their release.
        freedom: what of a camera moves: "position" is the paper's, "pose" adds target and roll.
        beta2: decay of the second moments.
        prior: weight of the codes' mean square, in deviations of the first round's.
        clip: largest norm of the gradient of codes and modules; 0 is no limit.
    """

    code_rate: float = 5e-3
    camera_rate: float = 4e-3
    module_rate: float = 1e-4
    freedom: Freedom = "position"
    beta2: float = 0.99
    prior: float = 0.01
    clip: float = 1.0


@dataclass(frozen=True, kw_only=True)
class RoundTwoSchedule:
    """How long, and when the modules are released.

    Attributes:
        steps: in all.
        release: steps after which the modules move as well.
        ramp: steps over which their rate then rises to its full height; 0 is at once.
        floor: last rate over the first; the rates fall as a cosine.
        report_steps: between points of the curve.
        checkpoint_minutes: minutes between checkpoints.
        explosion: the training stops when its smoothed loss is so many times its lowest value; 0
            is never.
    """

    steps: int = 1500
    release: int = 800
    ramp: int = 100
    floor: float = 0.05
    report_steps: int = 200
    checkpoint_minutes: float = 5.0
    explosion: float = 10.0

    @property
    def report_minutes(self) -> float:
        """Minutes between looks: the curve's points stand at steps, so each step is asked."""
        return 0.0

    def progress(self, step: int, seconds: float) -> float:
        """Return how much of the round is done, 0…1; its steps alone count."""
        del seconds
        return step / self.steps

    def has_point(self, step: int) -> bool:
        """Return whether the curve has a point at a step."""
        return step % self.report_steps == 0 or step in {self.release, self.steps}

    def factor(self, step: int) -> float:
        """Return the rates' factor at a step."""
        return fallen(cosine(step / self.steps), self.floor)

    def module_factor(self, step: int) -> float:
        """Return the factor of the modules' rate at a step: 0 before their release."""
        if step < self.release:
            return 0.0
        # Adam's first steps are as long as its rate whatever the gradient is, in all of the
        # hypernetwork's millions of weights at once: at full rate they undo what was fitted.
        return risen(step - self.release, self.ramp) * self.factor(step)


@dataclass(frozen=True, kw_only=True)
class RoundTwoRecipe:
    """All that decides about a second round, beside its heads and its first round.

    Attributes:
        data: what a step sees.
        optimiser: rates.
        schedule: how long.
        seed: of the rays.
    """

    data: RoundTwoData = field(default_factory=RoundTwoData)
    optimiser: RoundTwoOptimiser = field(default_factory=RoundTwoOptimiser)
    schedule: RoundTwoSchedule = field(default_factory=RoundTwoSchedule)
    seed: int = 0

    def to_plain(self) -> dict[str, Any]:
        """Return values for JSON."""
        return asdict(self)
