"""Fitting a head to label maps: code and cameras by gradients through the march.

Source: SofGAN section 6.2 (second round, all modules fixed) and its projection of label maps.
Cameras that nobody knows are first searched for with the mean head; then code and cameras move
together. A prior keeps the code among the basis; with `basis` it is a convex combination of it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
import torch
from torch.nn import functional

from blender_addon.contract.camera import Camera
from blender_addon.contract.errors import BadParameter
from blender_addon.contract.labels import LABEL_COUNT, Label, check_labels
from models.dresser import autocast_dtype
from models.label_agreement import Confusion
from models.rays import pixel_rays
from models.sof_cameras import CameraParameters

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    from numpy.typing import NDArray
    from torch import Tensor

    from models.sof_cameras import Freedom
    from models.sof_field import FieldWeights
    from models.sof_render import SofRenderer
    from models.sof_space import SofSpace

FREQUENCY_POWER = 0.35
"""Labels count their share of the pixels to the power of minus this, as in training."""
NEAR_HEAD = 0.7
"""Share of a step's rays on the head."""
SEARCH_SIZE = 48
SEARCH_AZIMUTHS = tuple(math.radians(a) for a in range(-75, 76, 15))
SEARCH_ELEVATIONS = tuple(math.radians(e) for e in (-15, 0, 15))
SEARCH_DISTANCE = 1.4
"""Metres at which a camera's first guess stands; the size in the image then says how far it is."""
HEAD_LABELS = tuple(
    label for label in Label if label not in (Label.BACKGROUND, Label.CLOTH, Label.NECK)
)
"""Labels whose extent says where the head is and how large; clothes are cut anywhere."""


@dataclass(frozen=True, kw_only=True)
class FitSettings:
    """How a head is fitted.

    Attributes:
        steps: of Adam.
        rays: of each step and map.
        code_rate: learning rate, in standard deviations of the basis' codes.
        camera_rate: in metres and radians.
        prior: weight of the mean square of the code, in the same deviations.
        freedom: of the cameras.
        basis: fit weights of the basis (Σw = 1, each in 0…1) instead of a free code.
        seed: of the rays.
    """

    steps: int = 200
    rays: int = 1024
    code_rate: float = 0.06
    camera_rate: float = 0.006
    prior: float = 0.02
    freedom: Freedom = "pose"
    basis: bool = False
    seed: int = 0


class FitView(NamedTuple):
    """One label map that a head is fitted to.

    Attributes:
        labels: (H, W) uint8.
        camera: known, or a first guess where the settings let cameras move.
    """

    labels: NDArray[np.uint8]
    camera: Camera


@dataclass(frozen=True)
class FittedHead:
    """A fit, finished or on its way.

    Attributes:
        step: steps made.
        code: (code,) float32.
        cameras: one per view.
        loss: of the last step.
    """

    step: int
    code: Tensor
    cameras: tuple[Camera, ...]
    loss: float


def fit_head(
    renderer: SofRenderer,
    space: SofSpace,
    views: Sequence[FitView],
    settings: FitSettings | None = None,
) -> FittedHead:
    """Fit one head to its label maps; see `iterate_fit`."""
    *_, last = iterate_fit(renderer, space, views, settings)
    return last


def iterate_fit(
    renderer: SofRenderer,
    space: SofSpace,
    views: Sequence[FitView],
    settings: FitSettings | None = None,
) -> Generator[FittedHead]:
    """Fit one head to its label maps, step by step.

    Args:
        renderer: of the SOF, whose modules stay as they are.
        space: of the basis' codes.
        views: of one and the same head; use `search_camera` where a camera is not known.
        settings: how.

    Yields:
        after each step where the fit stands. The same input gives the same fit.

    Raises:
        BadParameter: no view, a map that is not one, or a camera that looks past the head.
    """
    chosen = settings or FitSettings()
    if not views:
        raise BadParameter("a fit needs at least one label map")
    # Whoever waits for a step may be in inference mode, as workers are; a fit must not be.
    with torch.inference_mode(mode=False), torch.enable_grad():
        fit = _Fit(renderer, space, views, chosen)
    for step in range(chosen.steps):
        with torch.inference_mode(mode=False), torch.enable_grad():
            fitted = fit.step(step)
        yield fitted


