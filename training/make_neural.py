"""From one capture to an avatar in a library, step by step: what the server runs for "Make Neural".

Phase 2 of `dressing_training` with all round it: reading the capture, the shared dresser to start
from, previews on the way, the package at the end. The caller has the turn after every part of a
step. A run's folder makes it resumable: the same work goes on from its checkpoint.
"""

from __future__ import annotations

import time
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import torch

from blender_addon.contract.avatar_train import AVATAR_PREFIX
from blender_addon.contract.errors import TrainingError
from models.dresser import DresserConfig
from models.package import find_package, list_packages, read_manifest
from models.steps import retold
from training.beside import beside
from training.captures import Capture
from training.dressing_data import cut_batch, whole_window
from training.dressing_recipe import DressingRecipe
from training.dressing_report import RENDER_MARGIN
from training.dressing_training import DressingTraining
from training.export import read_run, write_packages
from training.losses import NEUTRAL_GREY, composite, composite_premultiplied

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from training.dressing_training import StepReport

RECIPES = Path(__file__).parent / "recipes"
RECIPE_NAMES = (
    "make-neural-cpu",
    "make-neural-gpu",
    "make-neural-trial",
    "dressing-cpu-phase2",
    "dressing-phase2",
)
"""Recipes that make an avatar of one capture."""

PREPARED, TRAINED = 0.06, 0.97
"""Shares of the whole after which the stages begin."""

_PREVIEW_FRAMES = 2
_FIRST_PREVIEW_SECONDS, _PREVIEW_SECONDS = 5.0, 15.0


@dataclass(frozen=True, kw_only=True)
class MakeNeural:
    """What is to be made.

    Attributes:
        capture: its folder.
        avatar: id of the package to write, "avatar-…".
        name: what people read.
        recipe: how to train.
        libraries: looked through for the body and the shared dresser.
        library: the one that is written.
        init_from: id of the dresser, or of an avatar whose dresser is meant; empty for the
            first of the libraries that has the recipe's architecture.
        run: folder of the training.
        device: torch's name of it.
        request: digest of all that decides about the outcome; the package keeps it.
    """

    capture: Path
    avatar: str
    name: str
    recipe: DressingRecipe
    libraries: tuple[Path, ...]
    library: Path
    init_from: str
    run: Path
    device: str
    request: str


class Progress(NamedTuple):
    """Where it stands.

    Attributes:
        stage: "preparing", "training" or "writing".
        share: of the whole, 0…1.
        step: steps of training made.
        loss: of the last step, or None.
        seconds_left: of training, or None while nobody knows.
        preview: (H, W, 3) uint8 true frames beside the avatar's, now and then.
    """

    stage: str
    share: float
    step: int = 0
    loss: float | None = None
    seconds_left: float | None = None
    preview: NDArray[np.uint8] | None = None


class Made(NamedTuple):
    """What became of it."""

    folder: Path
    steps: int
    minutes: float


def read_recipe(name: str, *, minutes: float | None, steps: int | None) -> DressingRecipe:
    """Return a shipped recipe, as long as it is asked for.

    Args:
        name: one of `RECIPE_NAMES`.
        minutes: of training, instead of the recipe's own length.
        steps: likewise.

    Raises:
        TrainingError: there is no such recipe.
    """
    import jsonargparse

    if name not in RECIPE_NAMES:
        raise TrainingError(
            f"there is no recipe {name!r} for one person", f"use one of {', '.join(RECIPE_NAMES)}"
        )
    parser = jsonargparse.ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(DressingRecipe)
    given = parser.instantiate(parser.parse_path(RECIPES / f"{name}.yaml"))
    recipe = DressingRecipe(**vars(given))
    if minutes is None and steps is None:
        return recipe
    return replace(recipe, schedule=replace(recipe.schedule, minutes=minutes, steps=steps))


def shared_dresser(libraries: Sequence[Path], architecture: DresserConfig, init_from: str) -> Path:
    """Return the package of the dresser to start from; see `MakeNeural.init_from`.

    Raises:
        UnknownModel: no library has the package that is named.
        TrainingError: no library has a dresser of this architecture.
    """
    if init_from:
        manifest = read_manifest(find_package(libraries, init_from))
        return find_package(libraries, manifest.requirements.get("dresser", manifest.id))
    for library in libraries:
        for manifest in list_packages(library):
            fits = manifest.kind == "dresser" and (
                DresserConfig.from_plain(manifest.architecture) == architecture
            )
            if fits:
                return library / manifest.id
    raise TrainingError(
        "no library has a shared dresser of the recipe's architecture",
        "name a dresser to start from, or serve a library that has one",
    )


