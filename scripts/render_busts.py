r"""Render busts with Cycles, for `dressform dataset portraits --cycles`.

    blender -b --python-exit-code 1 -P scripts/render_busts.py -- --folder DIR

or, with bpy as a Python module, `PYTHON scripts/render_busts.py -- --folder DIR`. Each NAME.npz
(`training/heads/cycles.py`) becomes NAME.png with transparency; finished ones are kept.
"""

# pyright: reportAttributeAccessIssue=false, reportOptionalMemberAccess=false
# pyright: reportMissingModuleSource=false
# (Blender's stubs: unions of all data types, Optionals that never are None)

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import bpy
import numpy as np
from mathutils import Vector

CHECKOUT = Path(__file__).resolve().parent.parent
if str(CHECKOUT) not in sys.path:
    sys.path.insert(0, str(CHECKOUT))

from blender_addon.capture.studio import aim_camera, cycles_settings  # noqa: E402
from blender_addon.contract.camera import Camera  # noqa: E402
from blender_addon.contract.pose import Y_UP_TO_Z_UP  # noqa: E402

_SAMPLES = 24
_SOFTNESS = 0.5
"""Angle under which lamps appear, radians: how soft their shadows are."""

_SCATTER = (0.006, 0.002, 0.0012)
"""Metres that red, green and blue light travels under skin."""


def main() -> int:
    """Render; return the exit code."""
    words = sys.argv[sys.argv.index("--") + 1 :] if "--" in sys.argv else sys.argv[1:]
    parser = argparse.ArgumentParser(prog="render_busts")
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--samples", type=int, default=_SAMPLES)
    parser.add_argument("--threads", type=int, default=0)
    options = parser.parse_args(words)
    for file in sorted(options.folder.glob("*.npz")):
        if not file.with_suffix(".png").is_file():
            with np.load(file) as arrays:
                render_bust(
                    dict(arrays), file.with_suffix(".png"), options.samples, options.threads
                )
            print(f"rendered {file.stem}", flush=True)
    return 0


def render_bust(
    arrays: dict[str, np.ndarray[Any, Any]], out: Path, samples: int, threads: int
) -> None:
    """Render one bust to a PNG with transparency.

    Args:
        arrays: what `training.heads.cycles.write_bust` wrote.
        out: the PNG, written to a temporary name first.
        samples: of a pixel.
        threads: of Cycles, 0 for all.
    """
    bpy.ops.wm.read_factory_settings(use_empty=True)
    scene: Any = bpy.context.scene
    width, height = (int(side) for side in arrays["size"])
    cycles_settings(scene, (width, height), threads)
    _output(scene)
    scene.cycles.samples = samples
    scene.cycles.seed = 0
    scene.cycles.use_denoising = True
    scene.cycles.denoising_prefilter = "ACCURATE"
    scene.collection.objects.link(_bust(arrays))
    _lamps(scene, arrays)
    _sky(scene, arrays)
    data = bpy.data.cameras.new("Camera")
    camera = bpy.data.objects.new("Camera", data)
    scene.collection.objects.link(camera)
    scene.camera = camera
    extrinsics = Camera(K=arrays["K"], R=arrays["R"], t=arrays["t"], width=width, height=height)
    aim_camera(scene, camera, extrinsics)
    part = out.with_name(f".{out.name}")
    scene.render.filepath = str(part)
    bpy.ops.render.render(write_still=True)
    part.replace(out)


def _output(scene: bpy.types.Scene) -> None:
    image = scene.render.image_settings
    if hasattr(image, "media_type"):
        image.media_type = "IMAGE"
    image.file_format, image.color_mode, image.color_depth = "PNG", "RGBA", "8"
    scene.render.use_border = False


def _bust(arrays: dict[str, np.ndarray[Any, Any]]) -> bpy.types.Object:
    mesh = bpy.data.meshes.new("Bust")
    vertices = arrays["vertices"] @ Y_UP_TO_Z_UP.T
    mesh.from_pydata(vertices.tolist(), [], arrays["faces"].tolist())
    mesh.polygons.foreach_set("use_smooth", np.ones(len(mesh.polygons), bool))
    mesh.materials.append(_material(arrays))
    return bpy.data.objects.new("Bust", mesh)


