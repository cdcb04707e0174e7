"""The stage of a sweep: a scene of its own with lights, a camera and Cycles' settings.

The user's scene is not touched; the character's objects are linked into the temporary one.
"""

# pyright: reportAttributeAccessIssue=false, reportOptionalMemberAccess=false
# pyright: reportIncompatibleMethodOverride=false, reportMissingModuleSource=false
# (Blender's stubs: unions of all data types, Optionals that never are None, other parameter names)

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import bpy
import numpy as np
from mathutils import Matrix, Vector

from ..contract.pose import Y_UP_TO_Z_UP
from ..scene.cameras import scene_camera
from .posing import root_turn
from .shaders import MASK_AOVS

if TYPE_CHECKING:
    from ..contract.camera import Camera
    from ..contract.operations import PosedBody
    from .character import Character

Lights = Literal["studio", "scene"]

SCENE_NAME = "Dressform Capture"
_SENSOR = 36.0
_DISTANCE = 3.2

_LAMPS: tuple[tuple[tuple[float, float, float], tuple[float, float, float], float], ...] = (
    # Direction towards the light in the root's SMPL-X axes; what a white surface that faces it
    # reflects (linear); side of its square in metres.
    ((0.50, 0.62, 0.72), (0.72, 0.68, 0.62), 1.8),
    ((-0.80, 0.25, 0.50), (0.22, 0.24, 0.28), 2.2),
    ((-0.55, 0.45, -0.75), (0.34, 0.35, 0.40), 1.4),
    ((0.65, 0.35, -0.70), (0.30, 0.28, 0.26), 1.4),
)
_SKY = (0.34, 0.35, 0.37)


class Studio:
    """A temporary scene that shows one character, until `restore`.

    Args:
        character: who is shown.
        size: width and height of the image.
        lights: "studio" for soft lights that turn with the person's root, so that the light
            which an avatar learns is a function of its pose; "scene" for the user's lights and
            world, which stay where they are.
        user_scene: where the lights of "scene" come from.
        threads: of Cycles; 0 for all.
    """

    def __init__(
        self,
        character: Character,
        size: tuple[int, int],
        *,
        lights: Lights,
        user_scene: bpy.types.Scene,
        threads: int,
    ) -> None:
        self.scene = bpy.data.scenes.new(SCENE_NAME)
        self._character = character
        self._made: list[Any] = []
        self._shown = [ob for ob in character.objects if ob.hide_viewport]
        for ob in self._shown:
            ob.hide_viewport = False
        for ob in (character.rig, *character.objects):
            self.scene.collection.objects.link(ob)
        self._camera = self._new("Dressform Capture Camera", bpy.data.cameras)
        self.scene.camera = self._camera
        self._turn: bpy.types.Object | None = None
        if lights == "scene":
            self.scene.world = user_scene.world
            for ob in user_scene.objects:
                if ob.type == "LIGHT" and not ob.hide_render:
                    self.scene.collection.objects.link(ob)
        else:
            self._turn = self._new("Dressform Capture Lights", None)
            self._add_lamps(self._turn)
            self._add_world()
        cycles_settings(self.scene, size, threads)

    @property
    def layer(self) -> bpy.types.ViewLayer:
        """The one view layer."""
        return self.scene.view_layers[0]

    def depsgraph(self) -> bpy.types.Depsgraph:
        """Return the scene as evaluated now."""
        self.layer.update()
        evaluated: Any = self.layer.depsgraph  # never None in a scene that is shown
        return evaluated

    def aim(self, camera: Camera) -> None:
        """Give the scene's camera the place and lens of a planned one."""
        aim_camera(self.scene, self._camera, camera)

    def shown_camera(self) -> Camera:
        """Return the scene's camera as the add-on reads it, in SMPL-X space."""
        return scene_camera(self.depsgraph())

    def turn_lights(self, body: PosedBody, pelvis: tuple[float, float, float]) -> None:
        """Turn the studio's lights with the person's root, around its pelvis (world, metres)."""
        if self._turn is not None:
            self._turn.matrix_world = Matrix.Translation(pelvis) @ root_turn(body)

    def restore(self) -> None:
        """Remove all that was made."""
        world = None if self._turn is None else self.scene.world
        bpy.data.scenes.remove(self.scene)
        for ob in self._made:
            data = ob.data
            bpy.data.objects.remove(ob)
            if isinstance(data, bpy.types.Camera):
                bpy.data.cameras.remove(data)
            elif isinstance(data, bpy.types.Light):
                bpy.data.lights.remove(data)
        if world is not None:
            bpy.data.worlds.remove(world)
        for ob in self._shown:
            ob.hide_viewport = True

    def _new(self, name: str, kind: Any) -> bpy.types.Object:
        ob = bpy.data.objects.new(name, kind.new(name) if kind is not None else None)
        self.scene.collection.objects.link(ob)
        self._made.append(ob)
        return ob

    def _add_lamps(self, turn: bpy.types.Object) -> None:
        for index, (direction, color, side) in enumerate(_LAMPS):
            data = bpy.data.lights.new(f"Dressform Capture Lamp {index + 1}", "AREA")
            ob = bpy.data.objects.new(data.name, data)
            self.scene.collection.objects.link(ob)
            self._made.append(ob)
            strength = max(color)
            data.shape, data.size = "SQUARE", side
            data.color = tuple(part / strength for part in color)
            # A lamp of P watts at the distance d lights a surface with P / (π d²); of that a
            # white one reflects 1 / π into every direction.
            data.energy = strength * np.pi**2 * _DISTANCE**2
            way = Vector((Y_UP_TO_Z_UP @ np.asarray(direction)).tolist()).normalized()
            ob.parent = turn
            ob.matrix_local = (
                Matrix.Translation(way * _DISTANCE)
                @ way.to_track_quat("Z", "Y").to_matrix().to_4x4()
            )
            ob.visible_camera = False

    def _add_world(self) -> None:
        world = bpy.data.worlds.new("Dressform Capture World")
        if world.node_tree is None:
            world.use_nodes = True
        background = next(n for n in world.node_tree.nodes if n.type == "BACKGROUND")
        background.inputs["Color"].default_value = (*_SKY, 1.0)
        background.inputs["Strength"].default_value = 1.0
        # An even sky needs no samples of its own: the bounces find it with less noise.
        world.cycles.sampling_method = "NONE"
        self.scene.world = world


