"""From a character on disk to an avatar in the library: sweep, send, train. Knows no bpy.

One function, `make_neural`, that blocks; the panel runs it in a thread, scripts and background
Blenders call it. All it does can be resumed: asked again with the same order it goes on where
it stopped, whichever process died in between.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from queue import Empty, Queue
from typing import TYPE_CHECKING, Any, cast

from . import library
from .client import Client
from .contract.avatar_train import AVATAR_TRAIN, AvatarTrain
from .contract.capture import DESCRIPTION_FILE
from .contract.errors import Cancelled, InternalError, from_wire
from .upload import send_capture

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from .contract.wire import Reply

ORDER_FILE = "order.json"
CHARACTER_FILE = "character.blend"
CAPTURE_FOLDER = "capture"
LOG_FILE = "capture.log"

LAUNCHER = Path(__file__).parent / "capture" / "launch.py"

ATTEMPT_SECONDS = 24 * 3600.0
PATIENCE_SECONDS = 24 * 3600.0
"""A training waits that long for its server: it may be restarted or its machine rebooted."""

SILENCE_SECONDS = 60.0
"""Longer than for renders: a busy machine may be slow to say that it lives."""

RENDERED, SENT = 0.45, 0.5
"""Shares of the whole at which the next stage begins."""

_POLL_SECONDS = 0.05
_END_SECONDS = 5.0


@dataclass(frozen=True, kw_only=True)
class Order:
    """What is to be made.

    Attributes:
        name: of the avatar, as people read it.
        avatar: its id, "avatar-…".
        rig: name of the character's armature object.
        frames: to train on.
        held_out: to measure on.
        size: side of the images in pixels.
        samples: of Cycles per pixel.
        lights: "studio", or "scene" for the scene's own.
        licence: of the images.
        minutes: of training; None for the recipe's own.
        steps: of training instead; None for minutes.
        recipe: of training; empty for the server's choice.
        replace: whether an avatar of this id may be replaced.
    """

    name: str
    avatar: str
    rig: str
    frames: int = 200
    held_out: int = 20
    size: int = 512
    samples: int = 12
    lights: str = "studio"
    licence: str = "not stated"
    minutes: float | None = None
    steps: int | None = None
    recipe: str = ""
    replace: bool = False

    def save(self, folder: Path) -> None:
        """Write the order into its folder."""
        folder.mkdir(parents=True, exist_ok=True)
        part = folder / f"{ORDER_FILE}.part"
        part.write_text(json.dumps(asdict(self), indent=1), encoding="utf-8")
        part.replace(folder / ORDER_FILE)

    @classmethod
    def load(cls, folder: Path) -> Order | None:
        """Return the order that a folder holds, or None."""
        try:
            found = json.loads((folder / ORDER_FILE).read_text(encoding="utf-8"))
            known = {field.name for field in fields(cls)}
            return cls(**{name: value for name, value in found.items() if name in known})
        except (OSError, ValueError, TypeError, AttributeError):
            return None


@dataclass(frozen=True, kw_only=True)
class Progress:
    """Where it stands.

    Attributes:
        stage: "Rendering", "Sending", "Preparing", "Training" or "Writing".
        share: of the whole, 0…1.
        detail: "12 of 240 frames", "step 100".
        seconds_left: of the whole, or None while nobody knows.
        preview: (H, W, 3) uint8 sRGB: the character's frames beside the avatar's, when there.
    """

    stage: str
    share: float
    detail: str = ""
    seconds_left: float | None = None
    preview: NDArray[np.uint8] | None = None

    @property
    def text(self) -> str:
        """One line for a progress bar."""
        parts = [self.stage, self.detail]
        if self.seconds_left is not None:
            minutes = self.seconds_left / 60
            parts.append(f"{minutes:.0f} min left" if minutes >= 1 else "under a minute left")
        return ", ".join(part for part in parts if part)


@dataclass(frozen=True, kw_only=True)
class Surroundings:
    """How the service reaches the rest of the world.

    Attributes:
        blender: command that runs a Python script in a Blender without a window; the script's
            path and options follow it.
        endpoint: starts the server if need be and returns where it listens (blocks).
        revive: restarts a server of our own that died (blocks).
    """

    blender: Sequence[str]
    endpoint: Callable[[], str]
    revive: Callable[[], None]


def blender_command(binary: str) -> list[str]:
    """Return the command that runs a script in the background.

    Args:
        binary: `bpy.app.binary_path`; empty where bpy is a module of a Python.
    """
    if binary:
        return [binary, "-b", "--python-exit-code", "1", "-P"]
    return [sys.executable]


def make_neural(
    order: Order,
    folder: Path,
    around: Surroundings,
    *,
    should_stop: Callable[[], bool] = lambda: False,
    on_progress: Callable[[Progress], None] = lambda _: None,
) -> library.Avatar:
    """Make an avatar of the character in a folder (blocks, for minutes to hours).

    Args:
        order: what is wanted.
        folder: holds `CHARACTER_FILE`; frames and log land there. What an interrupted attempt
            at the same character left there is used.
        around: Blender and server.
        should_stop: asked at least every 50 ms; what is done by then is kept.
        on_progress: gets `Progress`, often.

    Returns:
        the new avatar, as the library lists it; `library.known` holds its preview.

    Raises:
        Cancelled: `should_stop` said so.
        BadCharacter: the character cannot be captured.
        DressformError: whatever else went wrong, with its next step.
    """
    order.save(folder)
    capture = folder / CAPTURE_FOLDER
    if not (capture / DESCRIPTION_FILE).is_file():
        _sweep(order, folder, around.blender, should_stop, on_progress)
    endpoint = around.endpoint()
    with Client(endpoint, silence=SILENCE_SECONDS) as client:
        on_progress(Progress(stage="Sending", share=RENDERED))
        sent = send_capture(
            client,
            capture,
            on_progress=lambda share: on_progress(_sending(share)),
            should_stop=should_stop,
            revive=around.revive,
        )
        made = _train(client, order, sent, around, should_stop, on_progress)
    # A replaced avatar has a new picture.
    library.known.previews.pop(made, None)
    library.fetch(endpoint, should_stop=should_stop, revive=around.revive)
    return library.known.avatar(made)


def sweep_words(order: Order, folder: Path) -> list[str]:
    """Return the options of the capture command."""
    return [
        str(folder / CHARACTER_FILE),
        *("--out", str(folder / CAPTURE_FOLDER)),
        *("--id", order.avatar),
        *("--rig", order.rig),
        *("--licence", order.licence),
        *("--frames", str(order.frames)),
        *("--held-out", str(order.held_out)),
        *("--size", str(order.size)),
        *("--samples", str(order.samples)),
        *("--held-out-samples", str(2 * order.samples)),
        *("--lights", order.lights),
        "--no-depth",
    ]


def _sweep(
    order: Order,
    folder: Path,
    blender: Sequence[str],
    should_stop: Callable[[], bool],
    on_progress: Callable[[Progress], None],
) -> None:
    """Render the frames in a Blender of its own, reading its progress lines."""
    on_progress(Progress(stage="Rendering", share=0.0, detail="starting Blender"))
    command = [*blender, str(LAUNCHER), "--", *sweep_words(order, folder)]
    log = folder / LOG_FILE
    spent: list[float] = []
    with log.open("wb") as errors, _started(command, errors) as process:
        last: dict[str, Any] = {}
        for line in _lines(process, should_stop):
            said = _json(line)
            if "frame" in said:
                if not said.get("kept"):
                    spent.append(float(said["seconds"]))
                on_progress(_rendering(said, spent, order))
            last = said or last
        code = process.wait()
    if "error" in last:
        raise from_wire(cast("dict[str, Any]", last["error"]))
    if code != 0 or "capture" not in last:
        raise InternalError(
            f"the background Blender ended with code {code} before the capture was whole: "
            f"{_last_words(log)}",
            f"see its log, {log}",
        )


def _rendering(said: dict[str, Any], spent: list[float], order: Order) -> Progress:
    done, count = int(said["frame"]), max(int(said["of"]), 1)
    left = None
    if spent:
        left = (count - done) * sum(spent[-20:]) / len(spent[-20:]) + 60 * (order.minutes or 0.0)
    return Progress(
        stage="Rendering",
        share=RENDERED * done / count,
        detail=f"{done} of {count} frames",
        seconds_left=left,
    )


def _sending(share: float) -> Progress:
    return Progress(
        stage="Sending", share=RENDERED + (SENT - RENDERED) * share, detail=f"{share:.0%}"
    )


def _train(
    client: Client,
    order: Order,
    capture: str,
    around: Surroundings,
    should_stop: Callable[[], bool],
    on_progress: Callable[[Progress], None],
) -> str:
    asked = AvatarTrain(
        capture=capture,
        name=order.name,
        avatar=order.avatar,
        recipe=order.recipe,
        minutes=order.minutes,
        steps=order.steps,
        replace=order.replace,
    )
    shown = Progress(stage="Preparing", share=SENT)

    def tell(reply: Reply) -> None:
        nonlocal shown
        params = reply.params
        stage = params.get("stage")
        if isinstance(stage, str):
            step = int(params.get("step", 0))
            shown = Progress(
                stage=stage.capitalize(),
                share=SENT + (1.0 - SENT) * float(params.get("share", 0.0)),
                detail=f"step {step}" if step else "",
                seconds_left=params.get("seconds_left"),
                preview=reply.arrays.get("preview", shown.preview),
            )
        elif params.get("state") == "queued":
            shown = replace(shown, stage="Waiting for the server", seconds_left=None)
        on_progress(shown)

    on_progress(shown)
    reply = client.call(
        AVATAR_TRAIN,
        asked.to_wire(),
        timeout=ATTEMPT_SECONDS,
        patience=PATIENCE_SECONDS,
        should_stop=should_stop,
        on_progress=tell,
        revive=around.revive,
    )
    return str(reply.params["avatar"])


@contextmanager
def _started(command: list[str], errors: Any) -> Generator[subprocess.Popen[bytes]]:
    """Run a process; when this is left early, it is ended with all that it started."""
    flags = getattr(subprocess, "CREATE_NO_WINDOW", 0)
    try:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
            start_new_session=True,
            creationflags=flags,
        )
    except OSError as error:
        raise InternalError(f"{command[0]} cannot be started: {error.strerror}") from error
    try:
        yield process
    finally:
        _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is not None:
        return
    process.terminate()
    try:
        process.wait(_END_SECONDS)
    except subprocess.TimeoutExpired:
        if sys.platform != "win32":
            os.killpg(process.pid, signal.SIGKILL)
        process.kill()
        process.wait()


def _lines(
    process: subprocess.Popen[bytes], should_stop: Callable[[], bool]
) -> Generator[bytes, None, None]:
    """Yield lines of a process's output until it ends; a thread reads them.

    Raises:
        Cancelled: `should_stop` said so.
    """
    lines: Queue[bytes | None] = Queue()
    stream = process.stdout
    if stream is None:
        return

    def read() -> None:  # pipes cannot be polled on Windows
        with stream:
            for line in iter(stream.readline, b""):
                lines.put(line)
        lines.put(None)

    threading.Thread(target=read, daemon=True).start()
    while True:
        if should_stop():
            raise Cancelled
        try:
            line = lines.get(timeout=_POLL_SECONDS)
        except Empty:
            continue
        if line is None:
            return
        yield line


def _json(line: bytes) -> dict[str, Any]:
    try:
        said = json.loads(line)
    except ValueError:  # Blender's own words
        return {}
    return cast("dict[str, Any]", said) if isinstance(said, dict) else {}


def _last_words(log: Path) -> str:
    try:
        text = log.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return "it wrote no log"
    return " ".join(text[-400:].split()) or "it wrote nothing to its log"
