"""Which vertices of a character are hands and face: attributes that its materials show.

A mesh may bring the attributes itself. Where it does not, they are derived, in the rest pose:

- *hands*: vertices that wrist and finger bones carry with at least half of their weight, no
  further than 15 mm from the body, in parts of the mesh (islands of connected faces) that have
  fingers. A sleeve hangs on the wrist but has no fingers, so it is not a hand; a glove is.
- *face*: vertices in the body's face region (before the ears, above the throat) that the head's
  bones carry, no further than 15 mm from the body, in islands that cover most of the face
  (skin) or that lie within 35 mm of an eye's joint (eyes, lashes). Hair is neither.
"""

# pyright: reportAttributeAccessIssue=false, reportOptionalMemberAccess=false
# pyright: reportIncompatibleMethodOverride=false, reportMissingModuleSource=false
# (Blender's stubs: unions of all data types, Optionals that never are None, other parameter names)

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from mathutils.bvhtree import BVHTree

from ..contract.errors import BadCharacter
from ..contract.joints import (
    HEAD_JOINTS,
    JOINT_INDEX,
    LEFT_HAND_JOINTS,
    RIGHT_HAND_JOINTS,
)
from .reference import RestMesh, reference_body, rest_mesh

if TYPE_CHECKING:
    import bpy
    from numpy.typing import NDArray

    from .character import Character

HANDS_ATTRIBUTE = "dressform_hands"
FACE_ATTRIBUTE = "dressform_face"
"""Point attributes of type FLOAT, 0…1, that a character may bring."""

NEAR_BODY = 0.015
_NEAR_EYE = 0.035
_FINGER_VERTICES = 12
_FACE_COVER = 0.5
_WRISTS = (JOINT_INDEX["left_wrist"], JOINT_INDEX["right_wrist"])
_HANDS = (*LEFT_HAND_JOINTS, *RIGHT_HAND_JOINTS)
_FINGERS = tuple(joint for joint in _HANDS if joint not in _WRISTS)


class MaskAttributes:
    """The mask attributes of a character's meshes, derived where they are missing.

    Derived ones are taken off again by `restore`.

    Raises:
        BadCharacter: an attribute is not one number per vertex, or it would have to be derived
            and the rig's body is gone.
    """

    def __init__(self, character: Character) -> None:
        self._added: list[tuple[Any, str]] = []
        body: _Body | None = None
        for ob in character.objects:
            if ob.type != "MESH" or _has(ob, HANDS_ATTRIBUTE) + _has(ob, FACE_ATTRIBUTE) == 2:
                continue
            body = body or _Body(character)
            mesh = rest_mesh(character, ob)
            for name, derive in ((HANDS_ATTRIBUTE, body.hands), (FACE_ATTRIBUTE, body.face)):
                if not _has(ob, name):
                    self._write(ob.data, name, derive(mesh))

    def restore(self) -> None:
        """Take the derived attributes off again."""
        for mesh, name in self._added:
            mesh.attributes.remove(mesh.attributes[name])

    def _write(self, mesh: Any, name: str, values: NDArray[np.float32]) -> None:
        attribute = mesh.attributes.new(name, "FLOAT", "POINT")
        attribute.data.foreach_set("value", values)
        self._added.append((mesh, name))


def _has(ob: bpy.types.Object, name: str) -> bool:
    attribute = ob.data.attributes.get(name)
    if attribute is None:
        return False
    if attribute.data_type != "FLOAT" or attribute.domain != "POINT":
        raise BadCharacter(
            f"the attribute {name} of {ob.name} is {attribute.data_type} per {attribute.domain}",
            "make it a float per point (vertex), or remove it to have it derived",
        )
    return True


