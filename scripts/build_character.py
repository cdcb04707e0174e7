r"""Make a character (.blend) of a kit that `dressform dataset characters` wrote.

    .venv-blender/bin/python scripts/build_character.py runs/characters/anna.npz --out anna.blend

or `blender -b -P scripts/build_character.py -- …`. The character is the add-on's own rig and one
skinned mesh per piece, with textures packed into the file. The rig's rest pose is the person's
own: its shape is fixed, its shape sliders only say what it is. Exit code 0: written.
"""

# pyright: reportAttributeAccessIssue=false, reportOptionalMemberAccess=false
# pyright: reportMissingModuleSource=false, reportArgumentType=false
# (Blender's stubs: unions of all data types, Optionals that never are None)

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import bpy
import numpy as np

ROOT = Path(__file__).resolve().parents[1]
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

from blender_addon.contract.joints import JOINT_NAMES  # noqa: E402
from blender_addon.scene import properties  # noqa: E402
from blender_addon.scene.rig import add_person  # noqa: E402
from blender_addon.scene.stand_in import BodyTemplate, lift, to_blender  # noqa: E402
from scripts.character_materials import make_material  # noqa: E402

HANDS, FACE = "dressform_hands", "dressform_face"
PLACE, STRAND, TINT = "dressform_place", "dressform_strand", "dressform_tint"


def main() -> int:
    """Build the .blend; return the exit code."""
    words = sys.argv[sys.argv.index("--") + 1 :] if "--" in sys.argv else sys.argv[1:]
    parser = argparse.ArgumentParser(prog="build_character", description=(__doc__ or "")[:75])
    parser.add_argument("kit", type=Path, help="NAME.npz of dressform dataset characters")
    parser.add_argument("--out", type=Path, required=True, help="the .blend to write")
    options = parser.parse_args(words)
    with np.load(options.kit) as file:
        kit = {name: file[name] for name in file.files}
    bpy.ops.wm.read_factory_settings(use_empty=True)
    properties.register()
    try:
        build(kit)
        options.out.parent.mkdir(parents=True, exist_ok=True)
        bpy.ops.wm.save_as_mainfile(
            filepath=str(options.out.resolve()), check_existing=False, compress=False
        )
    finally:
        properties.unregister()
    print(f"character: {options.out}")
    return 0


def build(kit: dict[str, Any]) -> bpy.types.Object:
    """Make the rig and the meshes of a kit in the current scene; return the rig."""
    meta = json.loads(str(kit["meta"]))
    template = shaped_template(kit, meta)
    collection = bpy.data.collections.new(meta["name"])
    bpy.context.scene.collection.children.link(collection)
    layer = bpy.context.view_layer.layer_collection.children[collection.name]
    bpy.context.view_layer.active_layer_collection = layer
    rig = add_person(
        bpy.context, template, meta["name"], name=meta["name"], betas=kit["betas"].tolist()
    )
    for child in rig.children:
        child.hide_render = True
        child.hide_set(True)
    up = np.array([0.0, 0.0, lift(template, kit["betas"])])
    for number, piece in enumerate(meta["pieces"]):
        prefix = f"{number}."
        arrays = {key[len(prefix) :]: v for key, v in kit.items() if key.startswith(prefix)}
        add_piece(rig, meta["name"], piece, arrays, up)
    return rig


def shaped_template(kit: dict[str, Any], meta: dict[str, Any]) -> BodyTemplate:
    """Return the person's own body as a template that no shape coefficient moves.

    Rest bones that stand where the person's joints are make skinning exact in every pose
    (a mean rig with driven bones is so at rest only).
    """
    part = {key[9:]: value for key, value in kit.items() if key.startswith("template.")}
    vertices = part["vertices"].astype(np.float64)
    count = len(kit["betas"])
    return BodyTemplate(
        id=meta["body"]["id"],
        digest=meta["body"]["digest"],
        vertices=vertices,
        faces=part["faces"],
        uv=part["uv"].astype(np.float64),
        uv_faces=part["uv_faces"],
        joints=part["joints"].astype(np.float64),
        shape_dirs=np.zeros((*vertices.shape, count)),
        expression_dirs=part["expression_dirs"].astype(np.float64),
        joint_shape_dirs=np.zeros((len(JOINT_NAMES), 3, count)),
        weight_joints=part["weight_joints"].astype(np.int64),
        weight_values=part["weight_values"].astype(np.float64),
    )


