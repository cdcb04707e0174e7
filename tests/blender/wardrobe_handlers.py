"""A wardrobe that anybody can compute: people are colours (colored_people.py).

The operations of wire version 1 with the real parsing, but without networks. Used with `dressform serve --handlers tests.blender.wardrobe_handlers`.
"""

from __future__ import annotations

import json
import shutil
import time
from typing import TYPE_CHECKING, Any

import numpy as np

from blender_addon.contract.errors import BadParameter
from blender_addon.contract.operations import parse_avatar_render
from blender_addon.contract.wardrobe import FIT_STAGES
from blender_addon.contract.wardrobe_requests import (
    parse_avatar_fit,
    parse_avatar_sample,
    parse_avatar_save,
)
from server.handlers import body, library
from server.operation import Answer, Operation, Progress
from tests.blender.colored_people import picture

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    from blender_addon.contract.wardrobe import AvatarFit
    from blender_addon.contract.wire import Request
    from server.operation import Context

DIRECTIONS = ("darker", "longer coat")


def render(context: Context, batch: Sequence[Request]) -> list[Answer]:
    answers: list[Answer] = []
    for request in batch:
        asked = parse_avatar_render(request)
        if asked.look is not None and asked.look.wardrobe not in ("", "people"):
            raise BadParameter(f"{asked.avatar} and {asked.look.wardrobe} do not go together")
        height, width = asked.camera.height, asked.camera.width
        rgb = picture(asked.look, asked.avatar, height, width)
        arrays = {
            "rgba": np.concatenate([rgb, np.full_like(rgb[..., :1], 255)], -1),
            "depth": np.full((height, width), 2.0, np.float32),
            "masks": np.full((height, width, 3), 255, np.uint8),
        }
        digest = context.library.digest(asked.avatar)
        answers.append(
            Answer(params={"digest": digest}, arrays={n: arrays[n] for n in asked.passes})
        )
    return answers


def sample(_context: Context, batch: Sequence[Request]) -> list[Answer]:
    answers: list[Answer] = []
    for request in batch:
        asked = parse_avatar_sample(request)
        side = asked.view.size
        images = [picture(look, asked.avatar, side, side) for look in asked.looks()]
        answers.append(
            Answer(
                params={"digest": "", "directions": list(DIRECTIONS)},
                arrays={"images": np.stack(images)},
            )
        )
    return answers


def save(context: Context, batch: Sequence[Request]) -> list[Answer]:
    return [
        _kept(context, asked.id, asked.name)
        for asked in (parse_avatar_save(request) for request in batch)
    ]


def fit(context: Context, request: Request) -> Generator[Progress, None, Answer]:
    asked = parse_avatar_fit(request)
    if asked.images[0].max() == 0:
        raise BadParameter("nobody was seen in the photograph", "take one that shows a person")
    if asked.name == "Echo":
        raise BadParameter(json.dumps(_said(asked)))
    preview = np.concatenate([image[:32, :32] for image in asked.images], axis=1)
    for index, stage in enumerate(FIT_STAGES):
        for _ in range(100 if asked.name == "Slow" else 1):
            yield Progress(
                params={"stage": stage, "share": index / len(FIT_STAGES), "seconds_left": 90.0},
                arrays={"preview": preview},
            )
            time.sleep(0.02)
    kept = _kept(context, asked.id, asked.name)
    notes = [f"{file.name}: hands stay flat" for file in asked.fit_files]
    return Answer(params={**kept.params, "notes": notes})


def _said(asked: AvatarFit) -> dict[str, Any]:
    """What a request says beside its photographs."""
    return {
        "size": asked.images[0].shape[:2],
        "corner": asked.images[0][0, 0].tolist(),
        "focal": None if asked.focal is None else round(asked.focal, 1),
        "person": asked.person,
        "effort": round(asked.effort, 3),
        "seconds": asked.seconds,
        "stages": len(asked.stages),
        "fits": {file.name: file.content.tobytes().decode() for file in asked.fit_files},
        "masks": [None if mask is None else int(mask.max()) for mask in asked.masks],
    }


def _kept(context: Context, avatar: str, name: str) -> Answer:
    """Another name for Ada's package."""
    folder = context.storage.library / avatar
    shutil.copytree(context.library.package("ada"), folder, dirs_exist_ok=True)
    manifest = json.loads((folder / "model.json").read_text())
    manifest |= {"id": avatar, "name": name}
    (folder / "model.json").write_text(json.dumps(manifest))
    return Answer(params={"avatar": avatar, "digest": ""})


OPERATIONS = (
    Operation(name="avatar.render", kind="predict", call=render, model="avatar"),
    Operation(name="avatar.sample", kind="predict", call=sample),
    Operation(name="avatar.save", kind="predict", call=save),
    Operation(name="avatar.fit", kind="steps", call=fit),
    *body.OPERATIONS,
    *library.OPERATIONS,
)
