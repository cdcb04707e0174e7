"""`dressform evaluate shipped`: the shipped avatars on frames that they were not trained on.

Every avatar of the library that the benchmark knows is rendered through the real render path
(`AvatarRenderer`, 8 bits out) at the benchmark's poses and cameras and compared with its frames,
and so are two baselines: the same person as a plain RGB texture on the bare body, and the same
network with UVs alone. docs/evaluation.md says what the figures mean.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from blender_addon.contract.errors import TrainingError
from models.avatar import AvatarRenderer
from models.body import load_body
from models.package import DEFAULT_LIBRARY, Manifest, list_packages
from training.evaluation_measure import (
    EvaluationFigures,
    MethodFigures,
    measure_flicker,
    measure_stills,
    renderer_method,
    stills,
)
from training.evaluation_perceptual import yardstick as choose_yardstick
from training.evaluation_pictures import FramePicture, frame_picture, write_worst
from training.evaluation_regions import BodyParts
from training.evaluation_split import check_split
from training.evaluation_tables import (
    Bound,
    bounds_row,
    cells,
    figure,
    header,
    named,
    row,
    verdict,
    write_json,
)
from training.evaluation_truth import GREY, SIZE
from training.people.benchmark import open_benchmark
from training.plain_texture import BASELINES, plain_renderer, read_plain_texture
from training.uv_alone import UV_ALONE_FOLDER, stored_frames

if TYPE_CHECKING:
    from collections.abc import Sequence

    from training.captures import Capture
    from training.evaluation_measure import Method
    from training.evaluation_perceptual import Yardstick

BENCHMARK = Path(__file__).parent / "benchmark"

AVATAR = "avatar"
PLAIN = "plain texture"
UV_ALONE = "UV alone"
_GAINS = {PLAIN: "gain_over_plain_texture", UV_ALONE: "gain_over_uv_alone"}
_PARTS = {"psnr_box": "", "psnr_head": "_head", "psnr_hands": "_hands"}

BOUNDS = {
    "psnr_person": Bound(24.5),
    "psnr_box": Bound(27.5),
    "psnr_box_hardest": Bound(26.0),
    "ssim_box": Bound(0.91),
    "iou_foreground": Bound(0.97),
    "iou_hands": Bound(0.91),
    "iou_face": Bound(0.92),
    "detail": Bound(0.8),
    "flicker": Bound(1.3, at_most=True),
    "gain_over_plain_texture": Bound(8.0),
    "gain_over_plain_texture_head": Bound(0.0),
    "gain_over_plain_texture_hands": Bound(0.0),
    "gain_over_uv_alone": Bound(2.0),
    "gain_over_uv_alone_head": Bound(0.0),
    "gain_over_uv_alone_hands": Bound(0.0),
}
"""Of the means over people, but for `psnr_box_hardest`: that of the person who looks worst."""


@dataclass(frozen=True, kw_only=True)
class AvatarResult:
    """Figures of one avatar and its baselines.

    Attributes:
        id: of its package.
        methods: what was measured, by method; without those that have no pictures.
    """

    id: str
    methods: dict[str, MethodFigures]

    def figures(self) -> dict[str, float]:
        """Return the avatar's own means over frames, and its gains over the baselines."""
        figures = self.methods[AVATAR].means()
        for baseline, gain in _GAINS.items():
            if baseline in self.methods:
                figures |= {
                    gain + suffix: self._gain(baseline, name) for name, suffix in _PARTS.items()
                }
        return figures

    def _gain(self, baseline: str, name: str) -> float:
        """Return dB over a baseline, averaged over the frames that both have."""
        own, other = self.methods[AVATAR].frames, self.methods[baseline].frames
        pairs = [
            getattr(own[frame], name) - getattr(other[frame], name)
            for frame in own.keys() & other.keys()
        ]
        known = [value for value in pairs if np.isfinite(value)]
        return float(np.mean(known)) if known else float("nan")


def evaluate_shipped(
    library: Path = DEFAULT_LIBRARY,
    benchmark: Path = BENCHMARK,
    baselines: Path = BASELINES,
    json: Path | None = None,
    frames: int | None = None,
    pictures: Path | None = None,
    lpips_trunk: Path | None = None,
    vgg19: Path | None = None,
    device: str = "cpu",
) -> int:
    """Measure the shipped avatars on the benchmark; exit with 0 when all bounds hold.

    Args:
        library: folder of packages.
        benchmark: folder of captures, one a person, none of whose frames was trained on.
        baselines: of `dressform train plain-texture` and `dressform train uv-alone`.
        json: also write {"figure": {"value", "bound", "ok"}} to this file.
        frames: measure only so many frames a person, evenly spread.
        pictures: write each avatar's worst frames to this folder.
        lpips_trunk: torchvision's AlexNet or VGG16 weights, for LPIPS.
        vgg19: torchvision's VGG19 weights, for its feature distance.
        device: where to render.
    """
    yardstick = choose_yardstick(lpips_trunk, vgg19)
    results = [
        evaluate_avatar(
            library,
            manifest,
            capture,
            yardstick,
            baselines=baselines,
            limit=frames,
            pictures=pictures,
            device=device,
        )
        for manifest, capture in shipped_avatars(library, benchmark)
    ]
    figures = summary(results, yardstick.name)
    print(table(results, figures, yardstick.name))  # noqa: T201 - a command's own output
    if json is not None:
        write_json(json, figures)
    return 0 if all(entry["ok"] for entry in figures.values()) else 1


