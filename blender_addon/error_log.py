"""What went wrong lately, for the panel and for reports. No bpy.

The same error again only counts up: a viewport that fails on every redraw gives one line.
"""

from __future__ import annotations

import platform
import sys
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .contract.versions import PROJECT_VERSION, WIRE_VERSION

if TYPE_CHECKING:
    from .contract.errors import DressformError

MAX_ENTRIES = 50


@dataclass(kw_only=True)
class LogEntry:
    """One kind of failure.

    Attributes:
        place: what was being done ("Render", "Viewport", "Add Person").
        code: of the error.
        cause: in plain words.
        next_step: what to do.
        count: how often it came.
        last: time.time() of the last one.
    """

    place: str
    code: str
    cause: str
    next_step: str
    count: int
    last: float


_entries: list[LogEntry] = []
_lock = threading.Lock()


def record(place: str, error: DressformError) -> None:
    """Note an error; render threads may call this."""
    with _lock:
        for entry in _entries:
            if (entry.place, entry.code, entry.cause) == (place, error.code, error.cause):
                entry.count += 1
                entry.last = time.time()
                return
        _entries.append(
            LogEntry(
                place=place,
                code=error.code,
                cause=error.cause,
                next_step=error.next_step,
                count=1,
                last=time.time(),
            )
        )
        del _entries[:-MAX_ENTRIES]


def entries() -> list[LogEntry]:
    """Return the entries, newest first."""
    with _lock:
        return sorted(_entries, key=lambda entry: -entry.last)


def clear() -> None:
    """Forget all entries."""
    with _lock:
        _entries.clear()


def sentence(error: DressformError) -> str:
    """Return cause, next step and code in one line, as every part of Blender shows them."""
    return f"{error.cause}. Next step: {error.next_step} [{error.code}]"


def report(blender_version: str, server_log: str = "") -> str:
    """Return a text that can be pasted into an issue; it holds no paths of the user's."""
    lines = [
        f"Dressform {PROJECT_VERSION}, wire {WIRE_VERSION}, Blender {blender_version}",
        f"Python {sys.version.split()[0]}, {platform.system()} {platform.machine()}",
        "",
    ]
    for entry in entries():
        when = time.strftime("%H:%M:%S", time.localtime(entry.last))
        lines += [
            f"{when}  {entry.place}  ×{entry.count}  [{entry.code}]",
            f"  {entry.cause}",
            f"  next step: {entry.next_step}",
        ]
    if server_log:
        lines += ["", "Server log:", server_log]
    return "\n".join(lines)
