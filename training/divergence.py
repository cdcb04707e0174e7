"""Notices when a training goes wrong, before its weights or its last checkpoint are spoilt."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from blender_addon.contract.errors import TrainingDiverged

if TYPE_CHECKING:
    from collections.abc import Mapping

SMOOTHING = 0.95
"""Decay a step of the smoothed loss: single hard crops do not count."""
PATIENCE = 40
"""Steps before the lowest smoothed loss means something."""
DOUBT = 0.5
"""At this share of the limit no checkpoint is written any more."""


class DivergenceWatch:
    """Watches a training's values.

    Args:
        explosion: how many times its lowest value the smoothed loss may be; 0 for no limit.
    """

    def __init__(self, explosion: float) -> None:
        self._explosion = explosion
        self._smooth: float | None = None
        self._lowest = math.inf
        self._seen = 0

    @property
    def in_doubt(self) -> bool:
        """Whether the loss is on its way up: the last checkpoint is then better than a new one."""
        if not self._explosion or self._smooth is None:
            return False
        return self._smooth > DOUBT * self._explosion * self._lowest

    def look(self, step: int, values: Mapping[str, float], supervised: float) -> None:
        """Look at a step's values, before the weights move.

        Args:
            step: named in the error.
            values: all of them must be finite.
            supervised: the weighted losses against the truth, without the adversaries', which
                may rise for good reasons.

        Raises:
            TrainingDiverged: a value is not finite, or the losses have exploded.
        """
        broken = [name for name, value in values.items() if not math.isfinite(value)]
        if broken:
            raise TrainingDiverged(
                f"step {step}: {', '.join(broken)} not finite; the last checkpoint is from before"
            )
        first = self._smooth is None
        before = supervised if first else self._smooth or 0.0
        self._smooth = SMOOTHING * before + (1.0 - SMOOTHING) * supervised
        self._seen += 1
        if self._seen < PATIENCE or not self._explosion:
            return
        self._lowest = min(self._lowest, self._smooth)
        if self._lowest > 0 and self._smooth > self._explosion * self._lowest:
            raise TrainingDiverged(
                f"step {step}: the losses are {self._smooth / self._lowest:.0f} times what they "
                "were at best; the last checkpoint is from before"
            )

    def to_plain(self) -> dict[str, float]:
        """Return what a checkpoint keeps."""
        smooth = math.nan if self._smooth is None else self._smooth
        return {"smooth": smooth, "lowest": self._lowest, "seen": float(self._seen)}

    def load(self, state: Mapping[str, float]) -> None:
        """Go on from a checkpoint."""
        self._smooth = None if math.isnan(state["smooth"]) else state["smooth"]
        self._lowest, self._seen = state["lowest"], int(state["seen"])
