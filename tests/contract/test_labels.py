"""Portrait labels: their numbers, groups, mirror and palette."""

from __future__ import annotations

import numpy as np
import pytest

from blender_addon.contract.errors import BadParameter
from blender_addon.contract.labels import (
    LABEL_COUNT,
    LABEL_GROUPS,
    LABEL_NAMES,
    MIRRORED_LABEL,
    PALETTE,
    Label,
    check_labels,
    colors_to_labels,
    labels_to_colors,
    mirror_labels,
)


def test_there_are_seventeen_labels_in_the_papers_order():
    assert LABEL_COUNT == 17
    assert LABEL_NAMES == (
        "background", "skin", "brow", "eye", "right-nose", "left-nose", "inner-mouth",
        "upper-lip", "lower-lip", "ear", "ear-ring", "glasses", "neck", "necklace", "cloth",
        "hair", "hat",
    )  # fmt: skip


def test_each_label_is_in_one_group():
    members = [label for group in LABEL_GROUPS.values() for label in group]
    assert sorted(members) == list(range(LABEL_COUNT))


def test_mirroring_swaps_the_nose_alone_and_undoes_itself():
    moved = [label for label in range(LABEL_COUNT) if MIRRORED_LABEL[label] != label]
    assert moved == [Label.RIGHT_NOSE, Label.LEFT_NOSE]
    labels = np.arange(34, dtype=np.uint8).reshape(2, 17) % 17
    there = mirror_labels(labels)
    assert there[0, 16 - Label.RIGHT_NOSE] == Label.LEFT_NOSE
    assert there[0, 16 - Label.HAIR] == Label.HAIR
    np.testing.assert_array_equal(mirror_labels(there), labels)


def test_the_palette_inverts():
    labels = np.random.default_rng(0).integers(0, LABEL_COUNT, (3, 9, 7)).astype(np.uint8)
    colors = labels_to_colors(labels)
    assert colors.shape == (3, 9, 7, 3)
    np.testing.assert_array_equal(colors_to_labels(colors), labels)


def test_palette_colors_can_be_told_apart():
    apart = np.abs(PALETTE[:, None].astype(int) - PALETTE[None]).sum(axis=2)
    assert apart[~np.eye(LABEL_COUNT, dtype=bool)].min() >= 60


def test_a_color_of_no_label_is_named_with_its_place():
    colors = labels_to_colors(np.zeros((4, 4), np.uint8))
    colors[2, 3] = (1, 2, 3)
    with pytest.raises(BadParameter, match=r"\(1, 2, 3\) at \(2, 3\)"):
        colors_to_labels(colors)


@pytest.mark.parametrize(
    "wrong",
    [np.full((4, 4), 17, np.uint8), np.zeros((4, 4), np.int64), np.zeros(4, np.uint8)],
    ids=["value", "type", "shape"],
)
def test_what_is_no_label_map_is_refused(wrong):
    with pytest.raises(BadParameter, match="seg"):
        check_labels(wrong, "seg")
