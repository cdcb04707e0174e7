"""`dressform train siw-ablations`: what the label encoder and mixed styles are good for.

Five painters see equally many portraits: the whole one; with a constant input in place of the
encoder of the label map; without mixed styles; with neither; and StyleGAN2 without labels. Source:
SofGAN, section 6.3 and Figure 9: label maps of a set that none was trained on, truncation 1.0, a
fixed number of images. A variant goes on from its own checkpoint, and what was measured stays.
"""

from __future__ import annotations

import json
import signal
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from PIL import Image

from blender_addon.contract.labels import labels_to_colors
from models.memory import keep_freed_memory
from models.siw_config import SiwConfig
from training.charts import Series, line_chart
from training.looks import sheet
from training.schedule import StagePlan
from training.siw_data import PortraitSet, to_images, to_pixels
from training.siw_figures import Painter
from training.siw_frechet import features_of, frechet_distance
from training.siw_recipe import (
    SiwAdversary,
    SiwData,
    SiwOptimiser,
    SiwRecipe,
    SiwSchedule,
    SiwWeights,
)
from training.siw_training import SiwTraining

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import Tensor

    from training.siw_data import Portraits
    from training.siw_frechet import Features

CURVE_FILE = "curve.json"
TABLE_FILE = "siw-ablations.json"
MARKDOWN_FILE = "siw-ablations.md"
CHART_FILE = "siw-ablations.jpg"
SHEET_FILE = "siw-ablations-samples.jpg"
TITLES = {
    "full": "encoder, mixed styles",
    "constant": "constant input",
    "unmixed": "no mixed styles",
    "constant-unmixed": "neither",
    "stylegan2": "StyleGAN2, no labels",
}
"""Folder of a variant → what the chart calls it."""
SHOWN = 8
STYLES_SEED = 1
JPEG_QUALITY = 88

Curve = list[dict[str, float]]
"""Points of one variant: "images", "frechet" and "minutes"."""


