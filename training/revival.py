"""Dead units of the dresser's heads, and how they come back.

The heads' hidden layers have 16 units with ReLU. Early steps are rough, and a unit that is
pushed below 0 on every pixel has no gradient to return by. When half of a head was dead, red came
out orange and hands were never marked. Every so often such units get new incoming weights.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

ALIVE = 0.01
"""A unit lives when it is above 0 on at least this share of the person's pixels."""


@torch.no_grad()
def revive_dead_units(
    head: nn.Sequential,
    hidden: Tensor,
    where: Tensor,
    optimiser: torch.optim.Optimizer,
    seed: int,
) -> int:
    """Give the dead units of a head new weights.

    Args:
        head: ReLU, convolution, ReLU, 1 × 1 convolution.
        hidden: (B, C, H, W) what the head is given.
        where: (B, H, W) bool: pixels that count.
        optimiser: whose moments of the changed weights are made typical of their tensor, since
            those of dead weights have faded to 0 and would let the first step be huge.
        seed: of the new weights.

    Returns:
        how many units were dead.
    """
    first, last = head[1], head[3]
    if not isinstance(first, nn.Conv2d) or not isinstance(last, nn.Conv2d) or not where.any():
        return 0
    active = first(head[0](hidden)).permute(0, 2, 3, 1)[where] > 0
    dead = active.float().mean(dim=0) < ALIVE
    count = int(dead.sum())
    if not count:
        return 0
    generator = torch.Generator().manual_seed(seed)
    fan_in = first.weight[0].numel()
    fresh = torch.randn(first.weight.shape, generator=generator) * math.sqrt(2.0 / fan_in)
    first.weight[dead] = fresh.to(first.weight)[dead]
    # Where a unit now says something, it should not shout: small outgoing weights of both signs.
    outgoing = torch.randn(last.weight.shape, generator=generator).to(last.weight)
    typical = last.weight[:, ~dead].abs().mean() if count < len(dead) else outgoing.abs().mean()
    last.weight[:, dead] = 0.2 * typical * outgoing[:, dead]
    if first.bias is not None:
        first.bias[dead] = 0.0
        _soothe(optimiser, first.bias, dead)
    _soothe(optimiser, first.weight, dead[:, None, None, None].expand_as(first.weight))
    _soothe(optimiser, last.weight, dead[None, :, None, None].expand_as(last.weight))
    return count


def _soothe(optimiser: torch.optim.Optimizer, weight: Tensor, changed: Tensor) -> None:
    state = optimiser.state.get(weight)
    if not state or "exp_avg_sq" not in state:
        return
    state["exp_avg"][changed] = 0.0
    living = state["exp_avg_sq"][~changed]
    if len(living):
        state["exp_avg_sq"][changed] = living.mean()
