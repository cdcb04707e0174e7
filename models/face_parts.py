"""CelebAMask-HQ's parts of a face as labels: 19 classes, with the background, to 17.

Left and right brows, eyes and ears are merged, and the nose is split.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from blender_addon.contract.labels import Label

if TYPE_CHECKING:
    from numpy.typing import NDArray

CELEBA_PARTS: dict[str, Label] = {
    "skin": Label.SKIN,
    "neck": Label.NECK,
    "cloth": Label.CLOTH,
    "l_ear": Label.EAR,
    "r_ear": Label.EAR,
    "l_brow": Label.BROW,
    "r_brow": Label.BROW,
    "l_eye": Label.EYE,
    "r_eye": Label.EYE,
    "nose": Label.LEFT_NOSE,
    "mouth": Label.INNER_MOUTH,
    "u_lip": Label.UPPER_LIP,
    "l_lip": Label.LOWER_LIP,
    "hair": Label.HAIR,
    "ear_r": Label.EAR_RING,
    "neck_l": Label.NECKLACE,
    "eye_g": Label.GLASSES,
    "hat": Label.HAT,
}
"""Parts of CelebAMask-HQ (19 classes with the background) in the order in which later ones cover
earlier ones; the nose is split afterwards (`split_nose`)."""


def split_nose(labels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Split a nose of one label (left or right) into its halves along its own axis.

    The axis runs through the nose's middle, upright to the line between the two sides of the
    face: the eyes' (or brows') middles when both are seen, else upright in the image. Of a face
    that looks at us, the person's right half is on the image's left.

    Args:
        labels: (H, W) uint8; a copy is returned.
    """
    result = labels.copy()
    nose = (labels == Label.LEFT_NOSE) | (labels == Label.RIGHT_NOSE)
    place = np.argwhere(nose)
    if not len(place):
        return result
    middle = place.mean(axis=0)
    across = _across(labels, middle)
    side = (place - middle) @ across
    result[nose] = np.where(side > 0, Label.LEFT_NOSE, Label.RIGHT_NOSE)
    return result


def _across(labels: NDArray[np.uint8], nose: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the (2,) direction (row, column) from the person's right to the left."""
    for label in (Label.EYE, Label.BROW):
        place = np.argwhere(labels == label)
        right, left = place[place[:, 1] < nose[1]], place[place[:, 1] >= nose[1]]
        if min(len(right), len(left)) >= 0.25 * max(len(right), len(left), 1) > 0:
            way = left.mean(axis=0) - right.mean(axis=0)
            return way / np.linalg.norm(way)
    return np.array([0.0, 1.0])
