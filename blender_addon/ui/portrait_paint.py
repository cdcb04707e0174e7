"""Paint Labels: the label map of a view becomes an image to paint on, and is painted from."""

# pyright: reportAttributeAccessIssue=false, reportOptionalMemberAccess=false
# pyright: reportIncompatibleMethodOverride=false, reportMissingModuleSource=false
# (Blender's stubs: unions of all data types, Optionals that never are None, other parameter names)
# pyright: reportInvalidTypeForm=false

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import bpy

from .. import portrait_service
from ..contract.errors import BadParameter, DressformError
from ..scene import label_painting, portraits
from ..scene.cameras import scene_camera, view_camera
from . import watching
from .portraits import OnPortrait, portrait_of
from .waiting import Outcome, Waiting, refuse

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..contract.camera import Camera


class DRESSFORM_OT_paint_labels(OnPortrait, Waiting):
    """Draw the label map of this view as an image, and let the portrait be painted from it."""

    bl_idname = "dressform.paint_labels"
    bl_label = "Paint Labels"
    bl_options = {"REGISTER", "UNDO"}

    view: bpy.props.EnumProperty(
        name="View",
        items=[
            ("CAMERA", "Camera", "What the scene's camera sees, at the render's resolution"),
            ("VIEWPORT", "Viewport", "What this 3D view sees"),
        ],
        default="CAMERA",
    )

    _request: Any = None  # a PortraitRender; Blender evaluates annotations, which must exist then
    _uid: int = 0

    def execute(self, context: bpy.types.Context) -> Outcome:
        ob = portrait_of(context)
        depsgraph = context.evaluated_depsgraph_get()
        try:
            camera = self._camera(context, depsgraph)
            portrait = portraits.read_portrait(ob.evaluated_get(depsgraph))
            request = replace(portrait, painted=None).request(camera, ("labels",), "final", "")
        except DressformError as error:
            return refuse(self, error)
        self._request, self._uid = request, ob.session_uid
        return super().execute(context)

    def _camera(self, context: bpy.types.Context, depsgraph: bpy.types.Depsgraph) -> Camera:
        if self.view == "CAMERA":
            return scene_camera(depsgraph)
        region: Any = context.region
        view: Any = getattr(context, "region_data", None)
        if region is None or view is None:
            raise BadParameter("this is no 3D view", "choose View: Camera")
        return view_camera(region, view)

    def work(self) -> Callable[[Callable[[], bool]], Any]:
        request = self._request
        return lambda stop: portrait_service.label_map(watching.server(stop), request)

    def finish(self, context: bpy.types.Context, result: Any) -> None:
        ob = watching.object_of(self._uid)
        if ob is None:
            return
        image = label_painting.label_image(f"{ob.name} Labels", result)
        portraits.set_painted(ob, image, self._request.camera)
        label_painting.use_label_palette(context.scene)  # pyright: ignore[reportArgumentType]
        if not bpy.app.background and not _open_image(context, image):
            self.report({"INFO"}, f"Open {image.name} in the Image Editor and switch it to Paint")


def _open_image(context: bpy.types.Context, image: bpy.types.Image) -> bool:
    """Show the image ready to be painted on; return whether an image editor was open for it."""
    if context.window is None:
        return False
    for area in context.window.screen.areas:
        if area.type == "IMAGE_EDITOR":
            space: Any = area.spaces.active
            space.image, space.ui_mode = image, "PAINT"
            return True
    return False


class DRESSFORM_OT_clear_painted(OnPortrait, bpy.types.Operator):
    """Let the portrait show its own labels again; the painted image stays in the file."""

    bl_idname = "dressform.clear_painted"
    bl_label = "Clear"
    bl_options = {"REGISTER", "UNDO"}

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        if not super().poll(context):
            return False
        if portrait_of(context).dressform_portrait.painted is not None:
            return True
        cls.poll_message_set("No labels are painted for this portrait")
        return False

    def execute(self, context: bpy.types.Context) -> Outcome:
        portraits.clear_painted(portrait_of(context))
        return {"FINISHED"}


@bpy.app.handlers.persistent
def _before_saving(*_: Any) -> None:
    # A painted image that is not packed would be lost with the session.
    label_painting.pack_painted(bpy.data.objects)


CLASSES = (DRESSFORM_OT_paint_labels, DRESSFORM_OT_clear_painted)


def register() -> None:
    """Let painted labels be saved with the file."""
    bpy.app.handlers.save_pre.append(_before_saving)


def unregister() -> None:
    """Undo `register`."""
    bpy.app.handlers.save_pre.remove(_before_saving)
