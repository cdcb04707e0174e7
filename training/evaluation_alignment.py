"""Affine alignment of another method's frame with the truth, as StylePeople's section 3 does it.

There, methods whose scale or camera differs are warped by an affine map computed from OpenPose
detections on both images. Here the truth's joints are known: they are projected. A method's
joints come as OpenPose files where there are any (least squares, weighted by confidence). Without
them the silhouettes' moments give a first map, refined on mask and colours (Lucas–Kanade).
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, cast

import numpy as np
import torch
from scipy.ndimage import affine_transform, gaussian_filter

from blender_addon.contract.errors import BadParameter, CaptureError
from blender_addon.contract.joints import JOINT_INDEX
from models.body import skin
from training.evaluation_regions import projected

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from models.body import Body
    from training.evaluation_truth import TrueFrame

OPENPOSE_JOINTS = {
    2: "right_shoulder", 3: "right_elbow", 4: "right_wrist",
    5: "left_shoulder", 6: "left_elbow", 7: "left_wrist",
    9: "right_hip", 10: "right_knee", 11: "right_ankle",
    12: "left_hip", 13: "left_knee", 14: "left_ankle",
}  # fmt: skip
"""Points of OpenPose's BODY_25 that mean a joint of SMPL-X."""
LEAST_CONFIDENCE = 0.3
_BLURS = (8.0, 4.0, 2.0, 1.0)
_ITERATIONS = 12


def keypoint_affine(
    found: NDArray[np.floating], wanted: NDArray[np.floating], weight: NDArray[np.floating]
) -> NDArray[np.float64]:
    """Return the affine map (2, 3) that takes points to points with least weighted squares.

    Args:
        found: (N, 2) points.
        wanted: (N, 2) where they should be.
        weight: (N,) confidence; 0 leaves a point out.

    Raises:
        BadParameter: fewer than three points count, or they lie on a line.
    """
    used = weight > 0
    root = np.sqrt(weight[used].astype(np.float64))[:, None]
    given = np.concatenate([found[used], np.ones((int(used.sum()), 1))], axis=1)
    if len(given) < 3 or np.linalg.matrix_rank(given - given.mean(axis=0), tol=1.0) < 2:
        raise BadParameter(
            "fewer than three joints off one line were found: no affine map follows from them",
            "leave this frame out, or align by masks (frames with alpha, no --keypoints)",
        )
    solution, *_ = np.linalg.lstsq(root * given, root * wanted[used], rcond=None)
    return np.asarray(solution.T, np.float64)


