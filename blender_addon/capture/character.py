"""What a character consists of: its rig and the objects that a capture renders."""

# pyright: reportAttributeAccessIssue=false, reportOptionalMemberAccess=false
# pyright: reportIncompatibleMethodOverride=false, reportMissingModuleSource=false
# (Blender's stubs: unions of all data types, Optionals that never are None, other parameter names)

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..contract.errors import BadCharacter
from ..contract.joints import JOINT_NAMES
from ..scene.people import betas_of, joint_table_of
from ..scene.rig import rest_matrices
from ..scene.stand_in import joint_positions

if TYPE_CHECKING:
    import bpy
    import numpy as np
    from numpy.typing import NDArray

STAND_IN_MATERIAL = "Dressform Stand-in"
"""Material of the body that comes with a rig; a mesh that wears it alone is not rendered."""

_RENDERED = ("MESH", "CURVES", "CURVE", "SURFACE", "META", "FONT", "POINTCLOUD", "VOLUME")


@dataclass(frozen=True)
class Character:
    """A character.

    Attributes:
        rig: the armature object.
        objects: what the renderer shows of it, by name.
        body: the stand-in of the rig, never rendered; None when it was deleted.
    """

    rig: bpy.types.Object
    objects: tuple[bpy.types.Object, ...]
    body: bpy.types.Object | None

    @property
    def betas(self) -> NDArray[np.float64]:
        """(n,) shape coefficients."""
        return betas_of(self.rig)

    @property
    def joints(self) -> NDArray[np.float64]:
        """(55, 3) joints of the unposed body of this shape, SMPL-X axes, metres."""
        return joint_positions(joint_table_of(self.rig), self.betas)


def find_character(scene: bpy.types.Scene, rig_name: str = "") -> Character:
    """Find the one character of a scene.

    Args:
        rig_name: of the armature object when there are several.

    Raises:
        BadCharacter: there is none, several to choose from, or nothing is bound to the rig.
        BadPose: the rig lacks bones, or has lost the joints of its body.
    """
    rig = _find_rig(scene, rig_name)
    rest_matrices(rig)
    joint_table_of(rig)
    bound = _bound_objects(scene, rig)
    stand_in = next((ob for ob in bound if is_stand_in(ob)), None)
    shown = tuple(ob for ob in bound if not is_stand_in(ob) and _renders(scene, ob))
    if not shown:
        raise BadCharacter(
            f"nothing that renders is bound to the rig {rig.name}",
            "give the character's meshes an Armature modifier with this rig as its object, and "
            "vertex groups named as the bones",
        )
    return Character(rig, shown, stand_in)


def is_stand_in(ob: bpy.types.Object) -> bool:
    """Tell whether an object is the body that `add_person` made, still in its own material."""
    names = [slot.material.name if slot.material else "" for slot in ob.material_slots]
    return (
        ob.type == "MESH"
        and len(names) > 0
        and all(name.split(".")[0] == STAND_IN_MATERIAL for name in names)
    )


def _find_rig(scene: bpy.types.Scene, rig_name: str) -> bpy.types.Object:
    rigs = [
        ob
        for ob in scene.objects
        if ob.type == "ARMATURE" and set(JOINT_NAMES) <= set(ob.data.bones.keys())
    ]
    if rig_name:
        rigs = [ob for ob in rigs if ob.name == rig_name]
        if not rigs:
            raise BadCharacter(f"there is no SMPL-X rig named {rig_name!r}")
    if not rigs:
        raise BadCharacter(
            "the scene holds no SMPL-X rig", "add a person and bind the character to its rig"
        )
    if len(rigs) > 1:
        raise BadCharacter(
            f"the scene holds {len(rigs)} rigs: {', '.join(sorted(ob.name for ob in rigs))}",
            "name one of them with --rig",
        )
    return rigs[0]


def _bound_objects(scene: bpy.types.Scene, rig: bpy.types.Object) -> list[bpy.types.Object]:
    """Return what an Armature modifier binds to the rig, and all that is parented below."""
    taken = {rig.name}
    found: list[bpy.types.Object] = []
    ahead = True
    while ahead:
        ahead = False
        for ob in scene.objects:
            follows = any(
                modifier.type == "ARMATURE" and modifier.object == rig for modifier in ob.modifiers
            )
            if ob.name in taken or not (follows or (ob.parent and ob.parent.name in taken)):
                continue
            taken.add(ob.name)
            ahead = True
            if ob.type in _RENDERED:
                found.append(ob)
    return sorted(found, key=lambda ob: ob.name)


def _renders(scene: bpy.types.Scene, ob: bpy.types.Object) -> bool:
    if ob.hide_render:
        return False
    return any(_reaches(scene.collection, collection) for collection in ob.users_collection)


def _reaches(root: bpy.types.Collection, wanted: bpy.types.Collection) -> bool:
    """Tell whether a collection is below another with nothing on the way hidden from renders."""
    if root == wanted:
        return True
    return any(not below.hide_render and _reaches(below, wanted) for below in root.children)
