"""Folders as the AzurePeople data has them: frames, masks, one SMPLify-X fit per frame.

A fit is a .pkl, .json or .npz per frame, named as the frame, or NAME/000.pkl as SMPLify-X itself
writes them. The camera is SMPLify-X's: OpenCV axes, x_pixel = f · (R x + t) / z + centre, with
5000 pixels of focal length at the centre of the image unless the fit or an option says more.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from blender_addon.contract.camera import Camera
from blender_addon.contract.errors import CaptureError, VPoserPose
from blender_addon.contract.joints import JOINT_COUNT
from training.imports.arrays import ARRAY_SUFFIXES, Arrays, read_arrays, table, wrong
from training.imports.fits import FittedFrame, Take
from training.imports.frames import ByName, files_of, natural
from training.imports.rotations import HandMean, hand_rotations, joint_rotations

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from models.body import Hands

FIT_FOLDERS = ("smplifyx", "smplify-x", "results", "fits", "smplx", "params")
DEFAULT_FOCAL = 5000.0
_PROPORTION_TOLERANCE = 0.01


@dataclass(frozen=True, kw_only=True)
class FitReading:
    """How fits are to be read.

    Attributes:
        size: width and height of the frames in pixels.
        fit_size: of the images on which the fits were made, if other than the frames'.
        focal: focal length in pixels of the fitted images, for fits that do not say.
        hands: what the body's hand coefficients stand for.
        hand_mean: whether the mean hand is added.
    """

    size: tuple[int, int]
    fit_size: tuple[int, int] | None = None
    focal: float | None = None
    hands: Hands | None = None
    hand_mean: HandMean = "auto"


def find_fits(folder: Path, given: Path | None = None) -> Path | None:
    """Return the folder of a take's fits, or None when there is none."""
    if given is not None:
        return given
    return next((folder / name for name in FIT_FOLDERS if (folder / name).is_dir()), None)


def read_smplify_x(
    fits: Path, frames: Sequence[str], wanted: Sequence[int], reading: FitReading
) -> tuple[Take, list[CaptureError]]:
    """Read the fits of some frames.

    Args:
        fits: folder of the fits.
        frames: names of all frames.
        wanted: indices of the frames to read, rising.
        reading: sizes, focal length and hands.

    Returns:
        the take, and an error for each fit that cannot be used.

    Raises:
        CaptureError: no frame has a fit.
        VPoserPose: the body pose is a 32-number VPoser code.
    """
    files = ByName(_fit_files(fits))
    found: list[FittedFrame] = []
    indices: list[int] = []
    errors: list[CaptureError] = []
    notes: dict[str, None] = {}
    without: list[str] = []
    for index in wanted:
        path = files.find(frames[index])
        if path is None:
            without.append(frames[index])
            continue
        try:
            fit, said = parse_fit(read_arrays(path), path, frames[index], reading)
        except CaptureError as error:
            errors.append(error)
            continue
        notes.update(dict.fromkeys(said))
        found.append(fit)
        indices.append(index)
    if not found:
        if errors:
            raise errors[0]
        raise wrong(
            fits,
            "",
            f"holds no fit of any of {len(wanted)} frames (first frame: {frames[wanted[0]]!r})",
            "name the fits as the frames, or give their folder with --fits",
        )
    if without:
        notes[f"{len(without)} frames have no fit and are left out (first: {without[0]!r})"] = None
    take = Take(fits=tuple(found), indices=tuple(indices), model="smplx", notes=tuple(notes))
    return take, errors


def parse_fit(
    arrays: Arrays, path: Path, frame: str, reading: FitReading
) -> tuple[FittedFrame, list[str]]:
    """Make a fit of a file's arrays.

    Args:
        arrays: what the file holds.
        path: the file, for the errors.
        frame: name of the frame.
        reading: sizes, focal length and hands.

    Returns:
        the fit, and notes for the user.

    Raises:
        CaptureError: a field is missing or wrong; names it.
        VPoserPose: the body pose is a 32-number VPoser code.
    """
    notes: list[str] = []
    rotations = np.tile(np.eye(3), (JOINT_COUNT, 1, 1))
    rotations[0] = joint_rotations(arrays, "global_orient", path, 1, optional=False)[0]
    rotations[1:22] = _body_pose(arrays, path, notes)
    for joint, field in ((22, "jaw_pose"), (23, "leye_pose"), (24, "reye_pose")):
        rotations[joint] = joint_rotations(arrays, field, path, 1)[0]
    for side, field in enumerate(("left_hand_pose", "right_hand_pose")):
        hand, note = hand_rotations(arrays, field, path, reading.hands, side, reading.hand_mean)
        rotations[25 + 15 * side : 40 + 15 * side] = hand
        if note is not None:
            notes.append(note)
    fit = FittedFrame(
        name=frame,
        rotations=rotations,
        transl=_optional(arrays, "transl", path, 3),
        betas=_coefficients(arrays, "betas", path),
        expression=_coefficients(arrays, "expression", path),
        camera=_camera(arrays, path, reading, notes),
    )
    return fit, notes


