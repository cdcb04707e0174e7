"""`dressform train sof`: one SOF for many heads, and each head's code.

Source: SofGAN sections 4 and 6.2, first round. A stage writes into its run's folder: recipe.json
(the recipe as run), checkpoint.pt, log.jsonl, samples/ and tensorboard/. `dressform export sof`
turns it into a package.
"""

from __future__ import annotations

import signal
import sys
from dataclasses import replace
from pathlib import Path
from typing import Literal

import torch

from blender_addon.contract.errors import TrainingError
from models.memory import keep_freed_memory
from models.sof import SofConfig
from training.checkpoint import CHECKPOINT_FILE
from training.heads.format import HeadSet
from training.sof_export import start_values
from training.sof_recipe import SofData, SofOptimiser, SofRecipe, SofSchedule, SofWeights
from training.sof_training import SofTraining


def train_sof(
    heads: Path,
    out: Path = Path("runs/sof"),
    architecture: SofConfig = SofConfig(),  # noqa: B008 - frozen
    data: SofData = SofData(),  # noqa: B008
    weights: SofWeights = SofWeights(),  # noqa: B008
    optimiser: SofOptimiser = SofOptimiser(),  # noqa: B008
    schedule: SofSchedule = SofSchedule(),  # noqa: B008
    seed: int = 0,
    init_from: Path | None = None,
    resume: Literal["auto", "never"] = "auto",
    minutes: float | None = None,
    stop_after: float | None = None,
    limit: int = 0,
    device: str = "auto",
    devices: int = 1,
    threads: int = 2,
) -> int:
    """Train a semantic occupancy field on a set of heads.

    Args:
        heads: folder of `dressform dataset heads`.
        out: the run's folder; nothing is deleted there.
        architecture: of the SOF.
        data: which rays a step sees.
        weights: of the losses.
        optimiser: Adam and the running average.
        schedule: how long the stage is, and how its rates change.
        seed: of first values and rays.
        init_from: another run's folder or a package to start from.
        resume: "auto" goes on from the run's own checkpoint when there is one.
        minutes: overrides the schedule's minutes.
        stop_after: stop with a checkpoint after so many minutes of this session; the schedule
            stays as planned.
        limit: train on so many heads only, to see that the loop learns.
        device: "auto", "cpu", "cuda" or "cuda:0".
        devices: processes that train together, one a device.
        threads: of torch on the CPU, in each process.
    """
    if minutes is not None:
        schedule = replace(schedule, minutes=minutes)
    recipe = SofRecipe(
        architecture=architecture,
        data=data,
        weights=weights,
        optimiser=optimiser,
        schedule=schedule,
        seed=seed,
    )
    torch.set_num_threads(threads)
    keep_freed_memory()
    training = SofTraining(
        recipe, HeadSet.open(heads), out, device=device, devices=devices, limit=limit
    )
    if resume == "never" and (out / CHECKPOINT_FILE).exists():
        raise TrainingError(f"{out} already holds a checkpoint", "resume it, or give another --out")
    if not training.resume() and init_from is not None:
        training.start_from(*start_values(init_from))
    first = training.processes.is_first
    if first:
        count = len(training.rays.ids)
        print(f"{out}: {count} heads, step {training.step}, {training.device}")  # noqa: T201
    # Ctrl-C and a polite kill end the session like --stop_after: with a checkpoint.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: training.stopping.set())
    training.run(stop_after=stop_after, progress=first and sys.stderr.isatty())
    if first:
        made = training.seconds / 60
        print(f"{out}: step {training.step}, {made:.1f} minutes of training")  # noqa: T201
    return 0
