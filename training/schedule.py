"""How long a stage of a training lasts, and how its rates rise and fall: the same in all recipes."""

from __future__ import annotations

import math
from dataclasses import dataclass

from blender_addon.contract.errors import TrainingError


@dataclass(frozen=True, kw_only=True)
class StagePlan:
    """How long a stage lasts: steps or minutes of training, whichever ends first; none is skipped.

    A stage planned in steps alone is repeatable to the bit; one planned in minutes depends on the
    machine's speed.

    Attributes:
        steps: planned steps, or none.
        minutes: planned minutes of training, or none.
    """

    steps: int | None = None
    minutes: float | None = None

    @property
    def skipped(self) -> bool:
        """Whether there is no such stage."""
        return not (self.steps or self.minutes)

    def progress(self, step: int, seconds: float) -> float:
        """Return how much of the stage is done, 0…1, after steps and seconds of it."""
        by_step = step / self.steps if self.steps else 0.0
        by_time = seconds / (60.0 * self.minutes) if self.minutes else 0.0
        return 1.0 if self.skipped else min(max(by_step, by_time), 1.0)


@dataclass(frozen=True, kw_only=True)
class StagedSchedule:
    """What a training of several stages plans beside them; they stand in its subclass, by name.

    Attributes:
        report_minutes: minutes between sample grids.
        checkpoint_minutes: minutes between checkpoints.
        explosion: the training stops when its losses against the truth, smoothed over steps, are
            so many times their lowest value; 0 is never.
    """

    report_minutes: float = 5.0
    checkpoint_minutes: float = 3.0
    explosion: float = 10.0

    def stage(self, name: str) -> StagePlan:
        """Return a stage by name."""
        return getattr(self, name)


def require_end(plan: StagePlan) -> None:
    """Refuse a training that would never end.

    Raises:
        TrainingError: neither steps nor minutes are planned.
    """
    if plan.skipped:
        raise TrainingError("the stage has no end", "set schedule.steps or --minutes")


def risen(step: int, warm_up: int) -> float:
    """Return a rate's factor in a linear warm-up of so many steps, 0…1; 1 without one."""
    return min((step + 1) / warm_up, 1.0) if warm_up else 1.0


def fallen(share: float, floor: float) -> float:
    """Return a rate's factor that has fallen to a share, 1…0, of its way from 1 to the floor."""
    return floor + (1.0 - floor) * share


def cosine(progress: float) -> float:
    """Return half a cosine: 1 at a progress of 0, 0 at 1."""
    return 0.5 + 0.5 * math.cos(math.pi * progress)
