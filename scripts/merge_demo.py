"""Render a person in a small set, merged with Cycles: the picture of docs/merge.md.

    .venv-blender/bin/python scripts/merge_demo.py --extension ZIP --out FILE.png

or `blender -b -P scripts/merge_demo.py -- …`. The set: floor and wall, a crate and a ball before
the person, a pillar and a lamp behind.
"""

# pyright: reportAttributeAccessIssue=false, reportOptionalMemberAccess=false
# pyright: reportMissingModuleSource=false
# (Blender's stubs: unions of all data types, Optionals that never are None)

from __future__ import annotations

import argparse
import math
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import bpy

from scripts.headless import SetupProblem, find_extension, image_size

Colour = tuple[float, float, float]
Point = tuple[float, float, float]


def main() -> int:
    """Render the set; return the exit code."""
    words = sys.argv[sys.argv.index("--") + 1 :] if "--" in sys.argv else sys.argv[1:]
    options = parse(words)
    try:
        extension = find_extension(options.extension)
    except SetupProblem as problem:
        print(f"merge_demo: {problem}", file=sys.stderr)
        return 1
    try:
        render(options)
    except RuntimeError as error:  # bpy.ops raise RuntimeError with the report's text
        print(f"merge_demo: {str(error).strip()}", file=sys.stderr)
        return 1
    finally:
        bpy.ops.preferences.addon_disable(module=extension)
    return 0


def parse(words: list[str]) -> argparse.Namespace:
    """Read the options; exits with code 2 when they are wrong."""
    parser = argparse.ArgumentParser(prog="merge_demo", description=(__doc__ or "")[:72])
    parser.add_argument("--avatar", default="", help="id in the library; default: the first")
    parser.add_argument("--second", default="", help="a second person, farther back")
    parser.add_argument("--motion", default="wave", help="walk, dance or wave")
    parser.add_argument("--frame", type=int, default=100)
    parser.add_argument("--size", type=image_size, default=(512, 512), help="N or WxH pixels")
    parser.add_argument("--samples", type=int, default=16)
    parser.add_argument("--engine", default="CYCLES", help="CYCLES, or EEVEE's id")
    parser.add_argument("--view", default="AgX", help="the view transform")
    parser.add_argument("--extension", type=Path, help="the extension's zip")
    parser.add_argument("--save-blend", type=Path, help="also save the scene")
    parser.add_argument("--out", type=Path, required=True, help="the picture")
    return parser.parse_args(words)


def render(options: argparse.Namespace) -> None:
    """Build the set, press the button, render."""
    scene = bpy.context.scene
    for ob in list(bpy.data.objects):
        bpy.data.objects.remove(ob)
    furnish(scene)  # pyright: ignore[reportArgumentType]
    bpy.ops.dressform.add_person(avatar=options.avatar)
    bpy.ops.dressform.apply_motion(motion=options.motion)
    if options.second:
        bpy.ops.dressform.add_person(avatar=options.second)
        bpy.context.object.location = (-0.75, 0.75, 0.0)
        bpy.context.object.rotation_euler = (0.0, 0.0, 0.35)
    scene.frame_set(options.frame)
    settings = scene.render
    settings.engine = options.engine
    settings.resolution_x, settings.resolution_y = options.size
    settings.resolution_percentage = 100
    settings.filepath = str(options.out.resolve())
    settings.image_settings.file_format = "PNG"
    scene.view_settings.view_transform = options.view
    scene.cycles.samples, scene.cycles.seed = options.samples, 1
    scene.cycles.use_denoising = True
    bpy.ops.dressform.merge()
    if options.save_blend:
        bpy.ops.wm.save_as_mainfile(filepath=str(options.save_blend.resolve()))
    started = time.monotonic()
    bpy.ops.render.render(write_still=True)
    print(f"{options.out}: {time.monotonic() - started:.1f} s")


