"""Captures on their way to the server: kept frame by frame, so that an upload can be resumed.

An upload lives in a hidden folder beside the captures; it becomes a capture by one rename, when
all its frames are there. Every image is decoded, checked and written anew by the one capture
writer: nothing that came from outside lands on disk as it came, and no name of a client's is a
path. Knows no socket and no torch.
"""

from __future__ import annotations

import errno
import io
import json
import logging
import re
import shutil
import threading
import time
import zipfile
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image, UnidentifiedImageError

from blender_addon.contract.camera import Camera
from blender_addon.contract.capture import (
    DESCRIPTION_FILE,
    CaptureDescription,
    frame_digest,
    parse_description,
)
from blender_addon.contract.capture_writer import (
    FRAME_ARRAYS,
    CaptureFrame,
    CaptureWriter,
    write_arrays,
)
from blender_addon.contract.errors import CaptureError, StorageFull, UnknownCapture
from blender_addon.contract.fields import is_model_id
from blender_addon.contract.operations import PosedBody

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from blender_addon.contract.capture_transfer import (
        AddFrames,
        OpenUpload,
        SentFrame,
    )
    from server.storage import Storage

log = logging.getLogger(__name__)

UPLOADS_FOLDER = ".uploads"
KEPT_SECONDS = 7 * 24 * 3600.0
"""How long an upload waits for its client to go on with it."""

_OPENING_FILE = "upload.json"
_FRAMES_FOLDER = "frames"
_CAPTURE_FOLDER = "capture"
_ID_DIGITS = 12
_NOT_PLAIN = re.compile(r"[^A-Za-z0-9_-]+")


@dataclass(frozen=True, kw_only=True)
class _Upload:
    """An upload as it lies on disk."""

    folder: Path
    description: CaptureDescription
    betas: NDArray[np.float32]

    @property
    def capture(self) -> str:
        """Id of the capture that it becomes."""
        return capture_id(self.description, self.folder.name)

    def sidecar(self, index: int) -> Path:
        """File of a frame's parameters; it is there when the frame is whole."""
        return self.folder / _FRAMES_FOLDER / f"{index:06d}.npz"

    def missing(self) -> list[int]:
        """Indices of the frames that have not come yet."""
        return [i for i in range(len(self.description.frames)) if not self.sidecar(i).is_file()]

    def writer(self) -> CaptureWriter:
        """Go on writing; a description whose server died before the last rename goes first."""
        (self.folder / _CAPTURE_FOLDER / DESCRIPTION_FILE).unlink(missing_ok=True)
        about = self.description
        return CaptureWriter(
            self.folder / _CAPTURE_FOLDER,
            id=about.id,
            body=about.body,
            licence=about.licence,
            background=about.background,
            image_size=about.image_size,
            betas=self.betas,
            image_suffix=about.image_suffix,
            source=about.source,
            encode=lambda pixels: _encode(pixels, about.image_suffix),
        )


