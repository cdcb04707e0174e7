"""`avatar.render`: loaded avatars, reloaded when their packages change on disk."""

from __future__ import annotations

import logging
import time
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import numpy as np

from blender_addon.contract import operations
from blender_addon.contract.camera import look_at
from blender_addon.contract.joints import JOINT_COUNT
from blender_addon.contract.operations import PosedBody
from server.operation import Answer, Context, Operation

if TYPE_CHECKING:
    from collections.abc import Sequence

    from blender_addon.contract.wire import Request
    from models.avatar import AvatarRenderer

log = logging.getLogger(__name__)

MAX_LOADED = 8
"""Avatars kept in memory; the one not asked for the longest goes first."""

_KEY = "avatar.renderers"


@dataclass(frozen=True)
class LoadedAvatar:
    """An avatar in memory and the digest of the packages that it was loaded from."""

    digest: str
    renderer: AvatarRenderer


def render(context: Context, batch: Sequence[Request]) -> list[Answer]:
    """Render one frame per request; see `operations.AvatarRender`."""
    answers: list[Answer] = []
    for request in batch:
        asked = operations.parse_avatar_render(request)
        avatar = loaded_avatar(context, asked.avatar)
        images = avatar.renderer.render(asked.body, asked.camera, asked.passes)
        answers.append(
            Answer(params={"digest": avatar.digest}, arrays=images, digest=avatar.digest)
        )
    return answers


def loaded_avatar(context: Context, avatar: str) -> LoadedAvatar:
    """Return an avatar in the state of its packages on disk.

    A changed package is loaded and warmed up before it takes the old one's place, so a damaged
    one raises here and the next request tries again.

    Raises:
        UnknownModel: the library lacks the avatar, its body or its dresser.
        PackageDamaged: a file differs from its model.json.
    """
    renderers = cast(
        "OrderedDict[str, LoadedAvatar]", context.loaded.setdefault(_KEY, OrderedDict())
    )
    digest = context.library.digest(avatar)
    current = renderers.get(avatar)
    if current is None or current.digest != digest:
        current = _load(context, avatar)
        renderers[avatar] = current
    renderers.move_to_end(avatar)
    while len(renderers) > MAX_LOADED:
        renderers.popitem(last=False)
    return current


def _load(context: Context, avatar: str) -> LoadedAvatar:
    from models.avatar import AvatarRenderer

    started = time.perf_counter()
    context.heartbeat()
    digest = context.library.digest(avatar)
    while True:
        renderer = AvatarRenderer.load(context.library.folders, avatar, context.device)
        # Written again while it was read: what was loaded may be half of each.
        before, digest = digest, context.library.digest(avatar)
        if before == digest:
            break
    context.heartbeat()
    _warm_up(renderer)
    context.heartbeat()
    log.info(
        "avatar loaded avatar=%s digest=%s seconds=%.2f",
        avatar,
        digest,
        time.perf_counter() - started,
    )
    return LoadedAvatar(digest, renderer)


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
    Operation(name=operations.AVATAR_RENDER, kind="predict", call=render, model="avatar"),
)
