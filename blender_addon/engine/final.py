"""The render engine `DRESSFORM`: F12, Ctrl-F12 and `blender -b -E DRESSFORM -a`.

Final frames are pure functions of the scene and the packages' digests: the same in a window, in
background and in split frame ranges. Blender calls `render` off its main thread in a window.
"""

# pyright: reportAttributeAccessIssue=false, reportOptionalMemberAccess=false
# pyright: reportIncompatibleMethodOverride=false, reportMissingModuleSource=false
# (Blender's stubs: unions of all data types, Optionals that never are None, other parameter names)

from __future__ import annotations

import traceback
from typing import TYPE_CHECKING, Any

import bpy
import numpy as np

from .. import connection, error_log
from ..client import Client
from ..contract.errors import Cancelled, DressformError, InternalError
from ..scene.cameras import scene_camera
from ..scene.merge_state import frame_scene
from ..scene.portraits import visible_subjects
from ..scene.projection import Border, border_pixels
from ..scene.subjects import Portrait
from .compose import RenderedFrame, render_frame
from .pixels import Layer, blender_depth, composite, pass_values
from .viewport import Viewport

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..contract.camera import Camera
    from ..contract.wire import Reply
    from ..scene.subjects import RenderRequest, Subject

MASK_PASSES = ("Mask Foreground", "Mask Hands", "Mask Face")
"""Names of the mask passes, in the order of `joints.MASK_CHANNELS`."""

LABELS = "Labels"
"""Name of the pass with values 0…16 (`contract.labels`); 0 where no portrait is."""

_warned: set[tuple[str, str]] = set()


