"""Crops round heads and hands: where they lie, at any zoom, and when there are none."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from blender_addon.contract.joints import HEAD_JOINTS, LEFT_HAND_JOINTS
from models.regions import HEAD, LEFT_HAND, RIGHT_HAND, Squares, crop, find_squares
from training.dressing_data import Batch

SIZE = 64


def batch_with(
    middle: tuple[float, float],
    *,
    depth: float = 3.0,
    focal: float = 200.0,
    joints: tuple[int, ...] = HEAD_JOINTS,
    masks: torch.Tensor | None = None,
) -> Batch:
    """One crop whose joints all lie far outside, but for some at one place."""
    placed = torch.full((1, 55, 3), -1000.0)
    placed[..., 2] = depth
    placed[0, list(joints), 0], placed[0, list(joints), 1] = middle
    K = torch.tensor([[focal, 0, SIZE / 2], [0, focal, SIZE / 2], [0, 0, 1]])[None]
    empty = torch.empty(0)
    return Batch(
        shape=(1, SIZE, SIZE),
        layers=1,
        supersampling=1,
        pixel=empty,
        offset=empty,
        uv=empty,
        footprint=empty,
        people=(0,),
        texture=torch.zeros(1, dtype=torch.int64),
        colour=torch.zeros(1, 3, SIZE, SIZE),
        masks=torch.ones(1, 3, SIZE, SIZE) if masks is None else masks,
        captured=torch.ones(1, 1, SIZE, SIZE),
        background=torch.zeros(1, 3, 1, 1),
        frames=((0, 0),),
        K=K,
        joints=placed,
    )


def test_the_square_spans_its_metres_round_the_joints():
    squares = find_squares(batch_with((30.0, 26.0)), (HEAD,))
    side = 200.0 * HEAD.metres / 3.0
    assert squares.side.tolist() == pytest.approx([side])
    assert squares.corner[0].tolist() == pytest.approx([30.0 - side / 2, 26.0 - side / 2])


def test_a_close_up_is_cropped_to_the_image():
    squares = find_squares(batch_with((40.0, 10.0), depth=0.5), (HEAD,))
    assert squares.side.tolist() == [SIZE]
    assert squares.corner[0].tolist() == [0.0, 0.0]


def test_a_square_at_the_border_is_moved_inside():
    squares = find_squares(batch_with((60.0, 30.0)), (HEAD,))
    assert float(squares.corner[0, 0] + squares.side[0]) == pytest.approx(SIZE)


@pytest.mark.parametrize(
    ("middle", "depth"),
    [((300.0, 30.0), 3.0), ((30.0, 30.0), 12.0), ((30.0, 30.0), -1.0)],
    ids=["outside", "too small", "behind the camera"],
)
def test_what_cannot_be_seen_is_left_out(middle, depth):
    assert len(find_squares(batch_with(middle, depth=depth), (HEAD,)).image) == 0


def test_a_hidden_hand_is_left_out():
    masks = torch.ones(1, 3, SIZE, SIZE)
    masks[:, LEFT_HAND.channel] = 0.0
    hand = batch_with((30.0, 30.0), joints=LEFT_HAND_JOINTS, masks=masks)
    assert len(find_squares(hand, (LEFT_HAND, RIGHT_HAND)).image) == 0
    hand.masks[:, LEFT_HAND.channel, 25:35, 25:35] = 1.0
    # The other hand's joints are outside: each hand has a square of its own.
    assert len(find_squares(hand, (LEFT_HAND, RIGHT_HAND)).image) == 1


def test_a_crop_on_whole_pixels_is_a_slice():
    images = torch.rand(2, 3, SIZE, SIZE)
    squares = Squares(torch.tensor([1]), torch.tensor([[8.0, 20.0]]), torch.tensor([16.0]))
    assert torch.allclose(crop(images, squares, 16)[0], images[1, :, 20:36, 8:24], atol=1e-5)


def test_a_large_square_is_averaged_down():
    # Single-pixel stripes would alias into stripes of another width, or into one colour.
    images = torch.zeros(1, 1, SIZE, SIZE)
    images[..., ::2] = 1.0
    squares = Squares(torch.tensor([0]), torch.zeros(1, 2), torch.tensor([float(SIZE)]))
    assert torch.allclose(crop(images, squares, 16), torch.tensor(0.5), atol=0.02)


def test_gradients_stay_inside_the_square():
    images = torch.rand(1, 1, SIZE, SIZE, requires_grad=True)
    squares = Squares(torch.tensor([0]), torch.tensor([[10.0, 30.0]]), torch.tensor([20.0]))
    crop(images, squares, 32).square().sum().backward()
    assert images.grad is not None
    touched = images.grad[0, 0].nonzero().numpy()
    assert touched.min(axis=0).tolist() >= [29, 9]
    assert touched.max(axis=0).tolist() <= [50, 30]
    assert np.prod(np.ptp(touched, axis=0)) > 300


def test_no_squares_give_an_empty_stack():
    none = Squares(torch.zeros(0, dtype=torch.int64), torch.zeros(0, 2), torch.zeros(0))
    assert crop(torch.rand(1, 3, 8, 8), none, 16).shape == (0, 3, 16, 16)
