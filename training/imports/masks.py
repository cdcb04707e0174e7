"""Masks of a take: from image files or a table; hands and face from the body where they lack."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
from PIL import Image, UnidentifiedImageError

from training.imports.arrays import Rows, wrong
from training.imports.frames import IMAGE_SUFFIXES, ByName, files_of

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from training.imports.body_regions import SeenBody

MASK_FOLDERS = ("masks", "mask", "segmentation")


class Masks(Protocol):
    """Where a take's masks come from."""

    def read(self, index: int, frame: str, size: tuple[int, int]) -> NDArray[np.uint8]:
        """Return a frame's mask: (H, W) foreground, or (H, W, 3) foreground, hands, face.

        Raises:
            CaptureError: it is missing, cannot be read, or is of another size.
        """
        ...


@dataclass(frozen=True)
class MaskFolder:
    """Masks as image files, named as the frames."""

    folder: Path
    files: ByName

    @classmethod
    def open(cls, folder: Path) -> MaskFolder:
        """Find the masks of a folder.

        Raises:
            CaptureError: there is none.
        """
        if not folder.is_dir():
            raise wrong(folder, "", "is not a folder of masks")
        files = ByName({path.stem: path for path in files_of(folder, IMAGE_SUFFIXES)})
        if not len(files):
            raise wrong(folder, "", "holds no masks")
        return cls(folder, files)

    def read(self, index: int, frame: str, size: tuple[int, int]) -> NDArray[np.uint8]:  # noqa: ARG002
        """Return a frame's mask."""
        path = self.files.find(frame)
        if path is None:
            raise wrong(
                self.folder,
                "",
                f"holds no mask of frame {frame!r}",
                "make the mask, or remove the frame",
            )
        mask = read_mask(path)
        if (mask.shape[1], mask.shape[0]) != size:
            raise wrong(
                path,
                "",
                f"is {mask.shape[1]} × {mask.shape[0]} pixels, its frame {size[0]} × {size[1]}",
                "make the masks from the frames that are imported",
            )
        return mask


@dataclass(frozen=True)
class MaskTable:
    """Masks as rows of a table, in the order of the frames: (N, H, W), 0…1 or 0…255."""

    path: Path
    rows: Rows

    def read(self, index: int, frame: str, size: tuple[int, int]) -> NDArray[np.uint8]:
        """Return a frame's mask."""
        if index >= self.rows.shape[0]:
            raise wrong(
                self.path,
                "masks",
                f"has {self.rows.shape[0]} rows, none for frame {frame!r} ({index})",
                "remove the frame",
            )
        try:
            mask = np.asarray(self.rows[index])
        except OSError as error:
            raise wrong(self.path, f"masks[{index}]", f"cannot be read ({error})") from error
        if mask.shape != (size[1], size[0]):
            raise wrong(
                self.path,
                f"masks[{index}]",
                f"has the shape {mask.shape}, its frame is {size[0]} × {size[1]} pixels",
                "make the masks from the frames that are imported",
            )
        if not np.isfinite(mask.astype(np.float64)).all():
            raise wrong(self.path, f"masks[{index}]", "holds numbers that are not finite")
        return _bytes(mask)


def find_mask_folder(folder: Path, given: Path | None = None) -> Path | None:
    """Return the folder of a take's masks, or None when there is none."""
    if given is not None:
        return given
    return next((folder / name for name in MASK_FOLDERS if (folder / name).is_dir()), None)


def read_mask(path: Path) -> NDArray[np.uint8]:
    """Read a mask: (H, W) foreground, or (H, W, 3) foreground, hands, face; 0…255.

    An image whose three channels are equal is one channel. Of an image with transparency, the
    opacity is the mask; of one with a palette, every colour but the first. Masks of 0 and 1 are brought to 0 and 255.

    Raises:
        CaptureError: it cannot be read as an image.
    """
    try:
        with Image.open(path) as image:
            if image.mode == "P":  # video segmenters: a colour per object, 0 is the background
                return _bytes(np.asarray(image) > 0)
            if "A" in image.getbands():
                opacity = np.asarray(image.getchannel("A"))
                if opacity.min() < 255:
                    return _bytes(opacity)
            if len(image.getbands()) == 1:
                return _bytes(np.asarray(image))
            pixels = np.asarray(image.convert("RGB"))
    except (OSError, UnidentifiedImageError, SyntaxError, ValueError) as error:
        raise wrong(path, "", f"cannot be read as an image ({error})") from error
    if (pixels == pixels[..., :1]).all():
        return _bytes(pixels[..., 0])
    return _bytes(pixels)


def completed(mask: NDArray[np.uint8], seen: SeenBody) -> NDArray[np.uint8]:
    """Return (H, W, 3) masks; of a single channel, hands and face are the projected body's.

    Args:
        mask: (H, W) foreground or (H, W, 3).
        seen: the body as the frame's camera sees it, at the mask's size.
    """
    if mask.ndim == 3:
        # Soft edges of two masks may disagree: no hand and no face is outside of the person.
        return np.minimum(mask, mask[..., :1])
    foreground = mask.astype(np.float32)
    planes = [foreground, foreground * seen.hands, foreground * seen.face]
    return (np.stack(planes, -1) + 0.5).astype(np.uint8)


def _bytes(mask: NDArray[np.generic]) -> NDArray[np.uint8]:
    """Return 0…255, whichever of 0…1, 0…255 and 0…65535 the values use."""
    values = np.asarray(mask, np.float64)
    highest = values.max(initial=0.0)
    top = 1.0 if highest <= 1.0 else 255.0 if highest <= 255.0 else 65535.0
    return np.clip(values * (255.0 / top) + 0.5, 0, 255).astype(np.uint8)
