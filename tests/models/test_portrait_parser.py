"""Labelling photographs: heads are found wherever they are, and labelled where they were found."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import torch

from blender_addon.contract.errors import BadParameter, MissingExtra, NoFaceFound
from blender_addon.contract.labels import (
    LABEL_COUNT,
    PALETTE,
    Label,
    labels_to_colors,
    mirror_labels,
)
from models.face_parts import CELEBA_PARTS
from models.head_crop import HeadCrop, find_head
from models.label_agreement import Confusion
from models.onnx_parser import ORDERS, OnnxFaceParser, as_labels
from models.parser_network import ParserConfig, ParserNetwork
from models.portrait_parser import SIZE, NetworkParser, iterate_parse, parse_photograph, tidied
from tests.training.toy_portraits import toy_labels

TINY = ParserConfig(widths=(4, 6, 8, 8, 12), colours=4)


class PaletteParser:
    """Knows the label of each colour of the palette, as if a network had learnt it."""

    def __init__(self):
        self.looked = 0

    def probabilities(self, image):
        self.looked += 1
        off = np.abs(image[None].astype(int) - PALETTE[:, None, None].astype(int)).sum(axis=3)
        return np.eye(LABEL_COUNT, dtype=np.float32)[off.argmin(axis=0)].transpose(2, 0, 1)


def head(size: int, seed: int = 0) -> np.ndarray:
    return toy_labels(size, np.random.default_rng(seed))


def photograph(height: int, width: int, *places: tuple[int, int, int]) -> np.ndarray:
    """Labels of a photograph with heads of a size at (top, left)."""
    labels = np.zeros((height, width), np.uint8)
    for top, left, size in places:
        part = labels[top : top + size, left : left + size]
        part[:] = head(size)[: part.shape[0], : part.shape[1]]
    return labels


@pytest.mark.parametrize(
    "place",
    [
        pytest.param((0, 0, 260), id="filling"),
        pytest.param((60, 300, 200), id="beside"),
        pytest.param((10, 20, 130), id="small, in a corner"),
        pytest.param((200, 430, 60), id="tiny"),
    ],
)
def test_a_head_is_found_and_labelled_wherever_it_is(place):
    truth = photograph(300, 520, place)
    parsed = parse_photograph(PaletteParser(), labels_to_colors(truth))
    top, left, size = place
    middle = (parsed.crop.x + parsed.crop.side / 2, parsed.crop.y + parsed.crop.side / 2)
    assert np.hypot(middle[0] - left - size / 2, middle[1] - top - size / 2) < 0.2 * size
    part = (slice(top, top + size), slice(left, left + size))
    assert Confusion.of(truth[part], parsed.labels[part]).mean_iou() > (0.8 if size > 100 else 0.55)
    assert parsed.labels.shape == truth.shape
    assert parsed.head.shape == parsed.confidence.shape == (SIZE, SIZE)


def test_of_two_people_the_nearer_one_is_taken():
    truth = photograph(300, 520, (150, 20, 120), (20, 280, 230))
    parsed = parse_photograph(PaletteParser(), labels_to_colors(truth))
    assert parsed.crop.x + parsed.crop.side / 2 > 300


def test_crops_keep_their_scale_whatever_the_photographs_is():
    one, other = find_head(head(128)), find_head(head(256))
    assert one is not None
    assert other is not None
    assert other.side == pytest.approx(2 * one.side, rel=0.06)
    assert find_head(np.full((64, 64), Label.SKIN, np.uint8)) is None
    hair_and_eyes = np.where(head(64) == Label.EYE, Label.EYE, Label.HAIR).astype(np.uint8)
    assert find_head(hair_and_eyes) is None


def test_where_there_is_no_face_the_error_says_what_to_do():
    with pytest.raises(NoFaceFound) as caught:
        parse_photograph(PaletteParser(), np.zeros((90, 70, 3), np.uint8))
    assert "label map" in caught.value.next_step
    for wrong in (np.zeros((90, 70), np.uint8), np.zeros((9, 7, 3), np.float32)):
        with pytest.raises(BadParameter):
            parse_photograph(PaletteParser(), wrong)


def test_parsing_goes_in_steps_of_one_look_each():
    parser = PaletteParser()
    steps = iterate_parse(parser, labels_to_colors(photograph(300, 520, (60, 300, 200))))
    for number, parsed in enumerate(steps, 1):
        assert parser.looked <= number
        assert parsed is None or number >= 2


def test_a_crop_that_reaches_beyond_the_image_goes_on_as_its_border_does():
    image = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)
    cut = HeadCrop(-2.0, -2.0, 8.0).image(image, 8)
    assert (cut[:2, :2] == image[0, 0]).all()
    assert (cut[2:6, 2:6] == image).all()
    assert (cut[6:, 6:] == image[3, 3]).all()


def test_labels_of_a_crop_return_to_where_they_were_cut():
    truth = head(96)
    crop = HeadCrop(-10.0, 5.5, 80.0)
    pasted = np.full_like(truth, 255)
    crop.paste(pasted, crop.labels(truth, 160))
    seen = pasted < 255
    assert seen.mean() > 0.5
    assert (pasted == truth)[seen].mean() > 0.97
    inner = HeadCrop(10.0, 20.0, 50.0)
    assert crop.outer(inner, 160) == HeadCrop(-5.0, 15.5, 25.0)


def test_hair_that_no_head_wears_is_background_or_cloth():
    clean = head(64)
    labels = clean.copy()
    shares = np.eye(LABEL_COUNT, dtype=np.float32)
    # A strap that hangs from the neck, and something far beside the head.
    labels[48:54, 30:33] = Label.NECK
    clean = labels.copy()
    collar = (slice(54, 60), slice(28, 36))
    labels[collar] = Label.HAIR
    labels[2:6, 1:5] = Label.HAIR
    found = shares[labels].transpose(2, 0, 1)
    tidy = tidied(found)
    assert (tidy[collar] == Label.CLOTH).all()
    assert (tidy[2:6, 1:5] == Label.BACKGROUND).all()
    rest = np.ones_like(labels, bool)
    rest[collar], rest[2:6, 1:5] = False, False
    assert np.array_equal(tidy[rest], clean[rest])


def test_a_mirrored_photograph_has_mirrored_labels():
    torch.manual_seed(0)
    parser = NetworkParser(ParserNetwork(TINY).eval())
    image = np.random.default_rng(0).integers(0, 255, (64, 64, 3)).astype(np.uint8)
    one = parser.probabilities(image)
    other = parser.probabilities(image[:, ::-1])
    assert one.shape == (LABEL_COUNT, 64, 64)
    assert np.allclose(one.sum(axis=0), 1.0, atol=1e-4)
    swapped = one.copy()
    swapped[[Label.RIGHT_NOSE, Label.LEFT_NOSE]] = one[[Label.LEFT_NOSE, Label.RIGHT_NOSE]]
    assert np.allclose(other, swapped[:, :, ::-1], atol=1e-4)
    assert (mirror_labels(one.argmax(0).astype(np.uint8)) == other.argmax(0)).mean() > 0.99


# --- a parser of one's own


@pytest.mark.parametrize("order", sorted(ORDERS))
def test_nineteen_classes_become_seventeen(order):
    parts = ORDERS[order]
    assert sorted(parts) == sorted(CELEBA_PARTS)
    truth = head(64)
    classes = np.zeros((19, 64, 64), np.float32)
    merged = np.where(truth == Label.RIGHT_NOSE, Label.LEFT_NOSE, truth)
    for label in np.unique(merged):
        names = [part for part in parts if CELEBA_PARTS[part] == label]
        index = 1 + parts.index(names[-1]) if label else 0
        classes[index][merged == label] = 1.0
    shares = as_labels(classes, parts, 64)
    assert np.allclose(shares.sum(axis=0), 1.0, atol=1e-5)
    # The nose is split along its own axis again.
    assert (shares.argmax(axis=0) == truth).mean() > 0.99


def test_without_its_extra_a_parser_of_ones_own_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(MissingExtra, match="onnx"):
        OnnxFaceParser(tmp_path / "face.onnx")