class _Fit:
    """A fit as it runs."""

    def __init__(
        self,
        renderer: SofRenderer,
        space: SofSpace,
        views: Sequence[FitView],
        settings: FitSettings,
    ) -> None:
        self._sof, self._views, self._settings = renderer.sof, views, settings
        self._device = renderer.device
        self._dtype = autocast_dtype(self._device)
        self._cameras = CameraParameters.of([view.camera for view in views]).to(self._device)
        self._targets = [_Target(view.labels, self._device) for view in views]
        self._head = _Coordinates(space, settings.basis)
        groups: list[dict[str, Any]] = [{"params": [self._head.values], "base": settings.code_rate}]
        moving = self._cameras.free(settings.freedom)
        if moving:
            groups.append({"params": moving, "base": settings.camera_rate})
        self._moving = [self._head.values, *moving]
        self._optimizer = torch.optim.Adam(groups, betas=(0.9, 0.95))
        self._random = torch.Generator().manual_seed(settings.seed)
        self._balance = _balance(views).to(self._device)

    def step(self, step: int) -> FittedHead:
        settings = self._settings
        share = 0.5 + 0.5 * math.cos(math.pi * step / settings.steps)
        for group in self._optimizer.param_groups:
            group["lr"] = group["base"] * (0.03 + 0.97 * share)
        field = self._sof.field(self._head.code()[None], self._dtype)
        loss = settings.prior * self._head.prior()
        for index, target in enumerate(self._targets):
            loss = loss + self._mismatch(field, index, target) / len(self._targets)
        # Only what moves: gradients of the modules would be made and thrown away.
        gradients = torch.autograd.grad(loss, self._moving)
        for parameter, gradient in zip(self._moving, gradients, strict=True):
            parameter.grad = gradient
        self._optimizer.step()
        self._cameras.keep_outside()
        cameras = tuple(
            self._cameras.camera(index, view.camera.width, view.camera.height)
            for index, view in enumerate(self._views)
        )
        return FittedHead(step + 1, self._head.code().detach(), cameras, float(loss.detach()))

    def _mismatch(self, field: FieldWeights, index: int, target: _Target) -> Tensor:
        x, y, labels = target.draw(self._settings.rays, self._random)
        pinhole = self._cameras(torch.tensor([index], device=self._device))
        marched = self._sof.march(field, pixel_rays(pinhole, x[None], y[None]))
        hit = marched.chord.hit
        if not bool(hit.any()):
            raise BadParameter(
                f"the camera of view {index} does not see the head",
                "search for the camera, or give a better first guess",
            )
        return functional.cross_entropy(marched.logits[hit], labels[None][hit], self._balance)


def search_camera(
    renderer: SofRenderer,
    code: Tensor,
    labels: NDArray[np.uint8],
    focal: float,
    prefer: Literal["iou", "accuracy"] = "iou",
) -> Camera:
    """Return the camera from which a head looks most like a label map; see `iterate_search`."""
    *_, last = iterate_search(renderer, code, labels, focal, prefer)
    if last is None:
        raise BadParameter("the head cannot be seen from anywhere", "train the SOF for longer")
    return last


def iterate_search(
    renderer: SofRenderer,
    code: Tensor,
    labels: NDArray[np.uint8],
    focal: float,
    prefer: Literal["iou", "accuracy"] = "iou",
) -> Generator[Camera | None]:
    """Search the camera from which a head looks most like a label map, direction by direction.

    Args:
        renderer: of the SOF.
        code: (code,) of the head, mostly the mean one.
        labels: (H, W) uint8.
        focal: focal length in pixels.
        prefer: what is compared: mean IoU, or the share of equal pixels.

    Yields:
        after each direction the best camera so far; None while the head was not seen.

    Raises:
        BadParameter: the map shows no head.
    """
    check_labels(labels)
    height, width = labels.shape
    scale = SEARCH_SIZE / max(height, width)
    small = _shrunk(labels, scale)
    place = _head_box(labels)
    if place is None:
        raise BadParameter("the label map shows no head", "give one with skin or hair")
    best: tuple[float, Camera] | None = None
    for elevation in SEARCH_ELEVATIONS:
        for azimuth in SEARCH_AZIMUTHS:
            camera = _standing(azimuth, elevation, SEARCH_DISTANCE, (0.0, 0.0), labels, focal)
            seen = _drawn(renderer, code, camera, scale)
            own = _head_box(seen)
            if own is None:
                yield best and best[1]
                continue
            # The box in the image says how far away the head is and where the camera looks.
            size = np.sqrt(own.area) / scale
            distance = SEARCH_DISTANCE * size / np.sqrt(place.area)
            distance = float(np.clip(distance, 0.6, 6.0))
            shift = (
                (own.x / scale - width / 2) * SEARCH_DISTANCE / focal
                - (place.x - width / 2) * distance / focal,
                (own.y / scale - height / 2) * SEARCH_DISTANCE / focal
                - (place.y - height / 2) * distance / focal,
            )
            camera = _standing(azimuth, elevation, distance, shift, labels, focal)
            agreement = Confusion.of(small, _drawn(renderer, code, camera, scale))
            score = agreement.mean_iou() if prefer == "iou" else agreement.accuracy
            if best is None or score > best[0]:
                best = (score, camera)
            yield best and best[1]


