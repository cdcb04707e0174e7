"""Make Neural: a panel below People, and its operators. The work is in `make_neural`."""

# pyright: reportAttributeAccessIssue=false, reportOptionalMemberAccess=false
# pyright: reportIncompatibleMethodOverride=false, reportMissingModuleSource=false
# (Blender's stubs: unions of all data types, Optionals that never are None, other parameter names)
# pyright: reportInvalidTypeForm=false

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import bpy

from .. import error_log, neural_character
from ..contract.avatar_train import avatar_id
from ..contract.errors import BadParameter, Cancelled, DressformError
from ..job import Job
from ..make_neural import Order, Progress, make_neural
from . import gallery
from .sidebar import Sidebar, paragraph
from .waiting import Outcome, redraw, refuse

if TYPE_CHECKING:
    from pathlib import Path

    from ..library import Avatar

_TICK_SECONDS = 0.25
_LENGTHS = {
    # frames, held-out frames, side in pixels, samples, minutes of training
    "QUICK": (60, 8, 384, 8, 8.0),
    "GOOD": (200, 20, 512, 12, 30.0),
    "BEST": (400, 40, 768, 24, 90.0),
}


@dataclass
class Running:
    """An avatar in the making."""

    order: Order
    folder: Path
    job: Job[Avatar]
    wear: bool
    progress: Progress
    scene: str


class _State:
    """What this Blender is making; one at a time."""

    running: Running | None = None


class DressformMakeNeural(bpy.types.PropertyGroup):
    """`scene.dressform_neural`: how to make the selected character neural."""

    name: bpy.props.StringProperty(
        name="Name", description="What the avatar is called; empty: the rig's name"
    )
    length: bpy.props.EnumProperty(
        name="Quality",
        description="How much is rendered and how long is trained",
        items=[
            ("QUICK", "Quick", "60 frames of 384², 8 minutes of training: to see whether it works"),
            ("GOOD", "Good", "200 frames of 512², 30 minutes of training"),
            ("BEST", "Best", "400 frames of 768², 90 minutes of training"),
        ],
        default="GOOD",
    )
    lights: bpy.props.EnumProperty(
        name="Light",
        description="What lights the character while it is captured: avatars keep their light",
        items=[
            ("studio", "Studio", "Soft, even studio light"),
            ("scene", "Scene", "The lights of this scene"),
        ],
        default="studio",
    )
    wear: bpy.props.BoolProperty(
        name="Wear It",
        description="Let the rig wear the avatar when it is finished",
        default=True,
    )


class DRESSFORM_OT_make_neural(bpy.types.Operator):
    """Make an avatar of the selected character: render it, train, add it to the gallery."""

    bl_idname = "dressform.make_neural"
    bl_label = "Make Neural"
    bl_options = {"REGISTER", "INTERNAL"}

    name: bpy.props.StringProperty(name="Name", options={"SKIP_SAVE"})
    frames: bpy.props.IntProperty(name="Frames", min=0, options={"SKIP_SAVE"})
    held_out: bpy.props.IntProperty(name="Held-out Frames", default=-1, options={"SKIP_SAVE"})
    size: bpy.props.IntProperty(name="Size", min=0, max=8192, options={"SKIP_SAVE"})
    samples: bpy.props.IntProperty(name="Samples", min=0, options={"SKIP_SAVE"})
    minutes: bpy.props.FloatProperty(name="Minutes", min=0.0, options={"SKIP_SAVE"})
    steps: bpy.props.IntProperty(name="Steps", min=0, options={"SKIP_SAVE"})
    recipe: bpy.props.StringProperty(
        name="Recipe",
        description="Of training; empty: the server's choice for its device",
        options={"SKIP_SAVE"},
    )
    replace: bpy.props.BoolProperty(
        name="Replace", description="An avatar of this name", options={"SKIP_SAVE"}
    )
    resume: bpy.props.StringProperty(
        name="Go on with", description="Id of an avatar that was begun", options={"SKIP_SAVE"}
    )

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        if _State.running is not None:
            cls.poll_message_set("An avatar is being made: wait for it, or cancel it")
            return False
        return True

    def execute(self, context: bpy.types.Context) -> Outcome:
        """Begin; wait for the end only in background mode."""
        try:
            order, folder = self._begun(context) if not self.resume else _resumed(self.resume)
        except DressformError as error:
            return refuse(self, error)
        running = _start(order, folder, context.scene)  # pyright: ignore[reportArgumentType]
        if bpy.app.background:
            return self._wait(running)
        _State.running = running
        bpy.app.timers.register(_tick, first_interval=_TICK_SECONDS, persistent=True)
        return {"FINISHED"}

    def _begun(self, context: bpy.types.Context) -> tuple[Order, Path]:
        hindrance = neural_character.why_not(context.scene, context.object)  # pyright: ignore[reportArgumentType]
        if hindrance is not None:
            raise hindrance
        rig = neural_character.rig_of(context.object)
        order = self._order(context.scene.dressform_neural, rig.name)
        folder = neural_character.work_folder(order.avatar)
        neural_character.begin(folder)
        return order, folder

    def _order(self, chosen: DressformMakeNeural, rig: str) -> Order:
        frames, held_out, size, samples, minutes = _LENGTHS[chosen.length]
        name = self.name or chosen.name or rig
        return Order(
            name=name,
            avatar=avatar_id(name),
            rig=rig,
            frames=self.frames or frames,
            held_out=self.held_out if self.held_out >= 0 else held_out,
            size=self.size or size,
            samples=self.samples or samples,
            lights=chosen.lights,
            minutes=None if self.steps else self.minutes or minutes,
            steps=self.steps or None,
            recipe=self.recipe,
            replace=self.replace,
        )

    def _wait(self, running: Running) -> Outcome:
        """Wait, telling the terminal; timers do not fire in the background."""
        said = ""
        while not running.job.wait(_TICK_SECONDS):
            if running.progress.text != said:
                said = running.progress.text
                sys.stderr.write(f"Make Neural: {running.progress.share:4.0%} {said}\n")
        try:
            avatar = _finish(running)
        except DressformError as error:
            return refuse(self, error)
        self.report({"INFO"}, f"{avatar.name} is in the gallery")
        return {"FINISHED"}


