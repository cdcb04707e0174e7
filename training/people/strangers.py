"""`dataset strangers`: random people as Cycles captures, one of whose frames is their photograph.

What a fit from one photograph is measured on: nobody of them is in any training set, and the
frames to be guessed show other poses from other sides.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from tqdm import tqdm

from blender_addon.contract.capture import DESCRIPTION_FILE
from blender_addon.contract.errors import BadParameter
from models.body import load_body
from training.blender import DEFAULT_BLENDER, run_blender
from training.people.benchmark import BENCHMARK_SEED
from training.people.character_plans import write_plan
from training.people.characters import write_kit
from training.people.dataset import DEFAULT_BODY
from training.people.figures import build_figure
from training.people.frames import FramePlan, make_shot
from training.people.identities import random_identity

if TYPE_CHECKING:
    from training.people.cameras import View
    from training.people.figures import Figure
    from training.people.frames import Shot

FIRST_SEED = 900_000
"""Of the strangers; `dataset people` draws its people from seed × 1000 on."""

PHOTOGRAPH_TAG = "photograph"
_GOLDEN_ANGLE = 2.39996
_PHOTOGRAPH_ANGLE = 0.35
"""Radians to either side from which a photograph may be taken."""
_VIEWS: tuple[View, ...] = ("whole", "whole", "whole", "upper", "whole")
_TIMEOUT = 1800.0


def strangers(
    *,
    count: int = 10,
    first: int = 0,
    others: int = 10,
    size: int = 256,
    samples: int = 16,
    out: Path = Path("runs/strangers"),
    detail: float = 0.5,
    blender: Path = DEFAULT_BLENDER,
    threads: int = 0,
    body: Path = DEFAULT_BODY,
) -> None:
    """Make Cycles captures of random people: a photograph each, and others to guess from it.

    The photograph is the only frame of the split "train"; finished captures are kept.

    Args:
        count: how many people.
        first: number of the first of them; the same number is always the same person.
        others: held-out frames a person.
        size: width and height in pixels.
        samples: of Cycles a pixel, denoised.
        out: folder that receives one capture a person.
        detail: factor on the side of every texture.
        blender: program that renders, or a Python that has bpy.
        threads: of Cycles; 0: all.
        body: body package or SMPL-X file.

    Raises:
        BadParameter: a number is out of range.
        SetupError: Blender is missing or failed.
    """
    if count < 1 or others < 1 or first < 0:
        raise BadParameter("count and others must be ≥ 1, first ≥ 0")
    loaded = load_body(body)
    out.mkdir(parents=True, exist_ok=True)
    for number in tqdm(range(first, first + count), desc="strangers", unit="person"):
        name = f"stranger-{number:02d}"
        if (out / name / DESCRIPTION_FILE).is_file():
            continue
        figure = build_figure(
            random_identity(name, FIRST_SEED + number), loaded, skinned_skirts=True
        )
        kit, plan, character = (out / f"{name}{end}" for end in (".npz", "-plan.npz", ".blend"))
        write_kit(kit, figure, detail=detail)
        write_plan(plan, figure, stranger_shots(figure, others, size=size), size=size)
        build = [str(kit), "--out", str(character)]
        run_blender(blender, "build_character.py", build, timeout=_TIMEOUT)
        words = [str(character), "--plan", str(plan), "--out", str(out / name), "--id", name]
        words += ["--licence", "CC0-1.0", "--threads", str(threads)]
        words += ["--samples", str(samples), "--held-out-samples", str(samples)]
        run_blender(blender, "capture_character.py", words, timeout=_TIMEOUT)
        for file in (kit, plan, character):
            file.unlink()


def stranger_shots(figure: Figure, others: int, *, size: int) -> list[Shot]:
    """Return a standing photograph from the front, then other poses from all around."""
    turn = (figure.identity.seed * _GOLDEN_ANGLE) % (2 * _PHOTOGRAPH_ANGLE) - _PHOTOGRAPH_ANGLE
    shot = make_shot(
        figure,
        FramePlan(
            number=0,
            split="train",
            seed=BENCHMARK_SEED,
            family="stand",
            view="whole",
            azimuth=turn,
        ),
        size=size,
    )
    photograph = type(shot)(
        shot.name, shot.split, (*shot.tags, PHOTOGRAPH_TAG), shot.body, shot.camera
    )
    plans = [
        FramePlan(
            number=k,
            split="held-out",
            seed=BENCHMARK_SEED,
            view=_VIEWS[k % len(_VIEWS)],
            azimuth=(k + 1) * _GOLDEN_ANGLE % 6.28318 - 3.14159,
        )
        for k in range(others)
    ]
    return [photograph, *(make_shot(figure, plan, size=size) for plan in plans)]
