"""Captures on disk: the one writer and the one validating reader.

The format is described in `blender_addon/contract/capture.py` and docs/captures.md. Frames come
from the synthetic people, from Blender renders or from a video; training and evaluation read
them all through `Capture`.
"""

from __future__ import annotations

import hashlib
import json
import zipfile
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from PIL import Image, UnidentifiedImageError

from blender_addon.contract.camera import Camera
from blender_addon.contract.capture import (
    DESCRIPTION_FILE,
    IMAGE_FOLDER,
    IMAGE_SUFFIXES,
    MASK_FOLDER,
    PARAMETERS_FILE,
    Background,
    CaptureDescription,
    FrameEntry,
    Split,
    check_parameters,
    frame_digest,
    parse_description,
)
from blender_addon.contract.errors import CaptureError
from blender_addon.contract.operations import PosedBody
from blender_addon.contract.pose import check_rotations

if TYPE_CHECKING:
    from types import TracebackType

    from numpy.typing import NDArray

_NAME_SIGNS = frozenset('/\\:*?"<>|')
_CAMERA_ARRAYS = ("K", "R", "t")
_FRAME_ARRAYS = ("pose", "transl", "expression", *_CAMERA_ARRAYS)


@dataclass(frozen=True, kw_only=True)
class CaptureFrame:
    """One frame on its way into a capture.

    Attributes:
        name: file name without suffix.
        split: whether training may see the frame.
        tags: what is special about it.
        image: (H, W, 3) uint8 sRGB, premultiplied over black or a photograph.
        masks: (H, W, 3) uint8: foreground, hands, face, soft.
        body: the person's exact parameters; the betas are the same in every frame.
        camera: of the image's size.
    """

    name: str
    split: Split
    tags: tuple[str, ...]
    image: NDArray[np.uint8]
    masks: NDArray[np.uint8]
    body: PosedBody
    camera: Camera


