"""Portraits in a real Blender, painted by a server whose heads are eggs (portrait_handlers.py)."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from tests.blender.test_render import _save

ROOT = Path(__file__).resolve().parent.parent.parent
SIZE = 96


@pytest.fixture(scope="module")
def eggs(parts, server_python, tmp_path_factory):
    """A server of eggs with two portraits and two toy avatars, and this Blender connected to it."""
    folder = tmp_path_factory.mktemp("eggs") / "library"
    command = [server_python, "-m", "tests.blender.make_library", str(folder), "--portraits"]
    subprocess.run(command, cwd=ROOT, check=True, timeout=300)
    from importlib import import_module

    local = import_module(parts.client.__name__.rpartition(".")[0] + ".local_server")
    os.environ["PYTHONPATH"] = str(ROOT)
    started = local.LocalServer.start(
        [server_python, "-m", "scripts.cli", "serve"],
        library=folder,
        log=folder.parent / "server.log",
        cwd=ROOT,
        options=("--handlers", "tests.blender.portrait_handlers"),
    )
    yield SimpleNamespace(endpoint=started.endpoint, folder=folder)
    started.stop()


@pytest.fixture
def stage(blender, scene, parts, eggs, monkeypatch):
    """A scene of 96² pixels with one portrait, Egg, and a camera in front of it."""
    monkeypatch.setenv("DRESSFORM_ENDPOINT", eggs.endpoint)
    blender.ops.dressform.add_portrait(portrait="portrait-egg")
    ob = blender.context.object
    parts.staging.settings_for_film(scene, (SIZE, SIZE), 24, (1, 4))
    data = blender.data.cameras.new("Camera")
    camera = blender.data.objects.new("Camera", data)
    scene.collection.objects.link(camera)
    scene.camera = camera
    data.lens = 85.0
    camera.location, camera.rotation_euler = (0.0, -1.2, 0.0), (np.pi / 2, 0.0, 0.0)
    blender.context.view_layer.update()
    return SimpleNamespace(scene=scene, ob=ob, camera=camera)


def test_f12_shows_the_portrait(blender, parts, stage, tmp_path):
    image = _save(blender, stage.scene, tmp_path / "a.png")
    assert image.shape == (SIZE, SIZE, 4)
    assert image[SIZE // 2, SIZE // 2, 3] == 1.0
    assert image[0, 0, 3] == 0.0
