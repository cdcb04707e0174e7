"""The dresser: StylePeople's renderer network R, from a rasterised neural texture to a person.

Source: StylePeople supplementary, section 1.1. A U-Net (segmentation_models_pytorch) takes the
16 sampled texture channels and 2 UV channels and gives 16 channels; two shallow convolutional
heads turn these into RGB and into the foreground, hands and face masks. The wardrobe's R
(section 2.3) has an output of twice the input's side, through one more upsampling.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple

import segmentation_models_pytorch as smp
import torch
from torch import Tensor, nn
from torch.nn import functional

from blender_addon.contract.errors import BadParameter
from blender_addon.contract.joints import MASK_CHANNELS
from models.shell import LAYERS

if TYPE_CHECKING:
    from collections.abc import Mapping

STRIDE = 32
"""The U-Net of most dressers halves its input five times: sides must be multiples of this."""

MOST_STAGES = 5
"""Of a U-Net's encoder."""

DECODER = (256, 128, 64, 32, 16)
"""Channels of the U-Net's decoder blocks, coarse to fine: those of its library."""

FULL_DEPTH = 5
"""Stages of an encoder."""

_COLOUR_PARTS = ("skip.", "rgb_head.3.")
"""Of a dresser's state: what an input skip changes the meaning of."""

_ENLARGER = "enlarger."
_HEADS = ("rgb_head.", "mask_head.")

_BEFORE_TANH = 1.3
"""tanh(1.3 c) is nowhere further from c in −1…1 than 0.14."""


@dataclass(frozen=True, kw_only=True)
class DresserConfig:
    """Architecture of a dresser.

    Attributes:
        encoder: any encoder of segmentation_models_pytorch; the paper's "Resnet-16" is resnet18.
        texture_channels: channels of the neural texture.
        features: channels between the U-Net and its two heads.
        head_slope: of the heads' leaky ReLUs below 0. With 0, plain ReLUs, half of the heads' few
            units died within minutes: red came out orange, and hands and faces were never masked.
        input_skip: whether a 1 × 1 convolution of the input is added to the RGB head's output,
            which then is what the texture's own colour lacks
            (docs/decisions/0006-input-skip.md). The paper's R has no such path.
        shell: whether the input has a second layer, the texture on `models.shell`'s surface.
        upscale: 1, or 2 for an output of twice the input's side.
        fade: with `upscale` 2, how much of the output comes from the new branch: 0 is the lower
            network's output, enlarged; 1 the new branch alone.
        depth: stages of the encoder, each of which halves the side; 3 to 5.
        decoder: channels of the decoder's blocks, coarse to fine, one a stage.
        covers_body: whether the foreground mask is at least the body's coverage, as the
            wardrobe's R forces it.
    """

    encoder: str = "resnet18"
    texture_channels: int = 16
    features: int = 16
    head_slope: float = 0.2
    input_skip: bool = True
    shell: bool = True
    upscale: int = 1
    fade: float = 1.0
    depth: int = MOST_STAGES
    decoder: tuple[int, ...] = DECODER
    covers_body: bool = False

    def __post_init__(self) -> None:
        if self.upscale not in (1, 2):
            raise ValueError("upscale must be 1 or 2")
        if not 0.0 <= self.fade <= 1.0:
            raise ValueError("fade must be in 0…1")
        if len(self.decoder) != self.depth:
            raise ValueError(f"decoder must have {self.depth} numbers, one a stage")

    @property
    def channels(self) -> int:
        """Of the dresser's input: texture and UV, once or once a layer."""
        return (self.texture_channels + 2) * (LAYERS if self.shell else 1)

    @property
    def stride(self) -> int:
        """What the sides of the input must be multiples of."""
        return 1 << self.depth

    def to_plain(self) -> dict[str, Any]:
        """Return the values for a manifest's architecture."""
        return asdict(self) | {"decoder": list(self.decoder)}

    @classmethod
    def from_plain(cls, values: Mapping[str, Any]) -> DresserConfig:
        """Read the values of a manifest's architecture; unknown names are ignored.

        Packages that do not know a skip or a shell have none.
        """
        known: dict[str, Any] = {"input_skip": False, "shell": False, **values}
        if "decoder" in known:
            known["decoder"] = tuple(known["decoder"])
        return cls(**{name: known[name] for name in cls.__dataclass_fields__ if name in known})


class Dressed(NamedTuple):
    """What the dresser gives for a batch of crops.

    Attributes:
        rgb: (B, 3, H, W) straight sRGB colour, 0…1; meaningful where the foreground mask is.
        masks: (B, 3, H, W) foreground, hands, face, 0…1.
    """

    rgb: Tensor
    masks: Tensor


