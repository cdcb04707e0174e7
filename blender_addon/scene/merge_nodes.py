"""The compositor's part of Merge with Scene: one node group, spliced into the artist's own nodes.

The trees differ between Blender 4.x (`scene.node_tree`, a Composite node) and 5.x
(`scene.compositing_node_group`, a Group Output); several nodes changed options into sockets on
the way. All of that is known here and nowhere else.

For each pixel, with S the scene, P the people (both premultiplied) and m how much of the pixel is
covered by what stands in front of the person:

    Q = (1 − m)·P over S'        the person where nothing stands in front
    image = Q over m·P           a transparent film: the person shows through what is in front

m is the comparison of both depths, anti-aliased: a depth pass has one sample for each pixel. S' is
S, but where an object's edge lies before the person its colour is taken from inside the object:
the scene's own pixel there is half background, which would shine round the object as a fringe.
"""

# pyright: reportAttributeAccessIssue=false, reportOptionalMemberAccess=false
# pyright: reportIncompatibleMethodOverride=false, reportMissingModuleSource=false
# (Blender's stubs: unions of all data types, Optionals that never are None, other parameter names)

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import bpy

Place = Literal["END", "START"]
Output = Literal["Image", "People"]

GROUP_NAME = "Dressform Merge"
PEOPLE_NODE = "Dressform People"

DISPLAY_SPACES = {
    "AgX": "AgX Base sRGB",
    "Filmic": "Filmic sRGB",
    "Khronos PBR Neutral": "Khronos PBR Neutral sRGB",
    "ACES 1.3": "ACES 1.3 sRGB",
    "ACES 2.0": "ACES 2.0 sRGB",
}
"""View transform → colour space of what it shows on an sRGB screen."""

_SOLID = 0.999
"""Alpha from which a film counts as filled."""

_NEW_INTERFACE = bpy.app.version >= (5, 0, 0)


@dataclass(frozen=True, kw_only=True)
class Dormant:
    """What Merge switched on: given back by `splice` for `unsplice`.

    Attributes:
        made_tree: the scene had no compositor nodes at all.
        source: name of the node, and of its socket, that fed the output while it was switched
            off; empty when nothing did.
    """

    made_tree: bool
    source: tuple[str, str] | tuple[()] = ()


def group_of(tree: bpy.types.NodeTree | None, group: bpy.types.NodeTree | None) -> Any:
    """Return the node of `tree` that holds `group`, None when there is none."""
    if tree is None or group is None:
        return None
    return next((n for n in tree.nodes if getattr(n, "node_tree", None) == group), None)


def compositor(scene: bpy.types.Scene) -> bpy.types.NodeTree | None:
    """Return the scene's compositor nodes, in use or not; None when it has none."""
    return scene.compositing_node_group if _NEW_INTERFACE else scene.node_tree


def in_use(scene: bpy.types.Scene) -> bool:
    """Tell whether the scene's compositor nodes take part in its renders."""
    if compositor(scene) is None or not scene.render.use_compositing:
        return False
    return nodes_enabled(scene)


def can_keep_colours(view_transform: str) -> bool:
    """Tell whether colours can be chosen so that this view transform shows them as they were."""
    space = DISPLAY_SPACES.get(view_transform, "")
    items = bpy.types.CompositorNodeConvertColorSpace.bl_rna.properties["to_color_space"].enum_items
    return space in {item.identifier for item in items}


def build_group(
    group: bpy.types.NodeTree | None, *, margin: float, view_transform: str
) -> bpy.types.NodeTree:
    """Make the group, or fill an older one anew; its sockets and what hangs on them stay.

    Args:
        margin: metres by which something must be nearer than the person to cover it.
        view_transform: keep the people's colours under this one; empty to leave them linear.
    """
    group = group or bpy.data.node_groups.new(GROUP_NAME, "CompositorNodeTree")
    group.nodes.clear()
    if not group.interface.items_tree:
        for name, kind in (("Scene", "Color"), ("Scene Depth", "Float")):
            group.interface.new_socket(name, in_out="INPUT", socket_type=f"NodeSocket{kind}")
        for name, kind in (("People", "Color"), ("People Depth", "Float")):
            group.interface.new_socket(name, in_out="INPUT", socket_type=f"NodeSocket{kind}")
        for name in ("Image", "People"):
            group.interface.new_socket(name, in_out="OUTPUT", socket_type="NodeSocketColor")
    wiring = _Wiring(group)
    inner = wiring.add("NodeGroupInput")
    outer = wiring.add("NodeGroupOutput")
    scene, scene_depth, people, people_depth = (inner.outputs[index] for index in range(4))
    if view_transform:
        people = _shown_as_trained(wiring, people, DISPLAY_SPACES[view_transform])
    scene_alpha, people_alpha = wiring.alpha(scene), wiring.alpha(people)

    nearest = wiring.math("SUBTRACT", people_depth, margin)
    in_front = wiring.math("LESS_THAN", scene_depth, nearest)
    cover = _coverage(wiring, in_front, scene_alpha)
    shown = wiring.math("SUBTRACT", 1.0, cover)
    clean = _without_fringe(wiring, scene, in_front, people_alpha)
    laid_over = wiring.over(clean, people, shown)
    black = wiring.empty()
    beneath = wiring.over(black, people, cover)
    wiring.link(wiring.over(beneath, laid_over, 1.0), outer.inputs["Image"])
    wiring.link(wiring.over(black, people, shown), outer.inputs["People"])
    wiring.lay_out()
    return group


