"""How jobs ask the server for anything but frames: samples, fits, saved packages. No bpy.

The functions block: they are called from jobs, or in background mode.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from .client import Client

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from .contract.wire import Reply

SAMPLE_SECONDS = 120.0
JOB_SECONDS = 3600.0
PATIENCE_SECONDS = 180.0


@dataclass(frozen=True, kw_only=True)
class Server:
    """Where to ask, and how to be interrupted.

    Attributes:
        endpoint: starts the server if need be and returns where it listens (blocks).
        revive: restarts a server of our own that died (blocks).
        should_stop: asked every 50 ms.
    """

    endpoint: Callable[[], str]
    revive: Callable[[], None]
    should_stop: Callable[[], bool] = lambda: False


@dataclass(frozen=True, kw_only=True)
class FitProgress:
    """Where a fit to a photograph stands.

    Attributes:
        stage: one of the operation's stages, or what it waits for.
        share: of the whole, 0…1.
        seconds_left: when known.
        preview: (h, w, 3) uint8: the photograph and what has been made of it.
    """

    stage: str = "Waiting for the server"
    share: float = 0.0
    seconds_left: float | None = None
    preview: NDArray[np.uint8] | None = None

    @property
    def text(self) -> str:
        """One line for a progress bar."""
        if self.seconds_left is None:
            return self.stage
        minutes = self.seconds_left / 60
        left = f"{minutes:.0f} min left" if minutes >= 1 else "under a minute left"
        return f"{self.stage}, {left}"


def call(
    server: Server,
    operation: str,
    params: dict[str, Any],
    arrays: dict[str, np.ndarray[Any, Any]],
    seconds: float = SAMPLE_SECONDS,
    on_progress: Callable[[Reply], None] | None = None,
) -> Reply:
    """Send one request and wait for its result.

    Args:
        seconds: that one attempt may take.
        on_progress: gets progress replies.

    Raises:
        DressformError: as the server's.
    """
    with Client(server.endpoint(), silence=60.0) as client:
        return client.call(
            operation,
            params,
            arrays,
            timeout=seconds,
            patience=max(seconds, PATIENCE_SECONDS),
            should_stop=server.should_stop,
            on_progress=on_progress,
            revive=server.revive,
        )


def stages(on_progress: Callable[[FitProgress], None]) -> Callable[[Reply], None]:
    """Return what reads a fit's progress replies: the last preview stays until the next."""
    shown = FitProgress()

    def tell(reply: Reply) -> None:
        nonlocal shown
        stage = reply.params.get("stage")
        if isinstance(stage, str):
            left = reply.params.get("seconds_left")
            shown = FitProgress(
                stage=stage.capitalize(),
                share=min(max(float(reply.params.get("share", 0.0)), 0.0), 1.0),
                seconds_left=float(left) if isinstance(left, int | float) else None,
                preview=_picture(reply.arrays.get("preview"), shown.preview),
            )
        on_progress(shown)

    return tell


def texts(values: Any) -> tuple[str, ...]:
    """Return a reply's list of names; none when it has no such list."""
    return tuple(str(value) for value in values) if isinstance(values, list) else ()


def _picture(preview: Any, last: NDArray[np.uint8] | None) -> NDArray[np.uint8] | None:
    if preview is None or preview.ndim != 3 or preview.shape[2] != 3 or preview.dtype != np.uint8:
        return last
    return preview
