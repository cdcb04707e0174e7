"""What the commands share that fit photographs: the photograph that is named, and the fit's bar."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from models.person_photo import Photograph, read_photograph
from models.steps import finish, retold

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from numpy.typing import NDArray

    from models.steps import FitStep

ASTRONAUT = "astronaut"

Result = TypeVar("Result")


def named_photograph(photo: str) -> Photograph:
    """Return the photograph of a file, or scikit-image's of Eileen Collins (NASA, public domain).

    Args:
        photo: an image file, or "astronaut".

    Raises:
        BadPersonView: it cannot be read as an image.
    """
    if photo != ASTRONAUT:
        return read_photograph(Path(photo))
    from skimage import data

    return Photograph(image=np.asarray(data.astronaut(), np.uint8))


def finish_fit(
    fit: Generator[FitStep, None, Result], show: Callable[[str, NDArray[np.uint8]], None]
) -> Result:
    """Run a fit to its end with a bar.

    Args:
        fit: its steps.
        show: gets the stage and each picture on the way.
    """
    from tqdm import tqdm

    with tqdm(total=100, unit="%", disable=not sys.stderr.isatty()) as bar:

        def tell(step: FitStep) -> None:
            bar.set_description(step.stage)
            bar.update(100.0 * step.share - bar.n)
            if step.preview is not None:
                show(step.stage, step.preview)

        return finish(retold(fit, tell))
