"""`dressform evaluate avatar`: one avatar against any capture of the person."""

from __future__ import annotations

from pathlib import Path  # noqa: TC003 - jsonargparse reads the annotations
from typing import TYPE_CHECKING, Literal

import numpy as np

from blender_addon.contract.errors import CaptureError
from models.package import DEFAULT_LIBRARY, read_manifest
from training.captures import Capture
from training.evaluation import AVATAR, AvatarResult, evaluate_avatar
from training.evaluation_perceptual import yardstick as choose_yardstick
from training.evaluation_tables import figure, header, named, row, write_json
from training.evaluation_truth import SIZE

if TYPE_CHECKING:
    from training.evaluation_measure import MethodFigures

Chosen = Literal["held-out", "train", "all"]


def evaluate_one(
    avatar: str,
    capture: Path | None = None,
    library: Path = DEFAULT_LIBRARY,
    split: Chosen = "held-out",
    json: Path | None = None,
    pictures: Path | None = None,
    frames: int | None = None,
    size: int = SIZE,
    lpips_trunk: Path | None = None,
    vgg19: Path | None = None,
    device: str = "cpu",
) -> int:
    """Measure an avatar on a capture: person, head and hands, detail, and flicker in sequences.

    Args:
        avatar: id of its package.
        capture: folder of the capture.
        library: folder of packages.
        split: which frames; those that the avatar was trained on are refused.
        json: also write {"figure": {"value", "bound", "ok"}} to this file.
        pictures: write the worst frames to this folder.
        frames: measure only so many frames outside sequences, evenly spread.
        size: width in pixels to which frames are averaged down.
        lpips_trunk: torchvision's AlexNet or VGG16 weights, for LPIPS.
        vgg19: torchvision's VGG19 weights, for its feature distance.
        device: where to render.
    """
    if capture is None:
        raise CaptureError("there is nothing to compare with", "give --capture DIR")
    truth = Capture.open(capture)
    yardstick = choose_yardstick(lpips_trunk, vgg19)
    result = evaluate_avatar(
        library,
        read_manifest(library / avatar),
        truth,
        yardstick,
        indices=chosen_frames(truth, split),
        limit=frames,
        pictures=pictures,
        device=device,
        size=size,
    )
    report(result, yardstick.name, json)
    return 0


def chosen_frames(capture: Capture, split: Chosen) -> list[int]:
    """Return the indices of a split, or of all frames.

    Raises:
        CaptureError: there are none.
    """
    indices = list(range(len(capture))) if split == "all" else capture.frames(split)
    if not indices:
        raise CaptureError(
            f"{capture.folder} has no {split} frames", "choose another --split: train or all"
        )
    return indices


def report(result: AvatarResult, distance: str, json: Path | None) -> None:
    """Print the table of one method and write its JSON; neither has bounds."""
    measured = result.methods[AVATAR]
    print(method_table(result.id, measured, distance))  # noqa: T201 - a command's own output
    if json is not None:
        write_json(json, {name: figure(v) for name, v in plain_figures(measured, distance).items()})


def plain_figures(measured: MethodFigures, distance: str) -> dict[str, float]:
    """Return every figure that was measured of a method, by its published name."""
    figures = named(measured.means(), distance)
    figures |= {f"psnr_box of {tag}": value for tag, value in measured.by_tag().items()}
    figures |= {f"flicker of {name}": value for name, value in measured.by_sequence().items()}
    return {name: value for name, value in figures.items() if not np.isnan(value)}


def method_table(label: str, measured: MethodFigures, distance: str) -> str:
    """Return one method's figures as people read them: means, parts, worst frames."""
    means = measured.means()
    width = len(label) + 2
    names = ("psnr", "ssim", "perceptual")
    lines = [header(width), row(label, means, width), "", f"{len(measured.frames)} frames"]
    for part in ("box", "head", "hands"):
        values = [means[f"{name}_{part}"] for name in names]
        said = [
            "–" if np.isnan(v) else f"{v:.2f} dB" if n == "psnr" else f"{v:.3f}"
            for n, v in zip(names, values, strict=True)
        ]
        lines.append(f"{part:<6} PSNR {said[0]}, SSIM {said[1]}, {distance} {said[2]}")
    for name, value in measured.by_sequence().items():
        lines.append(f"flicker of {name}: {value:.2f} × the true frames'")
    if not measured.warped:
        lines.append("flicker: not measured, no frames are tagged sequence:NAME")
    worst = [f"{name} {measured.frames[name].psnr_box:.1f} dB" for name in measured.worst()[:6]]
    return "\n".join([*lines, f"worst frames: {', '.join(worst)}"])
