"""StyleGAN2's layers, written once for portraits and for generated textures.

Equalised learning rate (Karras et al. 2018), mapping network, modulated convolution, FIR
resampling (Karras et al. 2020). The discriminator and the training terms stand beside this
(`models/stylegan2_discriminator.py`, `models/stylegan2_training.py`). All layers compute in the
dtype of their input, so a caller chooses bfloat16 by casting what goes in; styles, demodulation
and parameters stay float32.
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional

if TYPE_CHECKING:
    from collections.abc import Callable

SLOPE = 0.2
"""Of the leaky ReLUs below 0."""
GAIN = math.sqrt(2.0)
"""After each leaky ReLU: keeps the variance of a unit Gaussian."""
FIR = (1.0, 3.0, 3.0, 1.0)
"""The resampling filter along one axis, before normalisation."""
EPSILON = 1e-8


def activate(x: Tensor) -> Tensor:
    """Return √2 · leaky ReLU(x) with slope 0.2."""
    return functional.leaky_relu(x, SLOPE) * GAIN


class EqualLinear(nn.Module):
    """A linear layer with equalised learning rate: y = x (λ W / √n)ᵀ + λ b.

    Weights are drawn from N(0, 1 / λ²), so that all layers move alike under Adam.

    Args:
        inputs: n, features in.
        outputs: features out.
        bias: first value of the bias as it acts, after multiplication by λ.
        rate: λ, multiplies the layer's learning rate.
    """

    def __init__(self, inputs: int, outputs: int, *, bias: float = 0.0, rate: float = 1.0) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs) / rate)
        self.bias = nn.Parameter(torch.full((outputs,), bias / rate))
        self._gain = rate / math.sqrt(inputs)
        self._rate = rate

    def forward(self, x: Tensor) -> Tensor:
        """Map (…, inputs) to (…, outputs) in x's dtype."""
        # Scaling x rather than W: there are fewer of it.
        bias = (self.bias * self._rate).to(x.dtype)
        return functional.linear(x * self._gain, self.weight.to(x.dtype), bias)


class EqualConv2d(nn.Module):
    """A convolution with equalised learning rate: y = x ⊛ (W / √(n k²)) + b.

    Args:
        inputs: channels in.
        outputs: channels out.
        kernel: odd side of the kernel; the padding keeps the size.
        bias: whether there is one; it starts at 0.
        down: halve the resolution, after the FIR filter.
    """

    def __init__(
        self, inputs: int, outputs: int, kernel: int, *, bias: bool = True, down: bool = False
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs, kernel, kernel))
        self.bias = nn.Parameter(torch.zeros(outputs)) if bias else None
        self._gain = 1.0 / math.sqrt(inputs * kernel * kernel)
        self._down = down

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, inputs, H, W) to (B, outputs, H, W), or half of that with `down`."""
        weight = _channels_last((self.weight * self._gain).to(x.dtype))
        bias = None if self.bias is None else self.bias.to(x.dtype)
        half = weight.shape[-1] // 2
        if not self._down:
            return functional.conv2d(x, weight, bias, padding=half)
        # The filter and the kernel together look at what the output pixel covers.
        filtered = fir(x, padding=1 + half)
        return functional.conv2d(filtered, weight, bias, stride=2)


class Mapping(nn.Module):
    """z → w: normalise z, then fully connected layers with leaky ReLUs.

    Args:
        code: numbers of z.
        width: numbers of w.
        layers: fully connected layers.
        rate: learning rate multiplier λ of all layers; StyleGAN2's is 0.01.
    """

    def __init__(
        self, code: int = 512, width: int = 512, layers: int = 8, rate: float = 0.01
    ) -> None:
        super().__init__()
        sizes = [code] + [width] * layers
        self.layers = nn.ModuleList(
            EqualLinear(before, after, rate=rate) for before, after in pairwise(sizes)
        )

    def forward(self, z: Tensor) -> Tensor:
        """Map (…, code) to (…, width); z's length does not matter, its direction does."""
        w = z * torch.rsqrt(z.square().mean(dim=-1, keepdim=True) + EPSILON)
        for layer in self.layers:
            w = activate(layer(w))
        return w


