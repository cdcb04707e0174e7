"""The body inside a character: by it hands, face and collisions are found.

Everything here is in SMPL-X axes, unposed, in the shape of the rig's sliders.
"""

# pyright: reportAttributeAccessIssue=false, reportOptionalMemberAccess=false
# pyright: reportIncompatibleMethodOverride=false, reportMissingModuleSource=false
# (Blender's stubs: unions of all data types, Optionals that never are None, other parameter names)

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ..contract.joints import JOINT_INDEX, JOINT_NAMES
from ..contract.pose import Y_UP_TO_Z_UP
from ..scene.people import joint_table_of
from ..scene.properties import beta_name
from ..scene.rig import rest_matrices

if TYPE_CHECKING:
    import bpy
    from numpy.typing import NDArray

    from .character import Character


@dataclass(frozen=True)
class RestMesh:
    """A bound mesh, unposed.

    Attributes:
        vertices: (V, 3) metres.
        weights: (V, 55) rows that sum to 1, or 0 where no bone carries the vertex.
        triangles: (T, 3).
        edges: (E, 2).
    """

    vertices: NDArray[np.float64]
    weights: NDArray[np.float32]
    triangles: NDArray[np.int64]
    edges: NDArray[np.int64]

    @property
    def owners(self) -> NDArray[np.int64]:
        """(V,) joint of the largest weight; −1 where no bone carries the vertex."""
        return np.where(self.weights.max(axis=1) > 0, self.weights.argmax(axis=1), -1)


def reference_body(character: Character) -> bpy.types.Object | None:
    """Return the rig's stand-in, hidden or worn as the character itself; None when deleted."""
    if character.body is not None:
        return character.body
    for ob in character.objects:
        keys = getattr(ob.data, "shape_keys", None)
        if keys is not None and beta_name(0) in keys.key_blocks:
            return ob
    return None


def rest_mesh(character: Character, ob: bpy.types.Object) -> RestMesh:
    """Read a mesh as the rig's rest pose shows it, without modifiers but the bones' offsets."""
    mesh: Any = ob.data
    weights = joint_weights(ob)
    local = _coordinates(mesh)
    rig = character.rig
    matrix = np.linalg.inv(np.array(rig.matrix_world)) @ np.array(ob.matrix_world)
    in_rig = local @ matrix[:3, :3].T + matrix[:3, 3]
    # The shape sliders move the bones (`scene.rig`), and the bones the mesh.
    mean, own = joint_table_of(rig)[..., 0], character.joints
    moved = ((own - own[0]) - (mean - mean[0])) @ Y_UP_TO_Z_UP.T
    in_rig = in_rig + weights @ moved - rest_matrices(rig)[0, :3, 3]
    mesh.calc_loop_triangles()
    triangles = np.empty(len(mesh.loop_triangles) * 3, np.int32)
    mesh.loop_triangles.foreach_get("vertices", triangles)
    edges = np.empty(len(mesh.edges) * 2, np.int32)
    mesh.edges.foreach_get("vertices", edges)
    return RestMesh(
        vertices=in_rig @ Y_UP_TO_Z_UP + own[0],
        weights=weights,
        triangles=triangles.reshape(-1, 3).astype(np.int64),
        edges=edges.reshape(-1, 2).astype(np.int64),
    )


def joint_weights(ob: bpy.types.Object) -> NDArray[np.float32]:
    """Return the (V, 55) weights of a mesh's vertices, rows that sum to 1 or are 0."""
    mesh: Any = ob.data
    weights = np.zeros((len(mesh.vertices), len(JOINT_NAMES)), np.float32)
    columns = {
        group.index: JOINT_INDEX[group.name]
        for group in ob.vertex_groups
        if group.name in JOINT_INDEX
    }
    for index, vertex in enumerate(mesh.vertices):
        for entry in vertex.groups:
            column = columns.get(entry.group)
            if column is not None:
                weights[index, column] += entry.weight
    total = weights.sum(axis=1, keepdims=True)
    return (weights / np.where(total > 0, total, 1.0)).astype(np.float32)


def _coordinates(mesh: Any) -> NDArray[np.float64]:
    """Return (V, 3) coordinates with the shape keys' mix."""
    count = len(mesh.vertices)

    def read(points: Any) -> NDArray[np.float64]:
        values = np.empty(count * 3, np.float32)
        points.foreach_get("co", values)
        return values.reshape(-1, 3).astype(np.float64)

    keys = mesh.shape_keys
    if keys is None or not keys.use_relative:
        return read(mesh.vertices)
    found = read(keys.reference_key.data)
    for key in keys.key_blocks:
        if key != keys.reference_key and not key.mute and key.value:
            found = found + key.value * (read(key.data) - read(key.relative_key.data))
    return found
