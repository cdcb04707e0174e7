"""Fitting heads to label maps: cameras as parameters, search, and joint fits."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from blender_addon.contract.camera import Camera, look_at
from blender_addon.contract.errors import BadParameter
from models.label_agreement import Confusion
from models.sof_cameras import NEAREST, CameraParameters, camera_error
from models.sof_fit import FitSettings, FitView, fit_head, iterate_fit, search_camera
from models.sof_render import SofRenderer
from models.sof_space import SofSpace
from tests.training.toy_heads import toy_camera
from tests.training.toy_sof import toy_sof, trained_toy


@given(
    eye=st.tuples(*[st.floats(-2, 2)] * 3),
    roll=st.floats(-3, 3),
)
@settings(max_examples=60, deadline=None)
def test_parameters_give_their_camera_back(eye, roll):
    position = np.array(eye)
    if np.linalg.norm(position[[0, 2]]) < 0.2 or np.linalg.norm(position) < NEAREST:
        return
    aim = np.array([0.02, -0.03, 0.01])
    upright = look_at(position, aim, np.array([0.0, 1.0, 0.0]), focal=90.0, width=64, height=48)
    cosine, sine = np.cos(roll), np.sin(roll)
    turn = np.array([[cosine, sine, 0], [-sine, cosine, 0], [0, 0, 1]])
    R = turn @ upright.R
    camera = Camera(K=upright.K, R=R, t=-R @ position, width=64, height=48)
    found = CameraParameters.of([camera]).camera(0, 64, 48)
    assert np.abs(found.R - camera.R).max() < 1e-4
    assert np.abs(found.center - position).max() < 1e-4
    assert np.abs(found.K - camera.K).max() < 1e-4


def test_freedom_says_what_moves():
    parameters = CameraParameters.of([toy_camera(0.3, 0.1, 32)])
    assert parameters.free("fixed") == []
    assert parameters.free("position") == [parameters.position]
    assert not parameters.roll.requires_grad
    assert len(parameters.free("pose")) == 3


def test_cameras_stay_outside_of_the_head():
    parameters = CameraParameters.of([toy_camera(0.3, 0.1, 32, distance=0.2)])
    parameters.keep_outside()
    assert float(parameters.position.norm().detach()) == pytest.approx(NEAREST, rel=1e-5)


def test_camera_errors_are_angles_and_distances():
    error = camera_error(toy_camera(0.5, 0.0, 32), toy_camera(0.4, 0.0, 32, distance=1.5))
    assert error.degrees == pytest.approx(np.degrees(0.1), abs=1e-3)
    assert error.metres == pytest.approx(0.3, abs=1e-6)


@pytest.fixture(scope="module")
def toys():
    _, heads, _ = toy_sof()
    model = trained_toy().model
    return SofRenderer(model.sof), SofSpace(model.codes), heads


def test_search_finds_from_where_a_label_map_was_seen(toys):
    renderer, space, _ = toys
    truth = toy_camera(0.5, -0.1, 64)
    labels = renderer.label_map(space.mean, truth).labels.numpy()
    found = search_camera(renderer, space.mean, labels, float(truth.K[0, 0]))
    error = camera_error(found, truth)
    assert error.degrees < 15.0
    assert error.metres < 0.2


def test_a_map_without_a_head_is_refused(toys):
    renderer, space, _ = toys
    with pytest.raises(BadParameter, match="no head"):
        search_camera(renderer, space.mean, np.zeros((32, 32), np.uint8), 60.0)
    with pytest.raises(BadParameter, match="at least one"):
        fit_head(renderer, space, [])


def test_a_fit_finds_code_and_camera_and_leaves_the_modules(toys):
    renderer, space, heads = toys
    view = heads.views("held-out")[0]
    labels = heads.labels(view)
    eye = 1.1 * view.camera.center + np.array([0.1, 0.05, 0.0])
    guess = look_at(
        eye,
        np.zeros(3),
        np.array([0.0, 1.0, 0.0]),
        focal=float(view.camera.K[0, 0]),
        width=48,
        height=48,
    )
    before = {name: value.clone() for name, value in renderer.sof.state_dict().items()}
    settings_ = FitSettings(steps=60, rays=384, camera_rate=0.01)
    steps = list(iterate_fit(renderer, space, [FitView(labels, guess)], settings_))
    assert [fit.step for fit in steps] == list(range(1, 61))
    last = steps[-1]
    assert np.mean([s.loss for s in steps[-10:]]) < np.mean([s.loss for s in steps[:5]])
    error, first = camera_error(last.cameras[0], view.camera), camera_error(guess, view.camera)
    assert error.degrees < first.degrees
    assert error.metres < first.metres
    fitted = renderer.label_map(last.code, last.cameras[0]).labels.numpy()
    start = renderer.label_map(space.mean, guess).labels.numpy()
    assert Confusion.of(labels, fitted).mean_iou() > Confusion.of(labels, start).mean_iou() + 0.05
    for name, value in renderer.sof.state_dict().items():
        assert torch.equal(value, before[name])


def test_fits_repeat_and_known_cameras_stay(toys):
    renderer, space, heads = toys
    view = heads.views("held-out")[2]
    views = [FitView(heads.labels(view), view.camera)]
    chosen = FitSettings(steps=4, rays=128, freedom="fixed", basis=True)
    one, two = (fit_head(renderer, space, views, chosen) for _ in range(2))
    assert torch.equal(one.code, two.code)
    assert np.abs(one.cameras[0].t - view.camera.t).max() < 1e-5
    # A convex combination never leaves its basis.
    assert bool((one.code <= space.codes.max(dim=0).values + 1e-5).all())


def test_a_fit_works_inside_inference_mode(toys):
    renderer, space, heads = toys
    view = heads.views("held-out")[0]
    steps = iterate_fit(
        renderer, space, [FitView(heads.labels(view), view.camera)], FitSettings(steps=2, rays=64)
    )
    with torch.inference_mode():
        assert [fit.step for fit in steps] == [1, 2]