class Uploads:
    """The uploads of one server; safe to use from several threads of one process."""

    def __init__(self, storage: Storage) -> None:
        self._root = storage.captures
        self._limit = storage.capture_bytes
        self._used = 0
        self._locks: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)
        self._lock = threading.Lock()

    def open(self, asked: OpenUpload) -> tuple[list[str], str]:
        """Begin an upload or find the one that was begun.

        Returns:
            the frames that are there, and the capture's id when it is whole, else "".
        """
        folder = self._root / UPLOADS_FOLDER / asked.upload
        names = [frame.name for frame in asked.description.frames]
        with self._turn(asked.upload):
            capture = capture_id(asked.description, asked.upload)
            if (self._root / capture / DESCRIPTION_FILE).is_file():
                return names, capture
            self._remove_forgotten(keep=asked.upload)
            self._used = _bytes_below(self._root)
            self._check_room(0)
            (folder / _FRAMES_FOLDER).mkdir(parents=True, exist_ok=True)
            opening = {"capture": asked.description.to_json(), "betas": asked.betas.tolist()}
            part = folder / f"{_OPENING_FILE}.part"
            part.write_text(json.dumps(opening), encoding="utf-8")
            part.replace(folder / _OPENING_FILE)
            missing = set(_read(folder).missing())
        return [name for index, name in enumerate(names) if index not in missing], ""

    def add(self, asked: AddFrames) -> int:
        """Keep some frames of an upload; return how many it still lacks.

        Raises:
            UnknownCapture: no such upload.
            CaptureError: a frame is not one of the upload's, or its image is not valid; frames
                before it in the request are kept.
            StorageFull: the captures may take no more room.
        """
        with self._turn(asked.upload):
            upload = self._upload(asked.upload)
            index_of = {frame.name: i for i, frame in enumerate(upload.description.frames)}
            writer = upload.writer()
            for frame in asked.frames:
                if frame.name not in index_of:
                    raise CaptureError(f"the upload has no frame {frame.name!r}", field="frames")
                self._check_room(frame.image.size + frame.masks.size)
                try:
                    self._keep(upload, writer, index_of[frame.name], frame)
                except OSError as error:
                    if error.errno != errno.ENOSPC:
                        raise
                    raise StorageFull("the server's disk is full") from error
            (upload.folder / _OPENING_FILE).touch()
            return len(upload.missing())

    def close(self, upload_id: str) -> tuple[str, int]:
        """Make an upload a capture; return its id and how many frames it has.

        Raises:
            UnknownCapture: no such upload.
            CaptureError: frames are missing.
        """
        with self._turn(upload_id):
            done = next(self._root.glob(f"*-{upload_id[:_ID_DIGITS]}/{DESCRIPTION_FILE}"), None)
            if done is not None:  # closed before, by a client that did not hear so
                frames = json.loads(done.read_text(encoding="utf-8"))["frames"]
                return done.parent.name, len(frames)
            upload = self._upload(upload_id)
            missing = upload.missing()
            if missing:
                raise CaptureError(
                    f"{len(missing)} frames have not come yet",
                    "open the upload again: it says which frames it has",
                )
            target = self._root / upload.capture
            with upload.writer() as writer:
                for index, entry in enumerate(upload.description.frames):
                    body, camera = _read_parameters(upload, index)
                    writer.add_written(entry.name, entry.split, entry.tags, body, camera)
            (upload.folder / _CAPTURE_FOLDER).rename(target)
            shutil.rmtree(upload.folder)
            log.info("capture received capture=%s", upload.capture)
            return upload.capture, len(upload.description.frames)

    def _turn(self, upload: str) -> threading.Lock:
        with self._lock:
            return self._locks[upload]

    def _upload(self, upload_id: str) -> _Upload:
        folder = self._root / UPLOADS_FOLDER / upload_id
        if not (folder / _OPENING_FILE).is_file():
            raise UnknownCapture("the server knows no such upload", "open it again")
        return _read(folder)

    def _keep(self, upload: _Upload, writer: CaptureWriter, index: int, frame: SentFrame) -> None:
        entry = upload.description.frames[index]
        if frame_digest(frame.pose, frame.K, frame.R, frame.t) != entry.digest:
            raise CaptureError(
                f"frame {frame.name!r}: pose and camera are not those of the description's digest",
                field="digest",
            )
        size = upload.description.image_size
        arrays = {name: np.asarray(getattr(frame, name)) for name in FRAME_ARRAYS}
        body, camera = _posed(arrays, upload.betas, size)
        writer.write_pixels(
            CaptureFrame(
                name=entry.name,
                split=entry.split,
                tags=entry.tags,
                image=_decode(frame.image, f"frame {frame.name!r}: image", size),
                masks=_decode(frame.masks, f"frame {frame.name!r}: masks", size),
                body=body,
                camera=camera,
            )
        )
        write_arrays(upload.sidecar(index), arrays)
        self._used += frame.image.size + frame.masks.size

    def _check_room(self, coming: int) -> None:
        if self._used + coming > self._limit:
            raise StorageFull(
                f"captures may take {self._limit / 1e9:.1f} GB on the server, and they do",
                limit_bytes=self._limit,
            )

    def _remove_forgotten(self, keep: str) -> None:
        """Remove uploads that nobody went on with for `KEPT_SECONDS`."""
        root = self._root / UPLOADS_FOLDER
        for folder in root.iterdir() if root.is_dir() else ():
            opening = folder / _OPENING_FILE
            changed = (opening if opening.exists() else folder).stat().st_mtime
            if folder.name != keep and time.time() - changed > KEPT_SECONDS:
                log.info("upload forgotten upload=%s", folder.name)
                shutil.rmtree(folder, ignore_errors=True)


