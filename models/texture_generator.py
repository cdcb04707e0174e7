"""The wardrobe's G: StyleGAN2 that paints neural textures instead of pictures.

Source: StylePeople supplementary, section 2.1: StyleGAN2's generator to 256² × 16 channels; the
body's spectral coordinates join the inputs of the convolutions that receive maps of 64², 128² and
256². The first three channels are what the dresser's input skip shows as colour.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn

from blender_addon.contract.errors import BadParameter
from models.stylegan2 import Mapping, ModulatedConv2d, ToColour, activate

if TYPE_CHECKING:
    from collections.abc import Mapping as Plain
    from collections.abc import Sequence

FIRST = 4
"""Side of the learned constant that the generator starts from."""


@dataclass(frozen=True, kw_only=True)
class TextureGeneratorConfig:
    """Architecture of a texture generator; the defaults are the paper's.

    Attributes:
        size: side of the textures, a power of two ≥ 8.
        channels: of the textures.
        base: channels at resolution r are base / r, up to `widest`. StyleGAN2's is 32768.
        widest: most channels.
        style: numbers of w.
        code: numbers of z.
        mapping_layers: fully connected layers of the mapping; 0 for none, where a Gaussian over
            w takes its place.
        mapping_rate: learning rate multiplier of the mapping.
        spectral_channels: of the body's spectral coordinates; 0 for none.
        spectral_from: smallest maps that the spectral coordinates join.
        noise: whether each convolution adds its noise tensor, by a learned strength.
    """

    size: int = 256
    channels: int = 16
    base: int = 32768
    widest: int = 512
    style: int = 512
    code: int = 512
    mapping_layers: int = 8
    mapping_rate: float = 0.01
    spectral_channels: int = 16
    spectral_from: int = 64
    noise: bool = True

    def __post_init__(self) -> None:
        if self.size < 2 * FIRST or self.size & (self.size - 1):
            raise ValueError(f"size must be a power of two, at least {2 * FIRST}")

    @property
    def resolutions(self) -> tuple[int, ...]:
        """Sides of the feature maps, from `FIRST` to `size`."""
        return tuple(FIRST << k for k in range((self.size // FIRST).bit_length()))

    @property
    def layers(self) -> int:
        """L, styles that a texture takes: two a resolution.

        Of resolution k: 2 k for the convolution at it; 2 k + 1 for its colours and for the
        convolution that leads to the next one. That is StyleGAN2's order.
        """
        return 2 * len(self.resolutions)

    @property
    def spectral_sizes(self) -> tuple[int, ...]:
        """Resolutions at which the spectral coordinates join."""
        wanted = self.resolutions if self.spectral_channels else ()
        return tuple(size for size in wanted if size >= self.spectral_from)

    def width(self, resolution: int) -> int:
        """Return the channels at a resolution."""
        return min(self.widest, self.base // resolution)

    def received(self, resolution: int) -> int:
        """Return the channels that a convolution receives whose input has a resolution."""
        joined = self.spectral_channels if resolution in self.spectral_sizes else 0
        return self.width(resolution) + joined

    def to_plain(self) -> dict[str, Any]:
        """Return the values for a manifest's architecture."""
        return asdict(self)

    @classmethod
    def from_plain(cls, values: Plain[str, Any]) -> TextureGeneratorConfig:
        """Read the values of a manifest's architecture; unknown names are ignored."""
        return cls(**{k: v for k, v in values.items() if k in cls.__dataclass_fields__})


