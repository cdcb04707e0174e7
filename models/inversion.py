"""Photographs become an avatar of the wardrobe: the encoder, then four stages of optimisation.

    photographs ─► encoder ─► w ─► generator's parameters ─► noise tensors ─► texture

Each stage moves one thing and keeps what the earlier ones found (StylePeople supplementary, section
4.2 and Table 3). `fit_avatar` is a generator of small steps, so that a worker serves others meanwhile
and a fit can be given up between any two of them.
"""

from __future__ import annotations

import copy
import math
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from blender_addon.contract.errors import BadParameter
from models.inversion_body import BodyRefinement
from models.inversion_photo import FitPhoto, FitTargets, prepare, surface_of
from models.inversion_recipe import CPU_FIT, OPTIMISED_STAGES, FitRecipe, FitStageRecipe
from models.inversion_terms import ImageTerms, mean_deviation, over_grey
from models.lpips_distance import fit_distance
from models.shell import stacked
from models.texture import MipChain, gather_features
from models.unwrap import UvLayout, averaged, carried_over

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from blender_addon.contract.operations import PosedBody
    from blender_addon.contract.wardrobe import FitStage
    from models.body import Body
    from models.dresser import Dressed, Dresser
    from models.surface import SurfaceSamples
    from models.unwrap import Unwrapped
    from models.wardrobe import Wardrobe

__all__ = ["FitPhoto", "FitProgress", "FitRecipe", "FittedAvatar", "StageFigures", "fit_avatar"]

LOOK_EVERY = 10
"""Steps between previews."""
SMALL = 256
"""Most pixels of each side of a preview's pictures."""


@dataclass(frozen=True)
class StageFigures:
    """What a stage came to, on the photographs.

    Attributes:
        distance: LPIPS or the offline distance over grey.
        mse: mean squared error of colour over grey.
        seconds: that it took.
    """

    distance: float
    mse: float
    seconds: float


@dataclass(frozen=True)
class FitProgress:
    """Where a fit stands.

    Attributes:
        stage: of `contract.wardrobe.FIT_STAGES`.
        iteration: steps made of this stage.
        iterations: that it has.
        share: of the whole fit, 0…1.
        losses: of the last step by name, "loss" their weighted sum.
        preview: (2 h, n · h, 3) uint8 now and then and at the end of each stage: the photographs,
            and below them the avatar.
    """

    stage: FitStage
    iteration: int
    iterations: int
    share: float
    losses: dict[str, float] = field(default_factory=dict[str, float])
    preview: NDArray[np.uint8] | None = None


@dataclass(frozen=True, kw_only=True)
class FittedAvatar:
    """A fit's result.

    Attributes:
        w: (L, W) float32.
        texture: (C, S, S) float32.
        betas: (n,) float32 shape.
        bodies: pose of each photograph, as given or refined.
        figures: by stage, "encoder" first, in the order in which they ran.
        textures: by stage, the texture as it was at its end.
    """

    w: Tensor
    texture: Tensor
    betas: NDArray[np.float32]
    bodies: tuple[PosedBody, ...]
    figures: dict[str, StageFigures]
    textures: dict[str, Tensor]


def fit_avatar(
    wardrobe: Wardrobe,
    dresser: Dresser,
    body: Body,
    photos: Sequence[FitPhoto],
    recipe: FitRecipe = CPU_FIT,
    *,
    stages: Sequence[FitStage] = OPTIMISED_STAGES,
    refine: bool = False,
    previews: bool = True,
    stop: Callable[[], bool] | None = None,
) -> Generator[FitProgress, None, FittedAvatar]:
    """Fit an avatar to photographs of one person, step by step.

    Args:
        wardrobe: the generator, its mean w, the encoder and the face discriminator, if any; it
            stays as it is.
        dresser: R, which stays as it is.
        body: the body that both were made for.
        photos: with their bodies and cameras.
        recipe: what the stages are.
        stages: which of `OPTIMISED_STAGES` are run; they run in this order.
        refine: whether the bodies' shape and pose move, too.
        previews: whether pictures are made.
        stop: asked before every step; once true, the rest is left out and what was found so far
            is the result.

    Yields:
        where the fit stands; twice a step, of which one is the half-way. The same input gives the
        same fit.

    Returns:
        the fitted avatar, as the generator's value.

    Raises:
        BadParameter: a photograph does not fit its camera, or a stage has no such name.
    """
    unknown = [name for name in stages if name not in OPTIMISED_STAGES]
    if unknown:
        raise BadParameter(
            f"there is no stage {unknown[0]!r}", f"one of {', '.join(OPTIMISED_STAGES)}"
        )
    # Plain tensors, whatever the caller's mode: the stages differentiate through them.
    with torch.inference_mode(mode=False):
        fit = _Fit(wardrobe, dresser, body, photos, recipe, refine=refine, previews=previews)
    chosen: list[FitStage] = [name for name in OPTIMISED_STAGES if name in stages]
    total = sum(recipe.stage(name).iterations for name in chosen) + 1
    done = 1
    yield fit.begin(done / total)
    for name in chosen:
        settings = recipe.stage(name)
        if settings.iterations and not (stop and stop()):
            yield from fit.run(name, settings, done / total, 1 / total, stop)
        done += settings.iterations
    return fit.result()


