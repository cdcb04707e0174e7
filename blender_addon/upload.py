"""Sends a capture's folder to the server, and goes on where an earlier attempt ended. No bpy."""

from __future__ import annotations

import hashlib
import json
import zipfile
from typing import TYPE_CHECKING, Any

import numpy as np

from .contract.capture import (
    DESCRIPTION_FILE,
    IMAGE_FOLDER,
    MASK_FOLDER,
    PARAMETERS_FILE,
    check_parameters,
    parameter_shapes,
    parse_description,
)
from .contract.capture_transfer import (
    CAPTURE_PUT,
    MAX_FRAMES_AT_ONCE,
    AddFrames,
    CloseUpload,
    OpenUpload,
    SentFrame,
)
from .contract.errors import CaptureError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

    from .client import Client
    from .contract.capture import CaptureDescription
    from .contract.wire import Reply

ATTEMPT_SECONDS = 120.0
PATIENCE_SECONDS = 600.0
"""How long a capture waits for its server, across retries and a restart."""

_BYTES_AT_ONCE = 8 << 20


class CaptureOnDisk:
    """A capture as it lies in a folder: its description, its numbers, and its files' bytes.

    Raises:
        CaptureError: names the file and the field that is missing or wrong.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.description = _description(folder)
        self.parameters = _parameters(folder, len(self.description.frames))

    def file(self, kind: str, name: str) -> NDArray[np.uint8]:
        """Return the bytes of a frame's image or masks."""
        path = self.folder / kind / f"{name}{self.description.image_suffix}"
        try:
            return np.frombuffer(path.read_bytes(), np.uint8)
        except OSError as error:
            raise CaptureError(f"{path} cannot be read: {error.strerror}") from error

    def fingerprint(self) -> str:
        """Return the sha256 (hexadecimal) over the content of every file that travels."""
        total = hashlib.sha256()
        for name in (DESCRIPTION_FILE, PARAMETERS_FILE):
            total.update(hashlib.sha256((self.folder / name).read_bytes()).digest())
        for frame in self.description.frames:
            for kind in (IMAGE_FOLDER, MASK_FOLDER):
                total.update(hashlib.sha256(self.file(kind, frame.name).data).digest())
        return total.hexdigest()

    def frame(self, index: int) -> SentFrame:
        """Return one frame as it travels."""
        name = self.description.frames[index].name
        numbers = {
            field: values[index] for field, values in self.parameters.items() if field != "betas"
        }
        return SentFrame(
            name=name,
            image=self.file(IMAGE_FOLDER, name),
            masks=self.file(MASK_FOLDER, name),
            **numbers,
        )


def send_capture(
    client: Client,
    folder: Path,
    *,
    on_progress: Callable[[float], None] | None = None,
    should_stop: Callable[[], bool] | None = None,
    revive: Callable[[], None] | None = None,
) -> str:
    """Send what the server lacks of a capture; return the id to train with (blocks).

    Args:
        client: connected to the server.
        folder: of the capture.
        on_progress: gets the share that has arrived, 0…1.
        should_stop: asked at least every 50 ms.
        revive: restarts a server of our own that died.

    Raises:
        CaptureError: the folder holds no whole capture, or the server refuses a frame.
        StorageFull: the server keeps no more captures.
        Cancelled: `should_stop` said so; what has arrived stays there for a later attempt.
        DressformError: whatever else the server answers.
    """

    def ask(step: OpenUpload | AddFrames | CloseUpload) -> Reply:
        params, arrays = step.to_wire()
        return client.call(
            CAPTURE_PUT,
            params,
            arrays,
            timeout=ATTEMPT_SECONDS,
            patience=PATIENCE_SECONDS,
            should_stop=should_stop,
            revive=revive,
        )

    def tell(share: float) -> None:
        if on_progress is not None:
            on_progress(share)

    capture = CaptureOnDisk(folder)
    frames = capture.description.frames
    opening = OpenUpload(
        description=capture.description,
        betas=capture.parameters["betas"].astype(np.float32),
        fingerprint=capture.fingerprint(),
    )
    opened = ask(opening).params
    if opened.get("capture"):
        tell(1.0)
        return str(opened["capture"])
    upload, have = str(opened["upload"]), set(opened.get("have", ()))
    missing = [index for index, frame in enumerate(frames) if frame.name not in have]
    while missing:
        tell(1.0 - len(missing) / len(frames))
        group = _next_group(capture, missing)
        ask(AddFrames(upload=upload, frames=tuple(group)))
        missing = missing[len(group) :]
    closed = ask(CloseUpload(upload=upload)).params
    tell(1.0)
    return str(closed["capture"])


def _next_group(capture: CaptureOnDisk, missing: list[int]) -> list[SentFrame]:
    """Return the next frames to send: a few, but at least one."""
    group: list[SentFrame] = []
    size = 0
    for index in missing[:MAX_FRAMES_AT_ONCE]:
        frame = capture.frame(index)
        size += frame.image.size + frame.masks.size
        if group and size > _BYTES_AT_ONCE:
            break
        group.append(frame)
    return group


def _description(folder: Path) -> CaptureDescription:
    path = folder / DESCRIPTION_FILE
    try:
        fields = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise CaptureError(f"{path} is missing: this folder is not a whole capture") from error
    except ValueError as error:
        raise CaptureError(f"{path} is not readable JSON: {error}") from error
    if not isinstance(fields, dict):
        raise CaptureError(f"{path} must be a map")
    return parse_description(fields, str(path))


def _parameters(folder: Path, frames: int) -> dict[str, NDArray[Any]]:
    path = folder / PARAMETERS_FILE
    try:
        # Opened here: numpy leaves the file open when it is no archive.
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile) as error:
        raise CaptureError(f"{path} is not a readable .npz: {error}") from error
    check_parameters(arrays, frames, str(path))
    return {name: arrays[name] for name in parameter_shapes(frames)}
