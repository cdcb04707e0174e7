"""What a scene remembers of its merge: `scene.dressform_merge`, choices and links.

The scene with the artist's objects is the *shown* one; the people are rendered by a small scene
of their own, which takes camera, size and border from the shown scene (`frame_scene`).
"""

# pyright: reportAttributeAccessIssue=false, reportOptionalMemberAccess=false
# pyright: reportIncompatibleMethodOverride=false, reportMissingModuleSource=false
# (Blender's stubs: unions of all data types, Optionals that never are None, other parameter names)
# pyright: reportInvalidTypeForm=false

from __future__ import annotations

import bpy


class DressformMerge(bpy.types.PropertyGroup):
    """How the people of a scene are merged with its own render."""

    people: bpy.props.PointerProperty(
        name="People",
        description="The scene that renders this scene's people",
        type=bpy.types.Scene,
    )
    shown: bpy.props.PointerProperty(
        name="Shown", description="The scene whose people this one renders", type=bpy.types.Scene
    )
    group: bpy.props.PointerProperty(name="Nodes", type=bpy.types.NodeTree)
    layer: bpy.props.StringProperty(name="View Layer")
    shadows: bpy.props.BoolProperty(
        name="Shadows and Reflections",
        description="The stand-ins cast shadows, bounce light and show in mirrors, "
        "without being seen by the camera",
        default=True,
    )
    colours: bpy.props.EnumProperty(
        name="Colours",
        description="What to do about a view transform that changes the people's colours",
        items=[
            (
                "KEEP",
                "Keep",
                "Show the people in their own colours under the scene's view transform",
            ),
            ("STANDARD", "Standard View", "Set the scene to the Standard view transform"),
            ("LINEAR", "Leave", "Let the view transform change the people too"),
        ],
        default="KEEP",
    )
    place: bpy.props.EnumProperty(
        name="Merge",
        description="Where in the compositor the people come in",
        items=[
            ("END", "Before the Output", "Your nodes do not change the people"),
            ("START", "After the Render Layer", "Your nodes change scene and people alike"),
        ],
        default="END",
    )
    output: bpy.props.EnumProperty(
        name="Deliver",
        description="What goes to the output",
        items=[
            ("Image", "Everything", "The scene with its people"),
            ("People", "People Only", "The people with holes where something stands in front"),
        ],
        default="Image",
    )
    margin: bpy.props.FloatProperty(
        name="Contact",
        description="How much nearer than a person something must be to cover it; "
        "keeps floors and seats from cutting into the clothes",
        default=0.03,
        min=0.0,
        soft_max=0.3,
        subtype="DISTANCE",
    )


CLASSES = (DressformMerge,)


def frame_scene(scene: bpy.types.Scene) -> bpy.types.Scene:
    """Return the scene whose camera, size and border a render of `scene` has."""
    # A capture runs without the extension's properties.
    merge = getattr(scene, "dressform_merge", None)
    return (merge.shown if merge is not None else None) or scene


def register() -> None:
    """Register the group and attach it to scenes."""
    for kind in CLASSES:
        bpy.utils.register_class(kind)
    bpy.types.Scene.dressform_merge = bpy.props.PointerProperty(type=DressformMerge)


def unregister() -> None:
    """Undo `register`."""
    del bpy.types.Scene.dressform_merge
    for kind in reversed(CLASSES):
        bpy.utils.unregister_class(kind)