class DRESSFORM_OT_cancel_neural(bpy.types.Operator):
    """Stop making the avatar; what is done is kept, and Continue goes on with it."""

    bl_idname = "dressform.cancel_neural"
    bl_label = "Cancel"
    bl_options = {"INTERNAL"}

    @classmethod
    def poll(cls, _context: bpy.types.Context) -> bool:
        return _State.running is not None

    def execute(self, _context: bpy.types.Context) -> Outcome:
        if _State.running is not None:
            _State.running.job.cancel()
        return {"FINISHED"}


class DRESSFORM_PT_make_neural(Sidebar):
    """From a character to an avatar."""

    bl_idname = "DRESSFORM_PT_make_neural"
    bl_label = "Make Neural"
    bl_options = {"DEFAULT_CLOSED"}

    def draw(self, context: bpy.types.Context) -> None:
        layout: Any = self.layout
        if _State.running is not None:
            _draw_progress(layout, _State.running)
            return
        chosen = context.scene.dressform_neural
        rig = neural_character.rig_of(context.object)
        column = layout.column()
        column.use_property_split = True
        column.prop(chosen, "name", placeholder=rig.name if rig else "")
        column.prop(chosen, "length")
        column.prop(chosen, "lights")
        column.prop(chosen, "wear")
        hindrance = neural_character.why_not(context.scene, context.object)  # pyright: ignore[reportArgumentType]
        if hindrance is not None:
            paragraph(layout, hindrance.cause)
            paragraph(layout, f"→ {hindrance.next_step}")
        row = layout.row()
        row.scale_y = 1.4
        row.enabled = hindrance is None
        row.operator("dressform.make_neural", icon="SHADERFX")
        for order in neural_character.unfinished():
            again = layout.operator(
                "dressform.make_neural", text=f"Continue {order.name}", icon="PLAY"
            )
            again.resume = order.avatar


def _draw_progress(layout: Any, running: Running) -> None:
    progress = running.progress
    layout.label(text=running.order.name, icon="SHADERFX")
    layout.progress(factor=progress.share, text=f"{progress.share:.0%} {progress.stage}")
    layout.label(text=progress.text)
    for icon in gallery.progress_icons(progress.preview):
        layout.template_icon(icon_value=icon, scale=8.0)
    layout.operator("dressform.cancel_neural", icon="X")


def _resumed(avatar: str) -> tuple[Order, Path]:
    for order in neural_character.unfinished():
        if order.avatar == avatar:
            return order, neural_character.work_folder(avatar)
    raise BadParameter(f"no avatar {avatar!r} was begun", "make it from the character again")


def _start(order: Order, folder: Path, scene: bpy.types.Scene) -> Running:
    around = neural_character.surroundings()
    shown: list[Running] = []

    def tell(progress: Progress) -> None:
        if shown:
            shown[0].progress = progress

    job = Job(lambda stop: make_neural(order, folder, around, should_stop=stop, on_progress=tell))
    shown.append(
        Running(
            order=order,
            folder=folder,
            job=job,
            wear=scene.dressform_neural.wear,
            progress=Progress(stage="Starting", share=0.0),
            scene=scene.name,
        )
    )
    return shown[0]


def _tick() -> float | None:
    """Watch the job in a window; Blender calls this again after the seconds that it returns."""
    running = _State.running
    if running is None:
        return None
    redraw()
    if not running.job.done:
        return _TICK_SECONDS
    _State.running = None
    try:
        _finish(running)
    except Cancelled:
        pass
    except DressformError as error:
        error_log.record("Make Neural", error)
    redraw()
    return None


def _finish(running: Running) -> Avatar:
    """Show the new avatar in the gallery, and let the rig wear it (main thread only).

    Raises:
        DressformError: what went wrong while it was made.
    """
    avatar = running.job.result()
    neural_character.forget(running.folder)
    gallery.refresh()
    scene = bpy.data.scenes.get(running.scene)
    if scene is None:
        return avatar
    scene.dressform.avatar = avatar.id
    rig = scene.objects.get(running.order.rig)
    if running.wear and rig is not None:
        rig.dressform.avatar = avatar.id
    return avatar


CLASSES = (
    DressformMakeNeural,
    DRESSFORM_OT_make_neural,
    DRESSFORM_OT_cancel_neural,
    DRESSFORM_PT_make_neural,
)


def register() -> None:
    """Register the panel, its settings and operators."""
    for kind in CLASSES:
        bpy.utils.register_class(kind)
    bpy.types.Scene.dressform_neural = bpy.props.PointerProperty(type=DressformMakeNeural)


def unregister() -> None:
    """Undo `register`; an avatar in the making is given up, to be continued later."""
    if _State.running is not None:
        _State.running.job.cancel()
        _State.running = None
    if bpy.app.timers.is_registered(_tick):
        bpy.app.timers.unregister(_tick)
    del bpy.types.Scene.dressform_neural
    for kind in reversed(CLASSES):
        bpy.utils.unregister_class(kind)
