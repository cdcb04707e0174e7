"""One finished frame: every person rendered by the server, laid over each other. No bpy.

Shared by final frames and tests; the viewport composites with the same functions.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

from ..contract.errors import BadMessage
from ..contract.operations import AvatarRender, PosedBody
from ..contract.versions import PROJECT_VERSION
from ..scene.projection import for_scaled_rig
from .pixels import Layer, composite, layer_from_reply

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ..contract.camera import Camera
    from ..contract.operations import Priority
    from ..contract.wire import Reply


class RenderedPerson(Protocol):
    """What a frame needs of a person (`scene.people.Person`)."""

    @property
    def name(self) -> str: ...
    @property
    def avatar(self) -> str: ...
    @property
    def body(self) -> PosedBody: ...
    @property
    def scale(self) -> float: ...


@dataclass(frozen=True, kw_only=True)
class RenderedFrame:
    """A frame of all people.

    Attributes:
        layer: the composite, linear, top row first.
        digests: avatar id → digest of the package that made its pixels.
    """

    layer: Layer
    digests: dict[str, str]


def requests_of(
    people: Sequence[RenderedPerson],
    camera: Camera,
    passes: tuple[str, ...],
    *,
    priority: Priority = "final",
    stream: str = "",
) -> list[AvatarRender]:
    """Return what to ask the server for, one request for each person."""
    return [
        AvatarRender(
            avatar=person.avatar,
            body=person.body,
            camera=for_scaled_rig(camera, person.scale),
            passes=passes,
            priority=priority,
            stream=f"{stream}/{person.name}" if stream else "",
        )
        for person in people
    ]


def layer_of(reply: Reply, request: AvatarRender, scale: float) -> Layer:
    """Check a reply's arrays and return them as a layer.

    Raises:
        BadMessage: an array is missing or has another shape or dtype than asked for.
    """
    height, width = request.camera.height, request.camera.width
    expected = {
        "rgba": ((height, width, 4), np.uint8),
        "depth": ((height, width), np.float32),
        "masks": ((height, width, 3), np.uint8),
    }
    for name in request.passes:
        array = reply.arrays.get(name)
        shape, dtype = expected[name]
        if array is None or array.shape != shape or array.dtype != dtype:
            raise BadMessage(f"the server's {name} is not an image of {width} × {height} pixels")
    depth = reply.arrays.get("depth")
    return layer_from_reply(
        reply.arrays["rgba"],
        np.full((height, width), np.inf, np.float32) if depth is None else depth,
        reply.arrays.get("masks"),
        scale,
    )


def render_frame(
    people: Sequence[RenderedPerson],
    camera: Camera,
    ask: Callable[[AvatarRender, str], Reply],
    *,
    masks: bool,
    on_person: Callable[[str, int, int], None],
) -> RenderedFrame:
    """Render all people and composite them.

    Args:
        ask: sends one request and waits; gets the person's name for its messages.
        masks: whether the mask passes are wanted.
        on_person: called with the name, index and count before each person.
    """
    passes = ("rgba", "depth", "masks") if masks else ("rgba", "depth")
    layers: list[Layer] = []
    digests: dict[str, str] = {}
    for index, (person, request) in enumerate(
        zip(people, requests_of(people, camera, passes), strict=True)
    ):
        on_person(person.name, index, len(people))
        reply = ask(request, person.name)
        layers.append(layer_of(reply, request, person.scale))
        digests[person.avatar] = str(reply.params.get("digest", ""))
    return RenderedFrame(layer=composite(layers, camera.height, camera.width), digests=digests)


def frame_digest(people: Sequence[RenderedPerson], camera: Camera, digests: dict[str, str]) -> str:
    """Return the digest of everything that a frame's pixels depend on.

    Args:
        digests: avatar id → package digest.
    """
    digest = hashlib.sha256(PROJECT_VERSION.encode())
    for request in requests_of(people, camera, ("rgba", "depth")):
        params, arrays = request.to_wire()
        digest.update(repr(sorted(params.items())).encode())
        digest.update(digests.get(request.avatar, "").encode())
        for name in sorted(arrays):
            digest.update(np.ascontiguousarray(arrays[name]).tobytes())
    return digest.hexdigest()