def _coverage(wiring: _Wiring, in_front: Any, scene_alpha: Any) -> Any:
    """Return how much of each pixel lies in front of the person, with soft edges.

    On a transparent film the edge of an object already has its own alpha: there the object is
    laid over the person with that, three steps beyond what its depth says: a pixel's
    filter reaches over its neighbours, and steps go round corners.
    """
    smooth = wiring.red(wiring.antialias(in_front))
    wide = wiring.grow(in_front, 3)
    soft_film = wiring.math("LESS_THAN", scene_alpha, _SOLID)
    beyond = wiring.math("MULTIPLY", wide, soft_film)
    return wiring.math("MAXIMUM", smooth, beyond)


def _without_fringe(wiring: _Wiring, scene: Any, in_front: Any, people_alpha: Any) -> Any:
    """Return the scene, its objects' edges before a person in the objects' own colours."""
    core = wiring.grow(in_front, -1)
    edge = wiring.math("SUBTRACT", wiring.grow(in_front, 1), core)
    inside = wiring.apply_alpha(scene, core)
    extended = wiring.inpaint(inside, 3)
    # Where the person is not, there is nothing to be cleaned: the background belongs there.
    fraction = wiring.math("MULTIPLY", edge, people_alpha)
    solid = wiring.math("GREATER_THAN", wiring.alpha(scene), _SOLID)
    return wiring.over(scene, extended, wiring.math("MULTIPLY", fraction, solid))


def _shown_as_trained(wiring: _Wiring, people: Any, space: str) -> Any:
    """Return colours which the view transform turns into those the network was trained on."""
    straight = wiring.replace_alpha(wiring.straight(people), 1.0)
    screen = wiring.convert(straight, "Linear Rec.709", "sRGB")
    before = wiring.convert(screen, space, "Linear Rec.709")
    return wiring.apply_alpha(before, wiring.alpha(people))


