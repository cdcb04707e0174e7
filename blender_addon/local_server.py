"""A model server on this machine: started, watched, restarted and stopped. Knows no bpy."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import shutil
import subprocess
import sys
import threading
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any, cast

from .client import Client
from .contract.errors import DressformError, ServerUnreachable, SetupError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

log = logging.getLogger(__name__)

PYTHON_VARIABLE = "DRESSFORM_PYTHON"
"""Names the Python of Dressform's environment, e.g. CHECKOUT/.venv/bin/python."""

START_SECONDS = 60.0
STOP_SECONDS = 5.0
ANSWER_SECONDS = 5.0
LAST_WORDS_SECONDS = 2.0

# No console window, a process group of its own.
_WINDOWS_FLAGS = 0x08000000 | 0x00000200 if sys.platform == "win32" else 0


@dataclass(frozen=True, kw_only=True)
class LaunchOptions:
    """How a server is launched.

    Attributes:
        command: what runs `dressform serve`, without its options.
        library: folder of model packages; None for the server's own.
        log: file that the server's log is appended to.
        cwd: working directory; None for this process's.
        options: further options of `dressform serve`.
    """

    command: tuple[str, ...]
    library: Path | None
    log: Path
    cwd: Path | None = None
    options: tuple[str, ...] = ()


def server_command(python: str = "") -> list[str]:
    """Return the command that runs `dressform serve` on this machine.

    Args:
        python: the Python of Dressform's environment, as the user set it; else the environment
            variable DRESSFORM_PYTHON, else the `dressform` command on PATH.

    Raises:
        SetupError: none of the three is there.
    """
    chosen = python or os.environ.get(PYTHON_VARIABLE, "")
    if chosen:
        found = shutil.which(os.path.expanduser(chosen))  # noqa: PTH111 - a text that may be no path
        if found is None:
            raise SetupError(
                f"there is no Python at {chosen}",
                "set the path of .venv's python in the preferences of the Dressform extension",
            )
        return [found, "-m", "scripts.cli", "serve"]
    command = shutil.which("dressform")
    if command is None:
        raise SetupError(
            "Dressform's server is not installed where Blender can find it",
            "run `python scripts/demo.py` in a checkout of Dressform, then set the path of its "
            f".venv's python in the extension's preferences or as {PYTHON_VARIABLE}",
        )
    return [command, "serve"]


class LocalServer:
    """A `dressform serve` process that this one started; made by `start`.

    It exits by itself when this process is gone. Methods may be called from any thread.
    """

    def __init__(self, launch: LaunchOptions, endpoint: str) -> None:
        self._launch = launch
        self._endpoint = endpoint
        self._process: subprocess.Popen[bytes] | None = None
        self._lock = threading.RLock()

    @classmethod
    def start(
        cls,
        command: Sequence[str],
        *,
        endpoint: str = "tcp://127.0.0.1:0",
        library: Path | None = None,
        log: Path,
        cwd: Path | None = None,
        options: Sequence[str] = (),
    ) -> LocalServer:
        """Start a server and wait until it listens.

        Args:
            command: from `server_command`.
            endpoint: to listen at; port 0 takes a free one.
            library: folder of model packages; None for the server's own.
            log: file that the server's log is appended to.
            cwd: working directory of the server.
            options: further options of `dressform serve`.

        Raises:
            ServerUnreachable: it does not start; the cause holds its last words.
            SetupError: there is no such command.
        """
        launch = LaunchOptions(
            command=tuple(command), library=library, log=log, cwd=cwd, options=tuple(options)
        )
        server = cls(launch, endpoint)
        server._spawn()
        return server

    @property
    def endpoint(self) -> str:
        """Where it listens, with the real port."""
        return self._endpoint

    @property
    def pid(self) -> int:
        """Number of its process; 0 when it does not run."""
        process = self._process
        return process.pid if process is not None and process.poll() is None else 0

    def alive(self) -> bool:
        """Whether its process runs."""
        return self.pid != 0

    def ensure_running(self) -> None:
        """Restart it at the same endpoint if it died, or if it no longer answers.

        Raises:
            ServerUnreachable: it does not start any more.
        """
        with self._lock:
            if self.alive() and self._answers():
                return
            self._kill()
            log.warning("restarting the server endpoint=%s", self._endpoint)
            self._spawn()

    def stop(self) -> None:
        """End it; returns when it is gone."""
        with self._lock:
            process = self._process
            if process is None:
                return
            if process.poll() is None:
                process.terminate()
                try:
                    process.wait(STOP_SECONDS)
                except subprocess.TimeoutExpired:
                    log.warning("the server does not stop; killed pid=%d", process.pid)
            self._kill()

    def _answers(self) -> bool:
        try:
            with Client(self._endpoint) as client:
                client.hello(timeout=ANSWER_SECONDS)
        except DressformError:
            return False
        return True

    def _kill(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        if process.poll() is None:
            process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()

    def _spawn(self) -> None:
        launch = self._launch
        arguments = [*launch.command, "--endpoint", self._endpoint]
        arguments += ["--parent-pid", str(os.getpid()), *launch.options]
        if launch.library is not None:
            arguments += ["--library", str(launch.library)]
        launch.log.parent.mkdir(parents=True, exist_ok=True)
        with launch.log.open("ab") as log_file:
            before = log_file.tell()
            process = _launched(arguments, launch.cwd, log_file)
        self._process = process
        ready = _first_line(process, START_SECONDS)
        if ready is None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(LAST_WORDS_SECONDS)  # it may be about to say why
            self._kill()
            raise ServerUnreachable(
                f"the server did not start: {_last_words(launch.log, before)}",
                f"see its log, {launch.log}",
            )
        self._endpoint = str(ready["endpoint"])


def _launched(
    arguments: list[str], cwd: Path | None, log_file: IO[bytes]
) -> subprocess.Popen[bytes]:
    try:
        return subprocess.Popen(
            arguments,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log_file,
            cwd=cwd,
            env=_environment(),
            # A terminal's Ctrl-C, meant for this process, must not end the server's work.
            start_new_session=True,
            creationflags=_WINDOWS_FLAGS,
        )
    except OSError as error:
        raise SetupError(
            f"the server cannot be started with {arguments[0]}: {error.strerror}",
            "set the path of .venv's python in the preferences of the Dressform extension",
        ) from error


def _first_line(process: subprocess.Popen[bytes], seconds: float) -> dict[str, Any] | None:
    """Return the JSON of the ready line; None when the process ends or says something else."""
    lines: list[bytes] = []
    stream = process.stdout
    if stream is None:
        return None
    # A pipe cannot be polled on Windows: a thread reads, and ends with the process at the latest.
    reader = threading.Thread(target=lambda: lines.append(stream.readline()), daemon=True)
    reader.start()
    reader.join(seconds)
    if reader.is_alive():
        process.kill()
        reader.join()
        return None
    try:
        said = json.loads(lines[0])
    except ValueError:
        return None
    if not isinstance(said, dict) or not said.get("ready"):
        return None
    return cast("dict[str, Any]", said)


def _last_words(file: Path, start: int) -> str:
    """Return the end of what a server wrote to its log, in one line."""
    try:
        written = file.read_bytes()[start:].decode(errors="replace").strip()
    except OSError:
        return "it wrote no log"
    return " ".join(written[-600:].split()) or "it wrote nothing to its log"


def _environment() -> dict[str, str]:
    # Blender's own Python must not leak into the server's.
    return {name: value for name, value in os.environ.items() if name != "PYTHONHOME"}
