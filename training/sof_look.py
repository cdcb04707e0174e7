"""What a SOF shows of views with known labels: figures and a picture to look at."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from blender_addon.contract.labels import labels_to_colors
from models.label_agreement import Confusion
from models.sof_render import SofRenderer

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray
    from torch import Tensor

    from models.sof import Sof
    from training.heads.format import HeadSet, HeadView

ACROSS = 8
"""Views beside each other."""


def look(
    sof: Sof, codes: Mapping[str, Tensor], heads: HeadSet, views: Sequence[HeadView]
) -> tuple[dict[str, float], NDArray[np.uint8]]:
    """Draw views and compare them.

    Args:
        sof: the modules.
        codes: (code,) of each head by its id.
        heads: the set that holds the views.
        views: any of these heads.

    Returns:
        figures, and a picture: in turn a row of true label maps and the row as the SOF draws it.
    """
    renderer = SofRenderer(sof)
    total = Confusion.empty()
    off: list[NDArray[np.float32]] = []
    pairs: list[tuple[NDArray[np.uint8], NDArray[np.uint8]]] = []
    for view in views:
        truth = heads.labels(view)
        seen = renderer.label_map(codes[view.head], view.camera)
        labels = seen.labels.cpu().numpy()
        total.add(truth, labels)
        pairs.append((truth, labels))
        if heads.kind == "heads":
            true_depth = heads.depth(view)
            both = (true_depth > 0) & (labels > 0)
            off.append(np.abs(seen.depth.cpu().numpy() - true_depth)[both])
    figures = {"accuracy": total.accuracy, "mean_iou": total.mean_iou()}
    figures |= {f"iou/{name}": value for name, value in total.by_name().items()}
    if off and sum(map(len, off)):
        figures["depth_mm"] = 1000.0 * float(np.median(np.concatenate(off)))
    return figures, sheet(pairs)


def sheet(pairs: Sequence[Sequence[NDArray[np.uint8]]]) -> NDArray[np.uint8]:
    """Return label maps (H, W) in colour: each tuple of maps below each other, tuples in a row."""
    rows = [pairs[start : start + ACROSS] for start in range(0, len(pairs), ACROSS)]
    blank = np.zeros_like(pairs[0][0])
    painted = [
        np.concatenate(
            [
                np.concatenate([row[k][layer] if k < len(row) else blank for k in range(ACROSS)], 1)
                for layer in range(len(row[0]))
            ]
        )
        for row in rows
    ]
    return labels_to_colors(np.concatenate(painted))
