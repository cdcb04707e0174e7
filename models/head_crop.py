"""Where the head is in a label map, and the square around it that shows it as training did.

Portraits that networks learnt from are squares about 0.38 m wide at the head, with the origin of
head space, between the ears, near their middle. What only faces have (brows, eyes, nose, mouth) says
where the head is and how large: hair and hats differ too much.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, cast

import numpy as np
from PIL import Image
from scipy import ndimage

from blender_addon.contract.labels import Label

if TYPE_CHECKING:
    from numpy.typing import NDArray

HALF_WIDTH = 0.19
"""Metres at the head from the square's middle to its border."""
FEATURES = (
    Label.BROW, Label.EYE, Label.RIGHT_NOSE, Label.LEFT_NOSE,
    Label.INNER_MOUTH, Label.UPPER_LIP, Label.LOWER_LIP,
)  # fmt: skip
"""What only faces have: skin alone may be a hand."""
FACE = (Label.SKIN, Label.GLASSES, *FEATURES)
SPREAD = 0.038
"""Metres: standard distance of the features' pixels from their middle. From −45° to 45° of yaw it
is the same within a tenth, on 375 views of the synthetic heads (docs/heads.md)."""
BEYOND = 0.8
"""The origin of head space lies so many times farther behind the face's middle than the features'
middle lies before it, in the image: a face that turns away moves its features to a side."""
LEAST_FEATURES = 12
"""Pixels of features below which there is no face to speak of."""
KINDS = 2
"""Kinds of features (brow, eye, nose, mouth) that must be seen at least."""
_KINDS = (
    (Label.BROW,), (Label.EYE, Label.GLASSES), (Label.RIGHT_NOSE, Label.LEFT_NOSE),
    (Label.INNER_MOUTH, Label.UPPER_LIP, Label.LOWER_LIP),
)  # fmt: skip


class HeadCrop(NamedTuple):
    """A square of an image, which may reach beyond it.

    Attributes:
        x: left edge in pixels.
        y: top edge.
        side: width and height.
    """

    x: float
    y: float
    side: float

    def image(self, image: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
        """Return the square of an image (H, W, 3) as (size, size, 3); borders go on outside."""
        return self._cut(image, size, Image.Resampling.BILINEAR)

    def labels(self, labels: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
        """Return the square of a label map (H, W) as (size, size), without blending."""
        return self._cut(labels, size, Image.Resampling.NEAREST)

    def outer(self, inner: HeadCrop, size: int) -> HeadCrop:
        """Return where a square of this square's image, of `size` pixels, is in the whole image."""
        scale = self.side / size
        return HeadCrop(self.x + inner.x * scale, self.y + inner.y * scale, inner.side * scale)

    def paste(self, target: NDArray[np.uint8], labels: NDArray[np.uint8]) -> None:
        """Write labels (size, size) of the square into those (H, W) of the whole image."""
        size, (height, width) = labels.shape[0], target.shape
        rows, seen_rows = _places(self.y, self.side, size, height)
        columns, seen_columns = _places(self.x, self.side, size, width)
        target[np.ix_(rows, columns)] = labels[np.ix_(seen_rows, seen_columns)]

    def _cut(
        self, pixels: NDArray[np.uint8], size: int, how: Image.Resampling
    ) -> NDArray[np.uint8]:
        left, top = int(np.floor(self.x)), int(np.floor(self.y))
        rows = np.arange(top, int(np.ceil(self.y + self.side)))
        columns = np.arange(left, int(np.ceil(self.x + self.side)))
        height, width = pixels.shape[:2]
        part = pixels[np.ix_(rows.clip(0, height - 1), columns.clip(0, width - 1))]
        x, y = self.x - left, self.y - top
        box = (x, y, min(x + self.side, len(columns)), min(y + self.side, len(rows)))
        return np.array(Image.fromarray(part).resize((size, size), how, box=box))


def find_head(labels: NDArray[np.uint8]) -> HeadCrop | None:
    """Return the square around the largest face of a label map (H, W), or None without one."""
    features = np.isin(labels, FEATURES)
    # Features on one piece of skin are one face's; glasses and hair may part it a little.
    reach = max(round(min(labels.shape) / 100), 1)
    joined = ndimage.binary_dilation(np.isin(labels, FACE), iterations=reach)
    groups, count = cast("tuple[NDArray[np.int32], int]", ndimage.label(joined))
    if count == 0:
        return None
    sizes = np.bincount(groups[features], minlength=count + 1)
    group = int(sizes.argmax())
    own = features & (groups == group)
    seen = set(np.unique(labels[own]).tolist())
    if own.sum() < LEAST_FEATURES or sum(bool(seen & set(kind)) for kind in _KINDS) < KINDS:
        return None
    place = np.argwhere(own) + 0.5
    middle = place.mean(axis=0)
    spread = float(np.sqrt(((place - middle) ** 2).sum(axis=1).mean()))
    half = HALF_WIDTH / SPREAD * spread
    face = np.argwhere(np.isin(labels, FACE)) + 0.5
    near = np.abs(face - middle).max(axis=1) < 0.6 * half
    centre = face[near].mean(axis=0)
    y, x = centre - BEYOND * (middle - centre)
    return HeadCrop(float(x) - half, float(y) - half, 2.0 * half)


def _places(
    start: float, side: float, size: int, end: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return pixels of the whole image along an axis, and those of the square that they see."""
    pixels: NDArray[np.int64] = np.arange(
        max(int(np.floor(start)), 0), min(int(np.ceil(start + side)), end), dtype=np.int64
    )
    seen = np.floor((pixels + 0.5 - start) * size / side).astype(np.int64)
    inside = (seen >= 0) & (seen < size)
    return pixels[inside], seen[inside]