def make_neural(work: MakeNeural) -> Generator[Progress, None, Made]:
    """Train an avatar and write its package; closing the generator leaves a checkpoint.

    Raises:
        CaptureError: the capture is not valid.
        UnknownModel: its body or the dresser is missing.
        TrainingError: there is no dresser to start from, or the training cannot go on.
    """
    preparing = beside(lambda: _prepared(work), to_its_end=False)
    training = yield from _telling(preparing, Progress("preparing", 0.0))
    yield from _train(training)
    writing = beside(lambda: _write(work, training), to_its_end=True)
    folder = yield from _telling(writing, Progress("writing", TRAINED, training.step))
    return Made(folder, training.step, training.seconds / 60)


def _telling(
    turns: Generator[None, None, Any], progress: Progress
) -> Generator[Progress, None, Any]:
    """Say the same at every turn of `turns`; return what it returns."""
    return (yield from retold(turns, lambda _: progress))


def _prepared(work: MakeNeural) -> DressingTraining:
    description = Capture.open(work.capture).description
    training = DressingTraining(
        work.recipe,
        [work.capture],
        work.run,
        library=find_package(work.libraries, description.body).parent,
        device=work.device,
    )
    # The person goes by the avatar's name from here on, whatever the capture was called.
    for capture in training.people.captures:
        capture.description = replace(
            capture.description,
            id=work.avatar.removeprefix(AVATAR_PREFIX),
            source={**capture.description.source, "name": work.name},
        )
    if not training.resume():
        architecture = work.recipe.architecture
        training.start(shared_dresser(work.libraries, architecture, work.init_from))
        training.save()  # a worker that dies early need not prepare again
    return training


def _train(training: DressingTraining) -> Generator[Progress, None, None]:
    last: float | None = None
    next_preview = time.monotonic() + _FIRST_PREVIEW_SECONDS
    # A generator, which leaves a checkpoint when it is closed.
    with closing(cast("Generator[StepReport]", training.iterate())) as steps:
        for report in steps:
            if report.values is not None:
                last = report.values["loss"]
            shown = None
            if report.values is not None and time.monotonic() >= next_preview:
                shown = _preview(training)
                next_preview = time.monotonic() + _PREVIEW_SECONDS
            progress = _progress_of(report.step, report.seconds, report.progress, last)
            yield progress._replace(preview=shown)
            if report.values is not None and report.progress >= 1.0:
                # What is left to do for it takes seconds: the last checkpoint and figures.
                rest = beside(lambda: next(steps, None), to_its_end=True)
                yield from _telling(rest, Progress("writing", TRAINED, report.step, last))
                return


def _progress_of(step: int, seconds: float, done: float, loss: float | None) -> Progress:
    left = seconds * (1.0 - done) / done if done > 0.01 else None
    share = PREPARED + (TRAINED - PREPARED) * done
    return Progress("training", share, step, loss, left)


@torch.no_grad()
def _preview(training: DressingTraining) -> NDArray[np.uint8]:
    """Return true held-out frames (of the training's when there are none) beside the avatar's."""
    frames = (training.held_out[0] or training.frames[0])[:_PREVIEW_FRAMES]
    windows = [whole_window(frame, RENDER_MARGIN) for frame in frames]
    batch = cut_batch(training.people, frames, windows, training.recipe.data.size)
    batch = training.fabric.to_device(batch)
    model = training.model.eval()  # the next step sets it to training again
    with training.fabric.autocast():
        dressed = model(batch)
    masks = dressed.masks.float() * batch.captured
    pictures = (
        composite_premultiplied(batch.colour, batch.masks[:, :1], NEUTRAL_GREY),
        composite(dressed.rgb.float(), masks[:, :1], NEUTRAL_GREY),
    )
    # Each frame's truth beside its picture.
    rows = torch.stack(pictures, 1).flatten(0, 1).permute(2, 0, 3, 1).flatten(1, 2)
    return (rows.clamp(0, 1) * 255 + 0.5).byte().cpu().numpy()


def _write(work: MakeNeural, training: DressingTraining) -> Path:
    trained = read_run(work.run, training.people)
    trained.recipe["request"] = work.request
    return write_packages(trained, work.library, libraries=work.libraries)[-1]