class ModulatedConv2d(nn.Module):
    """A convolution whose kernel is scaled by a style, in three steps over shared weights.

    StyleGAN2 scales the kernel per sample, w'ᵢⱼₗ = sᵢ wᵢⱼₗ, and divides by √(Σᵢₗ w'² + ε). The
    same comes from scaling the input by s, convolving with w, and scaling the output by
    d = rsqrt(Σᵢ sᵢ² Σₗ wᵢⱼₗ² + ε): one convolution for the whole batch, and the scales may then
    differ from pixel to pixel, which `models/siw.py` uses.

    Args:
        inputs: channels in.
        outputs: channels out.
        kernel: odd side of the kernel.
        style: numbers of w.
        demodulate: whether to scale the output by d; not for colours.
        up: double the resolution: zeros between pixels, convolution, FIR filter.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int,
        style: int,
        *,
        demodulate: bool = True,
        up: bool = False,
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs, kernel, kernel))
        self.affine = EqualLinear(style, inputs, bias=1.0)
        self.demodulate = demodulate
        self.up = up
        self._gain = 1.0 / math.sqrt(inputs * kernel * kernel)
        self._kept: dict[object, Tensor] = {}
        self._kept_of: object = None

    def scale(self, w: Tensor) -> Tensor:
        """Return s, (…, inputs) of styles w (…, style): the A of StyleGAN2's figures."""
        return self.affine(w)

    def demodulation(self, scale: Tensor) -> Tensor:
        """Return d, (…, outputs) of s (…, inputs), float32."""
        energy = self._once("energy", self._energy)
        return torch.rsqrt(scale.float().square() @ energy + EPSILON)

    def convolve(self, x: Tensor) -> Tensor:
        """Convolve (B, inputs, H, W) with the shared weights, at twice the size with `up`."""
        weight = self._once(x.dtype, lambda: self._kernel(x.dtype))
        half = weight.shape[-1] // 2
        if not self.up:
            return functional.conv2d(x, weight, padding=half)
        # Transposed convolution multiplies no zeros.
        spread = functional.conv_transpose2d(x, weight, stride=2)
        return fir(spread, padding=2 - half, gain=4.0)

    def forward(self, x: Tensor, w: Tensor) -> Tensor:
        """Map (B, inputs, H, W) with one style a sample, w (B, style)."""
        scale = self.scale(w)
        y = self.convolve(x * scale.to(x.dtype)[:, :, None, None])
        if not self.demodulate:
            return y
        return y * self.demodulation(scale).to(x.dtype)[:, :, None, None]

    def _kernel(self, dtype: torch.dtype) -> Tensor:
        weight = (self.weight * self._gain).to(dtype)
        # Flipped, a transposed convolution equals a convolution.
        return weight.flip(2, 3).transpose(0, 1) if self.up else _channels_last(weight)

    def _energy(self) -> Tensor:
        return (self.weight.float() * self._gain).square().sum(dim=(2, 3)).T

    def _once(self, name: object, make: Callable[[], Tensor]) -> Tensor:
        """Return what depends on the weights alone: kept while they stay and nothing learns."""
        if torch.is_grad_enabled() and self.weight.requires_grad:
            return make()
        # torch has no public question for whether a tensor was written to.
        version = self.weight._version  # pyright: ignore[reportPrivateUsage]
        state = (version, self.weight.data_ptr())
        if self._kept_of != state:
            self._kept, self._kept_of = {}, state
        if name not in self._kept:
            # A plain tensor also when rendering asks first: a fit may differentiate through it.
            with torch.inference_mode(mode=False), torch.no_grad():
                self._kept[name] = make()
        return self._kept[name]


class ToColour(nn.Module):
    """A modulated 1×1 convolution without demodulation, to colour channels: StyleGAN2's ToRGB.

    Args:
        inputs: channels in.
        style: numbers of w.
        channels: out; 3 for pictures, 16 for neural textures.
    """

    def __init__(self, inputs: int, style: int, channels: int = 3) -> None:
        super().__init__()
        self.conv = ModulatedConv2d(inputs, channels, 1, style, demodulate=False)
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor, w: Tensor, skip: Tensor | None) -> Tensor:
        """Return the colours so far, (B, channels, H, W): own ones plus the enlarged skip."""
        own = self.conv(x, w) + self.bias.to(x.dtype)[:, None, None]
        return own if skip is None else own + upsample(skip)


def fir(x: Tensor, *, padding: int, gain: float = 1.0, stride: int = 1) -> Tensor:
    """Filter each channel by the outer product of `FIR`, normalised to sum `gain`.

    Args:
        x: (B, C, H, W).
        padding: zeros at each side; the filter takes 3 pixels away.
        gain: sum of the filter.
        stride: every so many pixels are kept.
    """
    taps = torch.tensor(FIR, dtype=torch.float32, device=x.device)
    kernel = torch.outer(taps, taps)
    kernel = (kernel * (gain / kernel.sum())).to(x.dtype)
    channels = x.shape[1]
    kernel = kernel.expand(channels, 1, 4, 4)
    return functional.conv2d(x, kernel, stride=stride, padding=padding, groups=channels)


def upsample(x: Tensor) -> Tensor:
    """Double the resolution of (B, C, H, W): zeros between pixels, then `FIR`.

    That is bilinear interpolation; beyond the border the edge repeats (StyleGAN2 has zeros there).
    """
    return functional.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)


def downsample(x: Tensor) -> Tensor:
    """Halve the resolution of (B, C, H, W): `FIR`, then every second pixel; zeros outside."""
    return fir(x, padding=1, stride=2)


def _channels_last(weight: Tensor) -> Tensor:
    return weight.contiguous(memory_format=torch.channels_last)