def furnish(scene: bpy.types.Scene) -> None:
    """Add floor, wall, props, lights and the camera."""
    floor = material("Floor", (0.30, 0.19, 0.11), roughness=0.35)
    wall = material("Wall", (0.62, 0.52, 0.42))
    box((0, 0, -0.05), (5, 5, 0.05), floor)
    box((0, 1.75, 1.6), (5, 0.05, 1.7), wall)
    box((0, 1.69, 0.06), (5, 0.02, 0.06), material("Skirting", (0.75, 0.72, 0.66)))
    # Behind the person: a pillar and a warm globe. Before: a crate with a ball on it.
    cylinder((0.52, 1.05, 1.1), 0.17, 2.2, material("Pillar", (0.12, 0.28, 0.30)))
    ball((-0.62, 1.2, 1.55), 0.16, material("Globe", (1.0, 0.72, 0.4), glow=4.0))
    cylinder((-0.62, 1.2, 0.7), 0.02, 1.4, material("Stand", (0.02, 0.02, 0.02), roughness=0.3))
    box((0.34, -0.62, 0.24), (0.26, 0.24, 0.24), material("Crate", (0.55, 0.30, 0.12)), turn=0.35)
    ball((0.30, -0.64, 0.60), 0.12, material("Ball", (0.75, 0.06, 0.04), roughness=0.2))
    area_light((-2.2, -2.6, 3.2), 260.0, 1.2)
    area_light((2.8, -1.4, 2.2), 60.0, 2.0)
    world = bpy.data.worlds.new("World")
    world.color = (0.05, 0.055, 0.06)
    scene.world = world
    data = bpy.data.cameras.new("Camera")
    camera = bpy.data.objects.new("Camera", data)
    scene.collection.objects.link(camera)
    camera.location, camera.rotation_euler = (0.0, -3.9, 1.15), (math.radians(87.0), 0.0, 0.0)
    data.lens = 50.0
    scene.camera = camera


def material(
    name: str, colour: Colour, *, roughness: float = 0.6, glow: float = 0.0
) -> bpy.types.Material:
    """Return a plain material; with `glow` it emits light."""
    made = bpy.data.materials.new(name)
    made.use_nodes = True
    shader = next(n for n in made.node_tree.nodes if n.bl_idname == "ShaderNodeBsdfPrincipled")
    shader.inputs["Base Color"].default_value = (*colour, 1.0)
    shader.inputs["Roughness"].default_value = roughness
    shader.inputs["Emission Color"].default_value = (*colour, 1.0)
    shader.inputs["Emission Strength"].default_value = glow
    return made


def box(at: Point, half: Point, look: bpy.types.Material, turn: float = 0.0) -> None:
    """Add a box with softened edges."""
    bpy.ops.mesh.primitive_cube_add(location=at, rotation=(0.0, 0.0, turn), scale=half)
    bevel = bpy.context.object.modifiers.new("Bevel", "BEVEL")
    bevel.width, bevel.segments = 0.008, 2
    bpy.context.object.data.materials.append(look)


def ball(at: Point, radius: float, look: bpy.types.Material) -> None:
    """Add a smooth ball."""
    bpy.ops.mesh.primitive_uv_sphere_add(location=at, radius=radius, segments=48, ring_count=24)
    bpy.ops.object.shade_smooth()
    bpy.context.object.data.materials.append(look)


def cylinder(at: Point, radius: float, height: float, look: bpy.types.Material) -> None:
    """Add an upright cylinder."""
    bpy.ops.mesh.primitive_cylinder_add(location=at, radius=radius, depth=height, vertices=64)
    bpy.ops.object.shade_smooth()
    bpy.context.object.data.materials.append(look)


def area_light(at: Point, watts: float, size: float) -> None:
    """Add a soft light that looks at the person's chest."""
    bpy.ops.object.light_add(type="AREA", location=at)
    light = bpy.context.object
    light.data.energy, light.data.size = watts, size
    direction = [goal - place for goal, place in zip((0.0, 0.0, 1.0), at, strict=True)]
    pitch = math.atan2(math.hypot(direction[0], direction[1]), -direction[2])
    light.rotation_euler = (pitch, 0.0, math.atan2(direction[1], direction[0]) - math.pi / 2)


if __name__ == "__main__":
    sys.exit(main())
