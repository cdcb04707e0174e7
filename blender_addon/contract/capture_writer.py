"""The one writer of captures, for training, for Blender and for imports alike.

Standard library and numpy: PNG comes from `png`, other image formats from an encoder that is
given. The format is described in `capture` and docs/captures.md.
"""

from __future__ import annotations

import json
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .capture import (
    DEPTH_FOLDER,
    DEPTH_SUFFIX,
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
    depth_to_millimetres,
    frame_digest,
    parse_description,
)
from .errors import CaptureError
from .png import encode_png
from .pose import check_rotations

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from numpy.typing import NDArray

    from .camera import Camera
    from .operations import PosedBody

_NAME_SIGNS = frozenset('/\\:*?"<>|')
CAMERA_ARRAYS = ("K", "R", "t")
FRAME_ARRAYS = ("pose", "transl", "expression", *CAMERA_ARRAYS)


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
        depth: (H, W) float32 metres along the viewing axis, 0 where nothing is; or None.
    """

    name: str
    split: Split
    tags: tuple[str, ...]
    image: NDArray[np.uint8]
    masks: NDArray[np.uint8]
    body: PosedBody
    camera: Camera
    depth: NDArray[np.float32] | None = None


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
        encode: makes a file's bytes of (H, W, 3) uint8 pixels; needed for ".webp".

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
        encode: Callable[[NDArray[np.uint8]], bytes] | None = None,
    ) -> None:
        self._folder = Path(folder)
        self._file = self._folder / DESCRIPTION_FILE
        if self._file.exists():
            raise CaptureError(
                f"{self._folder} already holds a capture", "give another folder, or remove it"
            )
        if image_suffix not in IMAGE_SUFFIXES or (encode is None and image_suffix != ".png"):
            raise CaptureError(f"image_suffix must be one of {', '.join(IMAGE_SUFFIXES)}")
        self._encode = encode or encode_png
        self._id = id
        self._body = body
        self._licence = licence
        self._background: Background = background
        self._size = (int(image_size[0]), int(image_size[1]))
        self._betas = np.asarray(betas, np.float32)
        self._suffix = image_suffix
        self._source = dict(source or {})
        self._entries: list[FrameEntry] = []
        self._arrays: dict[str, list[NDArray[np.floating]]] = {name: [] for name in FRAME_ARRAYS}
        for name in (IMAGE_FOLDER, MASK_FOLDER):
            (self._folder / name).mkdir(parents=True, exist_ok=True)

    def add(self, frame: CaptureFrame) -> None:
        """Check a frame and write its image, masks and depth.

        Raises:
            CaptureError: duplicate name, wrong sizes or types, other betas, not a pose.
        """
        self.write_pixels(frame)
        self.add_written(frame.name, frame.split, frame.tags, frame.body, frame.camera)

    def write_pixels(self, frame: CaptureFrame) -> None:
        """Write a frame's image, masks and depth, each whole or not at all.

        A writer that goes on where another was interrupted names frames whose pixels are there
        with `add_written`.

        Raises:
            CaptureError: wrong sizes or types, or not a plain name.
        """
        where = f"frame {frame.name!r}"
        _check_name(frame.name, where)
        width, height = self._size
        for field, pixels in (("image", frame.image), ("masks", frame.masks)):
            if pixels.dtype != np.uint8 or pixels.shape != (height, width, 3):
                raise CaptureError(
                    f"{where}: {field} must be uint8 of shape {(height, width, 3)}, "
                    f"not {pixels.dtype} of shape {pixels.shape}",
                    field=field,
                )
        self._check_values(where, frame.body, frame.camera)
        self._write(IMAGE_FOLDER, frame.name + self._suffix, self._encode(frame.image))
        self._write(MASK_FOLDER, frame.name + self._suffix, self._encode(frame.masks))
        if frame.depth is None:
            return
        if frame.depth.shape != (height, width):
            raise CaptureError(f"{where}: depth is not of the image's size", field="depth")
        (self._folder / DEPTH_FOLDER).mkdir(exist_ok=True)
        self._write(
            DEPTH_FOLDER, frame.name + DEPTH_SUFFIX, encode_png(depth_to_millimetres(frame.depth))
        )

    def add_written(
        self, name: str, split: Split, tags: tuple[str, ...], body: PosedBody, camera: Camera
    ) -> None:
        """Name a frame whose pixels `write_pixels` wrote, now or in an earlier run.

        Raises:
            CaptureError: duplicate name, files that are missing, other betas, not a pose.
        """
        where = f"frame {name!r}"
        _check_name(name, where)
        if any(entry.name == name for entry in self._entries):
            raise CaptureError(f"{where}: a frame of this name was already added", field="name")
        self._check_values(where, body, camera)
        for folder in (IMAGE_FOLDER, MASK_FOLDER):
            path = self._folder / folder / f"{name}{self._suffix}"
            if not path.is_file():
                raise CaptureError(f"{where}: {path} is missing", field="name")
        pose = check_rotations(body.pose)
        digest = frame_digest(pose, camera.K, camera.R, camera.t)
        self._entries.append(FrameEntry(name=name, split=split, digest=digest, tags=tags))
        values = (pose, body.transl, body.expression, camera.K, camera.R, camera.t)
        for field, value in zip(FRAME_ARRAYS, values, strict=True):
            kind = np.float64 if field in CAMERA_ARRAYS else np.float32
            self._arrays[field].append(np.asarray(value, kind))

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
        write_arrays(self._folder / PARAMETERS_FILE, arrays)
        text = json.dumps(fields, indent=1, ensure_ascii=False, sort_keys=True) + "\n"
        self._write("", DESCRIPTION_FILE, text.encode("utf-8"))

    def __enter__(self) -> CaptureWriter:  # noqa: PYI034 - Self is not in every Blender's typing
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is None:
            self.close()

    def _check_values(self, where: str, body: PosedBody, camera: Camera) -> None:
        if (camera.width, camera.height) != self._size:
            raise CaptureError(f"{where}: camera is not of the image's size", field="camera")
        if not np.array_equal(np.asarray(body.betas, np.float32), self._betas):
            raise CaptureError(f"{where}: betas differ from the capture's", field="betas")

    def _write(self, folder: str, name: str, content: bytes) -> None:
        target = self._folder / folder / name
        temporary = target.with_name(target.name + ".part")
        temporary.write_bytes(content)
        temporary.replace(target)


def _check_name(name: str, where: str) -> None:
    if name.startswith(".") or any(sign in name for sign in _NAME_SIGNS):
        raise CaptureError(f"{where}: name is not a plain file name", field="name")


def write_arrays(path: Path, arrays: dict[str, NDArray[Any]]) -> None:
    """Write an .npz whose bytes depend on the arrays alone (numpy stamps the time otherwise)."""
    temporary = path.with_name(path.name + ".part")
    with zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, array in arrays.items():
            member = zipfile.ZipInfo(f"{name}.npy", date_time=(1980, 1, 1, 0, 0, 0))
            member.compress_type = zipfile.ZIP_DEFLATED
            with archive.open(member, "w") as stream:
                np.lib.format.write_array(stream, np.ascontiguousarray(array), allow_pickle=False)
    temporary.replace(path)
