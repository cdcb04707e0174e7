"""The worst frames of an evaluation as pictures, to be looked at."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from PIL import Image

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

WORST = 6


class FramePicture(NamedTuple):
    """One measured frame.

    Attributes:
        name: of the frame.
        psnr: dB in the person's box.
        images: truth, avatar, plain texture, masks: (H, W, 3) in 0…1.
    """

    name: str
    psnr: float
    images: tuple[NDArray[np.float32], ...]


def write_worst(folder: Path, avatar: str, frames: list[FramePicture]) -> list[str]:
    """Write an avatar's worst frames, worst first, into one picture; return their names.

    Columns: truth, avatar, 3 × their difference, predicted masks, plain texture.
    """
    folder.mkdir(parents=True, exist_ok=True)
    worst = sorted(frames, key=lambda frame: frame.psnr)[:WORST]
    rows: list[NDArray[np.floating]] = []
    for frame in worst:
        true, image, plain, masks = frame.images
        difference = np.clip(3.0 * np.abs(true - image), 0.0, 1.0)
        rows.append(np.concatenate([true, image, difference, masks, plain], axis=1))
    sheet = (np.concatenate(rows) * 255 + 0.5).clip(0, 255).astype(np.uint8)
    Image.fromarray(sheet).save(folder / f"{avatar}-worst.png")
    return [frame.name for frame in worst]
