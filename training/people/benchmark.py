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
from training.people.dataset import DEFAULT_BODY, Job, write_captures
from training.people.frames import FramePlan
from training.people.garments import Shoes, Top, Trousers
from training.people.hair import HairCut
from training.people.identities import Identity
from training.people.materials import GIRTH, Cloth, Hair, Leather
from training.people.skin import Complexion
from training.people.skirts import SkirtCut

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

_CELL = 2 * np.pi * GIRTH

ANNA = Identity(
    name="anna",
    seed=4_001,
    betas=(-0.3, 1.2, 0.3, -0.4, -0.4, 0.3, 0.0, 0.3, 0.4, -0.3),
    complexion=Complexion(
        skin=(0.94, 0.77, 0.67),
        lips=(0.80, 0.45, 0.43),
        brows=(0.34, 0.20, 0.11),
        iris=(0.33, 0.47, 0.42),
        brow_weight=0.9,
        blush=0.7,
        freckles=0.5,
        make_up=0.35,
    ),
    hair_cut=HairCut(style="long", volume=0.016, length=0.36),
    hair=Hair(color=(0.55, 0.29, 0.13)),
    top=(
        Top(sleeve=0.62, neck="round", hem=0.01, ease=0.010),
        Cloth(pattern="stripes", color=(0.92, 0.89, 0.83), accent=(0.70, 0.20, 0.23), cell=0.045),
    ),
    skirt=(
        SkirtCut(length=0.92, flare=0.05, pleats=14),
        Cloth(
            pattern="checks", color=(0.14, 0.28, 0.44), accent=(0.62, 0.74, 0.80), cell=_CELL / 20
        ),
    ),
    shoes=(Shoes(shaft=0.0), Leather(color=(0.36, 0.18, 0.13), sole=(0.16, 0.10, 0.08))),
)

MARCUS = Identity(
    name="marcus",
    seed=4_002,
    betas=(0.7, -1.6, -0.3, 0.4, -0.2, 0.1, 0.6, 0.4, 0.3, -0.4),
    complexion=Complexion(
        skin=(0.44, 0.295, 0.215),
        lips=(0.42, 0.24, 0.21),
        brows=(0.07, 0.055, 0.05),
        iris=(0.26, 0.16, 0.10),
        brow_weight=1.25,
        stubble=0.55,
        blush=0.2,
        make_up=0.0,
    ),
    hair_cut=HairCut(style="short", volume=0.010),
    hair=Hair(color=(0.10, 0.085, 0.08), curly=True),
    shirt=(
        Top(sleeve=1.9, neck="collar", hem=0.0, ease=0.005),
        Cloth(pattern="tie", color=(0.90, 0.91, 0.93), accent=(0.55, 0.13, 0.17), hem=False),
    ),
    top=(
        Top(sleeve=1.93, neck="jacket", hem=0.06, ease=0.018),
        Cloth(pattern="jacket", color=(0.20, 0.24, 0.36), accent=(0.08, 0.08, 0.10)),
    ),
    trousers=(
        Trousers(leg=1.99, ease=0.011, flare=0.020),
        Cloth(pattern="plain", color=(0.20, 0.24, 0.36)),
    ),
    shoes=(Shoes(shaft=0.0), Leather(color=(0.15, 0.11, 0.09), sole=(0.07, 0.06, 0.06))),
)

ROSA = Identity(
    name="rosa",
    seed=4_003,
    betas=(-0.2, 0.6, 0.4, 0.3, 1.8, -1.4, -0.5, 0.2, 0.0, 0.4),
    complexion=Complexion(
        skin=(0.68, 0.47, 0.34),
        lips=(0.58, 0.30, 0.27),
        brows=(0.10, 0.07, 0.06),
        iris=(0.32, 0.20, 0.11),
        brow_weight=1.1,
        blush=0.45,
        make_up=0.3,
    ),
    hair_cut=HairCut(style="afro", volume=0.06),
    hair=Hair(color=(0.17, 0.11, 0.08), curly=True),
    top=(
        Top(sleeve=0.45, neck="v", hem=0.035, ease=0.013),
        Cloth(
            pattern="sport", color=(0.13, 0.47, 0.45), accent=(0.97, 0.78, 0.25), cell=_CELL / 14
        ),
    ),
    trousers=(
        Trousers(leg=0.72, ease=0.013, flare=0.018),
        Cloth(pattern="plain", color=(0.17, 0.18, 0.24)),
    ),
    shoes=(
        Shoes(shaft=0.02),
        Leather(color=(0.93, 0.92, 0.90), sole=(0.95, 0.62, 0.25), accent=(0.13, 0.47, 0.45)),
    ),
)

PEOPLE: tuple[Identity, ...] = (ANNA, MARCUS, ROSA)


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
