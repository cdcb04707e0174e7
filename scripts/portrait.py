"""`dressform portrait sample|save|render|orbit`: portraits from the command line.

With the same code as the server, without one.
"""

from __future__ import annotations

from pathlib import Path  # noqa: TC003 - jsonargparse reads the annotations
from typing import TYPE_CHECKING

import numpy as np
import torch
from PIL import Image

from blender_addon.contract.errors import BadParameter
from blender_addon.contract.labels import LABEL_COUNT, labels_to_colors
from blender_addon.contract.portraits import (
    PORTRAIT_PASSES,
    HeadShape,
    PortraitLook,
    PortraitRender,
    RegionStyle,
    Source,
    portrait_id,
)
from models.frame import over_grey
from models.package import DEFAULT_LIBRARY, find_package, read_manifest
from models.portrait import VIEW_DISTANCE, VIEW_HALF, PortraitRenderer, view_camera
from models.portrait_networks import shared_heads, shared_painter
from models.portrait_package import Portrait, write_portrait
from scripts.new_package import free_folder

if TYPE_CHECKING:
    from numpy.typing import NDArray

PREVIEW_SIZE = 256
LICENCE = "CC0-1.0"
_RATE = 24


def sample_portraits(
    out: Path,
    sof: str = "sof-heads",
    siw: str = "siw-portraits",
    library: Path = DEFAULT_LIBRARY,
    seeds: list[int] | None = None,
    yaws: list[float] | None = None,
    truncation: float = 1.0,
    size: int = 192,
) -> None:
    """Draw heads and styles by chance and show them in one picture, a row a seed.

    Args:
        out: PNG file.
        sof: id of a package of kind "sof".
        siw: id of a package of kind "siw".
        library: where both lie.
        seeds: of the heads and of their styles; 0…5 when left out.
        yaws: degrees from which each is seen; −40, 0, 40 when left out.
        truncation: 1 leaves styles as they are drawn, 0 is the mean style.
        size: of one picture in pixels.
    """
    renderer = _networks(sof, siw, library)
    rows = [
        [_view(renderer, _drawn(seed, seed, truncation), yaw, size) for yaw in yaws or (-40, 0, 40)]
        for seed in seeds or range(6)
    ]
    sheet = np.concatenate([np.concatenate(row, axis=1) for row in rows])
    Image.fromarray(sheet).save(out, optimize=True)
    print(out)


def save_portrait(
    name: str,
    seed: int = 0,
    style_seed: int | None = None,
    head: str = "",
    truncation: float = 1.0,
    sof: str = "sof-heads",
    siw: str = "siw-portraits",
    library: Path = DEFAULT_LIBRARY,
    identity: str = "",
    replace: bool = False,
) -> None:
    """Keep a head and styles that were drawn by chance as a portrait of a library.

    Args:
        name: what people read.
        seed: of the head.
        style_seed: of the styles; the head's seed when left out.
        head: id of a head that the SOF learnt from, instead of a seed.
        truncation: 1 leaves the styles as they are drawn, 0 is the mean style.
        sof: id of a package of kind "sof".
        siw: id of a package of kind "siw".
        library: where both lie and the portrait goes.
        identity: of the package, "portrait-…"; made of the name when left out.
        replace: whether a portrait of this id may be replaced.

    Raises:
        BadParameter: there is one already.
    """
    folder = free_folder(library, identity or portrait_id(name), "a portrait", replace=replace)
    renderer = _networks(sof, siw, library)
    styles = seed if style_seed is None else style_seed
    look = _drawn(seed, styles, truncation, head)
    resolver = renderer.resolver
    portrait = Portrait(code=resolver.code(look), styles=resolver.styles(look))
    preview = renderer.view(portrait.code, portrait.styles, yaw=20.0, size=PREVIEW_SIZE)
    recipe = {
        "command": "portrait save",
        "seed": seed,
        "style_seed": styles,
        "head": head,
        "truncation": truncation,
    }
    write_portrait(
        folder,
        portrait,
        sof=read_manifest(find_package(library, sof)),
        siw=read_manifest(find_package(library, siw)),
        name=name,
        licence=LICENCE,
        recipe=recipe,
        preview=Image.fromarray(preview),
    )
    print(folder)


