"""What a running SIW training shows: a grid of portraits to look at."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from blender_addon.contract.labels import Label, labels_to_colors
from training.siw_data import to_images, to_pixels

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from training.siw_data import Portraits
    from training.siw_figures import Painter

COLUMNS = 8
HAIR = (Label.BROW, Label.HAIR)
"""Restyled together: brows have the hair's colour."""


def sample_grid(painter: Painter, portraits: Portraits, seed: int = 0) -> NDArray[np.uint8]:
    """Paint held-out heads in several ways, one row each.

    Rows: label maps; the portraits; painted in their own styles (with a style encoder); in drawn
    styles, three times; all in one drawn style; the first head in that style with other hair.

    Args:
        painter: the network.
        portraits: of heads that it never saw; the first eight are shown, evenly chosen.
        seed: of the styles.
    """
    count = min(COLUMNS, len(portraits.images))
    chosen = np.linspace(0, len(portraits.images) - 1, count).round().astype(int)
    pixels, labels = portraits.images[chosen], torch.from_numpy(portraits.labels[chosen])
    rows = [labels_to_colors(portraits.labels[chosen]), pixels]
    if painter.model.encoder is not None:
        own = painter.read_styles(to_images(pixels), labels, seed)
        rows.append(to_pixels(painter.paint(labels, own)))
    rows += [
        to_pixels(painter.paint(labels, painter.model.draw(count, seed + 1 + k))) for k in range(3)
    ]
    one = painter.model.draw(1, seed + 4).expand(count, -1, -1).clone()
    rows.append(to_pixels(painter.paint(labels, one)))
    hair = painter.model.draw(count, seed + 5)
    for region in HAIR:
        one[:, region] = hair[:, region]
    first = labels[:1].expand(count, -1, -1)
    rows.append(to_pixels(painter.paint(first, one)))
    return np.concatenate([np.concatenate(list(row), axis=1) for row in rows])
