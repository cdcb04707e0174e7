"""Read motions: AMASS .npz, SMPLify-X results (.npz, .pkl). No bpy.

What a file calls its pose differs; what comes out is one `Motion`: 55 local rotations a frame in
SMPL-X order, the root's translation, the frame rate and which way is up.
"""

from __future__ import annotations

import math
import zipfile
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from ..contract.errors import BadMotion, VPoserPose
from ..contract.joints import JOINT_COUNT, JOINT_INDEX
from ..contract.pose import axis_angle_from_rotation, rotation_from_axis_angle
from ..contract.safe_pickle import read_arrays
from .pose_math import posed_joints

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

UpAxis = Literal["Y", "Z", "-Y"]

TO_Y_UP: dict[UpAxis, NDArray[np.float64]] = {
    "Y": np.eye(3),
    "Z": np.array([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.0, -1.0, 0.0]]),
    "-Y": np.diag([1.0, -1.0, -1.0]),
}
"""Rotation of the world from an up axis to SMPL-X's; −Y is a camera's (OpenCV)."""

MAX_FRAMES = 200_000
MAX_UNPACKED_BYTES = 2 << 30
DEFAULT_RATE = 30.0

_BODY = slice(0, 22)
_FACE = slice(22, 25)
_HANDS = slice(25, 55)
_FEET = [JOINT_INDEX[f"{side}_{part}"] for side in ("left", "right") for part in ("ankle", "foot")]


@dataclass(frozen=True, kw_only=True)
class Motion:
    """A motion in the axes of its file.

    Attributes:
        rotations: (N, 55, 3) axis-angle vectors, radians; the first joint's is the root's.
        transl: (N, 3) metres.
        expression: (N, m) coefficients; m may be 0.
        rate: frames per second.
        up: which way is up.
        notes: what was left out, in words for the user.
    """

    rotations: NDArray[np.float64]
    transl: NDArray[np.float64]
    expression: NDArray[np.float64]
    rate: float
    up: UpAxis
    notes: tuple[str, ...] = ()

    @property
    def frames(self) -> int:
        """How many frames it has."""
        return len(self.rotations)


@dataclass(frozen=True, kw_only=True)
class UprightMotion:
    """A motion in SMPL-X axes, sampled at a scene's frames.

    Attributes:
        pose: (N, 55, 3, 3) local rotations.
        pelvis: (N, 3) position of the pelvis joint, metres.
        expression: (N, m).
    """

    pose: NDArray[np.float64]
    pelvis: NDArray[np.float64]
    expression: NDArray[np.float64]


def read_motion(paths: Sequence[Path]) -> Motion:
    """Read one file, or several SMPLify-X results as the frames of one motion.

    Raises:
        BadMotion: a file is not such a motion; names it.
        VPoserPose: it holds a 32-number VPoser code.
    """
    motions = [_read_file(path) for path in sorted(paths)]
    if not motions:
        raise BadMotion("no file was chosen")
    if len(motions) == 1:
        return motions[0]
    width = max(motion.expression.shape[1] for motion in motions)
    return Motion(
        rotations=np.concatenate([motion.rotations for motion in motions]),
        transl=np.concatenate([motion.transl for motion in motions]),
        expression=np.concatenate([_widened(motion.expression, width) for motion in motions]),
        rate=motions[0].rate,
        up=motions[0].up,
        notes=tuple(dict.fromkeys(note for motion in motions for note in motion.notes)),
    )


def _widened(expression: NDArray[np.float64], width: int) -> NDArray[np.float64]:
    return np.pad(expression, ((0, 0), (0, width - expression.shape[1])))


def _read_file(path: Path) -> Motion:
    try:
        return parse_motion(_arrays_of(path))
    except BadMotion as error:
        raise BadMotion(f"{path.name}: {error.cause}", error.next_step) from error
    except VPoserPose as error:
        raise VPoserPose(f"{path.name}: {error.cause}") from error


def _arrays_of(path: Path) -> dict[str, np.ndarray[Any, Any]]:
    try:
        if path.suffix.lower() == ".npz":
            return _read_npz(path)
        if path.suffix.lower() in (".pkl", ".pickle"):
            return read_arrays(path.read_bytes())
    except OSError as error:
        raise BadMotion(f"it cannot be read ({error.strerror or error})") from error
    raise BadMotion(f"files of the kind {path.suffix!r} are not read")


def _read_npz(path: Path) -> dict[str, np.ndarray[Any, Any]]:
    found: dict[str, np.ndarray[Any, Any]] = {}
    try:
        with zipfile.ZipFile(path) as archive:
            if sum(entry.file_size for entry in archive.infolist()) > MAX_UNPACKED_BYTES:
                raise BadMotion("it unpacks to too much")
        with np.load(path, allow_pickle=False) as archive:
            for name in archive.files:
                array = _member(archive, name)
                if array is not None:
                    found[name] = array
    except BadMotion:
        raise
    except Exception as error:  # zip, zlib and numpy raise whatever a damaged file makes them
        raise BadMotion(f"it is not a readable .npz ({type(error).__name__})") from error
    return found


