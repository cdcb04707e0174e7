"""Toy portraits: discs and bars whose colours are a head's own, the same in all its views."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from blender_addon.contract.camera import Camera
from training.heads.format import Head, HeadSetWriter, HeadView

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

VIEWS = 3


def toy_labels(size: int, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Hair around a face with eyes, both nose halves and lips, over cloth."""
    y, x = np.mgrid[0:size, 0:size] / size - 0.5
    x = x - rng.uniform(-0.08, 0.08)
    wide, high = rng.uniform(0.2, 0.26), rng.uniform(0.26, 0.32)
    labels = np.zeros((size, size), np.uint8)
    labels[y > 0.28] = 14
    labels[(x / (wide + 0.1)) ** 2 + ((y + 0.08) / (high + 0.1)) ** 2 < 1] = 15
    labels[(x / wide) ** 2 + (y / high) ** 2 < 1] = 1
    labels[(np.abs(np.abs(x) - 0.1) < 0.04) & (np.abs(y + 0.06) < 0.03)] = 3
    labels[(np.abs(x) < 0.05) & (np.abs(y - 0.03) < 0.06)] = np.where(x < 0, 4, 5)[
        (np.abs(x) < 0.05) & (np.abs(y - 0.03) < 0.06)
    ]
    labels[(np.abs(x) < 0.09) & (np.abs(y - 0.16) < 0.03)] = 8
    return labels


def write_toy_portraits(
    folder: Path, *, size: int = 32, train: int = 10, held_out: int = 4
) -> Path:
    """Write a set of portraits; returns the folder."""
    rng = np.random.default_rng(0)
    writer = HeadSetWriter(folder, kind="portraits", size=size)
    camera = Camera(
        K=np.array([[2.0 * size, 0, size / 2], [0, 2.0 * size, size / 2], [0, 0, 1]]),
        R=np.eye(3), t=np.array([0.0, 0.0, 1.0]), width=size, height=size,
    )  # fmt: skip
    heads = []
    for index in range(train + held_out):
        split = "train" if index < train else "held-out"
        colours = rng.integers(20, 235, size=(17, 3))
        colours[5] = colours[4] // 2  # the halves of the nose must not be told apart by chance
        views = []
        for view in range(VIEWS):
            name = f"p{index:04d}_{view:02d}"
            labels = toy_labels(size, rng)
            noise = rng.normal(0, 4, size=(size, size, 1))
            image = (colours[labels] + noise).clip(0, 255).astype(np.uint8)
            writer.add(name, labels, image=image)
            views.append(HeadView(name=name, head=f"p{index:04d}", split=split, camera=camera))
        heads.append(
            Head(
                id=f"p{index:04d}",
                split=split,
                attributes={"colours": colours.tolist()},
                views=tuple(views),
            )
        )
    writer.close(licence="CC0-1.0", source={"command": "toy"}, heads=heads)
    return folder