def _material(arrays: dict[str, np.ndarray[Any, Any]]) -> bpy.types.Material:
    """One material for all: its maps are projected by the camera that looks."""
    material = bpy.data.materials.new("Bust")
    if material.node_tree is None:
        material.use_nodes = True
    tree: Any = material.node_tree
    principled = next(node for node in tree.nodes if node.type == "BSDF_PRINCIPLED")
    window = tree.nodes.new("ShaderNodeTexCoord").outputs["Window"]
    albedo = _map(tree, "Albedo", arrays["albedo"], window)
    surface = tree.nodes.new("ShaderNodeSeparateColor")
    tree.links.new(_map(tree, "Surface", arrays["surface"], window), surface.inputs["Color"])
    tree.links.new(albedo, principled.inputs["Base Color"])
    tree.links.new(surface.outputs["Red"], principled.inputs["Roughness"])
    tree.links.new(surface.outputs["Green"], principled.inputs["Specular IOR Level"])
    tree.links.new(surface.outputs["Blue"], principled.inputs["Subsurface Weight"])
    principled.inputs["Subsurface Radius"].default_value = [
        part / max(_SCATTER) for part in _SCATTER
    ]
    principled.inputs["Subsurface Scale"].default_value = max(_SCATTER)
    return material


def _map(
    tree: bpy.types.NodeTree, name: str, values: np.ndarray[Any, Any], window: bpy.types.NodeSocket
) -> bpy.types.NodeSocket:
    height, width = values.shape[:2]
    image = bpy.data.images.new(name, width, height, float_buffer=True, is_data=True)
    pixels = np.concatenate([values, np.ones((height, width, 1), np.float32)], axis=2)
    image.pixels.foreach_set(np.ascontiguousarray(pixels[::-1], np.float32).ravel())
    image.update()
    node = tree.nodes.new("ShaderNodeTexImage")
    node.image, node.extension, node.interpolation = image, "EXTEND", "Linear"
    tree.links.new(window, node.inputs["Vector"])
    return node.outputs["Color"]


def _lamps(scene: bpy.types.Scene, arrays: dict[str, np.ndarray[Any, Any]]) -> None:
    for direction, color in zip(arrays["lamp_directions"], arrays["lamp_colors"], strict=True):
        data = bpy.data.lights.new("Lamp", "SUN")
        strength = float(color.max())
        data.angle = _SOFTNESS
        data.color = [float(part) / max(strength, 1e-6) for part in color]
        # A sun of W watts a square metre lets a white surface that faces it shine with W / π.
        data.energy = strength * np.pi
        lamp = bpy.data.objects.new("Lamp", data)
        way = Vector((Y_UP_TO_Z_UP @ np.asarray(direction, np.float64)).tolist())
        lamp.rotation_euler = way.to_track_quat("Z", "Y").to_euler()
        scene.collection.objects.link(lamp)


def _sky(scene: bpy.types.Scene, arrays: dict[str, np.ndarray[Any, Any]]) -> None:
    """Light from all around, from the ground's colour below to the sky's above."""
    world = bpy.data.worlds.new("Sky")
    if world.node_tree is None:
        world.use_nodes = True
    tree = world.node_tree
    background = next(node for node in tree.nodes if node.type == "BACKGROUND")
    direction = tree.nodes.new("ShaderNodeTexCoord").outputs["Generated"]
    parts = tree.nodes.new("ShaderNodeSeparateXYZ")
    share = tree.nodes.new("ShaderNodeMapRange")
    share.inputs["From Min"].default_value = -1.0
    mix = tree.nodes.new("ShaderNodeMix")
    mix.data_type = "RGBA"
    tree.links.new(direction, parts.inputs["Vector"])
    tree.links.new(parts.outputs["Z"], share.inputs["Value"])
    tree.links.new(share.outputs["Result"], mix.inputs[0])
    below, above = (socket for socket in mix.inputs if socket.type == "RGBA")
    below.default_value = [*(float(part) for part in arrays["ground"]), 1.0]
    above.default_value = [*(float(part) for part in arrays["sky"]), 1.0]
    result = next(socket for socket in mix.outputs if socket.type == "RGBA")
    tree.links.new(result, background.inputs["Color"])
    scene.world = world


if __name__ == "__main__":
    sys.exit(main())
