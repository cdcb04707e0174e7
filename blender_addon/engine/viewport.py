"""Rendered viewport shading: the newest state goes to the server, the newest image is drawn.

One image is on its way at a time; what changed meanwhile is asked for when it arrives. So a slow
server lowers the frame rate and nothing queues up. A timer polls the socket, so that drawing
never waits.
"""

# pyright: reportAttributeAccessIssue=false, reportOptionalMemberAccess=false
# pyright: reportIncompatibleMethodOverride=false, reportMissingModuleSource=false
# (Blender's stubs: unions of all data types, Optionals that never are None, other parameter names)

from __future__ import annotations

import contextlib
import time
import uuid
import weakref
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import bpy
import gpu
import numpy as np
from gpu_extras.presets import draw_texture_2d

from .. import connection, error_log
from ..client import Client
from ..contract.errors import DeadlineExceeded, DressformError, Superseded, Unavailable
from ..scene.cameras import view_camera
from ..scene.portraits import visible_subjects
from ..scene.subjects import Portrait
from .compose import layer_of, requests_of
from .pace import ATTEMPT_SECONDS, LONGEST_SIDE, POLL_SECONDS
from .pixels import Layer, composite, pass_values

if TYPE_CHECKING:
    from ..contract.camera import Camera
    from ..contract.wire import Reply
    from ..scene.subjects import RenderRequest, Subject

PAINT_SECONDS = 0.4
"""Between two looks at labels that are being painted."""

PAUSE_SECONDS = 1.0
"""Between two attempts while the server is gone or busy."""


@dataclass(kw_only=True)
class _Picture:
    """One image of all subjects: requests, and the layers that came back."""

    subjects: list[Subject]
    camera: Camera
    key: bytes
    requests: list[RenderRequest]
    ids: dict[str, int] = field(default_factory=dict[str, int])
    layers: dict[int, Layer] = field(default_factory=dict[int, Layer])

    @property
    def complete(self) -> bool:
        return len(self.layers) == len(self.requests)


_living: weakref.WeakSet[Viewport] = weakref.WeakSet()


def living() -> list[Viewport]:
    """Return the rendered viewports that are open."""
    return list(_living)


