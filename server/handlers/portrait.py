"""`portrait.render`, `portrait.sample`, `portrait.bake`, `portrait.segment`: heads and their looks."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from blender_addon.contract import portrait_requests, portraits
from blender_addon.contract.errors import InternalError, UnknownModel
from server.loaded import Loaded, loaded_model
from server.operation import Answer, Context, Operation, Progress

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence
    from typing import Any

    from numpy.typing import NDArray

    from blender_addon.contract.wire import Request
    from models.portrait import PortraitRenderer
    from models.portrait_parser import NetworkParser

MAX_LOADED = 8
"""Portraits kept in memory; those of the same networks share them."""
SHOWN_HEADS = 64
"""Heads of the SOF that `portrait.sample` names to blend from."""


def render(context: Context, batch: Sequence[Request]) -> list[Answer]:
    """Render one frame per request; see `portraits.PortraitRender`."""
    answers: list[Answer] = []
    for request in batch:
        asked = portrait_requests.parse_portrait_render(request)
        portrait = loaded_portrait(context, asked.look.portrait)
        # A viewport's head that is not baked yet looks coarser than it will: not to be cached.
        final = asked.geometry == "marched" or portrait.renderer.baked(asked.look)
        images = portrait.renderer.render(asked)
        digest = portrait.digest
        answers.append(
            Answer(params={"digest": digest}, arrays=images, digest=digest if final else "")
        )
    return answers


def sample(context: Context, batch: Sequence[Request]) -> list[Answer]:
    """Draw heads and styles to choose from; see `portraits.PortraitSample`."""
    return [_sample(context, request) for request in batch]


def bake(context: Context, request: Request) -> Generator[Progress, None, Answer]:
    """Bake a head as a labelled mesh; see `portraits.PortraitBake`.

    Never answered from the broker's cache: the worker keeps the head for its viewport's frames.
    """
    asked = portrait_requests.parse_portrait_bake(request)
    portrait = loaded_portrait(context, asked.look.portrait)
    from models.baked_head import BakeSettings

    settings = BakeSettings(views=asked.views)
    for share, head in portrait.renderer.iterate_bake(asked.look, settings):
        if head is not None:
            arrays: dict[str, NDArray[Any]] = {
                "vertices": head.vertices,
                "faces": head.faces.astype(np.int32),
                "labels": head.labels,
            }
            return Answer(params={"digest": portrait.digest}, arrays=arrays)
        yield Progress(params={"share": round(share, 4)})
    raise InternalError("a bake has ended without its head")


def segment(context: Context, batch: Sequence[Request]) -> list[Answer]:
    """Label photographs; see `portraits.PortraitSegment`."""
    answers: list[Answer] = []
    for request in batch:
        asked = portrait_requests.parse_portrait_segment(request)
        parser = loaded_parser(context)
        labels = _segmented(context, parser.renderer, asked.image)
        answers.append(Answer(params={"digest": parser.digest}, arrays={"labels": labels}))
    return answers


def loaded_portrait(context: Context, portrait: str) -> Loaded[PortraitRenderer]:
    """Return a portrait in the state of its packages on disk; see `loaded_model`."""

    def load() -> PortraitRenderer:
        from models.portrait import PortraitRenderer

        return PortraitRenderer.load(context.library.folders, portrait, context.device)

    return loaded_model(context, "portrait", portrait, MAX_LOADED, load, _warm_up)


def loaded_parser(context: Context) -> Loaded[NetworkParser]:
    """Return the library's portrait parser.

    Raises:
        UnknownModel: it has none.
    """
    found = [each.id for each in context.library.manifests() if each.kind == "parser"]
    if not found:
        raise UnknownModel(
            "the library has no portrait parser",
            "add a package of kind parser, or paint the label map by hand",
        )

    def load() -> NetworkParser:
        from models.portrait_parser import NetworkParser

        return NetworkParser.open(context.library.package(found[0]), context.device)

    return loaded_model(context, "parser", found[0], 1, load, lambda _: None)


def _sample(context: Context, request: Request) -> Answer:
    asked = portrait_requests.parse_portrait_sample(request)
    portrait = loaded_portrait(context, asked.look.portrait)
    samples = []
    for one in portrait.renderer.iterate_sample(asked):
        samples.append(one)
        context.heartbeat()
    arrays: dict[str, NDArray[Any]] = {
        "codes": np.stack([each.code for each in samples]),
        "styles": np.stack([each.styles for each in samples]),
    }
    images = [each.image for each in samples if each.image is not None]
    if images:
        arrays["images"] = np.stack(images)
    sof = portrait.renderer.heads.sof
    directions = sof.manifest.data.get("directions", [])
    params = {
        "digest": portrait.digest,
        "directions": [str(name) for name in directions] if isinstance(directions, list) else [],
        "heads": list(sof.heads[:SHOWN_HEADS]),
    }
    return Answer(params=params, arrays=arrays, digest=portrait.digest)


def _segmented(
    context: Context, parser: NetworkParser, image: NDArray[np.uint8]
) -> NDArray[np.uint8]:
    from models.portrait_parser import iterate_parse

    for parsed in iterate_parse(parser, image):
        context.heartbeat()
        if parsed is not None:
            return parsed.labels
    raise InternalError("a photograph was parsed to no end")


def _warm_up(renderer: PortraitRenderer) -> None:
    """Paint once, so that the first real frame does not pay for kernels and memory."""
    renderer.view(renderer.portrait.code, renderer.portrait.styles, yaw=0.0, size=renderer.size)


OPERATIONS = (
    Operation(name=portraits.PORTRAIT_RENDER, kind="predict", call=render, model="portrait"),
    Operation(name=portraits.PORTRAIT_SAMPLE, kind="predict", call=sample, model="portrait"),
    Operation(name=portraits.PORTRAIT_BAKE, kind="steps", call=bake),
    Operation(name=portraits.PORTRAIT_SEGMENT, kind="predict", call=segment),
)