def read_keypoints(
    folder: Path, name: str, scale: tuple[float, float]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Read a frame's OpenPose file.

    Args:
        folder: of NAME_keypoints.json, or NAME.json.
        name: of the frame.
        scale: measured pixels per pixel of the method's frames, x and y.

    Returns:
        (12, 2) points of `OPENPOSE_JOINTS` in measured pixels, and (12,) confidences; 0 where
        nothing was found.

    Raises:
        CaptureError: there is no such file, or it is not OpenPose's BODY_25.
    """
    paths = [folder / f"{name}_keypoints.json", folder / f"{name}.json"]
    path = next((path for path in paths if path.is_file()), None)
    if path is None:
        raise CaptureError(f"{paths[0]} is missing", "give OpenPose's output for every frame")
    try:
        people = json.loads(path.read_text(encoding="utf-8"))["people"]
        values = np.array(people[0]["pose_keypoints_2d"] if people else [0.0] * 75, np.float64)
        points = values.reshape(25, 3)[list(OPENPOSE_JOINTS)]
    except (ValueError, KeyError, TypeError) as error:
        raise CaptureError(f"{path}: people[0].pose_keypoints_2d: {error}") from error
    confidence = np.where(points[:, 2] >= LEAST_CONFIDENCE, points[:, 2], 0.0)
    return points[:, :2] * scale, confidence


def true_keypoints(body: Body, frame: TrueFrame) -> NDArray[np.float64]:
    """Return (12, 2) the joints of `OPENPOSE_JOINTS` as the frame's camera sees them."""
    posed = frame.body
    values = (posed.pose, posed.betas, posed.expression, posed.transl)
    batch = [torch.from_numpy(np.array(value, np.float32))[None] for value in values]
    joints = skin(body, *batch).joints[0].numpy()
    seen = joints @ frame.camera.R.T + frame.camera.t
    which = [JOINT_INDEX[name] for name in OPENPOSE_JOINTS.values()]
    return projected(seen[which], frame.camera)[:, :2]


def silhouette_affine(
    planes: NDArray[np.floating], goal: NDArray[np.floating]
) -> NDArray[np.float64]:
    """Return the affine map (2, 3) from a picture to the truth, from masks and colours.

    Centres and extents of the masks give shift and scale; then all six numbers are refined by
    Gauss–Newton steps on blurred mask and colours, from coarse to fine.

    Args:
        planes: (H, W, 4) premultiplied colour and alpha, 0…1.
        goal: (H, W, 4) the truth's.

    Raises:
        BadParameter: one of the masks is empty.
    """
    centre, spread = _moments(planes[..., 3])
    true_centre, true_spread = _moments(goal[..., 3])
    scale = true_spread / spread
    affine = np.concatenate([np.diag(scale), (true_centre - scale * centre)[:, None]], axis=1)
    for blur in _BLURS:
        sigma = (blur, blur, 0.0)
        affine = _refined(
            affine, gaussian_filter(planes, sigma), gaussian_filter(goal, sigma), blur
        )
    return affine


def warp(planes: NDArray[np.floating], affine: NDArray[np.float64]) -> NDArray[np.float32]:
    """Move a picture (H, W, C) by an affine map of its pixels (corner origin), zero outside."""
    inverse = _inverse(affine)
    # scipy maps (row, column) of pixel centres.
    matrix = inverse[::-1, 1::-1]
    offset = inverse[::-1, 2] + matrix @ [0.5, 0.5] - 0.5
    planes = np.asarray(planes, np.float32)
    moved = [
        affine_transform(planes[..., k], matrix, tuple(offset), order=1, mode="constant")  # pyright: ignore[reportArgumentType]
        for k in range(planes.shape[-1])
    ]
    return np.asarray(np.stack(moved, axis=-1), np.float32)


def _refined(
    affine: NDArray[np.float64],
    planes: NDArray[np.floating],
    goal: NDArray[np.floating],
    blur: float,
) -> NDArray[np.float64]:
    """Take Gauss–Newton steps on Σ (warped − goal)², keeping only those that lower it."""
    height, width = goal.shape[:2]
    y, x = np.indices((height, width)) + 0.5
    best, error = affine, float(np.square(warp(planes, affine) - goal).sum())
    for _ in range(_ITERATIONS):
        moved = warp(planes, best)
        down, across = np.gradient(moved, axis=(0, 1))
        steps = [across * x[..., None], across * y[..., None], across]
        steps += [down * x[..., None], down * y[..., None], down]
        jacobian = np.stack([step.ravel() for step in steps], axis=1)
        change, *_ = np.linalg.lstsq(
            jacobian.T @ jacobian, jacobian.T @ (moved - goal).ravel(), rcond=None
        )
        # The picture at p + d is what the goal shows at p: the goal's map is the inverse shift.
        shift = np.eye(3)
        shift[:2] += change.reshape(2, 3)
        tried = (shift @ np.concatenate([best, [[0.0, 0.0, 1.0]]]))[:2]
        new = float(np.square(warp(planes, tried) - goal).sum())
        if not np.isfinite(new) or new >= error:
            break
        done = error - new < 1e-4 * error and float(np.abs(change).max()) < 0.02 * blur
        best, error = tried, new
        if done:
            break
    return best


def _moments(mask: NDArray[np.floating]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return a mask's centre (x, y) and its standard deviations, in pixels, corner origin."""
    total = float(mask.sum())
    if total < 1.0:
        raise BadParameter(
            "an empty mask cannot be aligned", "leave the frame out, or give --keypoints"
        )
    rows, columns = np.arange(mask.shape[0]) + 0.5, np.arange(mask.shape[1]) + 0.5
    shares = cast("list[NDArray[np.float64]]", [mask.sum(axis=0) / total, mask.sum(axis=1) / total])
    centre = np.array([shares[0] @ columns, shares[1] @ rows])
    variance = [shares[0] @ (columns - centre[0]) ** 2, shares[1] @ (rows - centre[1]) ** 2]
    return centre, np.sqrt(np.maximum(variance, 1.0))


def _inverse(affine: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.linalg.inv(np.concatenate([affine, [[0.0, 0.0, 1.0]]]))[:2]