def shipped_avatars(library: Path, benchmark: Path) -> list[tuple[Manifest, Capture]]:
    """Return the library's avatars that the benchmark knows, with their captures.

    Raises:
        TrainingError: there is none.
        CaptureError: the benchmark differs from its index.
    """
    captures = open_benchmark(benchmark)
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
    yardstick: Yardstick,
    *,
    baselines: Path | None = None,
    indices: Sequence[int] | None = None,
    limit: int | None = None,
    pictures: Path | None = None,
    device: str = "cpu",
    size: int = SIZE,
) -> AvatarResult:
    """Measure one avatar, and its baselines where they are given.

    Args:
        library: folder of packages.
        manifest: of the avatar.
        capture: the truth.
        yardstick: the perceptual distance.
        baselines: folder of both baselines, or none.
        indices: of the frames; all when omitted.
        limit: at most so many frames outside sequences, evenly spread.
        pictures: folder for the worst frames.
        device: where to render.
        size: width of the measured frames in pixels.

    Raises:
        SplitLeak: a frame was among the training's.
    """
    chosen = list(range(len(capture))) if indices is None else list(indices)
    check_split(library, manifest, capture, chosen)
    # Motion and regions are computed on the CPU, wherever the avatar is rendered.
    body = load_body(library / manifest.requirements["body"])
    parts = BodyParts.of(body)
    avatar = renderer_method(AvatarRenderer.load(library, manifest.id, device))
    methods: dict[str, Method] = {AVATAR: avatar}
    if baselines is not None:
        name = capture.description.id
        plain = plain_renderer(body, read_plain_texture(baselines, name))
        methods[PLAIN] = renderer_method(plain, channels=1)  # it knows no hands and no face
        stored = stored_frames(baselines / UV_ALONE_FOLDER, capture)
        if stored is not None:
            methods[UV_ALONE] = stored
    alone = spread(stills(capture, chosen), limit)
    shown: list[FramePicture] = []
    results = measure_stills(
        capture,
        alone,
        parts,
        methods,
        yardstick,
        size=size,
        background=GREY,
        seen=None
        if pictures is None
        else lambda frame, what, psnr: shown.append(frame_picture(frame, what, AVATAR, psnr)),
    )
    measure_flicker(capture, chosen, parts, {AVATAR: avatar}, results, size=size, background=GREY)
    if pictures is not None:
        write_worst(pictures, manifest.id, shown)
    return AvatarResult(id=manifest.id, methods=results)


def spread(indices: Sequence[int], limit: int | None) -> list[int]:
    """Return at most so many of the indices, evenly spread."""
    if limit is None or len(indices) <= limit:
        return list(indices)
    return [indices[i] for i in np.linspace(0, len(indices) - 1, limit).astype(int)]


def summary(results: Sequence[AvatarResult], distance: str) -> dict[str, dict[str, Any]]:
    """Return every figure with its bound: means over people, then each person's own.

    A mean stands for all people: what was not measured for one of them is left out.
    """
    own = [result.figures() for result in results]
    means: dict[str, float] = {}
    for name in dict.fromkeys(name for figures in own for name in figures):
        values = [figures.get(name, float("nan")) for figures in own]
        # A person without hands or face in any frame does not take part in their means.
        whole = name in EvaluationFigures.__dataclass_fields__
        known = [value for value in values if not np.isnan(value)]
        if known and (whole or len(known) == len(values)):
            means[name] = float(np.mean(known))
    means["psnr_box_hardest"] = min(figures["psnr_box"] for figures in own)
    figures = {
        name: figure(value, BOUNDS.get(name)) for name, value in named(means, distance).items()
    }
    for result, values in zip(results, own, strict=True):
        entries = named(values, distance)
        for method, measured in result.methods.items():
            if method != AVATAR:
                prefix = method.lower().replace(" ", "_")
                others = named(measured.means(), distance)
                entries |= {f"{prefix}/{name}": value for name, value in others.items()}
        first = result.methods[AVATAR]
        entries |= {f"psnr_box of {tag}": value for tag, value in first.by_tag().items()}
        entries |= {f"flicker of {name}": v for name, v in first.by_sequence().items()}
        figures |= {
            f"{result.id}/{name}": figure(value)
            for name, value in entries.items()
            if not np.isnan(value)
        }
    return figures


def table(
    results: Sequence[AvatarResult], figures: dict[str, dict[str, Any]], distance: str
) -> str:
    """Return the figures as people read them."""
    width = max(len(result.id) for result in results) + 4
    lines = [header(width)]
    for result in results:
        for method, measured in result.methods.items():
            label = result.id if method == AVATAR else f"  {method}"
            lines.append(row(label, measured.means(), width))
    means = {name: entry["value"] for name, entry in figures.items() if "/" not in name}
    means["perceptual_box"] = means.get(f"{distance}_box")
    lines += [row("mean", means, width), bounds_row(BOUNDS, width)]
    lines.append(f"hardest person: {means['psnr_box_hardest']:.2f} dB in the box")
    lines.append(f"distance: {distance}")
    missing = [name for name in BOUNDS if name not in figures]
    return "\n".join([*lines, "", *_gain_table(results), "", verdict(figures, missing)])


def _gain_table(results: Sequence[AvatarResult]) -> list[str]:
    width = max(len(result.id) for result in results) + len(f" over {PLAIN}") + 2
    lines = [f"{'gain in dB':<{width}}" + "".join(f"{p:>10}" for p in ("box", "head", "hands"))]
    for result in results:
        values = result.figures()
        lines += [
            f"{f'{result.id} over {baseline}':<{width}}"
            + cells([values[gain + suffix] for suffix in _PARTS.values()])
            for baseline, gain in _GAINS.items()
            if baseline in result.methods
        ]
    return lines
