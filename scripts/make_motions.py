"""Make the extension's own motions: `python -m scripts.make_motions [FOLDER]`.

A walk, a dance, and a turn with a wave, each composed of joint angles over time and written as
AMASS-like .npz files (Z up, 30 frames a second). The root is moved so that the standing foot
stays where it is. CC0.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from blender_addon.contract.joints import JOINT_COUNT, JOINT_INDEX, LEFT_HAND, PARENTS, RIGHT_HAND
from blender_addon.contract.pose import (
    Y_UP_TO_Z_UP,
    axis_angle_from_rotation,
    rotation_from_axis_angle,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

RATE = 30.0
FOLDER = Path(__file__).resolve().parent.parent / "blender_addon" / "motions"

# A plain adult's legs, metres from the parent joint, SMPL-X axes: only they decide about steps.
_LEGS = {
    "left_hip": (0.065, -0.08, 0.0),
    "right_hip": (-0.065, -0.08, 0.0),
    "left_knee": (0.03, -0.39, 0.0),
    "right_knee": (-0.03, -0.39, 0.0),
    "left_ankle": (-0.02, -0.41, -0.03),
    "right_ankle": (0.02, -0.41, -0.03),
    "left_foot": (0.03, -0.06, 0.13),
    "right_foot": (-0.03, -0.06, 0.13),
}
_SOLE = {"left_ankle": 0.085, "right_ankle": 0.085, "left_foot": 0.025, "right_foot": 0.025}
"""Height of the joints over the ground when the foot stands flat."""


@dataclass
class Take:
    """A motion being composed.

    Attributes:
        rotations: (N, 55, 3, 3), SMPL-X axes.
        travels: whether the standing foot moves the root along the ground.
    """

    rotations: NDArray[np.float64]
    travels: bool = True

    def turn(self, joint: str, axis: str, degrees: NDArray[np.floating] | float) -> None:
        """Turn a joint further about one of its parent's axes, x, y or z."""
        count = len(self.rotations)
        vector = np.zeros((count, 3))
        vector[:, "xyz".index(axis)] = np.radians(degrees)
        index = JOINT_INDEX[joint]
        self.rotations[:, index] = rotation_from_axis_angle(vector) @ self.rotations[:, index]


def take(seconds: float) -> tuple[Take, NDArray[np.float64]]:
    """Return an empty take and its times in seconds."""
    count = round(seconds * RATE)
    return Take(np.tile(np.eye(3), (count, JOINT_COUNT, 1, 1))), np.arange(count) / RATE


def cycle(phase: NDArray[np.float64], knots: Sequence[tuple[float, float]]) -> NDArray[np.float64]:
    """Return a smooth periodic curve near `knots` (phase 0…1, value) at these phases."""
    grid = np.arange(64) / 64
    places = [knot[0] for knot in knots]
    values = np.interp(grid, places, [knot[1] for knot in knots], period=1.0)
    harmonics = np.fft.rfft(values) / 64
    angles = 2 * np.pi * np.asarray(phase)[..., None] * np.arange(5)
    weights = np.where(np.arange(5) == 0, 1.0, 2.0)
    return np.sum(weights * (harmonics[:5] * np.exp(1j * angles)).real, axis=-1)


def ease(times: NDArray[np.float64], start: float, end: float) -> NDArray[np.float64]:
    """Return 0 before `start`, 1 after `end`, smooth between."""
    part = np.clip((times - start) / (end - start), 0.0, 1.0)
    return part * part * (3.0 - 2.0 * part)


def lower_arms(motion: Take, degrees: NDArray[np.floating] | float = 72.0) -> None:
    """Let the arms of the T-pose hang, elbows and fingers a little bent."""
    for side, sign in (("left", 1.0), ("right", -1.0)):
        motion.turn(f"{side}_elbow", "y", -14.0 * sign)
        motion.turn(f"{side}_shoulder", "z", -sign * np.asarray(degrees, np.float64))
    relax_fingers(motion)


def relax_fingers(motion: Take, degrees: float = 16.0) -> None:
    """Bend the fingers a little; the thumbs stay."""
    for names, sign in ((LEFT_HAND, 1.0), (RIGHT_HAND, -1.0)):
        for name in names:
            if "thumb" not in name:
                motion.turn(name, "z", -sign * degrees)


_HIP = [
    (0.0, 27.0),
    (0.12, 25.0),
    (0.35, 2.0),
    (0.52, -12.0),
    (0.62, -6.0),
    (0.8, 26.0),
    (0.9, 30.0),
]
_KNEE = [
    (0.0, 5.0),
    (0.14, 17.0),
    (0.4, 6.0),
    (0.54, 22.0),
    (0.7, 60.0),
    (0.86, 22.0),
    (0.95, 4.0),
]
_ANKLE = [
    (0.0, 0.0),
    (0.07, 6.0),
    (0.3, -6.0),
    (0.46, -10.0),
    (0.6, 18.0),
    (0.75, 2.0),
    (0.9, -3.0),
]


