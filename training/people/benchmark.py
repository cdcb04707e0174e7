"""The benchmark: frozen held-out Cycles frames of the cast, and how they were chosen.

Shipped avatars are these people; every figure of an avatar is measured on these frames.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from tqdm import tqdm

from blender_addon.contract.capture import overlapping_frames
from blender_addon.contract.errors import CaptureError
from models.body import load_body
from training.captures import Capture, CaptureFrame, CaptureWriter
from training.people.cast import CAST
from training.people.dataset import DEFAULT_BODY
from training.people.frames import FramePlan, make_shot

if TYPE_CHECKING:
    from models.body import Body
    from training.people.cameras import View
    from training.people.identities import Identity
    from training.people.poses import Family

BENCHMARK = Path(__file__).parents[1] / "benchmark"
INDEX_FILE = "benchmark.json"
BENCHMARK_SEED = 20_261
"""Of the frozen frames; training captures use other seeds and another split."""

FRAMES = 40
_SAME = 1e-4
SIZE = 512

PEOPLE = CAST
"""Whom the benchmark shows."""

_FAMILIES: tuple[tuple[Family, int], ...] = (
    ("crossed arms", 5), ("hands in front", 5), ("walk", 6), ("run", 3), ("dance", 6),
    ("reach", 5), ("sit", 3), ("turn", 3), ("stand", 4),
)  # fmt: skip
_VIEWS: tuple[tuple[View, int], ...] = (
    ("whole", 26), ("upper", 6), ("head", 4), ("hand", 2), ("legs", 2),
)  # fmt: skip
_GOLDEN_ANGLE = 2.399963


def benchmark_plans() -> tuple[FramePlan, ...]:
    """Return the 40 frames of each benchmark person: every family, all around, near and far."""
    families: list[Family] = [family for family, count in _FAMILIES for _ in range(count)]
    views: list[View] = [view for view, count in _VIEWS for _ in range(count)]
    order = np.random.default_rng(BENCHMARK_SEED).permutation(FRAMES)
    plans: list[FramePlan] = []
    for number in range(FRAMES):
        view = views[int(order[number])]
        azimuth = (number * _GOLDEN_ANGLE + np.pi) % (2 * np.pi) - np.pi
        plans.append(
            FramePlan(
                number=number,
                split="held-out",
                seed=BENCHMARK_SEED,
                family=families[number],
                view=view,
                azimuth=azimuth * (0.35 if view == "head" else 1.0),
            )
        )
    return tuple(plans)


def freeze_benchmark(*, captures: Path, out: Path = BENCHMARK, body: Path = DEFAULT_BODY) -> None:
    """Freeze the held-out frames of Cycles captures as the benchmark: lossless, named by digest.

    Every person of the cast must be there, with the benchmark's own poses and cameras
    (`dressform dataset character-plan`); walks that are tagged as sequences come along.

    Args:
        captures: folder of one capture per person.
        out: empty or missing folder that receives the captures and benchmark.json.
        body: body package or SMPL-X file.

    Raises:
        CaptureError: a capture is missing, lacks a frame, or shows another pose or camera; or
            `out` already holds a benchmark.
    """
    if (out / INDEX_FILE).exists():
        raise CaptureError(
            f"{out} already holds a benchmark", "move it away: a frozen benchmark is not changed"
        )
    loaded = load_body(body)
    frozen = {
        identity.name: _freeze_person(
            identity, Capture.open(captures / identity.name), out / identity.name, loaded
        )
        for identity in tqdm(PEOPLE, desc="freeze", unit="person")
    }
    index = {
        "body_geometry": geometry_digest(loaded),
        "captures": {name: capture.digest for name, capture in frozen.items()},
        "frames": {name: capture.digests("held-out") for name, capture in frozen.items()},
    }
    text = json.dumps(index, indent=1, sort_keys=True) + "\n"
    (out / INDEX_FILE).write_text(text, encoding="utf-8")


def _freeze_person(identity: Identity, capture: Capture, out: Path, body: Body) -> Capture:
    numbers = capture.frames("held-out")
    entries = [capture.description.frames[number] for number in numbers]
    _check_planned(identity, capture, body)
    with CaptureWriter(
        out,
        id=identity.name,
        body=capture.description.body,
        licence=capture.description.licence,
        background=capture.description.background,
        image_size=capture.description.image_size,
        betas=identity.shape(),
        image_suffix=".webp",
        source={**capture.description.source, "frozen": "dataset benchmark"},
    ) as writer:
        for number, entry in zip(numbers, entries, strict=True):
            writer.add(
                CaptureFrame(
                    name=entry.name,
                    split="held-out",
                    tags=entry.tags,
                    image=capture.image(number),
                    masks=capture.masks(number),
                    body=capture.posed_body(number),
                    camera=capture.camera(number),
                )
            )
    return Capture.open(out)


def _check_planned(identity: Identity, capture: Capture, body: Body) -> None:
    """Check that the benchmark's frames are there, in its own poses and under its own cameras."""
    from training.people.figures import build_figure

    figure = build_figure(identity, body)
    place = {entry.name: k for k, entry in enumerate(capture.description.frames)}
    for plan in benchmark_plans():
        if plan.name not in place:
            raise CaptureError(
                f"{capture.folder} lacks the frame {plan.name}",
                f"render the plan of dressform dataset character-plan {identity.name}",
            )
        shot = make_shot(figure, plan, size=capture.description.image_size[0])
        number = place[plan.name]
        off = max(
            float(np.abs(capture.posed_body(number).pose - shot.body.pose).max()),
            float(np.abs(capture.camera(number).R - shot.camera.R).max()),
            float(np.abs(capture.camera(number).K - shot.camera.K).max()) / shot.camera.width,
        )
        if off > _SAME:
            raise CaptureError(
                f"{capture.folder}: {plan.name} shows another pose or camera than the benchmark's",
                f"render the plan of dressform dataset character-plan {identity.name}",
            )


def geometry_digest(body: Body) -> str:
    """Return 16 hexadecimal digits that name a body's mesh, joints and weights.

    As long as they stay, the benchmark's parameters mean the same person.
    """
    digest = hashlib.sha256()
    for array in (
        body.v_template,
        body.shape_dirs,
        body.expression_dirs,
        body.joint_regressor,
        body.skin_weights,
        body.faces,
    ):
        digest.update(array.contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]


def open_benchmark(folder: Path = BENCHMARK) -> dict[str, Capture]:
    """Open the frozen captures and check each against its digest.

    Returns:
        Captures by the person's id.

    Raises:
        CaptureError: a file is missing, damaged or changed.
    """
    captures: dict[str, Capture] = {}
    for name, digest in _index(folder)["captures"].items():
        captures[name] = Capture.open(folder / name)
        if captures[name].digest != digest:
            raise CaptureError(
                f"{folder / name} differs from the frozen benchmark",
                "restore it from version control",
                expected=digest,
            )
    return captures


def check_disjoint(capture: Capture, folder: Path = BENCHMARK) -> None:
    """Check that no frame of a capture stands in the benchmark.

    Raises:
        CaptureError: names the frames' digests.
    """
    own = [*capture.digests("train"), *capture.digests("held-out")]
    for name, frozen in _index(folder)["frames"].items():
        shared = overlapping_frames(own, frozen)
        if shared:
            raise CaptureError(
                f"{capture.folder} holds frames of the benchmark ({name}: {', '.join(shared)})",
                "train on other poses and cameras: give another seed",
            )


def _index(folder: Path) -> dict[str, Any]:
    path = folder / INDEX_FILE
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CaptureError(f"{path} is not readable JSON: {error}") from error
