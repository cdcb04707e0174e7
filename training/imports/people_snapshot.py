"""Folders of the People-Snapshot kind: a video, masks.hdf5, reconstructed_poses.hdf5, camera.pkl.

The fits are of SMPL. Its first 22 joints stand in SMPL-X's order and turn nearly the same bones;
its two hand joints have no counterpart. The camera stands in `camera.pkl`; the world is its own,
with y down, which `fits.place` turns upright.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from blender_addon.contract.camera import Camera
from blender_addon.contract.joints import JOINT_COUNT
from blender_addon.contract.pose import rotation_from_axis_angle
from training.imports.arrays import Arrays, Rows, open_rows, read_arrays, rows, table, wrong
from training.imports.fits import FittedFrame, Take

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from blender_addon.contract.errors import CaptureError

POSES_STEM = "reconstructed_poses"
MASKS_STEM = "masks"
KEYPOINTS_STEM = "keypoints"
CAMERA_STEM = "camera"

SMPL_NOTE = (
    "SMPL's poses fit SMPL-X approximately: shoulders and spine differ a little, the hands stay "
    "flat; let the training refine the fits"
)

_SHARED_JOINTS = 22


def is_people_snapshot(folder: Path) -> bool:
    """Tell whether a folder holds reconstructed poses of this kind."""
    return any((folder / f"{POSES_STEM}{suffix}").is_file() for suffix in (".hdf5", ".h5", ".npz"))


def read_people_snapshot(
    folder: Path, frames: Sequence[str], wanted: Sequence[int], size: tuple[int, int]
) -> tuple[Take, list[CaptureError]]:
    """Read the poses and the camera.

    Args:
        folder: of the take.
        frames: names of all frames; pose k belongs to frame k.
        wanted: indices of the frames to read, rising.
        size: width and height of the frames in pixels.

    Returns:
        the take, and an error for each frame whose pose cannot be used.

    Raises:
        CaptureError: a file or field is missing or wrong; names it.
        MissingExtra: the files are HDF5 and the `captures` extra is not installed.
    """
    camera, distortion = read_camera(folder, size)
    notes = [SMPL_NOTE]
    with open_rows(folder, POSES_STEM) as (path, tables):
        pose = np.asarray(rows(tables, "pose", path, 72)[:], np.float64)
        trans = np.asarray(rows(tables, "trans", path, 3)[:], np.float64)
        betas = _betas(tables, path)
    if len(trans) != len(pose):
        raise wrong(path, "trans", f"has {len(trans)} rows, pose has {len(pose)}")
    # The published data has one pose more than it has masks.
    if abs(len(pose) - len(frames)) > 1:
        raise wrong(
            path,
            "pose",
            f"has {len(pose)} rows, but there are {len(frames)} frames",
            "give all frames of the video, in their order",
        )
    fits: list[FittedFrame] = []
    indices: list[int] = []
    errors: list[CaptureError] = []
    for index in wanted:
        if index >= len(pose):
            notes.append("the last frame has no pose and is left out")
            continue
        if not (np.isfinite(pose[index]).all() and np.isfinite(trans[index]).all()):
            errors.append(
                wrong(path, f"pose, trans [{index}]", "holds numbers that are not finite")
            )
            continue
        fits.append(
            FittedFrame(
                name=frames[index],
                rotations=smplx_rotations(pose[index]),
                transl=trans[index],
                betas=betas,
                expression=np.zeros(0),
                camera=camera,
            )
        )
        indices.append(index)
    if not fits:
        raise errors[0] if errors else wrong(path, "pose", "holds no frame that is wanted")
    take = Take(
        fits=tuple(fits),
        indices=tuple(indices),
        model="smpl",
        distortion=distortion,
        notes=tuple(notes),
    )
    return take, errors


def smplx_rotations(pose: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return SMPL's pose (72,), axis-angles in radians, as (55, 3, 3) rotations of SMPL-X."""
    rotations = np.tile(np.eye(3), (JOINT_COUNT, 1, 1))
    vectors = np.asarray(pose, np.float64).reshape(24, 3)
    rotations[:_SHARED_JOINTS] = rotation_from_axis_angle(vectors[:_SHARED_JOINTS])
    return rotations


def read_camera(folder: Path, size: tuple[int, int]) -> tuple[Camera, NDArray[np.float64] | None]:
    """Read camera.pkl (or camera.npz, camera.json): the camera, and its distortion if it has any.

    Fields: camera_f (2,), camera_c (2,) in pixels, width, height; and, zero when missing,
    camera_rt (3,) axis-angle, camera_t (3,) metres, camera_k (5,) distortion k1, k2, p1, p2, k3.

    Raises:
        CaptureError: a field is missing or wrong, or the size is not that of the frames.
    """
    found = [folder / f"{CAMERA_STEM}{suffix}" for suffix in (".pkl", ".npz", ".json")]
    path = next((p for p in found if p.is_file()), found[0])
    arrays = read_arrays(path)
    focal = table(arrays, "camera_f", path, (2,))
    centre = table(arrays, "camera_c", path, (2,))
    if focal.min() <= 0:
        raise wrong(path, "camera_f", "is not above 0")
    for field, have in zip(("width", "height"), size, strict=True):
        want = float(table(arrays, field, path, ()))
        if want != have:
            raise wrong(
                path,
                field,
                f"is {want:.0f}, but the frames' is {have}",
                "give the frames for which the camera was calibrated",
            )
    K = np.array([[focal[0], 0.0, centre[0]], [0.0, focal[1], centre[1]], [0.0, 0.0, 1.0]])
    camera = Camera(
        K=K,
        R=rotation_from_axis_angle(_or_zeros(arrays, "camera_rt", path, 3)),
        t=_or_zeros(arrays, "camera_t", path, 3),
        width=size[0],
        height=size[1],
    )
    distortion = _or_zeros(arrays, "camera_k", path, 5)
    return camera, distortion if np.abs(distortion).max() > 1e-9 else None


def _or_zeros(arrays: Arrays, field: str, path: Path, count: int) -> NDArray[np.float64]:
    return table(arrays, field, path, (count,)) if field in arrays else np.zeros(count)


def _betas(tables: Mapping[str, Rows], path: Path) -> NDArray[np.float64]:
    if "betas" not in tables:
        return np.zeros(0)
    return table({"betas": np.asarray(tables["betas"][:])}, "betas", path, (-1,))
