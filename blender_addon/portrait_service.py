"""What portraits ask of the server beside frames: samples, baked heads, fits, label maps. No bpy.

The functions block: they are called from jobs, or in background mode.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from . import library
from .asking import JOB_SECONDS, FitProgress, call, stages, texts
from .contract.errors import BadMessage
from .contract.labels import LABEL_COUNT, check_labels
from .contract.portraits import (
    NOT_PAINTED,
    PORTRAIT_BAKE,
    PORTRAIT_FIT,
    PORTRAIT_SAMPLE,
    PortraitBake,
    PortraitLook,
    PortraitSample,
)
from .scene.head_meshes import LabelledMesh, parse_mesh

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from .asking import Server
    from .contract.portraits import PortraitFit, PortraitRender

_FACT_SEED = 0


@dataclass(frozen=True, kw_only=True)
class Samples:
    """Heads and styles to choose from.

    Attributes:
        codes: (n, C) float32.
        styles: (n, 17, W) float32.
        images: (n, side, side, 3) uint8 sRGB, None when none were asked for.
    """

    codes: NDArray[np.float32]
    styles: NDArray[np.float32]
    images: NDArray[np.uint8] | None


@dataclass(frozen=True, kw_only=True)
class Fitted:
    """A portrait that was fitted to a photograph.

    Attributes:
        portrait: the new package.
        label_iou: how well its labels agree with the photograph's.
        distance: perceptual, to the photograph.
    """

    portrait: library.PortraitEntry
    label_iou: float
    distance: float


def sample(server: Server, wanted: PortraitSample) -> Samples:
    """Draw samples; what the portrait's networks offer is remembered in `library.known.facts`.

    Raises:
        BadMessage: the server's arrays are no samples.
        DressformError: as the server's.
    """
    params, arrays = wanted.to_wire()
    reply = call(server, PORTRAIT_SAMPLE, params, arrays)
    library.known.facts[wanted.look.portrait] = library.PortraitFacts(
        directions=texts(reply.params.get("directions")), heads=texts(reply.params.get("heads"))
    )
    count = len(wanted.seeds)
    codes, styles = reply.arrays.get("codes"), reply.arrays.get("styles")
    images = reply.arrays.get("images")
    if codes is None or codes.ndim != 2 or len(codes) != count:
        raise BadMessage("the server's samples have no codes")
    if styles is None or styles.ndim != 3 or styles.shape[:2] != (count, LABEL_COUNT):
        raise BadMessage("the server's samples have no styles")
    if wanted.size:
        side = wanted.size
        if images is None or images.shape != (count, side, side, 3) or images.dtype != np.uint8:
            raise BadMessage("the server's samples have no pictures")
    return Samples(
        codes=codes.astype(np.float32),
        styles=styles.astype(np.float32),
        images=images if wanted.size else None,
    )


def itself(server: Server, look: PortraitLook, size: int = 0) -> Samples:
    """Return the code, the styles and a picture of a look as it is."""
    return sample(server, PortraitSample(look=look, seeds=(_FACT_SEED,), vary=(), size=size))


def find(server: Server, portrait_id: str) -> tuple[library.PortraitEntry, library.PortraitFacts]:
    """Return a portrait of the library and what its networks offer; empty ids mean the first.

    Raises:
        UnknownModel: there is none.
        UnknownOperation: the server knows no portraits.
    """
    if not library.known.portraits or portrait_id:
        library.fetch(server.endpoint(), should_stop=server.should_stop, revive=server.revive)
    entry = library.known.portrait(portrait_id)
    if entry.id not in library.known.facts:
        itself(server, PortraitLook(portrait=entry.id))
    return entry, library.known.facts[entry.id]


def bake(
    server: Server,
    look: PortraitLook,
    on_progress: Callable[[float], None] = lambda _: None,
) -> tuple[LabelledMesh, str]:
    """Return a look's head as a labelled mesh, and the digest of what it was made from.

    Raises:
        BadMessage: the server's arrays are no mesh.
        DressformError: as the server's.
    """
    shape_only = replace(look, styles={}, style_rows=None)
    params, arrays = PortraitBake(look=shape_only).to_wire()
    reply = call(
        server,
        PORTRAIT_BAKE,
        params,
        arrays,
        JOB_SECONDS,
        lambda told: on_progress(float(told.params.get("share", 0.0))),
    )
    return parse_mesh(reply.arrays), str(reply.params.get("digest", ""))


def fit(
    server: Server, wanted: PortraitFit, on_progress: Callable[[FitProgress], None] = lambda _: None
) -> Fitted:
    """Make a portrait of a photograph; it is in the library afterwards.

    Raises:
        DressformError: as the server's.
    """
    params, arrays = wanted.to_wire()
    reply = call(server, PORTRAIT_FIT, params, arrays, JOB_SECONDS, stages(on_progress))
    made = str(reply.params.get("portrait", ""))
    library.known.previews.pop(made, None)  # a replaced portrait has a new picture
    library.known.facts.pop(made, None)
    library.fetch(server.endpoint(), should_stop=server.should_stop, revive=server.revive)
    return Fitted(
        portrait=library.known.portrait(made),
        label_iou=float(reply.params.get("label_iou", 0.0)),
        distance=float(reply.params.get("distance", 0.0)),
    )


def label_map(server: Server, wanted: PortraitRender) -> NDArray[np.uint8]:
    """Return the label map of a view, (H, W) uint8, background where nothing is painted.

    Args:
        wanted: its passes are not looked at.
    """
    params, arrays = replace(wanted, passes=("labels",)).to_wire()
    reply = call(server, wanted.operation, params, arrays)
    labels = reply.arrays.get("labels")
    if labels is None or labels.shape != (wanted.camera.height, wanted.camera.width):
        raise BadMessage("the server sent no label map")
    return check_labels(np.where(labels == NOT_PAINTED, np.uint8(0), labels))
