"""Long work in steps: generators that yield how far they are, and return what they have made."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    import numpy as np
    from numpy.typing import NDArray

Result = TypeVar("Result")
Step = TypeVar("Step")
Told = TypeVar("Told")


class FitStep(Protocol):
    """How far a fit to photographs is."""

    @property
    def stage(self) -> str:
        """What is being fitted."""
        ...

    @property
    def share(self) -> float:
        """How much of the whole is done, 0…1."""
        ...

    @property
    def preview(self) -> NDArray[np.uint8] | None:
        """What has been found so far (h, w, 3), now and then."""
        ...


def finish(steps: Generator[Any, None, Result]) -> Result:
    """Do work to its end; return what it has made."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value


def retold(
    steps: Generator[Step, None, Result], say: Callable[[Step], Told]
) -> Generator[Told, None, Result]:
    """Do work, yielding what `say` makes of each step; return what it has made.

    Closing this closes the work.
    """
    try:
        while True:
            try:
                step = next(steps)
            except StopIteration as end:
                return end.value
            yield say(step)
    finally:
        steps.close()
