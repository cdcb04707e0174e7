"""Clients that ask the server as Blender's do: a viewport that is orbited, a fit that is watched."""

from __future__ import annotations

import time
import uuid
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from blender_addon.client import Client
from blender_addon.contract.camera import look_at
from blender_addon.contract.operations import AvatarRender
from blender_addon.contract.wardrobe import FIT_STAGES
from blender_addon.engine.pace import ATTEMPT_SECONDS, LONGEST_SIDE

if TYPE_CHECKING:
    from blender_addon.contract.camera import Camera
    from blender_addon.contract.operations import PosedBody
    from blender_addon.contract.wardrobe import AvatarFit

PATIENCE = 1800.0
"""Seconds that a fit may take."""

_WIDE = 16 / 9
_DISTANCE, _FIELD = 4.0, 1.95
"""Metres to the person, and seen at that distance from the lower to the upper edge: all of them."""
_MIDDLE = np.array([0.0, -0.4, 0.0])
"""Of somebody who stands, metres: bodies have their origin in the hips."""
_TURN = 0.05
"""Radians between two frames."""


def orbit_camera(angle: float, width: int, height: int) -> Camera:
    """Return a camera that sees all of a standing person, so many radians from the front."""
    return look_at(
        _MIDDLE + _DISTANCE * np.array([np.sin(angle), 0.0, np.cos(angle)]),
        _MIDDLE,
        np.array([0.0, 1.0, 0.0]),
        focal=height * _DISTANCE / _FIELD,
        width=width,
        height=height,
    )


class LiveViewport:
    """An orbit round somebody that goes on as long as `pump` is called.

    As in a rendered viewport one frame is on its way at a time; the next state is asked for when it
    has come (`blender_addon/engine/viewport.py`).

    Args:
        endpoint: of the server.
        avatar: who is seen.
        body: in which pose.
        longest: side of the pictures in pixels.

    Attributes:
        latencies: seconds of each frame from asking to having it.
    """

    def __init__(
        self, endpoint: str, avatar: str, body: PosedBody, longest: int = LONGEST_SIDE
    ) -> None:
        self._client = Client(endpoint)
        self._longest = longest
        self._number = 0
        self._request = AvatarRender(
            avatar=avatar,
            body=body,
            camera=orbit_camera(0.0, longest, round(longest / _WIDE)),
            passes=("rgba", "depth"),
            priority="interactive",
            stream=f"viewport-{uuid.uuid4().hex[:12]}",
        )
        self._sent: tuple[str, float] | None = None
        self.latencies: list[float] = []

    def pump(self) -> float | None:
        """Take a frame that has come and ask for the next one; returns its latency, if one came.

        Raises:
            DressformError: the server refuses.
        """
        took: float | None = None
        for reply in self._client.pump():
            if reply.kind == "progress" or self._sent is None or reply.id != self._sent[0]:
                continue
            reply.raise_if_error()
            took = time.monotonic() - self._sent[1]
            self.latencies.append(took)
            self._sent = None
        if self._sent is None:
            self._ask()
        return took

    def close(self) -> None:
        """Let go of the socket; what is on its way is dropped by the server."""
        self._client.close()

    def _ask(self) -> None:
        self._number += 1
        height = round(self._longest / _WIDE)
        camera = orbit_camera(_TURN * self._number, self._longest, height)
        asked = replace(self._request, camera=camera)
        sent = self._client.submit(asked.operation, *asked.to_wire(), timeout=ATTEMPT_SECONDS)
        self._sent = (sent, time.monotonic())


class LiveFit:
    """A fit in the server; `pump` takes what it says.

    Args:
        client: which nobody else pumps.
        asked: the request, which is sent at once.

    Attributes:
        asked: the request.
        stage: that it is at.
        reached: when the first word of each stage came, by the monotonic clock.
        pictures: stages of which a picture came.
        seconds: that it took, once it has ended.
    """

    def __init__(self, client: Client, asked: AvatarFit) -> None:
        self._client = client
        self.asked = asked
        self.stage: str = FIT_STAGES[0]
        self.reached: dict[str, float] = {}
        self.pictures: set[str] = set()
        self.seconds: float | None = None
        self._since = time.monotonic()
        self._sent = client.submit(asked.operation, *asked.to_wire(), timeout=PATIENCE)

    def pump(self) -> None:
        """Note what the server says.

        Raises:
            DressformError: the fit failed.
        """
        for reply in self._client.pump():
            if reply.id != self._sent:
                continue
            if reply.kind != "progress":
                reply.raise_if_error()
                self.seconds = time.monotonic() - self._since
            elif "stage" in reply.params:
                self.stage = str(reply.params["stage"])
                self.reached.setdefault(self.stage, time.monotonic())
                if "preview" in reply.arrays:
                    self.pictures.add(self.stage)

    def cancel(self) -> None:
        """Give it up; nothing more comes of it."""
        self._client.cancel(self._sent)

    def lasted(self) -> dict[str, float]:
        """Return the seconds from the first word of each stage to the next one's, or to the end."""
        ends = [*list(self.reached.values())[1:], self._since + (self.seconds or 0.0)]
        return {
            name: end - began for (name, began), end in zip(self.reached.items(), ends, strict=True)
        }
