"""Blender materials of characters: skin, eyes, hair, cloth, leather, from baked textures."""

# pyright: reportAttributeAccessIssue=false, reportOptionalMemberAccess=false
# pyright: reportMissingModuleSource=false, reportArgumentType=false, reportIndexIssue=false
# (Blender's stubs: unions of all data types, Optionals that never are None)

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    import bpy


class Nodes:
    """A material's node tree with its Principled shader, and short ways to add to it."""

    def __init__(self, material: bpy.types.Material) -> None:
        material.use_nodes = True
        self.tree = material.node_tree
        self.shader = self.tree.nodes["Principled BSDF"]

    def add(self, kind: str, **settings: Any) -> bpy.types.Node:
        """Add a node: inputs by their names, attributes in lower case."""
        node = self.tree.nodes.new(kind)
        for name, value in settings.items():
            setattr(node, name, value)
        return node

    def link(self, source: bpy.types.NodeSocket, target: bpy.types.NodeSocket) -> None:
        """Link two sockets."""
        self.tree.links.new(source, target)

    def set(self, **values: Any) -> None:
        """Set inputs of the Principled shader; underscores stand for blanks."""
        for name, value in values.items():
            self.shader.inputs[name.replace("_", " ")].default_value = value

    def texture(self, image: bpy.types.Image) -> bpy.types.Node:
        """Add an image texture over the atlas."""
        uv = self.add("ShaderNodeUVMap", uv_map="UVMap")
        node = self.add("ShaderNodeTexImage", image=image, extension="EXTEND")
        self.link(uv.outputs["UV"], node.inputs["Vector"])
        return node

    def scaled(self, attribute: str, scale: tuple[float, float, float]) -> bpy.types.NodeSocket:
        """Return a vertex attribute's vector, multiplied."""
        source = self.add("ShaderNodeAttribute", attribute_name=attribute)
        times = self.add("ShaderNodeVectorMath", operation="MULTIPLY")
        times.inputs[1].default_value = scale
        self.link(source.outputs["Vector"], times.inputs[0])
        return times.outputs["Vector"]

    def noise(
        self, attribute: str, scale: tuple[float, float, float], octaves: float = 1.0
    ) -> bpy.types.NodeSocket:
        """Return noise over a vertex attribute (metres), `scale` cells per metre."""
        node = self.add("ShaderNodeTexNoise")
        node.inputs["Scale"].default_value = 1.0
        node.inputs["Detail"].default_value = octaves
        self.link(self.scaled(attribute, scale), node.inputs["Vector"])
        return node.outputs[0]

    def bump(self, height: bpy.types.NodeSocket, metres: float, strength: float = 1.0) -> None:
        """Tilt the shader's normal by a height 0…1 of so many metres, on top of earlier bumps."""
        node = self.add("ShaderNodeBump")
        node.inputs["Strength"].default_value = strength
        node.inputs["Distance"].default_value = metres
        self.link(height, node.inputs["Height"])
        normal = self.shader.inputs["Normal"]
        if normal.links:
            self.link(normal.links[0].from_socket, node.inputs["Normal"])
        self.link(node.outputs["Normal"], normal)


def make_material(
    title: str, piece: dict[str, Any], textures: dict[str, bpy.types.Image]
) -> bpy.types.Material:
    """Return the material of a piece of a kit.

    Args:
        title: name of the material.
        piece: its `kind` and `look`, as in the kit.
        textures: `albedo` and `roughness`; none for strands.
    """
    import bpy

    material = bpy.data.materials.new(title)
    nodes = Nodes(material)
    for name, target in (("albedo", "Base Color"), ("roughness", "Roughness")):
        if name in textures:
            seen = nodes.texture(textures[name]).outputs["Color"]
            nodes.link(seen, nodes.shader.inputs[target])
    _FINISH[piece["kind"]](nodes, piece["look"])
    return material


