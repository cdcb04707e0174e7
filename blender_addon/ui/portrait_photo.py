"""From Photo…: a photograph becomes a portrait, with progress, pictures and Cancel."""

# pyright: reportAttributeAccessIssue=false, reportOptionalMemberAccess=false
# pyright: reportIncompatibleMethodOverride=false, reportMissingModuleSource=false
# (Blender's stubs: unions of all data types, Optionals that never are None, other parameter names)
# pyright: reportInvalidTypeForm=false

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import bpy

from .. import portrait_service
from ..contract.errors import BadParameter, DressformError
from ..contract.portraits import PortraitFit, portrait_id
from ..portrait_service import FitProgress
from ..scene import portraits
from . import gallery, watching
from .waiting import Outcome, redraw, refuse

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    from numpy.typing import NDArray

    from ..portrait_service import Fitted

KEY = "portrait from photo"


class _State:
    """The fit that is under way; one at a time."""

    name = ""
    progress = FitProgress()


def read_photo(path: Path) -> NDArray[np.uint8]:
    """Return a picture file as (H, W, 3) uint8 sRGB, read by Blender.

    Raises:
        BadParameter: it is no picture that Blender can read.
    """
    try:
        image = bpy.data.images.load(str(path))
    except RuntimeError as error:
        raise BadParameter(
            f"{path.name} cannot be read as a picture", "choose a JPEG or PNG file"
        ) from error
    try:
        if not image.has_data and not len(image.pixels):  # pyright: ignore[reportArgumentType]
            raise BadParameter(f"{path.name} holds no picture", "choose a JPEG or PNG file")
        return portraits.image_bytes(image)[..., :3].copy()
    finally:
        bpy.data.images.remove(image)


class DRESSFORM_OT_portrait_from_photo(bpy.types.Operator):
    """Make a portrait of the person in a photograph; it takes minutes and can be cancelled."""

    bl_idname = "dressform.portrait_from_photo"
    bl_label = "From Photo"
    bl_options = {"REGISTER"}

    filepath: bpy.props.StringProperty(subtype="FILE_PATH", options={"SKIP_SAVE"})
    filter_glob: bpy.props.StringProperty(
        default="*.jpg;*.jpeg;*.png;*.tif;*.tiff;*.webp;*.bmp", options={"HIDDEN"}
    )
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
        if watching.is_running(KEY):
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
            image = read_photo(path)
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
    def tell(progress: FitProgress) -> None:
        _State.progress = progress

    def work(stop: Callable[[], bool]) -> Fitted:
        server = watching.server(stop)
        entry, _facts = portrait_service.find(server, base)
        wanted = PortraitFit(
            portrait=entry.id, name=name, id=identity, image=image, replace=replace
        )
        return portrait_service.fit(server, wanted, tell)

    def show(fitted: Fitted) -> None:
        gallery.refresh()
        found = bpy.data.scenes.get(scene)
        if found is not None:
            with contextlib.suppress(TypeError):  # a gallery that was emptied meanwhile
                found.dressform.portrait = fitted.portrait.id

    _State.name, _State.progress = name, FitProgress()
    watching.watch("From Photo", KEY, work, show)


class DRESSFORM_OT_cancel_photo(bpy.types.Operator):
    """Give up the portrait that is being made of a photograph."""

    bl_idname = "dressform.cancel_photo"
    bl_label = "Cancel"
    bl_options = {"INTERNAL"}

    @classmethod
    def poll(cls, _context: bpy.types.Context) -> bool:
        return watching.is_running(KEY)

    def execute(self, context: bpy.types.Context) -> Outcome:
        watching.stop(KEY)
        redraw(context)
        return {"FINISHED"}


def draw(layout: Any) -> None:
    """Draw the button, or how far the portrait in the making is."""
    if not watching.is_running(KEY):
        layout.operator("dressform.portrait_from_photo", text="From Photo…", icon="IMAGE_DATA")
        return
    progress = _State.progress
    box = layout.box()
    box.label(text=_State.name, icon="IMAGE_DATA")
    box.progress(factor=progress.share, text=f"{progress.share:.0%} {progress.stage}")
    box.label(text=progress.text)
    icon = gallery.progress_icon(progress.preview)
    if icon:
        box.template_icon(icon_value=icon, scale=7.0)
    box.operator("dressform.cancel_photo", icon="X")


CLASSES = (DRESSFORM_OT_portrait_from_photo, DRESSFORM_OT_cancel_photo)
