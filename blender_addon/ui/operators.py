"""The operators: thin. What may take time runs in a job while a timer watches it."""

# pyright: reportAttributeAccessIssue=false, reportOptionalMemberAccess=false
# pyright: reportIncompatibleMethodOverride=false, reportMissingModuleSource=false
# (Blender's stubs: unions of all data types, Optionals that never are None, other parameter names)
# pyright: reportInvalidTypeForm=false

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import bpy

from .. import connection, error_log, library
from ..contract.errors import DressformError
from ..scene import motions, rig, staging
from ..scene.people import is_person
from . import gallery
from .waiting import Outcome, Waiting, link_parts, redraw, refuse

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..scene.stand_in import BodyTemplate


class DRESSFORM_OT_start_server(Waiting):
    """Start the model server on this machine and load its avatars."""

    bl_idname = "dressform.start_server"
    bl_label = "Start Server"
    bl_options = {"REGISTER", "INTERNAL"}

    def work(self) -> Callable[[Callable[[], bool]], Any]:
        endpoint, revive = link_parts()
        return lambda stop: library.fetch(endpoint(), should_stop=stop, revive=revive)

    def finish(self, context: bpy.types.Context, result: Any) -> None:
        gallery.refresh()


class DRESSFORM_OT_refresh(DRESSFORM_OT_start_server):
    """Ask the server which avatars it has."""

    bl_idname = "dressform.refresh"
    bl_label = "Refresh"


class DRESSFORM_OT_stop_server(bpy.types.Operator):
    """Stop the model server that this Blender started."""

    bl_idname = "dressform.stop_server"
    bl_label = "Stop Server"

    def execute(self, context: bpy.types.Context) -> Outcome:
        connection.current().stop()
        redraw(context)
        return {"FINISHED"}


class DRESSFORM_OT_add_person(Waiting):
    """Add a person to pose and animate: a rig that wears the chosen avatar."""

    bl_idname = "dressform.add_person"
    bl_label = "Add Person"
    bl_options = {"REGISTER", "UNDO"}

    avatar: bpy.props.StringProperty(
        name="Avatar", description="Id of the avatar; empty for the first of the library"
    )

    def work(self) -> Callable[[Callable[[], bool]], Any]:
        return to_add(self.avatar)

    def finish(self, context: bpy.types.Context, result: Any) -> None:
        add_to_scene(self, context, result)


def to_add(wanted: str) -> Callable[[Callable[[], bool]], tuple[library.Avatar, BodyTemplate]]:
    """Return a job's work that finds an avatar, or the first of the library, and its body."""
    endpoint, revive = link_parts()

    def fetch(stop: Callable[[], bool]) -> tuple[library.Avatar, BodyTemplate]:
        address = endpoint()
        if not library.known.avatars or wanted:
            library.fetch(address, should_stop=stop, revive=revive)
        avatar = library.known.first_or(wanted)
        body = library.fetch_template(address, avatar.body, should_stop=stop, revive=revive)
        return avatar, body

    return fetch


def add_to_scene(
    operator: bpy.types.Operator,
    context: bpy.types.Context,
    found: tuple[library.Avatar, BodyTemplate],
) -> bpy.types.Object:
    """Add a person, whom `to_add` found; return the rig, which is active then."""
    avatar, template = found
    gallery.refresh()
    first = not any(is_person(ob) for ob in context.scene.objects)
    added = rig.add_person(context, template, avatar.id, name=avatar.name, betas=avatar.betas)
    if first and staging.prepare_scene(context.scene):  # pyright: ignore[reportArgumentType]
        operator.report({"INFO"}, "Scene set to the Dressform engine and the Standard view")
    return added


class _OnPerson:
    """What operators on the active rig share; the poll's message says what is missing."""

    @classmethod
    def poll(cls: Any, context: bpy.types.Context) -> bool:
        if is_person(context.object):
            return True
        cls.poll_message_set("Select the rig of a person first (Add Person makes one)")
        return False


