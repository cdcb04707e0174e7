"""From Photo: photographs of a person become an avatar, with progress, pictures and Cancel."""

# pyright: reportAttributeAccessIssue=false, reportOptionalMemberAccess=false
# pyright: reportIncompatibleMethodOverride=false, reportMissingModuleSource=false
# (Blender's stubs: unions of all data types, Optionals that never are None, other parameter names)
# pyright: reportInvalidTypeForm=false

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import bpy

from .. import wardrobe_service
from ..contract.errors import BadParameter, DressformError
from ..contract.wardrobe import MAX_PHOTOGRAPHS, OPTIMISED, AvatarFit
from ..scene import stills
from . import photos
from .waiting import Outcome, redraw, refuse
from .wardrobe import no_wardrobe, wardrobe_of
from .wardrobe_mix import show_avatar

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    from numpy.typing import NDArray

    from ..asking import FitProgress, Server
    from ..library import Avatar

making = photos.Making("Person From Photo", "person from photo", "dressform.cancel_person_photo")


class DRESSFORM_OT_person_from_photo(bpy.types.Operator):
    """Make an avatar of the person in a photograph; it takes minutes and can be cancelled."""

    bl_idname = "dressform.person_from_photo"
    bl_label = "Person From Photo"
    bl_options = {"REGISTER"}

    source: bpy.props.EnumProperty(
        name="Photograph",
        items=[
            ("FILE", "File", "One file, or several of the same person"),
            ("CAMERA", "Camera", "What the scene's camera sees, rendered now"),
            ("IMAGE", "Image", "An image that is open in this file"),
        ],
        options={"SKIP_SAVE"},
    )
    filepath: bpy.props.StringProperty(subtype="FILE_PATH", options={"SKIP_SAVE"})
    directory: bpy.props.StringProperty(subtype="DIR_PATH", options={"SKIP_SAVE"})
    files: bpy.props.CollectionProperty(
        type=bpy.types.OperatorFileListElement, options={"SKIP_SAVE"}
    )
    filter_glob: bpy.props.StringProperty(default=stills.PICTURE_FILES, options={"HIDDEN"})
    image: bpy.props.StringProperty(
        name="Image", description="Name of the open image", options={"SKIP_SAVE"}
    )
    name: bpy.props.StringProperty(
        name="Name",
        description="Of the avatar; empty: that of the file, image or camera",
        options={"SKIP_SAVE"},
    )
    quick: bpy.props.BoolProperty(
        name="First Guess Only",
        description="Take what the encoder sees at a glance: seconds instead of minutes",
    )
    minutes: bpy.props.FloatProperty(
        name="Minutes at Most",
        description="Take what has been found by then; 0: as long as it takes",
        min=0.0,
        max=24 * 60.0,
    )
    refine: bpy.props.BoolProperty(
        name="Refine Body", description="Fit shape and pose once more, by the picture"
    )
    replace: bpy.props.BoolProperty(
        name="Replace", description="An avatar of this name", options={"SKIP_SAVE"}
    )

    @classmethod
    def poll(cls, _context: bpy.types.Context) -> bool:
        if making.running:
            cls.poll_message_set("A person is being made: wait for them, or cancel")
            return False
        return not no_wardrobe(cls)

    def invoke(self, context: bpy.types.Context, _event: bpy.types.Event) -> Outcome:
        if self.source != "FILE":
            return self.execute(context)
        context.window_manager.fileselect_add(self)
        return {"RUNNING_MODAL"}

    def execute(self, context: bpy.types.Context) -> Outcome:
        """Begin; wait for the end only in background mode."""
        try:
            images, title = self._photographs(context.scene)  # pyright: ignore[reportArgumentType]
            name = self.name or title.replace("_", " ").title()
            wanted = AvatarFit(
                wardrobe=wardrobe_of(context),
                name=name,
                images=images,
                stages=() if self.quick else OPTIMISED,
                seconds=60.0 * self.minutes or None,
                refine=self.refine,
                replace=self.replace,
            )
            _start(wanted, context.scene.name)
        except DressformError as error:
            return refuse(self, error)
        if bpy.app.background:
            self.report({"INFO"}, f"{name} is in the gallery")
        redraw(context)
        return {"FINISHED"}

    def _photographs(self, scene: bpy.types.Scene) -> tuple[tuple[NDArray[np.uint8], ...], str]:
        if self.source == "CAMERA":
            still = stills.camera_still(scene)
            return (still,), scene.camera.name
        if self.source == "IMAGE":
            return (stills.open_image(self.image),), Path(self.image).stem
        paths = [Path(self.directory, file.name) for file in self.files if file.name]
        paths = paths or [Path(self.filepath)]
        if len(paths) > MAX_PHOTOGRAPHS:
            raise BadParameter(
                f"{len(paths)} photographs were chosen", f"choose at most {MAX_PHOTOGRAPHS}"
            )
        return tuple(stills.read_photo(path) for path in paths), paths[0].stem


def _start(wanted: AvatarFit, scene: str) -> None:
    def work(server: Server, tell: Callable[[FitProgress], None]) -> Avatar:
        found = wardrobe_service.find(server, wanted.wardrobe)
        return wardrobe_service.fit(server, replace(wanted, wardrobe=found.id), tell)

    making.begin(wanted.name, work, lambda avatar: show_avatar(scene, avatar))


class DRESSFORM_OT_cancel_person_photo(bpy.types.Operator):
    """Give up the person who is being made of a photograph."""

    bl_idname = "dressform.cancel_person_photo"
    bl_label = "Cancel"
    bl_options = {"INTERNAL"}

    @classmethod
    def poll(cls, _context: bpy.types.Context) -> bool:
        return making.running

    def execute(self, context: bpy.types.Context) -> Outcome:
        making.stop()
        redraw(context)
        return {"FINISHED"}


def draw(layout: Any, context: bpy.types.Context) -> None:
    """Draw the buttons, or how far the person in the making is."""
    if making.running:
        making.draw(layout)
        return
    name = "dressform.person_from_photo"
    layout.label(text="Person from a photograph:")
    row = layout.row(align=True)
    row.operator(name, text="File…", icon="FILE_IMAGE").source = "FILE"
    row.operator(name, text="Camera", icon="CAMERA_DATA").source = "CAMERA"
    row = layout.row(align=True)
    row.prop(context.scene.dressform, "photo", text="")
    chosen = context.scene.dressform.photo
    button = row.row(align=True)
    button.enabled = chosen is not None
    take = button.operator(name, text="Image", icon="IMAGE_DATA")
    take.source, take.image = "IMAGE", chosen.name if chosen is not None else ""


def _image_menu(menu: Any, context: Any) -> None:
    """Offer the image of an image editor, in its menu."""
    image = context.space_data.image
    if image is not None:
        menu.layout.separator()
        take = menu.layout.operator("dressform.person_from_photo", text="Person From This Image")
        take.source, take.image = "IMAGE", image.name


CLASSES = (DRESSFORM_OT_person_from_photo, DRESSFORM_OT_cancel_person_photo)


def register() -> None:
    """Join the image editor's menu."""
    bpy.types.IMAGE_MT_image.append(_image_menu)


def unregister() -> None:
    """Undo `register`."""
    bpy.types.IMAGE_MT_image.remove(_image_menu)
