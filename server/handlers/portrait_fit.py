"""`portrait.fit`: a photograph becomes a portrait of the user's own, while others are served."""

from __future__ import annotations

import hashlib
import logging
from typing import TYPE_CHECKING, Any

import numpy as np

from blender_addon.contract.errors import PackageDamaged
from blender_addon.contract.portrait_requests import parse_portrait_fit
from blender_addon.contract.portraits import FIT_STAGES, PORTRAIT_FIT
from server.fit_progress import tell_fit
from server.handlers.portrait import loaded_parser, loaded_portrait
from server.operation import Answer, Context, Operation, Progress
from server.own_packages import made_before, request_digest

if TYPE_CHECKING:
    from collections.abc import Generator

    from numpy.typing import NDArray

    from blender_addon.contract.portraits import PortraitFit
    from blender_addon.contract.wire import Request
    from models.portrait import PortraitRenderer
    from models.portrait_fit import FittedPortrait

log = logging.getLogger(__name__)

LICENCE = "as the photograph's"


def fit(context: Context, request: Request) -> Generator[Progress, None, Answer]:
    """Fit a portrait; see `portraits.PortraitFit` for params, progress and result.

    Raises:
        BadParameter: the id is taken, or the photograph cannot be used.
        NoFaceFound: no face is seen.
        UnknownModel: the portrait or the parser is missing.
    """
    asked = parse_portrait_fit(request)
    portrait = loaded_portrait(context, asked.portrait)
    digest = request_digest(*asked.to_wire(), portrait.digest)
    made = made_before(
        context, asked.id, digest, what="portrait", field="id", replace=asked.replace
    )
    if made is None:
        renderer = portrait.renderer
        fitted = yield from _fitted(context, asked, renderer)
        yield Progress(params={"stage": FIT_STAGES[-1], "share": 0.98})
        _write(context, asked, renderer, fitted, digest)
        log.info("portrait fitted portrait=%s", asked.id)
    return _answer(context, asked.id)


def _fitted(
    context: Context, asked: PortraitFit, renderer: PortraitRenderer
) -> Generator[Progress, None, FittedPortrait]:
    from models.portrait_fit import iterate_portrait_fit

    parser = loaded_parser(context).renderer if asked.labels is None else None
    steps = iterate_portrait_fit(
        renderer.heads.renderer,
        renderer.heads.space,
        renderer.painter,
        asked.image,
        parser,
        asked.labels,
        asked.focal,
    )
    return (yield from tell_fit(steps))


def _write(
    context: Context,
    asked: PortraitFit,
    renderer: PortraitRenderer,
    fitted: FittedPortrait,
    digest: str,
) -> None:
    from PIL import Image

    from models.portrait_package import SIW_ROLE, SOF_ROLE, Portrait, write_portrait

    own = context.library.manifest(asked.portrait)
    device = renderer.device
    view = renderer.view(
        fitted.code.to(device), fitted.styles.to(device), yaw=0.0, size=renderer.size
    )
    write_portrait(
        context.storage.library / asked.id,
        Portrait(
            code=fitted.code, styles=fitted.styles, camera=fitted.camera, labels=fitted.labels
        ),
        sof=context.library.manifest(own.requirements[SOF_ROLE]),
        siw=context.library.manifest(own.requirements[SIW_ROLE]),
        name=asked.name,
        licence=LICENCE,
        recipe={"command": PORTRAIT_FIT, "request": digest, "focal": asked.focal},
        data={"photograph": hashlib.sha256(asked.image.tobytes()).hexdigest()},
        metrics={"label_iou": round(fitted.label_iou, 4), "distance": round(fitted.distance, 4)},
        preview=Image.fromarray(view),
    )


def _answer(context: Context, portrait: str) -> Answer:
    from models.portrait_package import load_portrait

    manifest, content = load_portrait(context.library.package(portrait))
    camera, labels = content.camera, content.labels
    if camera is None or labels is None:
        raise PackageDamaged(f"{portrait!r} holds no photograph's camera and label map")
    arrays: dict[str, NDArray[Any]] = {
        "labels": labels,
        "K": camera.K,
        "Rt": np.concatenate([camera.R, camera.t[:, None]], axis=1),
    }
    params = {
        "portrait": portrait,
        "digest": context.library.digest(portrait),
        "label_iou": float(manifest.metrics["label_iou"]),
        "distance": float(manifest.metrics["distance"]),
    }
    return Answer(params=params, arrays=arrays)


OPERATIONS = (Operation(name=PORTRAIT_FIT, kind="steps", call=fit),)
