"""The worst frames of an evaluation as pictures, to be looked at."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from PIL import Image, ImageDraw

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from training.evaluation_truth import Prediction, TrueFrame

WORST = 6
_CAPTION = 16


class FramePicture(NamedTuple):
    """One measured frame.

    Attributes:
        name: of the frame.
        psnr: dB in the person's box.
        columns: (H, W, 3) in 0…1, by heading.
    """

    name: str
    psnr: float
    columns: Mapping[str, NDArray[np.float32]]


def frame_picture(
    frame: TrueFrame, shown: Mapping[str, Prediction], first: str, psnr: float
) -> FramePicture:
    """Return a frame's columns: truth, prediction, 3 × their difference, masks, other methods."""
    prediction = shown[first]
    columns = {
        "truth": frame.image,
        first: prediction.image,
        "3 x difference": _difference(frame.image, prediction.image),
    }
    if prediction.masks is not None:
        columns["masks"] = prediction.masks
    columns |= {name: other.image for name, other in shown.items() if name != first}
    return FramePicture(frame.name, psnr, columns)


def _difference(one: NDArray[np.float32], other: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.asarray(np.clip(3.0 * np.abs(one - other), 0.0, 1.0), np.float32)


def write_worst(folder: Path, name: str, frames: list[FramePicture]) -> list[str]:
    """Write the worst frames, worst first, into NAME-worst.png; return their names."""
    folder.mkdir(parents=True, exist_ok=True)
    worst = sorted(frames, key=lambda frame: frame.psnr)[:WORST]
    headings = list(worst[0].columns)
    height, width = worst[0].columns["truth"].shape[:2]
    size = (width * len(headings), (height + _CAPTION) * len(worst))
    sheet = Image.new("RGB", size, "white")
    draw = ImageDraw.Draw(sheet)
    for line, frame in enumerate(worst):
        top = line * (height + _CAPTION)
        for column, heading in enumerate(headings):
            said = f"{frame.name}: {frame.psnr:.1f} dB" if heading == "truth" else heading
            draw.text((column * width + 4, top + 2), said, "black")
            image = frame.columns.get(heading)
            if image is not None:
                pixels = (image * 255 + 0.5).clip(0, 255).astype(np.uint8)
                sheet.paste(Image.fromarray(pixels), (column * width, top + _CAPTION))
    sheet.save(folder / f"{name}-worst.png")
    return [frame.name for frame in worst]
