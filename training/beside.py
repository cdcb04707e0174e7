"""Work in a thread while a generator keeps giving the turn away."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

Result = TypeVar("Result")

_TURN_SECONDS = 0.02


def beside(work: Callable[[], Result], *, to_its_end: bool) -> Generator[None, None, Result]:
    """Run a function in a thread; yield until it is done, then return what it returned.

    For work that cannot be cut into steps: reading captures, importing, writing packages.

    Args:
        work: raises in the thread what is raised here at the end.
        to_its_end: whether a generator that is closed waits for the work; otherwise the thread
            ends by itself later and its result is dropped.
    """
    results: list[Result] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            results.append(work())
        except BaseException as error:  # noqa: BLE001 - raised again where it is waited for
            errors.append(error)

    thread = threading.Thread(target=run, name="beside", daemon=True)
    thread.start()
    try:
        while thread.is_alive():
            yield
            thread.join(_TURN_SECONDS)
    except GeneratorExit:
        if to_its_end:
            thread.join()
        raise
    if errors:
        raise errors[0]
    return results[0]
