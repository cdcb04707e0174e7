"""One finished frame: people and portraits rendered by the server, laid over each other. No bpy.

Shared by final frames and tests; the viewport composites with the same functions.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..contract.errors import BadMessage
from ..contract.versions import PROJECT_VERSION
from .pixels import Layer, composite, layer_from_reply

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ..contract.camera import Camera
    from ..contract.operations import Priority
    from ..contract.wire import Reply
    from ..scene.subjects import RenderRequest, Subject


@dataclass(frozen=True, kw_only=True)
class RenderedFrame:
    """A frame of all subjects.

    Attributes:
        layer: the composite, linear, top row first.
        digests: package id → digest of the package that made its pixels.
    """

    layer: Layer
    digests: dict[str, str]


def requests_of(
    subjects: Sequence[Subject],
    camera: Camera,
    passes: tuple[str, ...],
    *,
    priority: Priority = "final",
    stream: str = "",
) -> list[RenderRequest]:
    """Return what to ask the server for, one request for each subject."""
    return [subject.request(camera, passes, priority, stream) for subject in subjects]


def layer_of(reply: Reply, request: RenderRequest, scale: float) -> Layer:
    """Check a reply's arrays and return them as a layer.

    Raises:
        BadMessage: an array is missing or has another shape or dtype than asked for.
    """
    height, width = request.camera.height, request.camera.width
    expected = {
        "rgba": ((height, width, 4), np.uint8),
        "depth": ((height, width), np.float32),
        "masks": ((height, width, 3), np.uint8),
        "labels": ((height, width), np.uint8),
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
        reply.arrays.get("labels"),
    )


def render_frame(
    subjects: Sequence[Subject],
    camera: Camera,
    ask: Callable[[RenderRequest, str], Reply],
    *,
    masks: bool,
    labels: bool = False,
    on_subject: Callable[[str, int, int], None],
) -> RenderedFrame:
    """Render all subjects and composite them.

    Args:
        ask: sends one request and waits; gets the subject's name for its messages.
        masks: whether the mask passes are wanted.
        labels: whether the labels pass is wanted.
        on_subject: called with the name, index and count before each subject.
    """
    passes = ("rgba", "depth") + ("masks",) * masks + ("labels",) * labels
    layers: list[Layer] = []
    digests: dict[str, str] = {}
    for index, (subject, request) in enumerate(
        zip(subjects, requests_of(subjects, camera, passes), strict=True)
    ):
        on_subject(subject.name, index, len(subjects))
        reply = ask(request, subject.name)
        layers.append(layer_of(reply, request, subject.scale))
        digests[subject.package] = str(reply.params.get("digest", ""))
    return RenderedFrame(layer=composite(layers, camera.height, camera.width), digests=digests)


def frame_digest(subjects: Sequence[Subject], camera: Camera, digests: dict[str, str]) -> str:
    """Return the digest of everything that a frame's pixels depend on.

    Args:
        digests: package id → package digest.
    """
    digest = hashlib.sha256(PROJECT_VERSION.encode())
    requests = requests_of(subjects, camera, ("rgba", "depth"))
    for subject, request in zip(subjects, requests, strict=True):
        params, arrays = request.to_wire()
        digest.update(repr(sorted(params.items())).encode())
        for package in (subject.package, *subject.others):
            digest.update(digests.get(package, "").encode())
        for name in sorted(arrays):
            digest.update(np.ascontiguousarray(arrays[name]).tobytes())
    return digest.hexdigest()