class Viewport:
    """What one rendered 3D viewport shows and waits for; belongs to one engine instance."""

    def __init__(self, engine: bpy.types.RenderEngine) -> None:
        self._engine = engine
        self._stream = f"viewport-{uuid.uuid4().hex[:12]}"
        self._client: Client | None = None
        self._endpoint = ""
        self._sent: _Picture | None = None
        self._wanted: _Picture | None = None
        self._shown_key = b""
        self._not_before = 0.0
        self._texture: gpu.types.GPUTexture | None = None
        _living.add(self)

    @property
    def up_to_date(self) -> bool:
        """Whether the newest state is drawn and nothing is on its way."""
        return self._texture is not None and self._sent is None and self._wanted is None

    def update(self, _context: bpy.types.Context, _depsgraph: bpy.types.Depsgraph) -> None:
        """Ask for a redraw; the scene is read when drawing, with the view that is drawn."""
        self._engine.tag_redraw()

    def draw(self, context: bpy.types.Context, depsgraph: bpy.types.Depsgraph) -> None:
        """Draw what there is, and ask for what is shown now if that is newer."""
        region, view = context.region, context.region_data
        try:
            scale = min(1.0, LONGEST_SIDE / max(region.width, region.height, 1))
            subjects = visible_subjects(depsgraph)
            self._want(subjects, view_camera(region, view, scale))  # pyright: ignore[reportArgumentType]
            self._watch_paint(subjects)
            self._pump()
        except DressformError as error:
            self._tell(error)
        if self._texture is not None:
            gpu.state.blend_set("ALPHA_PREMULT")
            self._engine.bind_display_space_shader(depsgraph.scene)
            draw_texture_2d(self._texture, (0, 0), region.width, region.height)
            self._engine.unbind_display_space_shader()
            gpu.state.blend_set("NONE")

    def close(self) -> None:
        """Let go of the socket; the timer ends by itself."""
        if self._client is not None:
            self._client.close()
            self._client = None

    def __del__(self) -> None:
        # Blender frees its part of an engine first, so only this plain object can clean up.
        self.close()

    def _want(self, subjects: list[Subject], camera: Camera) -> None:
        requests = requests_of(
            subjects, camera, ("rgba", "depth"), priority="interactive", stream=self._stream
        )
        key = _key(requests)
        newest = self._wanted or self._sent
        if key == (newest.key if newest else self._shown_key):
            return
        self._wanted = _Picture(subjects=subjects, camera=camera, key=key, requests=requests)
        self._send()

    def _send(self) -> None:
        """Send the wanted picture if none is on its way."""
        if self._wanted is None or self._sent is not None:
            return
        if time.monotonic() < self._not_before or not self._connect():
            return
        picture, self._wanted = self._wanted, None
        client = self._client
        if client is None:
            return
        for index, request in enumerate(picture.requests):
            params, arrays = request.to_wire()
            identity = client.submit(request.operation, params, arrays, timeout=ATTEMPT_SECONDS)
            picture.ids[identity] = index
        self._sent = picture
        if not picture.requests:
            self._show(picture)

    def _connect(self) -> bool:
        link = connection.current()
        endpoint = link.known_endpoint()
        if not endpoint:
            if link.state == "stopped":
                link.start_in_background()
            self._engine.update_stats("Dressform", "Waiting for the model server")
            self._poll()
            return False
        connection.check_allowed(endpoint)
        if self._client is None or endpoint != self._endpoint:
            if self._client is not None:
                self._client.close()
            self._client, self._endpoint = Client(endpoint), endpoint
        self._poll()
        return True

    def _poll(self) -> None:
        if not bpy.app.timers.is_registered(self._tick):
            bpy.app.timers.register(self._tick, first_interval=POLL_SECONDS)

    def _tick(self) -> float | None:
        try:
            self._engine.is_preview  # noqa: B018 - raises when Blender has freed the engine
            self._pump()
            self._send()
        except ReferenceError:
            return None  # Blender freed the engine
        except DressformError as error:
            self._tell(error)
            return None
        return POLL_SECONDS if self._sent or self._wanted else None

    def _watch_paint(self, subjects: list[Subject]) -> None:
        """Look again in a moment while labels are painted: strokes on an image tell nobody."""
        painted = any(isinstance(s, Portrait) and s.painted is not None for s in subjects)
        if painted and not bpy.app.timers.is_registered(self._look_again):
            bpy.app.timers.register(self._look_again, first_interval=PAINT_SECONDS)

    def _look_again(self) -> None:
        with contextlib.suppress(ReferenceError):  # Blender freed the engine
            self._engine.tag_redraw()

    def _pump(self) -> None:
        if self._client is None or self._sent is None:
            return
        for reply in self._client.pump():
            self._take(reply)

    def _take(self, reply: Reply) -> None:
        picture = self._sent
        if picture is None or reply.id not in picture.ids or reply.kind == "progress":
            return
        index = picture.ids[reply.id]
        try:
            reply.raise_if_error()
            layer = layer_of(reply, picture.requests[index], picture.subjects[index].scale)
        except Superseded:
            self._sent = None
            return
        except (Unavailable, DeadlineExceeded) as error:
            self._try_again(picture, error)
            return
        except DressformError as error:
            self._sent = None
            self._shown_key = picture.key  # do not ask for the same again
            self._tell(error)
            return
        picture.layers[index] = layer
        if picture.complete:
            self._show(picture)

    def _try_again(self, picture: _Picture, error: DressformError) -> None:
        """Ask once more in a moment, for the newest state; a dead local server is restarted."""
        self._tell(error)
        self._sent = None
        if self._wanted is None:
            self._wanted = replace(picture, ids={}, layers={})
        self._not_before = time.monotonic() + PAUSE_SECONDS
        connection.current().start_in_background()

    def _show(self, picture: _Picture) -> None:
        height, width = picture.camera.height, picture.camera.width
        layers = [picture.layers[index] for index in range(len(picture.requests))]
        pixels = pass_values(composite(layers, height, width).rgba)
        data = gpu.types.Buffer("FLOAT", len(pixels), pixels)  # pyright: ignore[reportCallIssue]
        self._texture = gpu.types.GPUTexture((width, height), format="RGBA16F", data=data)  # pyright: ignore[reportCallIssue]
        self._shown_key = picture.key
        self._sent = None
        self._engine.update_stats(
            "Dressform", ", ".join(subject.name for subject in picture.subjects)
        )
        self._engine.tag_redraw()

    def _tell(self, error: DressformError) -> None:
        error_log.record("Viewport", error)
        self._engine.update_stats("Dressform", error_log.sentence(error))


def _key(requests: list[RenderRequest]) -> bytes:
    parts: list[bytes] = []
    for request in requests:
        params, arrays = request.to_wire()
        parts.append(repr(params).encode())
        parts.extend(np.ascontiguousarray(arrays[name]).tobytes() for name in sorted(arrays))
    return b"".join(parts)
