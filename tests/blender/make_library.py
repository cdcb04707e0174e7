"""Write a library of two tiny avatars: real packages, a real network, weights that nobody trained.

Run by the server's Python: `python -m tests.blender.make_library FOLDER`.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from models.dresser import Dresser, DresserConfig
from models.package import Manifest, write_package
from tests.blender import made_body

AVATARS = ("ada", "ben")


def main(folder: Path) -> None:
    torch.manual_seed(3)
    write_body(folder)
    config = DresserConfig()
    dresser = Dresser(config)
    with torch.no_grad():
        last = dresser.mask_head[-1]
        last.bias.fill_(1.0)  # nobody trained it: without this, nothing would be seen
    write_package(
        folder / "dresser",
        Manifest(
            kind="dresser",
            id="dresser",
            name="Untrained",
            licence="CC0-1.0",
            architecture=config.to_plain(),
        ),
        dresser.half().state_dict(),
    )
    for index, name in enumerate(AVATARS):
        write_package(
            folder / name,
            Manifest(
                kind="avatar",
                id=name,
                name=name.title(),
                licence="CC0-1.0",
                architecture={"betas": [0.5 * index, -0.5 * index, 0.0, 0.0]},
                requirements={"body": "made-body", "dresser": "dresser"},
            ),
            {"texture": torch.randn(16, 64, 64).half()},
            preview=Image.new("RGB", (64, 64), (200, 60 + 120 * index, 40)),
        )


def write_body(folder: Path) -> None:
    arrays = made_body.arrays()
    vertices = arrays["vertices"]
    regressor = np.zeros((55, len(vertices)), np.float32)
    regressor[np.arange(55), 4 * np.arange(55)] = 1.0
    weights = np.zeros((len(vertices), 55), np.float32)
    weights[np.arange(len(vertices)), arrays["weight_joints"][:, 0]] = 1.0
    expressions = np.pad(arrays["expression_dirs"], ((0, 0), (0, 0), (0, 1)))
    write_package(
        folder / "made-body",
        Manifest(kind="body", id="made-body", name="Made body", licence="CC0-1.0"),
        {
            "v_template": torch.from_numpy(vertices),
            "shapedirs": torch.from_numpy(
                np.concatenate([arrays["shape_dirs"], expressions], axis=-1)
            ),
            "J_regressor": torch.from_numpy(regressor),
            "weights": torch.from_numpy(weights),
            "kintree_table": torch.zeros(2, 55, dtype=torch.int64),
            "f": torch.from_numpy(arrays["faces"]),
            "vt": torch.from_numpy(arrays["uv"]),
            "ft": torch.from_numpy(arrays["uv_faces"]),
        },
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]))
