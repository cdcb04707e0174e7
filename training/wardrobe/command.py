"""`dressform train wardrobe`: people that do not exist, learnt from captures of many that do.

Source: StylePeople, section 2. A training writes into its run's folder: recipe.json (the recipe as run),
checkpoint.pt, log.jsonl, samples/ and tensorboard/. `dressform export wardrobe` turns it into packages.
"""

from __future__ import annotations

import signal
import sys
from pathlib import Path
from typing import Literal

import torch

from blender_addon.contract.errors import TrainingError
from models.dresser import DresserConfig
from models.dresser_package import load_dresser
from models.memory import keep_freed_memory
from models.package import DEFAULT_LIBRARY
from models.texture_generator import TextureGeneratorConfig
from training.captures import find_captures
from training.checkpoint import CHECKPOINT_FILE
from training.wardrobe.data import Crowd
from training.wardrobe.recipe import (
    WardrobeAdversaries,
    WardrobeCodes,
    WardrobeData,
    WardrobeOptimiser,
    WardrobeRecipe,
    WardrobeSchedule,
    WardrobeWeights,
)
from training.wardrobe.training import WardrobeTraining


def train_wardrobe(
    captures: Path | list[Path],
    out: Path = Path("runs/wardrobe"),
    library: Path = DEFAULT_LIBRARY,
    generator: TextureGeneratorConfig = TextureGeneratorConfig(),  # noqa: B008 - frozen
    dresser: DresserConfig = DresserConfig(),  # noqa: B008
    data: WardrobeData = WardrobeData(),  # noqa: B008
    codes: WardrobeCodes = WardrobeCodes(),  # noqa: B008
    weights: WardrobeWeights = WardrobeWeights(),  # noqa: B008
    optimiser: WardrobeOptimiser = WardrobeOptimiser(),  # noqa: B008
    adversaries: WardrobeAdversaries = WardrobeAdversaries(),  # noqa: B008
    schedule: WardrobeSchedule = WardrobeSchedule(),  # noqa: B008
    seed: int = 0,
    init_from: Path | None = None,
    dresser_from: Path | None = None,
    resume: Literal["auto", "never"] = "auto",
    stop_after: float | None = None,
    limit: int | None = None,
    device: str = "auto",
    threads: int = 2,
) -> int:
    """Train a wardrobe: a generator of neural textures and the dresser that shows them.

    Args:
        captures: folder of captures of many people, or several of them; those of one body.
        out: the run's folder; nothing is deleted there.
        library: where the captures' body lies.
        generator: architecture of G.
        dresser: architecture of R.
        data: what they see.
        codes: the styles of people.
        weights: of the losses.
        optimiser: Adam and the running average.
        adversaries: discriminators and regularisers.
        schedule: the stages.
        seed: of first values, batches and drawn styles.
        init_from: folder of a run, or of a wardrobe's package, to start from; its images may be
            half as large.
        dresser_from: a dresser's package whose layers R takes over where they fit.
        resume: "auto" goes on from the run's own checkpoint when there is one.
        stop_after: stop with a checkpoint after so many minutes of this session; the schedule
            stays as planned.
        limit: open so many captures at most.
        device: "auto", "cpu", "cuda" or "cuda:0".
        threads: of torch on the CPU.
    """
    recipe = WardrobeRecipe(
        generator=generator,
        dresser=dresser,
        data=data,
        codes=codes,
        weights=weights,
        optimiser=optimiser,
        adversaries=adversaries,
        schedule=schedule,
        seed=seed,
    )
    torch.set_num_threads(threads)
    keep_freed_memory()
    if resume == "never" and (out / CHECKPOINT_FILE).exists():
        raise TrainingError(f"{out} already holds a checkpoint", "resume it, or give another --out")
    chosen = "cuda" if device == "auto" and torch.cuda.is_available() else device
    place = torch.device("cpu" if chosen == "auto" else chosen)
    crowd = Crowd.open(
        find_captures(captures)[:limit],
        library,
        data,
        upscale=dresser.upscale,
        texture_size=generator.size,
        shell=dresser.shell,
    )
    training = WardrobeTraining(recipe, crowd, out, place)
    if not training.resume():
        given = None if dresser_from is None else load_dresser(dresser_from)
        training.start(init_from, given)
    people = f"{len(crowd.train)} people and {len(crowd.held_out)} held out"
    print(f"{out}: {people}, step {training.stand.step}, {place}")  # noqa: T201
    # Ctrl-C and a polite kill end the session like --stop_after: with a checkpoint.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: training.stopping.set())
    training.run(stop_after=stop_after, progress=sys.stderr.isatty())
    made = training.stand
    where = training.stage or "done"
    print(f"{out}: step {made.step}, {made.seconds / 60:.1f} minutes, {where}")  # noqa: T201
    return 0