def add_piece(
    rig: bpy.types.Object,
    person: str,
    piece: dict[str, Any],
    arrays: dict[str, Any],
    up: np.ndarray,
) -> bpy.types.Object:
    """Add one mesh of a character, bound to its rig."""
    title = f"{person} {piece['name']}"
    mesh = bpy.data.meshes.new(title)
    faces = arrays["faces"]
    vertices = to_blender(arrays["vertices"]) + up
    mesh.from_pydata(vertices.tolist(), [], faces.tolist())
    mesh.polygons.foreach_set("use_smooth", np.ones(len(faces), bool))
    uv = mesh.uv_layers.new(name="UVMap")
    uv.data.foreach_set("uv", arrays["uv"].reshape(-1).astype(np.float32))
    strand = mesh.uv_layers.new(name="Strand")
    strand.data.foreach_set("uv", arrays["strand"][faces.ravel()].ravel().astype(np.float32))
    mesh.uv_layers.active = mesh.uv_layers["UVMap"]
    _attribute(mesh, HANDS, "FLOAT", arrays["hands"])
    _attribute(mesh, FACE, "FLOAT", arrays["face"])
    _attribute(mesh, PLACE, "FLOAT_VECTOR", arrays["place"])
    flat = np.concatenate([arrays["strand"], np.zeros((len(vertices), 1))], axis=1)
    _attribute(mesh, STRAND, "FLOAT_VECTOR", flat)
    mesh.update()
    ob = bpy.data.objects.new(title, mesh)
    bpy.context.collection.objects.link(ob)
    textures = {
        name: load_texture(title, name, arrays[name])
        for name in ("albedo", "roughness")
        if name in arrays
    }
    if "tint" in arrays:
        opaque = np.concatenate([arrays["tint"], np.ones((len(vertices), 1))], axis=1)
        layer = mesh.attributes.new(TINT, "FLOAT_COLOR", "POINT")
        layer.data.foreach_set("color", np.ascontiguousarray(opaque, np.float32).ravel())
    mesh.materials.append(make_material(title, piece, textures))
    _weigh(ob, arrays["weights"])
    if "expression" in arrays:
        _expressions(ob, rig, vertices, to_blender(np.moveaxis(arrays["expression"], -1, 0)))
    ob.parent = rig
    modifier = ob.modifiers.new("Armature", "ARMATURE")
    modifier.object = rig
    return ob


def load_texture(title: str, name: str, data: np.ndarray) -> bpy.types.Image:
    """Load a PNG file's bytes as a packed image."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"{title} {name}.png"
        path.write_bytes(data.tobytes())
        image = bpy.data.images.load(str(path))
        image.pack()
    image.name = f"{title} {name}"
    if name != "albedo":
        image.colorspace_settings.name = "Non-Color"
    return image


def _attribute(mesh: bpy.types.Mesh, name: str, kind: str, values: np.ndarray) -> None:
    layer = mesh.attributes.new(name, kind, "POINT")
    field = "value" if kind == "FLOAT" else "vector"
    layer.data.foreach_set(field, np.ascontiguousarray(values, np.float32).ravel())


def _weigh(ob: bpy.types.Object, weights: np.ndarray) -> None:
    groups = [ob.vertex_groups.new(name=name) for name in JOINT_NAMES]
    for vertex, joint in np.argwhere(weights > 1e-4).tolist():
        groups[joint].add((vertex,), float(weights[vertex, joint]), "REPLACE")


def _expressions(
    ob: bpy.types.Object, rig: bpy.types.Object, rest: np.ndarray, offsets: np.ndarray
) -> None:
    ob.shape_key_add(name="Basis", from_mix=False)
    for index, offset in enumerate(offsets):
        name = properties.expression_name(index)
        key = ob.shape_key_add(name=name, from_mix=False)
        key.data.foreach_set("co", (rest + offset).ravel().astype(np.float32))
        key.slider_min, key.slider_max = -5.0, 5.0
        driver = key.driver_add("value").driver
        driver.type = "SUM"
        variable = driver.variables.new()
        variable.name, variable.type = "value", "SINGLE_PROP"
        variable.targets[0].id = rig
        variable.targets[0].data_path = f'["{name}"]'


if __name__ == "__main__":
    sys.exit(main())
