"""The sampling space of heads: combinations, mixture, interpolation, directions."""

from __future__ import annotations

import pytest
import torch

from blender_addon.contract.errors import BadParameter
from models.sof_directions import direction_effects
from models.sof_render import SofRenderer
from models.sof_space import SofSpace, principal_directions
from tests.training.toy_sof import trained_toy


@pytest.fixture
def space() -> SofSpace:
    random = torch.Generator().manual_seed(3)
    stretched = torch.tensor([5.0, 2.0, 1.0, 0.1])
    return SofSpace(torch.randn(30, 4, generator=random) * stretched + 1.0)


def test_a_combination_is_the_weighted_sum(space):
    code = space.combine({2: 0.25, 7: 1.0, 9: -0.25})
    expected = 0.25 * space.codes[2] + space.codes[7] - 0.25 * space.codes[9]
    assert torch.allclose(code, expected, atol=1e-5)
    dense = torch.zeros(30)
    dense[4] = 1.0
    assert torch.equal(space.combine(dense), space.codes[4])


@pytest.mark.parametrize("weights", [{0: 0.5}, {0: 0.7, 1: 0.7}, {40: 1.0}, {0: float("nan")}])
def test_weights_that_do_not_add_up_to_one_are_refused(space, weights):
    with pytest.raises(BadParameter):
        space.combine(weights)


def test_seeds_repeat_and_differ(space):
    for draw in (space.sample, space.combination):
        assert torch.equal(draw(5), draw(5))
        assert not torch.allclose(draw(5), draw(6))


def test_combinations_lie_between_heads(space):
    for seed in range(20):
        code = space.combination(seed)
        assert bool((code <= space.codes.max(dim=0).values + 1e-5).all())
        assert bool((code >= space.codes.min(dim=0).values - 1e-5).all())


def test_samples_spread_like_the_basis(space):
    samples = torch.stack([space.sample(seed) for seed in range(400)])
    assert torch.allclose(samples.mean(dim=0), space.mean, atol=0.9)
    ratio = samples.std(dim=0) / space.codes.std(dim=0)
    assert bool(((ratio > 0.75) & (ratio < 1.3)).all())


def test_a_mixture_finds_two_kinds_of_heads():
    random = torch.Generator().manual_seed(1)
    kinds = torch.cat([torch.full((50, 1), -4.0), torch.full((50, 1), 4.0)])
    codes = torch.cat([kinds, torch.zeros(100, 2)], dim=1)
    codes = codes + 0.3 * torch.randn(100, 3, generator=random)
    space = SofSpace(codes)
    firsts = torch.stack([space.sample(seed) for seed in range(200)])[:, 0]
    # A single Gaussian would put a third of its samples between the two.
    assert float((firsts.abs() < 2.0).float().mean()) < 0.05
    assert 0.3 < float((firsts > 0).float().mean()) < 0.7


def test_directions_are_orthogonal_sorted_and_move_by_deviations(space):
    d = principal_directions(space.codes)
    assert torch.allclose(d.axes @ d.axes.T, torch.eye(4), atol=1e-5)
    assert d.deviations.tolist() == sorted(d.deviations.tolist(), reverse=True)
    projected = (space.codes - d.mean) @ d.axes.T
    assert torch.allclose(projected.std(dim=0), d.deviations, rtol=1e-4)
    moved = space.moved(space.mean, torch.tensor([0.0, 2.0]))
    assert torch.allclose(space.amounts(moved, 3), torch.tensor([0.0, 2.0, 0.0]), atol=1e-4)
    with pytest.raises(BadParameter):
        space.moved(space.mean, torch.zeros(9))


def test_interpolation_begins_and_ends_at_its_heads(space):
    a, b = space.codes[0], space.codes[1]
    assert torch.equal(space.interpolate(a, b, 0.0), a)
    assert torch.allclose(space.interpolate(a, b, 1.0), b)
    assert torch.allclose(space.interpolate(a, b, 0.5), (a + b) / 2, atol=1e-6)


def test_a_space_needs_two_heads():
    with pytest.raises(BadParameter):
        SofSpace(torch.zeros(1, 4))


def test_directions_are_named_by_what_they_do():
    model = trained_toy().model
    effects = direction_effects(SofRenderer(model.sof), SofSpace(model.codes), 2)
    assert len({effect.name for effect in effects}) == 2
    for effect in effects:
        word = effect.name.rstrip("0123456789() ").rsplit(" ", 1)[0]
        largest = max(effect.changes, key=lambda w: abs(effect.changes[w]))
        assert word == largest
        assert abs(effect.changes[largest]) > 0.02
