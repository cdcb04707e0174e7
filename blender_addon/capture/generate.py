"""The add-on's own plan of a sweep: drawn poses and cameras, an orbit, moments of motions.

A frame depends on the seed, its kind and its number alone: a longer plan begins with the
shorter one's frames. No bpy.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..contract.operations import PosedBody
from ..scene.motion_files import upright
from ..scene.pose_math import posed_joints
from .plan import PlannedFrame
from .poses import FAMILIES, FAMILY_SHARES, Family, sample_pose, share_list, standing_still
from .solids import collides
from .views import VIEW_SHARES, VIEWS, View, camera_at, sample_view

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from ..contract.camera import Camera
    from ..contract.capture import Split
    from ..scene.motion_files import Motion
    from .solids import Solids

SEQUENCE_RATE = 24.0
_ATTEMPTS = 60
_EXPRESSIONS = 10
_SEEDS: dict[str, int] = {"train": 1, "held-out": 2, "orbit": 3}


@dataclass(frozen=True, kw_only=True)
class PlanOptions:
    """What a plan holds.

    Attributes:
        train: number of training frames.
        held_out: number of held-out frames, with poses and cameras of their own.
        orbit: number of frames of one orbit around a person who stands still.
        sequences: a name, a motion and how many of its frames, each.
        seed: of all chance.
        size: width and height in pixels.
    """

    train: int = 200
    held_out: int = 40
    orbit: int = 0
    sequences: tuple[tuple[str, Motion, int], ...] = ()
    seed: int = 0
    size: tuple[int, int] = (512, 512)


def make_plan(
    options: PlanOptions,
    joints: NDArray[np.floating],
    solids: Solids,
    *,
    betas: NDArray[np.floating],
    expressions: int,
) -> list[PlannedFrame]:
    """Return the frames of a sweep.

    Args:
        options: how many of what.
        joints: (55, 3) unposed joints of the person, SMPL-X axes.
        solids: of the person's body.
        betas: (n,) the person's shape.
        expressions: coefficients that the rig has.
    """
    drafter = _Drafter(options, np.asarray(joints, np.float64), solids, betas, expressions)
    frames = [drafter.drawn("train", number) for number in range(options.train)]
    frames += [drafter.drawn("held-out", number) for number in range(options.held_out)]
    frames += [drafter.orbit(number) for number in range(options.orbit)]
    for name, motion, count in options.sequences:
        frames += drafter.sequence(name, motion, count)
    return frames


class _Drafter:
    def __init__(
        self,
        options: PlanOptions,
        joints: NDArray[np.float64],
        solids: Solids,
        betas: NDArray[np.floating],
        expressions: int,
    ) -> None:
        self._options, self._joints, self._solids = options, joints, solids
        self._betas = np.asarray(betas, np.float32)
        self._expressions = min(expressions, _EXPRESSIONS)

    def drawn(self, split: Split, number: int) -> PlannedFrame:
        """A frame of drawn pose and camera."""
        rng = self._rng(split, number)
        family = FAMILIES[int(rng.choice(len(FAMILIES), p=share_list(FAMILY_SHARES)))]
        view = VIEWS[int(rng.choice(len(VIEWS), p=list(VIEW_SHARES.values())))]
        pose, family = self._free_pose(rng, family)
        transl = rng.uniform(-0.3, 0.3, 3)
        expression = np.clip(rng.normal(0, 0.3, _EXPRESSIONS), -1.2, 1.2)
        placed = posed_joints(pose[None], self._joints, (self._joints[0] + transl)[None])[0]
        camera = sample_view(rng, view, placed, pose[0], self._options.size)
        return self._frame(
            f"{split[0]}{number:04d}", split, _tags(family, view, pose, transl, camera),
            pose, transl, expression, camera,
        )  # fmt: skip

    def orbit(self, number: int) -> PlannedFrame:
        """A frame of one orbit around a person who stands nearly still, as in a video."""
        rng = self._rng("orbit", number)
        pose, transl = standing_still(rng), rng.normal(0, 0.01, 3)
        placed = posed_joints(pose[None], self._joints, (self._joints[0] + transl)[None])[0]
        camera = camera_at(
            placed, np.eye(3), self._options.size, azimuth=2 * np.pi * number / self._options.orbit,
            elevation=float(rng.normal(0.03, 0.01)), distance=3.2,
        )  # fmt: skip
        return self._frame(
            f"o{number:04d}", "train", ("orbit",), pose, transl, np.zeros(_EXPRESSIONS), camera
        )

    def sequence(self, name: str, motion: Motion, count: int) -> list[PlannedFrame]:
        """Consecutive moments of a motion from its middle, seen by a camera that stands still."""
        sampled = upright(motion, self._joints[0], SEQUENCE_RATE)
        start = max(0, (len(sampled.pose) - count) // 2)
        part = slice(start, start + count)
        pose, pelvis = sampled.pose[part], sampled.pelvis[part]
        pelvis = pelvis - pelvis[0] + self._joints[0]
        moments = posed_joints(pose, self._joints, pelvis)
        camera = camera_at(
            moments, pose[len(pose) // 2, 0], self._options.size, azimuth=0.5, elevation=0.08,
            distance=3.5,
        )  # fmt: skip
        return [
            self._frame(
                f"s-{name}-{number:04d}", "held-out", (f"sequence:{name}",), pose[number],
                pelvis[number] - self._joints[0], sampled.expression[part][number], camera,
            )
            for number in range(len(pose))
        ]  # fmt: skip

    def _free_pose(
        self, rng: np.random.Generator, family: Family
    ) -> tuple[NDArray[np.float64], Family]:
        for attempt in range(2 * _ATTEMPTS):
            if attempt == _ATTEMPTS:
                family = "stand"  # a broad person cannot do everything
            pose = sample_pose(rng, family)
            if not collides(pose, self._solids):
                return pose, family
        # Arms well off the sides touch nothing.
        return standing_still(rng), "stand"

    def _frame(
        self,
        name: str,
        split: Split,
        tags: Sequence[str],
        pose: NDArray[np.float64],
        transl: NDArray[np.float64],
        expression: NDArray[np.float64],
        camera: Camera,
    ) -> PlannedFrame:
        own = np.zeros(self._expressions, np.float32)
        own[: min(len(expression), len(own))] = expression[: len(own)]
        return PlannedFrame(
            name=name,
            split=split,
            tags=tuple(tags),
            body=PosedBody(
                pose=pose.astype(np.float32), transl=transl.astype(np.float32),
                betas=self._betas, expression=own,
            ),
            camera=camera,
        )  # fmt: skip

    def _rng(self, kind: str, number: int) -> np.random.Generator:
        return np.random.default_rng([self._options.seed, _SEEDS[kind], number])


def _tags(
    family: Family,
    view: View,
    pose: NDArray[np.float64],
    transl: NDArray[np.float64],
    camera: Camera,
) -> tuple[str, ...]:
    tags = [str(family), f"{view} view" if view in ("whole", "upper") else view]
    towards = camera.center - transl
    if float(pose[0, :, 2] @ towards / np.linalg.norm(towards)) < -0.4:
        tags.append("back view")
    return tuple(tags)
