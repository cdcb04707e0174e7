"""`dressform evaluate shipped`: the shipped avatars on frames that they were not trained on.

Every avatar of the library that the benchmark knows is rendered through the real render path
(`AvatarRenderer`, 8 bits out) at the benchmark's poses and cameras and compared with its frames,
and so is the same person as a plain RGB texture on the bare body. docs/evaluation.md says what
the figures mean.
"""

from __future__ import annotations

import json as json_module
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from blender_addon.contract.capture import overlapping_frames
from blender_addon.contract.errors import SplitLeak, TrainingError, UnknownModel
from models.avatar import AvatarRenderer
from models.body import load_body
from models.package import DEFAULT_LIBRARY, Manifest, list_packages, read_manifest
from training.captures import Capture
from training.dressing_data import area_weights
from training.evaluation_pictures import FramePicture, write_worst
from training.image_metrics import FrameFigures, mean_figures, measure
from training.losses import NEUTRAL_GREY
from training.plain_texture import BASELINES, plain_renderer, read_plain_texture

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from blender_addon.contract.camera import Camera

BENCHMARK = Path(__file__).parent / "benchmark"
SIZE = 256
"""Side of the frames that are measured."""

BOUNDS = {
    "psnr_person": 22.0,
    "psnr_box": 24.5,
    "iou_foreground": 0.96,
    "gain_over_plain_texture": 6.0,
}
"""Least means over people of what ships."""


@dataclass(frozen=True, kw_only=True)
class AvatarResult:
    """Figures of one avatar.

    Attributes:
        id: of its package.
        frames: how many were measured.
        figures: means over frames.
        plain: the same for the plain texture on the bare body.
        by_tag: mean PSNR in the box over the frames of each tag.
    """

    id: str
    frames: int
    figures: dict[str, float]
    plain: dict[str, float]
    by_tag: dict[str, float]

    @property
    def gain(self) -> float:
        """DB in the person's box over the plain texture."""
        return self.figures["psnr_box"] - self.plain["psnr_box"]


def evaluate_shipped(
    library: Path = DEFAULT_LIBRARY,
    benchmark: Path = BENCHMARK,
    baselines: Path = BASELINES,
    json: Path | None = None,
    frames: int | None = None,
    pictures: Path | None = None,
    device: str = "cpu",
) -> int:
    """Measure the shipped avatars on the benchmark; exit with 0 when all bounds hold.

    Args:
        library: folder of packages.
        benchmark: folder of captures, one a person, none of whose frames was trained on.
        baselines: plain textures of `dressform train plain-texture`.
        json: also write {"figure": {"value", "bound", "ok"}} to this file.
        frames: measure only so many frames a person, evenly spread.
        pictures: write each avatar's worst frames to this folder.
        device: where to render.
    """
    results = [
        evaluate_avatar(
            library, manifest, capture, baselines, limit=frames, pictures=pictures, device=device
        )
        for manifest, capture in shipped_avatars(library, benchmark)
    ]
    figures = summary(results)
    print(table(results, figures))  # noqa: T201 - a command's own output
    if json is not None:
        json.write_text(json_module.dumps(figures, indent=1) + "\n", encoding="utf-8")
    return 0 if all(figure["ok"] for figure in figures.values()) else 1


def shipped_avatars(library: Path, benchmark: Path) -> list[tuple[Manifest, Capture]]:
    """Return the library's avatars that the benchmark knows, with their captures.

    Raises:
        TrainingError: there is none.
    """
    captures = {
        capture.description.id: capture
        for capture in map(Capture.open, sorted(path.parent for path in _descriptions(benchmark)))
    }
    pairs = [
        (manifest, captures[source["id"]])
        for manifest in list_packages(library)
        if manifest.kind == "avatar"
        for source in manifest.data.get("captures", [])
        if source["id"] in captures
    ]
    if not pairs:
        raise TrainingError(
            f"no avatar of {library} has frames in {benchmark}",
            "check the library; the benchmark's captures carry the ids of the training's",
        )
    return pairs


def evaluate_avatar(
    library: Path,
    manifest: Manifest,
    capture: Capture,
    baselines: Path = BASELINES,
    *,
    limit: int | None = None,
    pictures: Path | None = None,
    device: str = "cpu",
) -> AvatarResult:
    """Measure one avatar and its baseline.

    Raises:
        SplitLeak: a frame was among the training's.
    """
    check_split(library, manifest, capture)
    avatar = AvatarRenderer.load(library, manifest.id, device)
    body = load_body(library / manifest.requirements["body"], device)
    baseline = plain_renderer(body, read_plain_texture(baselines, capture.description.id))
    chosen = np.linspace(0, len(capture) - 1, min(limit or len(capture), len(capture)))
    figures: list[FrameFigures] = []
    plain: list[FrameFigures] = []
    tags: dict[str, list[float]] = {}
    shown: list[FramePicture] = []
    for index in chosen.astype(int).tolist():
        true, true_masks, camera = benchmark_frame(capture, index, SIZE)
        posed = capture.posed_body(index)
        rendered = [_over_grey(r.render(posed, camera)) for r in (avatar, baseline)]
        (image, masks), (plain_image, plain_masks) = rendered
        figures.append(measure(image, masks, true, true_masks))
        plain.append(measure(plain_image, plain_masks, true, true_masks))
        entry = capture.description.frames[index]
        for tag in entry.tags:
            tags.setdefault(tag, []).append(figures[-1].psnr_box)
        if pictures is not None:
            images = (true, image, plain_image, masks)
            shown.append(FramePicture(entry.name, figures[-1].psnr_box, images))
    if pictures is not None:
        write_worst(pictures, manifest.id, shown)
    return AvatarResult(
        id=manifest.id,
        frames=len(figures),
        figures=mean_figures(figures),
        plain=mean_figures(plain),
        by_tag={tag: float(np.mean(values)) for tag, values in sorted(tags.items())},
    )


