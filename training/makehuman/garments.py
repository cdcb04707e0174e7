"""Fits MakeHuman's clothes, hair and shoes (.mhclo + .obj) onto a shaped body in T-pose."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from blender_addon.contract.errors import ModelError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]
    Indices = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Garment:
    """A garment bound to the base mesh.

    Attributes:
        name: file name without suffix.
        references: (n, 3) base vertices that carry each garment vertex.
        shares: (n, 3) their shares.
        offsets: (n, 3) displacement from there, in the A-pose, in units of `scales`.
        scales: by axis two base vertices and the distance between them at which the offset is
            as modelled.
        faces: (F, 3) garment vertices.
        uv: (T, 2) v up.
        uv_faces: (F, 3).
        hidden_body_vertices: base vertices that the garment covers.
    """

    name: str
    references: Indices
    shares: Array
    offsets: Array
    scales: dict[int, tuple[int, int, float]]
    faces: Indices
    uv: Array
    uv_faces: Indices
    hidden_body_vertices: Indices

    @classmethod
    def from_mhclo(cls, path: Path) -> Garment:
        """Read a .mhclo file and the .obj that it names.

        Raises:
            ModelError: the two do not fit together; names the file.
        """
        path = Path(path)
        binding = _read_binding(path)
        vertices, uv, faces, uv_faces = _read_obj(path.parent / binding.mesh)
        if vertices != len(binding.rows):
            raise ModelError(f"{path} binds {len(binding.rows)} of {vertices} vertices")
        rows = np.array(binding.rows)
        return cls(
            name=path.stem,
            references=rows[:, :3].astype(np.int64),
            shares=rows[:, 3:6],
            offsets=rows[:, 6:9],
            scales=binding.scales,
            faces=faces,
            uv=uv,
            uv_faces=uv_faces,
            hidden_body_vertices=np.array(sorted(binding.hidden), np.int64),
        )

    def fit(self, vertices: Array, rotations: Array | None = None) -> Array:
        """Return the garment's vertices (n, 3) on a body.

        Args:
            vertices: (19158, 3) of the body in T-pose, metres.
            rotations: (19158, 3, 3) from A-pose to T-pose at each vertex; none when omitted.
        """
        scale = np.full(3, 0.1)
        for axis, (one, other, distance) in self.scales.items():
            scale[axis] = abs(vertices[one, axis] - vertices[other, axis]) / distance
        offsets = self.offsets * scale
        if rotations is not None:
            turned = np.einsum("nk,nkab->nab", self.shares, rotations[self.references])
            offsets = np.einsum("nab,nb->na", turned, offsets)
        return np.einsum("nk,nkc->nc", self.shares, vertices[self.references]) + offsets

    def skin_weights(self, weights: Array) -> Array:
        """Return (n, 55) weights from those of the body, (19158, 55)."""
        shares = np.clip(self.shares, 0.0, None) + 1e-6
        mixed = np.einsum("nk,nkj->nj", shares, weights[self.references])
        return mixed / mixed.sum(axis=1, keepdims=True)


class _Binding:
    def __init__(self) -> None:
        self.mesh = ""
        self.rows: list[list[float]] = []
        self.scales: dict[int, tuple[int, int, float]] = {}
        self.hidden: set[int] = set()


def _read_binding(path: Path) -> _Binding:
    binding = _Binding()
    section = ""
    for line in path.read_text(encoding="utf-8").splitlines():
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        key = words[0]
        if key == "obj_file":
            binding.mesh = words[1]
        elif key in ("x_scale", "y_scale", "z_scale"):
            binding.scales["xyz".index(key[0])] = (int(words[1]), int(words[2]), float(words[3]))
        elif key in ("verts", "delete_verts"):
            section = key
        elif not key[0].isdigit():
            continue  # names of materials and weight files may stand inside a section
        elif section == "verts":
            binding.rows.append(_row(words))
        elif section == "delete_verts":
            binding.hidden |= _ranges(words)
    return binding


def _row(words: list[str]) -> list[float]:
    if len(words) >= 9:
        return [float(word) for word in words[:9]]
    vertex = float(words[0])  # bound to one vertex exactly
    return [vertex, vertex, vertex, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0]


def _ranges(words: list[str]) -> set[int]:
    """Read `1 2 5 - 9` as {1, 2, 5, 6, 7, 8, 9}."""
    found: set[int] = set()
    position = 0
    while position < len(words):
        first = int(words[position])
        if position + 2 < len(words) and words[position + 1] == "-":
            found.update(range(first, int(words[position + 2]) + 1))
            position += 3
        else:
            found.add(first)
            position += 1
    return found


def _read_obj(path: Path) -> tuple[int, Array, Indices, Indices]:
    vertices = 0
    uv: list[list[float]] = []
    faces: list[list[int]] = []
    uv_faces: list[list[int]] = []
    for line in path.read_text(encoding="utf-8").splitlines():
        words = line.split()
        if not words:
            continue
        if words[0] == "v":
            vertices += 1
        elif words[0] == "vt":
            uv.append([float(word) for word in words[1:3]])
        elif words[0] == "f":
            corners = [word.split("/") for word in words[1:]]
            at = [int(corner[0]) - 1 for corner in corners]
            of_uv = [int(c[1]) - 1 if len(c) > 1 and c[1] else 0 for c in corners]
            for k in range(1, len(at) - 1):
                faces.append([at[0], at[k], at[k + 1]])
                uv_faces.append([of_uv[0], of_uv[k], of_uv[k + 1]])
    return vertices, np.array(uv or [[0.0, 0.0]]), np.array(faces), np.array(uv_faces)
