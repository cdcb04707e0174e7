"""Portraits: images that belong to their label maps, of heads that no other set has."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import binary_dilation

from blender_addon.contract.errors import BadParameter, SetupError
from blender_addon.contract.labels import Label
from models.body import load_body
from training.heads.busts import build_bust
from training.heads.cameras import portrait_camera
from training.heads.colors import random_colors
from training.heads.cuts import HeadHair
from training.heads.cycles import finished_portrait, write_bust
from training.heads.dataset import head_seed
from training.heads.format import HeadSet
from training.heads.painting import paint_portrait, shell_of
from training.heads.persons import random_person
from training.heads.portraits import FIRST_PORTRAIT, portraits
from training.people.dataset import DEFAULT_BODY
from training.people.materials import Hair


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("portraits") / "set"
    portraits(out=folder, portraits=3, views=2, size=64, seed=1, held_out=1, workers=0)
    return HeadSet.open(folder)


def test_as_many_portraits_as_asked_of_as_few_heads_as_needed(made):
    assert [len(head.views) for head in made.heads] == [2, 1]
    assert [head.split for head in made.heads] == ["train", "held-out"]
    assert len(made.views(None)) == 2


def test_views_of_one_head_differ_in_their_colors(made):
    one, other = made.heads[0].attributes["colors"]
    assert one["skin"] != other["skin"]
    first, second = (made.image(view) for view in made.heads[0].views)
    assert np.abs(first.astype(int) - second).mean() > 5


def test_portraits_show_other_heads_than_the_sets_of_heads():
    heads = {head_seed(0, number) for number in range(2000)}
    assert not heads & {head_seed(0, FIRST_PORTRAIT + number) for number in range(2000)}


@pytest.fixture(scope="module")
def painted():
    person = replace(random_person(5), hat=None, hair=HeadHair(), beard=False)
    bust = build_bust(person, load_body(DEFAULT_BODY))
    colors = random_colors(person, 2)
    shell = shell_of(bust)
    camera = portrait_camera(np.random.default_rng(0), 96)
    green = replace(colors, hair=Hair(color=(0.1, 0.75, 0.1)))
    return (
        paint_portrait(bust, shell, colors, camera),
        paint_portrait(bust, shell, green, camera),
    )


def test_the_image_and_its_label_map_show_the_same_hair(painted):
    (image, labels), (green, same) = painted
    np.testing.assert_array_equal(labels, same)
    changed = np.abs(image.astype(int) - green).max(axis=2) > 12
    hair = labels == Label.HAIR
    assert hair.sum() > 200
    assert changed[hair].mean() > 0.97
    # What changed elsewhere are pixels that hair covers in part.
    assert changed[~hair].mean() < 0.03


def test_skin_looks_like_skin_under_any_light():
    redder = []
    for seed in range(200):
        colors = random_colors(random_person(3), seed)
        red, green, blue = colors.complexion.skin
        redder.append(red > green > blue)
        assert 0.3 < sum(colors.lights.lamps[0].color) + sum(colors.lights.sky) < 6.5
    assert all(redder)


def test_impossible_numbers_are_refused(tmp_path):
    with pytest.raises(BadParameter):
        portraits(out=tmp_path, portraits=4, views=2, held_out=3, workers=0)
    assert list(tmp_path.iterdir()) == []


def test_what_blender_rendered_stands_before_the_portraits_own_backdrop(tmp_path):
    person = random_person(5)
    bust = build_bust(person, load_body(DEFAULT_BODY))
    colors = random_colors(person, 2)
    camera = portrait_camera(np.random.default_rng(0), 64)
    shell = shell_of(bust)
    file = tmp_path / "p.npz"
    write_bust(file, bust, shell, colors, camera)
    painted, labels = paint_portrait(bust, shell, colors, camera)
    rgba = np.zeros((64, 64, 4), np.uint8)
    rgba[labels != Label.BACKGROUND] = (10, 200, 30, 255)
    Image.fromarray(rgba).save(file.with_suffix(".png"))
    image, same = finished_portrait(file)
    assert np.array_equal(same, labels)
    assert (image[labels != Label.BACKGROUND] == (10, 200, 30)).all()
    far = ~binary_dilation(labels != Label.BACKGROUND, iterations=2)
    assert np.abs(image[far].astype(int) - painted[far]).max() <= 1


def test_albedo_for_blender_has_the_colours_of_the_label_map(tmp_path):
    person = replace(random_person(5), hat=None, hair=HeadHair(), beard=False)
    bust = build_bust(person, load_body(DEFAULT_BODY))
    colors = replace(random_colors(person, 2), hair=Hair(color=(0.1, 0.75, 0.1)))
    camera = portrait_camera(np.random.default_rng(0), 96)
    write_bust(tmp_path / "p.npz", bust, shell_of(bust), colors, camera)
    with np.load(tmp_path / "p.npz") as arrays:
        albedo = arrays["albedo"].reshape(96, 2, 96, 2, 3).mean(axis=(1, 3))
        labels = arrays["labels"]
    hair, skin = (
        albedo[labels == Label.HAIR].mean(axis=0),
        albedo[labels == Label.SKIN].mean(axis=0),
    )
    assert hair[1] > 2 * hair[0]
    assert skin[0] > skin[1]


def test_a_share_of_cycles_needs_a_blender(tmp_path):
    with pytest.raises(SetupError, match="--blender"):
        portraits(out=tmp_path / "set", portraits=2, cycles=0.5, blender=tmp_path / "no-blender")
    with pytest.raises(BadParameter, match="cycles"):
        portraits(out=tmp_path / "set", portraits=2, cycles=1.5)
