"""Photographs with label maps from other sets: CelebAMask-HQ, and folders as of FFHQ.

Both are read through the same small interface as portraits of our own: names, `image` and
`labels` of one index, paired by name and never by the order of two listings.
"""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image, UnidentifiedImageError

from blender_addon.contract.errors import BadParameter, HeadSetError
from blender_addon.contract.labels import check_labels
from models.face_parts import CELEBA_PARTS, split_nose

if TYPE_CHECKING:
    from numpy.typing import NDArray

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")

_CELEBA_FILE = re.compile(r"(\d+)_([a-z_]+)\.png")
_CELEBA_IMAGES, _CELEBA_MASKS = "CelebA-HQ-img", "CelebAMask-HQ-mask-anno"


class CelebAMaskFolder:
    """CelebAMask-HQ as it is distributed: photographs and one mask file for each part.

    Args:
        folder: holds CelebA-HQ-img/N.jpg and CelebAMask-HQ-mask-anno/*/NNNNN_PART.png.
        size: width and height to which both are brought, pixels.

    Raises:
        HeadSetError: the folders are not there, hold no pair, or a mask's part is unknown.
    """

    def __init__(self, folder: Path, size: int) -> None:
        self.folder = Path(folder)
        self.size = size
        images = _by_stem(self.folder / _CELEBA_IMAGES)
        self._masks: dict[int, dict[str, Path]] = {}
        for path in sorted((self.folder / _CELEBA_MASKS).rglob("*.png")):
            found = _CELEBA_FILE.fullmatch(path.name)
            if found is None or found[2] not in CELEBA_PARTS:
                raise HeadSetError(f"{path} is no part of CelebAMask-HQ", file=str(path))
            self._masks.setdefault(int(found[1]), {})[found[2]] = path
        numbered = {int(stem): path for stem, path in images.items() if stem.isdigit()}
        # The number alone pairs them: images are called 7.jpg, masks 00007_skin.png.
        self._numbers = sorted(numbered.keys() & self._masks.keys())
        if not self._numbers:
            raise HeadSetError(f"{self.folder} holds no photograph with masks of CelebAMask-HQ")
        self._images = numbered

    def __len__(self) -> int:
        return len(self._numbers)

    def name(self, index: int) -> str:
        """Return a photograph's number as text."""
        return str(self._numbers[index])

    def image(self, index: int) -> NDArray[np.uint8]:
        """Return a photograph, (S, S, 3) uint8 sRGB.

        Raises:
            HeadSetError: the file cannot be read.
        """
        return _read_image(self._images[self._numbers[index]], self.size)

    def labels(self, index: int) -> NDArray[np.uint8]:
        """Return the (S, S) uint8 labels, 0…16, of a photograph.

        Raises:
            HeadSetError: a mask cannot be read, or has another size than the others.
        """
        masks = self._masks[self._numbers[index]]
        side = _read_grey(next(iter(masks.values()))).shape[0]
        labels = np.zeros((side, side), np.uint8)
        for part, label in CELEBA_PARTS.items():
            if part not in masks:
                continue
            mask = _read_grey(masks[part]) > 127
            if mask.shape != labels.shape:
                raise HeadSetError(f"{masks[part]}: {mask.shape} beside masks of {labels.shape}")
            labels[mask] = label
        return split_nose(_nearest(labels, self.size))


class LabelledFolder:
    """Photographs in one folder, label maps (values 0…16) of the same names in another.

    Args:
        images: folder of photographs, such as FFHQ's; sub-folders are searched, too.
        labels: folder of label maps as PNG files, indexed or grey.
        size: width and height to which both are brought, pixels.

    Raises:
        HeadSetError: a folder is missing, no names match, or a name stands twice.
    """

    def __init__(self, images: Path, labels: Path, size: int) -> None:
        self.size = size
        self._images = _by_stem(Path(images))
        self._labels = _by_stem(Path(labels), (".png",))
        self._names = sorted(self._images.keys() & self._labels.keys())
        if not self._names:
            raise HeadSetError(f"no photograph of {images} has a label map of its name in {labels}")

    def __len__(self) -> int:
        return len(self._names)

    def name(self, index: int) -> str:
        """Return a photograph's name without suffix."""
        return self._names[index]

    def image(self, index: int) -> NDArray[np.uint8]:
        """Return a photograph, (S, S, 3) uint8 sRGB.

        Raises:
            HeadSetError: the file cannot be read.
        """
        return _read_image(self._images[self._names[index]], self.size)

    def labels(self, index: int) -> NDArray[np.uint8]:
        """Return the (S, S) uint8 labels, 0…16, of a photograph.

        Raises:
            HeadSetError: the file cannot be read or holds values that are no labels.
        """
        path = self._labels[self._names[index]]
        try:
            return _nearest(check_labels(_read_grey(path), str(path)), self.size)
        except BadParameter as error:
            raise HeadSetError(error.cause, file=str(path)) from error


def _by_stem(folder: Path, suffixes: tuple[str, ...] = IMAGE_SUFFIXES) -> dict[str, Path]:
    if not folder.is_dir():
        raise HeadSetError(f"{folder} is not there", file=str(folder))
    paths = [path for path in sorted(folder.rglob("*")) if path.suffix.lower() in suffixes]
    twice = [stem for stem, count in Counter(path.stem for path in paths).items() if count > 1]
    if twice:
        raise HeadSetError(f"{folder}: the name {twice[0]!r} stands twice", file=str(folder))
    return {path.stem: path for path in paths}


def _read_image(path: Path, size: int) -> NDArray[np.uint8]:
    try:
        with Image.open(path) as image:
            square = _square(image.convert("RGB"))
            resized = square.resize((size, size), Image.Resampling.LANCZOS)
    except (OSError, UnidentifiedImageError, SyntaxError, ValueError) as error:
        raise HeadSetError(f"{path} cannot be read as an image: {error}") from error
    return np.array(resized)


def _read_grey(path: Path) -> NDArray[np.uint8]:
    """Read the values of a grey or indexed image; of a coloured one the first channel."""
    try:
        with Image.open(path) as image:
            values: NDArray[Any] = np.asarray(_square(image))
    except (OSError, UnidentifiedImageError, SyntaxError, ValueError) as error:
        raise HeadSetError(f"{path} cannot be read as an image: {error}") from error
    values = values[..., 0] if values.ndim == 3 else values
    return values.astype(np.uint8) * (255 if values.dtype == np.bool_ else 1)


def _square(image: Image.Image) -> Image.Image:
    """Return the middle square of an image; photographs and masks are cut alike."""
    side = min(image.size)
    x, y = (image.width - side) // 2, (image.height - side) // 2
    return image if image.width == image.height else image.crop((x, y, x + side, y + side))


def _nearest(labels: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """Resize (S, S) labels without blending: each pixel's centre takes the label there."""
    side = labels.shape[0]
    place = ((np.arange(size) + 0.5) * side / size).astype(int)
    return labels[place[:, None], place[None]]
