"""From Photo…: a photograph becomes a portrait, with progress, pictures and Cancel."""

# pyright: reportAttributeAccessIssue=false, reportOptionalMemberAccess=false
# pyright: reportIncompatibleMethodOverride=false, reportMissingModuleSource=false
# (Blender's stubs: unions of all data types, Optionals that never are None, other parameter names)
# pyright: reportInvalidTypeForm=false

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import bpy

from .. import portrait_service
from ..contract.errors import DressformError
from ..contract.portraits import PortraitFit, portrait_id
from ..scene import stills
from . import gallery, photos
from .waiting import Outcome, redraw, refuse

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    from numpy.typing import NDArray

    from ..asking import FitProgress, Server
    from ..portrait_service import Fitted

making = photos.Making("From Photo", "portrait from photo", "dressform.cancel_photo")


class DRESSFORM_OT_portrait_from_photo(bpy.types.Operator):
    """Make a portrait of the person in a photograph; it takes minutes and can be cancelled."""

    bl_idname = "dressform.portrait_from_photo"
    bl_label = "From Photo"
    bl_options = {"REGISTER"}

    filepath: bpy.props.StringProperty(subtype="FILE_PATH", options={"SKIP_SAVE"})
    filter_glob: bpy.props.StringProperty(default=stills.PICTURE_FILES, options={"HIDDEN"})
    name: bpy.props.StringProperty(
        name="Name", description="Of the portrait; empty: the file's name", options={"SKIP_SAVE"}
    )
    portrait: bpy.props.StringProperty(
        name="Networks Of",
        description="Id of the portrait whose networks are used; empty: the chosen one",
        options={"SKIP_SAVE"},
    )
    replace: bpy.props.BoolProperty(
        name="Replace", description="A portrait of this name", options={"SKIP_SAVE"}
    )

    @classmethod
    def poll(cls, _context: bpy.types.Context) -> bool:
        if making.running:
            cls.poll_message_set("A portrait is being made: wait for it, or cancel it")
            return False
        return True

    def invoke(self, context: bpy.types.Context, _event: bpy.types.Event) -> Outcome:
        context.window_manager.fileselect_add(self)
        return {"RUNNING_MODAL"}

    def execute(self, context: bpy.types.Context) -> Outcome:
        """Begin; wait for the end only in background mode."""
        path = Path(self.filepath)
        name = self.name or path.stem.replace("_", " ").title()
        base = self.portrait or context.scene.dressform.portrait
        scene = context.scene.name
        try:
            image = stills.read_photo(path).image
            identity = portrait_id(name)
            _start(name, identity, base, image, scene, replace=self.replace)
        except DressformError as error:
            return refuse(self, error)
        if bpy.app.background:
            self.report({"INFO"}, f"{name} is in the gallery")
        redraw(context)
        return {"FINISHED"}


def _start(
    name: str, identity: str, base: str, image: NDArray[np.uint8], scene: str, *, replace: bool
) -> None:
    def work(server: Server, tell: Callable[[FitProgress], None]) -> Fitted:
        entry, _facts = portrait_service.find(server, base)
        wanted = PortraitFit(
            portrait=entry.id, name=name, id=identity, image=image, replace=replace
        )
        return portrait_service.fit(server, wanted, tell)

    making.begin(name, work, lambda made: gallery.show(scene, "portrait", made.portrait.id))


class DRESSFORM_OT_cancel_photo(bpy.types.Operator):
    """Give up the portrait that is being made of a photograph."""

    bl_idname = "dressform.cancel_photo"
    bl_label = "Cancel"
    bl_options = {"INTERNAL"}

    @classmethod
    def poll(cls, _context: bpy.types.Context) -> bool:
        return making.running

    def execute(self, context: bpy.types.Context) -> Outcome:
        making.stop()
        redraw(context)
        return {"FINISHED"}


def draw(layout: Any) -> None:
    """Draw the button, or how far the portrait in the making is."""
    if making.running:
        making.draw(layout)
        return
    layout.operator("dressform.portrait_from_photo", text="From Photo…", icon="IMAGE_DATA")
    making.draw_outcome(layout)


CLASSES = (DRESSFORM_OT_portrait_from_photo, DRESSFORM_OT_cancel_photo)
