"""The operations of wire version 1: what each takes, and its limits.

Pure parsing from `wire.Request` to a typed value. What fails raises `BadParameter` or
`BadPose` and names the field. Unknown fields are ignored.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np

from .avatar_look import parse_look
from .camera import Camera
from .errors import BadParameter, UnsupportedVersion
from .fields import chosen, integer, real_array, text
from .pose import check_rotations
from .versions import WIRE_VERSION

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from .avatar_look import AvatarLook
    from .wire import Request

HELLO = "hello"
HEALTH = "health"
LIBRARY_LIST = "library.list"
LIBRARY_PREVIEW = "library.preview"
BODY_TEMPLATE = "body.template"
AVATAR_RENDER = "avatar.render"
JOB_CANCEL = "job.cancel"

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

    def to_wire(self) -> dict[str, NDArray[np.float32]]:
        """Return the arrays of a request."""
        return {
            "pose": self.pose,
            "transl": self.transl,
            "betas": self.betas,
            "expression": self.expression,
        }


@dataclass(frozen=True, kw_only=True)
class AvatarRender:
    """`avatar.render`: one frame of one avatar.

    Params on the wire: avatar (str), width, height (int), passes (list of str, default all),
    priority (str, default "final"), stream (str, optional: of one viewport's frames only the
    newest is rendered, older ones end with `Superseded`), look (map, optional: see
    `avatar_look.AvatarLook`; the avatar's own otherwise). Arrays: pose (55, 3, 3), transl (3,),
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
    look: AvatarLook | None = None

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
        if self.look is not None:
            params["look"] = self.look.to_wire()
        return params, self.body.to_wire() | self.camera.to_wire()


def parse_avatar_render(request: Request) -> AvatarRender:
    """Read an `avatar.render` request.

    Raises:
        BadParameter: a field is missing or out of range; names it.
        BadPose: the pose is not 55 rotations.
    """
    params = request.params
    camera = camera_of(request)
    return AvatarRender(
        avatar=text(params, "avatar"),
        body=body_of(request.arrays),
        camera=camera,
        passes=chosen(params, "passes", RENDER_PASSES, RENDER_PASSES, least=1),
        priority=priority_of(params),
        stream=text(params, "stream", default=""),
        look=parse_look(params["look"]) if params.get("look") is not None else None,
    )


def body_of(arrays: Mapping[str, np.ndarray[Any, Any]]) -> PosedBody:
    """Return the body of a request: arrays pose (55, 3, 3), transl (3,), betas, expression.

    Raises:
        BadParameter: a field is missing or out of range; names it.
        BadPose: the pose is not 55 rotations.
    """
    return PosedBody(
        pose=check_rotations(real_array(arrays, "pose", (55, 3, 3))),
        transl=_bounded(real_array(arrays, "transl", (3,)), "transl", MAX_TRANSLATION_METRES),
        betas=coefficients(arrays, "betas"),
        expression=coefficients(arrays, "expression"),
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


def priority_of(params: Mapping[str, Any]) -> Priority:
    """Return the request's priority, "final" when it names none."""
    priority = text(params, "priority", default="final")
    if priority not in PRIORITIES:
        raise BadParameter(f"priority must be one of {', '.join(PRIORITIES)}")
    return priority


def coefficients(arrays: Mapping[str, np.ndarray[Any, Any]], name: str) -> NDArray[np.float32]:
    """Return shape or expression coefficients (n,), none when they are left out."""
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
