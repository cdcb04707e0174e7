"""Merge with Scene: people and portraits in one picture with everything else, by Cycles or EEVEE.

The people get a small scene of their own that renders with Dressform: their rigs and the cameras,
linked, nothing else. A Render Layers node brings its colour and depth into the compositor of the
shown scene, where both are merged by depth (`merge_nodes`). F12, animation and background renders
then need nothing more: Blender renders every scene that the compositor names.

In the shown scene's own render everything that is skinned to a rig is out of the camera's sight
but still casts shadows and bounces light, so that people stand on their floor. What is only
parented to a bone is a prop and stays. So does a portrait's stand-in. `unmerge` puts all back.
"""

# pyright: reportAttributeAccessIssue=false, reportOptionalMemberAccess=false
# pyright: reportIncompatibleMethodOverride=false, reportMissingModuleSource=false
# (Blender's stubs: unions of all data types, Optionals that never are None, other parameter names)

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import bpy

from ..contract.errors import CannotMerge
from . import merge_nodes
from .people import is_person
from .portraits import is_portrait
from .properties import beta_name

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

EEVEE = ("BLENDER_EEVEE_NEXT", "BLENDER_EEVEE")
ENGINES = ("CYCLES", *EEVEE)
"""Engines whose render the people can be merged with."""

BEFORE = "dressform_before_merge"
"""Property of a scene, a skinned mesh or a portrait: what `unmerge` puts back."""

_RAYS = ("visible_diffuse", "visible_glossy", "visible_transmission", "visible_shadow")
"""How a portrait's stand-in is seen by anything but the camera."""


def merge(scene: bpy.types.Scene, view_layer: bpy.types.ViewLayer) -> list[str]:
    """Merge the people of a view layer with the scene's render, or bring the merge up to date.

    Returns:
        What the artist should know, in words.

    Raises:
        CannotMerge: says what is missing.
    """
    hindrance = why_not(scene)
    if hindrance is not None:
        raise hindrance
    people = people_of(view_layer)
    if not people:
        raise CannotMerge(
            f"no person or portrait is visible in the view layer {view_layer.name}",
            "add one, or show its collection in renders",
        )
    state = scene.dressform_merge
    notes: list[str] = []
    if BEFORE in scene and (state.layer != view_layer.name or _place(scene) != state.place):
        unmerge(scene)  # begin anew where the artist wants it now
    if BEFORE not in scene:
        _remember(scene, view_layer)
    if scene.render.engine not in ENGINES:
        scene.render.engine = "CYCLES"
        notes.append("The scene now renders with Cycles, the people with Dressform")
    view_layer.use_pass_z = True
    state.layer = view_layer.name
    state.people = _people_scene(scene, people)
    view = _settle_colours(scene, notes)
    state.group = merge_nodes.build_group(state.group, margin=state.margin, view_transform=view)
    _put_into_compositor(scene)
    for rig in _rigs(people):
        notes.extend(_ground(rig, shadows=state.shadows))
    for ob in _of_kind(people, is_portrait):
        _ground_portrait(ob, shadows=state.shadows)
    return notes


def unmerge(scene: bpy.types.Scene) -> None:
    """Put everything back as it was before `merge`; the artist's own changes since stay."""
    state = scene.dressform_merge
    before = scene.get(BEFORE)
    if before is None:
        return
    if state.group is not None:
        dormant = merge_nodes.Dormant(
            made_tree=bool(before["made_tree"]), source=tuple(before["source"])
        )
        merge_nodes.unsplice(scene, state.group, dormant, before["output"])
        bpy.data.node_groups.remove(state.group)
    _restore_scene(scene, before)
    for ob in bpy.data.objects:
        if BEFORE in ob:
            _restore_mesh(ob)
    if state.people is not None:
        bpy.data.scenes.remove(state.people)
    del scene[BEFORE]
    state.layer = ""


def is_merged(scene: bpy.types.Scene) -> bool:
    """Tell whether a scene's people are merged with its render."""
    return BEFORE in scene and scene.dressform_merge.people is not None


def can_unmerge(scene: bpy.types.Scene) -> bool:
    """Tell whether `unmerge` has anything to put back."""
    return scene.get(BEFORE) is not None


def why_not(scene: bpy.types.Scene) -> CannotMerge | None:
    """Return what keeps a scene from being merged, None when nothing does."""
    if scene.dressform_merge.shown is not None:
        return CannotMerge(
            "this scene only renders another scene's people",
            f"go to the scene {scene.dressform_merge.shown.name}",
        )
    if _is_linked(scene):
        return CannotMerge("this scene is linked from another file", "merge it in its own file")
    if not any(_holds_person(ob) for ob in scene.objects):
        return CannotMerge("the scene has no person or portrait", "add one (Add Person)")
    if scene.camera is None:
        return CannotMerge("the scene has no camera", "add one (Shift-A, Camera)")
    if scene.render.engine not in (*ENGINES, "DRESSFORM"):
        return CannotMerge(
            f"people cannot be merged with a render by {scene.render.engine}",
            "choose Cycles or EEVEE (Render properties)",
        )
    return None