def _body_pose(arrays: Arrays, path: Path, notes: list[str]) -> NDArray[np.float64]:
    size = arrays["body_pose"].size if "body_pose" in arrays else 0
    if size == 32:
        raise VPoserPose(f"{path}: body_pose holds a 32-number VPoser code, not a pose")
    if size == 69:
        notes.append("body_pose has SMPL's 23 joints: its two hand joints are left out")
        full = joint_rotations(arrays, "body_pose", path, 23)
        return full[:21]
    return joint_rotations(arrays, "body_pose", path, 21, optional=False)


def _camera(arrays: Arrays, path: Path, reading: FitReading, notes: list[str]) -> Camera:
    width, height = reading.size
    fit_width, fit_height = reading.fit_size or reading.size
    if "focal_length" in arrays:
        focal = table(arrays, "focal_length", path, (), (1,), (2,)).reshape(-1)
    elif reading.focal is not None:
        focal = np.array([reading.focal])
    else:
        focal = np.array([DEFAULT_FOCAL])
        notes.append(
            f"the fits name no focal length: SMPLify-X's default of {DEFAULT_FOCAL:.0f} pixels is "
            "taken (--focal changes it)"
        )
    centre = np.array([fit_width / 2, fit_height / 2])
    for name in ("camera_center", "center"):
        if name in arrays:
            centre = table(arrays, name, path, (2,))
            break
    rotation = joint_rotations(arrays, "camera_rotation", path, 1)[0]
    # SMPLify-X moves the camera; a fit that moves the body instead names no camera translation.
    if "camera_translation" not in arrays and "transl" not in arrays:
        raise wrong(path, "camera_translation", "is missing, and so is transl")
    translation = _optional(arrays, "camera_translation", path, 3)
    fx, fy = focal[0], focal[-1]
    if min(fx, fy) <= 0:
        raise wrong(path, "focal_length", "is not above 0")
    sx, sy = width / fit_width, height / fit_height
    if abs(sx / sy - 1) > _PROPORTION_TOLERANCE:
        raise CaptureError(
            f"the frames are {width} × {height} pixels, the fitted images {fit_width} × "
            f"{fit_height}: other proportions",
            "give the size of the fitted images with --fit-size, or the fitted images themselves",
            field="fit_size",
        )
    K = np.array([[fx * sx, 0.0, centre[0] * sx], [0.0, fy * sy, centre[1] * sy], [0.0, 0.0, 1.0]])
    return Camera(K=K, R=rotation, t=translation, width=width, height=height)


def _optional(arrays: Arrays, field: str, path: Path, count: int) -> NDArray[np.float64]:
    return table(arrays, field, path, (count,)) if field in arrays else np.zeros(count)


def _coefficients(arrays: Arrays, field: str, path: Path) -> NDArray[np.float64]:
    return table(arrays, field, path, (-1,)) if field in arrays else np.zeros(0)


def _fit_files(folder: Path) -> dict[str, Path]:
    if not folder.is_dir():
        raise wrong(folder, "", "is not a folder of fits")
    found = {path.stem: path for path in files_of(folder, ARRAY_SUFFIXES)}
    # SMPLify-X's own layout: a folder per frame, a file per person in it.
    for inner in sorted((p for p in folder.iterdir() if p.is_dir()), key=lambda p: natural(p.name)):
        people = files_of(inner, ARRAY_SUFFIXES)
        if len(people) > 1:
            raise wrong(
                inner,
                "",
                f"holds fits of {len(people)} people",
                "keep the file of the person of the capture",
            )
        if people:
            found[inner.name] = people[0]
    return found
