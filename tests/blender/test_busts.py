"""Busts rendered by Cycles: the projected colours lie where the camera sees them, and are lit."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np

SCRIPT = Path(__file__).resolve().parent.parent.parent / "scripts" / "render_busts.py"
SIZE = 48


def _ball():
    """A ball of 10 cm around the origin: vertices and triangles."""
    rows, columns = 16, 24
    polar = np.linspace(0, np.pi, rows)[:, None]
    around = np.linspace(0, 2 * np.pi, columns, endpoint=False)[None]
    vertices = np.stack(
        [
            np.sin(polar) * np.cos(around),
            np.cos(polar) + 0 * around,
            np.sin(polar) * np.sin(around),
        ],
        axis=-1,
    ).reshape(-1, 3)
    faces = []
    for row in range(rows - 1):
        for column in range(columns):
            a, b = row * columns + column, row * columns + (column + 1) % columns
            faces += [(a, b, a + columns), (b, b + columns, a + columns)]
    return (0.1 * vertices).astype(np.float32), np.array(faces, np.int32)


def _write_ball(file, lamp):
    vertices, faces = _ball()
    albedo = np.zeros((2 * SIZE, 2 * SIZE, 3), np.float32)
    albedo[:, :SIZE, 0] = albedo[:, SIZE:, 1] = 0.6
    np.savez(
        file,
        vertices=vertices,
        faces=faces,
        albedo=albedo,
        surface=np.tile(np.array([0.8, 0.1, 0.0], np.float32), (2 * SIZE, 2 * SIZE, 1)),
        lamp_directions=np.array([lamp], np.float32),
        lamp_colors=np.array([(0.9, 0.9, 0.9)], np.float32),
        sky=np.full(3, 0.1, np.float32),
        ground=np.full(3, 0.1, np.float32),
        K=np.array([[SIZE * 3.0, 0, SIZE / 2], [0, SIZE * 3.0, SIZE / 2], [0, 0, 1]]),
        # In front of the face: the camera looks along -Z from 1 m.
        R=np.diag([1.0, -1.0, -1.0]),
        t=np.array([0.0, 0.0, 1.0]),
        size=np.array([SIZE, SIZE]),
    )


def test_the_projected_colours_and_the_lamp_reach_the_picture(blender, tmp_path):
    _write_ball(tmp_path / "above.npz", (0.0, 1.0, 0.3))
    _write_ball(tmp_path / "below.npz", (0.0, -1.0, 0.3))
    words = [sys.executable, str(SCRIPT), "--", "--folder", str(tmp_path), "--samples", "4"]
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=240)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    above, below = (_pixels(blender, tmp_path / f"{name}.png") for name in ("above", "below"))
    assert above[2, 2, 3] == 0
    assert above[SIZE // 2, SIZE // 2, 3] == 1
    left, right = above[SIZE // 2, SIZE // 3], above[SIZE // 2, 2 * SIZE // 3]
    assert left[0] > 3 * left[1]
    assert right[1] > 3 * right[0]
    third = SIZE // 2 - SIZE // 5
    assert above[third, SIZE // 3, 0] > 1.5 * below[third, SIZE // 3, 0]


def _pixels(blender, file):
    image = blender.data.images.load(str(file))
    image.colorspace_settings.name = "Non-Color"
    width, height = image.size
    values = np.array(image.pixels[:], np.float32).reshape(height, width, 4)[::-1]
    blender.data.images.remove(image)
    return values
