"""The pictures of a take: a folder of images, or a video that ffmpeg decodes."""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Protocol

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from training.imports.arrays import wrong

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp")
VIDEO_SUFFIXES = (".mp4", ".mov", ".m4v", ".webm", ".mkv", ".avi")
FRAME_FOLDERS = ("frames", "images", "image", "imgs")


class Frames(Protocol):
    """A take's pictures, in order, all of one size."""

    @property
    def names(self) -> Sequence[str]:
        """Names without suffix, in order."""
        ...

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels."""
        ...

    def images(self, wanted: Sequence[int]) -> Iterator[NDArray[np.uint8] | Exception]:
        """Yield (H, W, 3) uint8 sRGB images of rising indices.

        A picture that cannot be read is yielded as the `CaptureError` that says why: the next
        ones can be read all the same.
        """
        ...


@dataclass(frozen=True)
class ImageFolder:
    """Pictures as files."""

    paths: tuple[Path, ...]

    @property
    def names(self) -> Sequence[str]:
        """Names without suffix, in order."""
        return [path.stem for path in self.paths]

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the first picture; the others are checked when they are read."""
        height, width = read_image(self.paths[0]).shape[:2]
        return width, height

    def images(self, wanted: Sequence[int]) -> Iterator[NDArray[np.uint8] | Exception]:
        """Yield the pictures of some indices."""
        want = self.size
        for index in wanted:
            try:
                image = read_image(self.paths[index])
                if (image.shape[1], image.shape[0]) != want:
                    raise wrong(
                        self.paths[index],
                        "",
                        f"is {image.shape[1]} × {image.shape[0]} pixels, the first is "
                        f"{want[0]} × {want[1]}",
                        "bring all frames to one size",
                    )
            except Exception as error:  # noqa: BLE001 - the reader of the sequence decides
                yield error
            else:
                yield image


@dataclass(frozen=True)
class Video:
    """Pictures of a video file; frame k is named by its number, with six digits."""

    path: Path

    @property
    def names(self) -> Sequence[str]:
        """Numbers of the frames, from 000000."""
        import imageio_ffmpeg

        try:
            count, _seconds = imageio_ffmpeg.count_frames_and_secs(str(self.path))
        except (OSError, RuntimeError) as error:
            raise _undecodable(self.path) from error
        return [f"{index:06d}" for index in range(count or 0)]

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the decoded pictures."""
        image = next(self.images([0]))
        if isinstance(image, Exception):
            raise image
        return image.shape[1], image.shape[0]

    def images(self, wanted: Sequence[int]) -> Iterator[NDArray[np.uint8] | Exception]:
        """Yield the pictures of rising indices, decoding the video once."""
        import imageio_ffmpeg

        # Each decoded frame once, whatever its time: phones film at a varying rate.
        command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-i", str(self.path)]
        command += ["-map", "0:v:0", "-fps_mode", "passthrough", "-c:v", "ppm"]
        command += ["-f", "image2pipe", "-"]
        with subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        ) as decoder:
            try:
                for before, index in pairwise([-1, *wanted]):
                    image = None
                    for _ in range(index - before):
                        image = _next_ppm(decoder)
                    if image is None:
                        yield _undecodable(self.path)
                        return
                    yield image
            finally:
                decoder.kill()


def open_frames(folder: Path, given: Path | None = None) -> Frames:
    """Find a take's pictures: a folder of images or a video.

    Args:
        folder: of the take; its frames/, images/, or its only video file.
        given: use this folder or video instead.

    Raises:
        CaptureError: there is none, or there are several videos.
    """
    if given is not None:
        return Video(given) if given.suffix.lower() in VIDEO_SUFFIXES else _folder(given)
    for name in FRAME_FOLDERS:
        if (folder / name).is_dir():
            return _folder(folder / name)
    videos = files_of(folder, VIDEO_SUFFIXES)
    if len(videos) == 1:
        return Video(videos[0])
    found = f"holds {len(videos)} videos" if videos else "holds no frames and no video"
    raise wrong(
        folder, "", found, f"put the pictures into {folder / FRAME_FOLDERS[0]}, or give --frames"
    )


def read_image(path: Path) -> NDArray[np.uint8]:
    """Return an image file as (H, W, 3) uint8 sRGB, turned as its EXIF orientation says.

    Raises:
        CaptureError: it cannot be read.
    """
    try:
        with Image.open(path) as image:
            return np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
    except FileNotFoundError as error:
        raise wrong(path, "", "is missing") from error
    except (OSError, UnidentifiedImageError, SyntaxError, ValueError) as error:
        raise wrong(path, "", f"cannot be read as an image ({error})") from error


def files_of(folder: Path, suffixes: Sequence[str]) -> list[Path]:
    """Return a folder's files of some kinds in their natural order: 2 before 10."""
    found = (p for p in folder.iterdir() if p.suffix.lower() in suffixes and p.is_file())
    return sorted(found, key=lambda path: natural(path.name))


def natural(name: str) -> list[tuple[int, str]]:
    """Return a sort key by which numbers inside names count as numbers."""
    parts = re.split(r"(\d+)", name)
    return [(int(part), "") if part.isdigit() else (-1, part) for part in parts]


def number_in(name: str) -> int | None:
    """Return the last number in a name, or None: frame and fit may differ in all the rest."""
    numbers = re.findall(r"\d+", name)
    return int(numbers[-1]) if numbers else None


class ByName:
    """Files that belong to frames: of the same name, or else of the same last number."""

    def __init__(self, paths: dict[str, Path]) -> None:
        self._by_name = paths
        numbers = [number_in(name) for name in paths]
        self._by_number = {
            number: path
            for number, path in zip(numbers, paths.values(), strict=True)
            if number is not None and numbers.count(number) == 1
        }

    def __len__(self) -> int:
        return len(self._by_name)

    def find(self, frame: str) -> Path | None:
        """Return the file of a frame, or None."""
        if frame in self._by_name:
            return self._by_name[frame]
        number = number_in(frame)
        return None if number is None else self._by_number.get(number)


def _folder(folder: Path) -> ImageFolder:
    if not folder.is_dir():
        raise wrong(folder, "", "is neither a folder of frames nor a video file")
    paths = files_of(folder, IMAGE_SUFFIXES)
    if not paths:
        raise wrong(folder, "", f"holds no images ({', '.join(IMAGE_SUFFIXES)})")
    stems = [path.stem for path in paths]
    twice = next((name for name in stems if stems.count(name) > 1), None)
    if twice is not None:
        raise wrong(folder, "", f"holds two images named {twice!r}", "keep one of them")
    return ImageFolder(tuple(paths))


def _next_ppm(decoder: subprocess.Popen[bytes]) -> NDArray[np.uint8] | None:
    """Return the next picture of a stream of binary PPMs, or None at its end."""
    stream = decoder.stdout
    if stream is None or stream.readline() != b"P6\n":
        return None
    width, height = map(int, stream.readline().split())
    stream.readline()  # 255, the brightest value
    data = stream.read(width * height * 3)
    if len(data) != width * height * 3:
        return None
    return np.frombuffer(data, np.uint8).reshape(height, width, 3)


def _undecodable(path: Path) -> Exception:
    return wrong(
        path,
        "",
        "cannot be decoded as a video, or is shorter than its fits",
        "extract its frames into a folder with ffmpeg, and give that with --frames",
    )
