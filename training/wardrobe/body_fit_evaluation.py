"""`dressform evaluate body-fit`: fits of frames whose bodies are known.

Frames of captures are put before grey, as photographs of one person; the networks that see people
look at them (or, with `--keypoints true`, the true landmarks are given: what the fit itself loses),
and the fitted joints are compared with the true ones.
"""

from __future__ import annotations

import time
from pathlib import Path  # noqa: TC003 - the command line reads the annotations
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
import torch
from PIL import Image
from scipy import ndimage

from blender_addon.contract.errors import CaptureError, NoPersonFound, SeveralPeople
from blender_addon.contract.joints import BODY_JOINTS, JOINT_INDEX
from models.body import load_body
from models.body_fit import BodyFitRecipe, fit_body
from models.body_fit_figures import body_mask, body_vertices
from models.body_fit_terms import landmark_weights
from models.package import DEFAULT_LIBRARY
from models.person_photo import PersonView, perceive_person
from models.pose_landmarks import LANDMARK_INDEX, landmark_points
from training.captures import Capture, find_captures
from training.evaluation_tables import Bound, figure, publish

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from blender_addon.contract.camera import Camera
    from blender_addon.contract.operations import PosedBody
    from models.body import Body
    from models.body_fit import BodyFit

_BACKGROUND = 120
_COMPARED = (0, *BODY_JOINTS)
_HIPS = ("left_hip", "right_hip")


class FitErrors(NamedTuple):
    """How far a fit is off.

    Attributes:
        pixels: mean distance of projected joints in the frame, in hundredths of the person's height
            in pixels, so that frames of any size compare.
        joints: mean distance of the 22 joints with pelvises laid together (MPJPE), mm.
        aligned: the same after rotation, scale and translation onto the truth (PA-MPJPE), mm.
        iou: of the fitted and the true bare body's pixels.
        hips: distance of the hips' landmarks and of the hip joints in pixels.
        seconds: of processor time that the fit took.
    """

    pixels: float
    joints: float
    aligned: float
    iou: float
    hips: tuple[float, float]
    seconds: float


def evaluate_body_fit(
    captures: Path | list[Path],
    *,
    frames: int = 12,
    keypoints: Literal["seen", "true"] = "seen",
    lens: Literal["known", "guessed"] = "known",
    out: Path | None = None,
    json: Path | None = None,
    library: Path = DEFAULT_LIBRARY,
) -> int:
    """Measure body fits of single frames.

    Args:
        captures: a folder of captures, or a list of them; frames are held-out ones, spread evenly.
        frames: how many; those of heads alone are left out.
        keypoints: "seen" by the networks, or the "true" ones.
        lens: the frame's focal length is given, or guessed.
        out: folder for pictures: each frame with the outlines of the true and the fitted body.
        json: file for the figures.
        library: where the captures' body lies.
    """
    torch.set_num_threads(1)
    found = [Capture.open(folder) for folder in find_captures(captures)]
    chosen = _spread(found, frames)
    body = load_body(library / found[0].description.body)
    results: list[FitErrors] = []
    unseen = 0
    for capture, index in chosen:
        camera, posed = capture.camera(index), capture.posed_body(index)
        image = _photograph(capture, index)
        try:
            if keypoints == "true":
                view = true_view(body, posed, camera, capture.masks(index)[..., 0])
            else:
                view = perceive_person(image, 0)
            focal = float(camera.K[0, 0]) if lens == "known" else None
            started = time.process_time()
            fit = fit_body(view, body, BodyFitRecipe(focal=focal))
            seconds = time.process_time() - started
        except (NoPersonFound, SeveralPeople):
            unseen += 1
            continue
        results.append(fit_errors(body, posed, camera, fit, view, seconds))
        name = f"{capture.description.id}-{capture.description.frames[index].name}"
        print(  # noqa: T201 - a command's output
            f"{name:<28}{results[-1].pixels:8.2f} %{results[-1].joints:8.0f} mm"
            f"{results[-1].aligned:8.0f} mm  IoU {results[-1].iou:.3f}"
            f"  {', '.join(capture.description.frames[index].tags)}"
        )
        if out is not None:
            _draw(out / f"{name}.png", image, body, (posed, camera), fit)
    if not results:
        raise NoPersonFound("nobody was seen in any of the frames")
    return publish(_figures(results, unseen), json)


def true_view(
    body: Body, posed: PosedBody, camera: Camera, mask: NDArray[np.uint8] | None = None
) -> PersonView:
    """Return what perfect eyes would see of a known body: its landmarks, and directions of limbs."""
    vertices, joints = body_vertices(body, posed)
    points = landmark_points(body)
    own = points.of(vertices[None, points.vertices], joints[None])[0].numpy()
    pixels = camera.project(own)
    inside = (pixels[:, :2] >= 0).all(axis=1)
    inside &= (pixels[:, 0] < camera.width) & (pixels[:, 1] < camera.height) & (pixels[:, 2] > 0)
    world = own @ camera.R.T.astype(np.float32)
    hips = world[[LANDMARK_INDEX[name] for name in _HIPS]].mean(axis=0)
    return PersonView(
        width=camera.width,
        height=camera.height,
        landmarks=pixels[:, :2].astype(np.float32),
        visibility=inside.astype(np.float32),
        world=(world - hips).astype(np.float32),
        mask=None if mask is None else mask.astype(np.float32) / 255.0,
    )


