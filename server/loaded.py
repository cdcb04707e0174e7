"""Models that handlers keep in memory: loaded when asked for, again when they change on disk."""

from __future__ import annotations

import logging
import time
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar, cast

if TYPE_CHECKING:
    from collections.abc import Callable

    from server.operation import Context

log = logging.getLogger(__name__)

Renderer = TypeVar("Renderer")


@dataclass(frozen=True)
class Loaded(Generic[Renderer]):
    """A renderer in memory and the digest of the packages that it was loaded from."""

    digest: str
    renderer: Renderer


def loaded_model(
    context: Context,
    kind: str,
    model: str,
    most: int,
    load: Callable[[], Renderer],
    warm_up: Callable[[Renderer], object],
) -> Loaded[Renderer]:
    """Return a model in the state of its packages on disk.

    A changed package is loaded and warmed up before it takes the old one's place, so a damaged
    one raises here and the next request tries again.

    Args:
        context: keeps what is loaded.
        kind: "avatar" or "portrait": those of one kind push each other out.
        model: id of the package.
        most: of a kind that stay in memory; the one not asked for the longest goes first.
        load: reads the packages.
        warm_up: makes the first real frame as fast as the others.

    Raises:
        UnknownModel: the library lacks the model or a package that it requires.
        PackageDamaged: a file differs from its model.json.
    """
    fresh: OrderedDict[str, Loaded[Renderer]] = OrderedDict()
    kept = cast(
        "OrderedDict[str, Loaded[Renderer]]",
        context.loaded.setdefault(f"{kind}.renderers", fresh),
    )
    digest = context.library.digest(model)
    current = kept.get(model)
    if current is None or current.digest != digest:
        current = _load(context, kind, model, load, warm_up)
        kept[model] = current
    kept.move_to_end(model)
    while len(kept) > most:
        kept.popitem(last=False)
    return current


def _load(
    context: Context,
    kind: str,
    model: str,
    load: Callable[[], Renderer],
    warm_up: Callable[[Renderer], object],
) -> Loaded[Renderer]:
    started = time.perf_counter()
    context.heartbeat()
    digest = context.library.digest(model)
    while True:
        renderer = load()
        # Written again while it was read: what was loaded may be half of each.
        before, digest = digest, context.library.digest(model)
        if before == digest:
            break
    context.heartbeat()
    warm_up(renderer)
    context.heartbeat()
    seconds = time.perf_counter() - started
    log.info("%s loaded %s=%s digest=%s seconds=%.2f", kind, kind, model, digest, seconds)
    return Loaded(digest, renderer)
