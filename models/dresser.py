"""The dresser: StylePeople's renderer network R, from a rasterised neural texture to a person.

Source: StylePeople supplementary, section 1.1. A U-Net (segmentation_models_pytorch) takes the
16 sampled texture channels and 2 UV channels and gives 16 channels; two shallow convolutional
heads turn these into RGB and into the foreground, hands and face masks.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import segmentation_models_pytorch as smp
import torch
from torch import Tensor, nn
from torch.nn import functional

from blender_addon.contract.joints import MASK_CHANNELS
from models.shell import LAYERS

if TYPE_CHECKING:
    from collections.abc import Mapping

STRIDE = 32
"""The U-Net halves its input five times: sides must be multiples of this."""

_COLOUR_PARTS = ("skip.", "rgb_head.3.")
"""Of a dresser's state: what an input skip changes the meaning of."""

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
    """

    encoder: str = "resnet18"
    texture_channels: int = 16
    features: int = 16
    head_slope: float = 0.2
    input_skip: bool = True
    shell: bool = True

    @property
    def channels(self) -> int:
        """Of the dresser's input: texture and UV, once or once a layer."""
        return (self.texture_channels + 2) * (LAYERS if self.shell else 1)

    def to_plain(self) -> dict[str, Any]:
        """Return the values for a manifest's architecture."""
        return asdict(self)

    @classmethod
    def from_plain(cls, values: Mapping[str, Any]) -> DresserConfig:
        """Read the values of a manifest's architecture; unknown names are ignored.

        Packages that do not know a skip or a shell have none.
        """
        known: dict[str, Any] = {"input_skip": False, "shell": False, **values}
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
    """

    def __init__(self, config: DresserConfig | None = None) -> None:
        super().__init__()
        self.config = config or DresserConfig()
        width = self.config.features
        self.unet = smp.Unet(
            self.config.encoder,
            encoder_weights=None,
            in_channels=self.config.channels,
            classes=width,
        )
        self.rgb_head = _head(width, 3, self.config.head_slope)
        self.mask_head = _head(width, len(MASK_CHANNELS), self.config.head_slope)
        # Most pixels are background: starting there spares the masks their first steps.
        last = self.mask_head[-1]
        if isinstance(last, nn.Conv2d) and last.bias is not None:
            nn.init.constant_(last.bias, -1.0)
        self.skip: nn.Conv2d | None = None
        if self.config.input_skip:
            self.skip = _colour_skip(self.config.channels)
            _zero(self.rgb_head[-1])

    def forward(self, features: Tensor) -> Dressed:
        """Dress a batch of crops.

        Args:
            features: (B, config.channels, H, W), H and W multiples of `STRIDE`.
        """
        hidden: Tensor = self.unet(features)
        rgb: Tensor = self.rgb_head(hidden)
        if self.skip is not None:
            rgb = rgb + self.skip(features)
        masks: Tensor = self.mask_head(hidden)
        return Dressed(torch.tanh(rgb.float()) * 0.5 + 0.5, torch.sigmoid(masks.float()))


def grown(state: Mapping[str, Tensor], dresser: Dresser) -> dict[str, Tensor]:
    """Return an earlier dresser's state as first values of one with more inputs.

    Args:
        state: of a dresser with or without input skip and shell.
        dresser: what is to be trained; where it has an input skip that the other lacked, the
            skip and the last layer of the RGB head stay its own.

    Returns:
        a state for `dresser.load_state_dict`: layers of the texture's first layer keep their weights,
        those of the shell weigh nothing.
    """
    fresh = dresser.state_dict()
    values = dict(state)
    if dresser.skip is not None and "skip.weight" not in values:
        values |= {name: fresh[name] for name in fresh if name.startswith(_COLOUR_PARTS)}
    for name in values.keys() & fresh.keys():
        missing = fresh[name].shape[1] - values[name].shape[1] if fresh[name].ndim == 4 else 0
        if missing > 0:
            values[name] = functional.pad(values[name], (0, 0, 0, 0, 0, missing))
    return values


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
