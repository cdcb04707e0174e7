"""Work that may block, done beside Blender's interface. No bpy."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Generic, TypeVar

from .contract.errors import DressformError, InternalError

if TYPE_CHECKING:
    from collections.abc import Callable

Result = TypeVar("Result")


class Job(Generic[Result]):
    """A function running in a thread; a timer asks whether it is `done`.

    The function must not touch bpy data. It is given `should_stop`, which it has to ask often.
    """

    def __init__(self, work: Callable[[Callable[[], bool]], Result]) -> None:
        self._stop = threading.Event()
        self._result: Result | None = None
        self._error: DressformError | None = None
        self._thread = threading.Thread(target=self._run, args=(work,), daemon=True)
        self._thread.start()

    def _run(self, work: Callable[[Callable[[], bool]], Result]) -> None:
        try:
            self._result = work(self._stop.is_set)
        except DressformError as error:
            self._error = error
        except Exception as error:  # noqa: BLE001 - it is raised again in `result`
            self._error = InternalError(f"{type(error).__name__}: {error}")

    @property
    def done(self) -> bool:
        """Whether `result` would return at once."""
        return not self._thread.is_alive()

    def wait(self, seconds: float) -> bool:
        """Wait that long at most; return whether the work is done."""
        self._thread.join(seconds)
        return self.done

    def cancel(self) -> None:
        """Ask the work to stop; returns at once."""
        self._stop.set()

    def result(self) -> Result:
        """Wait for the work and return what it returned.

        Raises:
            DressformError: what the work raised.
        """
        self._thread.join()
        if self._error is not None:
            raise self._error
        return self._result  # pyright: ignore[reportReturnType]
