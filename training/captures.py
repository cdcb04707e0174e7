"""Captures on disk: the one validating reader, and the contract's writer with WebP added.

The format is described in `blender_addon/contract/capture.py` and docs/captures.md. Frames come
from the synthetic people, from Blender renders or from a video; training and evaluation read
them all through `Capture`.
"""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image, UnidentifiedImageError

from blender_addon.contract.camera import Camera
from blender_addon.contract.capture import (
    DEPTH_FOLDER,
    DEPTH_SUFFIX,
    DESCRIPTION_FILE,
    IMAGE_FOLDER,
    MASK_FOLDER,
    PARAMETERS_FILE,
    CaptureDescription,
    Split,
    check_parameters,
    frame_digest,
    parse_description,
)
from blender_addon.contract.capture_writer import CAMERA_ARRAYS, CaptureFrame
from blender_addon.contract.capture_writer import CaptureWriter as FrameWriter
from blender_addon.contract.errors import CaptureError
from blender_addon.contract.operations import PosedBody

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Capture", "CaptureFrame", "CaptureWriter", "find_captures"]


class CaptureWriter(FrameWriter):
    """The contract's writer (see there), which writes lossless WebP too."""

    def __init__(self, folder: Path, *, image_suffix: str = ".png", **options: Any) -> None:
        encode = _encode_webp if image_suffix == ".webp" else None
        super().__init__(folder, image_suffix=image_suffix, encode=encode, **options)


def _encode_webp(pixels: NDArray[np.uint8]) -> bytes:
    stream = io.BytesIO()
    image = Image.fromarray(np.ascontiguousarray(pixels), "RGB")
    image.save(stream, "WEBP", lossless=True, quality=60, method=4, exact=True)
    return stream.getvalue()