class Dresser(nn.Module):
    """R of StylePeople: (B, 16 + 2, H, W) features to colour and masks.

    The released renderer ends its RGB head in tanh and its mask head in a sigmoid; so does
    this one. No pretrained weights are ever fetched.

    Attributes:
        fade: of the config; a training moves it, and `faded_config` names it for a package.
    """

    def __init__(self, config: DresserConfig | None = None) -> None:
        super().__init__()
        self.config = config or DresserConfig()
        width = self.config.features
        self.unet = smp.Unet(
            self.config.encoder,
            encoder_depth=self.config.depth,
            encoder_weights=None,
            decoder_channels=self.config.decoder,
            in_channels=self.config.channels,
            classes=width,
        )
        if self.config.depth < FULL_DEPTH:
            self._drop_unused()
        self.rgb_head = _head(width, 3, self.config.head_slope)
        self.mask_head = _head(width, len(MASK_CHANNELS), self.config.head_slope)
        _start_heads(self.rgb_head, self.mask_head, input_skip=self.config.input_skip)
        self.skip: nn.Conv2d | None = None
        if self.config.input_skip:
            self.skip = _colour_skip(self.config.channels)

        self.fade = self.config.fade
        self.enlarger: Enlarger | None = None
        if self.config.upscale == 2:
            self.enlarger = Enlarger(self.config)

    @torch.no_grad()
    def _drop_unused(self) -> None:
        """Drop the encoder's stages beyond its depth, which hold most of its weights.

        The library builds all of them whatever the depth, and never calls the rest.
        """
        encoder: nn.Module = self.unet.encoder
        called: set[str] = set()
        hooks = [
            child.register_forward_hook(lambda *_, name=name: called.add(name))
            for name, child in encoder.named_children()
        ]
        was_training = encoder.training
        encoder.eval()
        encoder(torch.zeros(1, self.config.channels, STRIDE, STRIDE))
        encoder.train(was_training)
        for hook in hooks:
            hook.remove()
        unused = [name for name, _ in encoder.named_children() if name not in called]
        for name in unused:
            delattr(encoder, name)
        begins = tuple(f"unet.encoder.{name}." for name in unused)

        def forget(_module: nn.Module, state: dict[str, Any], prefix: str, *_: object) -> None:
            # Runs from before they were dropped still have them.
            for key in [key for key in state if key.removeprefix(prefix).startswith(begins)]:
                del state[key]

        if begins:
            self.register_load_state_dict_pre_hook(forget)

    @property
    def faded_config(self) -> DresserConfig:
        """The config with the fade-in where a training has brought it."""
        return replace(self.config, fade=self.fade)

    def forward(self, features: Tensor, coverage: Tensor | None = None) -> Dressed:
        """Dress a batch of crops.

        Args:
            features: (B, config.channels, H, W), H and W multiples of `config.stride`.
            coverage: (B, 1, H, W) 0…1: how much of each pixel shows the body; needed where
                `config.covers_body`, else not looked at.

        Returns:
            colour and masks of the side H × config.upscale.

        Raises:
            BadParameter: the dresser covers the body, and nobody says where that is.
        """
        hidden: Tensor = self.unet(features)
        skipped = None if self.skip is None else self.skip(features)
        dressed: Dressed | None = None
        if self.enlarger is None or self.fade < 1.0:
            dressed = _finished(self.rgb_head(hidden), skipped, self.mask_head(hidden))
        if self.enlarger is not None and self.fade > 0.0:
            finer = self.enlarger(hidden, skipped)
            dressed = finer if dressed is None else _blended(dressed, finer, self.fade)
        elif self.enlarger is not None and dressed is not None:
            # The new branch costs as much as half of the network: nothing is computed in vain.
            dressed = Dressed(*(_enlarged(part) for part in dressed))
        if dressed is None:
            raise RuntimeError("neither branch of the dresser painted")
        return self._covering(dressed, coverage) if self.config.covers_body else dressed

    def _covering(self, dressed: Dressed, coverage: Tensor | None) -> Dressed:
        if coverage is None:
            raise BadParameter("this dresser covers the body: it needs the body's coverage")
        if self.config.upscale == 2:
            coverage = _enlarged(coverage)
        masks = dressed.masks
        foreground = (masks[:, :1] + coverage.to(masks.dtype)).clamp(max=1.0)
        return Dressed(dressed.rgb, torch.cat([foreground, masks[:, 1:]], dim=1))


