"""Which vertices of a character are hands and face: attributes that its materials show."""

# pyright: reportAttributeAccessIssue=false, reportOptionalMemberAccess=false
# pyright: reportIncompatibleMethodOverride=false, reportMissingModuleSource=false
# (Blender's stubs: unions of all data types, Optionals that never are None, other parameter names)

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ..contract.joints import HEAD_JOINTS, JOINT_NAMES, LEFT_HAND, RIGHT_HAND

if TYPE_CHECKING:
    import bpy
    from numpy.typing import NDArray

    from .character import Character

HANDS_ATTRIBUTE = "dressform_hands"
FACE_ATTRIBUTE = "dressform_face"
"""Point attributes of type FLOAT, 0…1, that a character may bring."""


class MaskAttributes:
    """The mask attributes of a character's meshes, derived where they are missing.

    Derived ones are taken off again by `restore`.
    """

    def __init__(self, character: Character) -> None:
        self._added: list[tuple[Any, str]] = []
        for ob in character.objects:
            if ob.type != "MESH":
                continue
            for name, derive in ((HANDS_ATTRIBUTE, _hands), (FACE_ATTRIBUTE, _face)):
                if name not in ob.data.attributes:
                    self._write(ob.data, name, derive(ob))

    def restore(self) -> None:
        """Take the derived attributes off again."""
        for mesh, name in self._added:
            mesh.attributes.remove(mesh.attributes[name])

    def _write(self, mesh: Any, name: str, values: NDArray[np.float32]) -> None:
        attribute = mesh.attributes.new(name, "FLOAT", "POINT")
        attribute.data.foreach_set("value", values)
        self._added.append((mesh, name))


def _hands(ob: bpy.types.Object) -> NDArray[np.float32]:
    weights = joint_weights(ob)
    share = weights[:, [JOINT_NAMES.index(name) for name in (*LEFT_HAND, *RIGHT_HAND)]].sum(axis=1)
    wrists = weights[:, [JOINT_NAMES.index(f"{side}_wrist") for side in ("left", "right")]]
    return (share + wrists.sum(axis=1) > 0.5).astype(np.float32)


def _face(ob: bpy.types.Object) -> NDArray[np.float32]:
    weights = joint_weights(ob)[:, list(HEAD_JOINTS)].sum(axis=1)
    return np.zeros(len(weights), np.float32)


def joint_weights(ob: bpy.types.Object) -> NDArray[np.float32]:
    """Return the (V, 55) weights of a mesh's vertices, rows that sum to 1 or are 0."""
    mesh: Any = ob.data
    weights = np.zeros((len(mesh.vertices), len(JOINT_NAMES)), np.float32)
    columns = {
        group.index: JOINT_NAMES.index(group.name)
        for group in ob.vertex_groups
        if group.name in JOINT_NAMES
    }
    for index, vertex in enumerate(mesh.vertices):
        for entry in vertex.groups:
            column = columns.get(entry.group)
            if column is not None:
                weights[index, column] += entry.weight
    total = weights.sum(axis=1, keepdims=True)
    return weights / np.where(total > 0, total, 1.0)
