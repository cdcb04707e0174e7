"""`avatar.sample`, `.blend`, `.redress`, `.save`: people to choose from, and to keep."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import numpy as np

from blender_addon.contract import wardrobe
from blender_addon.contract.wardrobe_requests import (
    parse_avatar_blend,
    parse_avatar_redress,
    parse_avatar_sample,
    parse_avatar_save,
)
from models.look_packages import look_packages, wardrobe_of
from server.handlers.avatar import loaded_avatar, loaded_looks
from server.operation import Answer, Context, Operation
from server.own_packages import made_before, request_digest

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from blender_addon.contract.wardrobe import AvatarBlend, AvatarRedress, AvatarSample
    from blender_addon.contract.wire import Request
    from server.library import Library

log = logging.getLogger(__name__)


def sample(context: Context, batch: Sequence[Request]) -> list[Answer]:
    """Draw people to choose from; see `wardrobe.AvatarSample`."""
    return [_shown(context, parse_avatar_sample(request)) for request in batch]


def blend(context: Context, batch: Sequence[Request]) -> list[Answer]:
    """Show steps from one person to another; see `wardrobe.AvatarBlend`."""
    return [_shown(context, parse_avatar_blend(request)) for request in batch]


def redress(context: Context, batch: Sequence[Request]) -> list[Answer]:
    """Show somebody in parts of others; see `wardrobe.AvatarRedress`."""
    return [_shown(context, parse_avatar_redress(request)) for request in batch]


def save(context: Context, batch: Sequence[Request]) -> list[Answer]:
    """Keep looks as avatars of the user's own; see `wardrobe.AvatarSave`."""
    return [_save(context, request) for request in batch]


def _shown(context: Context, asked: AvatarSample | AvatarBlend | AvatarRedress) -> Answer:
    from models.people_view import picture

    looks = asked.looks()
    digest = context.library.digest(*_models(context.library, asked))
    own = loaded_avatar(context, asked.avatar).renderer
    maker = loaded_looks(context)
    pictures: list[NDArray[np.uint8]] = []
    for look in looks if asked.view.size else ():
        person = maker.person(own, asked.avatar, look)
        pictures.append(picture(person.renderer, asked.view, person.made.betas))
        context.heartbeat()
    manifest = context.library.manifest(asked.avatar)
    named = {wardrobe_of(manifest, look) for look in looks} - {""}
    params: dict[str, Any] = {
        "digest": digest,
        "looks": [look.to_wire() for look in looks],
        "directions": [name for each in named for name in maker.wardrobe(each).directions],
    }
    arrays = {"images": np.stack(pictures)} if pictures else {}
    return Answer(params=params, arrays=arrays, digest=digest)


def _models(library: Library, asked: AvatarSample | AvatarBlend | AvatarRedress) -> list[str]:
    named = {
        model for look in asked.looks() for model in look_packages(library, asked.avatar, look)
    }
    return [asked.avatar, *sorted(named - {asked.avatar})]


def _save(context: Context, request: Request) -> Answer:
    asked = parse_avatar_save(request)
    library = context.library
    models = library.digest(*look_packages(library, asked.avatar, asked.look))
    digest = request_digest(*asked.to_wire(), models)
    made = made_before(context, asked.id, digest, what="avatar", field="id", replace=asked.replace)
    if made is None:
        from models.look_package import save_look

        own = loaded_avatar(context, asked.avatar).renderer
        person = loaded_looks(context).person(own, asked.avatar, asked.look)
        betas = None if asked.betas is None else asked.betas.tolist()
        save_look(
            context.storage.library / asked.id,
            library,
            asked.avatar,
            asked.look,
            person,
            name=asked.name,
            betas=betas,
            recipe={"command": wardrobe.AVATAR_SAVE, "request": digest},
        )
        log.info("avatar saved avatar=%s", asked.id)
    return Answer(params={"avatar": asked.id, "digest": library.digest(asked.id)})


OPERATIONS = (
    Operation(
        name=wardrobe.AVATAR_SAMPLE,
        kind="predict",
        call=sample,
        model="avatar",
        also=lambda library, request: _models(library, parse_avatar_sample(request)),
    ),
    Operation(
        name=wardrobe.AVATAR_BLEND,
        kind="predict",
        call=blend,
        model="avatar",
        also=lambda library, request: _models(library, parse_avatar_blend(request)),
    ),
    Operation(
        name=wardrobe.AVATAR_REDRESS,
        kind="predict",
        call=redress,
        model="avatar",
        also=lambda library, request: _models(library, parse_avatar_redress(request)),
    ),
    Operation(name=wardrobe.AVATAR_SAVE, kind="predict", call=save),
)
