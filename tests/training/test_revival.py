"""Dead units of a head learn again; living ones are left alone."""

from __future__ import annotations

import torch
from torch import nn

from training.revival import revive_dead_units


def head(width: int = 6) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.ReLU(), nn.Conv2d(width, width, 3, padding=1), nn.ReLU(), nn.Conv2d(width, 3, 1)
    )


def with_dead_units(units: list[int]) -> nn.Sequential:
    network = head()
    first = network[1]
    assert isinstance(first, nn.Conv2d)
    with torch.no_grad():
        first.weight[units] = -first.weight[units].abs()
        assert first.bias is not None
        first.bias.fill_(0.05)
        first.bias[units] = -1.0
    return network


def alive(network: nn.Sequential, hidden: torch.Tensor) -> list[bool]:
    with torch.no_grad():
        return (network[:3](hidden) > 0).float().mean(dim=(0, 2, 3)).gt(0.01).tolist()


HIDDEN = torch.randn(2, 6, 16, 16, generator=torch.Generator().manual_seed(1))
EVERYWHERE = torch.ones(2, 16, 16, dtype=torch.bool)


def test_dead_units_live_again_and_the_output_hardly_changes():
    network = with_dead_units([1, 4])
    before = network(HIDDEN).detach()
    kept = network[1].weight[[0, 2, 3, 5]].detach().clone()
    optimiser = torch.optim.Adam(network.parameters())
    assert not all(alive(network, HIDDEN))
    assert revive_dead_units(network, HIDDEN, EVERYWHERE, optimiser, 3) == 2
    assert all(alive(network, HIDDEN))
    assert torch.equal(network[1].weight[[0, 2, 3, 5]], kept)
    change = (network(HIDDEN) - before).square().mean().sqrt()
    assert change < 0.5 * before.std()
    assert revive_dead_units(network, HIDDEN, EVERYWHERE, optimiser, 4) == 0


def test_living_units_are_left_alone():
    network = with_dead_units([])
    values = [p.detach().clone() for p in network.parameters()]
    optimiser = torch.optim.Adam(network.parameters())
    assert revive_dead_units(network, HIDDEN, EVERYWHERE, optimiser, 0) == 0
    assert all(torch.equal(a, b) for a, b in zip(values, network.parameters(), strict=True))


def test_the_first_step_after_a_revival_is_not_huge():
    network = with_dead_units([1, 4])
    optimiser = torch.optim.Adam(network.parameters(), 1e-3)
    for _ in range(30):
        optimiser.zero_grad()
        (network(HIDDEN) - 1.0).square().mean().backward()
        optimiser.step()
    revive_dead_units(network, HIDDEN, EVERYWHERE, optimiser, 0)
    before = network[1].weight.detach().clone()
    optimiser.zero_grad()
    (network(HIDDEN) - 1.0).square().mean().backward()
    optimiser.step()
    assert (network[1].weight - before).abs().max() < 5e-3


def test_the_same_seed_gives_the_same_weights():
    one, other = with_dead_units([2]), with_dead_units([2])
    for network in (one, other):
        revive_dead_units(network, HIDDEN, EVERYWHERE, torch.optim.Adam(network.parameters()), 7)
    assert torch.equal(one[1].weight, other[1].weight)
    assert torch.equal(one[3].weight, other[3].weight)