class _Wiring:
    """Adds nodes to a tree and hides how the versions spell them."""

    def __init__(self, tree: bpy.types.NodeTree) -> None:
        self._tree = tree
        self._math = "ShaderNodeMath" if _NEW_INTERFACE else "CompositorNodeMath"

    def add(self, kind: str) -> Any:
        return self._tree.nodes.new(kind)

    def link(self, source: Any, target: Any) -> None:
        """Link an output, or set a plain value."""
        if isinstance(source, int | float):
            target.default_value = source
        else:
            self._tree.links.new(source, target)

    def math(self, operation: str, first: Any, second: Any) -> Any:
        node = self.add(self._math)
        node.operation = operation
        self.link(first, node.inputs[0])
        self.link(second, node.inputs[1])
        return node.outputs[0]

    def over(self, background: Any, foreground: Any, factor: Any) -> Any:
        node = self.add("CompositorNodeAlphaOver")
        below, above, fac = (0, 1, 2) if _NEW_INTERFACE else (1, 2, 0)
        self.link(background, node.inputs[below])
        self.link(foreground, node.inputs[above])
        self.link(factor, node.inputs[fac])
        return node.outputs[0]

    def empty(self) -> Any:
        """A picture with nothing in it."""
        node = self.add("CompositorNodeRGB")
        node.outputs[0].default_value = (0.0, 0.0, 0.0, 0.0)
        return node.outputs[0]

    def _separate(self, image: Any) -> Any:
        node = self.add("CompositorNodeSeparateColor")
        self.link(image, node.inputs[0])
        return node

    def alpha(self, image: Any) -> Any:
        return self._separate(image).outputs["Alpha"]

    def red(self, image: Any) -> Any:
        return self._separate(image).outputs["Red"]

    def antialias(self, mask: Any) -> Any:
        node = self.add("CompositorNodeAntiAliasing")
        _option(node, "threshold", "Threshold", 0.1)
        self.link(mask, node.inputs[0])
        return node.outputs[0]

    def grow(self, mask: Any, pixels: int) -> Any:
        """Widen a mask, or narrow it by a negative number of pixels."""
        node = self.add("CompositorNodeDilateErode")
        _option(node, "distance", "Size", pixels)
        self.link(mask, node.inputs[0])
        return node.outputs[0]

    def inpaint(self, image: Any, pixels: int) -> Any:
        node = self.add("CompositorNodeInpaint")
        _option(node, "distance", "Size", pixels)
        self.link(image, node.inputs[0])
        return node.outputs[0]

    def straight(self, image: Any) -> Any:
        node = self.add("CompositorNodePremulKey")
        _choice(node, "mapping", "PREMUL_TO_STRAIGHT", "To Straight")
        self.link(image, node.inputs[0])
        return node.outputs[0]

    def apply_alpha(self, image: Any, alpha: Any) -> Any:
        return self._set_alpha(image, alpha, "APPLY", "Apply Mask")

    def replace_alpha(self, image: Any, alpha: Any) -> Any:
        return self._set_alpha(image, alpha, "REPLACE_ALPHA", "Replace Alpha")

    def _set_alpha(self, image: Any, alpha: Any, mode: str, label: str) -> Any:
        node = self.add("CompositorNodeSetAlpha")
        _choice(node, "mode", mode, label)
        self.link(image, node.inputs[0])
        self.link(alpha, node.inputs[1])
        return node.outputs[0]

    def convert(self, image: Any, source: str, target: str) -> Any:
        node = self.add("CompositorNodeConvertColorSpace")
        node.from_color_space, node.to_color_space = source, target
        self.link(image, node.inputs[0])
        return node.outputs[0]

    def lay_out(self) -> None:
        """Put the nodes in columns by their distance from the inputs."""
        column: dict[str, int] = {}
        for node in self._tree.nodes:  # in the order in which they were made: inputs first
            before = [link.from_node.name for link in self._tree.links if link.to_node == node]
            column[node.name] = 1 + max((column.get(name, 0) for name in before), default=-1)
        rows: dict[int, int] = {}
        last = max(column.values(), default=0)
        for node in self._tree.nodes:
            at = last + 1 if node.bl_idname == "NodeGroupOutput" else column[node.name]
            node.location = (200.0 * at, -180.0 * rows.get(at, 0))
            rows[at] = rows.get(at, 0) + 1


def _option(node: Any, prop: str, socket: str, value: float) -> None:
    """Set what is a socket in newer versions and a property in older ones."""
    if socket in node.inputs:
        node.inputs[socket].default_value = value
    else:
        setattr(node, prop, value)


def _choice(node: Any, prop: str, value: str, label: str) -> None:
    """Set a menu: a property up to 4.5, a socket from 5.0."""
    if _NEW_INTERFACE:
        node.inputs["Type"].default_value = label
    else:
        setattr(node, prop, value)


def splice(
    scene: bpy.types.Scene,
    layer: str,
    people: bpy.types.Scene,
    group: bpy.types.NodeTree,
    *,
    place: Place,
    output: Output,
) -> Dormant:
    """Insert the group into the scene's compositor; the artist's nodes stay as they are.

    Args:
        layer: name of the scene's view layer that is merged.
        people: the scene that renders the people.
        place: END before the output, START right after the scene's render layer.
        output: which socket of the group goes on.
    """
    was_in_use = in_use(scene)
    tree, made = _switched_on(scene)
    layers = _layers_node(tree, scene, layer)
    target = _output_image(tree)
    source: tuple[str, str] | tuple[()] = ()
    if not was_in_use and target.is_linked:
        # Nodes that were switched off must not change the picture now: go past them.
        was = target.links[0].from_socket
        source = (was.node.name, was.identifier)
        tree.links.remove(target.links[0])
    if not target.is_linked:
        tree.links.new(layers.outputs["Image"], target)
    node = tree.nodes.new("CompositorNodeGroup")
    node.node_tree, node.name, node.label = group, GROUP_NAME, "Merge with Scene"
    before = layers.outputs["Image"] if place == "START" else target.links[0].from_socket
    after = [link.to_socket for link in before.links] if place == "START" else [target]
    tree.links.new(before, node.inputs["Scene"])
    for socket in after:
        tree.links.new(node.outputs[output], socket)
    tree.links.new(layers.outputs["Depth"], node.inputs["Scene Depth"])
    anchor = before.node
    node.location = (anchor.location.x + anchor.width + 60.0, anchor.location.y - 140.0)
    connect_people(node, people)
    return Dormant(made_tree=made, source=source)


