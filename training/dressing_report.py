"""What a running training of dressers shows: figures and a grid of frames that it does not train on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from training.dressing_data import Batch, Frame, People, cut_batch, whole_window
from training.image_metrics import FrameFigures, mean_figures, measure
from training.losses import NEUTRAL_GREY, composite, composite_premultiplied

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from models.dresser import Dressed

RENDER_MARGIN = 1.2
"""As the render path crops."""


def look(
    dress: Callable[[Batch], Dressed],
    people: People,
    frames: Sequence[Sequence[Frame]],
    size: int,
    shown: int = 3,
) -> tuple[dict[str, float], NDArray[np.uint8]]:
    """Render frames as the render path crops them; measure all, show some of each person.

    Args:
        dress: the network in evaluation mode.
        people: the body and its UVs.
        frames: per person.
        size: side of the crops.
        shown: rows of the grid per person: truth, prediction, 3 × difference, masks.

    Returns:
        mean figures under "held-out/…" names, and the grid.
    """
    figures: list[FrameFigures] = []
    rows: list[NDArray[Any]] = []
    for some in frames:
        for index, frame in enumerate(some):
            batch = cut_batch(people, [frame], [whole_window(frame, RENDER_MARGIN)], size)
            with torch.no_grad():
                dressed = dress(batch)
            predicted, masks, true, true_masks = _as_images(dressed, batch)
            figures.append(measure(predicted, masks, true, true_masks))
            if index < shown:
                difference = np.clip(3.0 * np.abs(predicted - true), 0.0, 1.0)
                rows.append(np.concatenate([true, predicted, difference, masks], axis=1))
    means = {f"held-out/{name}": value for name, value in mean_figures(figures).items()}
    return means, (np.concatenate(rows) * 255.0 + 0.5).clip(0, 255).astype(np.uint8)


def _as_images(dressed: Dressed, batch: Batch) -> list[NDArray[np.float32]]:
    masks = dressed.masks.float() * batch.captured
    predicted = composite(dressed.rgb.float(), masks[:, :1], NEUTRAL_GREY)
    true = composite_premultiplied(batch.colour, batch.masks[:, :1], NEUTRAL_GREY)
    images = (predicted, masks, true, batch.masks)
    return [image[0].permute(1, 2, 0).cpu().numpy() for image in images]
