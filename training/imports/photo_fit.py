"""Somebody's own body fit of one photograph: Dressform's own fields, or SMPLify-X's."""

from __future__ import annotations

from typing import TYPE_CHECKING

from models.body_fit_file import read_body_fit
from training.imports.arrays import read_arrays
from training.imports.fits import Take, place
from training.imports.smplify_x import FitReading, parse_fit

if TYPE_CHECKING:
    from pathlib import Path

    from blender_addon.contract.camera import Camera
    from blender_addon.contract.operations import PosedBody
    from models.body import Body


def read_photo_fit(
    path: Path, width: int, height: int, body: Body, focal: float | None = None
) -> tuple[PosedBody, Camera, tuple[str, ...]]:
    """Read a fit in the terms of a body.

    Args:
        path: .npz, .json or (read without executing anything) .pkl.
        width: of the photograph in pixels.
        height: of the photograph in pixels.
        body: that the avatar will have.
        focal: focal length in pixels, for fits of SMPLify-X that do not name it.

    Returns:
        body and camera, and what was approximated, in words for the user.

    Raises:
        CaptureError: a field of an SMPLify-X fit is missing or wrong; names it.
        BadPersonView: a field of Dressform's own is missing or wrong; names it.
        VPoserPose: the pose is a 32-number VPoser code.
    """
    arrays = read_arrays(path)
    if "body_pose" not in arrays:
        posed, camera = read_body_fit(path, width, height)
        return posed, camera, ()
    reading = FitReading(size=(width, height), focal=focal, hands=body.hands)
    fit, notes = parse_fit(arrays, path, path.stem, reading)
    placed = place(Take(fits=(fit,), indices=(0,), model="smplx", notes=tuple(notes)), body)
    return placed.bodies[0], placed.cameras[0], (*notes, *placed.notes)