def _is_linked(data: bpy.types.ID) -> bool:
    """Tell whether something lives in another file and cannot be changed here."""
    library: Any = data.library
    return library is not None


def not_merged_yet(scene: bpy.types.Scene, view_layer: bpy.types.ViewLayer) -> list[str]:
    """Return the names of the people and cameras that came since the last merge."""
    people = scene.dressform_merge.people
    if people is None:
        return []
    wanted = [*people_of(view_layer), *_cameras(scene)]
    return [ob.name for ob in wanted if people.objects.get(ob.name) != ob]


def people_of(view_layer: bpy.types.ViewLayer) -> list[bpy.types.Object]:
    """Return the rigs, and the instances of collections with rigs, that a render would show."""
    found = {ob.name_full: ob for ob in _rendered(view_layer.layer_collection)}
    return [ob for ob in found.values() if _holds_person(ob)]


def _rendered(layer: bpy.types.LayerCollection) -> Iterator[bpy.types.Object]:
    if layer.exclude or layer.collection.hide_render:
        return
    yield from layer.collection.objects
    for child in layer.children:
        yield from _rendered(child)


def _holds_person(ob: bpy.types.Object) -> bool:
    return any(is_person(part) or is_portrait(part) for part in (ob, *_instanced(ob)))


def _instanced(ob: bpy.types.Object) -> list[bpy.types.Object]:
    shown = ob.instance_type == "COLLECTION" and ob.instance_collection is not None
    return list(ob.instance_collection.all_objects) if shown else []


def _rigs(people: list[bpy.types.Object]) -> list[bpy.types.Object]:
    return _of_kind(people, is_person)


def _of_kind(
    people: list[bpy.types.Object], wanted: Callable[[bpy.types.Object], bool]
) -> list[bpy.types.Object]:
    found: dict[str, bpy.types.Object] = {}
    for ob in people:
        for part in (ob, *_instanced(ob)):
            if wanted(part):
                found[part.name_full] = part
    return list(found.values())


def _cameras(scene: bpy.types.Scene) -> list[bpy.types.Object]:
    """Return every camera that the scene may switch to."""
    found = {ob.name_full: ob for ob in scene.objects if ob.type == "CAMERA"}
    for camera in (scene.camera, *(marker.camera for marker in scene.timeline_markers)):
        if camera is not None:
            found[camera.name_full] = camera
    return list(found.values())


def _people_scene(scene: bpy.types.Scene, people: list[bpy.types.Object]) -> bpy.types.Scene:
    """Return the scene that renders the people, with what it needs and nothing else."""
    own = scene.dressform_merge.people or bpy.data.scenes.new(f"{scene.name} People")
    own.dressform_merge.shown = scene
    own.render.engine = "DRESSFORM"
    own.render.use_compositing = own.render.use_sequencer = False
    own.view_settings.view_transform = "Standard"  # its colours are not shown, only merged
    own.view_layers[0].use_pass_z = True
    wanted = [*people, *_cameras(scene)]
    for ob in list(own.collection.objects):
        if ob not in wanted:
            own.collection.objects.unlink(ob)
    for ob in wanted:
        if own.objects.get(ob.name) != ob:
            own.collection.objects.link(ob)
    own.camera = scene.camera
    own.frame_start, own.frame_end = scene.frame_start, scene.frame_end
    own.render.resolution_x = scene.render.resolution_x
    own.render.resolution_y = scene.render.resolution_y
    return own


def _settle_colours(scene: bpy.types.Scene, notes: list[str]) -> str:
    """Do what the choice says about the view transform; return the one to keep colours under."""
    view, choice = scene.view_settings, scene.dressform_merge.colours
    if choice == "STANDARD":
        view.view_transform, view.look = "Standard", "None"
    transform = str(view.view_transform)
    if transform == "Standard":
        return ""
    if choice == "KEEP" and merge_nodes.can_keep_colours(transform):
        if view.look != "None":
            notes.append(f"The look {view.look} still changes the people's colours")
        return transform
    notes.append(
        f"The view transform {transform} changes the people's colours; "
        "set Colours to Standard View to show them as trained"
    )
    return ""


def _remember(scene: bpy.types.Scene, view_layer: bpy.types.ViewLayer) -> None:
    scene[BEFORE] = {
        "engine": scene.render.engine,
        "use_pass_z": view_layer.use_pass_z,
        "use_compositing": scene.render.use_compositing,
        "use_nodes": merge_nodes.nodes_enabled(scene),
        "view_transform": scene.view_settings.view_transform,
        "look": scene.view_settings.look,
        "made_tree": False,
        "source": [],
        "place": "",
        "output": "",
    }


def _place(scene: bpy.types.Scene) -> str:
    return str(scene[BEFORE]["place"])


