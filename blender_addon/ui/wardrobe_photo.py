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
from ..contract.wardrobe import MAX_PHOTOGRAPHS, AvatarFit
from ..scene import stills
from . import gallery, photo_options, photos
from .waiting import Outcome, redraw, refuse
from .wardrobe import no_wardrobe, wardrobe_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..asking import FitProgress, Server
    from ..wardrobe_service import Fitted

STAGE_WORDS = {
    "Body": "Finding the person",
    "Encoder": "First guess",
    "W": "1 of 4: likeness",
    "Generator": "2 of 4: finer likeness",
    "Noise": "3 of 4: fine grain",
    "Texture": "4 of 4: colors of the photograph",
    "Writing": "Saving",
}
"""What the stages of a fit (docs/fit.md) do, in an artist's words."""

making = photos.Making(
    "Person From Photo", "person from photo", "dressform.cancel_person_photo", STAGE_WORDS
)


class DRESSFORM_OT_person_from_photo(photo_options.PhotoOptions, bpy.types.Operator):
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
            photos, names = self._photographs(context.scene)  # pyright: ignore[reportArgumentType]
            name = self.name or names[0].replace("_", " ").title()
            wanted = AvatarFit(
                wardrobe=wardrobe_of(context),
                name=name,
                images=tuple(photo.image for photo in photos),
                replace=self.replace,
                **photo_options.of_fit(self, photos, names),
            )
            _start(wanted, context.scene.name)
        except DressformError as error:
            return refuse(self, error)
        if bpy.app.background:
            self.report({"INFO"}, f"{name} is in the gallery")
        redraw(context)
        return {"FINISHED"}

    def draw(self, _context: bpy.types.Context) -> None:
        layout: Any = self.layout
        layout.prop(self, "name")
        layout.prop(self, "replace", text="Replace an Avatar of This Name")
        photo_options.draw(layout, self)

    def _photographs(self, scene: bpy.types.Scene) -> tuple[list[stills.Still], list[str]]:
        """Return the photographs and what they are called."""
        if self.source == "CAMERA":
            still = stills.camera_still(scene)
            return [still], [scene.camera.name]
        if self.source == "IMAGE":
            return [stills.open_image(self.image)], [Path(self.image).stem]
        paths = [Path(self.directory, file.name) for file in self.files if file.name]
        paths = paths or [Path(self.filepath)]
        if len(paths) > MAX_PHOTOGRAPHS:
            raise BadParameter(
                f"{len(paths)} photographs were chosen", f"choose at most {MAX_PHOTOGRAPHS}"
            )
        return [stills.read_photo(path) for path in paths], [path.stem for path in paths]


def _start(wanted: AvatarFit, scene: str) -> None:
    def work(server: Server, tell: Callable[[FitProgress], None]) -> Fitted:
        found = wardrobe_service.find(server, wanted.wardrobe)
        return wardrobe_service.fit(server, replace(wanted, wardrobe=found.id), tell)

    def show(fitted: Fitted) -> None:
        making.notes = fitted.notes
        gallery.show(scene, "avatar", fitted.avatar.id)

    making.begin(wanted.name, work, show)


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
    settings = context.scene.dressform
    row = layout.row(align=True)
    _button(row, context, "FILE", text="File…", icon="FILE_IMAGE")
    _button(row, context, "CAMERA", text="Camera", icon="CAMERA_DATA")
    row = layout.row(align=True)
    row.prop(settings, "photo", text="")
    button = row.row(align=True)
    button.enabled = settings.photo is not None
    take = _button(button, context, "IMAGE", text="Image", icon="IMAGE_DATA")
    take.image = settings.photo.name if settings.photo is not None else ""
    making.draw_outcome(layout)


def _button(layout: Any, context: bpy.types.Context, source: str, **shown: str) -> Any:
    """Draw a button that begins with what the panel's options say; return its operator."""
    take = layout.operator("dressform.person_from_photo", **shown)
    take.source = source
    photo_options.copy(context.scene.dressform.photo_options, take)
    return take


def _image_menu(menu: Any, context: Any) -> None:
    """Offer the image of an image editor, in its menu."""
    image = context.space_data.image
    if image is not None:
        menu.layout.separator()
        _button(menu.layout, context, "IMAGE", text="Person From This Image").image = image.name


CLASSES = (DRESSFORM_OT_person_from_photo, DRESSFORM_OT_cancel_person_photo)


def register() -> None:
    """Join the image editor's menu."""
    bpy.types.IMAGE_MT_image.append(_image_menu)


def unregister() -> None:
    """Undo `register`."""
    bpy.types.IMAGE_MT_image.remove(_image_menu)
