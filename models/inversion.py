"""Photographs become an avatar of the wardrobe: the encoder, then four stages of optimisation.

    photographs ─► encoder ─► w ─► generator's parameters ─► noise tensors ─► texture

Each stage moves one thing and keeps what the earlier ones found (StylePeople supplementary, section
4.2 and Table 3). `fit_avatar` is a generator of small steps, so that a worker serves others meanwhile
and a fit can be given up between any two of them.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from blender_addon.contract.errors import BadParameter
from models.inversion_photo import FitPhoto, photo_images
from models.inversion_recipe import CPU_FIT, OPTIMISED_STAGES, FitRecipe, FitStageRecipe
from models.inversion_stage import FitState, Stage
from models.inversion_terms import over_grey
from models.turns import layer_turns, no_turn, spaced
from models.unwrap import UvLayout

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from blender_addon.contract.operations import PosedBody
    from blender_addon.contract.wardrobe import FitStage
    from models.body import Body
    from models.dresser import Dresser
    from models.turns import Turn
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
    turn: Turn = no_turn,
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
        turn: called many times within each step; the fit ends with what it raises.

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
    turn = spaced(turn)
    # Plain tensors, whatever the caller's mode: the stages differentiate through them.
    with torch.inference_mode(mode=False):
        fit = _Fit(
            wardrobe, dresser, body, photos, recipe, refine=refine, previews=previews, turn=turn
        )
    with layer_turns(turn, *fit.networks()):
        yield from _stages(fit, recipe, stages, stop)
    return fit.result()


def _stages(
    fit: _Fit, recipe: FitRecipe, stages: Sequence[FitStage], stop: Callable[[], bool] | None
) -> Iterator[FitProgress]:
    chosen: list[FitStage] = [name for name in OPTIMISED_STAGES if name in stages]
    total = sum(recipe.stage(name).iterations for name in chosen) + 1
    done = 1
    yield fit.begin(done / total)
    for name in chosen:
        settings = recipe.stage(name)
        if settings.iterations and not (stop and stop()):
            yield from fit.run(name, settings, done / total, 1 / total, stop)
        done += settings.iterations


class _Fit(FitState):
    """A fit as it runs."""

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
        turn: Turn,
    ) -> None:
        super().__init__(wardrobe, dresser, body, photos, recipe, refine=refine, turn=turn)
        self.previews = previews
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
        stage = Stage(self, name, settings)
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
