"""SIW StyleConv: a modulated convolution whose style changes from region to region.

Equation 7 of SofGAN gives every region k its own kernel, scaled by its style. Done literally
that is one convolution a region. Here the *input* is scaled pixel by pixel with the scales of the
region that the pixel lies in, convolved once with the shared kernel, and the output demodulated
pixel by pixel: the same except within a kernel's radius of a border between regions, where the
kernel sees neighbours scaled by their own style. `Styles.shares` blends the outputs of several
such fields: equation 8's two styles and their similarity map, or, with one field a region, the
literal equation 7 that tests and the bench compare with.

In all shapes: B images, N fields, R regions (17, or 1 where a field has one style everywhere).
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.stylegan2 import GAIN, SLOPE, EqualConv2d, EqualLinear, ModulatedConv2d


class Styles(NamedTuple):
    """Which styles paint what.

    Attributes:
        w: (B, N, R, W) styles; R is 17, or 1 for the same style in all regions.
        shares: (B, N, 17) how much of field n each region takes, Σₙ = 1; None with one field.
    """

    w: Tensor
    shares: Tensor | None = None

    @classmethod
    def everywhere(cls, w: Tensor) -> Styles:
        """Return one style a portrait, w (B, W): StyleGAN2's."""
        return cls(w[:, None, None])

    @classmethod
    def by_region(cls, w: Tensor) -> Styles:
        """Return a style a region, w (B, 17, W), painted by one convolution."""
        return cls(w[:, None])

    @classmethod
    def literal(cls, w: Tensor) -> Styles:
        """Return a style a region, w (B, 17, W), painted by a convolution a region: slow, exact."""
        batch, regions, _ = w.shape
        whole = torch.eye(regions, dtype=w.dtype, device=w.device)
        return cls(w[:, :, None], whole.expand(batch, -1, -1))

    @classmethod
    def mixed(cls, first: Tensor, second: Tensor, similarity: Tensor) -> Styles:
        """Return equation 8's blend of two styles by a similarity map.

        Args:
            first: (B, W), or (B, 17, W) with a style a region.
            second: as first.
            similarity: (B, 17) share of the first in each region, 0…1.
        """
        w = torch.stack([first, second], dim=1)
        w = w[:, :, None] if w.dim() == 3 else w
        return cls(w, torch.stack([similarity, 1.0 - similarity], dim=1))


class RegionMap(NamedTuple):
    """A label map at one resolution, in the forms that layers want.

    Attributes:
        shares: (B, H·W, 17) how much of each pixel is which region.
        rows: (B, H·W) int64, index of the pixel's region among the batch's B·17, where every
            pixel is one region; None where pixels were averaged.
        height: H.
        width: W.
    """

    shares: Tensor
    rows: Tensor | None
    height: int
    width: int

    @classmethod
    def of(cls, one_hot: Tensor, *, hard: bool) -> RegionMap:
        """Read (B, 17, H, W).

        Args:
            hard: whether every pixel is exactly one region.
        """
        batch, regions, height, width = one_hot.shape
        flat = one_hot.permute(0, 2, 3, 1).reshape(batch, height * width, regions)
        rows = None
        if hard:
            first = torch.arange(batch, device=one_hot.device)[:, None] * regions
            rows = flat.argmax(dim=2) + first
        return cls(flat, rows, height, width)

    def spread(self, table: Tensor) -> Tensor:
        """Give each pixel its region's values.

        Args:
            table: (B, N, R, C).

        Returns:
            (B, N, H, W, C), or (B, N, 1, 1, C) when R is 1.
        """
        batch, fields, regions, channels = table.shape
        if regions == 1:
            return table[:, :, None]
        if self.rows is not None and fields == 1 and not torch.is_grad_enabled():
            # Looking up is several times faster than multiplying by zeros and ones.
            looked = functional.embedding(self.rows, table.reshape(batch * regions, channels))
            return looked.view(batch, 1, self.height, self.width, channels)
        joined = table.transpose(1, 2).reshape(batch, regions, fields * channels)
        spread = torch.bmm(self.shares.to(table.dtype), joined)
        spread = spread.view(batch, self.height, self.width, fields, channels)
        return spread.permute(0, 3, 1, 2, 4)

    def shares_of(self, shares: Tensor) -> Tensor:
        """Return (B, N, H, W, 1), each pixel's shares of the fields, from (B, N, 17)."""
        pixels = torch.bmm(self.shares.to(shares.dtype), shares.transpose(1, 2))
        pixels = pixels.view(len(shares), self.height, self.width, -1)
        return pixels.permute(0, 3, 1, 2)[..., None]


