"""Portraits of a scene: objects whose mesh stands in for a head that the server paints."""

# pyright: reportAttributeAccessIssue=false, reportOptionalMemberAccess=false
# pyright: reportIncompatibleMethodOverride=false, reportMissingModuleSource=false
# (Blender's stubs: unions of all data types, Optionals that never are None, other parameter names)

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, Any

import bpy
import numpy as np

from ..contract.camera import Camera
from ..contract.errors import DressformError
from ..contract.labels import LABEL_GROUPS, PALETTE, labels_to_colors
from .head_meshes import LabelledMesh, placeholder
from .looks import HeadSource, RegionLook, StyleSource, look_of
from .painted_labels import PaintedLabels, nearest_labels
from .people import is_person, read_person, shown
from .portrait_properties import PAINTED_CAMERA, set_up, stored
from .stand_in import to_blender
from .stills import image_bytes
from .subjects import HeadPlace, Portrait

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from ..contract.portraits import PortraitLook
    from .subjects import Subject

COLOR_ATTRIBUTE = "Labels"
LABEL_ATTRIBUTE = "label"
MATERIAL = "Dressform Labels"


def is_portrait(ob: bpy.types.Object | None) -> bool:
    """Tell whether an object is a portrait."""
    return ob is not None and ob.type == "MESH" and bool(ob.dressform_portrait.portrait)


def visible_subjects(
    depsgraph: bpy.types.Depsgraph, within: set[str] | None = None
) -> list[Subject]:
    """Return the people and portraits that a depsgraph shows, instances of collections too.

    Args:
        within: names of the objects that count, and whose instances do; None for all.

    Raises:
        BadPose: a rig lacks bones.
        BadParameter: a portrait's weights are all 0.
        UnsupportedTransform: one is sheared, mirrored or scaled unevenly.
    """
    found: list[Subject] = []
    for ob, world in shown(depsgraph, lambda ob: is_person(ob) or is_portrait(ob), within):
        found.append(read_person(ob, world) if is_person(ob) else read_portrait(ob, world))
    return found


def read_portrait(ob: bpy.types.Object, world: NDArray[np.float64] | None = None) -> Portrait:
    """Read place and look of an *evaluated* portrait object.

    Args:
        world: (4, 4) matrix to use instead of the object's own.
    """
    place = np.array(ob.matrix_world, np.float64) if world is None else world
    painted, unknown = _painted(ob)
    return Portrait(
        name=ob.name,
        look=read_look(ob),
        place=HeadPlace.of_object(place, ob.name),
        backdrop=ob.dressform_portrait.backdrop,
        painted=painted,
        unknown_colors=unknown,
    )


def read_look(ob: bpy.types.Object) -> PortraitLook:
    """Return the look that a portrait object's settings mean.

    Raises:
        BadParameter: the weights of its heads are all 0.
    """
    state = ob.dressform_portrait
    return look_of(
        state.portrait,
        [_head(source) for source in state.sources],
        list(state.directions),
        dict(_regions(state)),
        ob.name,
    )


def _head(source: Any) -> HeadSource:
    code = stored(source) if source.kind == "STORED" else None
    return HeadSource(
        weight=float(source.weight),
        seed=int(source.seed) if source.kind == "SEED" else None,
        head=source.head if source.kind == "HEAD" else "",
        code=None if code is None else np.array(code, np.float32),
    )


def _regions(state: Any) -> Iterator[tuple[int, RegionLook]]:
    if not state.regions:  # an object that a script made
        return
    for name, labels in LABEL_GROUPS.items():
        group = state.groups.get(name)
        for label in labels:
            own = state.regions[int(label)]
            lead = state.regions[int(labels[0])] if group is None or group.linked else own
            yield (
                int(label),
                RegionLook(
                    first=_style(lead.first, own.first),
                    second=_style(lead.second, own.second),
                    mix=float(lead.mix),
                    truncation=float(lead.truncation),
                ),
            )


def _style(lead: Any, own: Any) -> StyleSource:
    """Return a region's style; linked regions share all but the rows that are stored for each."""
    if lead.kind == "SEED":
        return StyleSource(seed=int(lead.seed))
    row = stored(own) if lead.kind == "STORED" else None
    return StyleSource(row=None if row is None else np.array(row, np.float32))


def add_portrait(
    context: bpy.types.Context, portrait: str, *, name: str = "", directions: Sequence[str] = ()
) -> bpy.types.Object:
    """Add a portrait at the 3D cursor, active and selected, with a simple head as stand-in.

    Args:
        portrait: id of the package.
        name: of the object; the id when empty.
        directions: names of the principal directions, as far as they are known.
    """
    title = name or portrait
    if context.object is not None and context.object.mode != "OBJECT":
        bpy.ops.object.mode_set(mode="OBJECT")
    ob = bpy.data.objects.new(title, bpy.data.meshes.new(f"{title} Stand-in"))
    context.collection.objects.link(ob)
    ob.location = context.scene.cursor.location
    set_up(ob.dressform_portrait, portrait)
    ob.dressform_portrait.direction_names = "\n".join(directions)
    show_mesh(ob, placeholder())
    for other in context.selected_objects:
        other.select_set(False)
    ob.select_set(True)
    context.view_layer.objects.active = ob
    return ob


