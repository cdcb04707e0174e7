"""What the server's library holds: people, portraits, previews, and body templates. No bpy.

The functions block (they are called from jobs, or in background mode); what they found is kept.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from .client import Client
from .contract.errors import BadMessage, UnknownModel
from .contract.operations import BODY_TEMPLATE, LIBRARY_LIST, LIBRARY_PREVIEW
from .scene.stand_in import BodyTemplate, parse_template

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

    from .contract.wire import Reply

ATTEMPT_SECONDS = 30.0
PATIENCE_SECONDS = 90.0
"""A server that starts on a slow machine takes its time to load the models."""


@dataclass(frozen=True, kw_only=True)
class Avatar:
    """An avatar of the library, or a wardrobe: whose mean person can be worn like an avatar.

    Attributes:
        id: its name in the library.
        name: what people call it.
        digest: of its package.
        licence: SPDX identifier or a sentence.
        body: id of the body that it wears.
        betas: its own shape.
        dresser: id of what paints it; people of one dresser can be mixed.
        wardrobe: id of the wardrobe that it was made with, or "".
    """

    id: str
    name: str
    digest: str
    licence: str
    body: str
    betas: tuple[float, ...]
    dresser: str = ""
    wardrobe: str = ""


@dataclass(frozen=True, kw_only=True)
class PortraitEntry:
    """A portrait of the library.

    Attributes:
        id: its name in the library.
        name: what people call it.
        digest: of its package and the networks that it names.
        licence: SPDX identifier or a sentence.
    """

    id: str
    name: str
    digest: str
    licence: str


Entry = TypeVar("Entry", Avatar, PortraitEntry)


@dataclass(frozen=True, kw_only=True)
class PortraitFacts:
    """What a portrait's networks offer to its sliders.

    Attributes:
        directions: what the first principal directions do.
        heads: ids of heads to blend from.
    """

    directions: tuple[str, ...] = ()
    heads: tuple[str, ...] = ()


@dataclass(kw_only=True)
class Library:
    """What was learned of a server's library so far.

    Attributes:
        avatars: in the server's order.
        wardrobes: in the server's order.
        portraits: in the server's order.
        previews: id of an avatar or portrait → (H, W, 4) float32 sRGB, top row first.
        templates: body id → template.
        facts: portrait id → what its networks offer, where it was asked for.
        directions: wardrobe id → what its principal directions do, where it was asked for.
    """

    avatars: list[Avatar] = field(default_factory=list[Avatar])
    wardrobes: list[Avatar] = field(default_factory=list[Avatar])
    portraits: list[PortraitEntry] = field(default_factory=list[PortraitEntry])
    previews: dict[str, NDArray[np.float32]] = field(
        default_factory=dict[str, "NDArray[np.float32]"]
    )
    templates: dict[str, BodyTemplate] = field(default_factory=dict[str, BodyTemplate])
    facts: dict[str, PortraitFacts] = field(default_factory=dict[str, PortraitFacts])
    directions: dict[str, tuple[str, ...]] = field(default_factory=dict[str, "tuple[str, ...]"])

    def avatar(self, avatar_id: str) -> Avatar:
        """Return the avatar or wardrobe of this id.

        Raises:
            UnknownModel: the library has none; names those it has.
        """
        for avatar in (*self.avatars, *self.wardrobes):
            if avatar.id == avatar_id:
                return avatar
        known = ", ".join(avatar.id for avatar in self.avatars) or "none"
        raise UnknownModel(
            f"the server's library has no avatar {avatar_id!r}", f"choose one of: {known}"
        )

    def first_or(self, avatar_id: str) -> Avatar:
        """Return the avatar of this id, the first of the library when the id is empty.

        Raises:
            UnknownModel: there is none.
        """
        if avatar_id or not self.avatars:
            return self.avatar(avatar_id)
        return self.avatars[0]

    def wardrobe(self, wardrobe_id: str) -> Avatar:
        """Return the wardrobe of this id, the first of the library when the id is empty.

        Raises:
            UnknownModel: the library has none; names those it has.
        """
        if not self.wardrobes:
            raise UnknownModel(NO_WARDROBE, WITHOUT_WARDROBE)
        return _named(self.wardrobes, wardrobe_id, "wardrobe")

    def wardrobe_for(self, avatar_id: str) -> Avatar | None:
        """Return the wardrobe whose people an avatar can be mixed with; None without."""
        found = [avatar for avatar in (*self.avatars, *self.wardrobes) if avatar.id == avatar_id]
        if not found:
            return None
        made_with = [each for each in self.wardrobes if each.id in (avatar_id, found[0].wardrobe)]
        alike = [each for each in self.wardrobes if each.dresser == found[0].dresser]
        return next(iter((*made_with, *alike)), None)

    def like(self, avatar_id: str) -> list[Avatar]:
        """Return the avatars that an avatar can be mixed with: those of its dresser and body."""
        try:
            own = self.avatar(avatar_id)
        except UnknownModel:
            return []
        return [
            each
            for each in self.avatars
            if each.id != avatar_id and (each.dresser, each.body) == (own.dresser, own.body)
        ]

    def portrait(self, portrait_id: str) -> PortraitEntry:
        """Return the portrait of this id, the first of the library when the id is empty.

        Raises:
            UnknownModel: the library has none; names those it has.
        """
        if not self.portraits:
            raise UnknownModel(
                "the server's library has no portraits",
                'use a library with a package of kind "portrait" (docs/portraits.md)',
            )
        return _named(self.portraits, portrait_id, "portrait")


def _named(entries: Sequence[Entry], identity: str, what: str) -> Entry:
    """Return the entry of this id, the first when the id is empty."""
    for entry in entries:
        if identity in ("", entry.id):
            return entry
    known = ", ".join(entry.id for entry in entries)
    raise UnknownModel(
        f"the server's library has no {what} {identity!r}", f"choose one of: {known}"
    )


NO_WARDROBE = "the server's library has no wardrobe"
WITHOUT_WARDROBE = 'use a library with a package of kind "wardrobe", then Refresh'

known = Library()
"""The library as last fetched; the panel draws from it and never waits."""


def fetch(
    endpoint: str,
    *,
    previews: bool = True,
    should_stop: Callable[[], bool] | None = None,
    revive: Callable[[], None] | None = None,
) -> Library:
    """Ask for the people and portraits (and previews), remember and return them."""
    client = Client(endpoint)
    try:

        def ask(operation: str, **params: Any) -> Reply:
            return client.call(
                operation,
                params,
                timeout=ATTEMPT_SECONDS,
                patience=PATIENCE_SECONDS,
                should_stop=should_stop,
                revive=revive,
            )

        listed = ask(LIBRARY_LIST).params.get("models", [])
        known.avatars = [parse_avatar(model) for model in listed if model.get("kind") == "avatar"]
        known.wardrobes = [parse_avatar(m) for m in listed if m.get("kind") == "wardrobe"]
        known.portraits = [parse_portrait(m) for m in listed if m.get("kind") == "portrait"]
        for entry in (*known.avatars, *known.portraits) if previews else ():
            if entry.id not in known.previews:
                known.previews[entry.id] = _preview(ask, entry.id)
    finally:
        client.close()
    return known


def _preview(ask: Callable[..., Reply], model: str) -> NDArray[np.float32]:
    try:
        return parse_preview(ask(LIBRARY_PREVIEW, id=model).arrays.get("preview"))
    except UnknownModel:  # a package without a picture can be used all the same
        return parse_preview(None)


def fetch_template(
    endpoint: str,
    body: str,
    *,
    should_stop: Callable[[], bool] | None = None,
    revive: Callable[[], None] | None = None,
) -> BodyTemplate:
    """Return a body's template, asking for it the first time."""
    if body not in known.templates:
        client = Client(endpoint)
        try:
            reply = client.call(
                BODY_TEMPLATE,
                {"body": body},
                timeout=ATTEMPT_SECONDS,
                patience=PATIENCE_SECONDS,
                should_stop=should_stop,
                revive=revive,
            )
        finally:
            client.close()
        known.templates[body] = parse_template(reply.params, reply.arrays)
    return known.templates[body]


