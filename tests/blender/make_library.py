"""Write a library of two tiny avatars: real packages, a real network, weights that nobody trained.

Beside them lies a wardrobe in name only.

Run by the server's Python: `python -m tests.blender.make_library FOLDER`. With `--portraits`, two
packages for tests/blender/portrait_handlers.py, which needs no network, are added.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import torch
from PIL import Image

from models.dresser import Dresser, DresserConfig
from models.package import DEFAULT_LIBRARY, Manifest, write_package

AVATARS = ("ada", "ben")
PORTRAITS = ("egg", "oval")


def main(folder: Path) -> None:
    torch.manual_seed(3)
    shutil.copytree(DEFAULT_LIBRARY / "body-cc0", folder / "body-cc0")
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
                architecture={"betas": [0.5 * index, -0.5 * index]},
                requirements={"body": "body-cc0", "dresser": "dresser"},
            ),
            {"texture": torch.randn(16, 64, 64).half()},
            preview=Image.new("RGB", (64, 64), (200, 60 + 120 * index, 40)),
        )

    write_package(
        folder / "people",
        Manifest(
            kind="wardrobe",
            id="people",
            name="People",
            licence="CC0-1.0",
            requirements={"body": "body-cc0", "dresser": "dresser"},
        ),
        {"mean": torch.zeros(1)},  # enough for tests/blender/wardrobe_handlers.py
    )


def add_portraits(folder: Path) -> None:
    for name in PORTRAITS:
        write_package(
            folder / f"portrait-{name}",
            Manifest(kind="portrait", id=f"portrait-{name}", name=name.title(), licence="CC0-1.0"),
            {"code": torch.zeros(3)},
            preview=Image.new("RGB", (64, 64), (90, 140, 200)),
        )


if __name__ == "__main__":
    main(Path(sys.argv[1]))
    if "--portraits" in sys.argv:
        add_portraits(Path(sys.argv[1]))
