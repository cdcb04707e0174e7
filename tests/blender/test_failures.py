"""What goes wrong stops the render, says why, and loses nothing."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
FRAMES = 48


def test_an_orthographic_camera_stops_the_render_with_the_reason(blender, stage):
    stage.camera.data.type = "ORTHO"
    with pytest.raises(RuntimeError, match=r"ORTHO.*Next step.*camera\.unsupported"):
        blender.ops.render.render()


def test_a_sheared_rig_stops_the_render_and_is_named(blender, stage):
    stage.rig.scale = (1, 2, 1)
    with pytest.raises(RuntimeError, match="Ada is sheared or scaled unevenly"):
        blender.ops.render.render()


def test_an_avatar_that_the_library_lacks_is_named_with_the_person(blender, parts, stage):
    stage.rig.dressform.avatar = "nobody"
    with pytest.raises(RuntimeError, match=r"Ada: .*model\.unknown"):
        blender.ops.render.render()
    assert parts.error_log.entries()[0].code == "model.unknown"
    report = parts.error_log.report("4.2")
    assert "model.unknown" in report
    assert "next step" in report


def test_another_machine_is_refused_while_blender_is_offline(blender, stage, monkeypatch):
    if blender.app.online_access:
        blender.context.preferences.system.use_online_access = False
    monkeypatch.setenv("DRESSFORM_ENDPOINT", "tcp://192.0.2.1:5555")
    with pytest.raises(RuntimeError, match="online access is off"):
        blender.ops.render.render()


def test_no_server_and_no_way_to_start_one(blender, parts, stage, monkeypatch):
    monkeypatch.delenv("DRESSFORM_PYTHON")
    monkeypatch.setenv("PATH", "/nowhere")
    parts.connection.current().stop()
    try:
        with pytest.raises(RuntimeError, match=r"setup\.missing"):
            blender.ops.render.render()
    finally:
        monkeypatch.undo()
        parts.connection.current().endpoint()


def _children(pid: int) -> list[int]:
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if int(fields[1]) == pid:
                found.append(int(entry.name))
    return found


def _animate(blender, scene, folder: Path, kills: dict[int, object] | None = None) -> None:
    """Render the animation; while the given frames are rendered, call what is given for them."""

    def before(_scene, *_rest) -> None:
        action = (kills or {}).pop(scene.frame_current, None)
        if action is not None:
            threading.Timer(0.01, action).start()

    scene.render.filepath = str(folder / "f_")
    blender.app.handlers.render_pre.append(before)
    try:
        blender.ops.render.render(animation=True)
    finally:
        blender.app.handlers.render_pre.remove(before)


@pytest.mark.skipif(not Path("/proc").exists(), reason="finds processes in /proc")
def test_killed_worker_and_killed_server_lose_no_frame(blender, parts, server, stage, tmp_path):
    blender.ops.dressform.apply_motion(motion="dance")
    scene = stage.scene
    scene.frame_start, scene.frame_end = 1, FRAMES
    scene.render.resolution_x = scene.render.resolution_y = 64
    scene.render.use_file_extension = True
    local = server._local
    happened = []

    def kill_worker() -> None:
        for pid in _children(local.pid):
            if b"resource_tracker" not in Path(f"/proc/{pid}/cmdline").read_bytes():
                os.kill(pid, signal.SIGKILL)
                happened.append("worker")

    def kill_server() -> None:
        os.kill(local.pid, signal.SIGKILL)
        happened.append("server")

    _animate(blender, scene, tmp_path / "disturbed", {14: kill_worker, 30: kill_server})
    assert "worker" in happened
    assert "server" in happened
    server.stop()  # the cache with it
    _animate(blender, scene, tmp_path / "undisturbed")
    names = [f"f_{frame:04d}.png" for frame in range(1, FRAMES + 1)]
    assert sorted(path.name for path in (tmp_path / "disturbed").iterdir()) == names
    for name in names:
        a, b = ((tmp_path / kind / name).read_bytes() for kind in ("disturbed", "undisturbed"))
        assert a == b, f"{name} differs"


def test_the_headless_script_skips_finished_frames_and_splits_ranges(
    blender, parts, headless, server, tmp_path
):
    def render(words):
        return headless("render_avatar.py", words, server.endpoint())

    job = ["--avatar", "ada", "--motion", "walk", "--camera", "walk-past", "--size", "64"]
    whole = [*job, "--frames", "1-6", "--out", str(tmp_path / "whole")]
    first = render(whole)
    assert first.returncode == 0, first.stdout + first.stderr
    frames = sorted((tmp_path / "whole").iterdir())
    assert [frame.name for frame in frames] == [f"frame_{index:04d}.png" for index in range(1, 7)]
    # A torn frame and a missing one are made again, the others are not touched.
    before = {frame.name: frame.stat().st_mtime_ns for frame in frames}
    contents = {frame.name: frame.read_bytes() for frame in frames}
    frames[1].write_bytes(contents[frames[1].name][:-20])
    frames[4].unlink()
    second = render(whole)
    assert second.returncode == 0, second.stderr
    assert second.stdout.count("already there") == 4
    for frame in frames:
        assert frame.read_bytes() == contents[frame.name]
        assert (frame.stat().st_mtime_ns == before[frame.name]) == (
            frame not in (frames[1], frames[4])
        )
    part = render([*job, "--frames", "4-5", "--shot", "1-6", "--out", str(tmp_path / "part")])
    assert part.returncode == 0, part.stderr
    for index in (4, 5):
        name = f"frame_{index:04d}.png"
        assert (tmp_path / "part" / name).read_bytes() == contents[name]


def test_the_headless_script_fails_honestly(headless, server, tmp_path):
    words = ["--avatar", "nobody", "--out", str(tmp_path / "o")]
    done = headless("render_avatar.py", words, server.endpoint())
    assert done.returncode == 1
    assert "choose one of: ada, ben" in done.stderr
    assert not list(tmp_path.glob("o/*"))


def test_a_broken_animation_in_background_exits_with_1(blender, archive, server, stage, tmp_path):
    """What `blender -b scene.blend -E DRESSFORM -a` does: open, render, stop at the first error."""
    stage.camera.data.type = "ORTHO"
    blender.ops.wm.save_as_mainfile(filepath=str(tmp_path / "s.blend"))
    script = tmp_path / "render.py"
    script.write_text(
        "import bpy\n"
        f"bpy.ops.extensions.package_install_files(filepath={str(archive)!r}, "
        "repo='user_default', enable_on_install=True)\n"
        f"bpy.ops.wm.open_mainfile(filepath={str(tmp_path / 's.blend')!r})\n"
        f"bpy.context.scene.render.filepath = {str(tmp_path / 'f_')!r}\n"
        "bpy.ops.render.render(animation=True)\n"
    )
    started = time.monotonic()
    done = subprocess.run(
        [sys.executable, str(script)],
        env={
            **os.environ,
            "DRESSFORM_ENDPOINT": server.endpoint(),
            "BLENDER_USER_RESOURCES": str(tmp_path / "profile"),
        },
        capture_output=True,
        text=True,
        timeout=90,
    )
    assert done.returncode == 1
    assert "ORTHO" in done.stdout + done.stderr
    assert not list(tmp_path.glob("f_*"))
    assert time.monotonic() - started < 60
