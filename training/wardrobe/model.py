"""G, R and the training people's codes: what is learnt, averaged and exported."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple, cast

import torch
from torch import Tensor, nn

from models.dresser import Dressed, Dresser
from models.shell import stacked
from models.texture import gather_features
from models.texture_generator import TextureGenerator
from models.wardrobe import drawn_near
from training.dressing_model import chain_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from models.stylegan2 import ToColour
    from training.wardrobe.data import Batch
    from training.wardrobe.recipe import WardrobeRecipe


class WardrobeModel(nn.Module):
    """Generator, dresser and one code a training person.

    Args:
        recipe: sizes, and how first values are drawn.
        people: how many codes.
        spectral: maps of the body, see `TextureGenerator`.
    """

    def __init__(
        self, recipe: WardrobeRecipe, people: int, spectral: Sequence[Tensor] | None
    ) -> None:
        super().__init__()
        self.settings = recipe.codes
        with torch.random.fork_rng():
            torch.manual_seed(recipe.seed)
            self.generator = TextureGenerator(recipe.generator, spectral)
            self.dresser = Dresser(recipe.dresser)
            if recipe.optimiser.equalised:
                equalise(self.dresser)
            with torch.no_grad():
                for block in self.generator.blocks:
                    cast("ToColour", block.colour).conv.weight.mul_(recipe.optimiser.first_colours)
            codes = torch.randn(people, recipe.generator.style) * recipe.codes.deviation
        self.codes = nn.Parameter(codes)
        self.generator.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
        self.dresser.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]

    def textures(self, w: Tensor, until: int | None = None) -> Tensor:
        """Return textures (P, C, S, S) of styles (P, style) or (P, layers, style).

        Args:
            w: styles.
            until: stop at this resolution, see `TextureGenerator.forward`.
        """
        return self.generator(self.generator.spread(w), until=until)

    def features(self, textures: Tensor, batch: Batch, which: Tensor | None = None) -> Rendered:
        """Look textures up where a batch's images show the body.

        Args:
            textures: (P, C, S, S).
            batch: where.
            which: (B,) int64 texture of each image; that of the frame's own person when omitted.
        """
        worn = (batch.texture if which is None else which).repeat(batch.layers)
        given = gather_features(batch.samples, chain_of(textures), worn)
        coverage = given.coverage[: batch.shape[0]]
        features = stacked(given.features) if batch.layers > 1 else given.features
        return Rendered(features.contiguous(memory_format=torch.channels_last), coverage)

    def dress(self, rendered: Rendered, batch: Batch) -> Dressed:
        """Dress rendered textures; masks are 0 where a pixel lies outside the captured frame."""
        dressed = self.dresser(rendered.features, rendered.coverage)
        return Dressed(dressed.rgb, dressed.masks * batch.captured)

    def draw(self, count: int, generator: torch.Generator) -> Tensor:
        """Draw codes (count, style) from the Gaussian that the people's codes span, or near them.

        Mean and covariance are those of the codes as they are now; no matrix is factorised. With the
        prior "kernel" each is near the code of somebody, see `models.wardrobe.WardrobeSpace`.
        """
        mean = self.codes.mean(dim=0)
        offsets = self.codes - mean
        spread = offsets / math.sqrt(max(len(self.codes) - 1, 1))
        weights = torch.randn(count, len(self.codes), generator=generator)
        drawn = weights.to(mean.device) @ spread
        if self.settings.prior == "kernel":
            near = torch.randint(len(offsets), (count,), generator=generator)
            drawn = drawn_near(offsets[near.to(mean.device)], drawn, self.settings.bandwidth)
        return mean + drawn

    def freeze_statistics(self) -> None:
        """Make R's batch normalisation use its running statistics, as rendering does."""
        for module in self.dresser.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eval()


class Rendered(NamedTuple):
    """The dresser's input.

    Attributes:
        features: (B, channels, h, w) float32.
        coverage: (B, 1, h, w) float32: how much of a pixel the body (without its shell) covers.
    """

    features: Tensor
    coverage: Tensor


def equalise(network: nn.Module) -> None:
    """Give convolutions the first values of equalised learning rates: N(0, 1 / fan-in).

    An equalised layer learns Ŵ ~ N(0, 1) and uses W = Ŵ / √fan-in. Adam's steps do not depend on
    the gradient's scale, so W moves by rate / √fan-in: `equalised_groups` gives W that rate
    directly, and the network stays an ordinary one. Layers that start at 0 stay there.

    Source: Karras et al. 2018, section 4.1.
    """
    for name, module in network.named_modules():
        # The input skip starts as the colour that it lets through.
        if isinstance(module, nn.Conv2d) and name != "skip" and bool(module.weight.any()):
            nn.init.normal_(module.weight, 0.0, 1.0 / math.sqrt(module.weight[0].numel()))


def equalised_groups(
    network: nn.Module, *, equalised: bool
) -> list[tuple[float, list[nn.Parameter]]]:
    """Return a network's parameters by the factor of their learning rate; see `equalise`."""
    groups: dict[float, list[nn.Parameter]] = {}
    for parameter in network.parameters():
        is_kernel = parameter.ndim == 4
        gain = 1.0 / math.sqrt(parameter[0].numel()) if equalised and is_kernel else 1.0
        groups.setdefault(gain, []).append(parameter)
    return sorted(groups.items(), key=lambda group: -group[0])
