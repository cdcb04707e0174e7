"""What the server makes of a photograph: how far it is, with pictures and Cancel."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

from .. import error_log
from ..asking import FitProgress
from . import gallery, watching
from .sidebar import paragraph

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ..asking import Server

Result = TypeVar("Result")


class Making:
    """What the server makes of a photograph; one at a time of each kind.

    Args:
        place: what is being done ("From Photo"), for the error log.
        key: of the job (`watching`).
        cancel: id of the operator that gives it up.
        words: what its stages are called in the panel, by the server's names.
    """

    def __init__(
        self, place: str, key: str, cancel: str, words: Mapping[str, str] | None = None
    ) -> None:
        self._place, self._key, self._cancel = place, key, cancel
        self._words = words or {}
        self._name = ""
        self._progress = FitProgress()
        self._began = 0.0
        self.notes: tuple[str, ...] = ()
        """What is to be said of the last result, shown until the next begins."""

    @property
    def running(self) -> bool:
        """Whether one is being made."""
        return watching.is_running(self._key)

    def begin(
        self,
        name: str,
        work: Callable[[Server, Callable[[FitProgress], None]], Result],
        show: Callable[[Result], None],
    ) -> None:
        """Begin in a job; in background mode wait for the end.

        Args:
            name: of what is made.
            work: asks the server, and tells how far it is.
            show: gets the result on the main thread.

        Raises:
            DressformError: in background mode only.
        """

        def tell(progress: FitProgress) -> None:
            self._progress = progress

        self._name, self._progress = name, FitProgress()
        self._began, self.notes = time.time(), ()
        watching.watch(self._place, self._key, lambda stop: work(watching.server(stop), tell), show)

    def stop(self) -> None:
        """Give it up."""
        watching.stop(self._key)

    def draw(self, layout: Any) -> None:
        """Draw how far it is, the newest picture and Cancel."""
        progress = self._progress
        box = layout.box()
        box.label(text=self._name, icon="IMAGE_DATA")
        box.progress(factor=progress.share, text=f"{progress.share:.0%}")
        box.label(
            text=replace(progress, stage=self._words.get(progress.stage, progress.stage)).text
        )
        icons = gallery.progress_icons(progress.preview)
        row = box.row(align=True)
        for icon in icons:
            row.template_icon(icon_value=icon, scale=5.5 if len(icons) > 1 else 10.0)
        box.operator(self._cancel, icon="X")

    def draw_outcome(self, layout: Any) -> None:
        """Draw why the last one failed, or what is to be said of it."""
        failed = [e for e in error_log.entries() if e.place == self._place]
        if failed and failed[0].last >= self._began > 0:
            box = layout.box()
            box.label(text=f"{self._name} was not made", icon="ERROR")
            paragraph(box, failed[0].cause)
            paragraph(box, f"→ {failed[0].next_step}")
        for note in self.notes:
            paragraph(layout, note)
