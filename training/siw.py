"""`dressform train siw`: the network that paints portraits onto label maps, region by region.

Source: SofGAN, sections 5 and 6.2. A training writes into its run's folder: recipe.json (the recipe
as run), checkpoint.pt, log.jsonl, samples/ and tensorboard/. `dressform export siw` turns it into
a package.
"""

from __future__ import annotations

import signal
import sys
from pathlib import Path
from typing import Literal

import torch

from blender_addon.contract.errors import TrainingError
from models.memory import keep_freed_memory
from models.siw_config import SiwConfig
from training.checkpoint import CHECKPOINT_FILE
from training.siw_data import PortraitSet
from training.siw_recipe import (
    SiwAdversary,
    SiwData,
    SiwOptimiser,
    SiwRecipe,
    SiwSchedule,
    SiwWeights,
)
from training.siw_training import SiwTraining


def train_siw(
    portraits: Path,
    out: Path = Path("runs/siw"),
    labels: Path | None = None,
    architecture: SiwConfig = SiwConfig(),  # noqa: B008 - frozen
    data: SiwData = SiwData(),  # noqa: B008
    weights: SiwWeights = SiwWeights(),  # noqa: B008
    optimiser: SiwOptimiser = SiwOptimiser(),  # noqa: B008
    adversary: SiwAdversary = SiwAdversary(),  # noqa: B008
    schedule: SiwSchedule = SiwSchedule(),  # noqa: B008
    seed: int = 0,
    init_from: Path | None = None,
    resume: Literal["auto", "never"] = "auto",
    stop_after: float | None = None,
    limit: int | None = None,
    device: str = "auto",
    threads: int = 2,
) -> int:
    """Train a SIW StyleGAN.

    Args:
        portraits: a set of portraits (`dressform dataset portraits`).
        out: the run's folder; nothing is deleted there.
        labels: a set whose label maps the unpaired stage paints, heads or portraits; the
            portraits' own, shuffled, when there is none.
        architecture: of the networks.
        data: what they see.
        weights: of the losses.
        optimiser: Adam and the running average.
        adversary: the discriminator.
        schedule: the stages.
        seed: of first values, batches and drawn styles.
        init_from: a package of kind "siw" to start from, of the same styles and at most the size.
        resume: "auto" goes on from the run's own checkpoint when there is one.
        stop_after: stop with a checkpoint after so many minutes of this session; the schedule
            stays as planned.
        limit: train on so many portraits at most.
        device: "auto", "cpu", "cuda" or "cuda:0".
        threads: of torch on the CPU.
    """
    recipe = SiwRecipe(
        architecture=architecture,
        data=data,
        weights=weights,
        optimiser=optimiser,
        adversary=adversary,
        schedule=schedule,
        seed=seed,
    )
    torch.set_num_threads(threads)
    keep_freed_memory()
    if resume == "never" and (out / CHECKPOINT_FILE).exists():
        raise TrainingError(f"{out} already holds a checkpoint", "resume it, or give another --out")
    chosen = "cuda" if device == "auto" and torch.cuda.is_available() else device
    place = torch.device("cpu" if chosen == "auto" else chosen)
    opened = PortraitSet.open(portraits, labels, architecture.size, limit)
    training = SiwTraining(recipe, opened, out, place)
    if not training.resume():
        training.start(init_from)
    count = len(opened.train.images)
    print(f"{out}: {count} portraits, step {training.stand.step}, {place}")  # noqa: T201
    # Ctrl-C and a polite kill end the session like --stop_after: with a checkpoint.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: training.stopping.set())
    training.run(stop_after=stop_after, progress=sys.stderr.isatty())
    made = training.stand
    where = training.stage or "done"
    print(f"{out}: step {made.step}, {made.seconds / 60:.1f} minutes, {where}")  # noqa: T201
    return 0
