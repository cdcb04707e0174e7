"""What a client is told of a fit to photographs while it runs."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, TypeVar

from models.steps import FitStep, retold
from server.operation import Progress

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

_TELLING = 0.05
"""Share of the work after which the time that is left can be told."""

Result = TypeVar("Result")
Step = TypeVar("Step", bound=FitStep)


def tell_fit(
    steps: Generator[Step, None, Result], more: Callable[[Step], dict[str, Any]] | None = None
) -> Generator[Progress, None, Result]:
    """Run a fit, telling stage, share, time that is left and pictures; return what it has made.

    Args:
        steps: the fit.
        more: further params of a step.
    """
    started = time.monotonic()

    def tell(step: Step) -> Progress:
        params: dict[str, Any] = {"stage": step.stage, "share": round(step.share, 4)}
        if step.share > _TELLING:
            gone = time.monotonic() - started
            params["seconds_left"] = round(gone * (1.0 - step.share) / step.share, 1)
        if more is not None:
            params |= more(step)
        arrays = {} if step.preview is None else {"preview": step.preview}
        return Progress(params=params, arrays=arrays)

    return (yield from retold(steps, tell))
