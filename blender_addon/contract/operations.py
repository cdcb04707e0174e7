"""The operations of wire version 1: what each takes, and its limits.

Pure parsing from `wire.Request` to a typed value. What fails raises `BadParameter` or
`BadPose` and names the field. Unknown fields are ignored.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, cast

import numpy as np

from .camera import Camera
from .errors import BadParameter, UnsupportedVersion
from .pose import check_rotations
from .versions import WIRE_VERSION

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from .wire import Request

HELLO = "hello"
HEALTH = "health"
LIBRARY_LIST = "library.list"
LIBRARY_PREVIEW = "library.preview"
BODY_TEMPLATE = "body.template"
AVATAR_RENDER = "avatar.render"
JOB_CANCEL = "job.cancel"

_MODEL_ID = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,127}")

Priority = Literal["interactive", "final", "job"]
PRIORITIES: tuple[Priority, ...] = ("interactive", "final", "job")
"""From the most urgent to the least."""

RENDER_PASSES = ("rgba", "depth", "masks")
"""rgba (H, W, 4) uint8, premultiplied sRGB; depth (H, W) float32 metres along the viewing
axis, +inf where nothing is; masks (H, W, 3) uint8 (`joints.MASK_CHANNELS`)."""

MAX_COEFFICIENTS = 400
MAX_TRANSLATION_METRES = 1e4


@dataclass(frozen=True, kw_only=True)
class PosedBody:
    """A body in a pose.

    Attributes:
        pose: (55, 3, 3) float32 rotations of each joint relative to its parent; the first is
            the root's in world space (SMPL-X axes, Y up).
        transl: (3,) float32 metres.
        betas: (n,) float32 shape coefficients.
        expression: (m,) float32 expression coefficients.
    """

    pose: NDArray[np.float32]
    transl: NDArray[np.float32]
    betas: NDArray[np.float32]
    expression: NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class AvatarRender:
    """`avatar.render`: one frame of one avatar.

    Params on the wire: avatar (str), width, height (int), passes (list of str, default all),
    priority (str, default "final"), stream (str, optional: of one viewport's frames only the
    newest is rendered, older ones end with `Superseded`). Arrays: pose (55, 3, 3), transl (3,),
    betas (n,), expression (m,), K (3, 3), Rt (3, 4): world (SMPL-X axes) to camera.

    Result params: digest (str, of the avatar's package), cached (bool), seconds (float).
    Result arrays: those of `passes`.
    """

    operation: ClassVar[str] = AVATAR_RENDER

    avatar: str
    body: PosedBody
    camera: Camera
    passes: tuple[str, ...] = RENDER_PASSES
    priority: Priority = "final"
    stream: str = ""

    def to_wire(self) -> tuple[dict[str, Any], dict[str, np.ndarray[Any, Any]]]:
        """Return params and arrays for a request."""
        params: dict[str, Any] = {
            "avatar": self.avatar,
            "width": self.camera.width,
            "height": self.camera.height,
            "passes": list(self.passes),
            "priority": self.priority,
        }
        if self.stream:
            params["stream"] = self.stream
        arrays: dict[str, np.ndarray[Any, Any]] = {
            "pose": self.body.pose,
            "transl": self.body.transl,
            "betas": self.body.betas,
            "expression": self.body.expression,
            "K": self.camera.K,
            "Rt": np.concatenate([self.camera.R, self.camera.t[:, None]], axis=1),
        }
        return params, arrays


def parse_avatar_render(request: Request) -> AvatarRender:
    """Read an `avatar.render` request.

    Raises:
        BadParameter: a field is missing or out of range; names it.
        BadPose: the pose is not 55 rotations.
    """
    params, arrays = request.params, request.arrays
    camera = camera_of(request)
    body = PosedBody(
        pose=check_rotations(real_array(arrays, "pose", (55, 3, 3))),
        transl=_bounded(real_array(arrays, "transl", (3,)), "transl", MAX_TRANSLATION_METRES),
        betas=_coefficients(arrays, "betas"),
        expression=_coefficients(arrays, "expression"),
    )
    return AvatarRender(
        avatar=text(params, "avatar"),
        body=body,
        camera=camera,
        passes=_passes(params),
        priority=priority_of(params),
        stream=text(params, "stream", default=""),
    )


def camera_of(request: Request) -> Camera:
    """Return the camera of a render: params width and height, arrays K (3, 3) and Rt (3, 4).

    Raises:
        BadParameter: a field is missing, or they make no pinhole camera.
    """
    extrinsics = real_array(request.arrays, "Rt", (3, 4))
    return Camera(
        K=real_array(request.arrays, "K", (3, 3)),
        R=extrinsics[:, :3],
        t=extrinsics[:, 3],
        width=integer(request.params, "width"),
        height=integer(request.params, "height"),
    )


def check_hello(request: Request) -> None:
    """Check a `hello`: params wire (int) is the sender's version of the protocol.

    Result params: wire (int), server (str, version), operations (list of str), device (str),
    ready (bool: a worker can take work at once).

    Raises:
        UnsupportedVersion: the sender speaks another major version.
    """
    version = integer(request.params, "wire")
    if version != WIRE_VERSION:
        raise UnsupportedVersion(
            f"the client speaks version {version} of the wire protocol, the server {WIRE_VERSION}",
            version=WIRE_VERSION,
        )


def parse_job_cancel(request: Request) -> str:
    """Return the id of the request that `job.cancel` is to end (param id: one of the sender's).

    Result params: found (bool: it was still open and ends with `Cancelled`).
    """
    return text(request.params, "id")


def parse_model_id(request: Request, name: str) -> str:
    """Return the id of a model package: letters, digits, "-", "_" and ".", no leading dot.

    `library.preview` names it by the param id (result array preview (H, W, 3 or 4) uint8),
    `body.template` by the param body (result: see docs/wire.md).
    """
    value = text(request.params, name)
    if not is_model_id(value):
        raise BadParameter(f"{name} is not the id of a model package", field=name)
    return value


def is_model_id(value: str) -> bool:
    """Whether a text can be the id of a model package, and so the name of its folder."""
    return bool(_MODEL_ID.fullmatch(value))


def priority_of(params: Mapping[str, Any]) -> Priority:
    """Return the request's priority, "final" when it names none."""
    priority = text(params, "priority", default="final")
    if priority not in PRIORITIES:
        raise BadParameter(f"priority must be one of {', '.join(PRIORITIES)}")
    return priority


def text(params: Mapping[str, Any], name: str, *, default: str | None = None) -> str:
    """Return a text parameter of at most 256 characters."""
    value = params.get(name, default)
    if not isinstance(value, str) or len(value) > 256 or (not value and default is None):
        raise BadParameter(f"{name} must be a text of 1…256 characters", field=name)
    return value


def integer(params: Mapping[str, Any], name: str) -> int:
    """Return a whole-number parameter."""
    value = params.get(name)
    if not isinstance(value, int) or isinstance(value, bool):
        raise BadParameter(f"{name} must be a whole number", field=name)
    return value


def number(params: Mapping[str, Any], name: str, low: float, high: float) -> float:
    """Return a finite number parameter within low…high."""
    value = params.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise BadParameter(f"{name} must be a number", field=name)
    if not low <= value <= high:
        raise BadParameter(f"{name} must lie within {low}…{high}", field=name)
    return float(value)


def real_array(
    arrays: Mapping[str, np.ndarray[Any, Any]], name: str, shape: tuple[int, ...]
) -> NDArray[np.float64]:
    """Return a finite floating-point array of this shape as float64; −1 stands for any size."""
    array = arrays.get(name)
    if array is None or array.dtype.kind != "f":
        raise BadParameter(f"array {name} (floating point) is missing", field=name)
    if array.ndim != len(shape) or any(
        want not in (-1, have) for want, have in zip(shape, array.shape, strict=True)
    ):
        raise BadParameter(f"array {name} must have the shape {shape}", field=name)
    values = array.astype(np.float64)
    if not np.isfinite(values).all():
        raise BadParameter(f"array {name} holds numbers that are not finite", field=name)
    return values


def _coefficients(arrays: Mapping[str, np.ndarray[Any, Any]], name: str) -> NDArray[np.float32]:
    if name not in arrays:
        return np.zeros(0, np.float32)
    values = real_array(arrays, name, (-1,))
    if len(values) > MAX_COEFFICIENTS:
        raise BadParameter(f"{name} has over {MAX_COEFFICIENTS} coefficients", field=name)
    return _bounded(values, name, 100.0)


def _bounded(values: NDArray[np.float64], name: str, bound: float) -> NDArray[np.float32]:
    if values.size and np.abs(values).max() > bound:
        raise BadParameter(f"{name} must lie within −{bound:g}…{bound:g}", field=name)
    return values.astype(np.float32)


def _passes(params: Mapping[str, Any]) -> tuple[str, ...]:
    wanted = params.get("passes", list(RENDER_PASSES))
    if not isinstance(wanted, list) or not wanted:
        raise BadParameter("passes must be a list of pass names", field="passes")
    names = tuple(str(name) for name in cast("list[Any]", wanted))
    unknown = [name for name in names if name not in RENDER_PASSES]
    if unknown or len(set(names)) != len(names):
        raise BadParameter(f"passes may be {', '.join(RENDER_PASSES)}, each once", field="passes")
    return names
