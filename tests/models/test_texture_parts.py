"""Parts of a body in texture space: they make up the whole, and nothing else moves."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

from blender_addon.contract.avatar_look import PARTS
from models.texture_parts import SEAM_METRES, border_distances, part_masks, redressed, vertex_parts
from tests.models.toy_wardrobe import toy_body

if TYPE_CHECKING:
    from models.body import Body

SIZE = 64


@pytest.fixture(scope="module")
def body() -> Body:
    torch.set_num_threads(1)
    return toy_body()


@pytest.fixture(scope="module")
def masks(body) -> torch.Tensor:
    return part_masks(body, SIZE)


def test_every_texel_belongs_to_the_parts_in_shares_that_add_up_to_one(body, masks):
    assert masks.shape == (len(PARTS), SIZE, SIZE)
    assert masks.min() >= 0.0
    torch.testing.assert_close(masks.sum(dim=0), torch.ones(SIZE, SIZE))
    wholly = (masks == 1.0).any(dim=0).float().mean()
    assert 0.5 < wholly < 1.0, "parts are whole inside and mix at their borders only"
    assert all((mask == 1.0).any() for mask in masks)
    assert part_masks(body, SIZE) is masks, "kept"


def test_parts_lie_where_their_names_say_and_alike_on_both_sides(body):
    parts, points = vertex_parts(body), body.v_template.numpy()
    height = {part: points[parts == index, 1].mean() for index, part in enumerate(PARTS)}
    assert height["head"] > height["torso"] > height["legs"] > height["feet"]
    hands = np.abs(points[parts == PARTS.index("hands"), 0])
    assert hands.min() > np.abs(points[parts == PARTS.index("legs"), 0]).max()
    for index in range(len(PARTS)):
        x = points[parts == index, 0]
        left, right = (x > 1e-4).sum(), (x < -1e-4).sum()
        assert abs(int(left) - int(right)) <= 0.02 * len(x)


def test_seams_are_centimetres_wide_on_the_body(body):
    distances, parts = border_distances(body), vertex_parts(body)
    rows = np.arange(len(parts))
    assert (distances[rows, parts] > 0).all()
    distances[rows, parts] = -1.0
    assert (distances < 0).all()
    torso, head = PARTS.index("torso"), PARTS.index("head")
    mixed = (parts == torso) & (border_distances(body)[:, head] > -SEAM_METRES / 2)
    neck = body.v_template.numpy()[mixed]
    assert len(neck) > 10
    assert np.ptp(neck[:, 1]) < 0.15, "a ring about the neck"


def test_outside_the_part_and_its_seam_texels_keep_their_bits(masks):
    random = torch.Generator().manual_seed(0)
    own, other, third = torch.randn(3, 16, SIZE, SIZE, generator=random)
    head, torso = masks[PARTS.index("head")], masks[PARTS.index("torso")]
    worn = redressed(own, [(other, head, 1.0)])
    assert torch.equal(worn[:, head == 0.0], own[:, head == 0.0])
    assert torch.equal(worn[:, head == 1.0], other[:, head == 1.0])
    seam = (head > 0.0) & (head < 1.0)
    low, high = torch.minimum(own, other), torch.maximum(own, other)
    assert (worn[:, seam] >= low[:, seam] - 1e-5).all()
    assert (worn[:, seam] <= high[:, seam] + 1e-5).all()
    both = redressed(own, [(other, head, 1.0), (third, torso, 1.0)])
    torch.testing.assert_close(both, redressed(own, [(third, torso, 1.0), (other, head, 1.0)]))
    neck = (head + torso > 0.999999) & seam
    assert neck.any()
    expected = head * other + torso * third
    torch.testing.assert_close(both[:, neck], expected[:, neck], atol=1e-4, rtol=1e-4)
    assert torch.equal(redressed(own, [(other, head, 0.0)]), own)
    whole = redressed(own, [(other, mask, 1.0) for mask in masks])
    torch.testing.assert_close(whole, other, atol=1e-5, rtol=1e-4)