def train_siw_ablations(
    portraits: Path,
    out: Path = Path("runs/siw-ablations"),
    labels: Path | None = None,
    architecture: SiwConfig = SiwConfig(),  # noqa: B008 - frozen
    data: SiwData = SiwData(),  # noqa: B008
    weights: SiwWeights = SiwWeights(),  # noqa: B008
    optimiser: SiwOptimiser = SiwOptimiser(),  # noqa: B008
    adversary: SiwAdversary = SiwAdversary(),  # noqa: B008
    schedule: SiwSchedule = SiwSchedule(),  # noqa: B008
    seed: int = 0,
    images: int = 4000,
    points: int = 8,
    count: int = 240,
    only: list[str] | None = None,
    inception: Path | None = None,
    limit: int | None = None,
    device: str = "auto",
    threads: int = 2,
) -> int:
    """Train the painter and four lesser ones on equally many images; compare them on the way.

    Args:
        portraits: a set of portraits; its held-out ones measure.
        out: a folder per variant, and the table, the chart and the samples.
        labels: a set whose label maps the painters train on; the portraits' own when none.
        architecture: of the whole painter; needs the shared mapping and no style encoder.
        data: what the painters see.
        weights: of the losses.
        optimiser: Adam and the running average.
        adversary: the discriminator.
        schedule: only its reports and checkpoints count: there is one stage, the paper's.
        seed: of first values, batches and drawn styles, the same for all.
        images: portraits that each variant is trained on.
        points: of each curve.
        count: images painted at each, on label maps of held-out portraits, against these.
        only: variants to train, of full, constant, unmixed, constant-unmixed and stylegan2.
        inception: Inception-v3's weights, for FID; without them the distance is that of
            EfficientNet-lite2's features, under its own name.
        limit: train on so many different portraits at most.
        device: "auto", "cpu", "cuda" or "cuda:0".
        threads: of torch on the CPU.
    """
    steps = max(1, images // data.batch)
    recipe = SiwRecipe(
        architecture=architecture,
        data=data,
        weights=weights,
        optimiser=optimiser,
        adversary=adversary,
        schedule=replace(
            schedule,
            warm_up=StagePlan(),
            adversarial=StagePlan(),
            unpaired=StagePlan(steps=steps),
        ),
        seed=seed,
    )
    torch.set_num_threads(threads)
    keep_freed_memory()
    chosen = "cuda" if device == "auto" and torch.cuda.is_available() else device
    place = torch.device("cpu" if chosen == "auto" else chosen)
    opened = PortraitSet.open(portraits, labels, architecture.size, limit, held_out=count)
    yardstick = Yardstick.of(opened.held_out, features_of(2, inception))
    stops = sorted({round(steps * (k + 1) / points) for k in range(points)} - {0})
    results: dict[str, Curve] = {}
    rows: dict[str, list[Image.Image]] = {}
    for name, changed in variants(recipe).items():
        if only and name not in only:
            continue
        training = SiwTraining(changed, opened, out / name, place)
        results[name] = train_and_measure(training, stops, yardstick)
        rows[name] = yardstick.samples(training)
        # After each variant: an interrupted comparison shows what there is.
        write(out, results, yardstick)
        _write_samples(out, rows, opened.held_out)
        print(f"{name}: {results[name][-1] if results[name] else 'stopped'}", flush=True)  # noqa: T201
        if training.stopping.is_set():
            break
    return 0


class Yardstick(NamedTuple):
    """What every variant is measured with.

    Attributes:
        labels: (N, S, S) uint8, of portraits that no variant sees.
        features: (N, D) of these portraits.
        network: that made them.
    """

    labels: Tensor
    features: Tensor
    network: Features

    @classmethod
    def of(cls, held_out: Portraits, network: Features) -> Yardstick:
        """Look at held-out portraits."""
        return cls(torch.from_numpy(held_out.labels), network(to_images(held_out.images)), network)

    def distance(self, training: SiwTraining) -> float:
        """Return the Fréchet distance of what a training's averaged network paints."""
        painter = Painter(training.average.eval(), training.device, training.stepper.dtype)
        # Truncation 1.0: styles as they are drawn.
        styles = painter.model.draw(len(self.labels), STYLES_SEED)
        return frechet_distance(self.features, self.network(painter.paint(self.labels, styles)))

    def samples(self, training: SiwTraining) -> list[Image.Image]:
        """Return some of the portraits painted: one style on all label maps, as in Figure 6."""
        painter = Painter(training.average.eval(), training.device, training.stepper.dtype)
        labels = self.labels[_shown(len(self.labels))]
        styles = painter.model.draw(len(labels), STYLES_SEED)
        half = len(labels) // 2
        # The first half in one style, to see what the label map says; the others in their own.
        styles = torch.cat([styles[:1].expand(half, -1, -1), styles[half:]])
        return [Image.fromarray(each) for each in to_pixels(painter.paint(labels, styles))]


def variants(recipe: SiwRecipe) -> dict[str, SiwRecipe]:
    """Return the recipes that are compared, by the name of their folder."""
    constant = replace(recipe.architecture, start="constant")
    unmixed = replace(recipe.adversary, mixing=0.0)
    return {
        "full": recipe,
        "constant": replace(recipe, architecture=constant),
        "unmixed": replace(recipe, adversary=unmixed),
        "constant-unmixed": replace(recipe, architecture=constant, adversary=unmixed),
        "stylegan2": replace(recipe, architecture=replace(constant, spade=()), adversary=unmixed),
    }


def train_and_measure(training: SiwTraining, stops: Sequence[int], yardstick: Yardstick) -> Curve:
    """Train up to each of some steps and measure there; go on where a session before ended.

    Args:
        training: as constructed.
        stops: steps, rising.
        yardstick: the same for all variants.
    """
    file = training.out / CURVE_FILE
    curve: Curve = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else []
    training.resume()
    previous = {
        number: signal.signal(number, lambda *_: training.stopping.set())
        for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        for stop in stops[len(curve) :]:
            training.run(until=stop)
            if training.stopping.is_set():
                break
            curve.append(
                {
                    "images": float(training.stepper.images),
                    "frechet": round(yardstick.distance(training), 3),
                    "minutes": round(training.stand.seconds / 60.0, 2),
                }
            )
            temporary = file.with_suffix(".part")
            temporary.write_text(json.dumps(curve, indent=1) + "\n", encoding="utf-8")
            temporary.replace(file)
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
    return curve


def write(out: Path, results: Mapping[str, Curve], yardstick: Yardstick) -> None:
    """Write the table, for people and for programs, and the chart."""
    name = f"Fréchet distance ({yardstick.network.name}, {len(yardstick.labels)})"
    plain = {"measure": name, "curves": results}
    (out / TABLE_FILE).write_text(json.dumps(plain, indent=1) + "\n", encoding="utf-8")
    measured = {variant: curve for variant, curve in results.items() if curve}
    if not measured:
        return
    stops = max(measured.values(), key=len)
    head = " | ".join(f"{point['images']:.0f}" for point in stops)
    lines = [f"| {name}, after images | {head} | minutes |", "|" + "---|" * (len(stops) + 2)]
    for variant, curve in measured.items():
        values = [f"{point['frechet']:.1f}" for point in curve] + ["–"] * (len(stops) - len(curve))
        lines.append(f"| {TITLES[variant]} | {' | '.join(values)} | {curve[-1]['minutes']:.1f} |")
    (out / MARKDOWN_FILE).write_text("\n".join(lines) + "\n", encoding="utf-8")
    chart = line_chart(
        [
            Series(TITLES[variant], [(point["images"], point["frechet"]) for point in curve])
            for variant, curve in measured.items()
        ],
        # Pillow's own font has no accents.
        title=name.replace("é", "e"),
        across="images seen",
        logarithmic=True,
    )
    chart.save(out / CHART_FILE, quality=JPEG_QUALITY)


def _write_samples(out: Path, rows: Mapping[str, list[Image.Image]], held_out: Portraits) -> None:
    chosen = _shown(len(held_out.images))
    pictures = {
        "label maps": [Image.fromarray(each) for each in labels_to_colors(held_out.labels[chosen])],
        "portraits": [Image.fromarray(each) for each in held_out.images[chosen]],
    } | {f"{TITLES[name]} (first half: one style)": row for name, row in rows.items()}
    shots = [
        ("" if column else caption, image)
        for caption, row in pictures.items()
        for column, image in enumerate(row)
    ]
    sheet(shots, len(chosen)).save(out / SHEET_FILE, quality=JPEG_QUALITY)


def _shown(count: int) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    return np.linspace(0, count - 1, min(count, SHOWN)).round().astype(np.int64)
