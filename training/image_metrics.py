"""Figures of a rendered person against the truth.

Images are float arrays in 0…1, sRGB, composited over neutral grey before they come here.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any

import numpy as np
from skimage.metrics import structural_similarity

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

BOX_MARGIN = 4
"""Pixels around the person's box."""
FEWEST_PIXELS = 20
"""Masks of fewer pixels, in truth and prediction together, give no overlap worth counting."""


@dataclass(frozen=True, kw_only=True)
class FrameFigures:
    """Figures of one frame; NaN where they have no meaning.

    Attributes:
        psnr_person: dB over the pixels of the person in truth or prediction.
        psnr_box: dB in the person's box.
        ssim_box: structural similarity there (Gaussian windows, σ 1.5).
        iou_foreground: overlap of the masks at one half, likewise hands and face.
    """

    psnr_person: float
    psnr_box: float
    ssim_box: float
    iou_foreground: float
    iou_hands: float
    iou_face: float

    def to_plain(self) -> dict[str, float]:
        """Return the figures by name."""
        return asdict(self)


def measure(
    predicted: NDArray[np.floating],
    predicted_masks: NDArray[np.floating],
    true: NDArray[np.floating],
    true_masks: NDArray[np.floating],
) -> FrameFigures:
    """Measure one frame.

    Args:
        predicted: (H, W, 3) over grey.
        predicted_masks: (H, W, 3) foreground, hands, face, 0…1.
        true: (H, W, 3) over the same grey.
        true_masks: (H, W, 3).
    """
    person = (predicted_masks[..., 0] > 0.5) | (true_masks[..., 0] > 0.5)
    box = person_box(true_masks[..., 0] > 0.5)
    overlaps = [iou(predicted_masks[..., k], true_masks[..., k]) for k in range(3)]
    return FrameFigures(
        psnr_person=psnr(predicted[person], true[person]),
        psnr_box=psnr(predicted[box], true[box]),
        ssim_box=ssim(predicted[box], true[box]),
        iou_foreground=overlaps[0],
        iou_hands=overlaps[1],
        iou_face=overlaps[2],
    )


def psnr(one: NDArray[np.floating], other: NDArray[np.floating]) -> float:
    """Return the peak signal to noise ratio in dB of values in 0…1; inf when equal."""
    if one.size == 0:
        return float("nan")
    error = float(np.mean(np.square(one.astype(np.float64) - other)))
    return float("inf") if error == 0.0 else -10.0 * float(np.log10(error))


def ssim(one: NDArray[np.floating], other: NDArray[np.floating]) -> float:
    """Return the mean structural similarity of two colour images (Wang et al. 2004)."""
    if min(one.shape[:2]) < 11:
        return float("nan")
    value = structural_similarity(
        one.astype(np.float64),
        other.astype(np.float64),
        data_range=1.0,
        channel_axis=2,
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
    )
    return float(value)  # pyright: ignore[reportArgumentType]


def ssim_over(
    one: NDArray[np.floating], other: NDArray[np.floating], where: NDArray[np.bool_]
) -> float:
    """Return the mean over chosen pixels (H, W) of the structural similarity; NaN without any."""
    if min(one.shape[:2]) < 11 or not where.any():
        return float("nan")
    found: Any = structural_similarity(
        one.astype(np.float64),
        other.astype(np.float64),
        data_range=1.0,
        channel_axis=2,
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
        full=True,
    )
    return float(found[1][where].mean())


def iou(predicted: NDArray[np.floating], true: NDArray[np.floating]) -> float:
    """Return intersection over union of two masks (H, W) at one half; NaN if hardly any is set."""
    one, other = predicted > 0.5, true > 0.5
    union = int((one | other).sum())
    return float((one & other).sum()) / union if union >= FEWEST_PIXELS else float("nan")


def person_box(mask: NDArray[np.bool_], margin: int = BOX_MARGIN) -> tuple[slice, slice]:
    """Return rows and columns of the person's box with a margin, within the image.

    An empty mask gives the whole image.
    """
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not len(rows):
        return slice(0, mask.shape[0]), slice(0, mask.shape[1])
    return (
        slice(max(int(rows[0]) - margin, 0), int(rows[-1]) + 1 + margin),
        slice(max(int(columns[0]) - margin, 0), int(columns[-1]) + 1 + margin),
    )


def mean_figures(figures: Sequence[FrameFigures]) -> dict[str, float]:
    """Return the mean of each figure over frames, leaving NaN out; inf counts as 100 dB."""
    means: dict[str, float] = {}
    for field in fields(figures[0] if figures else FrameFigures):
        values = np.array([getattr(figure, field.name) for figure in figures], np.float64)
        known = np.minimum(values[~np.isnan(values)], 100.0)
        means[field.name] = float(known.mean()) if len(known) else float("nan")
    return means