class DRESSFORM_OT_import_motion(_OnPerson, bpy.types.Operator):
    """Import a motion (AMASS .npz, SMPLify-X .npz or .pkl) as keyframes of the active person."""

    bl_idname = "dressform.import_motion"
    bl_label = "Import Motion"
    bl_options = {"REGISTER", "UNDO"}

    filepath: bpy.props.StringProperty(subtype="FILE_PATH", options={"SKIP_SAVE"})
    directory: bpy.props.StringProperty(subtype="DIR_PATH", options={"SKIP_SAVE"})
    files: bpy.props.CollectionProperty(
        type=bpy.types.OperatorFileListElement, options={"SKIP_SAVE"}
    )
    filter_glob: bpy.props.StringProperty(default="*.npz;*.pkl", options={"HIDDEN"})
    start: bpy.props.IntProperty(
        name="Start Frame", description="Frame of the first keyframe", default=1
    )
    up_axis: bpy.props.EnumProperty(
        name="Up Axis",
        description="Which way is up in the file",
        items=[
            ("AUTO", "From the File", "AMASS is Z up; SMPLify-X looks through its camera"),
            ("Y", "Y", "Y is up"),
            ("Z", "Z", "Z is up"),
            ("-Y", "−Y (Camera)", "Y points down, as in a camera's view"),
        ],
        default="AUTO",
    )
    scene_range: bpy.props.BoolProperty(
        name="Set Frame Range", description="Let the scene play the whole motion", default=True
    )

    def invoke(self, context: bpy.types.Context, _event: bpy.types.Event) -> Outcome:
        context.window_manager.fileselect_add(self)
        return {"RUNNING_MODAL"}

    def execute(self, context: bpy.types.Context) -> Outcome:
        names = [Path(self.directory, entry.name) for entry in self.files if entry.name]
        try:
            notes = motions.import_motion(
                context,
                context.object,  # pyright: ignore[reportArgumentType]
                names or [Path(self.filepath)],
                start=self.start,
                up_axis=None if self.up_axis == "AUTO" else self.up_axis,
                set_range=self.scene_range,
            )
        except DressformError as error:
            return refuse(self, error)
        for note in notes:
            self.report({"WARNING"}, note)
        return {"FINISHED"}


class DRESSFORM_OT_apply_motion(_OnPerson, bpy.types.Operator):
    """Let the active person do this motion."""

    bl_idname = "dressform.apply_motion"
    bl_label = "Apply Motion"
    bl_options = {"REGISTER", "UNDO"}

    motion: bpy.props.EnumProperty(name="Motion", items=motions.OWN_MOTIONS)

    def execute(self, context: bpy.types.Context) -> Outcome:
        try:
            motions.import_motion(
                context,
                context.object,  # pyright: ignore[reportArgumentType]
                [motions.own_motion(self.motion)],
                set_range=True,  # pyright: ignore[reportArgumentType]
            )
        except DressformError as error:
            return refuse(self, error)
        return {"FINISHED"}


class DRESSFORM_OT_use_engine(bpy.types.Operator):
    """Render this scene with Dressform, in the Standard view that shows avatars as trained."""

    bl_idname = "dressform.use_engine"
    bl_label = "Use Dressform"
    bl_options = {"REGISTER", "UNDO"}

    def execute(self, context: bpy.types.Context) -> Outcome:
        context.scene.render.engine = "DRESSFORM"
        context.scene.view_settings.view_transform = "Standard"
        return {"FINISHED"}


class DRESSFORM_OT_reset_sliders(_OnPerson, bpy.types.Operator):
    """Set the shape and expression sliders of the active person to their first values."""

    bl_idname = "dressform.reset_sliders"
    bl_label = "Reset Sliders"
    bl_options = {"REGISTER", "UNDO"}

    def execute(self, context: bpy.types.Context) -> Outcome:
        rig.reset_sliders(context.object)  # pyright: ignore[reportArgumentType]
        return {"FINISHED"}


class DRESSFORM_OT_copy_report(bpy.types.Operator):
    """Copy the error log and versions, to paste into a report."""

    bl_idname = "dressform.copy_report"
    bl_label = "Copy Report"

    def execute(self, context: bpy.types.Context) -> Outcome:
        context.window_manager.clipboard = error_log.report(bpy.app.version_string)
        self.report({"INFO"}, "The report is in the clipboard")
        return {"FINISHED"}


class DRESSFORM_OT_clear_errors(bpy.types.Operator):
    """Empty the error log."""

    bl_idname = "dressform.clear_errors"
    bl_label = "Clear"

    def execute(self, context: bpy.types.Context) -> Outcome:
        error_log.clear()
        redraw(context)
        return {"FINISHED"}


CLASSES = (
    DRESSFORM_OT_start_server,
    DRESSFORM_OT_refresh,
    DRESSFORM_OT_stop_server,
    DRESSFORM_OT_add_person,
    DRESSFORM_OT_import_motion,
    DRESSFORM_OT_apply_motion,
    DRESSFORM_OT_use_engine,
    DRESSFORM_OT_reset_sliders,
    DRESSFORM_OT_copy_report,
    DRESSFORM_OT_clear_errors,
)