def check_split(library: Path, manifest: Manifest, capture: Capture) -> None:
    """Refuse an avatar or dresser that was trained on frames of this capture.

    Raises:
        SplitLeak: says which package and how many frames.
    """
    packages = [manifest]
    if "dresser" in manifest.requirements:
        try:
            packages.append(read_manifest(library / manifest.requirements["dresser"]))
        except UnknownModel as error:
            raise UnknownModel(f"{manifest.id} needs a dresser: {error.cause}") from error
    measured = [frame.digest for frame in capture.description.frames]
    for package in packages:
        trained = package.data.get("training_frames")
        if not trained:
            raise SplitLeak(
                f"{package.id} does not say which frames it was trained on",
                "export it with `dressform export dressing`, which writes their digests",
            )
        shared = overlapping_frames(trained, measured)
        if shared:
            raise SplitLeak(
                f"{package.id} was trained on {len(shared)} frames of {capture.folder}",
                package=package.id,
                frames=shared,
            )


def benchmark_frame(
    capture: Capture, index: int, size: int
) -> tuple[NDArray[np.float32], NDArray[np.float32], Camera]:
    """Return a frame over grey (H, W, 3), its masks (H, W, 3) and its camera, W = size.

    Pixels are averaged by exact area.
    """
    camera = capture.camera(index)
    height = max(round(camera.height * size / camera.width), 1)
    planes = np.concatenate([capture.image(index), capture.masks(index)], axis=-1) / 255.0
    rows, _ = area_weights(0.0, camera.height, height, camera.height)
    columns, _ = area_weights(0.0, camera.width, size, camera.width)
    small = np.einsum("yh,hwc,xw->yxc", rows.numpy(), planes, columns.numpy(), optimize=True)
    image, masks = small[..., :3].astype(np.float32), small[..., 3:].astype(np.float32)
    if capture.description.background == "photograph":
        image = image * masks[..., :1]
    over_grey = image + NEUTRAL_GREY * (1.0 - masks[..., :1])
    return (
        np.asarray(over_grey, np.float32),
        masks,
        camera.cropped(0.0, 0.0, size, height, size / camera.width),
    )


def summary(results: list[AvatarResult]) -> dict[str, dict[str, Any]]:
    """Return every figure with its bound: means over people, then each person's own."""
    means = {
        name: float(np.nanmean([result.figures[name] for result in results]))
        for name in FrameFigures.__dataclass_fields__
    }
    means["gain_over_plain_texture"] = float(np.mean([result.gain for result in results]))
    figures = {name: _figure(value, BOUNDS.get(name)) for name, value in means.items()}
    for result in results:
        own = result.figures | {"gain_over_plain_texture": result.gain}
        own |= {f"plain_texture/{name}": value for name, value in result.plain.items()}
        own |= {f"psnr_box of {tag}": value for tag, value in result.by_tag.items()}
        figures |= {f"{result.id}/{name}": _figure(value, None) for name, value in own.items()}
    return figures


def table(results: list[AvatarResult], figures: dict[str, dict[str, Any]]) -> str:
    """Return the figures as people read them."""
    names = [*FrameFigures.__dataclass_fields__, "gain_over_plain_texture"]
    short = ["person dB", "box dB", "SSIM", "IoU", "hands", "face", "gain dB"]
    width = max(len(result.id) for result in results) + 2
    lines = [" " * width + "".join(f"{name:>10}" for name in short)]
    for result in results:
        values = [figures[f"{result.id}/{name}"]["value"] for name in names]
        lines.append(f"{result.id:<{width}}" + _cells(values))
        plain = [result.plain[name] for name in FrameFigures.__dataclass_fields__]
        lines.append(f"{'  plain texture':<{width}}" + _cells(plain))
    lines.append(f"{'mean':<{width}}" + _cells([figures[name]["value"] for name in names]))
    lines.append(f"{'bound':<{width}}" + _cells([BOUNDS.get(name) for name in names]))
    failed = [name for name, figure in figures.items() if not figure["ok"]]
    lines.append(f"below its bound: {', '.join(failed)}" if failed else "all bounds hold")
    return "\n".join(lines)


def _figure(value: float, bound: float | None) -> dict[str, Any]:
    ok = bound is None or value >= bound
    return {"value": None if np.isnan(value) else round(value, 4), "bound": bound, "ok": ok}


def _cells(values: Sequence[float | None]) -> str:
    return "".join(
        f"{'–':>10}"
        if v is None or np.isnan(v)
        else f"{v:>10.3f}"
        if abs(v) <= 1
        else f"{v:>10.2f}"
        for v in values
    )


def _over_grey(
    passes: dict[str, NDArray[Any]],
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    rgba = passes["rgba"].astype(np.float32) / 255
    image = rgba[..., :3] + NEUTRAL_GREY * (1.0 - rgba[..., 3:])
    masks = passes["masks"].astype(np.float32)
    return np.asarray(image, np.float32), np.asarray(masks / 255, np.float32)


def _descriptions(benchmark: Path) -> list[Path]:
    return list(benchmark.glob("*/capture.json"))