def unsplice(
    scene: bpy.types.Scene, group: bpy.types.NodeTree, dormant: Dormant, output: Output
) -> None:
    """Take the group out; what came in on its scene socket goes on where `output` did."""
    tree = compositor(scene)
    node = group_of(tree, group)
    if tree is None or node is None:
        return
    sources = [link.from_socket for link in node.inputs["Scene"].links]
    targets = [link.to_socket for link in node.outputs[output].links]
    feeders = [link.from_node for link in node.inputs["People"].links]
    tree.nodes.remove(node)
    for feeder in feeders:
        if feeder.name.startswith(PEOPLE_NODE):
            tree.nodes.remove(feeder)
    for target in targets if sources else ():
        tree.links.new(sources[0], target)
    if dormant.source and dormant.source[0] in tree.nodes:
        outputs = tree.nodes[dormant.source[0]].outputs
        socket = next((out for out in outputs if out.identifier == dormant.source[1]), None)
        if socket is not None:
            tree.links.new(socket, _output_image(tree))


def connect_people(node: Any, people: bpy.types.Scene) -> None:
    """Let the render of `people` come into the group's node; a broken one is replaced."""
    tree = node.id_data
    ours = next((link.from_node for link in node.inputs["People"].links), None)
    if ours is None:
        ours = tree.nodes.new("CompositorNodeRLayers")
        ours.name, ours.label = PEOPLE_NODE, "People"
        ours.location = (node.location.x - 320.0, node.location.y - 420.0)
    if ours.name.startswith(PEOPLE_NODE):
        ours.scene, ours.layer = people, people.view_layers[0].name
        tree.links.new(ours.outputs["Image"], node.inputs["People"])
        tree.links.new(ours.outputs["Depth"], node.inputs["People Depth"])


def deliver(node: Any, before: Output, now: Output) -> None:
    """Let the socket `now` of the group's node go where the socket `before` goes."""
    targets = [link.to_socket for link in node.outputs[before].links]
    for target in targets if now != before else ():
        node.id_data.links.new(node.outputs[now], target)


def nodes_enabled(scene: bpy.types.Scene) -> bool:
    """Tell whether the scene's own switch for nodes is on; from 5.0 it has none."""
    return _NEW_INTERFACE or scene.use_nodes


def switch_off(scene: bpy.types.Scene, *, made_tree: bool, use_nodes: bool) -> None:
    """Put the compositor's switches back; a tree that `splice` made goes."""
    tree = compositor(scene)
    if _NEW_INTERFACE:
        if made_tree and tree is not None:
            bpy.data.node_groups.remove(tree)
    else:
        if made_tree and tree is not None:
            tree.nodes.clear()
        scene.use_nodes = use_nodes


def _switched_on(scene: bpy.types.Scene) -> tuple[bpy.types.NodeTree, bool]:
    """Return the scene's compositor, switched on, and whether it was made."""
    scene.render.use_compositing = True
    tree = compositor(scene)
    made = tree is None
    if _NEW_INTERFACE:
        if tree is None:
            tree = bpy.data.node_groups.new(f"{scene.name} Compositing", "CompositorNodeTree")
            scene.compositing_node_group = tree
    else:
        scene.use_nodes = True
        tree = scene.node_tree
    return tree, made  # pyright: ignore[reportReturnType]


def _layers_node(tree: bpy.types.NodeTree, scene: bpy.types.Scene, layer: str) -> Any:
    """Return the Render Layers node of the scene's view layer; made when there is none."""
    found = [
        node
        for node in tree.nodes
        if node.bl_idname == "CompositorNodeRLayers" and node.scene == scene and node.layer == layer
    ]
    for node in found:
        if node.outputs["Image"].is_linked:
            return node
    if found:
        return found[0]
    node = tree.nodes.new("CompositorNodeRLayers")
    node.scene, node.layer = scene, layer
    return node


def _output_image(tree: bpy.types.NodeTree) -> Any:
    """Return the image socket of the tree's output; output and socket are made when missing."""
    kind = "NodeGroupOutput" if _NEW_INTERFACE else "CompositorNodeComposite"
    outputs = [node for node in tree.nodes if node.bl_idname == kind]
    node = next((node for node in outputs if getattr(node, "is_active_output", False)), None)
    node = node or next((n for n in outputs if n.inputs and n.inputs[0].is_linked), None)
    if node is None:
        node = outputs[0] if outputs else tree.nodes.new(kind)
    if _NEW_INTERFACE and not any(item.in_out == "OUTPUT" for item in tree.interface.items_tree):
        tree.interface.new_socket("Image", in_out="OUTPUT", socket_type="NodeSocketColor")
    return node.inputs[0]
