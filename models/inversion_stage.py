"""What a fit knows and moves, and a stage of it: what it frees, and its steps of Adam."""

from __future__ import annotations

import copy
import math
from typing import TYPE_CHECKING

import torch

from models.inversion_body import BodyRefinement
from models.inversion_photo import prepare, surface_of
from models.inversion_terms import ImageTerms, mean_deviation
from models.lpips_distance import fit_distance
from models.shell import stacked
from models.texture import MipChain, gather_features
from models.turns import layer_turns
from models.unwrap import UvLayout, averaged, carried_over

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor, nn

    from blender_addon.contract.wardrobe import FitStage
    from models.body import Body
    from models.dresser import Dressed, Dresser
    from models.inversion_photo import FitPhoto, FitTargets
    from models.inversion_recipe import FitRecipe, FitStageRecipe
    from models.surface import SurfaceSamples
    from models.turns import Turn
    from models.unwrap import Unwrapped
    from models.wardrobe import Wardrobe


class FitState:
    """What a fit knows and moves.

    Args:
        wardrobe: the generator, which is copied, its mean w and the face discriminator.
        dresser: R.
        body: of both.
        photos: with their bodies.
        recipe: sizes and distances.
        refine: whether the bodies move.
        turn: called now and then, as of `models.turns.spaced`.

    Attributes:
        w: (1, L, W) styles.
        encoded: those that the fit began with.
        generator: a copy of G.
        noise: its noise tensors.
        texture: (1, C, S, S) what these give, or what became of it.
        groups: the photographs, as they take turns.
    """

    def __init__(
        self,
        wardrobe: Wardrobe,
        dresser: Dresser,
        body: Body,
        photos: Sequence[FitPhoto],
        recipe: FitRecipe,
        *,
        refine: bool,
        turn: Turn,
    ) -> None:
        self.turn = turn
        self.wardrobe, self.dresser, self.body, self.recipe = wardrobe, dresser, body, recipe
        self.photos = tuple(photos)
        config = dresser.config
        self.targets = prepare(photos, body, recipe.size, config.stride * config.upscale)
        turn()
        device = self.targets.K.device
        self.distance = fit_distance(recipe.lpips_trunk).to(device)
        turn()
        each = recipe.at_once or len(self.photos)
        self.groups = [
            Group(self.targets.some(first, first + each), first, dresser, body)
            for first in range(0, len(self.photos), each)
        ]
        turn()
        for group in self.groups:
            with layer_turns(turn, self.distance, wardrobe.face):
                group.terms = ImageTerms(
                    self.distance, wardrobe.face, recipe.face_size, group.targets
                )
        self.refinement = BodyRefinement(self.photos, body) if refine else None
        self.generator = copy.deepcopy(wardrobe.generator).requires_grad_(requires_grad=False)
        self.noise = [each.clone() for each in self.generator.noise()]
        self.w = wardrobe.mean_w.clone()[None]
        self.texture = self.w.new_zeros(())
        self.encoded = self.w

    def networks(self) -> list[nn.Module | None]:
        """Return all networks that a fit runs."""
        known = self.wardrobe
        return [self.generator, self.dresser, self.distance, known.encoder, known.face]

    def dress(self, texture: Tensor, group: Group, samples: SurfaceSamples) -> Dressed:
        """Render a texture (1, C, S, S) as a group of photographs would show it."""
        given = gather_features(samples, MipChain.build(texture))
        features = given.features
        if self.dresser.config.shell:
            features = stacked(features)
        features = features.contiguous(memory_format=torch.channels_last)
        return self.dresser(features, given.coverage[: group.targets.shape[0]])

    def unwrapped(self) -> tuple[UvLayout, Unwrapped]:
        """Return what the photographs show of the texture."""
        layout = UvLayout.of(self.body, self.texture.shape[-1])
        views: list[Unwrapped] = []
        for number in range(self.targets.shape[0]):
            self.turn()
            views += self.targets.some(number, number + 1).unwrapped(layout)
        return layout, averaged(views)


class Group:
    """Photographs that are compared in one step."""

    terms: ImageTerms

    def __init__(self, targets: FitTargets, first: int, dresser: Dresser, body: Body) -> None:
        self.targets = targets
        self.rows = slice(first, first + targets.shape[0])
        self.samples = surface_of(
            targets.vertices, targets.K, body, dresser.config, targets.shape[-1]
        )


