"""The three people of the benchmark, its frozen held-out frames, and how it was made.

Shipped avatars are these three people; every figure of an avatar is measured on these frames.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from blender_addon.contract.capture import overlapping_frames
from blender_addon.contract.errors import CaptureError
from models.body import load_body
from training.captures import Capture
from training.people.cast import CAST
from training.people.dataset import DEFAULT_BODY, Job, write_captures
from training.people.frames import FramePlan

if TYPE_CHECKING:
    from models.body import Body
    from training.people.cameras import View
    from training.people.poses import Family

BENCHMARK = Path(__file__).parents[1] / "benchmark"
INDEX_FILE = "benchmark.json"
BENCHMARK_SEED = 20_261
"""Of the frozen frames; training captures use other seeds and another split."""

FRAMES = 40
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


def freeze_benchmark(*, out: Path = BENCHMARK, body: Path = DEFAULT_BODY, workers: int = 2) -> None:
    """Write the benchmark captures and their index; a frozen benchmark is not overwritten.

    Args:
        out: folder that receives one capture per person and benchmark.json.
        body: body package or SMPL-X file.
        workers: processes, each on one thread.
    """
    jobs = [Job(identity, benchmark_plans(), SIZE) for identity in PEOPLE]
    source: dict[str, object] = {"command": "dataset benchmark", "seed": BENCHMARK_SEED}
    write_captures(out, jobs, body=body, workers=workers, source=source, image_suffix=".webp")
    captures = {identity.name: Capture.open(out / identity.name) for identity in PEOPLE}
    index = {
        "body_geometry": geometry_digest(load_body(body)),
        "captures": {name: capture.digest for name, capture in captures.items()},
        "frames": {name: capture.digests("held-out") for name, capture in captures.items()},
    }
    text = json.dumps(index, indent=1, sort_keys=True) + "\n"
    (out / INDEX_FILE).write_text(text, encoding="utf-8")


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
