"""`dressform evaluate fit-ablations`: what each term of a fit is good for, with both encoders.

Source: StylePeople supplementary, section 5.1 and Table 4. One frame of each person is the source, the
others are targets. All seven losses of the section are switched off in turn; the paper's table
leaves "no LPIPS" out. What was measured stays: the command goes on where it was stopped.
"""

from __future__ import annotations

import json as json_files
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from PIL import Image, ImageDraw
from tqdm import tqdm

from blender_addon.contract.errors import TrainingError
from models.body import load_body
from models.inversion_recipe import (
    CPU_FIT,
    OPTIMISED_STAGES,
    FitRecipe,
    FitTerm,
    with_effort,
    without,
)
from models.memory import keep_freed_memory
from models.package import DEFAULT_LIBRARY, find_package
from training.captures import Capture, find_captures
from training.evaluation_perceptual import yardstick as choose_yardstick
from training.evaluation_tables import write_json
from training.siw_frechet import features_of, frechet_distance
from training.wardrobe.encoder import load_encoder
from training.wardrobe.fit_measure import (
    HeldOutFrames,
    Networks,
    as_images,
    capture_photo,
    check_people,
    means,
    photograph_of,
    run_fit,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from training.evaluation_perceptual import Yardstick
    from training.siw_frechet import Features

TERMS: dict[str, FitTerm | None] = {
    "full": None,
    "no MAE-texture": "texture_deviation",
    "no fm-face": "face_features",
    "no LPIPS-face": "face_lpips",
    "no MAE-generator": "generator_deviation",
    "no MAE-encoder": "encoder_deviation",
    "no MSE": "mse",
    "no LPIPS": "lpips",
}
"""The paper's names of the rows, and the term that each leaves out."""

MARKDOWN_FILE, JSON_FILE, SHEET_FILE = (
    *("fit-ablations.md", "fit-ablations.json", "fit-ablations.jpg"),
)
_CAPTION, _SHOWN, _CELL = 14, 3, 192


def evaluate_fit_ablations(
    captures: Path | list[Path] = Path("runs/strangers"),
    wardrobe: str = "wardrobe-people",
    library: Path = DEFAULT_LIBRARY,
    generated: Path | None = None,
    captured: Path | None = None,
    out: Path = Path("runs/fit-ablations"),
    recipe: FitRecipe = CPU_FIT,
    effort: float = 0.5,
    people: int = 2,
    frames: int | None = None,
    only: list[str] | None = None,
    features: Literal[0, 2] = 2,
    inception: Path | None = None,
    lpips_trunk: Path | None = None,
    threads: int = 2,
) -> int:
    """Fit with all terms and without each of them, once with each encoder, and write the table.

    Args:
        captures: of people that the wardrobe never saw; the photograph of each is the source, all
            other frames are targets.
        wardrobe: id of the package.
        library: where it lies.
        generated: package of the G-encoder, as `train photo-encoder` writes it into its run; the
            wardrobe's own encoder without.
        captured: package of the A-encoder; its rows are left out without.
        out: folder of the table (.md and .json) and of a sheet.
        recipe: of the fit.
        effort: times its iterations.
        people: at most so many.
        frames: at most so many targets a person.
        only: rows, by the paper's names; all when omitted.
        features: of which EfficientNet-lite the Fréchet distance is, under its own name: 2 is an extra,
            0 is what fits look at themselves, only good for a trial.
        inception: Inception-v3's weights, for FID and IS instead.
        lpips_trunk: torchvision's AlexNet or VGG16 weights, for LPIPS.
        threads: of torch on the CPU.

    Raises:
        TrainingError: there is no such row, or the wardrobe has no encoder.
    """
    torch.set_num_threads(threads)
    keep_freed_memory()
    opened = [Capture.open(folder) for folder in find_captures(captures)][:people]
    rows = [name for name in TERMS if only is None or name in only]
    if only and len(rows) != len(set(only)):
        raise TrainingError("no such row of the table", f"rows: {', '.join(TERMS)}")
    body = load_body(find_package(library, opened[0].description.body))
    chosen = {"G-encoder": generated} | ({"A-encoder": captured} if captured else {})
    truth = [HeldOutFrames(each, _targets(each)[:frames], body) for each in opened]
    judge = Judge(choose_yardstick(lpips_trunk), features_of(features, inception), inception, truth)
    table = _kept(out / JSON_FILE)
    sheet: dict[str, list[NDArray[np.float32]]] = {}
    bar = tqdm(total=len(chosen) * len(rows), desc="ablations", unit="row")
    for title, package in chosen.items():
        encoder = None if package is None else load_encoder(package)
        networks = Networks.load(library, wardrobe, body, encoder)
        if networks.wardrobe.encoder is None:
            raise TrainingError(f"{wardrobe} has no encoder", "train one: train photo-encoder")
        check_people(networks.wardrobe, opened)
        for row in rows:
            bar.update()
            name = f"{title}/{row}"
            if name in table:
                continue
            term = TERMS[row]
            settings = with_effort(recipe if term is None else without(recipe, [term]), effort)
            table[name], sheet[name] = judge.row(networks, opened, settings)
            write_json(out / JSON_FILE, table)
    text = markdown(table)
    (out / MARKDOWN_FILE).write_text(text, encoding="utf-8")
    if sheet:
        _write_sheet(out / SHEET_FILE, sheet, truth)
    print(text)  # noqa: T201 - a command's own output
    return 0


class Judge:
    """Measures rows of the table.

    Args:
        stick: the perceptual distance.
        features: of the Fréchet distance.
        inception: Inception's weights for IS, if given.
        truth: the targets, a person each.
    """

    def __init__(
        self,
        stick: Yardstick,
        features: Features,
        inception: Path | None,
        truth: Sequence[HeldOutFrames],
    ) -> None:
        self.stick, self.features, self.inception, self.truth = stick, features, inception, truth
        self.true = torch.cat([features(as_images(each.frames)) for each in truth])

    def row(
        self, networks: Networks, captures: Sequence[Capture], recipe: FitRecipe
    ) -> tuple[dict[str, float], list[NDArray[np.float32]]]:
        """Fit each person; return the figures over all of them, and some of what was shown."""
        figures, images, shown = [], [], []
        seconds = 0.0
        for capture, truth in zip(captures, self.truth, strict=True):
            photos = [capture_photo(capture, photograph_of(capture))]
            fitted, _ = run_fit(networks, photos, recipe, OPTIMISED_STAGES)
            seconds += sum(each.seconds for each in fitted.figures.values())
            own = truth.shown(networks.renderer(fitted.texture))
            figures += truth.measure(own, self.stick)
            images.append(as_images(own))
            shown += [each.image for each in own[:_SHOWN]]
        known = means(figures)
        found = self.features(torch.cat(images))
        result = {
            f"Fréchet distance, {self.features.name}": frechet_distance(found, self.true),
            self.stick.name: known["distance"],
            "ssim": known["ssim"],
            "psnr": known["psnr"],
            "seconds": seconds / len(captures),
        }
        if self.inception is not None:
            result = {"inception score": inception_score(found, self.inception)} | result
        return result, shown


def inception_score(features: torch.Tensor, weights: Path) -> float:
    """Return IS of images from Inception's pooled features: exp of the mean KL from the marginal.

    Source: Salimans et al. 2016, in one split.
    """
    from models.perceptual import read_weights

    given = read_weights(weights)
    logits = features @ given["fc.weight"].T + given["fc.bias"]
    each = logits.log_softmax(dim=1)
    marginal = each.exp().mean(dim=0).clamp_min(1e-12).log()
    return float((each.exp() * (each - marginal)).sum(dim=1).mean().exp())


def markdown(table: Mapping[str, Mapping[str, float]]) -> str:
    """Return the table as in the paper: a block an encoder, a row an ablation."""
    columns = list(next(iter(table.values())))
    better = {"ssim": " ↑", "psnr": " ↑", "inception score": " ↑", "seconds": ""}
    titles = [name.upper() if name in ("ssim", "psnr") else name for name in columns]
    heads = [
        f"{title}{better.get(name, ' ↓')}" for title, name in zip(titles, columns, strict=True)
    ]
    lines = ["| | " + " | ".join(heads) + " |", "|---|" + "---|" * len(columns)]
    before = ""
    for name, values in table.items():
        encoder, _, row = name.partition("/")
        if encoder != before:
            lines.append(f"| **{encoder}** |" + " |" * len(columns))
            before = encoder
        cells = [f"{values[column]:.4g}" for column in columns]
        lines.append(f"| {row} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def _targets(capture: Capture) -> list[int]:
    source = photograph_of(capture)
    return [index for index in range(len(capture)) if index != source]


def _kept(file: Path) -> dict[str, dict[str, float]]:
    if not file.is_file():
        file.parent.mkdir(parents=True, exist_ok=True)
        return {}
    found: dict[str, Any] = json_files.loads(file.read_text(encoding="utf-8"))
    return found


def _write_sheet(
    file: Path, sheet: Mapping[str, list[NDArray[np.float32]]], truth: Sequence[HeldOutFrames]
) -> None:
    """Write targets and, below them, what each row showed."""
    true = [frame.image for each in truth for frame in each.frames[:_SHOWN]]
    rows = {"targets": true} | dict(sheet)
    size = (_CELL * len(true), (_CELL + _CAPTION) * len(rows))
    canvas = Image.new("RGB", size, "white")
    draw = ImageDraw.Draw(canvas)
    for line, (name, images) in enumerate(rows.items()):
        top = line * (_CELL + _CAPTION)
        draw.text((4, top + 1), name, "black")
        for column, image in enumerate(images):
            pixels = Image.fromarray((image * 255 + 0.5).clip(0, 255).astype(np.uint8))
            canvas.paste(pixels.resize((_CELL, _CELL)), (column * _CELL, top + _CAPTION))
    canvas.save(file, quality=88)
