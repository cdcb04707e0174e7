"""`dressform train dressing`: one dresser for several people, and each person's neural texture.

Source: StylePeople supplementary, sections 1.2 and 1.3. Phase 1 trains many people together,
phase 2 one person; both are this command with another recipe. A stage writes into its run's folder: recipe.json (the recipe as run),
checkpoint.pt, log.jsonl, samples/ and tensorboard/. `dressform export dressing` turns it into
packages.
"""

from __future__ import annotations

import signal
import sys
from dataclasses import replace
from pathlib import Path
from typing import Literal

import torch

from blender_addon.contract.errors import TrainingError
from models.dresser import DresserConfig
from models.memory import keep_freed_memory
from models.package import DEFAULT_LIBRARY
from training.adversaries import DressingAdversaries
from training.captures import find_captures
from training.checkpoint import CHECKPOINT_FILE
from training.dressing_recipe import (
    DressingData,
    DressingOptimiser,
    DressingRecipe,
    DressingRefinement,
    DressingSchedule,
)
from training.dressing_training import DressingTraining
from training.losses import DressingWeights, Term, without


def train_dressing(
    captures: Path | list[Path],
    out: Path = Path("runs/dressing"),
    architecture: DresserConfig = DresserConfig(),  # noqa: B008 - frozen
    data: DressingData = DressingData(),  # noqa: B008
    weights: DressingWeights = DressingWeights(),  # noqa: B008
    optimiser: DressingOptimiser = DressingOptimiser(),  # noqa: B008
    schedule: DressingSchedule = DressingSchedule(),  # noqa: B008
    adversaries: DressingAdversaries = DressingAdversaries(),  # noqa: B008
    refine: DressingRefinement = DressingRefinement(),  # noqa: B008
    vgg19: Path | None = None,
    vggface: Path | None = None,
    perceptual_stages: tuple[int, ...] = (0, 1, 2, 3),
    seed: int = 0,
    library: Path = DEFAULT_LIBRARY,
    init_from: Path | None = None,
    plain_textures: Path | None = None,
    resume: Literal["auto", "never"] = "auto",
    minutes: float | None = None,
    stop_after: float | None = None,
    overfit: int = 0,
    ablate: list[Term] | None = None,
    device: str = "auto",
    devices: int = 1,
    threads: int = 2,
) -> int:
    """Train avatars and the dresser that they share.

    Args:
        captures: a folder that holds captures, one a person, or a list of captures.
        out: the run's folder; nothing is deleted there.
        architecture: of the dresser.
        data: what the network sees of the captures.
        weights: of the losses.
        optimiser: Adam, running average, first values.
        schedule: how long the stage is, and how its rates fall.
        adversaries: the discriminators.
        refine: body fits as parameters.
        vgg19: torchvision's VGG19 weights (.pth, .safetensors).
        vggface: VGG-Face's weights (.pth, .safetensors).
        perceptual_stages: stages of the offline perceptual distance.
        seed: of first values and crops.
        library: where the captures' body lies.
        init_from: another run, a library of packages, or one avatar's package, to start from.
        plain_textures: folder of `dressform train plain-texture`: they become three channels of
            the textures instead of being fitted anew, also of textures found in `init_from`.
        resume: "auto" goes on from the run's own checkpoint when there is one.
        minutes: overrides the schedule's minutes.
        stop_after: stop with a checkpoint after so many minutes of this session; the schedule
            stays as planned.
        overfit: train on so many frames in all, to see that the loop learns.
        ablate: train without these terms.
        device: "auto", "cpu", "cuda" or "cuda:0".
        devices: processes that train together, one a device; each takes `data.batch` crops.
        threads: of torch on the CPU, in each process.
    """
    if minutes is not None:
        schedule = replace(schedule, minutes=minutes)
    recipe = DressingRecipe(
        architecture=architecture,
        data=data,
        weights=without(weights, ablate or ()),
        optimiser=optimiser,
        schedule=schedule,
        adversaries=adversaries,
        refine=refine,
        vgg19=vgg19,
        vggface=vggface,
        perceptual_stages=tuple(perceptual_stages),
        seed=seed,
    )
    chosen = find_captures(captures)
    torch.set_num_threads(threads)
    keep_freed_memory()
    training = DressingTraining(
        recipe, chosen, out, library=library, device=device, devices=devices, overfit=overfit
    )
    if resume == "never" and (out / CHECKPOINT_FILE).exists():
        raise TrainingError(f"{out} already holds a checkpoint", "resume it, or give another --out")
    if not training.resume():
        training.start(init_from, plain_textures)
    first = training.processes.is_first
    if first:
        print(f"{out}: {len(chosen)} people, step {training.step}, {training.device}")  # noqa: T201
    # Ctrl-C and a polite kill end the session like --stop_after: with a checkpoint.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: training.stopping.set())
    training.run(stop_after=stop_after, progress=first and sys.stderr.isatty())
    if first:
        minutes_made = training.seconds / 60
        print(f"{out}: step {training.step}, {minutes_made:.1f} minutes of training")  # noqa: T201
    return 0
