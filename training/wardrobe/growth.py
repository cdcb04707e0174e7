"""Networks that grow in place from 256² to 512²: new layers are faded in (Karras et al. 2018).

G stays as it is. R's part is `models.dresser.Dresser` with `upscale` and `fade`; here are the
discriminators, which get a block in front.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional

from models.dresser import grown
from models.stylegan2 import EqualConv2d, activate
from models.stylegan2_discriminator import Discriminator, DiscriminatorConfig, minibatch_deviation

if TYPE_CHECKING:
    from collections.abc import Mapping

    from models.dresser import Dresser

_BLOCKS = "unet.decoder.blocks."


class GrowingDiscriminator(Discriminator):
    """StyleGAN2's discriminator, whose first block may still be on its way in.

    Attributes:
        fade: share of the first block, 0…1; the rest sees images of half the size as before.
        earlier: the colour layer of the smaller discriminator, once it has grown.
    """

    def __init__(self, config: DiscriminatorConfig | None = None) -> None:
        super().__init__(config)
        self.fade = 1.0
        self.earlier: EqualConv2d | None = None

    def grow(self, state: Mapping[str, Tensor]) -> bool:
        """Take over a discriminator of the same size or of half of it.

        Args:
            state: of the other.

        Returns:
            whether it was the smaller one, so that the first block must be faded in.

        Raises:
            RuntimeError: it is of another architecture.
        """
        mine = _count_blocks(self.state_dict())
        if _count_blocks(state) == mine:
            self.expect(state, "")
            self.load_state_dict(dict(state))
            return False
        values = self.state_dict()
        for name, value in state.items():
            if name.startswith(("from_colour.", "earlier.")):
                continue
            values[_moved(name, "blocks.", 1)] = value
        self.load_state_dict(values)
        self.earlier = self._colour_layer()
        self.earlier.load_state_dict(
            {
                name.removeprefix("from_colour."): value
                for name, value in state.items()
                if name.startswith("from_colour.")
            }
        )
        self.fade = 0.0
        return True

    def _colour_layer(self) -> EqualConv2d:
        config = self.config
        layer = EqualConv2d(config.channels, config.width(config.size // 2), 1)
        return layer.to(self.from_colour.weight.device)

    def expect(self, state: Mapping[str, Tensor], prefix: str) -> None:
        """Make room for a state of a discriminator that has grown."""
        if any(name.startswith(f"{prefix}earlier.") for name in state) and self.earlier is None:
            self.earlier = self._colour_layer()

    def forward(self, images: Tensor) -> Tensor:
        """Return unbounded scores (B, 1) of images (B, channels, size, size), −1…1."""
        if self.earlier is None or self.fade >= 1.0:
            return super().forward(images)
        images = images.contiguous(memory_format=torch.channels_last)
        first, *others = self.blocks
        x = first(activate(self.from_colour(images)))
        before = activate(self.earlier(functional.avg_pool2d(images, 2)))
        x = before.lerp(x, self.fade)
        for block in others:
            x = block(x)
        deviation = minibatch_deviation(x, self.config.group)
        x = activate(self.last(torch.cat([x, deviation], dim=1)))
        return self.score(activate(self.hidden(x.flatten(1).float())))


def _count_blocks(state: Mapping[str, Tensor]) -> int:
    return len({name.split(".")[1] for name in state if name.startswith("blocks.")})


def first_values(target: Dresser, source: Dresser) -> dict[str, Tensor]:
    """Return a dresser's own state with another's values wherever names and shapes agree.

    A deeper source gives its decoder's last blocks, which work at the same distance from the output.
    """
    own = grown(source.state_dict(), target)
    skipped = source.config.depth - target.config.depth
    values = target.state_dict()
    for name, value in own.items():
        own_name = _moved(name, _BLOCKS, -skipped)
        if own_name in values and values[own_name].shape == value.shape:
            values[own_name] = value
    return values


def _moved(name: str, prefix: str, by: int) -> str:
    """Return the name of a numbered block's parameter with its number moved; others as they are."""
    if not name.startswith(prefix):
        return name
    number, _, rest = name.removeprefix(prefix).partition(".")
    return f"{prefix}{int(number) + by}.{rest}"