class DressformRenderEngine(bpy.types.RenderEngine):
    """Renders the scene's people and portraits."""

    bl_idname = "DRESSFORM"
    bl_label = "Dressform"
    bl_use_preview = False
    bl_use_postprocess = True
    bl_use_shading_nodes_custom = False
    bl_use_gpu_context = False

    viewport: Viewport | None = None

    def update_render_passes(
        self, scene: bpy.types.Scene | None = None, renderlayer: bpy.types.ViewLayer | None = None
    ) -> None:
        """Tell Blender which passes the view layer has."""
        if scene is None or renderlayer is None:
            return
        self.register_pass(scene, renderlayer, "Combined", 4, "RGBA", "COLOR")
        if renderlayer.use_pass_z:
            self.register_pass(scene, renderlayer, "Depth", 1, "Z", "VALUE")
        if renderlayer.dressform.use_masks:
            for name in MASK_PASSES:
                self.register_pass(scene, renderlayer, name, 1, "X", "VALUE")
        if renderlayer.dressform.use_labels:
            self.register_pass(scene, renderlayer, LABELS, 1, "X", "VALUE")

    def render(self, depsgraph: bpy.types.Depsgraph) -> None:
        """Render one frame of one view layer."""
        try:
            self._render(depsgraph)
        except Cancelled:
            return  # Blender knows: test_break() said so
        except DressformError as error:
            self._fail(error)
        except Exception as error:  # noqa: BLE001 - whatever it is, Blender must not save a blank image
            traceback.print_exc()
            self._fail(InternalError(f"{type(error).__name__}: {error}"))

    def _fail(self, error: DressformError) -> None:
        # Only a report makes bpy.ops.render.render raise and a background render exit with 1.
        error_log.record("Render", error)
        self.report({"ERROR"}, error_log.sentence(error))

    def _render(self, depsgraph: bpy.types.Depsgraph) -> None:
        scene = depsgraph.scene
        self._warn_of_view_transform(scene)  # pyright: ignore[reportArgumentType]
        layer = depsgraph.view_layer
        camera = scene_camera(depsgraph)
        subjects = visible_subjects(depsgraph, within=_people_left(scene))  # pyright: ignore[reportArgumentType]
        self._warn_of_paint(subjects, camera)
        frame = self._frame(subjects, camera, layer.dressform)
        self._write(scene, layer, camera, frame)  # pyright: ignore[reportArgumentType]

    def _frame(self, subjects: Sequence[Subject], camera: Camera, wanted: Any) -> RenderedFrame:
        link = connection.current()
        if not subjects:
            return RenderedFrame(layer=composite([], camera.height, camera.width), digests={})
        self.update_stats("Dressform", "Waiting for the model server")
        client = Client(link.endpoint())  # one socket for each render call: we may be in a thread
        try:

            def ask(request: RenderRequest, name: str) -> Reply:
                try:
                    return link.render(
                        client,
                        request,
                        should_stop=self.should_stop,
                        when_lost=lambda: self.update_stats(
                            "Dressform", f"{name}: waiting for the model server to come back"
                        ),
                    )
                except DressformError as error:
                    error.cause = f"{name}: {error.cause}"
                    raise

            return render_frame(
                subjects,
                camera,
                ask,
                masks=wanted.use_masks,
                labels=wanted.use_labels,
                on_subject=self._on_subject,
            )
        finally:
            client.close()

    def should_stop(self) -> bool:
        """Tell whether the user has cancelled the render (asked every 50 ms)."""
        return self.test_break()

    def _on_subject(self, name: str, index: int, count: int) -> None:
        self.update_stats("Dressform", f"{name} ({index + 1} of {count})")
        self.update_progress(index / count)

    def _write(
        self,
        scene: bpy.types.Scene,
        view_layer: bpy.types.ViewLayer,
        camera: Camera,
        frame: RenderedFrame,
    ) -> None:
        border = _border(frame_scene(scene).render, camera)
        result = self.begin_result(0, 0, border.width, border.height, layer=view_layer.name)
        values = _pass_images(frame.layer)
        for render_pass in result.layers[0].passes:
            image = values.get(render_pass.name)
            if image is not None:
                render_pass.rect.foreach_set(pass_values(_cut(image, border)))
        self.end_result(result)
        whole = self.get_result()  # what is written to disk takes its metadata from here
        for package, digest in frame.digests.items():
            whole.stamp_data_add_field(f"Dressform {package}", digest)

    def _warn_of_paint(self, subjects: Sequence[Subject], camera: Camera) -> None:
        """Say what is not as it was painted; the picture is made all the same."""
        for subject in subjects:
            note = subject.note(camera) if isinstance(subject, Portrait) else ""
            if note and (subject.name, note) not in _warned:
                _warned.add((subject.name, note))
                self.report({"WARNING"}, note)

    def _warn_of_view_transform(self, scene: bpy.types.Scene) -> None:
        transform = scene.view_settings.view_transform
        if transform == "Standard" or (scene.name, transform) in _warned:  # pyright: ignore[reportUnnecessaryComparison]
            return
        _warned.add((scene.name, transform))
        self.report(
            {"WARNING"},
            f"the view transform {transform} changes the avatars' colours; "
            "Standard shows them as trained (Render > Color Management)",
        )

    def view_update(self, context: bpy.types.Context, depsgraph: bpy.types.Depsgraph) -> None:
        """Note that the scene changed (rendered viewport shading)."""
        self._viewport().update(context, depsgraph)

    def view_draw(self, context: bpy.types.Context, depsgraph: bpy.types.Depsgraph) -> None:
        """Draw the newest image and ask for a newer one (rendered viewport shading)."""
        self._viewport().draw(context, depsgraph)

    def _viewport(self) -> Viewport:
        if self.viewport is None:
            self.viewport = Viewport(self)
        return self.viewport


def _people_left(scene: bpy.types.Scene) -> set[str] | None:
    """Return what may be shown of a scene that renders another's people, None for all.

    An object that the artist deleted from the shown scene lives on in this one.
    """
    shown = frame_scene(scene)
    return None if shown == scene else {ob.name for ob in shown.objects}


def _border(render: bpy.types.RenderSettings, camera: Camera) -> Border:
    if not render.use_border:
        return Border(left=0, bottom=0, width=camera.width, height=camera.height)
    return border_pixels(
        camera.width,
        camera.height,
        (render.border_min_x, render.border_max_x),
        (render.border_min_y, render.border_max_y),
    )


def _cut(image: np.ndarray, border: Border) -> np.ndarray:
    top = image.shape[0] - border.bottom - border.height
    return image[top : top + border.height, border.left : border.left + border.width]


def _pass_images(layer: Layer) -> dict[str, np.ndarray]:
    images = {"Combined": layer.rgba, "Depth": blender_depth(layer.depth)}
    if layer.masks is not None:
        images |= {name: layer.masks[..., index] for index, name in enumerate(MASK_PASSES)}
    labels = np.zeros(layer.depth.shape, np.uint8) if layer.labels is None else layer.labels
    images[LABELS] = labels.astype(np.float32)
    return images


CLASSES = (DressformRenderEngine,)
