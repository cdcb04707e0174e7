"""The 17 portrait labels: names, groups of the interface, mirroring, and a palette that inverts.

A label map is (H, W) uint8 with values 0…16, on the wire and on disk alike. Left and right are
the person's own: the right half of the nose is on the image's left when the face looks at us.
Numbering: SofGAN (Chen et al. 2021), portrait segmentation classes.
"""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING

import numpy as np

from .errors import BadParameter

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Label(IntEnum):
    """What a pixel of a portrait shows."""

    BACKGROUND = 0
    SKIN = 1
    BROW = 2
    EYE = 3
    RIGHT_NOSE = 4
    LEFT_NOSE = 5
    INNER_MOUTH = 6
    UPPER_LIP = 7
    LOWER_LIP = 8
    EAR = 9
    EAR_RING = 10
    GLASSES = 11
    NECK = 12
    NECKLACE = 13
    CLOTH = 14
    HAIR = 15
    HAT = 16


LABEL_COUNT = len(Label)

LABEL_NAMES: tuple[str, ...] = tuple(label.name.lower().replace("_", "-") for label in Label)
"""Names in the order of their numbers, as files write them."""

LABEL_GROUPS: dict[str, tuple[Label, ...]] = {
    "Background": (Label.BACKGROUND,),
    "Complexion": (Label.SKIN, Label.RIGHT_NOSE, Label.LEFT_NOSE, Label.EAR, Label.NECK),
    "Hair": (Label.HAIR,),
    "Eyes & mouth": (
        Label.BROW,
        Label.EYE,
        Label.INNER_MOUTH,
        Label.UPPER_LIP,
        Label.LOWER_LIP,
    ),
    "Wearings": (Label.EAR_RING, Label.GLASSES, Label.NECKLACE, Label.CLOTH, Label.HAT),
}
"""Labels that an artist styles together; each label stands in exactly one group."""

MIRRORED_LABEL: tuple[int, ...] = tuple(
    {Label.RIGHT_NOSE: Label.LEFT_NOSE, Label.LEFT_NOSE: Label.RIGHT_NOSE}.get(label, label)
    for label in Label
)
"""The label that each label becomes when a portrait is mirrored: the nose's halves swap."""

PALETTE: NDArray[np.uint8] = np.array(
    [
        (0, 0, 0),
        (240, 190, 160),
        (110, 65, 30),
        (40, 110, 230),
        (245, 140, 60),
        (250, 205, 80),
        (90, 0, 35),
        (225, 60, 95),
        (170, 20, 55),
        (20, 175, 135),
        (255, 245, 130),
        (0, 225, 235),
        (190, 145, 215),
        (255, 255, 255),
        (110, 120, 135),
        (145, 105, 0),
        (60, 40, 130),
    ],
    np.uint8,
)
"""(17, 3) sRGB colours, one for each label and no two alike."""
PALETTE.setflags(write=False)

_MIRROR_TABLE = np.array(MIRRORED_LABEL, np.uint8)
_CODES = PALETTE.astype(np.int64) @ np.array([65536, 256, 1])
_BY_CODE = np.argsort(_CODES)


def check_labels(labels: NDArray[np.generic], name: str = "labels") -> NDArray[np.uint8]:
    """Return a label map unchanged when it is one.

    Args:
        labels: (H, W) uint8, values 0…16.
        name: for the error.

    Raises:
        BadParameter: another type or shape, no pixels, or a value that is no label.
    """
    if labels.dtype != np.uint8 or labels.ndim != 2 or labels.size == 0:
        raise BadParameter(
            f"{name} must be (H, W) uint8, not {labels.dtype} of shape {labels.shape}"
        )
    highest = int(labels.max())
    if highest >= LABEL_COUNT:
        raise BadParameter(f"{name} holds the value {highest}; labels are 0…{LABEL_COUNT - 1}")
    return labels.view(np.uint8)


def mirror_labels(labels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Mirror label maps (…, H, W) left to right; the halves of the nose swap their labels."""
    return _MIRROR_TABLE[labels[..., ::-1]]


def labels_to_colors(labels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Paint label maps (…, H, W) with the palette: (…, H, W, 3) uint8 sRGB.

    Raises:
        BadParameter: a value that is no label.
    """
    if labels.size and int(labels.max()) >= LABEL_COUNT:
        raise BadParameter(f"labels are 0…{LABEL_COUNT - 1}")
    return PALETTE[labels]


def colors_to_labels(colors: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Read painted label maps back: (…, H, W, 3) uint8 sRGB to (…, H, W) uint8.

    Raises:
        BadParameter: names a colour that is not in the palette, and where it is.
    """
    codes = colors.astype(np.int64) @ np.array([65536, 256, 1])
    place = np.searchsorted(_CODES[_BY_CODE], codes).clip(0, LABEL_COUNT - 1)
    labels = _BY_CODE[place]
    wrong = np.argwhere(_CODES[labels] != codes)
    if len(wrong):
        spot = tuple(int(i) for i in wrong[0])
        color = tuple(int(value) for value in colors[spot])
        raise BadParameter(
            f"the colour {color} at {spot} belongs to no label",
            "paint with the palette's colours and without soft edges",
        )
    return labels.astype(np.uint8)
