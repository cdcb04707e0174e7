"""From a label map with depth to a painted square with a soft edge.

Label maps have twice the painter's resolution: what covers most of four of their pixels is painted,
and the share of the foreground among them is the edge.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional

from blender_addon.contract.labels import LABEL_COUNT, Label
from models.siw import one_hot
from models.siw_layers import Styles

if TYPE_CHECKING:
    from models.siw import LabelParts, SiwGenerator

FINER = 2
"""Pixels of a label map for one that is painted, along each axis."""
FACE = tuple(range(Label.SKIN, Label.LOWER_LIP + 1))
"""Labels of the masks' face channel."""
_FRINGE = 2
"""Painted pixels beyond the edge that take the foreground's colours."""


@dataclass(frozen=True)
class Layers:
    """A painted square at the label map's resolution.

    Attributes:
        rgba: (1, 4, H, W) float32 premultiplied sRGB, 0…1.
        masks: (1, 3, H, W) float32 foreground, hands (0), face.
    """

    rgba: Tensor
    masks: Tensor


def coarser(labels: Tensor) -> Tensor:
    """Return the label that most of each `FINER`² pixels have.

    Args:
        labels: (H, W) uint8.

    Returns:
        (H / 2, W / 2) uint8. Of equally many the higher label counts: glasses before eyes, hair
        before background.
    """
    share = functional.avg_pool2d(one_hot(labels[None], LABEL_COUNT), FINER)
    return (LABEL_COUNT - 1 - share.flip(1).argmax(dim=1)[0]).to(torch.uint8)


def paint(generator: SiwGenerator, parts: LabelParts, styles: Tensor) -> Tensor:
    """Paint a prepared label map.

    Args:
        generator: the painter.
        parts: of `SiwGenerator.prepare`.
        styles: (17, W).

    Returns:
        (1, 3, H, W) float32 sRGB, 0…1.
    """
    image = generator.paint(parts, Styles.by_region(styles[None]))
    return image.float().mul(0.5).add(0.5).clamp(0.0, 1.0)


def composed(painted: Tensor, labels: Tensor, *, background: bool) -> Layers:
    """Cut a painted square out by its label map.

    Args:
        painted: (1, 3, h, w) sRGB, 0…1.
        labels: (`FINER` h, `FINER` w) uint8.
        background: leave it whole and opaque.
    """
    foreground = softened(labels > 0)
    face = softened((labels >= FACE[0]) & (labels <= FACE[-1]))
    masks = torch.cat([foreground, torch.zeros_like(face), face], dim=1)
    if background:
        colours, alpha = _enlarged(painted), torch.ones_like(foreground)
    else:
        inside = functional.avg_pool2d((labels > 0)[None, None].float(), FINER)
        colours, alpha = _enlarged(extended(painted, inside >= 0.5)), foreground
    return Layers(torch.cat([colours * alpha, alpha], dim=1), masks)


def softened(mask: Tensor) -> Tensor:
    """Return a mask (H, W) bool as (1, 1, H, W) float32 with an edge two pixels wide."""
    tent = torch.tensor([0.25, 0.5, 0.25], device=mask.device)
    soft = functional.pad(mask[None, None].float(), (1, 1, 1, 1), mode="replicate")
    soft = functional.conv2d(soft, tent.view(1, 1, 1, 3))
    return functional.conv2d(soft, tent.view(1, 1, 3, 1))


def extended(image: Tensor, inside: Tensor) -> Tensor:
    """Give the pixels beside a mask the colours of the nearest ones within it.

    Otherwise the painted background would shine through the soft edge.

    Args:
        image: (1, 3, H, W).
        inside: (1, 1, H, W) bool.
    """
    known = inside.float()
    for _ in range(_FRINGE):
        total = functional.avg_pool2d(image * known, 3, stride=1, padding=1)
        count = functional.avg_pool2d(known, 3, stride=1, padding=1)
        near = count > 0
        fresh = torch.where(near, total / count.clamp_min(1e-6), image)
        image = torch.where(known > 0, image, fresh)
        known = near.float()
    return image


def _enlarged(image: Tensor) -> Tensor:
    larger = functional.interpolate(image, scale_factor=float(FINER), mode="bicubic")
    return larger.clamp(0.0, 1.0)
