"""The clock of the portraits' benches: the process's own time, summed over its threads.

What else the machine does counts little by it, so that it measures on a shared machine, too.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

Outcome = TypeVar("Outcome")


def timed(work: Callable[[], Outcome]) -> tuple[Outcome, float]:
    """Return what some work returns, and the processor seconds it took."""
    started = time.process_time()
    outcome = work()
    return outcome, time.process_time() - started