def _put_into_compositor(scene: bpy.types.Scene) -> None:
    state, before = scene.dressform_merge, scene[BEFORE]
    tree = merge_nodes.compositor(scene)
    node = merge_nodes.group_of(tree, state.group)
    if node is not None:
        merge_nodes.deliver(node, before["output"], state.output)
        merge_nodes.connect_people(node, state.people)
        before["output"] = state.output
        return
    dormant = merge_nodes.splice(
        scene, state.layer, state.people, state.group, place=state.place, output=state.output
    )
    before["place"], before["output"] = state.place, state.output
    before["made_tree"], before["source"] = dormant.made_tree, list(dormant.source)


def _restore_scene(scene: bpy.types.Scene, before: Any) -> None:
    layer = scene.view_layers.get(scene.dressform_merge.layer)
    if layer is not None:
        layer.use_pass_z = bool(before["use_pass_z"])
    scene.render.use_compositing = bool(before["use_compositing"])
    merge_nodes.switch_off(
        scene, made_tree=bool(before["made_tree"]), use_nodes=bool(before["use_nodes"])
    )
    if before["engine"] == "DRESSFORM":
        scene.render.engine = "DRESSFORM"
    if scene.dressform_merge.colours == "STANDARD":
        scene.view_settings.view_transform = str(before["view_transform"])
        scene.view_settings.look = str(before["look"])


def skinned_meshes(rig: bpy.types.Object) -> list[bpy.types.Object]:
    """Return the meshes that a rig deforms: stand-in, and a character's body, hair and clothes."""
    return [
        ob
        for ob in bpy.data.objects
        if ob.type == "MESH" and any(m.type == "ARMATURE" and m.object == rig for m in ob.modifiers)
    ]


def is_stand_in(mesh: bpy.types.Object) -> bool:
    """Tell whether a skinned mesh is the stand-in that Add Person made."""
    keys = mesh.data.shape_keys
    return keys is not None and beta_name(0) in keys.key_blocks


def _ground(rig: bpy.types.Object, *, shadows: bool) -> list[str]:
    """Hide a person's meshes from the camera, and let the best of them cast the shadow.

    A character's own body and clothes have the truer outline: the bare stand-in casts the shadow
    only where nothing else does.
    """
    meshes = skinned_meshes(rig)
    locked = [ob.name for ob in meshes if _is_linked(ob)]
    meshes = [ob for ob in meshes if not _is_linked(ob)]
    for ob in meshes:
        if BEFORE not in ob:
            ob[BEFORE] = [int(ob.hide_render), int(ob.visible_camera)]
    dressed = [ob for ob in meshes if not is_stand_in(ob) and not ob[BEFORE][0]]
    casting = (dressed or [ob for ob in meshes if is_stand_in(ob)]) if shadows else []
    for ob in meshes:
        ob.hide_render = ob not in casting
        ob.visible_camera = False
    if locked:
        return [f"{locked[0]} is linked from another file and stays visible; override it first"]
    if shadows and not casting:
        return [f"{rig.name} has no mesh that could cast a shadow"]
    return []


def _ground_portrait(ob: bpy.types.Object, *, shadows: bool) -> None:
    """Hide a portrait's stand-in from the camera, and from everything else without shadows.

    The object itself must go on to render: it is what Dressform sees.
    """
    if BEFORE not in ob:
        seen = [int(getattr(ob, name)) for name in _RAYS]
        ob[BEFORE] = [int(ob.hide_render), int(ob.visible_camera), *seen]
    ob.visible_camera = False
    for name in _RAYS:
        setattr(ob, name, shadows)


def _restore_mesh(ob: bpy.types.Object) -> None:
    hidden, seen, *rays = ob[BEFORE]
    ob.hide_render, ob.visible_camera = bool(hidden), bool(seen)
    for name, value in zip(_RAYS, rays, strict=False):  # meshes of people have none
        setattr(ob, name, bool(value))
    del ob[BEFORE]


def add_shadow_catcher(scene: bpy.types.Scene, rig: bpy.types.Object | None) -> bpy.types.Object:
    """Add a floor that shows nothing but the shadows on it, and make the film transparent.

    Args:
        rig: whose feet it lies under; the world's origin when None.

    Raises:
        CannotMerge: the engine has no shadow catchers.
    """
    if scene.render.engine != "CYCLES":  # pyright: ignore[reportUnnecessaryComparison]
        raise CannotMerge("only Cycles has shadow catchers", "set the render engine to Cycles")
    side = 10.0
    mesh = bpy.data.meshes.new("Shadow Catcher")
    corners = [(-side, -side, 0.0), (side, -side, 0.0), (side, side, 0.0), (-side, side, 0.0)]
    mesh.from_pydata(corners, [], [(0, 1, 2, 3)])
    floor = bpy.data.objects.new("Shadow Catcher", mesh)
    scene.collection.objects.link(floor)
    if rig is not None:
        floor.location = rig.matrix_world.translation
    floor.is_shadow_catcher = True
    scene.render.film_transparent = True
    return floor
