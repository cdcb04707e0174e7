"""Makes hands and face visible to the renderer: AOV outputs in every material, taken out again."""

# pyright: reportAttributeAccessIssue=false, reportOptionalMemberAccess=false
# pyright: reportIncompatibleMethodOverride=false, reportMissingModuleSource=false
# (Blender's stubs: unions of all data types, Optionals that never are None, other parameter names)

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import bpy

from .masks import FACE_ATTRIBUTE, HANDS_ATTRIBUTE

if TYPE_CHECKING:
    from collections.abc import Sequence

MASK_AOVS = (HANDS_ATTRIBUTE, FACE_ATTRIBUTE)
"""AOVs of the masks; each is named as the attribute it shows."""


class MaskOutputs:
    """AOV outputs in the materials of some objects, until `restore`.

    The nodes are added to the materials themselves, not to copies: that reaches materials that
    geometry nodes or hair put on, too. Slots without a material, or with one that has no nodes,
    get a plain one for the time.
    """

    def __init__(self, objects: Sequence[bpy.types.Object]) -> None:
        self._added: list[tuple[Any, list[str]]] = []
        self._slots: list[tuple[bpy.types.Object, int, bpy.types.Material | None]] = []
        self._grown: list[Any] = []
        self._made: list[bpy.types.Material] = []
        self._fill_slots(objects)
        materials: Any = bpy.data.materials  # the stubs know no data without a library
        for material in materials:
            usable = material.library is None and not material.is_grease_pencil
            if usable and _has_nodes(material):
                self._extend(material)

    def restore(self) -> None:
        """Take the outputs out again."""
        for tree, names in self._added:
            for name in names:
                tree.nodes.remove(tree.nodes[name])
        for ob, index, material in self._slots:
            ob.material_slots[index].material = material
        for data in self._grown:
            data.materials.clear()  # pop() leaves the objects their slots
        for material in self._made:
            bpy.data.materials.remove(material)

    def _fill_slots(self, objects: Sequence[bpy.types.Object]) -> None:
        for ob in objects:
            if not hasattr(ob.data, "materials"):
                continue
            if not ob.material_slots:
                ob.data.materials.append(self._plain(None))
                self._grown.append(ob.data)
            for index, slot in enumerate(ob.material_slots):
                if slot.material is None or not _has_nodes(slot.material):
                    self._slots.append((ob, index, slot.material))
                    slot.material = self._plain(slot.material)

    def _plain(self, instead: bpy.types.Material | None) -> bpy.types.Material:
        material = bpy.data.materials.new("Dressform Plain")
        self._made.append(material)
        if material.node_tree is None:
            material.use_nodes = True
        surface = next(n for n in material.node_tree.nodes if n.type == "BSDF_PRINCIPLED")
        color = (0.8, 0.8, 0.8, 1.0) if instead is None else tuple(instead.diffuse_color)
        surface.inputs["Base Color"].default_value = color
        return material

    def _extend(self, material: bpy.types.Material) -> None:
        tree = material.node_tree
        names: list[str] = []
        for mask in MASK_AOVS:
            source = tree.nodes.new("ShaderNodeAttribute")
            source.attribute_type, source.attribute_name = "GEOMETRY", mask
            output = tree.nodes.new("ShaderNodeOutputAOV")
            output.aov_name = mask
            tree.links.new(source.outputs["Fac"], output.inputs["Value"])
            names += [source.name, output.name]
        self._added.append((tree, names))


def _has_nodes(material: bpy.types.Material) -> bool:
    # Since Blender 5.0 every material has nodes, and asking for `use_nodes` warns.
    if material.node_tree is None:
        return False
    return bpy.app.version >= (5, 0, 0) or material.use_nodes
