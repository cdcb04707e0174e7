"""A person as a plain RGB texture on the bare body: the least that an avatar must beat.

The same captures, rasteriser and mip chain as the neural texture, but no network: hair and cloth
that leave the body cannot be shown. It is the baseline of the evaluation, and the first value of
three of the neural texture's channels.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.dresser import Dressed
from models.texture import NeuralTexture, gather_features
from training.dressing_data import make_batch
from training.dressing_model import assemble_chain

if TYPE_CHECKING:
    from collections.abc import Sequence

    from training.dressing_data import Frame, People
    from training.dressing_recipe import DressingData

RATE = 2e-2
SMOOTHNESS = 1e-3
"""Weight of the mip penalty: what no frame sees takes its colour from coarser levels."""


def fit_plain_texture(
    people: People,
    person: int,
    frames: Sequence[Frame],
    data: DressingData,
    *,
    steps: int,
    seed: int = 0,
) -> Tensor:
    """Fit a person's RGB texture to captured frames by L1 on covered pixels.

    Args:
        people: the body and its UVs.
        person: index of the capture.
        frames: that person's training frames.
        data: crops as in training.
        steps: of Adam, with a linearly falling rate.
        seed: of the crops.

    Returns:
        (3, S, S) float32 sRGB; mostly within 0…1.
    """
    texture = NeuralTexture(channels=3)
    optimiser = torch.optim.Adam(texture.parameters(), RATE, betas=(0.9, 0.99))
    for step in range(steps):
        for group in optimiser.param_groups:
            group["lr"] = RATE * (1.0 - step / steps) + 1e-4
        batch = make_batch(people, [frames], data, seed + 7919 * (person + 1), step)
        given = gather_features(batch.samples(), assemble_chain([texture]))
        alpha = batch.masks[:, :1]
        # Only pixels that are wholly body in both: soft edges hold a mixture with nothing.
        inside = (given.coverage > 0.99) & (alpha > 0.98)
        difference = (given.features[:, :3] + 0.5 - batch.colour).abs() * inside
        loss = difference.sum() / (3.0 * inside.sum().clamp_min(1))
        loss = loss + SMOOTHNESS * texture.mipmap_penalty(normalised=True)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return texture.assemble().detach() + 0.5


class PlainPainter(nn.Module):
    """Stands where a dresser stands in the render path, and shows the texture as it is.

    The texture has four channels: RGB, and a constant 1 that comes out as the coverage.
    """

    channels = 4

    def forward(self, features: Tensor) -> Dressed:
        """Return the texture's colour and the body's coverage for (B, 4 + 2, H, W) features."""
        coverage = features[:, 3:4].clamp(0.0, 1.0)
        colour = (features[:, :3] / coverage.clamp_min(1e-6)).clamp(0.0, 1.0)
        return Dressed(colour, functional.pad(coverage, (0, 0, 0, 0, 0, 2)))


def with_coverage(texture: Tensor) -> Tensor:
    """Return the (4, S, S) texture that `PlainPainter` shows, from RGB (3, S, S)."""
    return torch.cat([texture, torch.ones_like(texture[:1])])
