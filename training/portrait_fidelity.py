"""Whether painted portraits show the labels that they were painted on, told by a parser.

Label maps are those that are served: of heads combined from a field's basis, seen by cameras as
photographers place them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from blender_addon.contract.labels import Label
from models.label_agreement import Confusion
from training.heads.cameras import portrait_camera
from training.siw_data import to_pixels
from training.siw_losses import SEEN

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from models.portrait_parser import PortraitParser
    from models.sof_render import SofRenderer
    from models.sof_space import SofSpace
    from training.siw_figures import Painter

REPORTED = (Label.BROW, Label.EYE, Label.UPPER_LIP, Label.LOWER_LIP, Label.SKIN, Label.HAIR)
"""Labels whose own figure is published."""
CAMERA_SEED = 40_961
"""Keeps the cameras' random numbers apart from the heads'."""


def drawn_label_maps(
    renderer: SofRenderer, space: SofSpace, count: int, size: int, seed: int
) -> NDArray[np.uint8]:
    """Return label maps (count, size, size) uint8 of heads that nobody trained on.

    Args:
        renderer: of the field.
        space: of its basis; heads are combinations of some of it (equation 6).
        count: heads, one view each.
        size: side in pixels.
        seed: of heads and cameras.
    """
    maps: list[NDArray[np.uint8]] = []
    for index in range(count):
        random = np.random.default_rng([seed, index, CAMERA_SEED])
        camera = portrait_camera(random, size)
        code = space.combination(seed + index)
        maps.append(renderer.label_map(code, camera).labels.cpu().numpy())
    return np.stack(maps) if maps else np.zeros((0, size, size), np.uint8)


def parsed(parser: PortraitParser, images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the labels (N, S, S) uint8 that a parser sees in portraits (N, S, S, 3) uint8."""
    return np.stack([parser.probabilities(image).argmax(axis=0) for image in images]).astype(
        np.uint8
    )


def label_fidelity(
    painter: Painter, parser: PortraitParser, labels: NDArray[np.uint8], styles: Tensor
) -> dict[str, float]:
    """Compare label maps with what a parser sees in the portraits painted on them.

    Args:
        painter: the network.
        parser: of labels at the portraits' size.
        labels: (N, S, S) uint8.
        styles: w, (N, 17, W).

    Returns:
        "mean_iou" over labels of at least 0.5 % of the pixels, without background; "accuracy";
        and "iou_LABEL" of some.
    """
    painted = to_pixels(painter.paint(torch.from_numpy(labels), styles))
    return _named(labels, parsed(parser, painted))


def parser_fidelity(
    parser: PortraitParser, images: NDArray[np.uint8], labels: NDArray[np.uint8]
) -> dict[str, float]:
    """Return the same of real portraits with known labels: what the parser itself gets wrong."""
    return _named(labels, parsed(parser, images))


def eye_contrast(images: Tensor, labels: Tensor) -> float:
    """Return how much light and dark there is within eyes: without it they look nowhere.

    Args:
        images: (N, 3, H, W), −1…1.
        labels: (N, H, W) uint8.

    Returns:
        mean over portraits that show eyes of the standard deviation of luminance in them, 0…1;
        NaN when none does.
    """
    weights = images.new_tensor([0.2126, 0.7152, 0.0722])[:, None, None]
    luminance = (images * weights).sum(dim=1) * 0.5 + 0.5
    eyes = labels == Label.EYE
    spreads = [
        luminance[index][eyes[index]].std()
        for index in range(len(images))
        if eyes[index].float().mean() >= SEEN
    ]
    return torch.stack(spreads).mean().item() if spreads else float("nan")


def _named(truth: NDArray[np.uint8], seen: NDArray[np.uint8]) -> dict[str, float]:
    total = Confusion.of(truth, seen)
    names = {f"iou_{label.name.lower()}": float(total.iou[label]) for label in REPORTED}
    return {"mean_iou": total.mean_iou(), "accuracy": total.accuracy} | names