def render_portrait(
    portrait: str,
    out: Path,
    library: Path = DEFAULT_LIBRARY,
    yaw: float = 0.0,
    pitch: float = 5.0,
    distance: float = VIEW_DISTANCE,
    half: float = VIEW_HALF,
    width: int = 512,
    height: int = 512,
    style_seed: int | None = None,
    labels: list[int] | None = None,
    background: bool = False,
    show_labels: Path | None = None,
) -> None:
    """Render one frame of a portrait.

    Args:
        portrait: id of its package.
        out: PNG file, with alpha.
        library: where it lies.
        yaw: degrees from the front to the head's left.
        pitch: degrees above the horizon.
        distance: metres to the head.
        half: half the frame's height at the head, metres.
        width: of the frame in pixels.
        height: of the frame in pixels.
        style_seed: restyles `labels` with the styles of a seed.
        labels: numbers of the regions that are restyled; all when left out.
        background: show the painted background, too.
        show_labels: also write the label map in the palette's colours to this PNG file.
    """
    camera = view_camera(yaw, height, pitch=pitch, distance=distance, half=half, width=width)
    look = PortraitLook(portrait=portrait)
    if style_seed is not None:
        style = RegionStyle(blend=((Source(seed=style_seed), 1.0),))
        regions = range(LABEL_COUNT) if labels is None else labels
        look = PortraitLook(portrait=portrait, styles=dict.fromkeys(regions, style))
    renderer = PortraitRenderer.load(library, portrait)
    asked = PortraitRender(look=look, camera=camera, passes=PORTRAIT_PASSES, background=background)
    frame = renderer.render(asked)
    Image.fromarray(_straight(frame["rgba"])).save(out, optimize=True)
    if show_labels is not None:
        seen = np.where(frame["labels"] < LABEL_COUNT, frame["labels"], 0).astype(np.uint8)
        Image.fromarray(labels_to_colors(seen)).save(show_labels, optimize=True)
    print(out)


def orbit_portrait(
    portrait: str,
    out: Path,
    library: Path = DEFAULT_LIBRARY,
    frames: int | None = None,
    widest: float = 45.0,
    pitch: float = 5.0,
    half: float = VIEW_HALF,
    size: int = 256,
    background: bool = False,
) -> None:
    """Swing round a portrait.

    Args:
        portrait: id of its package.
        out: a PNG file with all frames in one row, or an MP4 film that swings there and back.
        library: where it lies.
        frames: how many; 7 of a picture and 72 of a film when left out.
        widest: degrees to both sides; 180 goes all round.
        pitch: degrees above the horizon.
        half: half the frame's height at the head, metres.
        size: of a frame in pixels.
        background: show the painted background, too.

    Raises:
        BadParameter: `out` is neither.
    """
    if out.suffix not in (".png", ".mp4"):
        raise BadParameter(f"{out} is neither a .png nor a .mp4 file", field="out")
    film = out.suffix == ".mp4"
    renderer = PortraitRenderer.load(library, portrait)
    look = PortraitLook(portrait=portrait)
    count = frames or (72 if film else 7)
    pictures: list[NDArray[np.uint8]] = []
    for k in range(count):
        swing = np.sin(2.0 * np.pi * k / count) if film else 2.0 * k / max(count - 1, 1) - 1.0
        camera = view_camera(widest * float(swing), size, pitch=pitch, half=half)
        asked = PortraitRender(look=look, camera=camera, passes=("rgba",), background=background)
        pictures.append(over_grey(renderer.render(asked)["rgba"]))
    if film:
        _write_film(pictures, out)
    else:
        Image.fromarray(np.concatenate(pictures, axis=1)).save(out, optimize=True)
    print(out)


def _networks(sof: str, siw: str, library: Path) -> PortraitRenderer:
    heads = shared_heads(find_package(library, sof))
    return PortraitRenderer.of_networks(heads, shared_painter(find_package(library, siw)))


def _drawn(seed: int, style_seed: int, truncation: float, head: str = "") -> PortraitLook:
    """Return a look that owes nothing to a portrait's own."""
    source = Source(head=head) if head else Source(seed=seed)
    style = RegionStyle(blend=((Source(seed=style_seed), 1.0),), truncation=truncation)
    return PortraitLook(
        portrait="",
        shape=HeadShape(blend=((source, 1.0),)),
        styles=dict.fromkeys(range(LABEL_COUNT), style),
    )


def _view(
    renderer: PortraitRenderer, look: PortraitLook, yaw: float, size: int
) -> NDArray[np.uint8]:
    with torch.inference_mode():
        code, styles = renderer.resolver.code(look), renderer.resolver.styles(look)
    return renderer.view(code, styles, yaw, size)


def _straight(rgba: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Undo premultiplication: PNG files have straight alpha."""
    alpha = rgba[..., 3:].astype(np.float32)
    colour = np.rint(rgba[..., :3] * 255.0 / np.maximum(alpha, 1.0)).clip(0, 255)
    return np.concatenate([colour.astype(np.uint8), rgba[..., 3:]], axis=2)


def _write_film(pictures: list[NDArray[np.uint8]], out: Path) -> None:
    import imageio_ffmpeg

    height, width = pictures[0].shape[:2]
    writer = imageio_ffmpeg.write_frames(str(out), (width, height), fps=_RATE, quality=8)
    writer.send(None)
    for picture in pictures:
        writer.send(np.ascontiguousarray(picture))
    writer.close()
