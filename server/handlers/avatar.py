"""`avatar.render`: loaded avatars, reloaded when their packages change on disk."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import numpy as np

from blender_addon.contract import operations
from blender_addon.contract.avatar_look import parse_look
from blender_addon.contract.camera import look_at
from blender_addon.contract.fields import parse_model_id
from blender_addon.contract.joints import JOINT_COUNT
from blender_addon.contract.operations import PosedBody
from models.look_packages import look_packages
from server.loaded import Loaded, loaded_model
from server.operation import Answer, Context, Operation

if TYPE_CHECKING:
    from collections.abc import Sequence

    from blender_addon.contract.avatar_look import AvatarLook
    from blender_addon.contract.wire import Request
    from models.avatar import AvatarRenderer
    from models.avatar_look import Looks
    from server.library import Library

_LOOKS = "avatar.looks"

MAX_LOADED = 8
"""Avatars kept in memory; the one not asked for the longest goes first."""


def render(context: Context, batch: Sequence[Request]) -> list[Answer]:
    """Render one frame per request; see `operations.AvatarRender`."""
    answers: list[Answer] = []
    for request in batch:
        asked = operations.parse_avatar_render(request)
        person, digest = person_in(context, asked.avatar, asked.look)
        images = person.render(asked.body, asked.camera, asked.passes)
        answers.append(Answer(params={"digest": digest}, arrays=images, digest=digest))
    return answers


def render_models(library: Library, request: Request) -> Sequence[str]:
    """Return the ids of the packages that a render or another request with a look depends on."""
    avatar = parse_model_id(request, "avatar")
    look = request.params.get("look")
    return [avatar] if look is None else look_packages(library, avatar, parse_look(look))


def person_in(context: Context, avatar: str, look: AvatarLook | None) -> tuple[AvatarRenderer, str]:
    """Return what renders an avatar in a look, and the digest of all that it depends on.

    Raises:
        UnknownModel: the library lacks a package.
        PackageDamaged: a file differs from its model.json.
        BadParameter: the look's people do not go together.
    """
    own = loaded_avatar(context, avatar)
    if look is None:
        return own.renderer, own.digest
    digest = context.library.digest(*look_packages(context.library, avatar, look))
    return loaded_looks(context).person(own.renderer, avatar, look).renderer, digest


def loaded_looks(context: Context) -> Looks:
    """Return what makes the textures of looks; one for the worker."""
    from models.avatar_look import Looks

    made = context.loaded.get(_LOOKS) or Looks(context.library, context.device)
    context.loaded[_LOOKS] = made
    return cast("Looks", made)


def loaded_avatar(context: Context, avatar: str) -> Loaded[AvatarRenderer]:
    """Return an avatar, or a wardrobe's mean person, as on disk now; see `loaded_model`."""

    def load() -> AvatarRenderer:
        return loaded_looks(context).load(avatar)

    return loaded_model(context, "avatar", avatar, MAX_LOADED, load, _warm_up)


def _warm_up(renderer: AvatarRenderer) -> None:
    """Render a small frame, so that the first real one does not pay for kernels and memory."""
    body = PosedBody(
        pose=np.tile(np.eye(3, dtype=np.float32), (JOINT_COUNT, 1, 1)),
        transl=np.zeros(3, np.float32),
        betas=np.zeros(0, np.float32),
        expression=np.zeros(0, np.float32),
    )
    eye, up = np.array([0.0, 0.0, 3.0]), np.array([0.0, 1.0, 0.0])
    camera = look_at(eye, np.zeros(3), up, focal=128.0, width=128, height=128)
    renderer.render(body, camera)


OPERATIONS = (
    Operation(
        name=operations.AVATAR_RENDER,
        kind="predict",
        call=render,
        model="avatar",
        also=render_models,
    ),
)
