"""Which model server this Blender uses: settings, the local server, and clients to it.

A process has one `Connection` (`current()`). A server on this machine is started by it and
restarted by it after a crash; a remote one is waited for. Everything here may be called from
Blender's main thread and from render threads; what blocks says so.
"""

# pyright: reportAttributeAccessIssue=false, reportOptionalMemberAccess=false
# pyright: reportIncompatibleMethodOverride=false, reportMissingModuleSource=false
# (Blender's stubs: unions of all data types, Optionals that never are None, other parameter names)

from __future__ import annotations

import contextlib
import os
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal
from urllib.parse import urlsplit

import bpy

from .contract.errors import DressformError, SetupError
from .local_server import PYTHON_VARIABLE, LocalServer, server_command

if TYPE_CHECKING:
    from collections.abc import Callable

    from .client import Client
    from .contract.wire import Reply
    from .scene.subjects import RenderRequest

ENDPOINT_VARIABLE = "DRESSFORM_ENDPOINT"
LIBRARY_VARIABLE = "DRESSFORM_LIBRARY"

ATTEMPT_SECONDS = 120.0
"""What one attempt at one frame may take before it is tried again."""

PATIENCE_SECONDS = 600.0
"""How long a frame waits for its server, across retries and a restart."""

FIRST_PATIENCE_SECONDS = 60.0
"""How long, when that server has never answered yet: its address may be wrong."""

State = Literal["stopped", "starting", "running", "remote", "failed"]


@dataclass(frozen=True, kw_only=True)
class ServerSettings:
    """What preferences and environment say.

    Attributes:
        endpoint: of a server started by someone else; empty for one of our own.
        python: interpreter of a Dressform checkout's environment; empty to look for the command.
        library: folder of model packages; empty for the server's default.
        device: "auto", "cpu" or "cuda:0".
    """

    endpoint: str = ""
    python: str = ""
    library: str = ""
    device: str = "auto"


def settings() -> ServerSettings:
    """Return the settings; environment variables win over preferences."""
    addon = bpy.context.preferences.addons.get(__package__ or "")
    stored = addon.preferences if addon else None

    def value(variable: str, name: str) -> str:
        return os.environ.get(variable, "").strip() or str(getattr(stored, name, "")).strip()

    return ServerSettings(
        endpoint=value(ENDPOINT_VARIABLE, "endpoint"),
        python=value(PYTHON_VARIABLE, "server_python"),
        library=value(LIBRARY_VARIABLE, "library"),
        device=str(getattr(stored, "device", "auto")),
    )


def is_loopback(endpoint: str) -> bool:
    """Tell whether a ZeroMQ endpoint stays on this machine."""
    if endpoint.startswith(("ipc://", "inproc://")):
        return True
    return (urlsplit(endpoint).hostname or "") in ("127.0.0.1", "localhost", "::1")


def check_allowed(endpoint: str) -> None:
    """Refuse another machine while Blender's online access is off.

    Raises:
        SetupError: the endpoint is not on this machine and Blender is offline.
    """
    if not is_loopback(endpoint) and not bpy.app.online_access:
        raise SetupError(
            f"{endpoint} is another machine and Blender's online access is off",
            "allow it in Preferences > System > Network, or reach the server through `ssh -L`",
        )


class Connection:
    """The server that this Blender talks to; owns the local one."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._local: LocalServer | None = None
        self._starting: threading.Thread | None = None
        self._is_starting = False
        self._met: set[str] = set()
        self.error: DressformError | None = None

    @property
    def state(self) -> State:
        """What the panel shows; never blocks."""
        if self._is_starting:
            return "starting"
        if settings().endpoint:
            return "remote"
        local = self._local
        if local is not None and local.alive():
            return "running"
        return "failed" if self.error is not None else "stopped"

    def known_endpoint(self) -> str:
        """Return the endpoint if there is one already, else an empty text; never blocks."""
        wanted = settings()
        if wanted.endpoint:
            return wanted.endpoint
        return self._local.endpoint if self._local is not None else ""

    def endpoint(self) -> str:
        """Return the endpoint; start the local server if none runs (blocks for seconds).

        Raises:
            SetupError: no server is known, or the endpoint is not allowed.
            ServerUnreachable: the server did not start.
        """
        wanted = settings()
        if wanted.endpoint:
            check_allowed(wanted.endpoint)
            return wanted.endpoint
        with self._lock:
            self.error = None
            self._is_starting = self._local is None or not self._local.alive()
            try:
                if self._local is None:
                    self._local = self._start(wanted)
                elif not self._local.alive():
                    self._local.ensure_running()
            except DressformError as error:
                self.error = error
                raise
            finally:
                self._is_starting = False
            return self._local.endpoint

    def _start(self, wanted: ServerSettings) -> LocalServer:
        return LocalServer.start(
            server_command(wanted.python),
            library=Path(wanted.library) if wanted.library else None,
            log=log_file(),
            options=("--device", wanted.device),
        )

    def start_in_background(self) -> None:
        """Start the local server in a thread; `error` holds what went wrong."""
        if self._starting is not None and self._starting.is_alive():
            return

        def start() -> None:
            with contextlib.suppress(DressformError):  # kept in `error`
                self.endpoint()

        self._starting = threading.Thread(target=start, name="dressform-start", daemon=True)
        self._starting.start()

    def revive(self) -> None:
        """Restart the local server if it died; a remote one is somebody else's (blocks)."""
        if settings().endpoint:
            return
        with self._lock:
            if self._local is not None:
                self._local.ensure_running()

    def stop(self) -> None:
        """Stop the local server, if there is one (blocks for a moment)."""
        with self._lock:
            self.error = None
            if self._local is not None:
                self._local.stop()
                self._local = None

    def render(
        self,
        client: Client,
        request: RenderRequest,
        *,
        should_stop: Callable[[], bool] | None = None,
        when_lost: Callable[[], None] | None = None,
    ) -> Reply:
        """Render one person or portrait on the server, with patience for a restart (blocks).

        Args:
            should_stop: asked every 50 ms.
            when_lost: called when the server is gone and is waited for.

        Raises:
            DressformError: as the server's, or that it cannot be reached.
        """

        def revive() -> None:
            if when_lost is not None:
                when_lost()
            self.revive()

        params, arrays = request.to_wire()
        reply = client.call(
            request.operation,
            params,
            arrays,
            timeout=ATTEMPT_SECONDS,
            patience=(PATIENCE_SECONDS if client.endpoint in self._met else FIRST_PATIENCE_SECONDS),
            should_stop=should_stop,
            revive=revive,
        )
        self._met.add(client.endpoint)
        return reply


def log_file() -> Path:
    """Return where the local server's output goes (the extension's own folder)."""
    package = __package__ or ""
    if package.startswith("bl_ext."):
        folder = Path(bpy.utils.extension_path_user(package, path="logs", create=True))
    else:
        folder = Path(bpy.app.tempdir)
    return folder / "server.log"


_connection = Connection()


def current() -> Connection:
    """Return this process's connection."""
    return _connection
