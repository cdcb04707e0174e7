"""`capture.put`: how a capture travels to the server, and what is refused on the way.

Three requests, told apart by the param step. "open" describes the whole capture and learns which
frames the server has already; "add" brings frames, a few at a time and in any order; "close" ends
the upload, and only then is it a capture. The same capture opened again, by whoever and after
whatever interruption, is the same upload: its id comes from its content.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from .capture import CaptureDescription, parameter_shapes, parse_description
from .errors import BadParameter, TooLarge
from .fields import real_array, text
from .operations import MAX_COEFFICIENTS, MAX_TRANSLATION_METRES
from .pose import check_rotations

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from .wire import Request

CAPTURE_PUT = "capture.put"

MAX_FRAMES = 4000
"""Of a capture that travels: its description has to fit into a header."""

MAX_FRAMES_AT_ONCE = 16
MAX_NAME_LENGTH = 80
MAX_IMAGE_BYTES = 64 << 20
"""Of one image file."""

_UPLOAD = re.compile(r"[0-9a-f]{32}")
_FINGERPRINT = re.compile(r"[0-9a-f]{64}")
_WHERE = "capture"
_BOUNDS = {
    "betas": 100.0,
    "expression": 100.0,
    "pose": 2.0,
    "R": 2.0,
    "K": 1e6,
    "transl": MAX_TRANSLATION_METRES,
    "t": MAX_TRANSLATION_METRES,
}
"""The largest that a number may be: radians' sines, metres, pixels."""


@dataclass(frozen=True, kw_only=True)
class OpenUpload:
    """Begin an upload, or go on with it.

    Params: step "open", capture (map: the content of capture.json), fingerprint (64 hexadecimal
    digits, sha256 over the content of every file, so that other pictures of the same poses are
    another upload). Array: betas (n,).

    Result params: upload (str), have (list of str: frames that need not be sent), capture (str:
    the id to train with when the server has it whole, else empty).
    """

    description: CaptureDescription
    betas: NDArray[np.float32]
    fingerprint: str

    @property
    def upload(self) -> str:
        """The upload's id: 32 hexadecimal digits that its content decides about."""
        content = hashlib.sha256(self.fingerprint.encode())
        content.update(json.dumps(self.description.to_json(), sort_keys=True).encode())
        content.update(self.betas.astype("<f4").tobytes())
        return content.hexdigest()[:32]

    def to_wire(self) -> tuple[dict[str, Any], dict[str, np.ndarray[Any, Any]]]:
        """Return params and arrays for a request."""
        fields = self.description.to_json()
        params = {"step": "open", "capture": fields, "fingerprint": self.fingerprint}
        return params, {"betas": self.betas}


@dataclass(frozen=True, kw_only=True)
class SentFrame:
    """A frame on its way.

    Attributes:
        name: as the description names it.
        image: (n,) uint8, bytes of a PNG or lossless WebP file.
        masks: likewise.
        pose: (55, 3, 3) float32.
        transl: (3,) float32 metres.
        expression: (m,) float32.
        K: (3, 3) float64.
        R: (3, 3) float64.
        t: (3,) float64 metres.
    """

    name: str
    image: NDArray[np.uint8]
    masks: NDArray[np.uint8]
    pose: NDArray[np.float32]
    transl: NDArray[np.float32]
    expression: NDArray[np.float32]
    K: NDArray[np.float64]
    R: NDArray[np.float64]
    t: NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class AddFrames:
    """Send frames of an open upload.

    Params: step "add", upload, frames (list of str). Arrays, N the number of frames: pose
    (N, 55, 3, 3), transl (N, 3), expression (N, m), K (N, 3, 3), R (N, 3, 3), t (N, 3); per frame
    image_0, masks_0, image_1, …: (n,) uint8, the bytes of a PNG or lossless WebP file.

    Result params: missing (int: how many frames the upload still lacks).
    """

    upload: str
    frames: tuple[SentFrame, ...]

    def to_wire(self) -> tuple[dict[str, Any], dict[str, np.ndarray[Any, Any]]]:
        """Return params and arrays for a request."""
        names = [frame.name for frame in self.frames]
        arrays: dict[str, np.ndarray[Any, Any]] = {
            field: np.stack([getattr(frame, field) for frame in self.frames])
            for field in parameter_shapes(1)
            if field != "betas"
        }
        for index, frame in enumerate(self.frames):
            arrays[f"image_{index}"], arrays[f"masks_{index}"] = frame.image, frame.masks
        return {"step": "add", "upload": self.upload, "frames": names}, arrays


@dataclass(frozen=True, kw_only=True)
class CloseUpload:
    """Make a capture of an upload whose frames are all there.

    Params: step "close", upload. Result params: capture (str: the id to train with), frames (int).
    """

    upload: str

    def to_wire(self) -> tuple[dict[str, Any], dict[str, np.ndarray[Any, Any]]]:
        """Return params and arrays for a request."""
        return {"step": "close", "upload": self.upload}, {}


