"""`dressform train parser`: the small network that labels portraits and photographs.

A training writes into its run's folder: recipe.json (the recipe as run), checkpoint.pt, log.jsonl,
samples/ and tensorboard/. `dressform export parser` turns it into a package.
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
from models.parser_network import ParserConfig
from training.checkpoint import CHECKPOINT_FILE
from training.heads.format import HeadSet
from training.parser_export import start_values
from training.parser_recipe import ParserData, ParserOptimiser, ParserRecipe, ParserWeights
from training.parser_training import ParserTraining
from training.photographs import PhotographChances
from training.siw_data import PortraitSet
from training.sof_recipe import SofSchedule
from training.stage import run_stage


def train_parser(
    portraits: Path,
    out: Path = Path("runs/parser"),
    architecture: ParserConfig = ParserConfig(),  # noqa: B008 - frozen
    data: ParserData = ParserData(),  # noqa: B008
    photographs: PhotographChances = PhotographChances(),  # noqa: B008
    weights: ParserWeights = ParserWeights(),  # noqa: B008
    optimiser: ParserOptimiser = ParserOptimiser(),  # noqa: B008
    schedule: SofSchedule = SofSchedule(),  # noqa: B008
    seed: int = 0,
    init_from: Path | None = None,
    resume: Literal["auto", "never"] = "auto",
    minutes: float | None = None,
    stop_after: float | None = None,
    limit: int | None = None,
    device: str = "auto",
    threads: int = 2,
) -> int:
    """Train a parser on synthetic portraits.

    Args:
        portraits: a set of portraits (`dressform dataset portraits`).
        out: the run's folder; nothing is deleted there.
        architecture: of the part that is learnt.
        data: what a step sees.
        photographs: how portraits are changed, so that photographs are nothing new.
        weights: of the losses.
        optimiser: AdamW and the running average.
        schedule: how long the stage is, and how its rate changes.
        seed: of first values and batches.
        init_from: another run's folder or a package to start from.
        resume: "auto" goes on from the run's own checkpoint when there is one.
        minutes: overrides the schedule's minutes.
        stop_after: stop with a checkpoint after so many minutes of this session; the schedule
            stays as planned.
        limit: train on so many portraits only, to see that the loop learns.
        device: "auto", "cpu", "cuda" or "cuda:0".
        threads: of torch on the CPU.
    """
    recipe = ParserRecipe(
        architecture=architecture,
        data=data,
        photographs=photographs,
        weights=weights,
        optimiser=optimiser,
        schedule=schedule if minutes is None else replace(schedule, minutes=minutes),
        seed=seed,
    )
    torch.set_num_threads(threads)
    keep_freed_memory()
    if resume == "never" and (out / CHECKPOINT_FILE).exists():
        raise TrainingError(f"{out} already holds a checkpoint", "resume it, or give another --out")
    chosen = "cuda" if device == "auto" and torch.cuda.is_available() else device
    place = torch.device("cpu" if chosen == "auto" else chosen)
    opened = PortraitSet.open(portraits, None, HeadSet.open(portraits).size, limit)
    training = ParserTraining(recipe, opened, out, place)
    if not training.resume() and init_from is not None:
        training.start_from(start_values(init_from))
    print(f"{out}: {len(opened.train.images)} portraits, step {training.step}, {place}")  # noqa: T201
    # Ctrl-C and a polite kill end the session like --stop_after: with a checkpoint.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: training.stopping.set())
    run_stage(training, stop_after=stop_after, progress=sys.stderr.isatty())
    print(f"{out}: step {training.step}, {training.seconds / 60:.1f} minutes of training")  # noqa: T201
    return 0