def fit_errors(
    body: Body, posed: PosedBody, camera: Camera, fit: BodyFit, view: PersonView, seconds: float
) -> FitErrors:
    """Compare a fit with the truth."""
    vertices, joints = body_vertices(body, posed)
    _, fitted = body_vertices(body, fit.body)
    chosen = list(_COMPARED)
    true_pixels = camera.project(joints.numpy()[chosen])
    pixels = fit.camera.project(fitted.numpy()[chosen])
    size = (camera.width, camera.height)
    shown = ((true_pixels[:, :2] >= 0) & (true_pixels[:, :2] < size)).all(axis=1)
    off = np.linalg.norm((pixels - true_pixels)[:, :2], axis=1)
    tall = float(np.ptp(vertices.numpy()[:, 1])) * camera.K[1, 1] / float(true_pixels[0, 2])
    # In each camera's own axes: the world of a fit is the photograph's.
    truth = joints.numpy()[chosen].astype(np.float64) @ camera.R.T
    own = fitted.numpy()[chosen].astype(np.float64) @ fit.camera.R.T
    truth, own = truth - truth[0], own - own[0]
    covered, true_covered = body_mask(body, fit.body, fit.camera), body_mask(body, posed, camera)
    hips = [LANDMARK_INDEX[name] for name in _HIPS]
    apart = np.array([0.0, 0.0])
    if landmark_weights(view)[hips].min() > 0.8:
        both = true_pixels[[_COMPARED.index(JOINT_INDEX[name]) for name in _HIPS], :2]
        apart = np.array(
            [
                np.linalg.norm(view.landmarks[hips[0]] - view.landmarks[hips[1]]),
                np.linalg.norm(both[0] - both[1]),
            ]
        )
    return FitErrors(
        pixels=float(off[shown].mean()) / tall * 100.0,
        joints=float(np.linalg.norm(own - truth, axis=1).mean()) * 1000.0,
        aligned=float(np.linalg.norm(_procrustes(own, truth) - truth, axis=1).mean()) * 1000.0,
        iou=float((covered & true_covered).sum() / max((covered | true_covered).sum(), 1)),
        hips=(float(apart[0]), float(apart[1])),
        seconds=seconds,
    )


def _figures(results: list[FitErrors], unseen: int) -> dict[str, dict[str, Any]]:
    hips = np.array([result.hips for result in results]).sum(axis=0)
    return {
        "frames": figure(float(len(results))),
        "unseen": figure(float(unseen)),
        "joints_percent": figure(float(np.mean([r.pixels for r in results])), Bound(3.0, True)),
        "mpjpe_mm": figure(float(np.mean([r.joints for r in results]))),
        "pa_mpjpe_mm": figure(float(np.mean([r.aligned for r in results])), Bound(80.0, True)),
        "iou": figure(float(np.mean([r.iou for r in results])), Bound(0.8)),
        "hip_spread": figure(float(hips[0] / hips[1]) if hips[1] > 0 else float("nan")),
        "seconds": figure(float(np.median([r.seconds for r in results])), Bound(60.0, True)),
    }


def _spread(captures: list[Capture], count: int) -> list[tuple[Capture, int]]:
    frames = [
        (capture, index)
        for capture in captures
        for index, entry in enumerate(capture.description.frames)
        if entry.split == "held-out" and "head" not in entry.tags
    ]
    if not frames:
        raise CaptureError("the captures have no held-out frames that show more than a head")
    chosen = np.linspace(0, len(frames) - 1, min(count, len(frames))).astype(int)
    return [frames[number] for number in chosen]


def _photograph(capture: Capture, index: int) -> NDArray[np.uint8]:
    mask = capture.masks(index)[..., :1].astype(np.float32) / 255.0
    image = capture.image(index).astype(np.float32)
    if capture.description.background == "black":
        image = image + (1.0 - mask) * _BACKGROUND
    return np.clip(image + 0.5, 0, 255).astype(np.uint8)


def _procrustes(points: NDArray[np.float64], onto: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return points (N, 3) turned, scaled and moved onto others."""
    a, b = points - points.mean(axis=0), onto - onto.mean(axis=0)
    u, s, v = np.linalg.svd(a.T @ b)
    sign = np.array([1.0, 1.0, np.sign(np.linalg.det(u @ v))])
    scale = (s * sign).sum() / (a**2).sum()
    return scale * a @ (u * sign) @ v + onto.mean(axis=0)


def _draw(
    path: Path,
    image: NDArray[np.uint8],
    body: Body,
    truth: tuple[PosedBody, Camera],
    fit: BodyFit,
) -> None:
    """Write the photograph with outlines: the true body's green, the fitted one's magenta."""
    drawn = image.copy()
    for (posed, camera), color in ((truth, (0, 220, 0)), ((fit.body, fit.camera), (255, 0, 220))):
        covered = body_mask(body, posed, camera)
        drawn[covered & ~np.asarray(ndimage.binary_erosion(covered), bool)] = color
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.concatenate([image, drawn], axis=1)).save(path)