class TextureGenerator(nn.Module):
    """G: styles to neural textures.

    Args:
        config: sizes.
        spectral: of `spectral_texture.spectral_maps(body, config.spectral_sizes)`: maps
            (spectral_channels, r, r) in that order. They are the body's, so they are neither
            trained nor part of the state. Without them they are 0.

    Raises:
        BadParameter: the spectral maps are not of these sizes.
    """

    def __init__(
        self, config: TextureGeneratorConfig | None = None, spectral: Sequence[Tensor] | None = None
    ) -> None:
        super().__init__()
        self.config = config or TextureGeneratorConfig()
        c = self.config
        self.mapping_network: Mapping | None = None
        if c.mapping_layers:
            self.mapping_network = Mapping(c.code, c.style, c.mapping_layers, c.mapping_rate)
        self.constant = nn.Parameter(torch.randn(1, c.width(FIRST), FIRST, FIRST))
        self.blocks = nn.ModuleList(_Block(c, resolution) for resolution in c.resolutions)
        maps = spectral
        if maps is None:
            maps = [torch.zeros(c.spectral_channels, size, size) for size in c.spectral_sizes]
        wanted = [(c.spectral_channels, size, size) for size in c.spectral_sizes]
        if [tuple(each.shape) for each in maps] != wanted:
            raise BadParameter(f"spectral maps must be of the shapes {wanted}", field="spectral")
        for size, each in zip(c.spectral_sizes, maps, strict=True):
            self.register_buffer(_spectral(size), each[None].clone(), persistent=False)

    def mapping(self, z: Tensor) -> Tensor:
        """Map z (…, code) to w (…, style).

        Raises:
            BadParameter: this generator has no mapping; its w come from a prior over w.
        """
        if self.mapping_network is None:
            raise BadParameter("this texture generator has no mapping: draw w from its prior")
        return self.mapping_network(z)

    def spread(self, w: Tensor) -> Tensor:
        """Return styles per layer (B, L, style): of one style for all, (B, style), or as given."""
        return w[:, None].expand(-1, self.config.layers, -1) if w.ndim == 2 else w

    def noise(self) -> list[Tensor]:
        """Return the fixed noise tensors (1, 1, r, r), one a convolution, coarse to fine.

        They are the generator's own: clone them before a fit changes them.
        """
        return [
            cast("Tensor", layer.noise) for layer in self._layers() if layer.strength is not None
        ]

    def forward(
        self, w: Tensor, noise: Sequence[Tensor] | None = None, *, until: int | None = None
    ) -> Tensor:
        """Paint textures (B, channels, size, size), float32, about −1…1, row 0 at v = 1.

        Args:
            w: (B, L, style); computed in its dtype.
            noise: one (1 or B, 1, r, r) a convolution, as `noise` returns them; the fixed ones
                when omitted.
            until: stop at this resolution and return the colours so far, (B, channels, until,
                until): coarse colours are learnt at a fraction of the cost.

        Raises:
            BadParameter: w or noise do not fit.
        """
        c = self.config
        if w.shape[1:] != (c.layers, c.style):
            raise BadParameter(
                f"w of the shape {tuple(w.shape)}, not (B, {c.layers}, {c.style})", field="w"
            )
        given = self.noise() if noise is None else list(noise)
        if len(given) != len(self.noise()):
            raise BadParameter(
                f"{len(given)} noise tensors for {len(self.noise())} convolutions", field="noise"
            )
        left = iter(given)
        x = self.constant.to(w.dtype).expand(len(w), -1, -1, -1)
        x = x.contiguous(memory_format=torch.channels_last)
        texture: Tensor | None = None
        for k, block in enumerate(cast("Sequence[_Block]", self.blocks)):
            styles = w[:, max(2 * k - 1, 0) : 2 * k + 2].unbind(1)
            for layer, style in zip(block.each(), styles[:-1], strict=True):
                # What a convolution joins goes by the size that it receives.
                x = self._joined(x)
                x = layer(x, style, next(left) if layer.strength is not None else None)
            texture = block.colour(x, styles[-1], texture)
            if x.shape[-1] == until:
                break
        return cast("Tensor", texture).float()

    def _joined(self, x: Tensor) -> Tensor:
        size = x.shape[-1]
        if size not in self.config.spectral_sizes:
            return x
        spectral = self.get_buffer(_spectral(size)).to(x.dtype)
        return torch.cat([x, spectral.expand(len(x), -1, -1, -1)], dim=1)

    def _layers(self) -> list[_Layer]:
        return [each for block in cast("Sequence[_Block]", self.blocks) for each in block.each()]


class _Layer(nn.Module):
    """A modulated 3×3 convolution, its noise, a bias, and the activation."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        resolution: int,
        config: TextureGeneratorConfig,
        *,
        up: bool,
    ) -> None:
        super().__init__()
        self.conv = ModulatedConv2d(inputs, outputs, 3, config.style, up=up)
        self.bias = nn.Parameter(torch.zeros(outputs))
        self.strength: nn.Parameter | None = None
        if config.noise:
            self.strength = nn.Parameter(torch.zeros(()))
            self.register_buffer("noise", torch.randn(1, 1, resolution, resolution))

    def forward(self, x: Tensor, w: Tensor, noise: Tensor | None) -> Tensor:
        y = self.conv(x, w) + self.bias.to(x.dtype)[:, None, None]
        if noise is not None and self.strength is not None:
            y = y + (self.strength * noise).to(y.dtype)
        return activate(y)


class _Block(nn.Module):
    """All convolutions that lead to maps of one resolution, and its colours."""

    def __init__(self, config: TextureGeneratorConfig, resolution: int) -> None:
        super().__init__()
        width, half = config.width(resolution), resolution // 2
        self.up: _Layer | None = None
        if resolution > FIRST:
            self.up = _Layer(config.received(half), width, resolution, config, up=True)
        self.same = _Layer(config.received(resolution), width, resolution, config, up=False)
        self.colour = ToColour(width, config.style, config.channels)

    def each(self) -> list[_Layer]:
        return [self.same] if self.up is None else [self.up, self.same]


def _spectral(size: int) -> str:
    return f"spectral_{size}"
