"""A painter of portraits that anybody can compute: eggs instead of heads, flat colours.

The operations of wire version 1 as a server offers them, with the real parsing, but a head is an
ellipsoid in head space (half sizes from its code) and a style is a colour. So tests know every
pixel that a frame must have. Used with `dressform serve --handlers tests.blender.portrait_handlers`.
"""

from __future__ import annotations

import hashlib
import time
from typing import TYPE_CHECKING

import numpy as np

from blender_addon.contract.errors import BadParameter, UnknownModel
from blender_addon.contract.labels import LABEL_COUNT, Label, labels_to_colors
from blender_addon.contract.portrait_requests import (
    parse_portrait_bake,
    parse_portrait_fit,
    parse_portrait_render,
    parse_portrait_sample,
)
from blender_addon.contract.portraits import FIT_STAGES, NOT_PAINTED
from server.handlers import avatar, body, library
from server.operation import Answer, Operation, Progress

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    from blender_addon.contract.camera import Camera
    from blender_addon.contract.portraits import PortraitLook
    from blender_addon.contract.wire import Request
    from server.operation import Context

HALF_SIZES = np.array([0.08, 0.12, 0.1])
CODE, STYLE = 3, 4
HEADS = ("h0000", "h0001")
DIRECTIONS = ("wider", "taller")


def code_of(look: PortraitLook) -> np.ndarray:
    """(3,) of a look: own is 0, basis heads and seeds are numbers of their own."""
    total = np.zeros(CODE)
    for source, weight in look.shape.blend:
        if source.row is not None and look.codes is not None:
            code = look.codes[source.row].astype(np.float64)
        elif source.seed is not None:
            code = np.random.default_rng(source.seed).uniform(-1, 1, CODE)
        elif source.head:
            if source.head not in HEADS:
                raise UnknownModel(f"there is no head {source.head!r}")
            code = np.full(CODE, HEADS.index(source.head) - 0.5)
        else:
            code = np.zeros(CODE)
        total += weight * code
    for index, amount in enumerate(look.shape.directions[:CODE]):
        total[index] += 0.5 * amount
    return total


def half_sizes(look: PortraitLook) -> np.ndarray:
    """(3,) metres of the egg."""
    return HALF_SIZES * (1.0 + 0.3 * np.clip(code_of(look), -2, 2))


def styles_of(look: PortraitLook) -> np.ndarray:
    """(17, 4): the first three of each row are its region's colour, 0…1."""
    own = np.random.default_rng(99).uniform(0.1, 0.9, (LABEL_COUNT, STYLE))
    mean = np.full((LABEL_COUNT, STYLE), 0.5)
    found = own.copy()
    for label, style in look.styles.items():
        row = np.zeros(STYLE)
        for source, weight in style.blend:
            if source.row is not None and look.style_rows is not None:
                row += weight * look.style_rows[source.row, label]
            elif source.seed is not None:
                drawn = np.random.default_rng(source.seed).uniform(0.1, 0.9, (LABEL_COUNT, STYLE))
                row += weight * drawn[label]
            else:
                row += weight * own[label]
        found[label] = mean[label] + style.truncation * (row - mean[label])
    return found


def paint(
    look: PortraitLook, camera: Camera, labels: np.ndarray | None = None
) -> dict[str, np.ndarray]:
    """All passes of a view."""
    x, y = np.meshgrid(np.arange(camera.width) + 0.5, np.arange(camera.height) + 0.5)
    rays = np.stack([x, y, np.ones_like(x)], -1) @ np.linalg.inv(camera.K).T @ camera.R
    sizes = half_sizes(look)
    o, d = camera.center / sizes, rays / sizes
    a, b, c = (d * d).sum(-1), (d * o).sum(-1), (o * o).sum() - 1.0
    root = b * b - a * c
    depth = np.where(root > 0, (-b - np.sqrt(np.maximum(root, 0.0))) / a, np.inf)
    hit = (root > 0) & (depth > 0)
    where = camera.center + np.where(hit, depth, 0.0)[..., None] * rays
    own = np.where(where[..., 2] > 0, int(Label.SKIN), int(Label.HAIR))
    own = np.where(hit, own, int(Label.BACKGROUND)).astype(np.uint8)
    shown = own if labels is None else labels
    solid = shown != Label.BACKGROUND
    colors = np.clip(styles_of(look)[..., :3], 0, 1)[shown]
    rgba = np.zeros((*shown.shape, 4), np.uint8)
    rgba[..., :3] = np.where(solid[..., None], np.round(colors * 255), 0)
    rgba[..., 3] = np.where(solid, 255, 0)
    masks = np.zeros((*shown.shape, 3), np.uint8)
    masks[..., 0] = rgba[..., 3]
    masks[..., 2] = np.where(shown == Label.SKIN, 255, 0)
    flat = np.where(solid, np.where(hit, depth, np.linalg.norm(camera.t)), np.inf)
    border = shown.copy()
    border[0] = NOT_PAINTED  # as where a frame reaches out of the painted square
    return {"rgba": rgba, "depth": flat.astype(np.float32), "masks": masks, "labels": border}