def walk(seconds: float = 6.0, steps_per_second: float = 1.8) -> Take:
    """Walk forward at a plain pace."""
    motion, times = take(seconds)
    phase = times * steps_per_second / 2 + 0.1
    lower_arms(motion, 74.0)
    for side, shift in (("left", 0.0), ("right", 0.5)):
        own = phase + shift
        motion.turn(f"{side}_knee", "x", cycle(own, _KNEE))
        motion.turn(f"{side}_ankle", "x", cycle(own, _ANKLE))
        motion.turn(f"{side}_hip", "x", -cycle(own, _HIP))
        # The arm swings against its leg and bends more in front.
        swing = np.cos(2 * np.pi * (own - 0.02))
        sign = 1.0 if side == "left" else -1.0
        motion.turn(f"{side}_elbow", "y", -sign * (10.0 - 9.0 * swing))
        motion.turn(f"{side}_shoulder", "x", 20.0 * swing + 2.0)
    beat = np.cos(2 * np.pi * phase)
    motion.turn("pelvis", "y", -5.0 * beat)
    motion.turn("pelvis", "z", 2.5 * np.sin(2 * np.pi * phase))
    motion.turn("spine2", "y", 6.0 * beat)
    motion.turn("spine3", "y", 4.0 * beat)
    motion.turn("spine1", "z", -3.0 * np.sin(2 * np.pi * phase))
    motion.turn("spine1", "x", 3.0)
    motion.turn("neck", "y", -4.0 * beat)
    motion.turn("head", "x", -2.0 + 1.5 * np.cos(4 * np.pi * phase))
    return motion


def dance(seconds: float = 8.0, beats_per_second: float = 1.9) -> Take:
    """Shift from foot to foot, hips and shoulders swaying, arms up and down again."""
    motion, times = take(seconds)
    motion.travels = False
    beat = 2 * np.pi * times * beats_per_second / 2
    sway, bounce = np.sin(beat), np.cos(2 * beat)
    for side, sign in (("left", 1.0), ("right", -1.0)):
        load = 0.5 + 0.5 * sway * sign  # weight on this foot
        bend = 22.0 + 10.0 * bounce + 16.0 * (1.0 - load)
        motion.turn(f"{side}_knee", "x", bend)
        motion.turn(f"{side}_ankle", "x", -0.5 * bend + 10.0 * (1.0 - load))
        motion.turn(f"{side}_hip", "x", -0.55 * bend)
        motion.turn(f"{side}_hip", "z", 3.0 * sign - 7.0 * sway)  # upright under swaying hips
    lift = 45.0 * np.sin(beat / 4 - 0.6) + 20.0 * np.sin(beat / 2)
    for side, sign in (("left", 1.0), ("right", -1.0)):
        motion.turn(f"{side}_elbow", "y", -sign * (55.0 + 25.0 * np.sin(beat + sign)))
        motion.turn(f"{side}_shoulder", "z", -sign * (30.0 - sign * 0.35 * lift - 0.65 * lift))
        motion.turn(f"{side}_shoulder", "y", -sign * (25.0 + 12.0 * np.sin(beat)))
        motion.turn(f"{side}_wrist", "z", 12.0 * np.sin(2 * beat + sign))
    relax_fingers(motion, 22.0)
    motion.turn("pelvis", "z", 7.0 * sway)
    motion.turn("pelvis", "y", 10.0 * np.sin(beat / 2))
    motion.turn("spine1", "z", -8.0 * sway)
    motion.turn("spine2", "y", -10.0 * np.sin(beat / 2 + 0.4))
    motion.turn("spine3", "z", -4.0 * sway)
    motion.turn("spine1", "x", 4.0)
    motion.turn("head", "x", 4.0 * bounce)
    motion.turn("head", "z", -5.0 * sway)
    return motion


