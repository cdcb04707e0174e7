"""A photograph becomes a portrait: labels, then head and camera, then a style for each region.

    photograph ─► parser ─► labels of the square around the head
    labels ─► camera search, then code and camera together (models/sof_fit.py)
    photograph, labels, fitted labels ─► styles (models/style_fit.py)

`iterate_portrait_fit` is a generator of small steps, so that a worker serves others meanwhile and a
fit can be given up between any two of them.

Source: SofGAN section 6.2 (projection); the styles start from the style encoder, which is ours.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import torch

from blender_addon.contract.errors import BadParameter, NoFaceFound
from blender_addon.contract.labels import check_labels, labels_to_colors
from blender_addon.contract.portraits import FIT_STAGES
from models.head_crop import HALF_WIDTH, HeadCrop, find_head
from models.label_agreement import Confusion
from models.portrait_paint import FINER, coarser
from models.portrait_parser import SIZE, iterate_parse
from models.portrait_square import choose_square
from models.sof_fit import FitSettings, FitView, iterate_fit, iterate_search
from models.steps import finish
from models.style_fit import (
    StyleFitSettings,
    StyleTarget,
    iterate_styles,
    painting,
    portrait_distance,
)

if TYPE_CHECKING:
    from collections.abc import Generator

    from numpy.typing import NDArray
    from torch import Tensor

    from blender_addon.contract.camera import Camera
    from models.portrait_parser import PortraitParser
    from models.portrait_square import Square
    from models.siw_package import Siw
    from models.sof_fit import FittedHead
    from models.sof_render import SofRenderer
    from models.sof_space import SofSpace

GUESSED_DISTANCE = 1.3
"""Metres at which the photographer is taken to have stood when nobody knows the focal length."""
AROUND = 1.6
"""Side of the part of the photograph that styles are read from, over the crop's side: the square
that is painted may reach beyond the crop."""
PREVIEW = 160
"""Pixels of each of a preview's pictures."""
PARSING, SHAPE, STYLES, _ = FIT_STAGES
SHARES = {PARSING: (0.0, 0.08), SHAPE: (0.08, 0.55), STYLES: (0.55, 0.97)}
"""Where each stage lies within the whole."""
_SEARCH_SHARE = 0.3
"""Of the shape's stage."""
_PARSING_STEPS = 4
_LOOK_EVERY = 12


@dataclass(frozen=True, kw_only=True)
class PortraitFitSettings:
    """How a photograph is fitted.

    Attributes:
        shape: of code and camera.
        styles: of the regions' styles.
    """

    shape: FitSettings = field(default_factory=lambda: FitSettings(steps=120, prior=0.05))
    styles: StyleFitSettings = field(default_factory=StyleFitSettings)


@dataclass(frozen=True)
class PortraitFitStep:
    """Where a fit stands.

    Attributes:
        stage: one of `FIT_STAGES`.
        share: of the whole, 0…1.
        preview: (h, w, 3) uint8 now and then: photograph, labels, fitted labels and painted
            portrait, as far as they are known.
    """

    stage: str
    share: float
    preview: NDArray[np.uint8] | None = None


@dataclass(frozen=True, kw_only=True)
class FittedPortrait:
    """A fitted photograph.

    Attributes:
        code: (C,) float32 of the head.
        styles: (17, W) float32.
        camera: of the crop's 256² pixels, from head space.
        crop: the square of the photograph around the head.
        photograph: (256, 256, 3) uint8, that square.
        labels: (256, 256) uint8, of the photograph.
        fitted_labels: (256, 256) uint8, of the fitted head.
        label_iou: mean IoU of these two over labels of at least 0.5 % of the pixels.
        distance: offline perceptual distance of the painted portrait from the photograph at the
            fitted view, backgrounds left out (`models/style_fit.py`).
        painted: (S, S, 3) uint8, the portrait as painted at the fitted view.
        target: (S, S, 3) uint8, the photograph in the same square.
    """

    code: Tensor
    styles: Tensor
    camera: Camera
    crop: HeadCrop
    photograph: NDArray[np.uint8]
    labels: NDArray[np.uint8]
    fitted_labels: NDArray[np.uint8]
    label_iou: float
    distance: float
    painted: NDArray[np.uint8]
    target: NDArray[np.uint8]