def render(context: Context, batch: Sequence[Request]) -> list[Answer]:
    answers: list[Answer] = []
    for request in batch:
        asked = parse_portrait_render(request)
        digest = context.library.digest(asked.look.portrait)
        passes = paint(asked.look, asked.camera, asked.labels)
        answers.append(
            Answer(
                params={"digest": digest, "geometry": asked.geometry},
                arrays={name: passes[name] for name in asked.passes},
                digest=digest,
            )
        )
    return answers


def sample(context: Context, batch: Sequence[Request]) -> list[Answer]:
    answers: list[Answer] = []
    for request in batch:
        asked = parse_portrait_sample(request)
        digest = context.library.digest(asked.look.portrait)
        codes = np.tile(code_of(asked.look), (len(asked.seeds), 1))
        styles = np.tile(styles_of(asked.look), (len(asked.seeds), 1, 1))
        for index, seed in enumerate(asked.seeds):
            rng = np.random.default_rng(seed)
            if "shape" in asked.vary:
                codes[index] += rng.uniform(-0.5, 0.5, CODE)
            if "styles" in asked.vary:
                for label in asked.labels:
                    styles[index, label] = rng.uniform(0.1, 0.9, STYLE)
        arrays = {"codes": codes.astype(np.float32), "styles": styles.astype(np.float32)}
        if asked.size:
            arrays["images"] = np.stack([_thumbnail(row, asked.size) for row in styles])
        answers.append(
            Answer(
                params={"digest": digest, "directions": list(DIRECTIONS), "heads": list(HEADS)},
                arrays=arrays,
            )
        )
    return answers


def _thumbnail(styles: np.ndarray, size: int) -> np.ndarray:
    """Skin's colour under hair's colour."""
    image = np.zeros((size, size, 3), np.uint8)
    image[: size // 3] = np.clip(styles[Label.HAIR, :3], 0, 1) * 255
    image[size // 3 :] = np.clip(styles[Label.SKIN, :3], 0, 1) * 255
    return image


def bake(context: Context, request: Request) -> Generator[Progress, None, Answer]:
    asked = parse_portrait_bake(request)
    digest = context.library.digest(asked.look.portrait)
    yield Progress(params={"share": 0.5})
    angles = np.linspace(0, np.pi, 33), np.arange(64) * (2 * np.pi / 64)
    down, around = np.meshgrid(*angles, indexing="ij")
    points = np.stack(
        [np.sin(down) * np.sin(around), np.cos(down), np.sin(down) * np.cos(around)], -1
    )
    index = np.arange(33 * 64).reshape(33, 64)
    corner, right = index[:-1], np.roll(index[:-1], -1, 1)
    below, over = index[1:], np.roll(index[1:], -1, 1)
    faces = np.concatenate(
        [np.stack([corner, below, over], -1), np.stack([corner, over, right], -1)]
    ).reshape(-1, 3)
    vertices = (points * half_sizes(asked.look)).reshape(-1, 3)
    front = vertices[faces].mean(1)[:, 2] > 0
    return Answer(
        params={"digest": digest},
        arrays={
            "vertices": vertices.astype(np.float32),
            "faces": faces.astype(np.int32),
            "labels": np.where(front, int(Label.SKIN), int(Label.HAIR)).astype(np.uint8),
        },
    )


def fit(context: Context, request: Request) -> Generator[Progress, None, Answer]:
    import torch

    from models.package import Manifest, write_package

    asked = parse_portrait_fit(request)
    if asked.image.max() == 0:
        raise BadParameter("no face was found in the photograph", "take one with a face")
    preview = np.concatenate([asked.image[:32, :32]] * 2, axis=1)
    for index, stage in enumerate(FIT_STAGES):
        # Slow enough to be cancelled when the name asks for it.
        for _ in range(100 if asked.name == "Slow" else 1):
            time.sleep(0.05)
            yield Progress(
                params={"stage": stage, "share": index / len(FIT_STAGES), "seconds_left": 90.0},
                arrays={"preview": preview},
            )
    write_package(
        context.storage.library / asked.id,
        Manifest(
            kind="portrait",
            id=asked.id,
            name=asked.name,
            licence="not stated",
            data={"image": hashlib.sha256(asked.image.tobytes()).hexdigest()},
        ),
        {"code": torch.zeros(CODE)},
    )
    labels = np.zeros(asked.image.shape[:2], np.uint8)
    return Answer(
        params={"portrait": asked.id, "digest": "", "label_iou": 0.75, "distance": 0.25},
        arrays={"labels": labels_to_colors(labels)[..., 0], "K": np.eye(3), "Rt": np.eye(3, 4)},
    )


OPERATIONS = (
    Operation(name="portrait.render", kind="predict", call=render, model="portrait"),
    Operation(name="portrait.sample", kind="predict", call=sample),
    Operation(name="portrait.bake", kind="steps", call=bake),
    Operation(name="portrait.fit", kind="steps", call=fit),
    *avatar.OPERATIONS,
    *body.OPERATIONS,
    *library.OPERATIONS,
)
