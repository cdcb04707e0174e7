"""`dressform export sof`: a run's checkpoint becomes a package of a library."""

from __future__ import annotations

import json
from pathlib import Path  # noqa: TC003 - jsonargparse reads the command's annotations
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from PIL import Image

from blender_addon.contract.camera import look_at
from blender_addon.contract.errors import TrainingError
from blender_addon.contract.labels import labels_to_colors
from models.package import DEFAULT_LIBRARY, MANIFEST_FILE, read_manifest
from models.sof import SofConfig
from models.sof_directions import direction_effects
from models.sof_package import load_sof, write_sof
from models.sof_render import SofRenderer
from models.sof_space import SofSpace
from training.checkpoint import load_checkpoint
from training.dressing_model import average_state
from training.sof_recipe import SofRecipe
from training.sof_step import SofModel

if TYPE_CHECKING:
    from torch import Tensor

    from models.sof import Sof

PREVIEW_SIZE = 256
NAMED_DIRECTIONS = 8
FOCAL = 2.4
"""Of the preview, in image sides: a portrait lens."""
DISTANCE = 1.4
"""Metres of the preview's camera."""


class TrainedSof(NamedTuple):
    """A run's outcome: the running average of its weights.

    Attributes:
        model: modules and codes.
        heads: ids in the order of the codes.
        digest: of the set of heads.
        recipe: as run, with steps and minutes.
        figures: the last measured on held-out views.
    """

    model: SofModel
    heads: list[str]
    digest: str
    recipe: dict[str, Any]
    figures: dict[str, float]


def export_sof(
    run: Path,
    library: Path = DEFAULT_LIBRARY,
    id: str = "sof",  # noqa: A002
    name: str = "Heads",
) -> int:
    """Write a run's SOF as a package.

    Args:
        run: folder of `dressform train sof`.
        library: where the package goes; one of the same id is replaced.
        id: of the package.
        name: what people read.
    """
    trained = read_run(run)
    folder = library / id
    write_sof(
        folder,
        trained.model.sof,
        trained.model.codes,
        trained.heads,
        name=name,
        licence="CC0-1.0",
        recipe=trained.recipe,
        data={"digest": trained.digest, "directions": direction_names(trained.model)},
        metrics=trained.figures,
        preview=preview(trained.model.sof, trained.model.codes.detach().mean(dim=0)),
    )
    size = sum(path.stat().st_size for path in folder.iterdir()) / 1e6
    print(f"{folder}: {size:.1f} MB")  # noqa: T201 - a command's own output
    return 0


def direction_names(model: SofModel, count: int = NAMED_DIRECTIONS) -> list[str]:
    """Return what the first principal directions of a field's heads do, for sliders.

    Fewer than two heads have no directions.
    """
    codes = model.codes.detach()
    if len(codes) < 2:
        return []
    effects = direction_effects(SofRenderer(model.sof), SofSpace(codes), count)
    return [effect.name for effect in effects]


def read_run(run: Path) -> TrainedSof:
    """Read a run's checkpoint as it ships.

    Raises:
        TrainingError: there is no checkpoint.
    """
    state = load_checkpoint(run)
    if state is None:
        raise TrainingError(f"{run} holds no checkpoint", "train first, or check the path")
    recipe: dict[str, Any] = json.loads((run / "recipe.json").read_text(encoding="utf-8"))
    config = SofConfig.from_plain(recipe["architecture"])
    model = SofModel(config, len(state["heads"]), SofRecipe().optimiser.deviation)
    model.load_state_dict(average_state(state["model"], state["average"]))
    return TrainedSof(
        model.eval().requires_grad_(requires_grad=False),
        list(state["heads"]),
        str(state["digest"]),
        {
            "command": "dressform train sof",
            "steps": int(state["step"]),
            "minutes": round(float(state["seconds"]) / 60, 2),
            **recipe,
        },
        _last_figures(run),
    )


def start_values(source: Path) -> tuple[dict[str, Tensor], list[str]]:
    """Return the state of `SofModel`, and the ids of its codes, of a run or of a package."""
    if (source / MANIFEST_FILE).is_file():
        loaded = load_sof(source)
        state = {f"sof.{name}": value for name, value in loaded.sof.state_dict().items()}
        return state | {"codes": loaded.codes}, list(loaded.heads)
    trained = read_run(source)
    return dict(trained.model.state_dict()), trained.heads


def start_config(source: Path) -> SofConfig:
    """Return the architecture of a run or of a package."""
    if (source / MANIFEST_FILE).is_file():
        return SofConfig.from_plain(read_manifest(source).architecture)
    return read_run(source).model.sof.config


def preview(sof: Sof, code: Tensor) -> Image.Image:
    """Return a picture of a head from the front."""
    camera = look_at(
        np.array([0.25 * DISTANCE, 0.0, DISTANCE]),
        np.array([0.0, -0.02, 0.0]),
        np.array([0.0, 1.0, 0.0]),
        focal=FOCAL * PREVIEW_SIZE,
        width=PREVIEW_SIZE,
        height=PREVIEW_SIZE,
    )
    labels = SofRenderer(sof).label_map(code, camera).labels.cpu().numpy()
    return Image.fromarray(labels_to_colors(labels))


def _last_figures(run: Path) -> dict[str, float]:
    log = run / "log.jsonl"
    if not log.is_file():
        return {}
    for line in reversed(log.read_text(encoding="utf-8").splitlines()):
        entry: dict[str, float] = json.loads(line)
        if "held-out/mean_iou" in entry:
            return {name: value for name, value in entry.items() if name.startswith("held-out/")}
    return {}
