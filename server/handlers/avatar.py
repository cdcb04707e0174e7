"""`avatar.render`: loaded avatars, reloaded when their packages change on disk."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from blender_addon.contract import operations
from blender_addon.contract.camera import look_at
from blender_addon.contract.joints import JOINT_COUNT
from blender_addon.contract.operations import PosedBody
from server.loaded import Loaded, loaded_model
from server.operation import Answer, Context, Operation

if TYPE_CHECKING:
    from collections.abc import Sequence

    from blender_addon.contract.wire import Request
    from models.avatar import AvatarRenderer

MAX_LOADED = 8
"""Avatars kept in memory; the one not asked for the longest goes first."""


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


def loaded_avatar(context: Context, avatar: str) -> Loaded[AvatarRenderer]:
    """Return an avatar in the state of its packages on disk; see `loaded_model`."""

    def load() -> AvatarRenderer:
        from models.avatar import AvatarRenderer

        return AvatarRenderer.load(context.library.folders, avatar, context.device)

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
    Operation(name=operations.AVATAR_RENDER, kind="predict", call=render, model="avatar"),
)
