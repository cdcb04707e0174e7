"""Painting a portrait's square: coarser maps, clean edges, no specks, one device."""

from __future__ import annotations

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from blender_addon.contract.labels import Label
from models.portrait_paint import (
    coarser,
    composed,
    paint,
    softened,
    without_background,
    without_specks,
)
from models.portrait_square import choose_square, paste
from models.siw import one_hot
from models.siw_package import Siw
from tests.models.toy_portraits import PAINTER, RADIUS, SIZE, STYLE, a_camera


def test_a_coarser_map_takes_the_majority_and_prefers_what_is_thin():
    labels = torch.tensor([[1, 1, 0, 0], [1, 15, 15, 15], [11, 3, 2, 3], [11, 3, 0, 1]])
    assert coarser(labels.to(torch.uint8)).tolist() == [[1, 15], [11, 3]]


def test_edges_take_no_colour_of_the_painted_background():
    labels = torch.zeros(32, 32, dtype=torch.uint8)
    labels[4:28, 4:16] = Label.SKIN
    labels[4:28, 16:28] = Label.HAIR
    colours = torch.zeros(1, 3, 32, 32)
    colours[:, 0, 5:27, 5:16] = 1.0
    colours[:, 1, 5:27, 16:27] = 1.0
    colours[:, 2] = 1.0 - colours.sum(dim=1)  # blue outside, and on a rim of one pixel inside
    clean = without_background(colours, labels)
    near = torch.nn.functional.max_pool2d((labels > 0).float()[None, None], 3, 1, 1)[0, 0] > 0
    assert clean[0, 2][near].max() == 0
    skin, hair = labels == Label.SKIN, labels == Label.HAIR
    assert clean[0, 0][skin].min() == 1
    assert clean[0, 1][hair].min() == 1
    layers = composed(
        colours, labels.repeat_interleave(2, 0).repeat_interleave(2, 1), background=False
    )
    assert layers.rgba[0, 2].max() < 0.05


def test_specks_and_pinholes_go_and_what_is_larger_stays():
    labels = torch.zeros(128, 128, dtype=torch.uint8)
    labels[20:100, 20:100] = Label.SKIN
    labels[40:60, 40:60] = 0
    expected = labels.clone()
    labels[70, 70:72] = 0
    labels[5, 5] = Label.HAIR
    assert torch.equal(without_specks(labels), expected)


def test_softened_masks_keep_their_area():
    mask = torch.zeros(40, 40, dtype=torch.bool)
    mask[10:30, 12:20] = True
    assert softened(mask).sum() == pytest.approx(float(mask.sum()), rel=1e-5)


@pytest.mark.filterwarnings("ignore:Accessing the data pointer")
def test_painting_stays_on_a_fake_cuda_device():
    """A tensor made on the wrong device in the render path would be caught here."""
    device = "cuda:0"
    camera = a_camera()
    with FakeTensorMode(allow_non_fake_inputs=True):
        painter = Siw(PAINTER)
        for module in painter.generator.modules():
            for name, value in list(module.named_parameters(recurse=False)):
                module._parameters[name] = torch.nn.Parameter(
                    torch.empty(value.shape, device=device)
                )
            for name, value in list(module.named_buffers(recurse=False)):
                module._buffers[name] = torch.empty(value.shape, dtype=value.dtype, device=device)
        labels = torch.zeros(2 * SIZE, 2 * SIZE, dtype=torch.uint8, device=device)
        square = choose_square(camera, RADIUS, SIZE)
        with torch.inference_mode():
            parts = painter.generator.prepare(one_hot(coarser(labels)[None], 17))
            image = paint(painter.generator, parts, torch.zeros(17, STYLE, device=device))
            layers = composed(image, labels, background=False)
            for nearest in (False, True):
                for band in paste(square, layers.rgba, nearest=nearest):
                    assert band.seen.device == torch.device(device)
                    assert band.depth_ratio.device == torch.device(device)
