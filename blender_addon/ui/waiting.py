"""Operators that wait for the server: in a job that a timer watches, or at once in background."""

# pyright: reportAttributeAccessIssue=false, reportOptionalMemberAccess=false
# pyright: reportIncompatibleMethodOverride=false, reportMissingModuleSource=false
# (Blender's stubs: unions of all data types, Optionals that never are None, other parameter names)

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import bpy

from .. import connection, error_log
from ..contract.errors import DressformError
from ..job import Job

if TYPE_CHECKING:
    from collections.abc import Callable

Outcome = set[str]


def link_parts() -> tuple[Callable[[], str], Callable[[], None]]:
    """Return how this Blender's server is reached and revived."""
    link = connection.current()
    return link.endpoint, link.revive


class Waiting(bpy.types.Operator):
    """Runs a job and finishes when it is done: modal in a window, at once in background."""

    bl_options = {"REGISTER", "UNDO", "INTERNAL"}

    _job: Job[Any] | None = None
    _timer: bpy.types.Timer | None = None

    def work(self) -> Callable[[Callable[[], bool]], Any]:
        """Return what to run in the job; it must not touch bpy data."""
        raise NotImplementedError

    def finish(self, context: bpy.types.Context, result: Any) -> None:
        """Use the result, on Blender's main thread."""
        raise NotImplementedError

    def execute(self, context: bpy.types.Context) -> Outcome:
        """Start; wait only in background mode or when called from a script."""
        self._job = Job(self.work())
        if bpy.app.background or context.window is None:
            return self._end(context)
        self._timer = context.window_manager.event_timer_add(0.05, window=context.window)
        context.window_manager.modal_handler_add(self)
        return {"RUNNING_MODAL"}

    def modal(self, context: bpy.types.Context, event: bpy.types.Event) -> Outcome:
        """Watch the job; Esc gives it up."""
        if self._job is None:
            return {"CANCELLED"}
        if event.type == "ESC":
            self._job.cancel()
            self._stop_timer(context)
            return {"CANCELLED"}
        if event.type != "TIMER" or not self._job.done:
            return {"PASS_THROUGH"}
        self._stop_timer(context)
        return self._end(context)

    def _stop_timer(self, context: bpy.types.Context) -> None:
        if self._timer is not None:
            context.window_manager.event_timer_remove(self._timer)
            self._timer = None

    def _end(self, context: bpy.types.Context) -> Outcome:
        try:
            self.finish(context, self._job.result() if self._job else None)
        except DressformError as error:
            return refuse(self, error)
        redraw(context)
        return {"FINISHED"}


def refuse(operator: bpy.types.Operator, error: DressformError) -> Outcome:
    """End an operator with an error: logged, and shown as everywhere."""
    error_log.record(operator.bl_label, error)
    operator.report({"ERROR"}, error_log.sentence(error))
    return {"CANCELLED"}


def redraw(context: bpy.types.Context | None = None) -> None:
    """Draw what shows the panels anew."""
    manager = (context or bpy.context).window_manager
    for window in manager.windows if manager else ():  # pyright: ignore[reportUnnecessaryComparison]
        for area in window.screen.areas:
            if area.type in ("VIEW_3D", "PREFERENCES"):
                area.tag_redraw()
