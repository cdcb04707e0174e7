"""Turns numbered PNG frames into an MP4 and a contact sheet. Runs in `.venv`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

if TYPE_CHECKING:
    from collections.abc import Sequence

BACKGROUND = (200, 200, 200)
"""What shows through where a frame is transparent: the grey on which figures are measured."""


def load_frame(path: Path) -> Image.Image:
    """Return a frame as RGB over `BACKGROUND`."""
    frame = Image.open(path).convert("RGBA")
    ground = Image.new("RGBA", frame.size, (*BACKGROUND, 255))
    return Image.alpha_composite(ground, frame).convert("RGB")


def write_film(frames: Sequence[Path], film: Path, *, rate: int = 24) -> None:
    """Write an MP4 (H.264) of frames of one size.

    Args:
        rate: frames per second.
    """
    import imageio_ffmpeg

    first = load_frame(frames[0])
    writer = imageio_ffmpeg.write_frames(str(film), first.size, fps=rate, quality=8)
    writer.send(None)
    for path in frames:
        writer.send(np.ascontiguousarray(np.asarray(load_frame(path))))
    writer.close()


def write_contact_sheet(
    frames: Sequence[Path], sheet: Path, *, columns: int = 4, rows: int = 3, side: int = 256
) -> None:
    """Write evenly spaced frames in one PNG.

    Args:
        side: width of one picture in pixels.
    """
    count = min(columns * rows, len(frames))
    chosen = [frames[round(i * (len(frames) - 1) / max(count - 1, 1))] for i in range(count)]
    pictures = [load_frame(path) for path in chosen]
    height = round(side * pictures[0].height / pictures[0].width)
    image = Image.new("RGB", (columns * side, -(-count // columns) * height), BACKGROUND)
    for index, picture in enumerate(pictures):
        place = (index % columns * side, index // columns * height)
        image.paste(picture.resize((side, height), Image.Resampling.LANCZOS), place)
    image.save(sheet, optimize=True)


def main(folder: Path) -> int:
    """Write `film.mp4` and `contact_sheet.png` beside the frames of a folder."""
    frames = sorted((folder / "frames").glob("*.png"))
    if not frames:
        print(f"there are no frames in {folder / 'frames'}", file=sys.stderr)
        return 1
    write_film(frames, folder / "film.mp4")
    write_contact_sheet(frames, folder / "contact_sheet.png")
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
