"""`dressform evaluate frames`: any other method's frames against a capture, in the same way."""

from __future__ import annotations

from pathlib import Path  # noqa: TC003 - jsonargparse reads the annotations
from typing import TYPE_CHECKING, Literal

import numpy as np
from PIL import Image, UnidentifiedImageError

from blender_addon.contract.errors import CaptureError
from models.body import load_body
from models.package import DEFAULT_LIBRARY
from training.captures import Capture
from training.evaluation import spread
from training.evaluation_alignment import (
    keypoint_affine,
    read_keypoints,
    silhouette_affine,
    true_keypoints,
    warp,
)
from training.evaluation_avatar import Chosen, chosen_frames, method_table, plain_figures
from training.evaluation_measure import measure_flicker, measure_stills, stills
from training.evaluation_perceptual import yardstick as choose_yardstick
from training.evaluation_pictures import FramePicture, frame_picture, write_worst
from training.evaluation_regions import BodyParts
from training.evaluation_tables import figure, write_json
from training.evaluation_truth import GREY, SIZE, Prediction, resampled

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from models.body import Body
    from training.evaluation_measure import Method
    from training.evaluation_truth import TrueFrame

SUFFIXES = (".png", ".webp", ".jpg", ".jpeg")


def evaluate_frames(
    frames: Path,
    against: Path | None = None,
    align: Literal["none", "affine"] = "none",
    keypoints: Path | None = None,
    background: tuple[float, float, float] = GREY,
    split: Chosen = "held-out",
    library: Path = DEFAULT_LIBRARY,
    json: Path | None = None,
    pictures: Path | None = None,
    limit: int | None = None,
    size: int = SIZE,
    lpips_trunk: Path | None = None,
    vgg19: Path | None = None,
) -> int:
    """Measure frames of any method on a capture, as `dressform evaluate avatar` measures ours.

    Args:
        frames: folder of NAME.png, .webp or .jpg by the capture's frame names; alpha optional.
        against: folder of the capture.
        align: "affine" warps every frame onto the truth first (StylePeople, section 3).
        keypoints: folder of OpenPose files of the method's frames, for the alignment; without
            it, masks and colours align, and frames need alpha.
        background: what lies behind the person in frames without alpha, 0…1; the truth is laid
            over the same.
        split: which of the capture's frames; those without a picture are left out and counted.
        library: where the capture's body lies.
        json: also write {"figure": {"value", "bound", "ok"}} to this file.
        pictures: write the worst frames to this folder.
        limit: measure only so many frames outside sequences, evenly spread.
        size: width in pixels to which frames are averaged down.
        lpips_trunk: torchvision's AlexNet or VGG16 weights, for LPIPS.
        vgg19: torchvision's VGG19 weights, for its feature distance.
    """
    if against is None:
        raise CaptureError("there is nothing to compare with", "give --against CAPTURE")
    capture = Capture.open(against)
    chosen = [
        index
        for index in chosen_frames(capture, split)
        if find_picture(frames, capture.description.frames[index].name) is not None
    ]
    if not chosen:
        raise CaptureError(
            f"{frames} has no picture of a {split} frame of {against}",
            "name the pictures as the capture's frames, or choose another --split",
        )
    body = load_body(library / capture.description.body)
    parts, yardstick = BodyParts.of(body), choose_yardstick(lpips_trunk, vgg19)
    method = frames_method(frames, body if align == "affine" else None, keypoints)
    name = frames.name
    shown: list[FramePicture] = []
    alone = spread(stills(capture, chosen), limit)
    results = measure_stills(
        capture,
        alone,
        parts,
        {name: method},
        yardstick,
        size=size,
        background=background,
        seen=None
        if pictures is None
        else lambda frame, what, psnr: shown.append(frame_picture(frame, what, name, psnr)),
    )
    methods = {name: method}
    measure_flicker(capture, chosen, parts, methods, results, size=size, background=background)
    if pictures is not None:
        write_worst(pictures, name, shown)
    measured = results[name]
    print(method_table(name, measured, yardstick.name))  # noqa: T201 - a command's own output
    left_out = len(chosen_frames(capture, split)) - len(chosen)
    if left_out:
        print(f"{left_out} frames have no picture: left out")  # noqa: T201
    if json is not None:
        figures = plain_figures(measured, yardstick.name) | {"frames_left_out": float(left_out)}
        write_json(json, {name: figure(value) for name, value in figures.items()})
    return 0


def find_picture(folder: Path, name: str) -> Path | None:
    """Return the file of a frame's picture, if there is one."""
    paths = (folder / f"{name}{suffix}" for suffix in SUFFIXES)
    return next((path for path in paths if path.is_file()), None)


def frames_method(
    folder: Path, align_with: Body | None = None, keypoints: Path | None = None
) -> Method:
    """Return pictures on disk as a method.

    Args:
        folder: of the pictures.
        align_with: the capture's body, where frames are to be aligned.
        keypoints: folder of OpenPose files.
    """

    def show(frame: TrueFrame) -> Prediction | None:
        path = find_picture(folder, frame.name)
        if path is None:
            return None
        planes, alpha, scale = _read(path, frame)
        if align_with is not None:
            planes = _aligned(planes, frame, align_with, keypoints, scale, path, alpha)
        ground = np.asarray(frame.background, np.float32)
        coverage = planes[..., 3:]
        image = np.asarray(planes[..., :3] + ground * (1.0 - coverage), np.float32)
        if not alpha:
            return Prediction(image, None)
        masks = np.concatenate([coverage, np.zeros_like(planes[..., :2])], axis=-1)
        return Prediction(image, masks, channels=1)

    return show


def _read(path: Path, frame: TrueFrame) -> tuple[NDArray[np.float32], bool, tuple[float, float]]:
    """Return a picture at the frame's size: premultiplied RGBA, whether it has alpha, its scale."""
    try:
        with Image.open(path) as image:
            alpha = image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info
            pixels = np.asarray(image.convert("RGBA"), np.float32) / 255
    except (OSError, UnidentifiedImageError, SyntaxError, ValueError) as error:
        raise CaptureError(f"{path} cannot be read as an image: {error}") from error
    height, width = pixels.shape[:2]
    camera = frame.camera
    if abs(height * camera.width - width * camera.height) > max(width, camera.width):
        raise CaptureError(
            f"{path}: {width} × {height} pixels have another shape than the capture's frames",
            "give whole frames, not crops",
        )
    pixels[..., :3] *= pixels[..., 3:]  # image files hold straight alpha
    scale = camera.width / width, camera.height / height
    return resampled(pixels, camera.width, camera.height), alpha, scale


def _aligned(
    planes: NDArray[np.float32],
    frame: TrueFrame,
    body: Body,
    keypoints: Path | None,
    scale: tuple[float, float],
    path: Path,
    alpha: bool,
) -> NDArray[np.float32]:
    if keypoints is not None:
        found, confidence = read_keypoints(keypoints, frame.name, scale)
        affine = keypoint_affine(found, true_keypoints(body, frame), confidence)
    elif not alpha:
        raise CaptureError(
            f"{path} has no alpha, so there is no silhouette to align",
            "give frames with alpha, or OpenPose's files with --keypoints",
        )
    else:
        affine = silhouette_affine(planes, frame.premultiplied())
    if alpha:
        return warp(planes, affine)
    # What comes in from outside a frame without alpha is its background.
    ground = np.asarray(frame.background, np.float32)
    moved = warp(np.concatenate([planes[..., :3] - ground, planes[..., 3:]], axis=-1), affine)
    return np.concatenate([moved[..., :3] + ground, np.ones_like(moved[..., 3:])], axis=-1)