class Enlarger(nn.Module):
    """The branch that doubles the output: upsampling, two convolutions, and heads of its own.

    The convolutions are added to what comes in and start at 0, so that a dresser which has just
    grown paints at once what it could (`grown` copies its heads).

    Source: StylePeople supplementary, section 2.3.
    """

    def __init__(self, config: DresserConfig) -> None:
        super().__init__()
        width, slope = config.features, config.head_slope
        self.convs = nn.Sequential(
            nn.LeakyReLU(slope),
            nn.Conv2d(width, width, 3, padding=1),
            nn.LeakyReLU(slope),
            nn.Conv2d(width, width, 3, padding=1),
        )
        _zero(self.convs[-1])
        self.rgb_head = _head(width, 3, slope)
        self.mask_head = _head(width, len(MASK_CHANNELS), slope)
        _start_heads(self.rgb_head, self.mask_head, input_skip=config.input_skip)

    def forward(self, hidden: Tensor, skipped: Tensor | None) -> Dressed:
        """Paint at twice the side.

        Args:
            hidden: (B, config.features, H, W) of the U-Net.
            skipped: (B, 3, H, W) of the input skip, if there is one.
        """
        x = _enlarged(hidden)
        x = x + self.convs(x)
        skipped = None if skipped is None else _enlarged(skipped)
        return _finished(self.rgb_head(x), skipped, self.mask_head(x))


def grown(state: Mapping[str, Tensor], dresser: Dresser) -> dict[str, Tensor]:
    """Return an earlier dresser's state as first values of one with more inputs or outputs.

    Args:
        state: of a dresser with or without input skip, shell and enlarger.
        dresser: what is to be trained; where it has an input skip that the other lacked, the
            skip and the last layer of the RGB head stay its own.

    Returns:
        a state for `dresser.load_state_dict`: layers of the texture's first layer keep their weights,
        those of the shell weigh nothing. An enlarger's heads start as the lower network's.
    """
    fresh = dresser.state_dict()
    values = dict(state)
    if dresser.enlarger is not None and not any(name.startswith(_ENLARGER) for name in values):
        values |= {name: fresh[name] for name in fresh if name.startswith(_ENLARGER)}
        values |= {_ENLARGER + name: state[name] for name in state if name.startswith(_HEADS)}
    if dresser.skip is not None and "skip.weight" not in values:
        values |= {name: fresh[name] for name in fresh if name.startswith(_COLOUR_PARTS)}
    for name in values.keys() & fresh.keys():
        missing = fresh[name].shape[1] - values[name].shape[1] if fresh[name].ndim == 4 else 0
        if missing > 0:
            values[name] = functional.pad(values[name], (0, 0, 0, 0, 0, missing))
    return values


def _finished(rgb: Tensor, skipped: Tensor | None, masks: Tensor) -> Dressed:
    """Add the input skip to the RGB head's output, and bring both heads' to 0…1."""
    rgb = rgb if skipped is None else rgb + skipped
    return Dressed(torch.tanh(rgb.float()) * 0.5 + 0.5, torch.sigmoid(masks.float()))


def _blended(lower: Dressed, finer: Dressed, fade: float) -> Dressed:
    """Return progressive growing's mixture: of `lower`, enlarged, and `finer`."""
    return Dressed(*(_enlarged(a).lerp(b, fade) for a, b in zip(lower, finer, strict=True)))


def _enlarged(x: Tensor) -> Tensor:
    return functional.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)


def _start_heads(rgb_head: nn.Sequential, mask_head: nn.Sequential, *, input_skip: bool) -> None:
    # Most pixels are background: starting there spares the masks their first steps.
    last = mask_head[-1]
    if isinstance(last, nn.Conv2d) and last.bias is not None:
        nn.init.constant_(last.bias, -1.0)
    if input_skip:
        _zero(rgb_head[-1])


def _head(width: int, channels: int, slope: float) -> nn.Sequential:
    return nn.Sequential(
        nn.LeakyReLU(slope),
        nn.Conv2d(width, width, 3, padding=1),
        nn.LeakyReLU(slope),
        nn.Conv2d(width, channels, 1),
    )


def autocast_dtype(device: torch.device) -> torch.dtype | None:
    """Return bfloat16 where the hardware multiplies it natively, else None (stay in float32).

    On processors without AVX-512-BF16 or AMX, emulated bfloat16 is slower than float32.
    """
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else None
    if device.type == "cpu" and torch.ops.mkldnn._is_mkldnn_bf16_supported():
        return torch.bfloat16 if _cpu_multiplies_bf16() else None
    return None


def _cpu_multiplies_bf16() -> bool:
    # torch has no public question for this.
    avx512 = torch.cpu._is_avx512_bf16_supported()  # pyright: ignore[reportPrivateUsage]
    amx = torch.cpu._is_amx_tile_supported()  # pyright: ignore[reportPrivateUsage]
    return bool(avx512 or amx)


def _colour_skip(channels: int) -> nn.Conv2d:
    """Return a convolution that first reads the texture's first three channels as −1…1 colour."""
    skip = nn.Conv2d(channels, 3, 1)
    _zero(skip)
    with torch.no_grad():
        skip.weight[:3, :3, 0, 0] = torch.eye(3) * _BEFORE_TANH
    return skip


def _zero(layer: nn.Module) -> None:
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)
