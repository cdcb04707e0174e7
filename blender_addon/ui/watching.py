"""Jobs that no operator waits for: a timer watches them while the artist goes on.

In background mode timers never fire, so there `watch` waits.
"""

# pyright: reportAttributeAccessIssue=false, reportOptionalMemberAccess=false
# pyright: reportIncompatibleMethodOverride=false, reportMissingModuleSource=false
# (Blender's stubs: unions of all data types, Optionals that never are None, other parameter names)

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import bpy

from .. import connection, error_log
from ..asking import Server
from ..contract.errors import Cancelled, DressformError, InternalError
from ..job import Job
from .waiting import redraw

if TYPE_CHECKING:
    from collections.abc import Callable

Result = TypeVar("Result")

_TICK_SECONDS = 0.2


@dataclass(eq=False)
class Watched:
    """A running job.

    Attributes:
        place: what is being done, for the error log.
        key: jobs of the same key replace each other.
        job: the work.
        finish: uses the result on Blender's main thread.
        fail: told when there is none.
    """

    place: str
    key: str
    job: Job[Any]
    finish: Callable[[Any], None]
    fail: Callable[[], None]


_running: list[Watched] = []


def server(stop: Callable[[], bool] = lambda: False) -> Server:
    """Return this Blender's server, for a job's work."""
    link = connection.current()
    return Server(endpoint=link.endpoint, revive=link.revive, should_stop=stop)


def watch(
    place: str,
    key: str,
    work: Callable[[Callable[[], bool]], Result],
    finish: Callable[[Result], None],
    fail: Callable[[], None] = lambda: None,
) -> None:
    """Run work that must not touch bpy data; use its result on the main thread when it is there.

    Args:
        place: what is being done ("Bake Head"), for the error log.
        key: a running job of the same key is given up.
        work: gets `should_stop`.
        finish: gets the result.
        fail: called when there will be none; the error is in the log by then.

    Raises:
        DressformError: in background mode only, where the caller waits.
    """
    stop(key)
    watched = Watched(place=place, key=key, job=Job(work), finish=finish, fail=fail)
    if bpy.app.background:
        finish(watched.job.result())
        return
    _running.append(watched)
    if not bpy.app.timers.is_registered(_tick):
        bpy.app.timers.register(_tick, first_interval=_TICK_SECONDS, persistent=True)


def is_running(key: str) -> bool:
    """Tell whether a job of this key is under way."""
    return any(watched.key == key for watched in _running)


def stop(key: str) -> None:
    """Give up the job of this key, if there is one."""
    for watched in [w for w in _running if w.key == key]:
        watched.job.cancel()
        _running.remove(watched)
        watched.fail()


def stop_all() -> None:
    """Give up every job and take the timer away."""
    for watched in _running:
        watched.job.cancel()
    _running.clear()
    if bpy.app.timers.is_registered(_tick):
        bpy.app.timers.unregister(_tick)


def _tick() -> float | None:
    for watched in [w for w in _running if w.job.done]:
        _running.remove(watched)
        try:
            watched.finish(watched.job.result())
        except Cancelled:
            watched.fail()
        except DressformError as error:
            error_log.record(watched.place, error)
            watched.fail()
        except Exception as error:  # noqa: BLE001 - a timer that raises is taken away by Blender
            failure = InternalError(f"{type(error).__name__}: {error}")
            error_log.record(watched.place, failure)
            watched.fail()
    redraw()
    return _TICK_SECONDS if _running else None


def object_of(uid: int) -> bpy.types.Object | None:
    """Return the object of a session uid: references do not outlive an undo."""
    return next((ob for ob in bpy.data.objects if ob.session_uid == uid), None)