class Stage:
    """One stage: what it frees, and its steps of Adam."""

    def __init__(self, fit: FitState, name: FitStage, settings: FitStageRecipe) -> None:
        self.fit, self.name, self.settings = fit, name, settings
        self.painted: Tensor | None = None
        self.base, self.moves = fit.texture, torch.ones(())
        with torch.inference_mode(mode=False):
            if name == "texture":
                self._start_texture()
            self.free = self._freed()
            self.start = [each.detach().clone() for each in self.free]
        groups: list[dict[str, object]] = [{"params": self.free, "lr": settings.rate}]
        self.optimiser = torch.optim.Adam(groups)
        self.body_optimiser: torch.optim.Adam | None = None
        if fit.refinement is not None:
            self.body_optimiser = torch.optim.Adam(
                fit.refinement.parameters(), fit.recipe.refine_rate
            )

    def look(self, group: Group, number: int) -> tuple[Tensor, dict[str, float]]:
        """Paint, compare, and differentiate down to the texture and what moves by itself.

        Returns:
            the texture with its gradient, and the losses' values.
        """
        fit, settings = self.fit, self.settings
        turn = number / max(settings.iterations - 1, 1)
        fall = 0.5 * (1.0 + math.cos(math.pi * turn))
        rate = settings.rate * (settings.final_rate + (1.0 - settings.final_rate) * fall)
        self.optimiser.param_groups[0]["lr"] = rate
        self.optimiser.zero_grad(set_to_none=True)
        with torch.inference_mode(mode=False), torch.enable_grad():
            leaf = self._paint()
            samples = group.samples
            if fit.refinement is not None:
                samples = fit.refinement.samples(
                    group.targets, group.rows, fit.body, fit.dresser.config
                )
            dressed = fit.dress(leaf, group, samples)
            parts = group.terms.losses(dressed, settings)
            parts |= self._deviations()
            weights = {name: getattr(settings, name) for name in parts}
            if fit.refinement is not None:
                parts["refinement"] = fit.refinement.prior()
                weights["refinement"] = fit.recipe.refine_prior
            loss = torch.stack([weights[name] * part for name, part in parts.items()]).sum()
            if loss.requires_grad:
                loss.backward()
        values = {name: float(part.detach()) for name, part in parts.items()}
        return leaf, values | {"loss": float(loss.detach())}

    def learn(self, leaf: Tensor) -> None:
        """Carry the texture's gradient on to what the stage moves, and move it."""
        fit = self.fit
        if self.painted is not None and leaf.grad is not None:
            with torch.inference_mode(mode=False), torch.enable_grad():
                self.painted.backward(leaf.grad)
        self.optimiser.step()
        if self.body_optimiser is not None:
            self.body_optimiser.step()
            self.body_optimiser.zero_grad(set_to_none=True)
        fit.texture = leaf.detach()

    @torch.no_grad()
    def finish(self) -> None:
        """Let go of what was free; the texture is what it now gives."""
        fit = self.fit
        for each in self.free:
            each.requires_grad = False
            each.grad = None
        with torch.inference_mode(mode=False):
            fit.texture = self._texture().detach()
        if fit.refinement is not None:
            for group in fit.groups:
                group.samples = fit.refinement.samples(
                    group.targets, group.rows, fit.body, fit.dresser.config
                )

    def _paint(self) -> Tensor:
        """Return the texture as a leaf; what lies behind it waits in `painted`."""
        painted = self._texture()
        self.painted = painted
        return painted.detach().requires_grad_()

    def _deviations(self) -> dict[str, Tensor]:
        settings, fit = self.settings, self.fit
        parts: dict[str, Tensor] = {}
        if settings.encoder_deviation and self.name == "w":
            parts["encoder_deviation"] = mean_deviation([fit.w], [fit.encoded])
        if settings.generator_deviation and self.name == "generator":
            parts["generator_deviation"] = mean_deviation(self.free, self.start)
        if settings.texture_deviation and self.name == "texture":
            parts["texture_deviation"] = mean_deviation(self.free, self.start)
        return parts

    def _freed(self) -> list[Tensor]:
        fit = self.fit
        if self.name == "w":
            fit.w = fit.w.detach().clone()
            free = [fit.w]
        elif self.name == "generator":
            # h_ψ paints; what maps z to w stays.
            free = [
                parameter
                for name, parameter in fit.generator.named_parameters()
                if not name.startswith("mapping_network.")
            ]
        elif self.name == "noise":
            free = fit.noise
        else:
            free = [torch.zeros_like(self.base)]
        return [each.requires_grad_() for each in free]

    def _texture(self) -> Tensor:
        """Return the texture (1, C, S, S) of what the stage moves, and of all else."""
        if self.name == "texture":
            return self.base + self.moves * self.free[0]
        return self.fit.generator(self.fit.w, self.fit.noise)

    @torch.no_grad()
    def _start_texture(self) -> None:
        """Let the texture show what the photographs do, and move where they see, as the recipe says."""
        fit, recipe = self.fit, self.fit.recipe
        if recipe.unwrapped or recipe.seen:
            layout, view = fit.unwrapped()
            fit.turn()
            colours = carried_over(layout, fit.texture[0, :3], view, recipe.unwrapped)
            fit.texture = torch.cat([colours[None], fit.texture[:, 3:]], dim=1)
            self.moves = torch.lerp(torch.ones_like(view.visibility), view.visibility, recipe.seen)
        self.base = fit.texture.detach().clone()
