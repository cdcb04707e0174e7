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
    geometry nodes or hair put on, too. Surfaces without a material get a plain one.
    """

    def __init__(self, objects: Sequence[bpy.types.Object]) -> None:
        self._added: list[tuple[Any, list[str]]] = []
        self._nodeless: list[bpy.types.Material] = []
        self._slots: list[tuple[bpy.types.Object, int]] = []
        self._grown: list[Any] = []
        self._plain: bpy.types.Material | None = None
        self._fill_slots(objects)
        for material in bpy.data.materials:
            if material.library is None and not material.is_grease_pencil:
                self._extend(material)

    def restore(self) -> None:
        """Take the outputs out again."""
        for tree, names in self._added:
            for name in names:
                tree.nodes.remove(tree.nodes[name])
        for material in self._nodeless:
            material.use_nodes = False
        for ob, index in self._slots:
            ob.material_slots[index].material = None
        for data in self._grown:
            data.materials.pop()
        if self._plain is not None:
            bpy.data.materials.remove(self._plain)

    def _fill_slots(self, objects: Sequence[bpy.types.Object]) -> None:
        for ob in objects:
            if not hasattr(ob.data, "materials"):
                continue
            if not ob.material_slots:
                ob.data.materials.append(self._plain_material())
                self._grown.append(ob.data)
            for index, slot in enumerate(ob.material_slots):
                if slot.material is None:
                    slot.material = self._plain_material()
                    self._slots.append((ob, index))

    def _plain_material(self) -> bpy.types.Material:
        if self._plain is None:
            self._plain = bpy.data.materials.new("Dressform Plain")
            if self._plain.node_tree is None:
                self._plain.use_nodes = True
        return self._plain

    def _extend(self, material: bpy.types.Material) -> None:
        if not material.use_nodes:
            color = tuple(material.diffuse_color)
            fresh = material.node_tree is None
            material.use_nodes = True
            self._nodeless.append(material)
            surface = material.node_tree.nodes.get("Principled BSDF")
            if fresh and surface is not None:
                surface.inputs["Base Color"].default_value = color
        tree = material.node_tree
        names: list[str] = []
        for mask in MASK_AOVS:
            source = tree.nodes.new("ShaderNodeAttribute")
            source.attribute_type, source.attribute_name = "GEOMETRY", mask
            output = tree.nodes.new("ShaderNodeOutputAOV")
            _name_aov(output, mask)
            tree.links.new(source.outputs["Fac"], output.inputs["Value"])
            names += [source.name, output.name]
        self._added.append((tree, names))


def _name_aov(node: Any, name: str) -> None:
    if hasattr(node, "aov_name"):
        node.aov_name = name
    else:  # before Blender 4.3 called so
        node.name = name
