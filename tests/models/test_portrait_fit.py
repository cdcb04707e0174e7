"""Fitting portraits: what the networks painted themselves is found again; steps, errors, styles."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch

from blender_addon.contract.errors import BadParameter, NoFaceFound
from blender_addon.contract.labels import Label, labels_to_colors
from blender_addon.contract.portraits import FIT_STAGES
from models import sof_fit
from models.label_agreement import Confusion
from models.portrait_fit import PortraitFitSettings, _places, fit_portrait, iterate_portrait_fit
from models.portrait_square import choose_square
from models.siw_package import Siw
from models.sof_fit import FitSettings, search_camera
from models.sof_render import SofRenderer
from models.sof_space import SofSpace
from models.style_fit import (
    StyleFitSettings,
    StyleTarget,
    _completed,
    first_styles,
    iterate_styles,
    painting,
    portrait_distance,
)
from tests.training.toy_heads import toy_camera
from tests.training.toy_sof import trained_toy

from .test_portrait_parser import PaletteParser
from .toy_portraits import PAINTER, toy_painter

SHORT = PortraitFitSettings(
    shape=FitSettings(steps=30, rays=256), styles=StyleFitSettings(steps=6, perceptual=0.1)
)


@pytest.fixture(scope="module", autouse=True)
def few_directions():
    """Search the camera in few directions: that the search finds it is test_sof_fit.py's."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(sof_fit, "SEARCH_AZIMUTHS", (-0.3, 0.0, 0.3))
        patched.setattr(sof_fit, "SEARCH_ELEVATIONS", (0.0,))
        yield


@pytest.fixture(scope="module")
def toys():
    model = trained_toy().model
    return SofRenderer(model.sof), SofSpace(model.codes), toy_painter()


@pytest.fixture(scope="module")
def photograph(toys):
    """A head of the SOF as an image in the palette's colours, in a larger photograph."""
    renderer, space, _ = toys
    camera = toy_camera(0.3, 0.1, 160)
    labels = np.zeros((220, 260), np.uint8)
    labels[40:200, 70:230] = renderer.label_map(space.codes[1], camera).labels.numpy()
    return labels


@pytest.fixture(scope="module")
def fitted(toys, photograph):
    image = labels_to_colors(photograph)
    return fit_portrait(*toys, image, parser=PaletteParser(), settings=SHORT)


def test_a_head_of_the_sof_is_found_again(toys, photograph, fitted):
    renderer, space, _ = toys
    focal = float(fitted.camera.K[0, 0])
    first = search_camera(renderer, space.mean, fitted.labels, focal)
    start = renderer.label_map(space.mean, first).labels.numpy()
    before = Confusion.of(fitted.labels, start).mean_iou()
    assert fitted.label_iou > before
    assert fitted.label_iou > 0.5
    again = renderer.label_map(fitted.code, fitted.camera).labels.numpy()
    assert np.array_equal(again, fitted.fitted_labels)
    assert fitted.label_iou == Confusion.of(fitted.labels, again).mean_iou()


def test_what_is_fitted_is_all_that_a_portrait_holds(toys, fitted):
    _, space, _ = toys
    assert fitted.code.shape == space.mean.shape
    assert fitted.styles.shape == (17, PAINTER.style)
    assert torch.isfinite(fitted.styles).all()
    assert (fitted.camera.width, fitted.camera.height) == (256, 256)
    assert fitted.painted.shape == fitted.target.shape == (PAINTER.size, PAINTER.size, 3)
    assert fitted.distance > 0


def test_a_fit_tells_where_it_stands_and_shows_it(toys, photograph):
    shorter = replace(SHORT, shape=FitSettings(steps=12, rays=64))
    image = labels_to_colors(photograph)
    steps = list(iterate_portrait_fit(*toys, image, PaletteParser(), settings=shorter))
    assert all(a.share <= b.share for a, b in pairwise(steps))
    assert list(dict.fromkeys(step.stage for step in steps)) == list(FIT_STAGES[:3])
    widths = [step.preview.shape[1] for step in steps if step.preview is not None]
    # Photograph and labels first, then fitted labels, then the painted portrait.
    assert widths == sorted(widths)
    assert widths[-1] == 2 * widths[0]


