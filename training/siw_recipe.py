"""The settings of SIW StyleGAN's training, in groups; a recipe in YAML fills the same names.

`training/recipes/siw-*.yaml` are filled and commented. A training goes through up to three stages:
"warm-up" learns styles by auto-encoding pairs of portrait and label map; "adversarial" adds drawn
styles and an adversary; "unpaired" is the paper's objective, on label maps that belong to no
portrait. The paper's recipe has the last one only.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from models.siw_config import SiwConfig
from training.schedule import StagedSchedule, StagePlan

StageName = Literal["warm_up", "adversarial", "unpaired"]
STAGES: tuple[StageName, ...] = ("warm_up", "adversarial", "unpaired")


@dataclass(frozen=True, kw_only=True)
class SiwData:
    """What the networks see.

    Attributes:
        batch: portraits a step.
        scale: portraits are enlarged by a random factor in these limits, then cropped (the
            paper's 1.0–1.7).
        mirror: whether half of them are mirrored; left and right nose then swap labels.
        swapped: share of the warm-up's batch that is painted with another portrait's styles.
        paired: share of the adversarial stage's batch that is still compared with its portrait.
        paired_unpaired: the same in the unpaired stage; the paper's is 0.
    """

    batch: int = 8
    scale: tuple[float, float] = (1.0, 1.7)
    mirror: bool = True
    swapped: float = 0.25
    paired: float = 0.5
    paired_unpaired: float = 0.0


@dataclass(frozen=True, kw_only=True)
class SiwWeights:
    """Weights of the losses; 0 switches a term off, at no cost.

    Attributes:
        l1: mean absolute difference of paired portraits, colours −1…1.
        perceptual: offline perceptual distance of paired portraits.
        divergence: KL of the style codes.
        colour: mean colour of each region of paired portraits; of swapped ones also its spread.
        recovery: codes read back from painted portraits.
        adversarial: the adversary's.
    """

    l1: float = 0.0
    perceptual: float = 0.0
    divergence: float = 0.0
    colour: float = 0.0
    recovery: float = 0.0
    adversarial: float = 1.0


@dataclass(frozen=True, kw_only=True)
class SiwOptimiser:
    """Adam for generator, mapping and style encoder, and the running average.

    Attributes:
        generator_rate: learning rate of the generator.
        mapping_rate: of mapping and style encoder. The shared mapping multiplies it by its own
            `mapping_rate`, as StyleGAN2's does.
        later: both rates are multiplied by this after the warm-up.
        mapping_later: the mapping's once more.
        beta1: decay of the first moment.
        beta2: decay of the second moment.
        average_images: half-life of the running average of weights, in images.
        average_ramp: early on the half-life is this share of the images seen; 0 is none.
    """

    generator_rate: float = 2e-3
    mapping_rate: float = 2e-3
    later: float = 1.0
    mapping_later: float = 1.0
    beta1: float = 0.0
    beta2: float = 0.99
    average_images: float = 10_000
    average_ramp: float = 0.0


@dataclass(frozen=True, kw_only=True)
class SiwAdversary:
    """The discriminator and what regularises both players.

    Attributes:
        kind: "stylegan2" learns from pixels, with the non-saturating loss and R1; "projected"
            looks at fixed features, with the hinge loss.
        rate: learning rate.
        base: StyleGAN2's channels at resolution r are base / r.
        widest: up to this many.
        width: channels of the projected one's heads.
        r1: γ of R1, every `r1_every` steps on `r1_images` of the batch (0: all).
        r1_every: see `r1`.
        r1_images: see `r1`.
        path: weight of the path length penalty, every `path_every` steps on one in `path_shrink`
            of the batch; 0 is none.
        path_every: see `path`.
        path_shrink: see `path`.
        mixing: probability that a portrait is painted with two styles, blended per region by a
            similarity map (the paper's 0.9); else with one.
        ramp_images: the adversary's weight rises over so many images.
        augment: strength of random shifts and colour changes of what it sees, 0…1.
    """

    kind: Literal["stylegan2", "projected"] = "stylegan2"
    rate: float = 2e-3
    base: int = 32768
    widest: int = 512
    width: int = 64
    r1: float = 10.0
    r1_every: int = 16
    r1_images: int = 0
    path: float = 2.0
    path_every: int = 8
    path_shrink: int = 2
    mixing: float = 0.9
    ramp_images: int = 0
    augment: float = 0.0


@dataclass(frozen=True, kw_only=True)
class SiwGate:
    """What the styles must have learnt before the adversary comes in.

    An adversary that meets styles without meaning teaches the generator to ignore them.

    Attributes:
        colour_error: greatest error of mean cloth and background colours, 0…1, on held-out
            portraits; 0 for no gate.
        chroma: least spread of hues over drawn styles, over the real portraits'.
        patience: the warm-up may last so many times what was planned; then the training stops.
    """

    colour_error: float = 0.0
    chroma: float = 0.0
    patience: float = 2.0


@dataclass(frozen=True, kw_only=True)
class SiwSchedule(StagedSchedule):
    """The stages.

    Attributes:
        warm_up: auto-encoding of pairs, with swapped styles.
        adversarial: pairs and drawn styles, with the adversary.
        unpaired: the paper's objective.
        gate: between the first and the second.
    """

    warm_up: StagePlan = field(default_factory=StagePlan)
    adversarial: StagePlan = field(default_factory=StagePlan)
    unpaired: StagePlan = field(default_factory=StagePlan)
    gate: SiwGate = field(default_factory=SiwGate)


@dataclass(frozen=True, kw_only=True)
class SiwRecipe:
    """All that decides about a training, beside its portraits.

    Attributes:
        architecture: of the networks.
        data: what they see.
        weights: of the losses.
        optimiser: Adam and the running average.
        adversary: the discriminator.
        schedule: the stages.
        seed: of first values, batches and drawn styles.
    """

    architecture: SiwConfig = field(default_factory=SiwConfig)
    data: SiwData = field(default_factory=SiwData)
    weights: SiwWeights = field(default_factory=SiwWeights)
    optimiser: SiwOptimiser = field(default_factory=SiwOptimiser)
    adversary: SiwAdversary = field(default_factory=SiwAdversary)
    schedule: SiwSchedule = field(default_factory=SiwSchedule)
    seed: int = 0

    def to_plain(self) -> dict[str, Any]:
        """Return values for JSON."""
        return asdict(self)
