"""What training batches say about their crops: frames, cameras and projected joints."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from lightning_fabric import Fabric

from training.dressing_data import People, cut_batch, load_frames, make_batch, whole_window
from training.dressing_recipe import DressingData

from .toy_people import write_toy_capture


@pytest.fixture(scope="module")
def people(tmp_path_factory) -> People:
    library = tmp_path_factory.mktemp("library")
    folders = tmp_path_factory.mktemp("captures")
    captures = [
        write_toy_capture(library, folders / f"person-{k}", person=k, train=4, held_out=2)
        for k in range(2)
    ]
    return People.open(captures, library)


@pytest.fixture(scope="module")
def frames(people):
    return load_frames(people, "train")


def test_frames_know_their_place_in_the_capture(people):
    held_out = load_frames(people, "held-out")
    for person, capture in enumerate(people.captures):
        assert [frame.index for frame in held_out[person]] == capture.frames("held-out")
        assert {frame.person for frame in held_out[person]} == {person}


def test_a_batch_names_the_frames_that_it_was_cut_from(people, frames):
    data = DressingData(size=64, batch=4, people_per_batch=2)
    batch = make_batch(people, frames, data, 3, 7)
    assert len(batch.frames) == 4
    for crop, (person, index) in enumerate(batch.frames):
        assert batch.people[int(batch.texture[crop])] == person
        assert index in [frame.index for frame in frames[person]]


def test_joints_lie_where_the_whole_frames_camera_sees_them(people, frames):
    frame = frames[1][2]
    window = whole_window(frame, 1.3)
    batch = cut_batch(people, [frame], [window], 64)
    assert batch.joints.shape == (1, 55, 3)
    assert batch.joints.dtype == batch.K.dtype == torch.float32
    seen = frame.joints.astype(np.float64) @ frame.camera.K.T
    in_frame = seen[:, :2] / seen[:, 2:]
    expected = (in_frame - [window.x, window.y]) * 64 / window.side
    assert np.allclose(batch.joints[0, :, :2].numpy(), expected, atol=1e-3)
    assert np.allclose(batch.joints[0, :, 2].numpy(), frame.joints[:, 2])
    # The toys' joints lie in their middle: inside the crop, on the person.
    x, y = batch.joints[0, 0, :2].long().tolist()
    assert batch.masks[0, 0, y, x] > 0.9


def test_a_batch_goes_to_a_device_whole(people, frames):
    data = DressingData(size=64, batch=2, people_per_batch=2)
    batch = make_batch(people, frames, data, 0, 0)
    moved = Fabric(accelerator="cpu", devices=1).to_device(batch)
    assert type(moved) is type(batch)
    assert moved.frames == batch.frames
    assert torch.equal(moved.joints, batch.joints)
