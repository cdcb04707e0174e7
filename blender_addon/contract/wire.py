"""Wire protocol, version 1: messages as lists of byte frames. Knows no socket.

A message is one msgpack header followed by one raw frame per array (C order, little endian).

Request header: ``{"v": 1, "id": str, "op": "family.verb", "timeout": seconds, "params": {…},
"arrays": [{"name": str, "dtype": str, "shape": [int, …]}, …]}``. `timeout` is what is left of
the attempt's deadline when it is sent (clocks of two machines differ; durations do not).

Reply header: the same with ``"kind": "progress" | "result" | "error"`` instead of `op` and
`timeout`. An error's params are `errors.DressformError.to_wire`.

Unknown fields are ignored. Everything else is checked before use; what fails raises
`BadMessage`, `TooLarge` or `UnsupportedVersion`, and nothing else.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, cast

import msgpack
import numpy as np

from .errors import BadMessage, DressformError, TooLarge, UnsupportedVersion, from_wire
from .versions import WIRE_VERSION

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

MAX_HEADER_BYTES = 1 << 20
MAX_ARRAYS = 64
MAX_ARRAY_BYTES = 512 << 20
MAX_MESSAGE_BYTES = 1 << 30
MAX_DIMENSIONS = 8
MAX_ID_LENGTH = 128
MAX_TIMEOUT_SECONDS = 24 * 3600.0
MAX_NESTING = 16

DTYPES: dict[str, np.dtype[Any]] = {
    name: np.dtype(name).newbyteorder("<")
    for name in ("uint8", "uint16", "int32", "int64", "float16", "float32", "float64")
}
"""The dtypes that may travel, by name."""

# numpy derives `dtype.name` anew each time, which costs more than all else that encoding does.
_NAMES = {dtype: name for name, dtype in DTYPES.items()}

ReplyKind = Literal["progress", "result", "error"]
Frame = bytes | memoryview
Arrays = dict[str, np.ndarray[Any, np.dtype[Any]]]


def _no_values() -> dict[str, Any]:
    return {}


def _no_arrays() -> Arrays:
    return {}


@dataclass(frozen=True, kw_only=True)
class Request:
    """One thing asked of the server.

    Attributes:
        id: unique among the sender's open requests.
        operation: `family.verb`.
        timeout: seconds the attempt may take, counted from sending.
        params: plain values.
        arrays: numpy arrays by name.
    """

    id: str
    operation: str
    timeout: float
    params: dict[str, Any] = field(default_factory=_no_values)
    arrays: Arrays = field(default_factory=_no_arrays)


@dataclass(frozen=True, kw_only=True)
class Reply:
    """One answer to a request: progress any number of times, then a result or an error.

    The id is the request's; empty in an error about a request whose id could not be read.
    """

    id: str
    kind: ReplyKind
    params: dict[str, Any] = field(default_factory=_no_values)
    arrays: Arrays = field(default_factory=_no_arrays)

    def raise_if_error(self) -> Reply:
        """Raise the typed error that the reply carries, else return the reply."""
        if self.kind == "error":
            raise from_wire(self.params)
        return self


def error_reply(request_id: str, error: DressformError) -> Reply:
    """Return the reply that carries `error`."""
    return Reply(id=request_id, kind="error", params=error.to_wire())


def encode_request(request: Request) -> list[Frame]:
    """Return the frames of a request; arrays are not copied when they are contiguous."""
    header = {
        "v": WIRE_VERSION,
        "id": request.id,
        "op": request.operation,
        "timeout": request.timeout,
        "params": request.params,
    }
    return _encode(header, request.arrays)


def encode_reply(reply: Reply) -> list[Frame]:
    """Return the frames of a reply; arrays are not copied when they are contiguous."""
    header = {"v": WIRE_VERSION, "id": reply.id, "kind": reply.kind, "params": reply.params}
    return _encode(header, reply.arrays)


def decode_request(frames: Sequence[Frame]) -> Request:
    """Read a request.

    Raises:
        BadMessage: not a request of this protocol.
        TooLarge: over a size limit.
        UnsupportedVersion: another major version.
    """
    header = _decode_header(frames)
    timeout = header.get("timeout")
    if isinstance(timeout, bool) or not isinstance(timeout, int | float):
        raise BadMessage("the header's timeout is not a number")
    if not (math.isfinite(timeout) and 0 < timeout <= MAX_TIMEOUT_SECONDS):
        raise BadMessage(f"the header's timeout is not within 0…{MAX_TIMEOUT_SECONDS:.0f} s")
    return Request(
        id=_text(header, "id"),
        operation=_text(header, "op"),
        timeout=float(timeout),
        params=_params(header),
        arrays=_decode_arrays(header, frames[1:]),
    )


def decode_reply(frames: Sequence[Frame]) -> Reply:
    """Read a reply; raises as `decode_request` does."""
    header = _decode_header(frames)
    kind = _text(header, "kind")
    if kind not in ("progress", "result", "error"):
        raise BadMessage(f"{kind!r} is no kind of reply")
    return Reply(
        id="" if header.get("id") == "" else _text(header, "id"),
        kind=kind,
        params=_params(header),
        arrays=_decode_arrays(header, frames[1:]),
    )


def request_id_of(frames: Sequence[Frame]) -> str:
    """Return the request id of a message that may be damaged, or an empty string.

    For answering a request that cannot be decoded.
    """
    try:
        header = _unpack(frames[0]) if frames else {}
    except DressformError:
        return ""
    found = header.get("id")
    return found if isinstance(found, str) and len(found) <= MAX_ID_LENGTH else ""


def _encode(header: dict[str, Any], arrays: Mapping[str, np.ndarray[Any, Any]]) -> list[Frame]:
    table: list[dict[str, Any]] = []
    frames: list[Frame] = []
    if len(arrays) > MAX_ARRAYS or sum(a.nbytes for a in arrays.values()) > MAX_MESSAGE_BYTES:
        raise TooLarge(
            f"a message holds at most {MAX_ARRAYS} arrays and {MAX_MESSAGE_BYTES >> 20} MB"
        )
    for name, array in arrays.items():
        if array.nbytes > MAX_ARRAY_BYTES:
            raise TooLarge(f"array {name} is over {MAX_ARRAY_BYTES >> 20} MB")
        dtype = _NAMES.get(array.dtype) or array.dtype.name
        if dtype not in DTYPES:
            raise BadMessage(f"array {name} has the dtype {array.dtype}, which may not travel")
        plain = np.ascontiguousarray(array, DTYPES[dtype])
        table.append({"name": name, "dtype": dtype, "shape": array.shape})
        # memoryview.cast refuses arrays without elements.
        frames.append(plain.data.cast("B") if plain.size else b"")
    header["arrays"] = table
    packed = cast("bytes", msgpack.packb(header, use_bin_type=True))
    if len(packed) > MAX_HEADER_BYTES:
        raise TooLarge(
            f"the header has {len(packed)} bytes; at most {MAX_HEADER_BYTES} are allowed"
        )
    return [packed, *frames]


def _unpack(frame: Frame) -> dict[str, Any]:
    if len(frame) > MAX_HEADER_BYTES:
        raise TooLarge(f"the header has {len(frame)} bytes; at most {MAX_HEADER_BYTES} are allowed")
    try:
        header = msgpack.unpackb(
            frame,
            raw=False,
            strict_map_key=True,
            max_str_len=MAX_HEADER_BYTES,
            max_array_len=1 << 16,
            max_map_len=1 << 12,
            max_bin_len=MAX_HEADER_BYTES,
            max_ext_len=0,
        )
    except (ValueError, TypeError, msgpack.exceptions.UnpackException, RecursionError) as error:
        raise BadMessage(f"the header is not valid msgpack ({type(error).__name__})") from error
    if not isinstance(header, dict):
        raise BadMessage("the header is not a map")
    return cast("dict[str, Any]", header)


def _decode_header(frames: Sequence[Frame]) -> dict[str, Any]:
    if not frames:
        raise BadMessage("the message has no frames")
    if len(frames) > MAX_ARRAYS + 1:
        raise TooLarge(
            f"the message has {len(frames) - 1} arrays; at most {MAX_ARRAYS} are allowed"
        )
    if sum(len(frame) for frame in frames) > MAX_MESSAGE_BYTES:
        raise TooLarge(f"the message is over {MAX_MESSAGE_BYTES >> 20} MB")
    header = _unpack(frames[0])
    version = header.get("v")
    if not isinstance(version, int) or isinstance(version, bool):
        raise BadMessage("the header has no version")
    if version != WIRE_VERSION:
        raise UnsupportedVersion(
            f"the message speaks version {version} of the wire protocol, this side {WIRE_VERSION}",
            version=WIRE_VERSION,
        )
    return header


def _text(header: Mapping[str, Any], name: str) -> str:
    value = header.get(name)
    if not isinstance(value, str) or not 0 < len(value) <= MAX_ID_LENGTH:
        raise BadMessage(f"the header's {name} is not a text of 1…{MAX_ID_LENGTH} characters")
    return value


def _params(header: Mapping[str, Any]) -> dict[str, Any]:
    params = header.get("params", {})
    if not isinstance(params, dict):
        raise BadMessage("the header's params are not a map")
    _check_values(params, MAX_NESTING)
    return cast("dict[str, Any]", params)


def _check_values(value: Any, depth: int) -> None:
    if depth < 0:
        raise BadMessage("the header's params are nested too deeply")
    if isinstance(value, dict):
        for name, inner in cast("dict[Any, Any]", value).items():
            if not isinstance(name, str):  # msgpack lets bytes through
                raise BadMessage("the header's params have a name that is not a text")
            _check_values(inner, depth - 1)
    elif isinstance(value, list):
        for inner in cast("list[Any]", value):
            _check_values(inner, depth - 1)


def _decode_arrays(header: Mapping[str, Any], frames: Sequence[Frame]) -> Arrays:
    table = header.get("arrays", [])
    if not isinstance(table, list):
        raise BadMessage("the header's array table is not a list")
    entries = cast("list[Any]", table)
    if len(entries) != len(frames):
        raise BadMessage(f"the table names {len(entries)} arrays, {len(frames)} frames came")
    arrays: Arrays = {}
    for entry, frame in zip(entries, frames, strict=True):
        name, array = _decode_array(entry, frame)
        if name in arrays:
            raise BadMessage(f"array {name!r} comes twice")
        arrays[name] = array
    return arrays


def _decode_array(entry: Any, frame: Frame) -> tuple[str, np.ndarray[Any, np.dtype[Any]]]:
    if not isinstance(entry, dict):
        raise BadMessage("an entry of the array table is not a map")
    fields = cast("dict[str, Any]", entry)
    name = _text(fields, "name")
    dtype = fields.get("dtype")
    if not isinstance(dtype, str) or dtype not in DTYPES:
        raise BadMessage(f"array {name!r} has a dtype that may not travel")
    shape = fields.get("shape")
    if not isinstance(shape, list) or len(cast("list[Any]", shape)) > MAX_DIMENSIONS:
        raise BadMessage(f"array {name!r} has no shape of at most {MAX_DIMENSIONS} dimensions")
    sides: list[int] = []
    for side in cast("list[Any]", shape):
        if not isinstance(side, int) or isinstance(side, bool) or side < 0:
            raise BadMessage(f"array {name!r} has a shape with something other than sizes")
        sides.append(side)
    # Python integers do not overflow, so a shape made to overflow is caught here. Sides of 0 do
    # not excuse the others: numpy refuses huge ones in its own way.
    expected = math.prod(sides) * DTYPES[dtype].itemsize
    if math.prod(max(side, 1) for side in sides) > MAX_ARRAY_BYTES or expected > MAX_ARRAY_BYTES:
        raise TooLarge(f"array {name!r} is over {MAX_ARRAY_BYTES >> 20} MB")
    if expected != len(frame):
        raise BadMessage(f"array {name!r} should have {expected} bytes and has {len(frame)}")
    return name, np.frombuffer(frame, DTYPES[dtype]).reshape(sides)
