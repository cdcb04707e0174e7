"""`dressform train ablations`: what each loss is good for.

One training with every term of the recipe and one without each, of equally many steps, seeds and
batches; then the held-out frames of the captures, measured and laid side by side. A variant whose
training is complete is not trained again, an interrupted one goes on from its checkpoint.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image, ImageDraw

from blender_addon.contract.errors import TrainingError
from models.dresser import DresserConfig
from models.package import DEFAULT_LIBRARY
from models.perceptual import perceptual_distance
from training.adversaries import DressingAdversaries
from training.captures import find_captures
from training.comparison import CELL, VIEWS, compare, frames_to_compare
from training.dressing_data import People
from training.dressing_recipe import (
    DressingData,
    DressingOptimiser,
    DressingRecipe,
    DressingRefinement,
    DressingSchedule,
)
from training.dressing_training import DressingTraining
from training.losses import ABLATIONS, DressingWeights, Term, without

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

FULL = "full"
"""The variant with every term."""
TABLE_FILE = "ablations.json"
MARKDOWN_FILE = "ablations.md"
SHEET_FILE = "ablations.png"
PAPER_TERMS: tuple[Term, ...] = tuple(ABLATIONS)[:7]
HEADINGS = {"psnr": "dB", "distance": "distance", "detail": "detail", "iou": "IoU"}
"""Figure of a view → its heading in the table (`training.comparison.FIGURES`)."""
LABEL = 150
"""Width of a row's name on the sheet."""


def train_ablations(
    captures: Path | list[Path],
    out: Path = Path("runs/ablations"),
    terms: list[Term] | None = None,
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
    held_out: list[Path] | None = None,
    steps: int | None = None,
    measured: int = 12,
    shown: int = 2,
    device: str = "auto",
    threads: int = 2,
) -> int:
    """Train the recipe with every term and without each of some; compare held-out frames.

    Args:
        captures: a folder that holds captures, one a person, or a list of captures.
        out: a folder per variant, and the table and sheet.
        terms: to leave out, one at a time; those of the paper's table when not given. A term
            whose weight is 0 in the recipe is left out of the comparison.
        architecture: of the dresser.
        data: what the network sees of the captures.
        weights: of the losses.
        optimiser: Adam, running average, first values.
        schedule: must be planned in steps, so that all variants are trained equally long.
        adversaries: the discriminators.
        refine: body fits as parameters.
        vgg19: torchvision's VGG19 weights (.pth, .safetensors).
        vggface: VGG-Face's weights (.pth, .safetensors).
        perceptual_stages: stages of the offline perceptual distance.
        seed: of first values and crops, the same for all.
        library: where the captures' body lies.
        init_from: a run or a library that every variant starts from.
        held_out: captures of the same people whose held-out frames are compared, where the
            captures that are trained on have none.
        steps: overrides the schedule's steps.
        measured: held-out frames a person at most, evenly spread.
        shown: frames a person on the sheet.
        device: "auto", "cpu", "cuda" or "cuda:0".
        threads: of torch on the CPU.

    Raises:
        TrainingError: the schedule is not planned in steps, or there are no held-out frames.
    """
    schedule = replace(schedule, steps=steps or schedule.steps, minutes=None)
    if not schedule.steps:
        raise TrainingError("ablations are compared after equally many steps", "give --steps")
    recipe = DressingRecipe(
        architecture=architecture,
        data=data,
        weights=weights,
        optimiser=optimiser,
        schedule=schedule,
        adversaries=adversaries,
        refine=refine,
        vgg19=vgg19,
        vggface=vggface,
        perceptual_stages=tuple(perceptual_stages),
        seed=seed,
    )
    torch.set_num_threads(threads)
    chosen = find_captures(captures)
    frames = frames_to_compare(People.open(chosen, library), held_out, library, measured)
    distance = perceptual_distance()
    table: dict[str, Any] = {}
    rows: list[NDArray[np.uint8]] = []
    for name, changed in variants(recipe, terms or PAPER_TERMS).items():
        training = DressingTraining(changed, chosen, out / name, library=library, device=device)
        if not training.resume():
            training.start(init_from)
        if training.step < schedule.steps:
            training.run()
        means, pictures = compare(training, frames, distance, shown)
        table[name] = {"steps": training.step, **means}
        if not rows:
            rows.append(_row("truth", [picture.true for picture in pictures]))
        rows.append(_row(name, [picture.drawn for picture in pictures]))
        # After each variant: an interrupted comparison shows what there is.
        _write(out, table, rows)
        print(_line(name, table[name]), flush=True)  # noqa: T201
    return 0


def variants(recipe: DressingRecipe, terms: Sequence[Term]) -> dict[str, DressingRecipe]:
    """Return the recipe as "full", and as "no-TERM" without each term that it uses."""
    found = {FULL: recipe}
    for term in terms:
        weights = without(recipe.weights, [term])
        if weights != recipe.weights:
            found[f"no-{term}"] = replace(recipe, weights=weights)
    return found


def _row(name: str, cells: list[NDArray[np.uint8]]) -> NDArray[np.uint8]:
    label = Image.new("RGB", (LABEL, CELL), (255, 255, 255))
    ImageDraw.Draw(label).text((8, CELL // 2 - 6), name, fill=(0, 0, 0))
    return np.concatenate([np.asarray(label, np.uint8), *cells], axis=1)


def _write(out: Path, table: dict[str, Any], rows: list[NDArray[np.uint8]]) -> None:
    (out / TABLE_FILE).write_text(json.dumps(table, indent=1) + "\n", encoding="utf-8")
    headings = [f"{view} {heading}" for view in VIEWS for heading in HEADINGS.values()]
    lines = [f"| variant | {' | '.join(headings)} |", "|" + "---|" * (len(headings) + 1)]
    lines += [_line(name, figures) for name, figures in table.items()]
    (out / MARKDOWN_FILE).write_text("\n".join(lines) + "\n", encoding="utf-8")
    Image.fromarray(np.concatenate(rows)).save(out / SHEET_FILE)


def _line(name: str, figures: dict[str, float | None]) -> str:
    """Return a row of the table; a view that no frame shows has no figures."""
    cells: list[str] = []
    for view in VIEWS:
        for figure in HEADINGS:
            value = figures[f"{view}/{figure}"]
            digits = 2 if figure == "psnr" else 3
            cells.append("–" if value is None else f"{value:.{digits}f}")
    return f"| {name} | {' | '.join(cells)} |"
