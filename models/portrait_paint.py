"""From a label map with depth to a painted square with a soft edge.

Label maps have twice the painter's resolution: what covers most of four of their pixels is painted,
and the share of the foreground among them is the edge.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor
from torch.nn import functional

from blender_addon.contract.labels import LABEL_COUNT, Label
from models.siw import one_hot
from models.siw_layers import Styles

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from models.siw import LabelParts, SiwGenerator

FINER = 2
"""Pixels of a label map for one that is painted, along each axis."""
FACE = tuple(range(Label.SKIN, Label.LOWER_LIP + 1))
"""Labels of the masks' face channel."""
LEAST_PIECE = 4e-4
"""Share of an image below which a piece of foreground or background is noise: 26 pixels of 256²."""
_FRINGE = 3
"""Painted pixels on both sides of the silhouette that take the foreground's colours."""
_NEIGHBOURS = [(y, x) for y in range(3) for x in range(3) if (y, x) != (1, 1)]


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
        colours, alpha = _enlarged(without_background(painted, coarser(labels))), foreground
    return Layers(torch.cat([colours * alpha, alpha], dim=1), masks)


def softened(mask: Tensor) -> Tensor:
    """Return a mask (H, W) bool as (1, 1, H, W) float32 with an edge two pixels wide."""
    tent = torch.tensor([0.25, 0.5, 0.25], device=mask.device)
    soft = functional.pad(mask[None, None].float(), (1, 1, 1, 1), mode="replicate")
    soft = functional.conv2d(soft, tent.view(1, 1, 1, 3))
    return functional.conv2d(soft, tent.view(1, 1, 3, 1))


def without_background(image: Tensor, labels: Tensor) -> Tensor:
    """Give pixels on both sides of the silhouette the colours of what lies behind it.

    The painter blends foreground and background there, and the blend would shine through a soft
    edge as a rim. Pixels of a region take colours from that region only.

    Args:
        image: (1, 3, H, W).
        labels: (H, W) uint8.
    """
    inside = (labels > 0).float()[None, None]
    # A rim of one pixel within the silhouette is not to be trusted either.
    known = 1.0 - functional.max_pool2d(1.0 - inside, 3, stride=1, padding=1)
    regions = labels.float()[None, None]
    outside = regions == 0
    for _ in range(_FRINGE):
        total, count = torch.zeros_like(image), torch.zeros_like(known)
        sides = (functional.pad(each, (1, 1, 1, 1)) for each in (image, known, regions))
        wide_image, wide_known, wide_regions = sides
        height, width = labels.shape
        for y, x in _NEIGHBOURS:
            part = (..., slice(y, y + height), slice(x, x + width))
            weight = wide_known[part] * (outside | (wide_regions[part] == regions))
            total += weight * wide_image[part]
            count += weight
        fresh = (known == 0) & (count > 0)
        image = torch.where(fresh, total / count.clamp_min(1.0), image)
        known = torch.where(fresh, 1.0, known)
    return image


def without_specks(labels: Tensor) -> Tensor:
    """Fill pinholes in the foreground and drop specks in the air.

    Rays that graze a surface go astray now and then.

    Args:
        labels: (H, W) uint8.

    Returns:
        the same, where pieces of foreground and of background of less than `LEAST_PIECE` of the
        image have become what surrounds them.
    """
    array = labels.cpu().numpy()
    wrong = np.zeros(array.shape, bool)
    for mask in (array > 0, array == 0):
        pieces, count = cast("tuple[NDArray[np.int32], int]", ndimage.label(mask))
        if count > 1:
            sizes = np.bincount(pieces.ravel())
            small = sizes < LEAST_PIECE * array.size
            small[0] = False
            wrong |= small[pieces]
    if not wrong.any() or wrong.all():
        return labels
    nearest = ndimage.distance_transform_edt(wrong, return_distances=False, return_indices=True)
    row, column = cast("NDArray[np.int32]", nearest)
    return torch.from_numpy(array[row, column]).to(labels.device)


def _enlarged(image: Tensor) -> Tensor:
    larger = functional.interpolate(image, scale_factor=float(FINER), mode="bicubic")
    return larger.clamp(0.0, 1.0)
