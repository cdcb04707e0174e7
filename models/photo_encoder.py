"""From a photograph to styles of the wardrobe: where a fit begins.

Source: StylePeople supplementary, section 4.1 and Figure 3, after pSp (Richardson et al. 2020): maps
of a backbone are summed from coarse to fine, and a small map2style network of each level gives the
two styles of one resolution of the generator. The paper's encoder reads the photograph; the one that
ships reads it unwrapped (`models/unwrap.py`), where pose and camera are gone.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal, cast

import timm
import torch
from torch import Tensor, nn
from torch.nn import functional

from blender_addon.contract.errors import ModelError
from models.perceptual import read_weights

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

PER_LEVEL = 2
"""Styles of one level: a resolution of the generator takes two."""
CHANNELS = 4
"""RGB, and mask or visibility."""

Reads = Literal["photo", "unwrapped"]


@dataclass(frozen=True, kw_only=True)
class PhotoEncoderConfig:
    """Architecture of a photo encoder; the defaults are the paper's.

    Attributes:
        backbone: any network of timm that gives features. Its weights are never fetched.
        size: side of the images. With 512, the levels are as large as the generator's maps.
        layers: L, styles of the generator, two a level.
        style: numbers of w.
        width: channels of the summed maps and of map2style; the paper names none, pSp has 512.
        pool: side to which map2style averages its maps. 1 forgets where things are, as the paper's
            does; in UV space, where a place always means the same part of the body, more helps.
        reads: the square crop of the photograph round the person, or the unwrapped photograph.
    """

    backbone: str = "tf_efficientnet_b7"
    size: int = 512
    layers: int = 14
    style: int = 512
    width: int = 512
    pool: int = 1
    reads: Reads = "photo"

    def __post_init__(self) -> None:
        if self.layers % PER_LEVEL:
            raise ValueError(f"layers must be a multiple of {PER_LEVEL}")

    @property
    def levels(self) -> int:
        """Maps of which styles are read, from fine to coarse."""
        return self.layers // PER_LEVEL

    @property
    def normalisation(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Mean and deviation of RGB in 0…1 that the backbone's published weights expect."""
        known = timm.get_pretrained_cfg(self.backbone)
        if known is None:
            return (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)
        return tuple(known.mean), tuple(known.std)

    def to_plain(self) -> dict[str, Any]:
        """Return the values for a manifest's architecture."""
        return asdict(self)

    @classmethod
    def from_plain(cls, values: Mapping[str, Any]) -> PhotoEncoderConfig:
        """Read the values of a manifest's architecture; unknown names are ignored."""
        return cls(**{k: v for k, v in values.items() if k in cls.__dataclass_fields__})


SHIPPED_ENCODER = PhotoEncoderConfig(
    backbone="mobilenetv3_small_050",
    size=128,
    style=128,
    width=48,
    pool=4,
    reads="unwrapped",
)
"""Of the encoder in the library: a hundredth of the paper's."""