class Spade(nn.Module):
    """γ and β from a label map (Park et al. 2019), for the convolutions of one resolution.

    Args:
        labels: channels of the label map.
        hidden: channels between.
        outputs: channels of each convolution that is modulated.
        kernel: sides of the two convolutions.
    """

    def __init__(
        self, labels: int, hidden: int, outputs: tuple[int, ...], kernel: tuple[int, int]
    ) -> None:
        super().__init__()
        self.trunk = EqualConv2d(labels, hidden, kernel[0])
        self.heads = nn.ModuleList(EqualConv2d(hidden, 2 * n, kernel[1]) for n in outputs)
        with torch.no_grad():
            for head in self.heads:
                # Nearly γ = 1, β = 0 at first: labels only gradually take over.
                head.get_parameter("weight").mul_(0.1)

    def forward(self, one_hot: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Return γ and √2 β, each (B, H, W, C), for each convolution, of labels (B, 17, H, W).

        β comes with the gain that the activation would give it.
        """
        hidden = functional.relu(self.trunk(one_hot))
        modulations: list[tuple[Tensor, Tensor]] = []
        for head in self.heads:
            gamma, beta = head(hidden).permute(0, 2, 3, 1).chunk(2, dim=-1)
            modulations.append((1.0 + gamma, GAIN * beta))
        return modulations


class RegionConv(nn.Module):
    """SIW StyleConv of SofGAN: F_out = γ · Σₙ SMₙ · (F_in ⊛ W'ₙ + b) + β, then a leaky ReLU.

    There is no noise input: noise says nothing about labels.

    Args:
        inputs: channels in.
        outputs: channels out.
        kernel: odd side of the kernel.
        style: numbers of w.
        up: double the resolution.
        colour: paint colours: neither demodulation nor leaky ReLU.
        style_bias: whether a region's style also shifts its features.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int,
        style: int,
        *,
        up: bool = False,
        colour: bool = False,
        style_bias: bool = False,
    ) -> None:
        super().__init__()
        self.conv = ModulatedConv2d(inputs, outputs, kernel, style, demodulate=not colour, up=up)
        self.bias = nn.Parameter(torch.zeros(outputs))
        self.shift: EqualLinear | None = None
        if style_bias:
            self.shift = EqualLinear(style, outputs)
            # Random shifts of all features drown the labels in the first steps.
            nn.init.zeros_(self.shift.weight)
        self._colour = colour

    def forward(
        self,
        x: Tensor,
        styles: Styles,
        before: RegionMap,
        after: RegionMap,
        spade: tuple[Tensor, Tensor] | None = None,
    ) -> Tensor:
        """Map (B, inputs, H, W) to (B, outputs, H, W), or twice the size with `up`.

        Args:
            styles: of the portrait.
            before: regions at the input's resolution.
            after: regions at the output's.
            spade: (γ, √2 β) of `Spade`, (B, H, W, outputs) each.
        """
        # Pixels last but one and channels last throughout: as channels_last lies in memory. On a
        # processor the passes over pixels cost as much as the convolution, so that all that can
        # be is put into the small tables: the activation's gain (a positive factor passes
        # through a leaky ReLU), the bias, and the shift.
        gain = 1.0 if self._colour else GAIN
        scale = self.conv.scale(styles.w)
        scaled = x.permute(0, 2, 3, 1)[:, None] * before.spread(scale.to(x.dtype))
        y = self.conv.convolve(scaled.flatten(0, 1).permute(0, 3, 1, 2))
        y = y.permute(0, 2, 3, 1).unflatten(0, styles.w.shape[:2])
        added = (gain * self.bias).to(x.dtype)
        if self.shift is not None:
            added = after.spread((gain * (self.shift(styles.w) + self.bias)).to(x.dtype))
        if self._colour:
            y = y + added
        else:
            factor = gain * self.conv.demodulation(scale)
            y = torch.addcmul(added, y, after.spread(factor.to(x.dtype)))
        if styles.shares is None:
            y = y[:, 0]
        else:
            y = (y * after.shares_of(styles.shares.to(x.dtype))).sum(dim=1)
        if spade is not None:
            gamma, beta = spade
            y = torch.addcmul(beta, y, gamma)
        y = y.permute(0, 3, 1, 2)
        return y if self._colour else functional.leaky_relu(y, SLOPE)
