"""Synthetic heads: label maps that are right, and the same bytes for any number of workers."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from blender_addon.contract.camera import look_at
from blender_addon.contract.errors import BadParameter, HeadSetError
from blender_addon.contract.labels import Label
from models.body import load_body
from training.heads.busts import build_bust
from training.heads.cameras import HIGHEST, LOWEST, YAW, orbit, sees_all
from training.heads.cuts import HeadHair
from training.heads.dataset import heads
from training.heads.format import HEAD_RADIUS, HeadSet
from training.heads.maps import depth_map, label_map, look
from training.heads.persons import HeadPerson, random_person
from training.heads.wearings import EarRing, Glasses, Necklace
from training.people.dataset import DEFAULT_BODY
from training.people.hair import HairCut

if TYPE_CHECKING:
    from pathlib import Path

SIZE = 128


@pytest.fixture(scope="module")
def body():
    return load_body(DEFAULT_BODY)


def plain_person() -> HeadPerson:
    """Return a head of chance with nothing on it, looking ahead with its mouth ajar."""
    person = random_person(5)
    return replace(
        person, hat=None, glasses=None, ear_ring=None, necklace=None, collar=None, beard=False,
        jaw=0.2, gaze=(0.0, 0.0), hair=HeadHair(cut=HairCut(style="short")),
    )  # fmt: skip


def camera_at(yaw: float, size: int = SIZE):
    turn = np.radians(yaw)
    eye = 1.2 * np.array([np.sin(turn), 0.0, np.cos(turn)])
    up = np.array([0.0, 1.0, 0.0])
    return look_at(eye, np.zeros(3), up, focal=3.0 * size, width=size, height=size)


@pytest.fixture(scope="module")
def plain(body):
    return build_bust(plain_person(), body)


@pytest.fixture(scope="module")
def front(plain):
    return label_map(plain, look(plain, camera_at(0)))


@pytest.fixture(scope="module")
def adorned(body):
    return build_bust(
        replace(
            plain_person(),
            hair=HeadHair(cut=HairCut(style="bun")),
            glasses=Glasses(),
            ear_ring=EarRing(kind="hoop", size=0.03),
            necklace=Necklace(kind="beads", width=0.005),
        ),
        body,
    )


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("heads") / "set"
    heads(out=folder, heads=2, views=5, size=48, seed=3, held_out=1, workers=0)
    return folder


def middle(labels: np.ndarray, label: Label) -> np.ndarray:
    """Return row and column of a label's middle."""
    found = np.argwhere(labels == label)
    assert len(found), f"no {label.name}"
    return found.mean(axis=0)


def test_a_face_has_its_parts_where_they_belong(front):
    rows = {
        label: middle(front, label)[0]
        for label in (Label.HAIR, Label.BROW, Label.EYE, Label.UPPER_LIP, Label.LOWER_LIP)
    }
    rows[Label.LEFT_NOSE] = middle(front, Label.LEFT_NOSE)[0]
    order = [
        Label.HAIR, Label.BROW, Label.EYE, Label.LEFT_NOSE, Label.UPPER_LIP, Label.LOWER_LIP,
    ]  # fmt: skip
    assert sorted(rows, key=lambda label: rows[label]) == order
    assert middle(front, Label.NECK)[0] > rows[Label.LOWER_LIP]
    assert middle(front, Label.CLOTH)[0] > middle(front, Label.NECK)[0]
    assert rows[Label.UPPER_LIP] < middle(front, Label.INNER_MOUTH)[0] < rows[Label.LOWER_LIP]


def test_the_left_half_of_the_nose_is_on_the_right_of_the_image(front):
    assert middle(front, Label.LEFT_NOSE)[1] > middle(front, Label.RIGHT_NOSE)[1]


def test_brows_eyes_and_ears_come_in_pairs(front):
    for label in (Label.BROW, Label.EYE, Label.EAR):
        columns = np.argwhere(front == label)[:, 1]
        assert (columns < SIZE / 2 - 4).sum() > 5
        assert (columns > SIZE / 2 + 4).sum() > 5


def test_a_camera_at_the_heads_left_sees_the_left_ear_and_the_face_turn_away(plain):
    side = label_map(plain, look(plain, camera_at(70)))
    assert middle(side, Label.EAR)[1] > middle(side, Label.EYE)[1]
    assert (side == Label.LEFT_NOSE).sum() > 2 * (side == Label.RIGHT_NOSE).sum()


def test_an_open_mouth_shows_no_skin_between_the_lips(body):
    shouting = build_bust(replace(plain_person(), jaw=0.3), body)
    for yaw in (-40, 20):
        labels = label_map(shouting, look(shouting, camera_at(yaw, 256)))
        lips = np.isin(labels, [Label.UPPER_LIP, Label.LOWER_LIP])
        between = []
        for column in np.nonzero(lips.any(axis=0))[0]:
            rows = np.nonzero(lips[:, column])[0]
            between.append(labels[rows.min() : rows.max(), column])
        shown = np.concatenate(between)
        assert (shown == Label.INNER_MOUTH).mean() > 0.15
        # A pixel or two of the corners' outer rim stays skin.
        assert (shown == Label.SKIN).mean() < 0.03


