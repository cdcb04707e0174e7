"""`avatar.train`: captures that clients sent become avatars, while the worker serves others too.

The one handler that imports `training`, and only in the worker.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from blender_addon.contract.avatar_train import AVATAR_TRAIN, AvatarTrain, parse_avatar_train
from blender_addon.contract.errors import Busy
from models.steps import retold
from server.operation import Answer, Context, Operation, Progress
from server.own_packages import made_before
from server.processes import process_alive
from server.uploads import capture_folder

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

    from blender_addon.contract.wire import Request
    from models.package import Manifest
    from training.dressing_recipe import DressingRecipe

log = logging.getLogger(__name__)

FORGOTTEN_SECONDS = 14 * 24 * 3600.0
"""How long an interrupted training waits for its client to go on with it."""

_OWNER_FILE = "owner"


def train(context: Context, request: Request) -> Generator[Progress, None, Answer]:
    """Train an avatar; see `contract.avatar_train` for params, progress and result.

    Raises:
        UnknownCapture: the capture was never sent.
        BadParameter: the id is taken.
        Busy: another worker is at it.
        TrainingError: the training cannot go on.
    """
    asked = parse_avatar_train(request)
    capture = capture_folder(context.storage, asked.capture)
    yield Progress(params={"stage": "preparing", "share": 0.0, "step": 0})
    # On the first call this imports for seconds: in a thread, with renders in between.
    from training.beside import beside

    recipe = yield from _silently(beside(lambda: _recipe(context, asked), to_its_end=False))
    digest = _digest(asked, recipe)
    made = made_before(
        context, asked.avatar, digest, what="avatar", field="avatar", replace=asked.replace
    )
    if made is not None:
        return _answer(context, asked.avatar, made)
    run = context.storage.trainings / f"{asked.avatar}-{digest[:12]}"
    _forget_old_runs(context.storage.trainings)
    with _claimed(run):
        yield from _made(context, asked, recipe, capture, run, digest)
    shutil.rmtree(run, ignore_errors=True)
    log.info("avatar trained avatar=%s", asked.avatar)
    return _answer(context, asked.avatar, context.library.manifest(asked.avatar))


def _made(
    context: Context,
    asked: AvatarTrain,
    recipe: DressingRecipe,
    capture: Path,
    run: Path,
    digest: str,
) -> Generator[Progress, None, None]:
    from training.make_neural import MakeNeural, make_neural

    work = MakeNeural(
        capture=capture,
        avatar=asked.avatar,
        name=asked.name,
        recipe=recipe,
        libraries=context.library.folders,
        library=context.storage.library,
        init_from=asked.init_from,
        run=run,
        device=context.device,
        request=digest,
    )
    steps = make_neural(work)
    try:
        for told in steps:
            params: dict[str, Any] = {
                "stage": told.stage,
                "share": round(told.share, 4),
                "step": told.step,
            }
            if told.loss is not None:
                params["loss"] = told.loss
            if told.seconds_left is not None:
                params["seconds_left"] = round(told.seconds_left, 1)
            arrays = {} if told.preview is None else {"preview": told.preview}
            yield Progress(params=params, arrays=arrays)
    finally:
        steps.close()  # leaves a checkpoint when the job is stopped


def _silently(turns: Generator[None, None, Any]) -> Generator[Progress, None, Any]:
    def tell(_: None) -> Progress:
        return Progress(params={"stage": "preparing", "share": 0.0, "step": 0})

    return (yield from retold(turns, tell))


def _recipe(context: Context, asked: AvatarTrain) -> DressingRecipe:
    from training.make_neural import read_recipe

    default = "make-neural-cpu" if context.device == "cpu" else "make-neural-gpu"
    return read_recipe(asked.recipe or default, minutes=asked.minutes, steps=asked.steps)


def _digest(asked: AvatarTrain, recipe: DressingRecipe) -> str:
    """Return what names the work: the same words with the same recipe go on where they stopped."""
    words = asked.to_wire() | {"replace": None, "recipe": recipe.to_plain()}
    return hashlib.sha256(json.dumps(words, sort_keys=True).encode()).hexdigest()


def _answer(context: Context, avatar: str, manifest: Manifest) -> Answer:
    recipe = manifest.recipe
    return Answer(
        params={
            "avatar": avatar,
            "digest": context.library.digest(avatar),
            "steps": int(recipe.get("steps", 0)),
            "minutes": float(recipe.get("minutes", 0.0)),
        }
    )


@contextmanager
def _claimed(run: Path) -> Generator[None]:
    """Keep other workers out of a run's folder."""
    run.mkdir(parents=True, exist_ok=True)
    file = run / _OWNER_FILE
    try:
        owner = int(file.read_text(encoding="ascii"))
    except (OSError, ValueError):
        owner = 0
    if owner not in (0, os.getpid()) and process_alive(owner):
        raise Busy("this avatar is being trained already", retry_after=2.0)
    file.write_text(str(os.getpid()), encoding="ascii")
    try:
        yield
    finally:
        file.unlink(missing_ok=True)


def _forget_old_runs(folder: Path) -> None:
    for run in folder.iterdir() if folder.is_dir() else ():
        newest = max((path.stat().st_mtime for path in run.glob("*")), default=0.0)
        if time.time() - newest > FORGOTTEN_SECONDS:
            shutil.rmtree(run, ignore_errors=True)


OPERATIONS = (Operation(name=AVATAR_TRAIN, kind="steps", call=train),)