class Capture:
    """A capture on disk, opened with `Capture.open`. Images are read when asked for."""

    def __init__(
        self,
        folder: Path,
        description: CaptureDescription,
        parameters: dict[str, NDArray[np.floating]],
    ) -> None:
        self.folder = folder
        self.description = description
        self._parameters = parameters

    @classmethod
    def open(cls, folder: Path) -> Capture:
        """Read and validate everything but the pixels.

        Raises:
            CaptureError: names the file and the field that is missing or wrong, a frame whose
                digest is not that of its pose and camera, or an image file that is not there.
        """
        folder = Path(folder)
        description = parse_description(
            _read_json(folder / DESCRIPTION_FILE), str(folder / DESCRIPTION_FILE)
        )
        file = folder / PARAMETERS_FILE
        parameters = _read_arrays(file)
        check_parameters(parameters, len(description.frames), str(file))
        capture = cls(folder, description, parameters)
        capture._check_frames()
        return capture

    def __len__(self) -> int:
        return len(self.description.frames)

    @property
    def betas(self) -> NDArray[np.float32]:
        """(n,) shape coefficients of the person."""
        return self._parameters["betas"].astype(np.float32)

    def image(self, index: int) -> NDArray[np.uint8]:
        """Return a frame's (H, W, 3) uint8 sRGB image.

        Raises:
            CaptureError: the file is damaged or of another size.
        """
        return self._read_image(IMAGE_FOLDER, index)

    def masks(self, index: int) -> NDArray[np.uint8]:
        """Return a frame's (H, W, 3) uint8 masks: foreground, hands, face.

        Raises:
            CaptureError: the file is damaged or of another size.
        """
        return self._read_image(MASK_FOLDER, index)

    def depth(self, index: int) -> NDArray[np.float32] | None:
        """Return a frame's (H, W) depth in metres along the viewing axis, 0 where nothing is.

        None for a capture without depth.

        Raises:
            CaptureError: the file is damaged, of another size, or not 16-bit grey.
        """
        path = self._depth_path(index)
        if not path.is_file():
            return None
        try:
            with Image.open(path) as image:
                size, mode = image.size, image.mode
                values = np.asarray(image).astype(np.float32)
        except (OSError, UnidentifiedImageError, SyntaxError, ValueError) as error:
            raise CaptureError(f"{path} cannot be read as an image: {error}") from error
        if size != self.description.image_size or not mode.startswith("I"):
            want = self.description.image_size
            raise CaptureError(
                f"{path}: {mode} of size {size}, where 16-bit grey of {want} was due"
            )
        return values / np.float32(1000.0)

    def posed_body(self, index: int) -> PosedBody:
        """Return the person's parameters in a frame."""
        arrays = self._parameters
        return PosedBody(
            pose=arrays["pose"][index].astype(np.float32),
            transl=arrays["transl"][index].astype(np.float32),
            betas=self.betas,
            expression=arrays["expression"][index].astype(np.float32),
        )

    def camera(self, index: int) -> Camera:
        """Return a frame's camera."""
        K, R, t = (self._parameters[name][index].astype(np.float64) for name in CAMERA_ARRAYS)
        width, height = self.description.image_size
        return Camera(K=K, R=R, t=t, width=width, height=height)

    def frames(self, split: Split) -> list[int]:
        """Return the indices of a split's frames, in order."""
        return [i for i, frame in enumerate(self.description.frames) if frame.split == split]

    def digests(self, split: Split) -> list[str]:
        """Return the frame digests of a split, in order."""
        return [frame.digest for frame in self.description.frames if frame.split == split]

    @cached_property
    def digest(self) -> str:
        """Sha256 (hexadecimal) over name and sha256 of every file that the capture names."""
        total = hashlib.sha256()
        for path in self.files():
            content = hashlib.sha256(path.read_bytes()).hexdigest()
            total.update(f"{path.relative_to(self.folder).as_posix()} {content}\n".encode())
        return total.hexdigest()

    def files(self) -> list[Path]:
        """Return the paths of every file that the capture names, capture.json first."""
        names = [self.folder / DESCRIPTION_FILE, self.folder / PARAMETERS_FILE]
        for index in range(len(self)):
            names += [self._image_path(IMAGE_FOLDER, index), self._image_path(MASK_FOLDER, index)]
            depth = self._depth_path(index)
            names += [depth] if depth.is_file() else []
        return names

    def _check_frames(self) -> None:
        for index, frame in enumerate(self.description.frames):
            for folder in (IMAGE_FOLDER, MASK_FOLDER):
                path = self._image_path(folder, index)
                if not path.is_file():
                    raise CaptureError(f"{path} is missing", field=f"frames[{index}].name")
            K, R, t = (self._parameters[name][index] for name in CAMERA_ARRAYS)
            if frame_digest(self._parameters["pose"][index], K, R, t) != frame.digest:
                raise CaptureError(
                    f"{self.folder / DESCRIPTION_FILE}: frames[{index}].digest is not that of "
                    f"the frame's pose and camera in {PARAMETERS_FILE}",
                    field=f"frames[{index}].digest",
                )

    def _image_path(self, folder: str, index: int) -> Path:
        name = self.description.frames[index].name
        return self.folder / folder / f"{name}{self.description.image_suffix}"

    def _depth_path(self, index: int) -> Path:
        name = self.description.frames[index].name
        return self.folder / DEPTH_FOLDER / f"{name}{DEPTH_SUFFIX}"

    def _read_image(self, folder: str, index: int) -> NDArray[np.uint8]:
        path = self._image_path(folder, index)
        try:
            with Image.open(path) as image:
                size, mode = image.size, image.mode
                pixels = np.asarray(image.convert("RGB"))
        except (OSError, UnidentifiedImageError, SyntaxError, ValueError) as error:
            raise CaptureError(f"{path} cannot be read as an image: {error}") from error
        if size != self.description.image_size or mode != "RGB":
            want = self.description.image_size
            raise CaptureError(f"{path}: {mode} of size {size}, where RGB of size {want} was due")
        return pixels


def find_captures(given: Path | list[Path]) -> list[Path]:
    """Return folders of captures: those given, or by name all that a given folder holds.

    Raises:
        CaptureError: the folder holds none.
    """
    if isinstance(given, list):
        return given
    if (given / DESCRIPTION_FILE).is_file():
        return [given]
    found = sorted(path.parent for path in given.glob(f"*/{DESCRIPTION_FILE}"))
    if not found:
        raise CaptureError(
            f"{given} holds no capture", f"give a folder with {DESCRIPTION_FILE} or of such folders"
        )
    return found


def _read_json(path: Path) -> dict[str, Any]:
    try:
        fields = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise CaptureError(f"{path} is missing: this folder is not a whole capture") from error
    except (OSError, ValueError) as error:
        raise CaptureError(f"{path} is not readable JSON: {error}") from error
    if not isinstance(fields, dict):
        raise CaptureError(f"{path} must be a map")
    return fields


def _read_arrays(path: Path) -> dict[str, NDArray[np.floating]]:
    try:
        # Opened here: numpy leaves the file open when it is no archive.
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except FileNotFoundError as error:
        raise CaptureError(f"{path} is missing") from error
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile) as error:
        raise CaptureError(f"{path} is not a readable .npz: {error}") from error
