"""The settings of the wardrobe's training, in groups; a recipe in YAML fills the same names.

`training/recipes/wardrobe-*.yaml` are filled and commented. A training goes through up to three
stages: "texture" learns codes of the training people from their unwrapped photographs, without
rendering; "image" learns textures and dresser from their images; "adversarial" is the paper's
objective. The paper's recipes have the last one only.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields
from typing import TYPE_CHECKING, Any, Literal, TypeVar, cast

from models.dresser import DresserConfig
from models.texture_generator import TextureGeneratorConfig
from models.wardrobe import Prior  # noqa: TC001 - read at run time, for the options
from training.losses import Norm  # noqa: TC001 - read at run time, for the options
from training.schedule import StagedSchedule, StagePlan

if TYPE_CHECKING:
    from collections.abc import Mapping

_Group = TypeVar("_Group")

StageName = Literal["texture", "image", "adversarial"]
STAGES: tuple[StageName, ...] = ("texture", "image", "adversarial")


@dataclass(frozen=True, kw_only=True)
class WardrobeData:
    """What the networks see.

    Attributes:
        size: side of the dresser's output. Its input is that over the dresser's `upscale`.
        crop: side of the windows into these that the image stage sees; 0 is the whole. Most of a
            whole image is background, which costs as much as a person does.
        people: training people a step.
        frames: images of each of them a step; two for pairs.
        textures: people a step of the texture stage.
        small: shares of the image stage: up to the first, R paints at half its size (with an
            `upscale` of 2); up to the second, its last layers are faded in.
        coarse: the texture stage paints at a quarter of the size up to this share of it, at a half
            up to the second, then in full.
        paired: share of the people of an adversarial step that wear their own codes, for the
            losses that are kept.
        unwrapped: frames of a person whose unwrapped photographs are averaged.
        margin: side of a crop over the visible body's bounding box; drawn once a frame.
        finest: frame pixels per network pixel, at least; smaller windows show more around the body.
        least_side: frames whose window is smaller, in pixels, are left out (the paper drops
            images of low resolution before its second phase).
        held_out_people: the last captures are of people that are never trained on.
        supersampling: sub-pixels per pixel and axis of the rasterised body.
        memory: gigabytes of decoded frames that are kept.
    """

    size: int = 256
    crop: int = 0
    people: int = 4
    frames: int = 2
    textures: int = 8
    small: tuple[float, float] = (0.0, 0.0)
    coarse: tuple[float, float] = (0.0, 0.0)
    paired: float = 0.0
    unwrapped: int = 10
    margin: tuple[float, float] = (1.1, 1.3)
    finest: float = 1.0
    least_side: int = 0
    held_out_people: int = 0
    supersampling: int = 2
    memory: float = 3.0


@dataclass(frozen=True, kw_only=True)
class WardrobeCodes:
    """The styles w that textures are made of.

    Attributes:
        prior: where drawn ones come from: the "mapping" network, as in the paper, or a
            "gaussian" with mean and covariance of the training people's codes, or a "kernel" around
            each of these, with the same mean and covariance.
        bandwidth: of the kernel: the Gaussian's share in a drawn code, 0…1.
        first: first codes: "random", or "principal" components of the unwrapped colours, by which
            people who look alike are neighbours from the start.
        even: whether principal components all get the same variance, or keep their shares.
        deviation: standard deviation of the codes' first values.
        noise: standard deviation of what is added to a code in every step: neighbours of a code
            must look like it.
        pull: weight of half their mean square, which keeps them near a unit Gaussian.
    """

    prior: Prior = "mapping"
    bandwidth: float = 0.5
    first: Literal["random", "principal"] = "random"
    even: bool = False
    deviation: float = 0.5
    noise: float = 0.0
    pull: float = 0.0


@dataclass(frozen=True, kw_only=True)
class WardrobeWeights:
    """Weights of the losses; 0 switches a term off, at no cost. The defaults are the paper's.

    Attributes:
        texture: texture stage: absolute difference of visible texels, colours −1…1, at the
            texture's size, and at a half, quarter and eighth of it.
        edges: texture stage: absolute difference of neighbouring texels' differences.
        unwrapped: how much of these two takes part in the image stage, on the textures that it
            paints anyway.
        l1: image stage: composites over random backgrounds.
        perceptual: composites over grey.
        face_perceptual: the face's crop.
        segmentation: Dice loss of the masks.
        mask_entropy: cross-entropy of the masks.
        face_hands: how many times a pixel of face or hands counts in `l1`.
        perceptual_stages: of the offline distance; later ones cost little and see larger patterns.
        perceptual_size: side to which images are averaged down before they are compared; 0 is none.
        face_size: side of the face's crop that is compared.
        kept: how much of the image stage's losses stays in the adversarial stage, on the
            training people's own codes.
        adv_unary: against D_unary, which sees single images.
        adv_binary: against D_binary, which sees two poses of a person.
        adv_face: against D_face.
        r1: γ of the discriminators' gradient penalty.
        path: path length of the texture generator.
        augreg: L_augreg, the dresser commutes with transforms of the image.
        wreg: L_wreg, the code can be read from the image.
        norms: "written": ‖·‖² of L_wreg as in the paper; "rms": a mean over the code.
    """

    texture: float = 0.0
    edges: float = 0.0
    unwrapped: float = 0.0
    l1: float = 0.0
    perceptual: float = 0.0
    face_perceptual: float = 0.0
    segmentation: float = 0.0
    mask_entropy: float = 0.0
    face_hands: float = 1.0
    perceptual_stages: tuple[int, ...] = (0, 1, 2, 3)
    perceptual_size: int = 0
    face_size: int = 64
    kept: float = 0.0
    adv_unary: float = 1.0
    adv_binary: float = 1.0
    adv_face: float = 1.0
    r1: float = 10.0
    path: float = 2.0
    augreg: float = 1.0
    wreg: float = 10.0
    norms: Norm = "written"


@dataclass(frozen=True, kw_only=True)
class WardrobeOptimiser:
    """Adam for all networks, and the running average. The rates' defaults are the paper's.

    Attributes:
        generator_rate: of G; its mapping multiplies it by its own `mapping_rate`.
        dresser_rate: of R.
        regressor_rate: of q_ξ.
        unary_rate: of D_unary.
        binary_rate: of D_binary.
        face_rate: of D_face.
        code_rate: of the training people's codes.
        texture_rate: of G in the texture stage.
        image_rate: of G in the image stage.
        image_dresser_rate: of R in the image stage.
        beta1: decay of the first moment; the discriminators' is always 0.
        fit_beta1: the same in the first two stages, which nobody plays against.
        beta2: decay of the second moment.
        average_every: steps between updates of the running average.
        first_colours: the first values of G's colour layers are multiplied by this. Unit ones,
            StyleGAN2's, begin with gaudy textures that a supervised stage must first unlearn.
        equalised: whether R's layers learn at equalised rates, as the other networks do by
            construction: rate / √fan-in, from first values N(0, 1 / fan-in).
        clip: largest norm of each network's gradient in the first two stages; 0 is no limit.
        average_images: half-life of the running average of weights, in images.
        average_ramp: early on the half-life is this share of the images seen; 0 is none.
        warm_up: steps of each stage in which the rates rise from 0.
        floor: last rate of the first two stages over their first.
        freeze_statistics: share of the image stage after which R's batch normalisation runs as it
            does in rendering; with less than 1 it does so in the adversarial stage, too.
    """

    generator_rate: float = 1e-3
    dresser_rate: float = 1e-4
    regressor_rate: float = 1e-3
    unary_rate: float = 2e-3
    binary_rate: float = 2e-3
    face_rate: float = 2e-3
    code_rate: float = 1e-2
    texture_rate: float = 3e-3
    image_rate: float = 2e-3
    image_dresser_rate: float = 1e-3
    beta1: float = 0.0
    fit_beta1: float = 0.9
    beta2: float = 0.99
    average_every: int = 1
    first_colours: float = 1.0
    equalised: bool = True
    clip: float = 0.0
    average_images: float = 10_000
    average_ramp: float = 0.05
    warm_up: int = 0
    floor: float = 1.0
    freeze_statistics: float = 1.0


@dataclass(frozen=True, kw_only=True)
class WardrobeAdversaries:
    """The discriminators, q_ξ, and what regularises the players.

    Attributes:
        base: StyleGAN2's channels at resolution r are base / r.
        widest: up to this many.
        face_size: side of the face's crop.
        regressor: channels of q_ξ's first layer; they double with every halving.
        r1_every: steps between penalties.
        path_every: steps between path lengths.
        path_shrink: one in so many of the batch is measured.
        mixing: probability that a texture's coarse layers take one style and its fine ones another.
        augreg_share: share of a batch that is transformed for L_augreg.
        ramp_images: the adversaries' weights rise over so many images.
        fade_images: networks that have grown take their new layers in over so many images.
    """

    base: int = 32768
    widest: int = 512
    face_size: int = 128
    regressor: int = 32
    r1_every: int = 16
    path_every: int = 8
    path_shrink: int = 2
    mixing: float = 0.9
    augreg_share: float = 0.5
    ramp_images: int = 0
    fade_images: int = 0


@dataclass(frozen=True, kw_only=True)
class WardrobeSchedule(StagedSchedule):
    """The stages.

    Attributes:
        texture: auto-decoding of unwrapped photographs.
        image: auto-decoding of images.
        adversarial: the paper's objective.
    """

    texture: StagePlan = field(default_factory=StagePlan)
    image: StagePlan = field(default_factory=StagePlan)
    adversarial: StagePlan = field(default_factory=StagePlan)


@dataclass(frozen=True, kw_only=True)
class WardrobeRecipe:
    """All that decides about a training, beside its captures.

    Attributes:
        generator: architecture of G.
        dresser: architecture of R.
        data: what they see.
        codes: the styles.
        weights: of the losses.
        optimiser: Adam and the running average.
        adversaries: the discriminators.
        schedule: the stages.
        seed: of first values, batches and drawn styles.
    """

    generator: TextureGeneratorConfig = field(default_factory=TextureGeneratorConfig)
    dresser: DresserConfig = field(default_factory=DresserConfig)
    data: WardrobeData = field(default_factory=WardrobeData)
    codes: WardrobeCodes = field(default_factory=WardrobeCodes)
    weights: WardrobeWeights = field(default_factory=WardrobeWeights)
    optimiser: WardrobeOptimiser = field(default_factory=WardrobeOptimiser)
    adversaries: WardrobeAdversaries = field(default_factory=WardrobeAdversaries)
    schedule: WardrobeSchedule = field(default_factory=WardrobeSchedule)
    seed: int = 0

    def to_plain(self) -> dict[str, Any]:
        """Return values for JSON."""
        return asdict(self)

    @classmethod
    def from_plain(cls, values: Mapping[str, Any]) -> WardrobeRecipe:
        """Read what `to_plain` returned; unknown names are ignored, missing ones have defaults."""
        schedule = dict(values["schedule"])
        for name in STAGES:
            schedule[name] = StagePlan(**schedule[name])
        return cls(
            generator=TextureGeneratorConfig.from_plain(values["generator"]),
            dresser=DresserConfig.from_plain(values["dresser"]),
            data=_filled(WardrobeData, values["data"]),
            codes=_filled(WardrobeCodes, values["codes"]),
            weights=_filled(WardrobeWeights, values["weights"]),
            optimiser=_filled(WardrobeOptimiser, values["optimiser"]),
            adversaries=_filled(WardrobeAdversaries, values["adversaries"]),
            schedule=_filled(WardrobeSchedule, schedule),
            seed=int(values["seed"]),
        )


def _filled(group: type[_Group], values: Mapping[str, Any]) -> _Group:
    known = {field.name for field in fields(cast("Any", group))}
    # JSON has no tuples.
    return group(
        **{k: tuple(v) if isinstance(v, list) else v for k, v in values.items() if k in known}
    )
