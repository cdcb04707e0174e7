"""How well label maps agree: confusion, intersection over union by label, agreement off borders."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from blender_addon.contract.errors import BadParameter
from blender_addon.contract.labels import LABEL_COUNT, LABEL_NAMES, Label

if TYPE_CHECKING:
    from numpy.typing import NDArray

FREQUENT = 0.005
"""Share of the pixels from which on a label counts in the published mean."""


@dataclass
class Confusion:
    """Counts of pixels by true and by seen label.

    Attributes:
        counts: (17, 17) int64, rows are the truth.
    """

    counts: NDArray[np.int64]

    @classmethod
    def empty(cls) -> Confusion:
        """Return counts of nothing."""
        return cls(np.zeros((LABEL_COUNT, LABEL_COUNT), np.int64))

    @classmethod
    def of(cls, truth: NDArray[np.uint8], seen: NDArray[np.uint8]) -> Confusion:
        """Return the counts of one pair of label maps of the same shape."""
        total = cls.empty()
        total.add(truth, seen)
        return total

    def add(self, truth: NDArray[np.uint8], seen: NDArray[np.uint8]) -> None:
        """Count a pair of label maps of the same shape.

        Raises:
            BadParameter: the shapes differ.
        """
        if truth.shape != seen.shape:
            raise BadParameter(f"label maps of {truth.shape} and {seen.shape} do not compare")
        pairs = truth.astype(np.int64).ravel() * LABEL_COUNT + seen.ravel()
        self.counts += np.bincount(pairs, minlength=LABEL_COUNT**2).reshape(self.counts.shape)

    @property
    def accuracy(self) -> float:
        """Share of the pixels that agree."""
        return float(np.trace(self.counts) / max(self.counts.sum(), 1))

    @property
    def shares(self) -> NDArray[np.float64]:
        """(17,) each label's share of the true pixels."""
        return self.counts.sum(axis=1) / max(self.counts.sum(), 1)

    @property
    def iou(self) -> NDArray[np.float64]:
        """(17,) intersection over union, NaN for labels that neither truth nor seen holds."""
        both = np.diagonal(self.counts).astype(np.float64)
        either = self.counts.sum(axis=0) + self.counts.sum(axis=1) - both
        return np.divide(both, either, out=np.full(LABEL_COUNT, np.nan), where=either > 0)

    def mean_iou(self, frequent: float = FREQUENT) -> float:
        """Return the mean over labels that cover at least this share; background does not count."""
        chosen = self.shares >= max(frequent, 1e-12)
        chosen[Label.BACKGROUND] = False
        return float(self.iou[chosen].mean()) if chosen.any() else float("nan")

    def by_name(self) -> dict[str, float]:
        """Return the intersection over union of each label that the truth holds."""
        there = self.shares > 0
        return {
            name: float(value)
            for name, value, known in zip(LABEL_NAMES, self.iou, there, strict=True)
            if known
        }


def off_borders(labels: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Return where a label map (H, W) has one label in all 8 neighbours: outside 1-pixel borders."""
    padded = np.pad(labels, 1, mode="edge")
    height, width = labels.shape
    same = np.ones(labels.shape, bool)
    for row in range(3):
        for column in range(3):
            same &= padded[row : row + height, column : column + width] == labels
    return same


def agreement_off_borders(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> float:
    """Return the share of equal labels among the pixels that are off the borders of both maps."""
    counted = off_borders(one) & off_borders(other)
    return float((one == other)[counted].mean()) if counted.any() else float("nan")
