"""StyleGAN2's training terms: non-saturating losses, R1, path length, running average, mixing.

Sources: Goodfellow et al. 2014 (losses), Mescheder et al. 2018 (R1), Karras et al. 2019 (style
mixing, running average), Karras et al. 2020 (path length, lazy regularisation).
"""

from __future__ import annotations

import math
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional


def generator_loss(scores: Tensor) -> Tensor:
    """Return the non-saturating loss −log σ(D(G)), a scalar, of generated images' scores."""
    return functional.softplus(-scores).mean()


def discriminator_loss(captured: Tensor, generated: Tensor) -> Tensor:
    """Return −log σ(D(x)) − log(1 − σ(D(G))), a scalar."""
    return functional.softplus(-captured).mean() + functional.softplus(generated).mean()


def gradient_penalty(scores: Tensor, images: Tensor) -> Tensor:
    """Return E‖∇D(x)‖², a scalar that can be differentiated: R1 is γ/2 times this.

    Args:
        scores: of the images, any shape.
        images: (B, C, H, W), captured ones, with requires_grad.
    """
    (gradient,) = torch.autograd.grad(scores.sum(), images, create_graph=True)
    return gradient.float().square().sum(dim=(1, 2, 3)).mean()


class PathLength(nn.Module):
    """E(‖Jᵀy‖ − a)², with J = ∂G/∂w, y an image of noise, and a the running mean of the lengths.

    Args:
        decay: a moves by 1 − decay towards the batch's mean; StyleGAN2's is 0.99.
    """

    def __init__(self, decay: float = 0.99) -> None:
        super().__init__()
        self.decay = decay
        self.register_buffer("mean", torch.zeros(()))

    def forward(self, images: Tensor, w: Tensor, noise: Tensor) -> Tensor:
        """Return the penalty, a scalar.

        Args:
            images: (B, C, H, W), made from w.
            w: (B, …, W) styles with a graph to the images; all between count as layers.
            noise: like the images, from N(0, 1).
        """
        height, width = images.shape[-2:]
        weighted = (images * noise / math.sqrt(height * width)).sum()
        (gradient,) = torch.autograd.grad(weighted, w, create_graph=True)
        lengths = gradient.float().square().sum(dim=-1).reshape(len(w), -1).mean(dim=1)
        # The small number keeps the root's gradient finite.
        lengths = (lengths + 1e-12).sqrt()
        mean = cast("Tensor", self.mean)
        with torch.no_grad():
            mean.lerp_(lengths.detach().mean(), 1.0 - self.decay)
        return (lengths - mean).square().mean()


@torch.no_grad()
def follow(average: nn.Module, model: nn.Module, decay: float) -> None:
    """Move a running average towards a model: a ← decay · a + (1 − decay) · m; buffers are copied."""
    for mine, new in zip(average.parameters(), model.parameters(), strict=True):
        mine.lerp_(new.to(mine.dtype), 1.0 - decay)
    for mine, new in zip(average.buffers(), model.buffers(), strict=True):
        mine.copy_(new)


def decay_of_half_life(batch: int, images: float) -> float:
    """Return the decay a step whose weight is halved after so many images: 0.5^(batch / images)."""
    return 0.5 ** (batch / max(images, 1e-8))


def mix_layers(
    first: Tensor, second: Tensor, layers: int, share: float, generator: torch.Generator
) -> Tensor:
    """Return styles per layer (B, layers, W): mixing regularisation from coarse to fine.

    With probability `share` a sample takes `second` from a random layer on.

    Args:
        first: (B, W) styles.
        second: (B, W) styles.
        layers: how many the generator has, ≥ 2.
        share: probability of mixing; StyleGAN2's is 0.9.
        generator: of the random numbers, on the CPU.
    """
    batch = len(first)
    crossing = torch.randint(1, layers, (batch,), generator=generator)
    mixed = torch.rand(batch, generator=generator) < share
    crossing = torch.where(mixed, crossing, torch.full_like(crossing, layers))
    is_first = (torch.arange(layers)[None] < crossing[:, None]).to(first.device)
    return torch.where(is_first[:, :, None], first[:, None], second[:, None])