def _member(archive: Any, name: str) -> np.ndarray[Any, Any] | None:
    try:
        array = archive[name]
    except ValueError:
        return None  # objects or texts, such as AMASS's gender: not needed, never unpickled
    return array if isinstance(array, np.ndarray) and array.dtype.kind in "fiub" else None


def parse_motion(arrays: Mapping[str, np.ndarray[Any, Any]]) -> Motion:
    """Make a motion of a file's arrays.

    Raises:
        BadMotion: the arrays are no motion.
        VPoserPose: the body pose is a 32-number VPoser code.
    """
    if "poses" in arrays or "pose_body" in arrays:
        motion = _amass(arrays)
    elif "body_pose" in arrays:
        motion = _smplify(arrays)
    else:
        names = ", ".join(sorted(arrays)[:8]) or "none"
        raise BadMotion(f"it holds no poses (its arrays: {names})")
    if not 0 < motion.frames <= MAX_FRAMES:
        raise BadMotion(f"it has {motion.frames} frames; 1…{MAX_FRAMES} can be read")
    return motion


def _amass(arrays: Mapping[str, np.ndarray[Any, Any]]) -> Motion:
    notes: list[str] = []
    if "poses" in arrays:
        poses = _rows(arrays, "poses")
        count, width = poses.shape
        rotations = np.zeros((count, JOINT_COUNT, 3))
        vectors = poses[:, : width // 3 * 3].reshape(count, -1, 3)
        if width == 165:
            rotations[:] = vectors
        elif width == 156:  # SMPL-H: no jaw, no eyes
            rotations[:, _BODY], rotations[:, _HANDS] = vectors[:, :22], vectors[:, 22:]
        elif width in (66, 72):  # SMPL: its two hand joints turn the whole hand, ours cannot
            rotations[:, _BODY] = vectors[:, :22]
            notes.append("the file has no fingers; they stay as they are modelled")
        else:
            raise BadMotion(f"poses has {width} columns; 165, 156, 72 or 66 are read")
    else:
        body = _rows(arrays, "pose_body")
        rotations = _assemble(
            body,
            _rows(arrays, "root_orient", len(body)),
            _optional(arrays, "pose_jaw", len(body), 3),
            _optional(arrays, "pose_eye", len(body), 6),
            _optional(arrays, "pose_hand", len(body), 90),
        )
    return Motion(
        rotations=rotations,
        transl=_columns(arrays, ("trans", "transl"), len(rotations)),
        expression=_expression(arrays, len(rotations)),
        rate=_rate(arrays),
        up="Z",
        notes=tuple(notes),
    )


def _smplify(arrays: Mapping[str, np.ndarray[Any, Any]]) -> Motion:
    body = _rows(arrays, "body_pose")
    count = len(body)
    notes: list[str] = []
    hands = np.zeros((count, 90))
    for side, part in (("left_hand_pose", slice(0, 45)), ("right_hand_pose", slice(45, 90))):
        if side not in arrays:
            continue
        values = _rows(arrays, side, count)
        if values.shape[1] == 45:
            hands[:, part] = values
        else:
            notes.append(
                f"{side} holds {values.shape[1]} PCA numbers, not 45 angles; the hand stays flat"
            )
    eyes = np.concatenate(
        [_optional(arrays, "leye_pose", count, 3), _optional(arrays, "reye_pose", count, 3)], axis=1
    )
    return Motion(
        rotations=_assemble(
            body,
            _optional(arrays, "global_orient", count, 3),
            _optional(arrays, "jaw_pose", count, 3),
            eyes,
            hands,
        ),
        transl=_columns(arrays, ("transl", "trans"), count),
        expression=_expression(arrays, count),
        rate=_rate(arrays),
        up="-Y" if any(name.startswith("camera") for name in arrays) else "Y",
        notes=tuple(notes),
    )


def _assemble(
    body: NDArray[np.float64],
    root: NDArray[np.float64],
    jaw: NDArray[np.float64],
    eyes: NDArray[np.float64],
    hands: NDArray[np.float64],
) -> NDArray[np.float64]:
    if body.shape[1] == 32:
        raise VPoserPose
    if body.shape[1] == 69:  # SMPL: its last two joints are the hands
        body = body[:, :63]
    if body.shape[1] != 63 or root.shape[1] != 3:
        raise BadMotion(f"the body pose has {body.shape[1]} numbers; 63 are read")
    return np.concatenate([root, body, jaw, eyes, hands], axis=1).reshape(-1, JOINT_COUNT, 3)


def _rows(
    arrays: Mapping[str, np.ndarray[Any, Any]], name: str, count: int | None = None
) -> NDArray[np.float64]:
    """Return an array as (N, columns); a single frame may come flat."""
    if name not in arrays:
        raise BadMotion(f"{name} is missing")
    values = np.asarray(arrays[name], np.float64)
    if values.ndim == 3 and values.shape[-1] == 3:
        values = values.reshape(len(values), -1)  # (N, joints, 3)
    elif values.ndim == 1:
        values = values[None]
    if values.ndim != 2 or not values.size or not np.isfinite(values).all():
        raise BadMotion(f"{name} is not a table of finite numbers")
    if count is not None and len(values) != count:
        raise BadMotion(f"{name} has {len(values)} frames, the body pose {count}")
    return values


def _optional(
    arrays: Mapping[str, np.ndarray[Any, Any]], name: str, count: int, width: int
) -> NDArray[np.float64]:
    if name not in arrays:
        return np.zeros((count, width))
    values = _rows(arrays, name, count)
    if values.shape[1] != width:
        raise BadMotion(f"{name} has {values.shape[1]} numbers a frame; {width} are read")
    return values


def _columns(
    arrays: Mapping[str, np.ndarray[Any, Any]], names: tuple[str, ...], count: int
) -> NDArray[np.float64]:
    for name in names:
        if name in arrays:
            return _optional(arrays, name, count, 3)
    return np.zeros((count, 3))


def _expression(arrays: Mapping[str, np.ndarray[Any, Any]], count: int) -> NDArray[np.float64]:
    for name in ("expression", "expressions"):
        if name in arrays:
            values = _rows(arrays, name)
            return values if len(values) == count else np.repeat(values[:1], count, axis=0)
    return np.zeros((count, 0))


def _rate(arrays: Mapping[str, np.ndarray[Any, Any]]) -> float:
    for name in ("mocap_frame_rate", "mocap_framerate", "fps", "frame_rate"):
        if name in arrays and arrays[name].size == 1:
            rate = float(arrays[name].reshape(()))
            if not math.isfinite(rate) or not 0.1 <= rate <= 10_000:
                raise BadMotion(f"its frame rate is {rate}")
            return rate
    return DEFAULT_RATE


def upright(
    motion: Motion, pelvis_joint: NDArray[np.floating], rate: float, up: UpAxis | None = None
) -> UprightMotion:
    """Return a motion with Y up at another frame rate.

    Args:
        pelvis_joint: (3,) pelvis of the unposed body: SMPL-X turns the root about it.
        rate: frames per second to sample at.
        up: which way is up in the file; None for what the file's kind says.
    """
    turn = TO_Y_UP[up or motion.up]
    rotations = rotation_from_axis_angle(motion.rotations)
    rotations[:, 0] = turn @ rotations[:, 0]
    pelvis = (motion.transl + np.asarray(pelvis_joint, np.float64)) @ turn.T
    times = sample_times(motion.frames, motion.rate, rate)
    return UprightMotion(
        pose=_between(rotations, times),
        pelvis=_mixed(pelvis, times),
        expression=_mixed(motion.expression, times),
    )


def on_the_ground(
    motion: UprightMotion, joints: NDArray[np.floating], clearances: NDArray[np.floating]
) -> NDArray[np.float64]:
    """Return the (N, 3) pelvis positions moved up or down as one, so that the feet just touch.

    Args:
        joints: (55, 3) of the unposed body.
        clearances: (55,) height of each joint over the ground in a flat stand, metres.
    """
    posed = posed_joints(motion.pose, joints, motion.pelvis)
    gap = (posed[:, _FEET, 1] - np.asarray(clearances, np.float64)[_FEET]).min()
    return motion.pelvis - np.array([0.0, gap, 0.0])


def sample_times(frames: int, rate: float, new_rate: float) -> NDArray[np.float64]:
    """Return the places, in frames of the file, of a scene's frames within the motion."""
    count = math.floor((frames - 1) / rate * new_rate + 1e-6) + 1
    return np.minimum(np.arange(count) * (rate / new_rate), frames - 1)


def _mixed(values: NDArray[np.float64], times: NDArray[np.float64]) -> NDArray[np.float64]:
    low = np.floor(times).astype(int)
    high = np.minimum(low + 1, len(values) - 1)
    part = (times - low)[:, None]
    return values[low] * (1.0 - part) + values[high] * part


def _between(rotations: NDArray[np.float64], times: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return rotations on the shortest arcs between neighbouring frames."""
    low = np.floor(times).astype(int)
    high = np.minimum(low + 1, len(rotations) - 1)
    part = (times - low)[:, None, None]
    step = axis_angle_from_rotation(np.swapaxes(rotations[low], -1, -2) @ rotations[high])
    return rotations[low] @ rotation_from_axis_angle(step * part)