def test_what_is_worn_is_labelled_where_it_is_worn(adorned):
    labels = label_map(adorned, look(adorned, camera_at(0, 256)))
    eyes = middle(labels, Label.EYE)
    assert np.abs(middle(labels, Label.GLASSES) - eyes).max() < 10
    assert middle(labels, Label.EAR_RING)[0] > middle(labels, Label.EAR)[0]
    assert middle(labels, Label.NECKLACE)[0] > middle(labels, Label.LOWER_LIP)[0]


def test_depth_and_labels_cover_the_same_pixels_and_lie_in_the_heads_sphere(plain):
    camera = camera_at(30)
    seen = look(plain, camera)
    depth, labels = depth_map(seen), label_map(plain, seen)
    np.testing.assert_array_equal(depth > 0, labels != Label.BACKGROUND)
    row, column = np.nonzero(depth)
    ray = np.stack([column + 0.5, row + 0.5, np.ones(len(row))]) * depth[row, column]
    points = (np.linalg.inv(camera.K) @ ray).T - camera.t
    assert np.linalg.norm(points @ camera.R, axis=1).max() < HEAD_RADIUS + 1e-4


def test_the_head_stays_in_its_place_whatever_the_neck_does(body, plain):
    bent = build_bust(replace(plain_person(), neck=(0.15, 0.25, 0.1)), body)
    one, other = (label_map(b, look(b, camera_at(0))) for b in (plain, bent))
    face = np.isin(one, [Label.EYE, Label.BROW, Label.LEFT_NOSE, Label.RIGHT_NOSE])
    assert (one[face] == other[face]).mean() > 0.97


def _directions(cameras):
    ways = np.array([camera.center for camera in cameras])
    ways /= np.linalg.norm(ways, axis=1, keepdims=True)
    yaw = np.degrees(np.arctan2(ways[:, 0], ways[:, 2]))
    return yaw, np.degrees(np.arcsin(ways[:, 1]))


def test_cameras_reach_all_of_the_front_hemisphere():
    cameras = orbit(np.random.default_rng(0), 40, 64)
    near = [camera for index, camera in enumerate(cameras) if not sees_all(index)]
    yaw, pitch = _directions(near)
    assert len(near) == 30
    assert (np.abs(yaw) < YAW + 2).all()
    assert yaw.min() < -65
    assert yaw.max() > 65
    assert LOWEST - 2 < pitch.min() < LOWEST + 5
    assert HIGHEST - 5 < pitch.max() < HIGHEST + 2


def test_a_quarter_of_the_views_see_the_whole_sphere_from_all_round():
    cameras = orbit(np.random.default_rng(0), 40, 64)
    wide = [camera for index, camera in enumerate(cameras) if sees_all(index)]
    yaw, _ = _directions(wide)
    assert len(wide) == 10
    # One in each tenth of the circle, give or take the cameras' small offset.
    assert np.diff(np.sort(yaw)).max() < 2 * 36 + 2
    assert np.abs(yaw).max() > 140
    for camera in wide:
        # Half the frame, in metres at the head's distance.
        half = 0.5 * camera.width * np.linalg.norm(camera.center) / camera.K[0, 0]
        assert half > HEAD_RADIUS - 0.01


def test_a_set_has_held_out_heads_and_held_out_views(made):
    opened = HeadSet.open(made)
    assert [head.split for head in opened.heads] == ["train", "held-out"]
    assert len(opened.views()) == 4
    assert len(opened.views("held-out")) == 1
    view = opened.views()[0]
    assert set(np.unique(opened.labels(view))) >= {Label.BACKGROUND, Label.SKIN, Label.CLOTH}
    assert 0.5 < opened.depth(view).max() < 2.2


@pytest.mark.slow
def test_the_same_options_give_the_same_bytes_with_two_workers(made, tmp_path):
    heads(out=tmp_path / "set", heads=2, views=5, size=48, seed=3, held_out=1, workers=2)
    assert _digests(made) == _digests(tmp_path / "set")


def test_another_seed_gives_other_heads():
    assert random_person(1) == random_person(1)
    assert random_person(1) != random_person(1_000_001)


def test_a_folder_with_a_set_is_refused(made):
    with pytest.raises(HeadSetError, match="already"):
        heads(out=made, heads=1, views=1, size=32, workers=0)


def test_impossible_numbers_are_refused(tmp_path):
    with pytest.raises(BadParameter):
        heads(out=tmp_path, heads=2, held_out=3, workers=0)
    assert list(tmp_path.iterdir()) == []


def _digests(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
