"""Sheets to look at show who they say, whole, from the side they say."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from models.package import DEFAULT_LIBRARY, list_packages
from training.looks import Look, frame, sheet, show_looks
from training.looks_motions import NAMES, motion, neutral


@pytest.fixture(scope="module")
def look():
    avatar = next(p.id for p in list_packages(DEFAULT_LIBRARY) if p.kind == "avatar")
    return Look.of(DEFAULT_LIBRARY, avatar)


@pytest.mark.parametrize("name", [*NAMES, "neutral"])
def test_people_stand_upright_and_whole_in_the_picture(look, name):
    bodies = [neutral(look.betas)] if name == "neutral" else motion(name, 3, look.betas)
    for body in bodies:
        points = look.vertices(body)
        extent = points.max(axis=0) - points.min(axis=0)
        assert extent[1] > 1.1  # tall, not lying
        camera = frame(points, 30, 128)
        seen = camera.project(points)
        assert seen[:, :2].min() > 4
        assert seen[:, :2].max() < 124
        assert points[look.parts.head, 1].mean() > points[:, 1].mean()


def test_sides_are_where_they_say(look):
    points = look.vertices(neutral(look.betas))
    left = points[look.parts.left_hand].mean(axis=0)

    def place(camera):
        return camera.project(left)

    front, back = place(frame(points, 0, 128)), place(frame(points, 180, 128))
    assert front[0] > 80 > 48 > back[0]
    # From 90° the person's left side is near.
    assert place(frame(points, 90, 128))[2] < place(frame(points, -90, 128))[2]


def test_motions_move(look):
    for name in NAMES:
        first, second, _ = motion(name, 3, look.betas)
        assert np.abs(first.pose - second.pose).max() > 0.05


def test_a_sheet_has_a_place_for_every_picture():
    shots = [(str(k), Image.new("RGB", (20, 10), (k, 0, 0))) for k in range(5)]
    picture = np.asarray(sheet(shots, 3))
    assert picture.shape == (2 * 28, 60, 3)
    assert picture[20, 30, 0] == 1
    assert picture[50, 30, 0] == 4


@pytest.mark.slow
def test_the_command_writes_its_sheets(look, tmp_path, monkeypatch):
    # The network is left out: it is what the sheets show, not how they are laid out.
    shots = []

    def shoot(self, body, camera):
        shots.append(camera.width)
        return Image.new("RGB", (camera.width, camera.height))

    monkeypatch.setattr(Look, "shoot", shoot)
    avatar = next(p.id for p in list_packages(DEFAULT_LIBRARY) if p.kind == "avatar")
    assert show_looks(avatar, tmp_path, frames=2, sizes=(64, 1024)) == 0
    names = {path.name.removeprefix(f"{avatar}-") for path in tmp_path.iterdir()}
    kinds = {f"{kind}-{size}.png" for kind in ("sides", "motions") for size in (64, 1024)}
    assert names == kinds | {"heads.png", "hands.png"}
    assert shots.count(64) == 8 + 5 * 2
    assert shots.count(1024) == 8 + 5 * 1
    assert shots.count(512) == 6 + 8


def test_pictures_are_laid_over_grey(look, monkeypatch):
    rgba = np.zeros((8, 8, 4), np.uint8)
    rgba[:4] = (255, 0, 0, 255)
    monkeypatch.setattr(look.renderer, "render", lambda *_: {"rgba": rgba})
    camera = frame(look.vertices(neutral(look.betas)), 0, 8)
    shown = np.asarray(look.shoot(neutral(look.betas), camera))
    assert (shown[0, 0] == (255, 0, 0)).all()
    assert (shown[6, 6] == 200).all()