def parse_capture_put(request: Request) -> OpenUpload | AddFrames | CloseUpload:
    """Read a `capture.put` request.

    Raises:
        BadParameter: a field is missing or out of range; names it.
        BadPose: a pose is not 55 rotations.
        CaptureError: the description is not one of a capture.
        TooLarge: too many frames, or an image of too many bytes.
    """
    step = text(request.params, "step")
    if step == "open":
        return _open(request)
    if step == "add":
        return _add(request)
    if step == "close":
        return CloseUpload(upload=_upload(request))
    raise BadParameter('step must be "open", "add" or "close"', field="step")


def _open(request: Request) -> OpenUpload:
    fields = request.params.get("capture")
    if not isinstance(fields, dict):
        raise BadParameter("capture must be the map of capture.json", field="capture")
    rows = cast("dict[str, Any]", fields).get("frames")
    if isinstance(rows, list) and len(cast("list[Any]", rows)) > MAX_FRAMES:
        raise TooLarge(
            f"a capture of over {MAX_FRAMES} frames cannot be sent",
            "split it, or copy it to the server and train there",
        )
    description = parse_description(cast("dict[str, Any]", fields), _WHERE)
    for name in (description.id, *(frame.name for frame in description.frames)):
        # Becomes the name of a file.
        if len(name) > MAX_NAME_LENGTH or not name.isprintable():
            raise BadParameter(
                f"names must be at most {MAX_NAME_LENGTH} printable characters", field="capture"
            )
    try:
        json.dumps(description.to_json())
    except (TypeError, ValueError) as error:
        raise BadParameter("capture holds values that JSON has not", field="capture") from error
    fingerprint = text(request.params, "fingerprint")
    if not _FINGERPRINT.fullmatch(fingerprint):
        raise BadParameter("fingerprint must be 64 hexadecimal digits", field="fingerprint")
    betas = _numbers(request, "betas", (-1,))
    return OpenUpload(
        description=description, betas=betas.astype(np.float32), fingerprint=fingerprint
    )


def _add(request: Request) -> AddFrames:
    names = _names(request)
    numbers = {
        field: _numbers(request, field, shape)
        for field, shape in parameter_shapes(len(names)).items()
        if field != "betas"
    }
    frames = tuple(
        SentFrame(
            name=name,
            image=_file(request, f"image_{index}"),
            masks=_file(request, f"masks_{index}"),
            pose=check_rotations(numbers["pose"][index]).astype(np.float32),
            transl=numbers["transl"][index].astype(np.float32),
            expression=numbers["expression"][index].astype(np.float32),
            K=numbers["K"][index],
            R=numbers["R"][index],
            t=numbers["t"][index],
        )
        for index, name in enumerate(names)
    )
    return AddFrames(upload=_upload(request), frames=frames)


def _upload(request: Request) -> str:
    upload = text(request.params, "upload")
    if not _UPLOAD.fullmatch(upload):
        raise BadParameter("upload must be the id that opening it returned", field="upload")
    return upload


def _names(request: Request) -> Sequence[str]:
    given = request.params.get("frames")
    if not isinstance(given, list) or not given:
        raise BadParameter("frames must be a list of names", field="frames")
    names = cast("list[Any]", given)
    if len(names) > MAX_FRAMES_AT_ONCE:
        raise TooLarge(
            f"at most {MAX_FRAMES_AT_ONCE} frames may come at once", "send them in several requests"
        )
    if not all(isinstance(name, str) for name in names) or len(set(names)) != len(names):
        raise BadParameter("frames must be texts, each once", field="frames")
    return cast("list[str]", names)


def _numbers(request: Request, field: str, shape: tuple[int, ...]) -> NDArray[np.float64]:
    values = real_array(request.arrays, field, shape)
    if shape[-1] == -1 and values.shape[-1] > MAX_COEFFICIENTS:
        raise BadParameter(f"{field} has over {MAX_COEFFICIENTS} coefficients", field=field)
    bound = _BOUNDS[field]
    if values.size and np.abs(values).max() > bound:
        raise BadParameter(f"{field} must lie within −{bound:g}…{bound:g}", field=field)
    return values


def _file(request: Request, name: str) -> NDArray[np.uint8]:
    array = request.arrays.get(name)
    if array is None or array.dtype != np.uint8 or array.ndim != 1 or not array.size:
        raise BadParameter(f"array {name} must be the bytes of an image file", field=name)
    if array.size > MAX_IMAGE_BYTES:
        raise TooLarge(f"{name} is over {MAX_IMAGE_BYTES >> 20} MB", "send a smaller image")
    return array