def _skin(nodes: Nodes, look: dict[str, Any]) -> None:
    red, green, blue = look["tone"]
    pale = (0.3 * red + 0.6 * green + 0.1 * blue) ** 2.2
    # Light runs farther under pale skin; red farthest.
    nodes.set(
        Subsurface_Weight=0.10 + 0.12 * pale,
        Subsurface_Radius=(1.0, 0.38, 0.22),
        Subsurface_Scale=0.004 + 0.006 * pale,
        Specular_IOR_Level=0.42,
    )
    nodes.bump(nodes.noise("dressform_place", (900.0, 900.0, 900.0), 1.0), 0.0003, 0.5)
    nodes.bump(nodes.noise("dressform_place", (130.0, 130.0, 130.0), 1.0), 0.0006, 0.35)


def _eyes(nodes: Nodes, _look: dict[str, Any]) -> None:
    nodes.set(Coat_Weight=1.0, Coat_Roughness=0.03, Coat_IOR=1.376, Specular_IOR_Level=0.3)


def _hair(nodes: Nodes, look: dict[str, Any]) -> None:
    if look["curly"]:
        nodes.set(Specular_IOR_Level=0.35, Sheen_Weight=0.15)
        nodes.bump(nodes.noise("dressform_place", (260.0, 260.0, 260.0), 2.0), 0.006)
        return
    tangent = nodes.add("ShaderNodeTangent", direction_type="UV_MAP", uv_map="Strand")
    nodes.link(tangent.outputs["Tangent"], nodes.shader.inputs["Tangent"])
    nodes.set(Anisotropic=0.85, Specular_IOR_Level=0.5, Anisotropic_Rotation=0.25)
    nodes.bump(nodes.noise("dressform_strand", (1100.0, 7.0, 1.0), 1.0), 0.002)


def _strands(nodes: Nodes, look: dict[str, Any]) -> None:
    tint = nodes.add("ShaderNodeAttribute", attribute_name="dressform_tint")
    nodes.link(tint.outputs["Color"], nodes.shader.inputs["Base Color"])
    curly = bool(look["curly"])
    nodes.set(Roughness=0.6 if curly else 0.42, Specular_IOR_Level=0.2 if curly else 0.4)
    if not curly:
        tangent = nodes.add("ShaderNodeTangent", direction_type="UV_MAP", uv_map="Strand")
        nodes.link(tangent.outputs["Tangent"], nodes.shader.inputs["Tangent"])
        nodes.set(Anisotropic=0.8, Anisotropic_Rotation=0.25)


def _cloth(nodes: Nodes, look: dict[str, Any]) -> None:
    nodes.set(Sheen_Weight=0.25, Sheen_Roughness=0.45, Specular_IOR_Level=0.25)
    pattern = look["pattern"]
    fine = 1500.0
    if pattern == "knit":
        nodes.bump(nodes.noise("dressform_place", (420.0, 160.0, 420.0), 1.0), 0.002)
    elif pattern == "denim":
        nodes.bump(nodes.noise("dressform_place", (1200.0, 500.0, 1200.0), 1.0), 0.0008)
    else:
        nodes.bump(nodes.noise("dressform_place", (fine, fine, fine), 1.0), 0.0005)
    nodes.bump(nodes.noise("dressform_place", (34.0, 22.0, 34.0), 2.0), 0.006, 0.8)


def _shoes(nodes: Nodes, _look: dict[str, Any]) -> None:
    nodes.set(Coat_Weight=0.15, Coat_Roughness=0.3, Specular_IOR_Level=0.5)
    nodes.bump(nodes.noise("dressform_place", (500.0, 500.0, 500.0), 1.0), 0.0006, 0.6)


_FINISH: dict[str, Callable[[Nodes, dict[str, Any]], None]] = {
    "skin": _skin,
    "eyes": _eyes,
    "hair": _hair,
    "strands": _strands,
    "cloth": _cloth,
    "shoes": _shoes,
}
