"""`dressform dataset character-plan`: poses and cameras of a character's capture, as a plan file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from blender_addon.contract.errors import BadParameter
from blender_addon.contract.operations import PosedBody
from models.body import load_body
from training.people.benchmark import BENCHMARK_SEED, FRAMES, benchmark_plans
from training.people.cameras import sample_camera
from training.people.cast import CAST
from training.people.dataset import DEFAULT_BODY
from training.people.figures import build_figure
from training.people.frames import FramePlan, Shot, make_shot
from training.people.poses import walking_pose
from training.people.skeleton import joint_transforms, posed_joints

if TYPE_CHECKING:
    from training.people.figures import Figure

WALK_TAG = "sequence:walk"
_STEP = 2 * np.pi / 26
"""Gait per frame: about a second for two steps at 24 frames a second."""
_SPEED = 0.046
"""Metres that the walk goes on per frame."""


def character_plan(
    person: str,
    *,
    out: Path | None = None,
    frames: int = 240,
    held_out: int = FRAMES,
    walk: int = 12,
    size: int = 512,
    seed: int = 1,
    body: Path = DEFAULT_BODY,
) -> None:
    """Write the frames of a character's capture: training, held out, and a walk to see flicker in.

    The held-out frames are the benchmark's own poses and cameras; a person of the same name, the
    same number and the same seed always gets the same frames.

    Args:
        person: one of the cast.
        out: the .npz to write; runs/characters/PERSON-plan.npz when not given.
        frames: frames of training.
        held_out: how many of the benchmark's frames are held out beside them.
        walk: consecutive frames of a walk, held out too, under one camera.
        size: width and height in pixels.
        seed: of the training frames.
        body: body package or SMPL-X file.
    """
    cast = {identity.name: identity for identity in CAST}
    if person not in cast:
        raise BadParameter(f"nobody is called {person!r}", f"choose among {', '.join(cast)}")
    if frames < 0 or not 0 <= held_out <= FRAMES or walk < 0 or frames + held_out + walk == 0:
        raise BadParameter(f"frames, walk ≥ 0 and 0 ≤ held-out ≤ {FRAMES} must hold")
    if seed == BENCHMARK_SEED:
        raise BadParameter("this seed belongs to the benchmark", "give another")
    figure = build_figure(cast[person], load_body(body))
    write_plan(
        out or Path("runs/characters") / f"{person}-plan.npz",
        figure,
        planned_shots(figure, frames=frames, held_out=held_out, walk=walk, size=size, seed=seed),
        size=size,
    )


def planned_shots(
    figure: Figure, *, frames: int, held_out: int, walk: int, size: int, seed: int
) -> list[Shot]:
    """Return the shots of a capture: training, benchmark, walk."""
    training = [FramePlan(number=k, split="train", seed=seed) for k in range(frames)]
    plans = [*training, *benchmark_plans()[:held_out]]
    shots = [make_shot(figure, plan, size=size) for plan in plans]
    return [*shots, *walking_shots(figure, walk, size=size)]


def walking_shots(figure: Figure, count: int, *, size: int) -> list[Shot]:
    """Return consecutive frames of a walk past one camera."""
    if count == 0:
        return []
    identity = figure.identity
    bodies = [
        PosedBody(
            pose=walking_pose(0.4 + _STEP * k, identity.pose_style, seed=identity.seed).astype(
                np.float32
            ),
            transl=np.array([0.0, 0.0, _SPEED * (k - (count - 1) / 2)], np.float32),
            betas=identity.shape(),
            expression=np.zeros(1, np.float32),
        )
        for k in range(count)
    ]
    joints = [
        posed_joints(
            joint_transforms(body.pose, figure.bare.joints, body.transl), figure.bare.joints
        )
        for body in bodies
    ]
    camera = sample_camera(
        np.random.default_rng([BENCHMARK_SEED, identity.seed, 3]),
        "whole",
        np.concatenate(joints),
        facing=np.eye(3),
        size=size,
        azimuth=0.7,
    )
    return [
        Shot(f"w{k:04d}", "held-out", ("walk", "whole view", WALK_TAG), body, camera)
        for k, body in enumerate(bodies)
    ]


def write_plan(path: Path, figure: Figure, shots: list[Shot], *, size: int) -> None:
    """Write shots as the .npz that `scripts/capture_character.py --plan` reads."""
    widest = max(len(shot.body.expression) for shot in shots)
    expression = np.zeros((len(shots), widest), np.float32)
    for row, shot in zip(expression, shots, strict=True):
        row[: len(shot.body.expression)] = shot.body.expression
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".part.npz")
    np.savez_compressed(
        partial,
        pose=np.stack([shot.body.pose for shot in shots]),
        transl=np.stack([shot.body.transl for shot in shots]),
        expression=expression,
        K=np.stack([shot.camera.K for shot in shots]),
        R=np.stack([shot.camera.R for shot in shots]),
        t=np.stack([shot.camera.t for shot in shots]),
        name=np.array([shot.name for shot in shots]),
        split=np.array([shot.split for shot in shots]),
        tags=np.array([";".join(shot.tags) for shot in shots]),
        betas=figure.identity.shape(),
        image_size=np.array([size, size]),
    )
    partial.replace(path)
