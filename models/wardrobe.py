"""The wardrobe: people by chance, between others, and along what makes people differ.

A person is a style w for each layer of the texture generator, (L, W), and what their texture has
beyond G(w), if anything: fits put their last details there. Blends keep that in proportion.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import torch

from blender_addon.contract.avatar_look import DEFAULT_TRUNCATION
from blender_addon.contract.errors import BadParameter

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from torch import Tensor

    from models.package import Manifest
    from models.photo_encoder import PhotoEncoder
    from models.stylegan2_discriminator import Discriminator
    from models.texture_generator import TextureGenerator

Prior = Literal["gaussian", "kernel", "mapping"]
"""Where drawn people come from: a Gaussian over styles, near one of a bank of people, or from z."""

SUM_TOLERANCE = 1e-3
"""How far the weights of a blend may be from adding up to 1."""


@dataclass(frozen=True)
class WardrobeSpace:
    """Mean and principal directions of styles, and where drawn people lie among them.

    A Gaussian with the styles' covariance draws from between all people: who has neither trousers nor
    bare legs gets something of both. With a bank, people are drawn near somebody of it: by a kernel
    density whose mean and covariance are the Gaussian's still (the smoothed bootstrap of Silverman
    1986, section 6.4).

    Attributes:
        mean: (1 or L, W) float32; one for all layers, or one for each.
        axes: (K, 1 or L, W) float32 of unit length, by falling spread.
        spreads: (K,) float32 standard deviation along each.
        names: of the first directions, by what they do.
        bank: (N, 1 or L, W) float32 styles that people are drawn near to; None for the Gaussian.
        bandwidth: with a bank, the share of the Gaussian in a drawn style, 0…1: 0 copies the bank's
            people, 1 is the Gaussian.
    """

    mean: Tensor
    axes: Tensor
    spreads: Tensor
    names: tuple[str, ...] = ()
    bank: Tensor | None = None
    bandwidth: float = 1.0

    @classmethod
    def of(cls, codes: Tensor, most: int | None = None, names: Sequence[str] = ()) -> WardrobeSpace:
        """Return the space that styles span.

        Args:
            codes: (N, W) or (N, L, W), N ≥ 2.
            most: directions that are kept, at most; all when omitted.
            names: of the first directions.
        """
        if len(codes) < 2:
            raise BadParameter("a space of styles needs those of at least two people")
        codes = codes.detach().float()
        codes = codes[:, None] if codes.ndim == 2 else codes
        mean = codes.mean(dim=0)
        _, values, axes = torch.linalg.svd((codes - mean).flatten(1), full_matrices=False)
        # The last one is rounding: N people differ in N − 1 directions.
        count = min(most or len(codes), len(codes) - 1, len(values))
        axes, values = axes[:count], values[:count]
        # The largest entry of each is positive: the same directions on every run.
        peaks = axes.gather(1, axes.abs().argmax(dim=1, keepdim=True))
        axes = (axes * peaks.sign()).view(count, *mean.shape)
        return cls(mean, axes, values / (len(codes) - 1) ** 0.5, tuple(names))

    def draw(self, random: torch.Generator) -> Tensor:
        """Return how far somebody by chance is from the mean, (1 or L, W)."""
        amounts = torch.randn(len(self.spreads), generator=random).to(self.mean.device)
        offset = torch.einsum("k,klw->lw", amounts * self.spreads, self.axes)
        if self.bank is None:
            return offset
        near = self.bank[int(torch.randint(len(self.bank), (), generator=random))]
        return drawn_near(near - self.mean, offset, self.bandwidth)

    def moved(self, amounts: Iterable[tuple[int, float]]) -> Tensor:
        """Return the step (1 or L, W) that goes along directions.

        Args:
            amounts: index of a direction, and how far in standard deviations.

        Raises:
            BadParameter: there is no such direction.
        """
        step = torch.zeros_like(self.mean)
        for index, amount in amounts:
            if not 0 <= index < len(self.axes):
                raise BadParameter(
                    f"the wardrobe has no direction {index}",
                    f"it has {len(self.axes)}, from 0 on",
                    field="directions",
                )
            step = step + amount * self.spreads[index] * self.axes[index]
        return step


def drawn_near(person: Tensor, other: Tensor, bandwidth: float) -> Tensor:
    """Return a style near a person's, both as ways from the mean; their covariance is kept.

    Args:
        person: (…, W) of somebody who exists.
        other: (…, W) of the Gaussian with the people's covariance.
        bandwidth: the Gaussian's share, 0…1.
    """
    return (1.0 - bandwidth**2) ** 0.5 * person + bandwidth * other


@dataclass(frozen=True)
class Appearance:
    """A person of the wardrobe: where a texture comes from.

    Attributes:
        w: (L, W) float32.
        texture: (C, S, S) float32, or None where it is G(w).
        beyond: texture − G(w), or None where that is nothing.
    """

    w: Tensor
    texture: Tensor | None = None
    beyond: Tensor | None = None


class Wardrobe:
    """A loaded wardrobe.

    Args:
        manifest: of its package.
        generator: G, in evaluation mode and without gradients.
        space: mean and directions of its styles.
        prior: where drawn people come from.
        encoder: photographs to styles, if it has one.
        face: the face discriminator whose features fits match, if it has one.
        digest: of the package's content.
    """

    def __init__(
        self,
        manifest: Manifest,
        generator: TextureGenerator,
        space: WardrobeSpace,
        *,
        prior: Prior = "gaussian",
        encoder: PhotoEncoder | None = None,
        face: Discriminator | None = None,
        digest: str = "",
    ) -> None:
        self.manifest = manifest
        self.generator = generator
        self.space = space
        self.prior: Prior = prior
        self.encoder = encoder
        self.face = face
        self.digest = digest
        self.mean_w = self._layered(space.mean)

    @classmethod
    def load(cls, library: Path | Sequence[Path], wardrobe: str, device: str = "cpu") -> Wardrobe:
        """Load a package; see `models.wardrobe_package.load_wardrobe`."""
        from models.wardrobe_package import load_wardrobe

        return load_wardrobe(library, wardrobe, device)

    @property
    def id(self) -> str:
        """Of the package."""
        return self.manifest.id

    @property
    def directions(self) -> tuple[str, ...]:
        """Names of the directions that have one."""
        return self.space.names

    @torch.no_grad()
    def draw(self, seed: int, truncation: float = DEFAULT_TRUNCATION) -> Tensor:
        """Return the styles (L, W) of somebody; the same seed gives the same person.

        Args:
            seed: of the random numbers.
            truncation: how far from the mean: 1 as drawn, 0 the mean person.
        """
        random = torch.Generator().manual_seed(seed)
        mean = self.space.mean
        if self.prior == "mapping":
            z = torch.randn(1, self.generator.config.code, generator=random)
            offset = self.generator.mapping(z.to(mean.device)) - mean
        else:
            offset = self.space.draw(random)
        return self._layered(mean + truncation * offset)

    def direction(self, index: int, amount: float) -> Tensor:
        """Return the step (L, W) along a direction, `amount` standard deviations far.

        Raises:
            BadParameter: there is no such direction.
        """
        return self._layered(self.space.moved([(index, amount)]))

    @torch.no_grad()
    def texture(self, w: Tensor, noise: Sequence[Tensor] | None = None) -> Tensor:
        """Return G(w), (C, S, S) float32.

        Args:
            w: (L, W), or (W,) for all layers.
            noise: see `TextureGenerator.forward`.
        """
        return self.generator(self._layered(w.expand(1, -1) if w.ndim == 1 else w)[None], noise)[0]

    def interpolate(self, one: Tensor, other: Tensor, amount: float) -> Tensor:
        """Return styles between two people (L, W): 0 is the one, 1 the other."""
        return torch.lerp(one, other, amount)

    def appearance(self, texture: Tensor, w: Tensor | None = None) -> Appearance:
        """Return an avatar as something that can be blended.

        Args:
            texture: (C, S, S) of an avatar that wears the wardrobe's dresser.
            w: (L, W) of its package; avatars without are taken to be beyond the mean person.

        Raises:
            BadParameter: texture or styles are of another size.
        """
        w = self.mean_w if w is None else w.to(self.mean_w)
        c = self.generator.config
        if w.shape != self.mean_w.shape or texture.shape != (c.channels, c.size, c.size):
            raise BadParameter(
                f"a texture of the shape {tuple(texture.shape)} with styles {tuple(w.shape)} is "
                f"not of the wardrobe {self.id!r}: {(c.channels, c.size, c.size)} with "
                f"{tuple(self.mean_w.shape)}",
                "blend people of one wardrobe",
            )
        texture = texture.to(self.mean_w.device).float()
        return Appearance(w, texture, texture - self.texture(w))

    def avatar_texture(
        self,
        people: Sequence[tuple[Appearance, float]],
        directions: Iterable[tuple[int, float]] = (),
    ) -> tuple[Tensor, Tensor]:
        """Blend people: G(Σ aᵢ wᵢ + directions) + Σ aᵢ (Tᵢ − G(wᵢ)).

        Args:
            people: with weights aᵢ that add up to 1.
            directions: index and amount in standard deviations, see `WardrobeSpace.moved`.

        Returns:
            the texture (C, S, S) and its styles (L, W). One person alone, where no direction
            is taken, keeps exactly what they have.

        Raises:
            BadParameter: the weights do not add up to 1, or there is no such direction.
        """
        total = sum(weight for _, weight in people)
        if abs(total - 1.0) > SUM_TOLERANCE:
            raise BadParameter(
                f"the weights of a blend add up to {total:.4g}, not to 1",
                "divide them by their sum",
            )
        step = self.space.moved(directions)
        worn = [(person, weight) for person, weight in people if weight != 0.0]
        alone = worn[0][0] if len(worn) == 1 and not bool(step.any()) else None
        if alone is not None and alone.texture is not None:
            return alone.texture, alone.w
        w = torch.stack([weight * person.w for person, weight in worn]).sum(dim=0)
        w = w + step
        texture = self.texture(w)
        for person, weight in worn:
            if person.beyond is not None:
                texture = texture + weight * person.beyond
        return texture, w

    def _layered(self, w: Tensor) -> Tensor:
        """Return (L, W) of (1 or L, W)."""
        return w.expand(self.generator.config.layers, -1)