class CaptureWriter:
    """Writes a capture, frame by frame; capture.json comes last.

    As a context manager it closes the capture on success; after an exception the folder has no
    capture.json, so that no reader takes it for a whole one. A folder that already holds a
    capture is refused.

    Args:
        folder: made when it is missing.
        id: name of the person or take.
        body: id of the body whose parameters the frames carry.
        licence: SPDX identifier or a plain sentence.
        background: "black" for premultiplied images, "photograph" for real ones.
        image_size: width and height in pixels.
        betas: (n,) shape coefficients of the person.
        image_suffix: ".png" or ".webp" (lossless: smaller, slower to write).
        source: how it is made; plain values.

    Raises:
        CaptureError: the folder holds a capture, or a value is not of the format.
    """

    def __init__(
        self,
        folder: Path,
        *,
        id: str,  # noqa: A002 - the format's own name
        body: str,
        licence: str,
        background: Background,
        image_size: tuple[int, int],
        betas: NDArray[np.floating],
        image_suffix: str = ".png",
        source: dict[str, Any] | None = None,
    ) -> None:
        self._folder = Path(folder)
        self._file = self._folder / DESCRIPTION_FILE
        if self._file.exists():
            raise CaptureError(
                f"{self._folder} already holds a capture", "give another folder, or remove it"
            )
        if image_suffix not in IMAGE_SUFFIXES:
            raise CaptureError(f"image_suffix must be one of {', '.join(IMAGE_SUFFIXES)}")
        self._id = id
        self._body = body
        self._licence = licence
        self._background: Background = background
        self._size = (int(image_size[0]), int(image_size[1]))
        self._betas = np.asarray(betas, np.float32)
        self._suffix = image_suffix
        self._source = dict(source or {})
        self._entries: list[FrameEntry] = []
        self._arrays: dict[str, list[NDArray[np.floating]]] = {name: [] for name in _FRAME_ARRAYS}
        for name in (IMAGE_FOLDER, MASK_FOLDER):
            (self._folder / name).mkdir(parents=True, exist_ok=True)

    def add(self, frame: CaptureFrame) -> None:
        """Check a frame and write its image and masks.

        Raises:
            CaptureError: duplicate name, wrong sizes or types, other betas, not a pose.
        """
        where = f"frame {frame.name!r}"
        if frame.name.startswith(".") or any(sign in frame.name for sign in _NAME_SIGNS):
            raise CaptureError(f"{where}: name is not a plain file name", field="name")
        if any(entry.name == frame.name for entry in self._entries):
            raise CaptureError(f"{where}: a frame of this name was already added", field="name")
        width, height = self._size
        for field, pixels in (("image", frame.image), ("masks", frame.masks)):
            if pixels.dtype != np.uint8 or pixels.shape != (height, width, 3):
                raise CaptureError(
                    f"{where}: {field} must be uint8 of shape {(height, width, 3)}, "
                    f"not {pixels.dtype} of shape {pixels.shape}",
                    field=field,
                )
        if (frame.camera.width, frame.camera.height) != self._size:
            raise CaptureError(f"{where}: camera is not of the image's size", field="camera")
        if not np.array_equal(np.asarray(frame.body.betas, np.float32), self._betas):
            raise CaptureError(f"{where}: betas differ from the capture's", field="betas")
        pose = check_rotations(frame.body.pose)
        camera = frame.camera
        digest = frame_digest(pose, camera.K, camera.R, camera.t)
        self._write_image(IMAGE_FOLDER, frame.name, frame.image)
        self._write_image(MASK_FOLDER, frame.name, frame.masks)
        self._entries.append(
            FrameEntry(name=frame.name, split=frame.split, digest=digest, tags=frame.tags)
        )
        values = (pose, frame.body.transl, frame.body.expression, camera.K, camera.R, camera.t)
        for name, value in zip(_FRAME_ARRAYS, values, strict=True):
            kind = np.float64 if name in _CAMERA_ARRAYS else np.float32
            self._arrays[name].append(np.asarray(value, kind))

    def close(self) -> None:
        """Write parameters.npz, then capture.json.

        Raises:
            CaptureError: there is no frame, or the description is not of the format.
        """
        description = CaptureDescription(
            id=self._id,
            body=self._body,
            licence=self._licence,
            background=self._background,
            image_size=self._size,
            image_suffix=self._suffix,
            frames=tuple(self._entries),
            source=self._source,
        )
        fields = description.to_json()
        parse_description(fields, str(self._file))
        arrays: dict[str, NDArray[np.floating]] = {"betas": self._betas}
        arrays.update({name: np.stack(values) for name, values in self._arrays.items()})
        check_parameters(arrays, len(self._entries), PARAMETERS_FILE)
        _write_arrays(self._folder / PARAMETERS_FILE, arrays)
        text = json.dumps(fields, indent=1, ensure_ascii=False, sort_keys=True) + "\n"
        temporary = self._file.with_suffix(".json.part")
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(self._file)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is None:
            self.close()

    def _write_image(self, folder: str, name: str, pixels: NDArray[np.uint8]) -> None:
        target = self._folder / folder / f"{name}{self._suffix}"
        temporary = target.with_name(target.name + ".part")
        image = Image.fromarray(np.ascontiguousarray(pixels), "RGB")
        if self._suffix == ".png":
            image.save(temporary, "PNG", compress_level=4)
        else:
            image.save(temporary, "WEBP", lossless=True, quality=60, method=4, exact=True)
        temporary.replace(target)


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
        K, R, t = (self._parameters[name][index].astype(np.float64) for name in _CAMERA_ARRAYS)
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
        return names

    def _check_frames(self) -> None:
        for index, frame in enumerate(self.description.frames):
            for folder in (IMAGE_FOLDER, MASK_FOLDER):
                path = self._image_path(folder, index)
                if not path.is_file():
                    raise CaptureError(f"{path} is missing", field=f"frames[{index}].name")
            K, R, t = (self._parameters[name][index] for name in _CAMERA_ARRAYS)
            if frame_digest(self._parameters["pose"][index], K, R, t) != frame.digest:
                raise CaptureError(
                    f"{self.folder / DESCRIPTION_FILE}: frames[{index}].digest is not that of "
                    f"the frame's pose and camera in {PARAMETERS_FILE}",
                    field=f"frames[{index}].digest",
                )

    def _image_path(self, folder: str, index: int) -> Path:
        name = self.description.frames[index].name
        return self.folder / folder / f"{name}{self.description.image_suffix}"

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


def _write_arrays(path: Path, arrays: dict[str, NDArray[np.floating]]) -> None:
    """Write an .npz whose bytes depend on the arrays alone (numpy stamps the time otherwise)."""
    temporary = path.with_suffix(".npz.part")
    with zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, array in arrays.items():
            member = zipfile.ZipInfo(f"{name}.npy", date_time=(1980, 1, 1, 0, 0, 0))
            member.compress_type = zipfile.ZIP_DEFLATED
            with archive.open(member, "w") as stream:
                np.lib.format.write_array(stream, np.ascontiguousarray(array), allow_pickle=False)
    temporary.replace(path)
