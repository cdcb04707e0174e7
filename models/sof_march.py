"""The ray marcher: an LSTM that reads the field's description of where a ray is, and steps on.

Source: SofGAN section 6.2, "the ray marcher is same with SRNs" (Sitzmann et al. 2019, section
3.2): an LSTM cell with 16 states whose output, through a linear layer, is the length of the next
step; 10 steps. Here the march begins where a ray enters the head's bounding sphere.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional

if TYPE_CHECKING:
    from collections.abc import Callable

UNIT = 0.05
"""Metres of a step whose head gives 1."""
FIRST_STEP = 0.5
"""Units of the untrained steps: ten of them reach a head's middle from the sphere."""
FORGET = 1.0
"""First bias of the forget gates: a new marcher remembers."""


class Marcher(nn.Module):
    """LSTM cell and step head.

    Args:
        width: channels of the field's features.
        memory: states of the LSTM cell.
    """

    def __init__(self, width: int, memory: int) -> None:
        super().__init__()
        self.cell = nn.LSTMCell(width, memory)
        self.step = nn.Linear(memory, 1)
        with torch.no_grad():
            self.cell.bias_ih.zero_()
            self.cell.bias_hh.zero_()
            self.cell.bias_hh[memory : 2 * memory] = FORGET
            self.step.weight.mul_(0.3)
            self.step.bias.fill_(FIRST_STEP)

    def forward(
        self, features: Tensor, state: tuple[Tensor, Tensor]
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """Return the length of the next step in metres, (...), and the new state.

        Args:
            features: (..., width) where the rays are, any float dtype.
            state: hidden and cell state, (..., memory) float32 each.
        """
        cell = self.cell
        # The large product in the features' dtype, all that is added up over the steps in float32.
        gates = functional.linear(features, cell.weight_ih.to(features.dtype)).float()
        gates = gates + functional.linear(state[0], cell.weight_hh, cell.bias_ih + cell.bias_hh)
        take, keep, new, show = gates.chunk(4, dim=-1)
        memory = torch.sigmoid(keep) * state[1] + torch.sigmoid(take) * torch.tanh(new)
        hidden = torch.sigmoid(show) * torch.tanh(memory)
        return UNIT * self.step(hidden)[..., 0], (hidden, memory)

    def start(self, like: Tensor) -> tuple[Tensor, Tensor]:
        """Return the state before the first step, for rays of shape `like` (...)."""
        zeros = like.new_zeros((*like.shape, self.cell.hidden_size))
        return zeros, zeros


def march(
    marcher: Marcher,
    field: Callable[[Tensor], Tensor],
    origin: Tensor,
    direction: Tensor,
    near: Tensor,
    steps: int,
) -> Tensor:
    """March all rays all steps.

    Args:
        marcher: LSTM and step head.
        field: describes points (B, N, 3).
        origin: (B, N or 1, 3) metres.
        direction: (B, N, 3) unit length.
        near: (B, N) metres along the rays where they begin.
        steps: how many.

    Returns:
        (steps + 1, B, N) metres along the rays: the beginning and where each step ended.
    """
    distance, state = near, marcher.start(near)
    path = [distance]
    for _ in range(steps):
        length, state = marcher(field(origin + distance[..., None] * direction), state)
        distance = distance + length
        path.append(distance)
    return torch.stack(path)
