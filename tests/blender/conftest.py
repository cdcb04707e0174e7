"""A real Blender with the extension installed from its zip into a profile of its own.

Wanted in the environment: DRESSFORM_EXTENSION_ZIP (scripts/build_extension.py makes it),
DRESSFORM_BLENDER_VERSION (what must be running), DRESSFORM_PYTHON (Python of the server).
"""

from __future__ import annotations

import importlib
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
EXTENSION = "bl_ext.user_default.dressform"
_PROFILE = tempfile.mkdtemp(prefix="dressform-profile-")
# Before bpy is imported anywhere: a clean profile, and no server but our own.
os.environ["BLENDER_USER_RESOURCES"] = _PROFILE
os.environ.pop("DRESSFORM_ENDPOINT", None)

MODULES = {
    "camera": "contract.camera",
    "pose": "contract.pose",
    "joints": "contract.joints",
    "errors": "contract.errors",
    "operations": "contract.operations",
    "connection": "connection",
    "client": "client",
    "error_log": "error_log",
    "library": "library",
    "cameras": "scene.cameras",
    "people": "scene.people",
    "rig": "scene.rig",
    "stand_in": "scene.stand_in",
    "pose_math": "scene.pose_math",
    "motions": "scene.motions",
    "motion_files": "scene.motion_files",
    "projection": "scene.projection",
    "staging": "scene.staging",
    "merge": "scene.merge",
    "merge_nodes": "scene.merge_nodes",
    "compose": "engine.compose",
    "final": "engine.final",
    "subjects": "scene.subjects",
    "portraits": "scene.portraits",
    "portrait_edits": "scene.portrait_edits",
    "portrait_keys": "scene.portrait_keys",
    "portrait_contract": "contract.portraits",
    "portrait_service": "portrait_service",
    "labels": "contract.labels",
    "look_contract": "contract.avatar_look",
    "wardrobe_contract": "contract.wardrobe",
    "wardrobe_service": "wardrobe_service",
    "wardrobe_photo": "ui.wardrobe_photo",
    "photo_options": "ui.photo_options",
    "asking": "asking",
    "worn_looks": "scene.worn_looks",
    "look_staging": "scene.look_staging",
    "wardrobe_ui": "ui.wardrobe",
    "pixels": "engine.pixels",
}


@pytest.fixture(scope="session")
def archive() -> Path:
    given = os.environ.get("DRESSFORM_EXTENSION_ZIP", "")
    path = Path(given) if given else ROOT / "build" / "dist" / "dressform-0.1.0.zip"
    assert path.exists(), "build the extension first: python scripts/build_extension.py"
    return path


@pytest.fixture
def headless(archive: Path, tmp_path: Path):
    """Runs a script of ours as its users do: in another Blender, with a profile of its own."""

    def run(script: str, words: list[str], endpoint: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, str(ROOT / "scripts" / script), "--", *words],
            env={
                **os.environ,
                "DRESSFORM_EXTENSION_ZIP": str(archive),
                "DRESSFORM_ENDPOINT": endpoint,
                "BLENDER_USER_RESOURCES": str(tmp_path / "profile"),
            },
            capture_output=True,
            text=True,
            timeout=280,
        )

    return run


@pytest.fixture(scope="session")
def blender(archive: Path):
    """`bpy` with the extension enabled; unregistered before the interpreter ends."""
    import bpy

    bpy.ops.extensions.package_install_files(
        filepath=str(archive), repo="user_default", enable_on_install=True
    )
    yield bpy
    bpy.ops.preferences.addon_disable(module=EXTENSION)
    shutil.rmtree(_PROFILE, ignore_errors=True)


@pytest.fixture(scope="session")
def parts(blender) -> SimpleNamespace:
    """The installed extension's modules by short names."""
    found = {name: importlib.import_module(f"{EXTENSION}.{path}") for name, path in MODULES.items()}
    return SimpleNamespace(**found)


@pytest.fixture
def scene(blender):
    """An empty scene."""
    blender.ops.wm.read_homefile(use_empty=True)
    return blender.context.scene


@pytest.fixture
def made(parts):
    """The template of the made-up body."""
    from tests.blender import made_body

    return made_body.template(parts.stand_in)


@pytest.fixture(scope="session")
def server_python() -> str:
    python = os.environ.get("DRESSFORM_PYTHON") or str(ROOT / ".venv" / "bin" / "python")
    assert Path(python).exists(), "DRESSFORM_PYTHON must name the Python of the server"
    return python


@pytest.fixture(scope="session")
def avatars(server_python: str, tmp_path_factory) -> Path:
    """A library of two tiny avatars."""
    folder = tmp_path_factory.mktemp("library") / "library"
    command = [server_python, "-m", "tests.blender.make_library", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, timeout=300)
    return folder


@pytest.fixture(scope="session")
def server(parts, avatars: Path, server_python: str):
    """The connection of this Blender, with its own local server running."""
    os.environ["DRESSFORM_PYTHON"] = server_python
    os.environ["DRESSFORM_LIBRARY"] = str(avatars)
    link = parts.connection.current()
    link.endpoint()
    yield link
    link.stop()


@pytest.fixture
def stage(blender, scene, parts, server):
    """A scene of 96² pixels with one person, Ada, and a camera in front of her."""
    blender.ops.dressform.add_person(avatar="ada")
    rig = blender.context.object
    parts.staging.settings_for_film(scene, (96, 96), 24, (1, 4))
    camera = parts.staging.add_camera(scene, rig, "static", (1, 4))
    return SimpleNamespace(scene=scene, rig=rig, camera=camera)
