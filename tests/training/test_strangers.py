"""Strangers: random people, a photograph and other poses each, rendered by a real Blender."""

import numpy as np
import pytest

from blender_addon.contract.errors import BadParameter, SetupError
from models.body import load_body
from training.blender import blender_command
from training.people.dataset import DEFAULT_BODY
from training.people.figures import build_figure
from training.people.identities import random_identity
from training.people.strangers import FIRST_SEED, PHOTOGRAPH_TAG, stranger_shots, strangers


@pytest.fixture(scope="module")
def shots():
    figure = build_figure(
        random_identity("stranger-00", FIRST_SEED), load_body(DEFAULT_BODY), skinned_skirts=True
    )
    return stranger_shots(figure, 4, size=64)


def test_one_frame_is_the_photograph_and_the_others_are_held_out(shots):
    assert PHOTOGRAPH_TAG in shots[0].tags
    assert [shot.split for shot in shots] == ["train", *["held-out"] * 4]
    assert not any(PHOTOGRAPH_TAG in shot.tags for shot in shots[1:])
    assert len({shot.name for shot in shots}) == 5


def test_the_photograph_is_taken_from_the_front_and_others_are_not(shots):
    def from_the_front(shot):
        eye = -shot.camera.R.T @ shot.camera.t - shot.body.transl
        ahead = shot.body.pose[0] @ np.array([0.0, 0.0, 1.0])
        return float(eye[[0, 2]] @ ahead[[0, 2]] / np.linalg.norm(eye[[0, 2]]))

    assert from_the_front(shots[0]) > 0.8
    assert min(from_the_front(shot) for shot in shots[1:]) < 0.3


def test_a_missing_blender_is_named_with_what_to_do(tmp_path):
    with pytest.raises(SetupError, match="there is no Blender") as raised:
        blender_command(tmp_path / "nowhere", "build_character.py")
    assert "--blender" in raised.value.next_step


def test_nobody_cannot_be_made(tmp_path):
    with pytest.raises(BadParameter):
        strangers(count=0, out=tmp_path)
