"""One dresser and everyone's neural textures, trained together, and their running average."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.dresser import Dressed, Dresser, DresserConfig
from models.shell import stacked
from models.texture import MipChain, NeuralTexture, gather_features

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from training.dressing_data import Batch


class DressingModel(nn.Module):
    """R and the textures of several people.

    Args:
        config: of the dresser.
        people: how many textures.
        texture_size: side of their finest level.
        deviation: standard deviation of the textures' first values.
        seed: of all first values.
    """

    def __init__(
        self,
        config: DresserConfig,
        people: int,
        *,
        texture_size: int = 512,
        deviation: float = 0.05,
        seed: int = 0,
    ) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.dresser = Dresser(config)
            self.textures = nn.ModuleList(
                NeuralTexture(config.texture_channels, largest=texture_size, deviation=deviation)
                for _ in range(people)
            )
        self.dresser.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
        for texture in self.each_texture():
            for level in texture.levels:
                # Neighbouring channels are neighbours in memory, as the mip chain wants them.
                level.data = _channels_last(level.data)

    def each_texture(self) -> list[NeuralTexture]:
        """Return the textures, in the order of people."""
        return [cast("NeuralTexture", texture) for texture in self.textures]

    def features(self, batch: Batch) -> Tensor:
        """Return the dresser's input (B, config.channels, H, W) for a batch's crops."""
        chain = assemble_chain([self.each_texture()[person] for person in batch.people])
        which = batch.texture.repeat(batch.layers)
        features = gather_features(batch.samples(), chain, which).features
        if batch.layers > 1:
            features = stacked(features)
        return features.contiguous(memory_format=torch.channels_last)

    def forward(self, batch: Batch) -> Dressed:
        """Dress the crops of a batch."""
        return self.dresser(self.features(batch))

    def mipmap_penalty(self, batch: Batch, *, normalised: bool = True) -> Tensor:
        """Return L_mipmap, averaged over the textures that a batch's crops wear."""
        textures = self.each_texture()
        crops = torch.bincount(batch.texture, minlength=len(batch.people)).tolist()
        penalties = [
            count * textures[person].mipmap_penalty(normalised=normalised)
            for person, count in zip(batch.people, crops, strict=True)
        ]
        return torch.stack(penalties).sum() / len(batch.texture)

    def freeze_statistics(self) -> None:
        """Make batch normalisation use its running statistics, as rendering does."""
        for module in self.dresser.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eval()


def assemble_chain(textures: Sequence[NeuralTexture]) -> MipChain:
    """Return `MipChain.build` of some textures' sums, computed channels_last throughout.

    The same numbers at a fraction of the time: nothing is transposed on the way.
    """
    levels = [
        torch.stack([texture.levels[k].permute(1, 2, 0) for texture in textures])
        for k in range(len(textures[0].levels))
    ]
    total = levels[0].permute(0, 3, 1, 2)
    for level in levels[1:]:
        total = functional.interpolate(total, scale_factor=2, mode="bilinear", align_corners=False)
        total = total + level.permute(0, 3, 1, 2)
    return chain_of(total)


def chain_of(textures: Tensor) -> MipChain:
    """Return `MipChain.build` of textures (T, C, S, S) that are channels_last already."""
    parts = [textures]
    while parts[-1].shape[-1] > 1:
        parts.append(functional.avg_pool2d(parts[-1], 2))
    rows = [part.permute(0, 2, 3, 1).flatten(1, 2) for part in parts]
    table = torch.cat(rows, dim=1).flatten(0, 1)
    return MipChain(table, textures.shape[-1])


@torch.no_grad()
def spread_over_levels(texture: NeuralTexture, image: Tensor, channels: slice) -> None:
    """Set some channels of a texture so that its levels add up to an image exactly.

    Coarse levels take what they can hold and finer ones the rest, as the mip penalty wants it.

    Args:
        texture: changed in place.
        image: (n, S, S), S the texture's size.
        channels: n channels.
    """
    pyramid = [image[None]]
    for _ in list(texture.levels)[1:]:
        pyramid.append(functional.avg_pool2d(pyramid[-1], 2))
    pyramid.reverse()
    texture.levels[0][channels] = pyramid[0][0]
    for level, coarse, fine in zip(
        list(texture.levels)[1:], pyramid[:-1], pyramid[1:], strict=True
    ):
        guess = functional.interpolate(coarse, scale_factor=2, mode="bilinear", align_corners=False)
        level[channels] = (fine - guess)[0]


class RunningAverage:
    """Exponential average of a model's parameters and batch statistics.

    Args:
        model: what is averaged; the average starts as a copy.
        decay: per step.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        self.values = {name: value.detach().clone() for name, value in _floats(model).items()}

    @torch.no_grad()
    def update(self, model: nn.Module, step: int, steps: int) -> None:
        """Take up a model's values.

        Args:
            model: the trained one.
            step: steps made so far; early averages forget sooner.
            steps: since the last update.
        """
        decay = min(self.decay, (1 + step) / (10 + step)) ** steps
        current = _floats(model)
        averages = [self.values[name] for name in current]
        # The fused step is private by name only; Adam's own fast path is built on it.
        torch._foreach_lerp_(  # pyright: ignore[reportPrivateUsage]
            averages, [value.detach() for value in current.values()], 1.0 - decay
        )


def average_state(
    model: Mapping[str, Tensor], average: Mapping[str, Tensor] | None
) -> dict[str, Tensor]:
    """Return a model's state dict with the running average's values where there are any."""
    return {**model, **(average or {})}


def _floats(model: nn.Module) -> dict[str, Tensor]:
    named = dict(model.named_parameters()) | dict(model.named_buffers())
    return {name: value for name, value in named.items() if value.is_floating_point()}


def _channels_last(level: Tensor) -> Tensor:
    return level.permute(1, 2, 0).contiguous().permute(2, 0, 1)