class _Fit:
    """What a fit knows and moves."""

    def __init__(
        self,
        wardrobe: Wardrobe,
        dresser: Dresser,
        body: Body,
        photos: Sequence[FitPhoto],
        recipe: FitRecipe,
        *,
        refine: bool,
        previews: bool,
    ) -> None:
        self.wardrobe, self.dresser, self.body, self.recipe = wardrobe, dresser, body, recipe
        self.photos = tuple(photos)
        self.previews = previews
        config = dresser.config
        self.targets = prepare(photos, body, recipe.size, config.stride * config.upscale)
        device = self.targets.K.device
        distance = fit_distance(recipe.lpips_trunk).to(device)
        each = recipe.at_once or len(self.photos)
        self.groups = [
            _Group(self.targets.some(first, first + each), first, dresser, body)
            for first in range(0, len(self.photos), each)
        ]
        for group in self.groups:
            group.terms = ImageTerms(distance, wardrobe.face, recipe.face_size, group.targets)
        self.refinement = BodyRefinement(self.photos, body) if refine else None
        self.generator = copy.deepcopy(wardrobe.generator).requires_grad_(requires_grad=False)
        self.noise = [each.clone() for each in self.generator.noise()]
        self.w = wardrobe.mean_w.clone()[None]
        self.texture = self.w.new_zeros(())
        self.encoded = self.w
        self.figures: dict[str, StageFigures] = {}
        self.textures: dict[str, Tensor] = {}

    def begin(self, share: float) -> FitProgress:
        """Read the first w from the photographs; without an encoder it is the mean person's."""
        started = time.monotonic()
        encoder = self.wardrobe.encoder
        with torch.inference_mode(mode=False), torch.no_grad():
            if encoder is not None:
                each = [encoder(image) for image in self._encoder_images()]
                self.w = torch.cat(each).mean(dim=0, keepdim=True).clone()
            self.encoded = self.w
            self.texture = self.generator(self.w, self.noise)
        return self._finish("encoder", 1, share, started)

    def run(
        self,
        name: FitStage,
        settings: FitStageRecipe,
        first: float,
        step_share: float,
        stop: Callable[[], bool] | None,
    ) -> Iterator[FitProgress]:
        """Run a stage."""
        started = time.monotonic()
        stage = _Stage(self, name, settings)
        losses: dict[str, float] = {}
        made = 0
        for number in range(settings.iterations):
            if stop and stop():
                break
            group = self.groups[number % len(self.groups)]
            share = first + number * step_share
            leaf, losses = stage.look(group, number)
            yield FitProgress(name, number, settings.iterations, share, losses)
            stage.learn(leaf)
            made = number + 1
            preview = self._preview() if self._shows(number) else None
            share = first + made * step_share
            yield FitProgress(name, made, settings.iterations, share, losses, preview)
        stage.finish()
        end = self._finish(name, made, first + settings.iterations * step_share, started)
        yield FitProgress(name, made, settings.iterations, end.share, losses, end.preview)

    def result(self) -> FittedAvatar:
        """Return what has been found."""
        bodies = tuple(photo.body for photo in self.photos)
        if self.refinement is not None:
            bodies = self.refinement.bodies()
        return FittedAvatar(
            w=self.w[0].detach().clone(),
            texture=self.texture[0].detach().clone(),
            betas=bodies[0].betas,
            bodies=bodies,
            figures=self.figures,
            textures=self.textures,
        )

    def dress(self, texture: Tensor, group: _Group, samples: SurfaceSamples) -> Dressed:
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
        return layout, averaged(self.targets.unwrapped(layout))

    def _encoder_images(self) -> Iterator[Tensor]:
        """Return each photograph (1, 4, S, S) as the encoder reads it."""
        encoder = self.wardrobe.encoder
        if encoder is None:
            return
        config = encoder.config
        if config.reads == "unwrapped":
            layout = UvLayout.of(self.body, config.size)
            yield from (view.stacked()[None] for view in self.targets.unwrapped(layout))
            return
        yield from photo_images(self.targets, config.size).split(1)

    def _shows(self, number: int) -> bool:
        return self.previews and (number + 1) % LOOK_EVERY == 0

    @torch.no_grad()
    def _finish(self, name: FitStage, made: int, share: float, started: float) -> FitProgress:
        shown = [self.dress(self.texture, group, group.samples) for group in self.groups]
        known = [
            group.terms.figures(dressed) for group, dressed in zip(self.groups, shown, strict=True)
        ]
        sizes = [group.targets.shape[0] for group in self.groups]
        means = {
            key: sum(n * each[key] for n, each in zip(sizes, known, strict=True)) / sum(sizes)
            for key in ("distance", "mse")
        }
        seconds = time.monotonic() - started
        self.figures[name] = StageFigures(means["distance"], means["mse"], seconds)
        self.textures[name] = self.texture[0].detach().clone()
        preview = self._picture(torch.cat([over_grey(each) for each in shown]))
        return FitProgress(name, made, made, share, means, preview if self.previews else None)

    @torch.no_grad()
    def _preview(self) -> NDArray[np.uint8]:
        shown = [over_grey(self.dress(self.texture, each, each.samples)) for each in self.groups]
        return self._picture(torch.cat(shown))

    def _picture(self, own: Tensor) -> NDArray[np.uint8]:
        both = torch.stack([torch.cat([g.terms.image for g in self.groups]), own.detach()])
        rows = torch.cat([torch.cat(list(row), dim=2) for row in both], dim=1)
        step = -(-self.recipe.size // SMALL)
        if step > 1:
            rows = torch.nn.functional.avg_pool2d(rows, step)
        pixels = (rows.clamp(0, 1) * 255.0 + 0.5).to(torch.uint8)
        return pixels.permute(1, 2, 0).contiguous().cpu().numpy()


class _Group:
    """Photographs that are compared in one step."""

    terms: ImageTerms

    def __init__(self, targets: FitTargets, first: int, dresser: Dresser, body: Body) -> None:
        self.targets = targets
        self.rows = slice(first, first + targets.shape[0])
        self.samples = surface_of(
            targets.vertices, targets.K, body, dresser.config, targets.shape[-1]
        )


class _Stage:
    """One stage: what it frees, and its steps of Adam."""

    def __init__(self, fit: _Fit, name: FitStage, settings: FitStageRecipe) -> None:
        self.fit, self.name, self.settings = fit, name, settings
        self.painted: Tensor | None = None
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

    def look(self, group: _Group, number: int) -> tuple[Tensor, dict[str, float]]:
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
        if self.name != "texture":
            with torch.inference_mode(mode=False):
                fit.texture = fit.generator(fit.w, fit.noise)
        if fit.refinement is not None:
            for group in fit.groups:
                group.samples = fit.refinement.samples(
                    group.targets, group.rows, fit.body, fit.dresser.config
                )

    def _paint(self) -> Tensor:
        """Return the texture as a leaf; what lies behind it waits in `painted`."""
        fit = self.fit
        if self.name == "texture":
            return self.free[0]
        painted = fit.generator(fit.w, fit.noise)
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
            fit.texture = fit.texture.detach().clone()
            free = [fit.texture]
        return [each.requires_grad_() for each in free]

    @torch.no_grad()
    def _start_texture(self) -> None:
        """Let the texture show what the photographs do, where the recipe wants that."""
        fit = self.fit
        if fit.recipe.unwrapped:
            layout, view = fit.unwrapped()
            colours = carried_over(layout, fit.texture[0, :3], view, fit.recipe.unwrapped)
            fit.texture = torch.cat([colours[None], fit.texture[:, 3:]], dim=1)


def photo_images(targets: FitTargets, size: int) -> Tensor:
    """Return photographs (B, 4, size, size) as an encoder of photographs reads them."""
    images = torch.cat([targets.over(0.0), targets.masks[:, :1]], dim=1)
    small = torch.nn.functional.interpolate(
        images, size=(size, size), mode="bilinear", antialias=True, align_corners=False
    )
    return torch.cat([small[:, :3] * 2.0 - 1.0, small[:, 3:]], dim=1)
