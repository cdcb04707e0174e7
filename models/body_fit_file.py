"""Body fits of photographs on disk: what a fit found, or what somebody knows better.

A .npz (never with objects) or .json of numbers: `pose` (55, 3) axis-angles in radians or (55, 3, 3)
rotations, SMPL-X order; `K` (3, 3), `R` (3, 3) and `t` (3,): the camera of the whole photograph,
OpenCV axes, pixels from its upper left corner; optional `betas`, `expression`, `transl` (3,).
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import numpy as np

from blender_addon.contract.camera import Camera
from blender_addon.contract.errors import BadParameter, BadPersonView, VPoserPose
from blender_addon.contract.joints import JOINT_COUNT
from blender_addon.contract.operations import PosedBody
from blender_addon.contract.pose import rotation_from_axis_angle
from models.person_photo import read_fields, read_numbers

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from models.body_fit import BodyFit

_ORTHONORMAL = 1e-3


def write_body_fit(path: Path, fit: BodyFit) -> None:
    """Write a fit as .npz."""
    staging = path.with_name(f".{path.name}.part")
    with staging.open("wb") as file:
        np.savez(
            file,
            pose=fit.body.pose,
            transl=fit.body.transl,
            betas=fit.body.betas,
            expression=fit.body.expression,
            K=fit.camera.K,
            R=fit.camera.R,
            t=fit.camera.t,
        )
    os.replace(staging, path)  # noqa: PTH105 - the target may exist: it is written anew


def read_body_fit(path: Path, width: int, height: int) -> tuple[PosedBody, Camera]:
    """Read a fit of a photograph of some size in pixels.

    Raises:
        BadPersonView: names the field that is missing or wrong.
        VPoserPose: the pose is a 32-number VPoser code.
    """
    fields = read_fields(path)
    if "body_pose" in fields:
        if np.size(fields["body_pose"]) == 32:
            raise VPoserPose(f"{path}: body_pose holds a 32-number VPoser code, not a pose")
        raise BadPersonView(
            f"{path} is a fit of SMPLify-X, whose camera and body need the import",
            "read it with training.imports.photo_fit (the command line does)",
            field="body_pose",
        )
    for name in ("pose", "K", "R", "t"):
        if name not in fields:
            raise BadPersonView(f"{path}: {name} is missing", field=name)
    arrays = {name: read_numbers(value, name, path) for name, value in fields.items()}
    body = PosedBody(
        pose=_rotations(arrays["pose"], path),
        transl=_vector(arrays, "transl", path, 3),
        betas=_vector(arrays, "betas", path),
        expression=_vector(arrays, "expression", path),
    )
    try:
        K, R, t = (np.asarray(fields[name], np.float64) for name in ("K", "R", "t"))
        camera = Camera(K=K, R=R, t=t.reshape(-1), width=width, height=height)
    except BadParameter as error:
        raise BadPersonView(f"{path}: {error.cause}", field="K") from error
    return body, camera


def _rotations(values: NDArray[np.float32], path: Path) -> NDArray[np.float32]:
    if values.shape in ((JOINT_COUNT, 3), (JOINT_COUNT * 3,)) and np.isfinite(values).all():
        return rotation_from_axis_angle(values.reshape(-1, 3)).astype(np.float32)
    if values.shape != (JOINT_COUNT, 3, 3) or not np.isfinite(values).all():
        raise BadPersonView(
            f"{path}: pose has the shape {values.shape}, not (55, 3) or (55, 3, 3)", field="pose"
        )
    gram = np.swapaxes(values, 1, 2) @ values
    if np.abs(gram - np.eye(3)).max() > _ORTHONORMAL or (np.linalg.det(values) < 0).any():
        raise BadPersonView(f"{path}: pose holds matrices that are not rotations", field="pose")
    return values


def _vector(
    arrays: dict[str, NDArray[np.float32]], name: str, path: Path, count: int | None = None
) -> NDArray[np.float32]:
    if name not in arrays:
        return np.zeros(count or 0, np.float32)
    values = arrays[name].reshape(-1)
    if (count is not None and len(values) != count) or not np.isfinite(values).all():
        raise BadPersonView(f"{path}: {name} must be finite numbers", field=name)
    return values