def wave(seconds: float = 6.0) -> Take:
    """Turn around once with small steps, then wave with the right hand."""
    motion, times = take(seconds)
    motion.travels = False
    lower_arms(motion, 74.0)
    turning = ease(times, 0.3, 3.3)
    busy = ease(times, 0.2, 0.6) * (1.0 - ease(times, 3.0, 3.5))
    step = 2 * np.pi * times * 0.9
    for side, shift in (("left", 0.0), ("right", np.pi)):
        raised = busy * np.clip(np.sin(step + shift), 0.0, None)
        motion.turn(f"{side}_knee", "x", 6.0 + 38.0 * raised)
        motion.turn(f"{side}_ankle", "x", -3.0 - 8.0 * raised)
        motion.turn(f"{side}_hip", "x", -(3.0 + 24.0 * raised))
        sign = 1.0 if side == "left" else -1.0
        motion.turn(f"{side}_shoulder", "x", sign * 8.0 * busy * np.sin(step))
    up = ease(times, 3.4, 4.1) * (1.0 - ease(times, 5.5, 6.0))
    swing = up * np.sin(2 * np.pi * 1.7 * (times - 3.9))
    # From hanging at the side up over the horizontal, the forearm upright.
    motion.turn("right_elbow", "z", 0.0)
    motion.turn("right_shoulder", "z", -95.0 * up)
    motion.turn("right_elbow", "z", -(72.0 + 20.0 * swing) * up)
    motion.turn("right_wrist", "z", -10.0 * swing)
    motion.turn("spine2", "z", 4.0 * up)
    motion.turn("head", "z", -6.0 * up)
    motion.turn("pelvis", "y", 360.0 * turning)
    return motion


def plant(motion: Take) -> NDArray[np.float64]:
    """Return (N, 3) pelvis positions, SMPL-X axes: feet on the ground, the standing one still."""
    positions = _feet(motion.rotations)
    clearance = np.stack(
        [positions[name][:, 1] - sole for name, sole in _SOLE.items()], axis=1
    ).min(axis=1)
    pelvis = np.zeros((len(clearance), 3))
    pelvis[:, 1] = _smoothed(-clearance)
    if motion.travels:
        pelvis[:, [0, 2]] = _travel(positions)
    return pelvis


def _travel(positions: dict[str, NDArray[np.float64]]) -> NDArray[np.float64]:
    """Return (N, 2) x and z of the root that let the lower foot stand still."""
    feet = [np.stack([positions[f"{side}_ankle"], positions[f"{side}_foot"]]) for side in _SIDES]
    points = np.concatenate(feet)  # (4, N, 3)
    heights = points[..., 1] - np.array([0.085, 0.025, 0.085, 0.025])[:, None]
    weight = np.exp(-(heights - heights.min(axis=0)) / 0.008)
    weight = (weight[:, 1:] + weight[:, :-1]) / 2
    steps = np.diff(points[..., [0, 2]], axis=1)
    moved = -(weight[..., None] * steps).sum(axis=0) / weight.sum(axis=0)[:, None]
    moved[:, 0] = 0.0  # what sways sideways is the body over its feet, not a path
    path = np.concatenate([np.zeros((1, 2)), np.cumsum(moved, axis=0)])
    return _smoothed(path)


_SIDES = ("left", "right")


def _feet(rotations: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
    """Return the leg joints' positions (N, 3) from the pelvis."""
    turned = {0: rotations[:, 0]}
    placed = {0: np.zeros((len(rotations), 3))}
    for name, offset in _LEGS.items():
        joint = JOINT_INDEX[name]
        parent = PARENTS[joint]
        placed[joint] = placed[parent] + turned[parent] @ np.array(offset)
        turned[joint] = turned[parent] @ rotations[:, joint]
    return {name: placed[JOINT_INDEX[name]] for name in _LEGS}


def _smoothed(values: NDArray[np.float64], width: int = 2) -> NDArray[np.float64]:
    """Average over neighbouring frames; straight lines stay straight, ends too."""
    flat = values.reshape(len(values), -1)
    padded = np.pad(flat, ((width, width), (0, 0)), mode="reflect", reflect_type="odd")
    kernel = np.hanning(2 * width + 3)[1:-1]
    kernel /= kernel.sum()
    smooth = [np.convolve(column, kernel, mode="valid") for column in padded.T]
    return np.stack(smooth, axis=1).reshape(values.shape)


def write(motion: Take, path: Path) -> None:
    """Write a take as an AMASS-like file, Z up, facing −Y."""
    pelvis = plant(motion) @ Y_UP_TO_Z_UP.T
    rotations = motion.rotations.copy()
    rotations[:, 0] = Y_UP_TO_Z_UP @ rotations[:, 0]
    vectors = axis_angle_from_rotation(rotations)
    np.savez_compressed(
        path,
        poses=vectors.reshape(len(vectors), -1).astype(np.float32),
        trans=pelvis.astype(np.float32),
        betas=np.zeros(16, np.float32),
        mocap_frame_rate=np.float32(RATE),
    )


def main(folder: Path = FOLDER) -> None:
    """Write the three motions into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, motion in (("walk", walk()), ("dance", dance()), ("wave", wave())):
        write(motion, folder / f"{name}.npz")
        print(f"{folder / name}.npz: {len(motion.rotations)} frames")


if __name__ == "__main__":
    main(*(Path(argument) for argument in sys.argv[1:]))
