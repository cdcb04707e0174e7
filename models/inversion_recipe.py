"""How photographs become an avatar: the four stages of StylePeople's Table 3, and a cheaper preset.

`training/recipes/avatar-fit.yaml` and `avatar-fit-cpu.yaml` hold the same values with comments.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path  # noqa: TC003 - jsonargparse reads the annotations
from typing import TYPE_CHECKING, Any, Literal

from blender_addon.contract.errors import BadParameter

if TYPE_CHECKING:
    from collections.abc import Iterable

    from blender_addon.contract.wardrobe import FitStage

FitTerm = Literal[
    "lpips",
    "mse",
    "encoder_deviation",
    "generator_deviation",
    "texture_deviation",
    "face_lpips",
    "face_features",
]
"""A loss of Table 3, each of which the ablations of section 5.1 switch off."""


@dataclass(frozen=True, kw_only=True)
class FitStageRecipe:
    """One stage: a column of Table 3. A weight of 0 switches a term off, at no cost.

    Attributes:
        iterations: steps of Adam.
        rate: learning rate.
        final_rate: the last step's rate over the first one's, along half a cosine; 1 is constant.
        lpips: perceptual distance of the image; the offline distance without LPIPS' trunk.
        mse: mean squared error of colour and foreground.
        encoder_deviation: mean |w − w of the encoder|.
        generator_deviation: mean |θ − θ₀| over the generator's parameters.
        texture_deviation: mean |T − T₀| from the texture that the stage starts with.
        face_lpips: perceptual distance of the head's crop.
        face_features: mean difference of the face discriminator's features of that crop.
    """

    iterations: int = 0
    rate: float = 0.01
    final_rate: float = 1.0
    lpips: float = 1.0
    mse: float = 0.5
    encoder_deviation: float = 0.0
    generator_deviation: float = 0.0
    texture_deviation: float = 0.0
    face_lpips: float = 0.0
    face_features: float = 0.0


STAGE_W = FitStageRecipe(iterations=100, rate=0.01, encoder_deviation=0.1, face_lpips=0.5)
STAGE_GENERATOR = FitStageRecipe(
    iterations=70, rate=0.01, generator_deviation=1.0, face_lpips=1.0, face_features=2.0
)
STAGE_NOISE = FitStageRecipe(iterations=50, rate=0.1, face_lpips=0.1)
STAGE_TEXTURE = FitStageRecipe(
    iterations=100, rate=0.15, texture_deviation=0.1, face_lpips=2.0, face_features=3.0
)
"""StylePeople, Table 3, column by column."""


@dataclass(frozen=True, kw_only=True)
class FitRecipe:
    """All stages of a fit; the defaults are the paper's.

    Attributes:
        w: of the latent vector, one style a layer.
        generator: of the generator's parameters.
        noise: of its noise tensors.
        texture: of the texture itself.
        size: side at which avatar and photograph are compared, a multiple of 32.
        face_size: side of the head's crop.
        at_once: photographs a step; 0 is all. Steps take turns.
        unwrapped: how far the texture's stage starts from the colours that the photographs show
            (`models/unwrap.py`) instead of the generator's, 0…1; 0 in the paper.
        seen: how far the texture's stage moves texels by how well the photographs see them: with 0,
            as in the paper, Adam moves those that are hardly seen as fast as any.
        refine_rate: learning rate of shape and pose, where they are refined.
        refine_prior: weight of the mean square of their corrections, each in units of how far
            body fits are usually off.
        lpips_trunk: torchvision's AlexNet or VGG16 weights, for LPIPS; the offline distance
            without.
    """

    w: FitStageRecipe = field(default_factory=lambda: STAGE_W)
    generator: FitStageRecipe = field(default_factory=lambda: STAGE_GENERATOR)
    noise: FitStageRecipe = field(default_factory=lambda: STAGE_NOISE)
    texture: FitStageRecipe = field(default_factory=lambda: STAGE_TEXTURE)
    size: int = 512
    face_size: int = 128
    at_once: int = 0
    unwrapped: float = 0.0
    seen: float = 0.0
    refine_rate: float = 2e-3
    refine_prior: float = 1e-3
    lpips_trunk: Path | None = None

    def stage(self, name: FitStage) -> FitStageRecipe:
        """Return a stage by its name."""
        return getattr(self, name)

    def to_plain(self) -> dict[str, Any]:
        """Return values for JSON."""
        return asdict(self) | {"lpips_trunk": str(self.lpips_trunk) if self.lpips_trunk else None}


OPTIMISED_STAGES: tuple[FitStage, ...] = ("w", "generator", "noise", "texture")

CPU_FIT = FitRecipe(
    w=FitStageRecipe(
        iterations=60, rate=0.05, final_rate=0.2, mse=30.0, encoder_deviation=0.1, face_lpips=0.25
    ),
    generator=FitStageRecipe(
        iterations=25,
        rate=0.003,
        final_rate=0.2,
        mse=30.0,
        generator_deviation=1.0,
        face_lpips=0.5,
        face_features=0.5,
    ),
    noise=FitStageRecipe(iterations=10, rate=0.1, final_rate=0.2, mse=30.0, face_lpips=0.1),
    texture=FitStageRecipe(
        iterations=40,
        rate=0.01,
        final_rate=0.2,
        mse=30.0,
        texture_deviation=0.1,
        face_lpips=0.5,
        face_features=0.5,
    ),
    size=256,
    face_size=64,
    at_once=2,
    unwrapped=1.0,
    seen=0.9,
)
"""For two cores: fewer steps, images of 256², weights for the offline distance."""


def without(recipe: FitRecipe, terms: Iterable[FitTerm]) -> FitRecipe:
    """Return a recipe with some terms switched off in every stage.

    Raises:
        BadParameter: there is no such term.
    """
    off: dict[str, Any] = dict.fromkeys(terms, 0.0)
    known = {each.name for each in fields(FitStageRecipe)} - {"iterations", "rate", "final_rate"}
    for name in off:
        if name not in known:
            raise BadParameter(f"there is no term {name!r}", f"one of {', '.join(sorted(known))}")
    stages: dict[str, Any] = {name: replace(recipe.stage(name), **off) for name in OPTIMISED_STAGES}
    return replace(recipe, **stages)


def with_effort(recipe: FitRecipe, effort: float) -> FitRecipe:
    """Return a recipe with so many times the iterations, at least one in each stage that has any."""
    stages: dict[str, Any] = {}
    for name in OPTIMISED_STAGES:
        stage = recipe.stage(name)
        count = max(round(stage.iterations * effort), 1) if stage.iterations else 0
        stages[name] = replace(stage, iterations=count)
    return replace(recipe, **stages)
