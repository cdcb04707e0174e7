"""A small SOF trained on toy heads, once a session: good enough to have surfaces."""

from __future__ import annotations

import tempfile
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from models.sof import SofConfig
from training.sof_export import TrainedSof, read_run
from training.sof_recipe import SofData, SofOptimiser, SofRecipe, SofSchedule
from training.sof_training import SofTraining

from .toy_heads import write_toy_heads

if TYPE_CHECKING:
    from training.heads.format import HeadSet

TOY = SofRecipe(
    architecture=SofConfig(code=8, hidden=32, width=48, frequencies=2),
    data=SofData(heads=3, views=2, rays=256),
    optimiser=SofOptimiser(rate=3e-3, code_rate=1e-2, average=0.9),
    schedule=SofSchedule(steps=180, warm_up=10),
)


@cache
def toy_sof() -> tuple[Path, HeadSet, list[float]]:
    """Return the run's folder, its heads and the losses of its steps."""
    torch.set_num_threads(1)
    folder = Path(tempfile.mkdtemp(prefix="toy-sof-"))
    heads = write_toy_heads(folder / "heads", heads=3, views=12, size=48)
    history = SofTraining(TOY, heads, folder / "run", device="cpu").run()
    return folder / "run", heads, history


@cache
def trained_toy() -> TrainedSof:
    return read_run(toy_sof()[0])