def fit_portrait(
    renderer: SofRenderer,
    space: SofSpace,
    painter: Siw,
    image: NDArray[np.uint8],
    parser: PortraitParser | None = None,
    labels: NDArray[np.uint8] | None = None,
    focal: float | None = None,
    settings: PortraitFitSettings | None = None,
) -> FittedPortrait:
    """Fit a photograph; see `iterate_portrait_fit`."""
    return finish(
        iterate_portrait_fit(renderer, space, painter, image, parser, labels, focal, settings)
    )


def iterate_portrait_fit(
    renderer: SofRenderer,
    space: SofSpace,
    painter: Siw,
    image: NDArray[np.uint8],
    parser: PortraitParser | None = None,
    labels: NDArray[np.uint8] | None = None,
    focal: float | None = None,
    settings: PortraitFitSettings | None = None,
) -> Generator[PortraitFitStep, None, FittedPortrait]:
    """Fit a portrait to a photograph of one person, step by step.

    Args:
        renderer: of the SOF, whose modules stay as they are.
        space: of the SOF's codes.
        painter: the SIW StyleGAN, which stays as it is.
        image: (H, W, 3) uint8 sRGB.
        parser: labels the photograph; needed unless labels are given.
        labels: (H, W) uint8 of the photograph, in place of the parser's.
        focal: focal length in pixels of the photograph; guessed otherwise.
        settings: how.

    Yields:
        where the fit stands, after each step. The same input gives the same fit.

    Returns:
        the fitted portrait, as the generator's value.

    Raises:
        BadParameter: image, labels or focal are none, or there is neither parser nor labels.
        NoFaceFound: no face is seen.
    """
    chosen = settings or PortraitFitSettings()
    known, crop = yield from _labelled(image, parser, labels)
    crop_labels = crop.labels(known, SIZE)
    photograph = crop.image(image, SIZE)
    first = [photograph, labels_to_colors(crop_labels)]
    yield _step(PARSING, 1.0, first)
    pixels = _focal(focal, crop)
    fitted = yield from _shape(renderer, space, crop_labels, pixels, chosen.shape, first)
    camera = fitted.cameras[0]
    code = fitted.code
    seen = renderer.label_map(code, camera).labels.cpu().numpy()
    yield _step(SHAPE, 1.0, [*first, labels_to_colors(seen)])
    target = _target(renderer, code, camera, painter.config.size, image, known, crop)
    fit = iterate_styles(painter, target, chosen.styles)
    styles: Tensor | None = None
    for number, styles in enumerate(fit):
        preview: list[NDArray[np.uint8]] | None = None
        if number % _LOOK_EVERY == 0:
            painted = _pixels(painting(painter, target.fitted, styles))
            preview = [*first, labels_to_colors(seen), painted]
        yield _step(STYLES, number / max(chosen.styles.steps, 1), preview)
    if styles is None:
        raise BadParameter("a fit of styles needs at least one step")
    image_at_end = painting(painter, target.fitted, styles)
    painted = _pixels(image_at_end)
    yield _step(STYLES, 1.0, [*first, labels_to_colors(seen), painted])
    return FittedPortrait(
        code=code.detach().cpu(),
        styles=styles.cpu(),
        camera=camera,
        crop=crop,
        photograph=photograph,
        labels=crop_labels,
        fitted_labels=seen,
        label_iou=Confusion.of(crop_labels, seen).mean_iou(),
        distance=portrait_distance(target, image_at_end),
        painted=painted,
        target=_pixels(target.image),
    )


def _labelled(
    image: NDArray[np.uint8], parser: PortraitParser | None, labels: NDArray[np.uint8] | None
) -> Generator[PortraitFitStep, None, tuple[NDArray[np.uint8], HeadCrop]]:
    """Return labels (H, W) of the photograph and the square around the head."""
    if labels is not None:
        if check_labels(labels).shape != image.shape[:2]:
            raise BadParameter("labels must have the photograph's width and height", field="labels")
        crop = find_head(labels)
        if crop is None:
            raise NoFaceFound("the label map shows no face", "label brows, eyes, nose or mouth")
        return labels, crop
    if parser is None:
        raise BadParameter("a fit needs a parser or a label map", field="labels")
    for number, parsed in enumerate(iterate_parse(parser, image)):
        if parsed is not None:
            return parsed.labels, parsed.crop
        yield _step(PARSING, number / (number + _PARSING_STEPS))
    raise NoFaceFound


def _focal(focal: float | None, crop: HeadCrop) -> float:
    """Return the focal length in pixels of the 256² crop."""
    if focal is None:
        return 0.5 * SIZE * GUESSED_DISTANCE / HALF_WIDTH
    if not np.isfinite(focal) or focal <= 0:
        raise BadParameter("focal must be a positive number of pixels", field="focal")
    return focal * SIZE / crop.side


