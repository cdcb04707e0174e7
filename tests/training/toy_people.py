"""Tiny captures for tests: a small body with a smooth skin colour and a coat that stands off it."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path  # noqa: TC003

import numpy as np
import torch
from PIL import Image

from blender_addon.contract.camera import look_at
from blender_addon.contract.joints import JOINT_COUNT
from blender_addon.contract.operations import PosedBody
from blender_addon.contract.pose import rotation_from_axis_angle
from models.body import Body, load_body, skin
from models.body_package import pack
from models.dresser import DresserConfig
from models.package import Manifest, write_package
from models.raster import interpolate, rasterize
from training.captures import CaptureFrame, CaptureWriter

BODY_ID = "body-toy"
COAT = 0.05
"""Metres by which the coat stands off the body."""

LIGHT_DRESSER = DresserConfig(
    encoder="tu-tf_mobilenetv3_small_minimal_100", depth=3, decoder=(12, 8, 8)
)
"""For trainings of which nothing asks for resnet18's 14 million weights."""


def write_toy_body(library: Path) -> Path:
    """Write a package with an upright ellipsoid as body: pelvis below, head above."""
    rows, columns = 13, 16
    angle = np.linspace(0.02, np.pi - 0.02, rows)[:, None]
    around = np.linspace(0, 2 * np.pi, columns + 1)[None]
    shape = (rows, columns + 1)
    grid = np.stack(
        [
            0.35 * np.sin(angle) * np.sin(around),
            np.broadcast_to(0.8 * np.cos(angle), shape),
            0.25 * np.sin(angle) * np.cos(around),
        ],
        -1,
    )
    vertices = grid[:, :-1].reshape(-1, 3)
    uv = np.stack(np.broadcast_arrays(around / (2 * np.pi), 1 - angle / np.pi), -1).reshape(-1, 2)
    faces, uv_faces = [], []
    for i in range(rows - 1):
        for j in range(columns):
            k = (j + 1) % columns
            a, b, c, d = (
                i * columns + j,
                (i + 1) * columns + j,
                (i + 1) * columns + k,
                i * columns + k,
            )
            faces += [(a, b, c), (a, c, d)]
            w = columns + 1
            e, f = i * w + j, (i + 1) * w + j
            uv_faces += [(e, f, f + 1), (e, f + 1, e + 1)]
    upper = 1 / (1 + np.exp(-12 * vertices[:, 1]))
    weights = np.zeros((len(vertices), JOINT_COUNT))
    weights[:, 0], weights[:, 15] = 1 - upper, upper
    directions = np.zeros((len(vertices), 3, 4))
    directions[:, 1, 0] = 0.1 * vertices[:, 1]
    vertex_of_uv = np.zeros(len(uv), np.int64)
    vertex_of_uv[np.array(uv_faces)] = np.array(faces)
    packed = pack(
        {
            "v_template": vertices,
            "shapedirs": directions,
            "expressiondirs": directions,
            "weights": weights,
            "J_regressor": _joints_of(vertices),
            "vt": uv,
            "ft": np.array(uv_faces),
            "uv_vertex": vertex_of_uv,
            "spectral": np.zeros((len(vertices), 16)),
            "hands_mean": np.zeros((2, 45)),
            "hands_components": np.zeros((2, 45, 45)),
            "lmk_faces_idx": np.zeros(51),
            "lmk_bary_coords": np.zeros((51, 3)),
            "dynamic_lmk_faces_idx": np.zeros((79, 17)),
            "dynamic_lmk_bary_coords": np.zeros((79, 17, 3)),
            "makehuman_index": np.zeros(len(vertices)),
        }
    )
    tensors = {name: torch.from_numpy(value) for name, value in packed.items()}
    folder = library / BODY_ID
    write_package(folder, Manifest(kind="body", id=BODY_ID, name="Toy", licence="CC0-1.0"), tensors)
    return folder


def _joints_of(vertices: np.ndarray) -> np.ndarray:
    """Place jaw and eyes in the "face", fingers at the "hands", all others in the middle."""
    regressor = np.full((JOINT_COUNT, len(vertices)), 1 / len(vertices))
    for joints, near in (
        (slice(22, 25), vertices[:, 1] > 0.6),
        (slice(25, JOINT_COUNT), np.abs(vertices - [0.35, 0.0, 0.0]).max(axis=1) < 0.12),
    ):
        regressor[joints] = near / near.sum()
    return regressor


