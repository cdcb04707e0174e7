"""`dressform export siw`: a run's averaged networks as a package."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import torch
from PIL import Image

from blender_addon.contract.errors import TrainingError
from models.package import Manifest
from models.siw_config import SiwConfig
from models.siw_package import Siw, save_siw
from models.siw_style import StylePrior
from training.checkpoint import load_checkpoint
from training.siw_data import PortraitSet, to_images
from training.siw_figures import Painter, colours_of, held_out_figures
from training.siw_report import sample_grid
from training.stage import RECIPE_FILE

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

PREVIEW_SIZE = 512
BANK = 512
"""Codes of training portraits that a package keeps to draw styles from."""
_LOOKED_AT = 64


def export_siw(
    run: Path,
    portraits: Path,
    library: Path,
    name: str = "siw-cpu",
    title: str = "Portrait painter",
    licence: str = "CC0-1.0",
) -> int:
    """Write a run's SIW StyleGAN as a package.

    Args:
        run: the folder of `dressform train siw`.
        portraits: the set it was trained on: figures and preview are of its held-out heads.
        library: where the package goes.
        name: id of the package.
        title: what people read.
        licence: SPDX identifier.
    """
    state = load_checkpoint(run)
    if state is None:
        raise TrainingError(f"{run} holds no checkpoint", "train first (`dressform train siw`)")
    recipe: dict[str, Any] = json.loads((run / RECIPE_FILE).read_text(encoding="utf-8"))
    model = averaged_model(state, SiwConfig.from_plain(recipe["architecture"]))
    opened = PortraitSet.open(portraits, None, model.config.size)
    if opened.digest != state["digest"].partition("+")[0]:
        raise TrainingError(
            f"{run} was trained on other portraits than {portraits}", "give the set of the training"
        )
    painter = Painter(model, torch.device("cpu"), torch.float32)
    train = opened.train
    some = slice(0, 256)
    colours = colours_of(to_images(train.images[some]), torch.from_numpy(train.labels[some]))
    figures = held_out_figures(painter, opened.held_out, colours, count=_LOOKED_AT, seed=1)
    manifest = Manifest(
        kind="siw",
        id=name,
        name=title,
        licence=licence,
        architecture=model.config.to_plain(),
        recipe={"command": "train siw", **recipe},
        data={"portraits": opened.digest, "count": len(train.images)},
        metrics={key: round(value, 4) for key, value in figures.items()}
        | {"step": state["stand"][0], "minutes": round(state["stand"][1] / 60.0, 1)},
    )
    grid = Image.fromarray(sample_grid(painter, opened.held_out))
    grid.thumbnail((PREVIEW_SIZE, PREVIEW_SIZE))
    save_siw(library / name, model, manifest, grid)
    print(f"{library / name}: {figures}")  # noqa: T201
    return 0


def averaged_model(state: Mapping[str, Any], config: SiwConfig) -> Siw:
    """Return the averaged networks of a checkpoint, ready to draw styles and to paint."""
    model = Siw(config)
    model.load_state_dict(state["average"])
    if state["prior"] is not None:
        prior = StylePrior(**state["prior"])
        step = max(1, len(prior.bank) // BANK)
        model.prior = prior._replace(bank=prior.bank[::step], present=prior.present[::step])
    elif config.photo_encoder:
        raise TrainingError(
            "the run has not finished its warm-up: it cannot draw styles yet", "train it further"
        )
    model.measure_style_mean()
    return model.eval().requires_grad_(requires_grad=False)
