"""A small SOF trained on toy heads, once a test run: good enough to have surfaces."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from contextlib import suppress
from functools import cache
from pathlib import Path

import torch

from models.sof import SofConfig
from training.heads.format import HeadSet
from training.sof_export import TrainedSof, read_run
from training.sof_recipe import SofData, SofOptimiser, SofRecipe, SofSchedule
from training.sof_training import SofTraining

from .toy_heads import write_toy_heads

TOY = SofRecipe(
    architecture=SofConfig(code=8, hidden=32, width=48, frequencies=2),
    data=SofData(heads=3, views=2, rays=256),
    optimiser=SofOptimiser(rate=3e-3, code_rate=1e-2, average=0.9),
    schedule=SofSchedule(steps=180, warm_up=10),
)


@cache
def toy_sof() -> tuple[Path, HeadSet, list[float]]:
    """Return the run's folder, its heads and the losses of its steps.

    Test processes that run side by side share what the first of them has trained.
    """
    torch.set_num_threads(1)
    made = Path(tempfile.mkdtemp(prefix="toy-sof-"))
    of_this_run = os.environ.get("PYTEST_XDIST_TESTRUNUID", made.name)
    shared = made.with_name(f"toy-sof-of-{of_this_run}")
    if not shared.is_dir():
        heads = write_toy_heads(made / "heads", heads=3, views=12, size=48)
        history = SofTraining(TOY, heads, made / "run", device="cpu").run()
        (made / "history.json").write_text(json.dumps(history), encoding="utf-8")
        with suppress(OSError):  # another process was quicker: its run is as good
            made.rename(shared)
    shutil.rmtree(made, ignore_errors=True)
    history = json.loads((shared / "history.json").read_text(encoding="utf-8"))
    return shared / "run", HeadSet.open(shared / "heads"), history


@cache
def trained_toy() -> TrainedSof:
    return read_run(toy_sof()[0])
