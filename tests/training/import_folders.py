"""Folders as public tools leave them, made of a capture whose truth is known. For tests."""

from __future__ import annotations

import json
import pickle
import shutil
from pathlib import Path  # noqa: TC003

import numpy as np
from PIL import Image

from blender_addon.contract.pose import axis_angle_from_rotation
from models.body import load_body
from training.captures import Capture  # noqa: TC001
from training.imports.fits import SMPL_PELVIS, rest_pelvis


def in_camera(capture: Capture, body, index: int):
    """Return a frame's axis-angles (55, 3) and pelvis (3,) with the camera as the world."""
    posed, camera = capture.posed_body(index), capture.camera(index)
    pose = posed.pose.astype(np.float64)
    pose[0] = camera.R @ pose[0]
    pelvis = rest_pelvis(body, posed.betas, posed.expression) + posed.transl
    return axis_angle_from_rotation(pose), camera.R @ pelvis + camera.t


def fit_of(capture: Capture, body, index: int) -> dict[str, np.ndarray]:
    """Return a frame's parameters as SMPLify-X stores them: the body stays, the camera moves."""
    vectors, pelvis = in_camera(capture, body, index)
    posed, camera = capture.posed_body(index), capture.camera(index)
    still = rest_pelvis(body, posed.betas, posed.expression)
    return {
        "global_orient": vectors[None, 0],
        "body_pose": vectors[1:22].reshape(1, 63),
        "jaw_pose": vectors[None, 22],
        "leye_pose": vectors[None, 23],
        "reye_pose": vectors[None, 24],
        "left_hand_pose": vectors[25:40].reshape(1, 45),
        "right_hand_pose": vectors[40:55].reshape(1, 45),
        "betas": posed.betas[None].astype(np.float64),
        "expression": posed.expression[None].astype(np.float64),
        "camera_rotation": np.eye(3)[None],
        "camera_translation": (pelvis - still)[None],
        "focal_length": np.array(camera.K[0, 0]),
        "camera_center": camera.K[:2, 2].copy(),
    }


def write_fit(path: Path, fit: dict[str, np.ndarray]) -> None:
    """Write a fit by the file's suffix."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".npz":
        np.savez(path, gender=np.array("neutral"), **fit)
    elif path.suffix == ".json":
        path.write_text(json.dumps({name: value.tolist() for name, value in fit.items()}))
    else:
        path.write_bytes(pickle.dumps({**fit, "gender": "neutral"}, protocol=2))


def write_pictures(capture: Capture, folder: Path, *, channels: int, name="{:05d}") -> None:
    """Write frames/ and masks/ with one or three channels."""
    for part in ("frames", "masks"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    for index in range(len(capture)):
        Image.fromarray(capture.image(index)).save(folder / "frames" / f"{name.format(index)}.png")
        mask = capture.masks(index)
        Image.fromarray(mask if channels == 3 else mask[..., 0]).save(
            folder / "masks" / f"{name.format(index)}.png"
        )


def write_smplify_x(
    capture: Capture, library: Path, folder: Path, *, suffix=".pkl", channels=3, nested=False
) -> Path:
    """Write a folder of the AzurePeople kind."""
    body = load_body(library / capture.description.body)
    write_pictures(capture, folder, channels=channels)
    for index in range(len(capture)):
        name = f"{index:05d}/000{suffix}" if nested else f"{index:05d}{suffix}"
        write_fit(folder / "smplifyx" / name, fit_of(capture, body, index))
    return folder


def snapshot_arrays(capture: Capture, library: Path) -> dict[str, np.ndarray]:
    """Return reconstructed_poses' arrays: SMPL's pose, translation and betas."""
    body = load_body(library / capture.description.body)
    rows = [in_camera(capture, body, index) for index in range(len(capture))]
    return {
        "pose": np.stack([np.r_[vectors[:22].ravel(), np.zeros(6)] for vectors, _ in rows]),
        "trans": np.stack([pelvis - SMPL_PELVIS for _, pelvis in rows]),
        "betas": np.linspace(-1, 1, 10),
    }


def camera_fields(capture: Capture) -> dict[str, object]:
    """Return camera.pkl's fields; all frames must have one K."""
    camera = capture.camera(0)
    return {
        "camera_f": np.diag(camera.K)[:2].copy(),
        "camera_c": camera.K[:2, 2].copy(),
        "camera_t": np.zeros(3),
        "camera_rt": np.zeros(3),
        "camera_k": np.zeros(5),
        "width": camera.width,
        "height": camera.height,
    }


def write_people_snapshot(capture: Capture, library: Path, folder: Path) -> Path:
    """Write a folder of the People-Snapshot kind with .npz in place of .hdf5."""
    write_pictures(capture, folder, channels=1)
    shutil.rmtree(folder / "masks")
    masks = np.stack([capture.masks(index)[..., 0] for index in range(len(capture))])
    np.savez(folder / "masks.npz", masks=masks)
    np.savez(folder / "reconstructed_poses.npz", **snapshot_arrays(capture, library))
    (folder / "camera.pkl").write_bytes(pickle.dumps(camera_fields(capture), protocol=2))
    return folder
