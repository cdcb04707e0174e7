"""What the add-on learns from a live server, without Blender: avatars, bodies, frames."""

from __future__ import annotations

import shutil
import time

import numpy as np
import pytest

from blender_addon import error_log, library
from blender_addon.client import Client
from blender_addon.contract.camera import BlenderLens, from_blender
from blender_addon.contract.errors import BadMessage, BadMotion, Cancelled, UnknownModel
from blender_addon.contract.operations import PosedBody
from blender_addon.engine.compose import frame_digest, render_frame
from blender_addon.job import Job
from blender_addon.local_server import LocalServer
from blender_addon.scene.projection import to_smplx
from blender_addon.scene.stand_in import joint_positions, joint_table
from blender_addon.scene.subjects import Person
from models.package import DEFAULT_LIBRARY, list_packages

SHIPPED_MANIFEST = next(m for m in list_packages(DEFAULT_LIBRARY) if m.kind == "avatar")
SHIPPED = SHIPPED_MANIFEST.id


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """A real server with one shipped avatar."""
    import sys

    folder = tmp_path_factory.mktemp("library") / "library"
    for name in [SHIPPED, *SHIPPED_MANIFEST.requirements.values()]:
        shutil.copytree(DEFAULT_LIBRARY / name, folder / name)
    started = LocalServer.start(
        [sys.executable, "-m", "scripts.cli", "serve"],
        library=folder,
        log=folder.parent / "server.log",
        options=("--device", "cpu"),
    )
    yield started
    started.stop()


@pytest.fixture
def fresh(monkeypatch):
    monkeypatch.setattr(library, "known", library.Library())


def test_avatars_previews_and_bodies_come_over_the_socket(server, fresh):
    known = library.fetch(server.endpoint)
    (avatar,) = known.avatars
    assert (avatar.id, avatar.body) == (SHIPPED, "body-cc0")
    assert known.previews[SHIPPED].shape[2] == 4
    assert known.first_or("") == known.avatar(SHIPPED) == avatar
    template = library.fetch_template(server.endpoint, avatar.body)
    assert template is library.fetch_template(server.endpoint, avatar.body)
    joints = joint_positions(joint_table(template), np.zeros(template.shape_dirs.shape[-1]))
    assert joints[15, 1] > joints[0, 1] > joints[10, 1]  # head over pelvis over foot
    with pytest.raises(UnknownModel, match="nobody"):
        known.avatar("nobody")


def _lens(width, height):
    return BlenderLens(
        lens=50.0,
        sensor_width=36.0,
        sensor_height=24.0,
        sensor_fit="AUTO",
        shift_x=0.0,
        shift_y=0.0,
        resolution_x=width,
        resolution_y=height,
        resolution_percentage=100,
        pixel_aspect_x=1.0,
        pixel_aspect_y=1.0,
    )


def test_two_people_are_rendered_where_blenders_camera_sees_them(server, fresh):
    avatar = library.fetch(server.endpoint, previews=False).avatars[0]
    lens = _lens(160, 128)
    world = np.array([[1, 0, 0, 0], [0, 0, -1, -5.0], [0, 1, 0, -0.3], [0, 0, 0, 1.0]])
    camera = to_smplx(from_blender(lens, world))
    people = [_standing(avatar, "left", (-0.8, 0, 0)), _standing(avatar, "right", (0.8, 0, 0.5))]
    seen: list[str] = []
    with Client(server.endpoint) as client:

        def ask(request, _name):
            params, arrays = request.to_wire()
            return client.call(request.operation, params, arrays, timeout=60, patience=120)

        frame = render_frame(
            people, camera, ask, masks=True, on_subject=lambda name, *_: seen.append(name)
        )
    assert seen == ["left", "right"]
    assert frame.digests == {SHIPPED: avatar.digest}
    for person in people:
        # The chest lies within the person, at the distance that the camera is from it.
        x, y, depth = camera.project(np.array([[0, 0.0, 0]]) + person.body.transl)[0]
        column, row = int(x), int(y)
        assert frame.layer.rgba[row, column, 3] > 0.9
        assert frame.layer.depth[row, column] == pytest.approx(depth, abs=0.25)
        assert frame.layer.masks is not None
        assert frame.layer.masks[row, column, 0] > 0.9
    assert frame.layer.rgba[:, 75:85, 3].max() < 0.1  # nobody stands in the middle


def _standing(avatar, name, place):
    pose = np.tile(np.eye(3, dtype=np.float32), (55, 1, 1))
    for joint, angle in ((16, -1.2), (17, 1.2)):  # arms down
        c, s = np.cos(angle), np.sin(angle)
        pose[joint, :2, :2] = [[c, -s], [s, c]]
    body = PosedBody(
        pose=pose,
        transl=np.array(place, np.float32),
        betas=np.array(avatar.betas, np.float32),
        expression=np.zeros(0, np.float32),
    )
    return Person(name=name, avatar=avatar.id, body=body, scale=1.0)


def test_a_frames_digest_changes_with_whatever_its_pixels_depend_on():
    avatar = library.Avatar(id="a", name="A", digest="1", licence="", body="b", betas=(0.0, 1.0))
    person = _standing(avatar, "p", (0, 0, 0))
    camera = to_smplx(from_blender(_lens(64, 64), np.eye(4)))
    first = frame_digest([person], camera, {"a": "1"})
    assert frame_digest([person], camera, {"a": "1"}) == first
    moved = _standing(avatar, "p", (0, 0, 1e-4))
    nearer = camera.cropped(0, 0, 64, 64, 1.001)
    others = [
        frame_digest([person], camera, {"a": "2"}),
        frame_digest([moved], camera, {"a": "1"}),
        frame_digest([person], nearer, {"a": "1"}),
        frame_digest([person, person], camera, {"a": "1"}),
        frame_digest([], camera, {"a": "1"}),
    ]
    assert len({first, *others}) == 6


@pytest.mark.parametrize("model", [{}, {"id": "a"}, {"id": 3, "body": "b"}])
def test_entries_without_id_or_body_are_refused(model):
    with pytest.raises(BadMessage):
        library.parse_avatar(model)


def test_a_missing_preview_is_grey():
    assert library.parse_preview(None).shape == (1, 1, 4)
    image = library.parse_preview(np.full((4, 5, 3), 255, np.uint8))
    assert image.shape == (4, 5, 4)
    assert (image == 1.0).all()


def test_jobs_return_raise_and_stop():
    assert Job(lambda _stop: 7).result() == 7
    with pytest.raises(BadMotion):
        Job(_raise).result()

    def until_stopped(stop):
        while not stop():
            time.sleep(0.005)
        raise Cancelled

    job = Job(until_stopped)
    assert not job.done
    job.cancel()
    with pytest.raises(Cancelled):
        job.result()
    assert job.done


def _raise(_stop):
    raise BadMotion


def test_the_error_log_counts_and_its_report_says_what_to_do():
    error_log.clear()
    for _ in range(3):
        error_log.record("Viewport", BadMotion("it is broken"))
    error_log.record("Render", UnknownModel())
    entries = error_log.entries()
    assert [(entry.place, entry.count) for entry in entries] == [("Render", 1), ("Viewport", 3)]
    report = error_log.report("4.5")
    for words in ("×3", "it is broken", BadMotion.default_next_step, "Blender 4.5"):
        assert words in report
    error_log.clear()
    assert not error_log.entries()