class _Coordinates:
    """The head in the coordinates that a fit moves: deviations from the mean, or basis weights."""

    def __init__(self, space: SofSpace, basis: bool) -> None:
        self._space, self._basis = space, basis
        size = len(space.codes) if basis else len(space.mean)
        self.values = torch.zeros(size, device=space.mean.device, requires_grad=True)

    def code(self) -> Tensor:
        if self._basis:
            return torch.softmax(self.values, dim=0) @ self._space.codes
        return self._space.mean + self._space.deviation * self.values

    def prior(self) -> Tensor:
        # Convex combinations need none: they cannot leave the space.
        return self.values.square().mean() * (0.0 if self._basis else 1.0)


class _Target:
    """A label map's pixels, drawn more often on the head than beside it."""

    def __init__(self, labels: NDArray[np.uint8], device: torch.device) -> None:
        check_labels(labels)
        self._labels = torch.from_numpy(labels.astype(np.int64)).flatten()
        self._width = labels.shape[1]
        self._device = device
        near = functional.max_pool2d(
            torch.from_numpy((labels > 0).astype(np.float32))[None], 9, stride=1, padding=4
        )
        self._near = near.flatten().nonzero()[:, 0]

    def draw(self, count: int, random: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """Return x, y (N,) in pixels and labels (N,)."""
        on_head = round(NEAR_HEAD * count) if len(self._near) else 0
        pixels = torch.randint(len(self._labels), (count,), generator=random)
        if on_head:
            some = torch.randint(len(self._near), (on_head,), generator=random)
            pixels[:on_head] = self._near[some]
        x = (pixels % self._width).float() + 0.5
        y = torch.div(pixels, self._width, rounding_mode="floor").float() + 0.5
        return x.to(self._device), y.to(self._device), self._labels[pixels].to(self._device)


class _Box(NamedTuple):
    """Where a head is in an image: its middle in pixels, and its area."""

    x: float
    y: float
    area: float


def _head_box(labels: NDArray[np.uint8]) -> _Box | None:
    rows, columns = np.nonzero(np.isin(labels, HEAD_LABELS))
    if not len(rows):
        return None
    return _Box(float(columns.mean()) + 0.5, float(rows.mean()) + 0.5, float(len(rows)))


def _standing(
    azimuth: float,
    elevation: float,
    distance: float,
    shift: tuple[float, float],
    labels: NDArray[np.uint8],
    focal: float,
) -> Camera:
    """Return a camera of a label map's size; `shift` moves it right and down, in metres."""
    height, width = labels.shape
    eye = distance * np.array(
        [
            np.sin(azimuth) * np.cos(elevation),
            np.sin(elevation),
            np.cos(azimuth) * np.cos(elevation),
        ]
    )
    forward = -eye / distance
    right = np.cross(forward, [0.0, 1.0, 0.0])
    right /= np.linalg.norm(right)
    down = np.cross(forward, right)
    eye = eye + shift[0] * right + shift[1] * down
    R = np.stack([right, down, forward])
    K = np.array([[focal, 0.0, width / 2], [0.0, focal, height / 2], [0.0, 0.0, 1.0]])
    return Camera(K=K, R=R, t=-R @ eye, width=width, height=height)


def _drawn(renderer: SofRenderer, code: Tensor, camera: Camera, scale: float) -> NDArray[np.uint8]:
    width, height = round(camera.width * scale), round(camera.height * scale)
    small = camera.cropped(0.0, 0.0, max(width, 1), max(height, 1), scale)
    return renderer.label_map(code, small).labels.cpu().numpy()


def _shrunk(labels: NDArray[np.uint8], scale: float) -> NDArray[np.uint8]:
    height, width = (max(round(side * scale), 1) for side in labels.shape)
    rows = ((np.arange(height) + 0.5) / scale).astype(int).clip(0, labels.shape[0] - 1)
    columns = ((np.arange(width) + 0.5) / scale).astype(int).clip(0, labels.shape[1] - 1)
    return labels[np.ix_(rows, columns)]


def _balance(views: Sequence[FitView]) -> Tensor:
    counts = sum(
        (np.bincount(view.labels.ravel(), minlength=LABEL_COUNT) for view in views),
        np.zeros(LABEL_COUNT, np.int64),
    )
    shares = counts / counts.sum()
    weights = np.maximum(shares, 1e-4) ** -FREQUENCY_POWER
    return torch.from_numpy((weights / (weights * shares).sum()).astype(np.float32))
