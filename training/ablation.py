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
from training.dressing_data import cut_batch, whole_window
from training.dressing_recipe import (
    DressingData,
    DressingOptimiser,
    DressingRecipe,
    DressingRefinement,
    DressingSchedule,
)
from training.dressing_report import RENDER_MARGIN
from training.dressing_training import DressingTraining
from training.image_metrics import mean_figures, measure, psnr
from training.losses import (
    ABLATIONS,
    NEUTRAL_GREY,
    DressingWeights,
    Term,
    composite,
    composite_premultiplied,
    without,
)
from training.regions import HEAD, LEFT_HAND, RIGHT_HAND, crop, find_squares

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray
    from torch import Tensor

    from training.dressing_data import Batch, Frame

FULL = "full"
"""The variant with every term."""
TABLE_FILE = "ablations.json"
MARKDOWN_FILE = "ablations.md"
SHEET_FILE = "ablations.png"
PAPER_TERMS: tuple[Term, ...] = tuple(ABLATIONS)[:7]
CROP = 160
"""Side of a cell of the sheet."""
COLUMNS = {
    "psnr_person": "person dB",
    "psnr_head": "head dB",
    "psnr_hands": "hands dB",
    "ssim_box": "SSIM",
    "perceptual": "distance",
    "detail": "detail",
    "iou_foreground": "IoU",
    "iou_hands": "IoU hands",
    "iou_face": "IoU face",
}
"""Figure → heading of the table. `detail` is the energy of differences between neighbouring pixels
on the person over that of the truth: below 1 is blur."""


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
    steps: int | None = None,
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
        steps: overrides the schedule's steps.
        shown: frames a person on the sheet.
        device: "auto", "cpu", "cuda" or "cuda:0".
        threads: of torch on the CPU.

    Raises:
        TrainingError: the schedule is not planned in steps.
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
    table: dict[str, Any] = {}
    rows: list[NDArray[np.uint8]] = []
    for name, changed in variants(recipe, terms or PAPER_TERMS).items():
        training = DressingTraining(changed, chosen, out / name, library=library, device=device)
        if not training.resume():
            training.start(init_from)
        if training.step < schedule.steps:
            training.run()
        table[name], pictures = compare(training, shown)
        table[name]["steps"] = training.step
        if not rows:
            rows.append(_row("truth", [picture[0] for picture in pictures]))
        rows.append(_row(name, [picture[1] for picture in pictures]))
        # After each variant: an interrupted comparison shows what there is.
        _write(out, table, rows)
        print(f"{name}: " + ", ".join(f"{k} {v:.3f}" for k, v in table[name].items()))  # noqa: T201
    print((out / MARKDOWN_FILE).read_text(encoding="utf-8"))  # noqa: T201
    return 0


def variants(recipe: DressingRecipe, terms: Sequence[Term]) -> dict[str, DressingRecipe]:
    """Return the recipe as "full", and as "no-TERM" without each term that it uses."""
    found = {FULL: recipe}
    for term in terms:
        weights = without(recipe.weights, [term])
        if weights != recipe.weights:
            found[f"no-{term}"] = replace(recipe, weights=weights)
    return found


def compare(
    training: DressingTraining, shown: int
) -> tuple[dict[str, float], list[tuple[NDArray[np.uint8], NDArray[np.uint8]]]]:
    """Measure a training's held-out frames; picture some of each person.

    Returns:
        means by figure, and pairs of pictures (truth, prediction): whole, head and a hand.
    """
    model = training.averaged_model()
    distance = perceptual_distance()
    figures: list[dict[str, float]] = []
    pictures: list[tuple[NDArray[np.uint8], NDArray[np.uint8]]] = []
    frames = [some[:shown] for some in training.held_out]
    size = training.recipe.data.size
    for some in training.held_out:
        for frame in some:
            batch = cut_batch(training.people, [frame], [whole_window(frame, RENDER_MARGIN)], size)
            with torch.no_grad():
                dressed = model(training.fabric.to_device(batch))
            masks = (dressed.masks.float() * batch.captured).cpu()
            drawn = composite(dressed.rgb.float().cpu(), masks[:, :1], NEUTRAL_GREY)
            true = composite_premultiplied(batch.colour, batch.masks[:, :1], NEUTRAL_GREY)
            found = _figures(drawn, masks, true, batch)
            found["perceptual"] = float(distance(drawn, true))
            figures.append(found)
            if _is_one_of(frame, frames):
                pictures.append((_views(true, batch), _views(drawn, batch)))
    means = {name: float(np.nanmean([found[name] for found in figures])) for name in figures[0]}
    return means, pictures


def _figures(drawn: Tensor, masks: Tensor, true: Tensor, batch: Batch) -> dict[str, float]:
    images = [_picture(image) for image in (drawn, masks, true, batch.masks)]
    found = mean_figures([measure(images[0], images[1], images[2], images[3])])
    for name, channel in (("head", 2), ("hands", 1)):
        region = (images[1][..., channel] > 0.5) | (images[3][..., channel] > 0.5)
        found[f"psnr_{name}"] = psnr(images[0][region], images[2][region])
    person = images[3][..., 0] > 0.5
    found["detail"] = _energy(images[0], person) / max(_energy(images[2], person), 1e-9)
    return found


def _energy(image: NDArray[np.floating], where: NDArray[np.bool_]) -> float:
    across = np.square(np.diff(image, axis=1))[where[:, 1:]].sum()
    down = np.square(np.diff(image, axis=0))[where[1:]].sum()
    return float(across + down)


def _views(image: Tensor, batch: Batch) -> NDArray[np.uint8]:
    """Return whole, head and hand side by side, (CROP, 3 · CROP, 3)."""
    whole = torch.nn.functional.interpolate(image, (CROP, CROP), mode="area")
    cells = [whole]
    for regions in ((HEAD,), (LEFT_HAND, RIGHT_HAND)):
        found = crop(image, find_squares(batch, regions), CROP)[:1]
        cells.append(found if len(found) else torch.full_like(whole, NEUTRAL_GREY))
    row = np.concatenate([_picture(cell) for cell in cells], axis=1)
    return (row * 255.0 + 0.5).clip(0, 255).astype(np.uint8)


def _picture(image: Tensor) -> NDArray[np.float32]:
    return image[0].permute(1, 2, 0).detach().cpu().numpy()


def _row(name: str, cells: list[NDArray[np.uint8]]) -> NDArray[np.uint8]:
    label = Image.new("RGB", (150, CROP), (255, 255, 255))
    ImageDraw.Draw(label).text((8, CROP // 2 - 6), name, fill=(0, 0, 0))
    return np.concatenate([np.asarray(label, np.uint8), *cells], axis=1)


def _write(out: Path, table: dict[str, Any], rows: list[NDArray[np.uint8]]) -> None:
    (out / TABLE_FILE).write_text(json.dumps(table, indent=1) + "\n", encoding="utf-8")
    heading = " | ".join(["variant", *COLUMNS.values()])
    lines = [f"| {heading} |", "|" + "---|" * (len(COLUMNS) + 1)]
    for name, figures in table.items():
        cells = [
            f"{figures[key]:.2f}" if "psnr" in key else f"{figures[key]:.3f}" for key in COLUMNS
        ]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    (out / MARKDOWN_FILE).write_text("\n".join(lines) + "\n", encoding="utf-8")
    Image.fromarray(np.concatenate(rows)).save(out / SHEET_FILE)


def _is_one_of(frame: Frame, frames: Sequence[Sequence[Frame]]) -> bool:
    return any(frame is other for some in frames for other in some)
