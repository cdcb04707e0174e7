"""Where a portrait's styles come from: z → w, drawing z, and truncation region by region.

SofGAN draws z from a Gaussian and maps it to w as StyleGAN2 does. The networks that are trained
on few images here learn their codes from images instead, one code a region (`models/siw_encoder.py`);
`StylePrior` then knows how the codes of one portrait's regions belong together.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.stylegan2 import SLOPE, Mapping

if TYPE_CHECKING:
    from models.siw_config import SiwConfig

EMBEDDING = 32
"""Numbers that stand for a region, learnt."""
RARE = 30
"""Portraits that must show a region before its codes' spread is trusted."""
CAUTION = 20.0
"""Pairs of codes seen together count n / (n + this): a covariance of few portraits is chance."""


class SharedMapping(nn.Module):
    """StyleGAN2's mapping network, the same for all regions.

    Args:
        config: sizes.
    """

    def __init__(self, config: SiwConfig) -> None:
        super().__init__()
        self.network = Mapping(
            config.code, config.style, config.mapping_layers, config.mapping_rate
        )

    def forward(self, z: Tensor) -> Tensor:
        """Map z (B, …, code) to w (B, …, style)."""
        return self.network(z)


class RegionMapping(nn.Module):
    """A small mapping that is told the region: w_r = MLP(z_r, embedding_r).

    He initialisation with zero bias was decisive: with torch's own first values the styles had
    so little to say that portraits stayed grey.

    Args:
        config: sizes.
    """

    def __init__(self, config: SiwConfig) -> None:
        super().__init__()
        self.embedding = nn.Parameter(torch.randn(config.labels, EMBEDDING))
        before = config.code + EMBEDDING
        layers: list[nn.Linear] = []
        for index in range(config.mapping_layers):
            last = index == config.mapping_layers - 1
            after = config.style if last else config.mapping_width
            layers.append(he_linear(before, after))
            before = after
        self.layers = nn.ModuleList(layers)

    def forward(self, z: Tensor) -> Tensor:
        """Map z (B, 17, code) to w (B, 17, style)."""
        known = self.embedding.expand(*z.shape[:-2], -1, -1)
        x = torch.cat([z, known], dim=-1)
        for index, layer in enumerate(self.layers):
            x = layer(functional.leaky_relu(x, SLOPE) if index else x)
        return x


def mapping_of(config: SiwConfig) -> SharedMapping | RegionMapping:
    """Return the mapping that a configuration names."""
    return SharedMapping(config) if config.mapping == "shared" else RegionMapping(config)


def he_linear(inputs: int, outputs: int) -> nn.Linear:
    """Return a linear layer with He initialisation for leaky ReLUs, and no bias at first."""
    layer = nn.Linear(inputs, outputs)
    nn.init.kaiming_normal_(layer.weight, a=SLOPE)
    nn.init.zeros_(layer.bias)
    return layer


def truncate(w: Tensor, mean: Tensor, strength: Tensor | float) -> Tensor:
    """Pull styles towards the mean style of their region: w̄ + ψ (w − w̄).

    Args:
        w: (B, 17, W).
        mean: (17, W).
        strength: ψ, 0…1: a number, or (17,) one a region. 1 leaves w as it is.
    """
    psi = torch.as_tensor(strength, dtype=w.dtype, device=w.device)
    return mean + psi[..., None] * (w - mean)


class StylePrior(NamedTuple):
    """How the style codes of portraits are spread, all regions together.

    Drawn independently, regions do not fit (one light falls on all of them); a joint Gaussian
    keeps them together but blends what comes in kinds (red and black hair to purple). So
    portraits may also be drawn from the bank and moved by the Gaussian.

    Attributes:
        mean: (17·Z,) of codes.
        factor: (17·Z, 17·Z) A with covariance A Aᵀ.
        bank: (N, 17, Z) codes of training portraits.
        present: (N, 17) whether a bank's portrait shows a region.
    """

    mean: Tensor
    factor: Tensor
    bank: Tensor
    present: Tensor

    @classmethod
    def of(
        cls, codes: Tensor, deviations: Tensor, present: Tensor, bank: int | None = None
    ) -> StylePrior:
        """Fit it to the codes of portraits.

        Args:
            codes: (N, 17, Z) means.
            deviations: (N, 17, Z) standard deviations of the encoder.
            present: (N, 17) bool.
            bank: how many portraits to keep, evenly chosen; None for all.
        """
        count, regions, size = codes.shape
        seen = present.double()
        shown = seen.sum(dim=0)
        mean = (codes.double() * seen[..., None]).sum(dim=0) / shown.clamp(min=1.0)[:, None]
        centred = ((codes.double() - mean) * seen[..., None]).reshape(count, regions * size)
        pairs = (seen.T @ seen).repeat_interleave(size, 0).repeat_interleave(size, 1)
        covariance = centred.T @ centred / pairs.clamp(min=1.0)
        covariance = covariance * (pairs / (pairs + CAUTION))
        # Half of the encoder's own spread: its samples were painted in training, too.
        own = (deviations.double().square() * seen[..., None]).sum(dim=0)
        own = own / shown.clamp(min=1.0)[:, None] * 0.5
        rare = (shown < RARE).double()[:, None].expand(regions, size)
        covariance = covariance + torch.diag((own + rare).reshape(-1))
        values, vectors = torch.linalg.eigh(covariance)
        # Entries seen in different portraits need not make a covariance: no negative variances.
        factor = vectors * values.clamp(min=1e-4).sqrt()
        kept = torch.arange(count)
        if bank is not None and bank < count:
            kept = torch.linspace(0, count - 1, bank).round().long()
        return cls(
            mean.reshape(-1).float(), factor.float(), codes[kept].clone(), present[kept].clone()
        )

    def draw(
        self, count: int, generator: torch.Generator, *, bank: float = 0.8, spread: float = 1.0
    ) -> Tensor:
        """Draw codes (count, 17, Z).

        Args:
            count: portraits.
            generator: on the CPU.
            bank: how much of a training portrait's codes is kept, 0…1; the rest is drawn from
                the joint Gaussian such that the spread stays the same. 0 is the Gaussian alone,
                1 the bank alone (regions that its portrait lacks are drawn in any case).
            spread: deviations from the mean are multiplied by this.
        """
        regions, size = self.bank.shape[1:]
        noise = torch.randn(count, len(self.mean), generator=generator)
        noise = noise.to(self.mean.device) @ self.factor.T
        noise = noise.view(count, regions, size)
        mean = self.mean.view(regions, size)
        chosen = torch.randint(len(self.bank), (count,), generator=generator)
        chosen = chosen.to(self.bank.device)
        kept = self.bank[chosen] - mean
        moved = bank * kept + (1.0 - bank * bank) ** 0.5 * noise
        deviation = torch.where(self.present[chosen][..., None], moved, noise)
        return mean + spread * deviation