class PhotoEncoder(nn.Module):
    """Images to styles, as offsets from the mean w.

    Args:
        config: sizes.
        mean: (L, style) the mean w of the generator, or (style,) for all layers; 0 when omitted.
    """

    def __init__(
        self, config: PhotoEncoderConfig | None = None, mean: Tensor | None = None
    ) -> None:
        super().__init__()
        self.config = config or PhotoEncoderConfig()
        c = self.config
        self.backbone = timm.create_model(
            c.backbone, pretrained=False, features_only=True, in_chans=CHANNELS
        )
        info = cast("Any", self.backbone).feature_info
        given: list[int] = info.channels()
        # Levels coarser than the backbone's last map come from it by more halvings.
        self.coarser = nn.ModuleList(
            nn.Conv2d(given[-1] if k == 0 else c.width, c.width, 3, stride=2, padding=1)
            for k in range(max(c.levels - len(given), 0))
        )
        kept = given[-c.levels :]
        self.lateral = nn.ModuleList(nn.Conv2d(channels, c.width, 1) for channels in kept)
        self.map2style = nn.ModuleList(_Map2Style(c) for _ in range(c.levels))
        start = torch.zeros(c.layers, c.style)
        self.register_buffer("mean_w", start if mean is None else mean.expand_as(start).clone())
        scale, shift = _input_map(c.normalisation)
        self.register_buffer("input_scale", scale, persistent=False)
        self.register_buffer("input_shift", shift, persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """Return styles (B, L, style) of images (B, 4, S, S): RGB −1…1 and mask or visibility 0…1."""
        maps = self._maps(images)
        summed = maps[0]
        styles = [self.map2style[0](summed)]
        for level, finer in enumerate(maps[1:], start=1):
            summed = finer + functional.interpolate(summed, size=finer.shape[-2:], mode="nearest")
            styles.append(self.map2style[level](summed))
        offset = torch.stack(styles, dim=1).view(len(images), self.config.layers, -1)
        return cast("Tensor", self.mean_w) + offset.float()

    def _maps(self, images: Tensor) -> list[Tensor]:
        """Return one map of `width` channels a level, coarse to fine."""
        scale, shift = cast("Tensor", self.input_scale), cast("Tensor", self.input_shift)
        given = (images * scale + shift).contiguous(memory_format=torch.channels_last)
        features: list[Tensor] = self.backbone(given)
        coarse: list[Tensor] = []
        last = features[-1]
        for layer in self.coarser:
            last = layer(last)
            coarse.append(last)
            last = functional.relu(last)
        features = features[-len(self.lateral) :]
        fine = [layer(each) for layer, each in zip(self.lateral, features, strict=True)]
        return [*reversed(coarse), *reversed(fine)]


class _Map2Style(nn.Module):
    """Convolution, ReLU, adaptive average pooling, linear: a level's map to its two styles."""

    def __init__(self, config: PhotoEncoderConfig) -> None:
        super().__init__()
        self.conv = nn.Conv2d(config.width, config.width, 3, padding=1)
        self.pool = nn.AdaptiveAvgPool2d(config.pool)
        self.linear = nn.Linear(config.width * config.pool**2, PER_LEVEL * config.style)
        # It starts at the mean w.
        nn.init.zeros_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(self.pool(functional.relu(self.conv(x))).flatten(1))


def load_backbone(encoder: PhotoEncoder, weights: Path) -> None:
    """Give a backbone its published weights, from a file; the mask's channel starts at 0.

    Args:
        encoder: changed in place.
        weights: timm's state dict of the backbone, .pth (loaded with weights_only) or
            .safetensors.

    Raises:
        ModelError: the file does not hold these weights.
    """
    given, wanted = read_weights(weights), encoder.backbone.state_dict()
    values: dict[str, Tensor] = {}
    for name, value in wanted.items():
        found = given.get(name)
        if found is not None and found.ndim == 4 and found.shape[1] == CHANNELS - 1:
            missing = value.shape[1] - found.shape[1]
            found = functional.pad(found, (0, 0, 0, 0, 0, missing))
        if found is None or found.shape != value.shape:
            raise ModelError(
                f"{weights} does not hold timm's weights of {encoder.config.backbone}: {name}",
                "give that network's state dict, or leave it out to train from nothing",
            )
        values[name] = found
    encoder.backbone.load_state_dict(values)


def _input_map(normalisation: tuple[tuple[float, ...], tuple[float, ...]]) -> tuple[Tensor, Tensor]:
    """Return factor and shift (4, 1, 1) from −1…1 to what the weights expect; masks stay."""
    mean, std = (torch.tensor(values) for values in normalisation)
    scale = torch.cat([0.5 / std, torch.ones(1)])
    shift = torch.cat([(0.5 - mean) / std, torch.zeros(1)])
    return scale[:, None, None], shift[:, None, None]