def _shape(
    renderer: SofRenderer,
    space: SofSpace,
    labels: NDArray[np.uint8],
    focal: float,
    settings: FitSettings,
    pictures: list[NDArray[np.uint8]],
) -> Generator[PortraitFitStep, None, FittedHead]:
    camera: Camera | None = None
    for number, found in enumerate(iterate_search(renderer, space.mean, labels, focal)):
        camera = found
        yield _step(SHAPE, _SEARCH_SHARE * (1.0 - 0.95**number))
    if camera is None:
        raise BadParameter("the head cannot be seen from anywhere", "train the SOF for longer")
    fitted: FittedHead | None = None
    for fitted in iterate_fit(renderer, space, [FitView(labels, camera)], settings):
        share = _SEARCH_SHARE + (1.0 - _SEARCH_SHARE) * fitted.step / settings.steps
        preview: list[NDArray[np.uint8]] | None = None
        if fitted.step % _LOOK_EVERY == 0:
            now = fitted.cameras[0].cropped(0, 0, PREVIEW, PREVIEW, PREVIEW / SIZE)
            seen = renderer.label_map(fitted.code, now).labels.cpu().numpy()
            preview = [*pictures, labels_to_colors(seen)]
        yield _step(SHAPE, share, preview)
    if fitted is None:
        raise BadParameter("a fit of a head needs at least one step")
    return fitted


def _target(
    renderer: SofRenderer,
    code: Tensor,
    camera: Camera,
    size: int,
    image: NDArray[np.uint8],
    labels: NDArray[np.uint8],
    crop: HeadCrop,
) -> StyleTarget:
    """Return the photograph in the square that the render path paints for this camera."""
    square = choose_square(camera, renderer.sof.config.radius, size)
    if square is None:
        raise NoFaceFound("the fitted camera does not see the head")
    fine = square.scaled(FINER * size).camera
    fitted = coarser(renderer.label_map(code, fine).labels)
    wider = HeadCrop(
        crop.x - 0.5 * (AROUND - 1.0) * crop.side,
        crop.y - 0.5 * (AROUND - 1.0) * crop.side,
        AROUND * crop.side,
    )
    side = round(AROUND * size)
    grid = _places(square, size)
    # From pixels of the crop to −1…1 of the wider part.
    place = (grid / SIZE + 0.5 * (AROUND - 1.0)) / AROUND * 2.0 - 1.0
    device = code.device
    at = torch.from_numpy(place.astype(np.float32))[None].to(device)
    pixels = torch.from_numpy(wider.image(image, side)).to(device).permute(2, 0, 1)[None]
    known = torch.from_numpy(wider.labels(labels, side)).to(device)[None, None]
    sample = torch.nn.functional.grid_sample
    picture = sample(pixels.float() / 255.0, at, padding_mode="border", align_corners=False)
    there = sample(known.float(), at, mode="nearest", padding_mode="border", align_corners=False)
    return StyleTarget(picture, there[0, 0].to(torch.uint8), fitted)


def _places(square: Square, size: int) -> NDArray[np.float64]:
    """Return (size, size, 2): which pixel of the frame each of the square's pixels sees."""
    y, x = np.mgrid[0:size, 0:size] + 0.5
    pixels = np.stack([x, y, np.ones_like(x)], axis=-1) @ np.linalg.inv(square.to_square).T
    return pixels[..., :2] / np.maximum(pixels[..., 2:], 1e-9)


def _step(
    stage: str, share: float, pictures: list[NDArray[np.uint8]] | None = None
) -> PortraitFitStep:
    start, end = SHARES[stage]
    preview = None
    if pictures is not None:
        preview = np.concatenate([_resized(picture) for picture in pictures], axis=1)
    return PortraitFitStep(stage, start + (end - start) * min(max(share, 0.0), 1.0), preview)


def _resized(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    from PIL import Image

    how = Image.Resampling.BOX if picture.shape[0] >= PREVIEW else Image.Resampling.BICUBIC
    return np.array(Image.fromarray(picture).resize((PREVIEW, PREVIEW), how))


def _pixels(image: Tensor) -> NDArray[np.uint8]:
    """Return (S, S, 3) uint8 of (1, 3, S, S) 0…1."""
    scaled = (image[0].detach().clamp(0.0, 1.0) * 255.0 + 0.5).to(torch.uint8)
    return scaled.permute(1, 2, 0).cpu().numpy()