def aim_camera(scene: bpy.types.Scene, camera: bpy.types.Object, planned: Camera) -> None:
    """Give a camera object the place and lens of a planned camera, in SMPL-X axes.

    Args:
        scene: whose pixel aspect follows the lens.
        camera: a camera object without parent.
        planned: where it is to look from; its size is the render's.
    """
    data, render = camera.data, scene.render
    data.sensor_fit, data.sensor_width = "HORIZONTAL", _SENSOR
    data.clip_start, data.clip_end = 0.02, 200.0
    K = planned.K
    render.pixel_aspect_x, render.pixel_aspect_y = 1.0, float(K[0, 0] / K[1, 1])
    if render.pixel_aspect_y < 1.0:
        render.pixel_aspect_x, render.pixel_aspect_y = float(K[1, 1] / K[0, 0]), 1.0
    aspect = float(K[1, 1] / K[0, 0])
    data.lens = float(K[0, 0]) / planned.width * _SENSOR
    data.shift_x = (planned.width / 2 - float(K[0, 2])) / planned.width
    data.shift_y = (float(K[1, 2]) - planned.height / 2) / (planned.width * aspect)
    matrix = np.eye(4)
    matrix[:3, :3] = Y_UP_TO_Z_UP @ planned.R.T @ np.diag([1.0, -1.0, -1.0])
    matrix[:3, 3] = Y_UP_TO_Z_UP @ planned.center
    camera.matrix_world = Matrix(matrix.tolist())


def cycles_settings(scene: bpy.types.Scene, size: tuple[int, int], threads: int) -> None:
    """Set all that decides about the pixels, whatever the start-up file says."""
    render, cycles, view = scene.render, scene.cycles, scene.view_settings
    render.engine = "CYCLES"
    render.resolution_x, render.resolution_y = size
    render.resolution_percentage = 100
    render.film_transparent = True
    render.use_border = render.use_crop_to_border = True
    render.use_compositing = render.use_sequencer = render.use_motion_blur = False
    render.use_simplify = render.use_freestyle = False
    render.use_persistent_data = True
    render.dither_intensity = 0.0
    render.threads_mode = "FIXED" if threads else "AUTO"
    if threads:
        render.threads = threads
    render.use_file_extension = False
    image = render.image_settings
    if hasattr(image, "media_type"):
        image.media_type = "MULTI_LAYER_IMAGE"
    image.file_format = "OPEN_EXR_MULTILAYER"
    image.color_depth, image.exr_codec = "32", "NONE"
    view.view_transform, view.look = "Standard", "None"
    view.exposure, view.gamma, view.use_curve_mapping = 0.0, 1.0, False
    cycles.device = "CPU"
    cycles.use_adaptive_sampling = False
    # Five lamps of like strength: choosing among them by a tree costs more than it saves.
    cycles.use_light_tree = False
    cycles.use_animated_seed = False
    cycles.use_auto_tile = False
    cycles.max_bounces, cycles.diffuse_bounces, cycles.glossy_bounces = 4, 1, 1
    cycles.transmission_bounces, cycles.volume_bounces = 3, 0
    cycles.transparent_max_bounces = 16
    cycles.caustics_reflective = cycles.caustics_refractive = False
    cycles.sample_clamp_indirect = 4.0
    cycles.pixel_filter_type, cycles.filter_width = "BLACKMAN_HARRIS", 1.5
    layer = scene.view_layers[0]
    layer.use_pass_combined = layer.use_pass_z = True
    for name in MASK_AOVS:
        aov = layer.aovs.add()
        aov.name, aov.type = name, "VALUE"