def write_toy_capture(
    library: Path,
    folder: Path,
    *,
    person: int = 0,
    train: int = 6,
    held_out: int = 2,
    size: int = 96,
    seed: int = 0,
    sequence: int = 0,
) -> Path:
    """Write a capture of a toy person: colours by UV, a coat, a "face" above, "hands" beside.

    The last `sequence` frames, held out, are tagged sequence:turn: the person turns and nods.
    """
    body = toy_body(library)
    rng = np.random.default_rng((seed, person))
    betas = rng.normal(0, 0.5, 2).astype(np.float32)
    with CaptureWriter(
        folder,
        id=f"toy-{person}",
        body=BODY_ID,
        licence="CC0-1.0",
        background="black",
        image_size=(size, size),
        betas=betas,
        source={"seed": seed},
    ) as writer:
        for index in range(train + held_out + sequence):
            moment = index - train - held_out
            pose = np.tile(np.eye(3, dtype=np.float32), (JOINT_COUNT, 1, 1))
            pose[15] = rotation_from_axis_angle(rng.normal(0, 0.2, 3))
            posed = PosedBody(
                pose=pose,
                transl=rng.normal(0, 0.05, 3).astype(np.float32),
                betas=betas,
                expression=np.zeros(2, np.float32),
            )
            if moment >= 0:
                pose[0] = rotation_from_axis_angle(np.array([0.0, 0.12 * moment, 0.0]))
                pose[15] = rotation_from_axis_angle(np.array([0.06 * moment, 0.0, 0.0]))
                posed = replace(posed, pose=pose, transl=np.zeros(3, np.float32))
            azimuth = rng.uniform(0, 2 * np.pi) if moment < 0 else 0.3
            eye = 3.0 * np.array([np.sin(azimuth), rng.uniform(-0.1, 0.2), np.cos(azimuth)])
            camera = look_at(
                eye,
                np.zeros(3),
                np.array([0.0, 1.0, 0.0]),
                focal=1.4 * size,
                width=size,
                height=size,
            )
            image, masks = _paint(body, posed, camera, person)
            writer.add(
                CaptureFrame(
                    name=f"{index:03d}",
                    split="train" if index < train else "held-out",
                    tags=("toy",) if moment < 0 else ("toy", "sequence:turn"),
                    image=image,
                    masks=masks,
                    body=posed,
                    camera=camera,
                )
            )
    return folder


@cache
def toy_body(library: Path) -> Body:
    folder = library / BODY_ID
    return load_body(folder if folder.is_dir() else write_toy_body(library))


def _paint(body, posed, camera, person):
    batch = [
        torch.from_numpy(v)[None] for v in (posed.pose, posed.betas, posed.expression, posed.transl)
    ]
    vertices = skin(body, *batch).vertices[0]
    inside = vertices - vertices.mean(dim=0)
    coat = vertices + COAT * torch.nn.functional.normalize(inside, dim=1)
    seen = coat @ torch.from_numpy(camera.R.T.astype(np.float32)) + torch.from_numpy(
        camera.t.astype(np.float32)
    )
    s = 3
    K = camera.K.copy()
    K[:2] *= s
    size = (camera.height * s, camera.width * s)
    fragments = rasterize(
        seen[None], body.faces, torch.from_numpy(K.astype(np.float32))[None], size
    )
    uv = interpolate(fragments, body.uv[body.uv_faces])[0].numpy()
    covered = fragments.covered[0].numpy().astype(np.float32)
    u, v = uv[..., 0], uv[..., 1]
    stripes = 0.5 + 0.5 * np.sin(2 * np.pi * (6 * v + person / 3))
    colour = np.stack(
        [0.2 + 0.6 * stripes, 0.3 + 0.4 * np.cos(2 * np.pi * u) ** 2, 0.2 + 0.5 * v], -1
    )
    masks = np.stack([covered, covered * (np.abs(u - 0.25) < 0.05), covered * (v > 0.8)], -1)
    planes = np.concatenate([colour * covered[..., None], masks], -1)
    small = planes.reshape(camera.height, s, camera.width, s, 6).mean(axis=(1, 3))
    packed = (small * 255 + 0.5).astype(np.uint8)
    return packed[..., :3], packed[..., 3:]


def save_sheet(folder: Path, images: list[np.ndarray]) -> None:
    """Write images side by side, to look at while working on these tests."""
    Image.fromarray(np.concatenate(images, axis=1)).save(folder / "sheet.png")