def parse_avatar(model: Mapping[str, Any]) -> Avatar:
    """Read an avatar or a wardrobe of `library.list`.

    Raises:
        BadMessage: it has no id or no body.
    """
    if not isinstance(model.get("id"), str) or not isinstance(model.get("body"), str):
        raise BadMessage("an avatar of the library has no id or no body")
    betas = model.get("betas") or ()
    return Avatar(
        id=model["id"],
        name=str(model.get("name") or model["id"]),
        digest=str(model.get("digest", "")),
        licence=str(model.get("licence", "")),
        body=model["body"],
        betas=tuple(float(beta) for beta in betas),
        dresser=str(model.get("dresser", "")),
        wardrobe=str(model.get("wardrobe", "")),
    )


def parse_portrait(model: Mapping[str, Any]) -> PortraitEntry:
    """Read one entry of `library.list`.

    Raises:
        BadMessage: it has no id.
    """
    if not isinstance(model.get("id"), str):
        raise BadMessage("a portrait of the library has no id")
    return PortraitEntry(
        id=model["id"],
        name=str(model.get("name") or model["id"]),
        digest=str(model.get("digest", "")),
        licence=str(model.get("licence", "")),
    )


def parse_preview(preview: Any) -> NDArray[np.float32]:
    """Return a preview (H, W, 3|4) of bytes as (H, W, 4) floats; grey when there is none."""
    if preview is None or preview.ndim != 3 or preview.shape[2] not in (3, 4):
        return np.full((1, 1, 4), 0.5, np.float32)
    image = np.ones((*preview.shape[:2], 4), np.float32)
    image[..., : preview.shape[2]] = preview / np.float32(255)
    return image
