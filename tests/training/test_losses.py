"""Each loss against values worked out by hand, and its gradients where they could break."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from blender_addon.contract.errors import TrainingError
from models.dresser import Dressed
from training.losses import (
    ABLATIONS,
    DressingWeights,
    adversarial_loss,
    composite,
    composite_l1,
    detail_weight,
    dice_loss,
    discriminator_loss,
    mask_entropy,
    weighted_l1,
    weighted_sum,
    without,
)


def masks_with(pixels: int) -> torch.Tensor:
    masks = torch.zeros(1, 3, 8, 8)
    masks[0, 0].view(-1)[:pixels] = 1.0
    return masks


def test_dice_of_equal_binary_masks_is_zero():
    true = masks_with(16)
    assert float(dice_loss(true, true)) == pytest.approx(0.0, abs=1e-6)


def test_dice_of_a_half_covered_mask_by_hand():
    # ‖M‖ = 4, ‖M̂‖ = √8, ‖M ⊙ M̂‖ = √8, and the pixel's worth of smoothing.
    expected = -math.log((2 * math.sqrt(8) + 1) / (4 + math.sqrt(8) + 1))
    assert float(dice_loss(masks_with(8), masks_with(16))) == pytest.approx(expected, abs=1e-6)


def test_dice_counts_the_three_channels_together():
    # Missing hands of 4 pixels cost the same whether channels are norms of one stack: by hand.
    true = masks_with(16)
    true[0, 1].view(-1)[:4] = 1.0
    expected = -math.log((2 * 4 + 1) / (math.sqrt(20) + 4 + 1))
    assert float(dice_loss(masks_with(16), true)) == pytest.approx(expected, abs=1e-6)


def test_dice_of_an_empty_image_is_zero_with_finite_gradients():
    predicted = torch.zeros(2, 3, 8, 8, requires_grad=True)
    loss = dice_loss(predicted, torch.zeros(2, 3, 8, 8))
    loss.backward()
    assert loss.item() == pytest.approx(0.0, abs=1e-5)
    assert predicted.grad is not None
    assert torch.isfinite(predicted.grad).all()


def test_dice_is_computed_in_float32():
    predicted = masks_with(33).bfloat16() * 0.7
    assert dice_loss(predicted, masks_with(33).bfloat16()).dtype == torch.float32


@given(st.integers(0, 2**31 - 1))
@settings(max_examples=30, deadline=None)
def test_dice_falls_when_a_prediction_moves_towards_the_truth(seed: int):
    generator = torch.Generator().manual_seed(seed)
    true = (torch.rand(1, 3, 8, 8, generator=generator) > 0.5).float()
    wrong = torch.rand(1, 3, 8, 8, generator=generator)
    better = wrong + 0.5 * (true - wrong)
    assert float(dice_loss(better, true)) < float(dice_loss(wrong, true)) + 1e-6


def test_the_entropy_of_masks_by_hand():
    predicted, true = torch.full((1, 3, 2, 2), 0.25), torch.ones(1, 3, 2, 2)
    assert float(mask_entropy(predicted, true)) == pytest.approx(-math.log(0.25))


def test_a_saturated_mask_still_learns_from_its_entropy():
    logit = torch.full((1, 3, 8, 8), -12.0, requires_grad=True)
    true = torch.zeros(1, 3, 8, 8)
    true[0, 1, 2:4, 2:4] = 1.0
    mask_entropy(torch.sigmoid(logit), true).backward()
    assert logit.grad is not None
    assert float(logit.grad[0, 1, 2, 2]) == pytest.approx(-1 / true.numel(), rel=1e-3)


def test_composite_of_half_coverage_is_half_way():
    colour, alpha = torch.ones(1, 3, 2, 2), torch.full((1, 1, 2, 2), 0.5)
    assert torch.allclose(composite(colour, alpha, 0.0), torch.full((1, 3, 2, 2), 0.5))


def test_composite_l1_is_zero_for_the_truth_over_any_background():
    straight, masks = torch.rand(2, 3, 8, 8), torch.rand(2, 3, 8, 8)
    dressed = Dressed(straight, masks)
    loss = composite_l1(
        dressed,
        straight * masks[:, :1],
        masks,
        background=torch.rand(2, 3, 1, 1),
        face_hands=4.0,
    )
    assert float(loss) == pytest.approx(0.0, abs=1e-6)


def test_composite_l1_sees_a_wrong_coverage_where_the_colours_agree():
    masks = torch.zeros(1, 3, 4, 4)
    masks[:, 0] = 1.0
    wrong = masks * 0.5
    white = torch.ones(1, 3, 4, 4)
    background = torch.full((1, 3, 1, 1), 0.2)
    loss = composite_l1(Dressed(white, wrong), white, masks, background=background)
    assert float(loss) == pytest.approx(0.4, abs=1e-6)


def test_colour_outside_the_person_costs_nothing():
    masks = torch.zeros(1, 3, 4, 4)
    black = torch.zeros(1, 3, 4, 4)
    background = torch.rand(1, 3, 1, 1)
    loss = composite_l1(Dressed(torch.rand(1, 3, 4, 4), masks), black, masks, background=background)
    assert float(loss) == pytest.approx(0.0, abs=1e-6)


def test_face_and_hands_count_more():
    masks = torch.zeros(1, 3, 1, 4)
    masks[0, 1, 0, 1] = 1.0
    masks[0, 2, 0, 2] = 0.5
    weight = detail_weight(masks, 4.0)
    assert weight.flatten().tolist() == [1.0, 4.0, 2.5, 1.0]
    one = torch.ones(1, 3, 1, 4)
    assert float(weighted_l1(one, torch.zeros_like(one), weight)) == pytest.approx(8.5 / 4)


def test_weighted_sum_uses_the_weight_of_each_name():
    parts = {"l1": torch.tensor(2.0), "mipmap": torch.tensor(3.0)}
    weights = DressingWeights(l1=10.0, mipmap=0.5)
    assert float(weighted_sum(parts, weights)) == pytest.approx(21.5)


def test_adversarial_losses_by_hand():
    drawn, true = torch.full((2, 1, 3, 3), 0.25), torch.full((2, 1, 3, 3), 0.5)
    # ‖1 − ¼‖₂ over nine scores is 3 · ¾, of each of two images.
    assert float(adversarial_loss(drawn, 2)) == pytest.approx(2.25)
    expected = 3 * 0.25 + 3 * 0.5
    assert float(discriminator_loss(drawn, true, 2, "written")) == pytest.approx(expected)
    assert float(adversarial_loss(drawn, 2, "rms")) == pytest.approx(0.75)


def test_a_hidden_crop_counts_nothing():
    # Three crops in four images: the sum over the crops, shared by the images.
    assert float(adversarial_loss(torch.zeros(3, 1, 1, 1), 4)) == pytest.approx(0.75)


def test_a_right_score_has_a_finite_gradient():
    scores = torch.ones(1, 1, 2, 2, requires_grad=True)
    adversarial_loss(scores, 1).backward()
    assert scores.grad is not None
    assert torch.isfinite(scores.grad).all()


@pytest.mark.parametrize("term", ABLATIONS)
def test_without_switches_one_term_off(term):
    everything = DressingWeights(adversarial=1.0, adversarial_head=1.0, adversarial_hands=1.0)
    ablated = without(everything, [term])
    changed = {
        name for name in vars(everything) if getattr(everything, name) != getattr(ablated, name)
    }
    assert changed == set(ABLATIONS[term])
    assert all(getattr(ablated, name) == 0 for name in changed)


def test_without_an_unknown_term_is_refused():
    with pytest.raises(TrainingError, match="no term 'beauty'"):
        without(DressingWeights(), ["beauty"])