def test_the_users_own_labels_take_the_parsers_place(toys, photograph):
    image = np.random.default_rng(0).integers(0, 255, (*photograph.shape, 3)).astype(np.uint8)
    steps = iterate_portrait_fit(*toys, image, labels=photograph, settings=SHORT)
    first = next(steps)
    assert first.preview is not None
    steps.close()
    with pytest.raises(BadParameter, match="width and height"):
        next(iterate_portrait_fit(*toys, image, labels=photograph[:-1]))
    with pytest.raises(NoFaceFound, match="shows no face"):
        next(iterate_portrait_fit(*toys, image, labels=np.zeros_like(photograph)))
    with pytest.raises(BadParameter, match="parser or a label map"):
        next(iterate_portrait_fit(*toys, image))
    with pytest.raises(BadParameter, match="focal"):
        list(iterate_portrait_fit(*toys, image, labels=photograph, focal=-3.0))


def test_the_same_photograph_gives_the_same_portrait_in_inference_mode_too(toys, photograph):
    shorter = PortraitFitSettings(
        shape=FitSettings(steps=3, rays=64), styles=StyleFitSettings(steps=2)
    )
    image = labels_to_colors(photograph)
    one = fit_portrait(*toys, image, labels=photograph, settings=shorter)
    with torch.inference_mode():
        other = fit_portrait(*toys, image, labels=photograph, settings=shorter)
    assert torch.equal(one.code, other.code)
    assert torch.equal(one.styles, other.styles)


def test_the_square_sees_the_photograph_where_the_frame_does():
    camera = toy_camera(0.4, 0.1, 64)
    square = choose_square(camera, 0.35, 32)
    assert square is not None
    place = _places(square, 32)
    # A point of the head lies in both images where the map says.
    point = np.array([0.03, 0.02, 0.05])
    there = square.camera.K @ (square.camera.R @ point + square.camera.t)
    here = camera.K @ (camera.R @ point + camera.t)
    x, y = (there[:2] / there[2] - 0.5).round().astype(int)
    assert np.abs(place[y, x] - here[:2] / here[2]).max() < 1.5


# --- styles


def test_fitted_styles_come_nearer_to_the_photograph():
    painter = toy_painter()
    labels = torch.zeros(32, 32, dtype=torch.uint8)
    labels[6:26, 8:24] = Label.SKIN
    labels[2:8, 8:24] = Label.HAIR
    with torch.no_grad():
        image = painting(painter, labels, painter.draw(1, seed=5)[0])
    target = StyleTarget(image, labels, labels)
    start = painting(painter, labels, first_styles(painter, target))
    *_, styles = iterate_styles(painter, target, StyleFitSettings(steps=25, perceptual=0.0))
    end = painting(painter, labels, styles)
    shown = labels > 0
    before = (start - image).abs().mean(dim=1)[0][shown].mean()
    after = (end - image).abs().mean(dim=1)[0][shown].mean()
    assert after < 0.7 * before
    assert portrait_distance(target, image) < 1e-6
    assert all(parameter.grad is None for parameter in painter.parameters())


def test_styles_begin_where_the_encoder_reads_them():
    torch.manual_seed(0)
    painter = Siw(replace(PAINTER, photo_encoder=4)).eval()
    painter.measure_style_mean(16)
    labels = torch.zeros(32, 32, dtype=torch.uint8)
    labels[8:24, 8:24] = Label.SKIN
    target = StyleTarget(torch.rand(1, 3, 32, 32), labels, labels)
    with torch.no_grad():
        styles = first_styles(painter, target)
    assert not torch.equal(styles[Label.SKIN], painter.style_mean[Label.SKIN])
    # What the photograph does not show keeps the mean style where no prior knows better.
    assert torch.equal(styles[Label.HAT], painter.style_mean[Label.HAT])


def test_hidden_regions_get_what_the_others_make_likely():
    # Two regions of one number each that are nearly always the same.
    factor = torch.tensor([[1.0, 0.0], [1.0, 0.05]])
    mean = torch.tensor([2.0, 2.0])
    codes = torch.tensor([[5.0], [0.0]])
    completed = _completed(codes, torch.tensor([True, False]), mean, factor)
    assert float(completed[0]) == 5.0
    assert float(completed[1]) == pytest.approx(5.0, abs=0.1)
    nothing = _completed(codes, torch.tensor([False, False]), mean, factor)
    assert torch.equal(nothing.flatten(), mean)