class _Body:
    """The body inside a character, with its hands and its face."""

    def __init__(self, character: Character) -> None:
        ob = reference_body(character)
        if ob is None:
            raise BadCharacter(
                f"the body that came with the rig {character.rig.name} is gone, and the "
                f"character brings no {HANDS_ATTRIBUTE} and {FACE_ATTRIBUTE}",
                "keep the stand-in (hidden will do), or paint these two float attributes",
            )
        self._joints = character.joints
        mesh = rest_mesh(character, ob)
        self._tree = BVHTree.FromPolygons(mesh.vertices.tolist(), mesh.triangles.tolist())
        head = mesh.weights[:, list(HEAD_JOINTS)].sum(axis=1) > 0.5
        inside = head & (self._face_share(mesh.vertices) > 0.5)
        self._face_points = mesh.vertices[inside]

    def hands(self, mesh: RestMesh) -> NDArray[np.float32]:
        """Return (V,) 0…1."""
        share = mesh.weights[:, list(_HANDS)].sum(axis=1)
        values = _step(0.45, 0.55, share)
        fingers = mesh.weights[:, list(_FINGERS)].sum(axis=1) > 0.5
        islands = _islands(len(mesh.vertices), mesh.edges)
        with_fingers = np.bincount(islands, fingers, minlength=len(islands)) >= _FINGER_VERTICES
        values = values * with_fingers[islands]
        return self._near(mesh, values)

    def face(self, mesh: RestMesh) -> NDArray[np.float32]:
        """Return (V,) 0…1."""
        head = mesh.weights[:, list(HEAD_JOINTS)].sum(axis=1) > 0.5
        values = self._near(mesh, self._face_share(mesh.vertices) * head)
        if not values.any():
            return values
        islands = _islands(len(mesh.vertices), mesh.edges)
        eyes = self._joints[[JOINT_INDEX["left_eye_smplhf"], JOINT_INDEX["right_eye_smplhf"]]]
        to_eye = np.linalg.norm(mesh.vertices[:, None] - eyes, axis=-1).min(axis=1)
        for island in np.unique(islands[values > 0]):
            mine = islands == island
            if to_eye[mine].max() <= _NEAR_EYE or self._covers_face(mesh, mine):
                continue
            values[mine] = 0.0
        return values

    def _covers_face(self, mesh: RestMesh, mine: NDArray[np.bool_]) -> bool:
        triangles = mesh.triangles[mine[mesh.triangles[:, 0]]]
        if not len(triangles) or not len(self._face_points):
            return False
        tree = BVHTree.FromPolygons(mesh.vertices.tolist(), triangles.tolist())
        found = [tree.find_nearest(point, NEAR_BODY)[0] is not None for point in self._face_points]
        return float(np.mean(found)) >= _FACE_COVER

    def _near(self, mesh: RestMesh, values: NDArray[np.floating]) -> NDArray[np.float32]:
        kept = np.asarray(values, np.float32).copy()
        for index in np.flatnonzero(kept):
            if self._tree.find_nearest(mesh.vertices[index], NEAR_BODY)[0] is None:
                kept[index] = 0.0
        return kept

    def _face_share(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return (N,) how far points lie before the ears and above the throat, 0…1."""
        head, eye = self._joints[JOINT_INDEX["head"]], self._joints[JOINT_INDEX["left_eye_smplhf"]]
        ahead = points[:, 2] - (head[2] + 0.018)
        # The lower border follows the chin's underside.
        chin = 0.28 * np.clip(eye[2] - 0.02 - points[:, 2], 0, 0.1)
        above = points[:, 1] - (eye[1] - 0.112) - chin
        share = np.clip(0.5 + np.minimum(ahead, above) / 0.004, 0, 1)
        return share * (points[:, 1] > self._joints[JOINT_INDEX["neck"], 1])


def _step(low: float, high: float, values: NDArray[np.floating]) -> NDArray[np.float64]:
    part = np.clip((np.asarray(values, np.float64) - low) / (high - low), 0, 1)
    return part * part * (3 - 2 * part)


def _islands(count: int, edges: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return (V,) the smallest vertex that each vertex is connected with."""
    labels = np.arange(count)
    while len(edges):
        lowest = np.minimum(labels[edges[:, 0]], labels[edges[:, 1]])
        fresh = labels.copy()
        np.minimum.at(fresh, edges[:, 0], lowest)
        np.minimum.at(fresh, edges[:, 1], lowest)
        fresh = fresh[fresh]
        if np.array_equal(fresh, labels):
            break
        labels = fresh
    return labels
