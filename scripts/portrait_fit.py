"""`dressform portrait fit PHOTO`: a photograph of one person becomes a portrait that orbits.

With the same code as the server, without one. Pictures on the way, if wanted, show what became of
the photograph after each stage.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace as changed
from pathlib import Path  # noqa: TC003 - jsonargparse reads the annotations
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, UnidentifiedImageError

from blender_addon.contract.camera import Camera
from blender_addon.contract.errors import BadParameter
from blender_addon.contract.labels import check_labels, labels_to_colors
from blender_addon.contract.portraits import PortraitLook, PortraitRender, portrait_id
from models.frame import over_grey
from models.onnx_parser import OnnxFaceParser, Order
from models.package import DEFAULT_LIBRARY, find_package, read_manifest
from models.portrait import PortraitRenderer
from models.portrait_fit import PortraitFitSettings, iterate_portrait_fit
from models.portrait_networks import shared_heads, shared_painter
from models.portrait_package import Portrait, write_portrait
from models.portrait_parser import NetworkParser
from scripts.new_package import free_folder
from scripts.photo_fits import finish_fit, named_photograph

if TYPE_CHECKING:
    from collections.abc import Generator
    from typing import Any

    from numpy.typing import NDArray

    from models.portrait_fit import FittedPortrait, PortraitFitStep
    from models.portrait_parser import PortraitParser

ORBIT = (-30.0, -15.0, 0.0, 15.0, 30.0)
"""Degrees from the fitted camera."""
TILE = 256
GAP = 6
PREVIEW_SIZE = 256


def fit_photograph(
    photo: str,
    name: str,
    sof: str = "sof-heads",
    siw: str = "siw-portraits",
    parser: str = "parser-portraits",
    library: Path = DEFAULT_LIBRARY,
    into: Path | None = None,
    identity: str = "",
    labels: Path | None = None,
    onnx: Path | None = None,
    onnx_order: Order = "bisenet",
    focal: float | None = None,
    shape_steps: int | None = None,
    style_steps: int | None = None,
    stages: Path | None = None,
    picture: Path | None = None,
    licence: str = "as the photograph's",
    replace: bool = False,
) -> None:
    """Fit a portrait to a photograph of one person.

    Args:
        photo: an image file; or "astronaut" for scikit-image's photograph of Eileen Collins (NASA,
            public domain).
        name: what people read.
        sof: id of a package of kind "sof".
        siw: id of a package of kind "siw".
        parser: id of a package of kind "parser", which labels the photograph.
        library: where these lie.
        into: library that the portrait goes to; the same when left out.
        identity: of the package, "portrait-…"; made of the name when left out.
        labels: PNG file with the photograph's label map (values 0…16), instead of the parser's.
        onnx: a face parser of your own, instead (docs/portraits.md).
        onnx_order: of its 19 classes.
        focal: focal length in pixels of the photograph; guessed when left out.
        shape_steps: steps of the fit of head and camera.
        style_steps: steps of the fit of the styles.
        stages: also write a picture of each stage to this folder.
        picture: also write photograph, labels, portrait and an orbit of ±30° to this file.
        licence: of the portrait: whoever took the photograph decides.
        replace: whether a portrait of this id may be replaced.

    Raises:
        BadParameter: there is such a portrait already.
        BadPersonView: the photograph cannot be read.
        NoFaceFound: no face is seen.
    """
    target = into or library
    folder = free_folder(target, identity or portrait_id(name), "a portrait", replace=replace)
    image = named_photograph(photo).image
    heads = shared_heads(find_package(library, sof))
    painter = shared_painter(find_package(library, siw))
    judge = None if labels is not None else _parser(parser, onnx, onnx_order, library)
    known = None if labels is None else _read_labels(labels)
    settings = PortraitFitSettings()
    if shape_steps is not None:
        settings = changed(settings, shape=changed(settings.shape, steps=shape_steps))
    if style_steps is not None:
        settings = changed(settings, styles=changed(settings.styles, steps=style_steps))
    fit = iterate_portrait_fit(
        heads.renderer, heads.space, painter, image, judge, known, focal, settings
    )
    fitted = _run(fit, stages)
    portrait = Portrait(
        code=fitted.code, styles=fitted.styles, camera=fitted.camera, labels=fitted.labels
    )
    renderer = PortraitRenderer(portrait, heads, painter, digest="")
    write_portrait(
        folder,
        portrait,
        sof=read_manifest(find_package(library, sof)),
        siw=read_manifest(find_package(library, siw)),
        name=name,
        licence=licence,
        recipe={"command": "portrait fit", "focal": focal, "parser": "" if labels else parser},
        data={"photograph": hashlib.sha256(image.tobytes()).hexdigest()[:16]},
        metrics={
            "label_iou": round(fitted.label_iou, 4),
            "perceptual_distance": round(fitted.distance, 4),
        },
        preview=Image.fromarray(orbited(renderer, fitted, 0.0, PREVIEW_SIZE)),
    )
    if picture is not None:
        write_picture(picture, renderer, fitted)
    print(f"label IoU at the fitted view        {fitted.label_iou:.4f}")
    print(f"perceptual distance (lite0) there   {fitted.distance:.4f}")
    print(folder)


def orbited(
    renderer: PortraitRenderer, fitted: FittedPortrait, degrees: float, size: int
) -> NDArray[np.uint8]:
    """Return (size, size, 3), the portrait from beside the fitted camera, before grey."""
    angle = np.radians(degrees)
    c, s = np.cos(angle), np.sin(angle)
    turn = np.array([[c, 0.0, s], [0.0, 1.0, 0.0], [-s, 0.0, c]])
    camera = fitted.camera
    moved = Camera(
        K=camera.K, R=camera.R @ turn.T, t=camera.t, width=camera.width, height=camera.height
    ).cropped(0.0, 0.0, size, size, size / camera.width)
    asked = PortraitRender(look=PortraitLook(portrait=""), camera=moved, passes=("rgba",))
    return over_grey(renderer.render(asked)["rgba"])


def write_picture(file: Path, renderer: PortraitRenderer, fitted: FittedPortrait) -> None:
    """Write photograph, labels and portrait side by side, and below an orbit of ±30°."""
    top = [
        fitted.photograph,
        labels_to_colors(fitted.labels),
        labels_to_colors(fitted.fitted_labels),
        fitted.target,
        fitted.painted,
    ]
    orbit = [orbited(renderer, fitted, degrees, TILE) for degrees in ORBIT]
    first, second = _row(top), _row(orbit)
    between = np.full((GAP, first.shape[1], 3), 255, np.uint8)
    sheet = np.concatenate([first, between, second])
    jpeg = file.suffix in (".jpg", ".jpeg")
    options: dict[str, Any] = {"quality": 90} if jpeg else {"optimize": True}
    Image.fromarray(sheet).save(file, **options)


def _run(
    fit: Generator[PortraitFitStep, None, FittedPortrait], stages: Path | None
) -> FittedPortrait:
    """Run a fit to its end with a bar; keep the last picture of each stage and some on the way."""
    shown: list[Path] = []

    def keep(stage: str, picture: NDArray[np.uint8]) -> None:
        if stages is None:
            return
        shown.append(stages / f"{len(shown):03d}-{stage}.png")
        Image.fromarray(picture).save(shown[-1])

    if stages is not None:
        stages.mkdir(parents=True, exist_ok=True)
    return finish_fit(fit, keep)


def _row(pictures: list[NDArray[np.uint8]]) -> NDArray[np.uint8]:
    tiles: list[NDArray[np.uint8]] = []
    for picture in pictures:
        image = Image.fromarray(picture).resize((TILE, TILE), Image.Resampling.BICUBIC)
        tiles += [np.array(image), np.full((TILE, GAP, 3), 255, np.uint8)]
    return np.concatenate(tiles[:-1], axis=1)


def _parser(parser: str, onnx: Path | None, order: Order, library: Path) -> PortraitParser:
    if onnx is not None:
        return OnnxFaceParser(onnx, order)
    return NetworkParser.open(find_package(library, parser))


def _read_labels(file: Path) -> NDArray[np.uint8]:
    try:
        with Image.open(file) as image:
            return check_labels(np.array(image))
    except (OSError, UnidentifiedImageError, SyntaxError, ValueError) as error:
        raise BadParameter(f"{file} cannot be read as a label map: {error}") from error