def capture_id(description: CaptureDescription, upload: str) -> str:
    """Return the id under which the server keeps a capture: readable, and one per content."""
    readable = _NOT_PLAIN.sub("-", description.id).strip("-")[:40] or "capture"
    return f"{readable}-{upload[:_ID_DIGITS]}"


def capture_folder(storage: Storage, capture: str) -> Path:
    """Return the folder of a capture that came in whole.

    Raises:
        UnknownCapture: there is none of this id.
    """
    if not is_model_id(capture) or not (storage.captures / capture / DESCRIPTION_FILE).is_file():
        raise UnknownCapture(f"the server holds no capture {capture!r}", capture=capture)
    return storage.captures / capture


def _read(folder: Path) -> _Upload:
    opening = json.loads((folder / _OPENING_FILE).read_text(encoding="utf-8"))
    return _Upload(
        folder=folder,
        description=parse_description(opening["capture"], _OPENING_FILE),
        betas=np.asarray(opening["betas"], np.float32),
    )


def _read_parameters(upload: _Upload, index: int) -> tuple[PosedBody, Camera]:
    try:
        with upload.sidecar(index).open("rb") as stream, np.load(stream) as arrays:
            return _posed(
                {name: arrays[name] for name in FRAME_ARRAYS},
                upload.betas,
                upload.description.image_size,
            )
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise CaptureError(f"frame {index} of the upload was damaged on the server") from error


def _posed(
    arrays: Mapping[str, NDArray[Any]], betas: NDArray[np.float32], size: tuple[int, int]
) -> tuple[PosedBody, Camera]:
    body = PosedBody(
        pose=arrays["pose"],
        transl=arrays["transl"],
        betas=betas,
        expression=arrays["expression"],
    )
    camera = Camera(K=arrays["K"], R=arrays["R"], t=arrays["t"], width=size[0], height=size[1])
    return body, camera


def _decode(file: NDArray[np.uint8], where: str, size: tuple[int, int]) -> NDArray[np.uint8]:
    """Return the pixels of an image file after checking that it is what the capture says."""
    try:
        with Image.open(io.BytesIO(file.tobytes()), formats=("PNG", "WEBP")) as image:
            if image.size != size or image.mode != "RGB":  # before anything is decoded
                raise CaptureError(
                    f"{where} is {image.mode} of size {image.size}, where RGB of {size} was due"
                )
            return np.asarray(image)
    except (
        OSError,
        ValueError,
        SyntaxError,
        EOFError,
        UnidentifiedImageError,
        Image.DecompressionBombError,
        Image.DecompressionBombWarning,
    ) as error:
        raise CaptureError(f"{where} is not a readable PNG or WebP file") from error


def _encode(pixels: NDArray[np.uint8], suffix: str) -> bytes:
    stream = io.BytesIO()
    image = Image.fromarray(np.ascontiguousarray(pixels), "RGB")
    if suffix == ".webp":
        image.save(stream, "WEBP", lossless=True, quality=60, method=4, exact=True)
    else:
        image.save(stream, "PNG", compress_level=4)
    return stream.getvalue()


def _bytes_below(folder: Path) -> int:
    total = 0
    for path in folder.rglob("*") if folder.is_dir() else ():
        try:
            total += path.stat().st_size
        except FileNotFoundError:  # an upload beside this one has just renamed it
            continue
    return total
