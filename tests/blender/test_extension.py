"""The zip, installed into a clean profile."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

EXTENSION = "bl_ext.user_default.dressform"


def test_the_blender_under_test_is_the_one_that_was_meant(blender):
    wanted = os.environ.get("DRESSFORM_BLENDER_VERSION")
    running = ".".join(str(part) for part in blender.app.version)
    assert wanted is None or running == wanted


def test_libraries_come_from_the_bundled_wheels(parts):
    import msgpack
    import zmq

    profile = Path(os.environ["BLENDER_USER_RESOURCES"]).resolve()
    for module in (zmq, msgpack):
        assert Path(module.__file__).resolve().is_relative_to(profile)
    assert Path(parts.client.__file__).resolve().is_relative_to(profile)


def test_panels_and_operators_are_there_for_the_engine(blender):
    # Blender's own panels of camera and output are usable with the engine.
    assert "DRESSFORM" in blender.types.RENDER_PT_format.COMPAT_ENGINES
    for name in ("add_person", "import_motion", "start_server", "copy_report"):
        assert name in dir(blender.ops.dressform)


def _in_another_blender(tmp_path: Path, archive: Path, lines: str) -> str:
    """Run a script in a Blender of its own, which does not disable the extension at its end."""
    script = tmp_path / "script.py"
    script.write_text(
        "import bpy\n"
        f"NAME = {EXTENSION!r}\n"
        f"bpy.ops.extensions.package_install_files(filepath={str(archive)!r}, "
        "repo='user_default', enable_on_install=True)\n" + lines
    )
    done = subprocess.run(
        [sys.executable, str(script)],
        env={**os.environ, "BLENDER_USER_RESOURCES": str(tmp_path / "profile")},
        capture_output=True,
        text=True,
        timeout=90,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_enabling_again_and_again_leaves_one_of_everything(archive, tmp_path):
    said = _in_another_blender(
        tmp_path,
        archive,
        """
for _ in range(3):
    bpy.ops.preferences.addon_disable(module=NAME)
    assert not hasattr(bpy.types, "DRESSFORM_PT_people")
    assert not hasattr(bpy.types.Object, "dressform")
    bpy.ops.preferences.addon_enable(module=NAME)
engines = bpy.types.RenderEngine.__subclasses__()
ours = [e for e in engines if getattr(e, "bl_idname", "") == "DRESSFORM" and e.is_registered]
print("engines", len(ours))
""",
    )
    assert "engines 1" in said


def test_a_blender_that_exits_without_disabling_the_extension_exits(archive, tmp_path):
    said = _in_another_blender(
        tmp_path,
        archive,
        "bpy.context.scene.render.engine = 'DRESSFORM'\n"
        "print('engine', bpy.context.scene.render.engine)\n",
    )
    assert "engine DRESSFORM" in said