def show_mesh(ob: bpy.types.Object, head: LabelledMesh, baked: str = "") -> None:
    """Let a portrait object stand in with this mesh, its labels in the palette's colours.

    Args:
        baked: digest of the head that the mesh was baked from; empty for a placeholder.
    """
    mesh = ob.data
    mesh.clear_geometry()
    mesh.from_pydata(to_blender(head.vertices).tolist(), [], head.faces.tolist())
    mesh.polygons.foreach_set("use_smooth", np.ones(len(head.faces), bool))
    label = mesh.attributes.new(LABEL_ATTRIBUTE, "INT", "FACE")
    label.data.foreach_set("value", head.labels.astype(np.int32))
    colors = np.ones((len(head.faces), 3, 4), np.float32)
    colors[..., :3] = labels_to_colors(head.labels)[:, None] / np.float32(255)
    attribute = mesh.color_attributes.new(COLOR_ATTRIBUTE, "BYTE_COLOR", "CORNER")
    attribute.data.foreach_set("color_srgb", colors.ravel())
    mesh.color_attributes.active_color = attribute
    mesh.color_attributes.render_color_index = mesh.color_attributes.active_color_index
    if not mesh.materials:
        mesh.materials.append(_material())
    mesh.update()
    ob.dressform_portrait.baked = baked


def _material() -> bpy.types.Material:
    """Return the material that shows the labels' colours in Blender's own engines."""
    found = bpy.data.materials.get(MATERIAL)
    if found is not None:
        return found
    material = bpy.data.materials.new(MATERIAL)
    if material.node_tree is None:  # before Blender 5.0
        material.use_nodes = True
    nodes, links = material.node_tree.nodes, material.node_tree.links
    attribute = nodes.new("ShaderNodeVertexColor")
    attribute.layer_name = COLOR_ATTRIBUTE
    attribute.location = (-220.0, 200.0)
    shader = next(node for node in nodes if node.type == "BSDF_PRINCIPLED")
    links.new(attribute.outputs["Color"], shader.inputs["Base Color"])
    shader.inputs["Roughness"].default_value = 0.8
    material.diffuse_color = (*(PALETTE[1] / 255.0).tolist(), 1.0)
    return material


def show_label_colors(context: bpy.types.Context) -> None:
    """Let solid viewports that show material colours show the labels' instead."""
    manager = context.window_manager
    for window in manager.windows if manager else ():  # pyright: ignore[reportUnnecessaryComparison]
        for area in window.screen.areas:
            for space in area.spaces:
                if space.type == "VIEW_3D" and space.shading.color_type == "MATERIAL":
                    space.shading.color_type = "VERTEX"


def set_painted(ob: bpy.types.Object, image: bpy.types.Image, camera: Camera) -> None:
    """Let a portrait use a label map that is painted on an image.

    Args:
        camera: of head space, that the image's pixels belong to.
    """
    state = ob.dressform_portrait
    state.painted, state.use_painted = image, True
    state[PAINTED_CAMERA] = [*camera.K.ravel(), *camera.R.ravel(), *camera.t]


def clear_painted(ob: bpy.types.Object) -> None:
    """Forget the painted labels; the image stays."""
    state = ob.dressform_portrait
    state.painted, state.use_painted = None, False
    state.pop(PAINTED_CAMERA, None)


def painted_camera(ob: bpy.types.Object) -> Camera | None:
    """Return the camera (of head space) that the painted labels belong to."""
    state = ob.dressform_portrait
    numbers = state.get(PAINTED_CAMERA)
    if state.painted is None or numbers is None:
        return None
    values = np.array(numbers, np.float64)
    width, height = state.painted.size
    try:
        return Camera(
            K=values[:9].reshape(3, 3),
            R=values[9:18].reshape(3, 3),
            t=values[18:],
            width=width,
            height=height,
        )
    except DressformError:  # an image without pixels
        return None


def _painted(ob: bpy.types.Object) -> tuple[PaintedLabels | None, int]:
    if not ob.dressform_portrait.use_painted:
        return None, 0
    camera = painted_camera(ob)
    if camera is None:
        return None, 0
    labels, unknown = read_label_image(ob.dressform_portrait.painted.original)
    return PaintedLabels(labels=labels, camera=camera), unknown


_read: dict[str, tuple[int, NDArray[np.uint8], int]] = {}


def read_label_image(image: bpy.types.Image) -> tuple[NDArray[np.uint8], int]:
    """Return an image's labels (H, W) uint8, top row first, and how many pixels are of none."""
    colors = image_bytes(image)
    digest = zlib.crc32(colors.tobytes())
    known = _read.get(image.name)
    if known is None or known[0] != digest or known[1].shape != colors.shape[:2]:
        known = (digest, *nearest_labels(colors))
        _read[image.name] = known
    return known[1], known[2]
