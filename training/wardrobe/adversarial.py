"""The adversarial stage: the paper's discriminators and regularisers, and what they are shown.

Source: StylePeople supplementary, section 2.2, and the main paper's additional regularisation.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn

from models.dresser import Dressed
from models.regions import HEAD, crop, find_squares
from models.stylegan2_discriminator import DiscriminatorConfig
from models.stylegan2_training import (
    PathLength,
    discriminator_loss,
    generator_loss,
    gradient_penalty,
    mix_layers,
)
from training.losses import NEUTRAL_GREY, composite, composite_premultiplied
from training.wardrobe.growth import GrowingDiscriminator
from training.wardrobe.losses import ImageTransforms, Regressor, augreg_loss, wreg_loss

if TYPE_CHECKING:
    from training.wardrobe.data import Batch
    from training.wardrobe.model import Rendered, WardrobeModel
    from training.wardrobe.recipe import WardrobeRecipe

PATH_NOISE = 7919
"""Keeps the path length's random numbers apart from the step's other ones."""
PLAYERS = ("unary", "binary", "face")


class Painted(NamedTuple):
    """What a step has painted.

    Attributes:
        w: (P, layers, style) styles, with a graph.
        textures: (P, C, S, S).
        rendered: the dresser's input.
        dressed: (B, …) its output.
        paired: how many of the people, the first ones, wear their own codes.
        pairs: how many of the images those are.
    """

    w: Tensor
    textures: Tensor
    rendered: Rendered
    dressed: Dressed
    paired: int
    pairs: int

    @property
    def of_pairs(self) -> Dressed:
        """The images of people who wear their own codes."""
        return Dressed(self.dressed.rgb[: self.pairs], self.dressed.masks[: self.pairs])

    def pairs_of(self, batch: Batch) -> Batch:
        """Return the truth for those (without samples, which losses do not look at)."""
        own = {
            name: value[: self.pairs]
            for name, value in batch._asdict().items()
            if isinstance(value, Tensor)
        }
        return batch._replace(shape=(self.pairs, *batch.shape[1:]), **own)


class Adversarial:
    """D_unary, D_binary, D_face and q_ξ, with the discriminators' optimisers.

    Args:
        recipe: weights, sizes and rates; a discriminator without a weight is not built.
        device: where they lie.

    Attributes:
        grown: whether the networks have just taken on layers that must be faded in.
    """

    def __init__(self, recipe: WardrobeRecipe, device: torch.device) -> None:
        self.recipe = recipe
        self.device = device
        settings, weights = recipe.adversaries, recipe.weights
        self.grown = False
        self.path = PathLength().to(device)
        self.discriminators = nn.ModuleDict()
        self.regressor: Regressor | None = None
        with torch.random.fork_rng():
            torch.manual_seed(recipe.seed + 1)
            for name in PLAYERS:
                if getattr(weights, f"adv_{name}"):
                    self.discriminators[name] = GrowingDiscriminator(
                        DiscriminatorConfig(
                            size=settings.face_size if name == "face" else recipe.data.size,
                            channels=8 if name == "binary" else 4,
                            base=settings.base,
                            widest=settings.widest,
                        )
                    )
            if weights.wreg:
                style = recipe.generator.style
                self.regressor = Regressor(recipe.data.size, style, settings.regressor).to(device)
        self.discriminators.to(device)
        self.optimiser = self._adam()

    def paint(self, model: WardrobeModel, batch: Batch, random: torch.Generator) -> Painted:
        """Paint a batch's poses: some people in their own codes, all others in drawn ones."""
        people = len(batch.people)
        paired = round(people * self.recipe.data.paired)
        w = self._styles(model, batch, people, paired, random)
        textures = model.textures(w)
        rendered = model.features(textures, batch)
        dressed = model.dress(rendered, batch)
        pairs = int((batch.texture < paired).sum())
        return Painted(w, textures, rendered, dressed, paired, pairs)

    def players_losses(
        self,
        model: WardrobeModel,
        painted: Painted,
        batch: Batch,
        step: int,
        random: torch.Generator,
    ) -> dict[str, Tensor]:
        """Return the losses of G, R and q_ξ by name; see Table 2."""
        weights, settings = self.recipe.weights, self.recipe.adversaries
        self.discriminators.requires_grad_(requires_grad=False)
        images = stack_channels(painted.dressed)
        views = self._views(images, batch)
        parts = {
            f"adv_{name}": generator_loss(self._judge(name, shown)) for name, shown in views.items()
        }
        if self.regressor is not None:
            # A texture of two mixed styles is asked for their mean over the layers.
            w = painted.w.mean(dim=1)[batch.texture]
            parts["wreg"] = wreg_loss(self.regressor(images), w, weights.norms)
        if weights.augreg:
            parts["augreg"] = self._augreg(model, painted, batch, random)
        if weights.path and step % settings.path_every == 0:
            parts["path"] = self._path_length(model, len(batch.people), step)
        return parts

    def learn(self, painted: Painted, batch: Batch, step: int) -> dict[str, float]:
        """Let the discriminators learn from a step's images; return their losses by name."""
        settings, weights = self.recipe.adversaries, self.recipe.weights
        self.discriminators.requires_grad_(requires_grad=True)
        drawn = self._views(stack_channels(painted.dressed).detach(), batch)
        true = self._views(true_channels(batch), batch)
        penalised = weights.r1 > 0 and step % settings.r1_every == 0
        values: dict[str, float] = {}
        total = torch.zeros((), device=self.device)
        for name, shown in drawn.items():
            captured = true[name].detach().requires_grad_(penalised)
            scores = self._judge(name, captured)
            loss = discriminator_loss(scores, self._judge(name, shown))
            values[f"discriminator/{name}"] = loss.item()
            if penalised:
                penalty = gradient_penalty(scores, captured)
                values[f"r1/{name}"] = penalty.item()
                loss = loss + 0.5 * weights.r1 * settings.r1_every * penalty
            total = total + loss
        if not drawn:
            return values
        self.optimiser.zero_grad(set_to_none=True)
        total.backward()
        self.optimiser.step()
        return values

    def weight_at(self, seen: int) -> float:
        """Return how much the adversaries count after so many images of the stage."""
        ramp = self.recipe.adversaries.ramp_images
        return min(seen / ramp, 1.0) if ramp else 1.0

    def set_fade(self, fade: float) -> None:
        """Bring grown discriminators' first blocks in, 0…1."""
        for network in self.discriminators.values():
            if isinstance(network, GrowingDiscriminator):
                network.fade = fade

    def to_plain(self) -> dict[str, Any]:
        """Return what a checkpoint keeps."""
        return {
            "discriminators": self.discriminators.state_dict(),
            "regressor": None if self.regressor is None else self.regressor.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "path": self.path.state_dict(),
            "grown": self.grown,
        }

    def load(self, state: dict[str, Any]) -> None:
        """Go on from a checkpoint."""
        self.grown = bool(state["grown"])
        for name, network in self.discriminators.items():
            if isinstance(network, GrowingDiscriminator):
                network.expect(state["discriminators"], f"{name}.")
        self.discriminators.load_state_dict(state["discriminators"])
        self.optimiser = self._adam()
        self.optimiser.load_state_dict(state["optimiser"])
        self.path.load_state_dict(state["path"])
        if self.regressor is not None:
            self.regressor.load_state_dict(state["regressor"])

    def grow_from(self, state: dict[str, Any]) -> None:
        """Take over the players of an earlier training, whose images may be half as large.

        Raises:
            RuntimeError: they are of another architecture.
        """
        for name, network in self.discriminators.items():
            prefix = f"{name}."
            earlier = {
                key.removeprefix(prefix): value
                for key, value in state["discriminators"].items()
                if key.startswith(prefix)
            }
            if earlier and isinstance(network, GrowingDiscriminator):
                self.grown = network.grow(earlier) or self.grown
        # Layers that fade out learn on, too.
        self.optimiser = self._adam()
        if self.regressor is not None and state["regressor"] is not None:
            own = self.regressor.state_dict()
            fits = all(own[k].shape == v.shape for k, v in state["regressor"].items() if k in own)
            if fits and own.keys() == state["regressor"].keys():
                self.regressor.load_state_dict(state["regressor"])

    def _styles(
        self, model: WardrobeModel, batch: Batch, people: int, paired: int, random: torch.Generator
    ) -> Tensor:
        """Return (P, layers, style): own codes first, then drawn ones, some of them mixed."""
        mapping = self.recipe.codes.prior == "mapping"
        code, layers = self.recipe.generator.code, self.recipe.generator.layers
        first, second = (
            model.generator.mapping(torch.randn(people, code, generator=random).to(self.device))
            if mapping
            else model.draw(people, random)
            for _ in range(2)
        )
        if paired:
            own = model.codes[list(batch.people[:paired])]
            first = torch.cat([own, first[paired:]])
        mixed = mix_layers(first, second, layers, self.recipe.adversaries.mixing, random)
        if paired:
            mixed = torch.cat([model.generator.spread(first[:paired]), mixed[paired:]])
        return mixed

    def _views(self, images: Tensor, batch: Batch) -> dict[str, Tensor]:
        """Return what each discriminator sees of images (B, 4, H, W)."""
        views: dict[str, Tensor] = {}
        for name in self.discriminators:
            if name == "unary":
                views[name] = images
            elif name == "binary":
                # Frames of a person are adjacent: the first two of each.
                each = self.recipe.data.frames
                grouped = images.unflatten(0, (-1, each))[:, :2]
                views[name] = grouped.flatten(1, 2)
            else:
                squares = find_squares(batch, (HEAD,))
                if len(squares.image):
                    views[name] = crop(images, squares, self.recipe.adversaries.face_size)
        return views

    def _judge(self, name: str, images: Tensor) -> Tensor:
        return self.discriminators[name](images)

    def _augreg(
        self, model: WardrobeModel, painted: Painted, batch: Batch, random: torch.Generator
    ) -> Tensor:
        count = max(1, round(batch.shape[0] * self.recipe.adversaries.augreg_share))
        chosen = torch.randperm(batch.shape[0], generator=random)[:count].to(self.device)
        transforms = ImageTransforms.draw(count, random)
        features = transforms.apply_to_features(
            painted.rendered.features[chosen], self.recipe.dresser.texture_channels
        )
        coverage = transforms.apply(painted.rendered.coverage[chosen])
        features = features.contiguous(memory_format=torch.channels_last)
        again = _premultiplied(model.dresser(features, coverage))
        dressed = Dressed(*(part[chosen] for part in painted.dressed))
        moved = Dressed(*(transforms.apply(part) for part in _premultiplied(dressed)))
        return augreg_loss(moved, again)

    def _path_length(self, model: WardrobeModel, people: int, step: int) -> Tensor:
        """Measure the path length of the textures: lengths pass no rasteriser twice."""
        settings = self.recipe.adversaries
        random = torch.Generator().manual_seed(self.recipe.seed * PATH_NOISE + step)
        count = max(1, people // settings.path_shrink)
        if self.recipe.codes.prior == "mapping":
            z = torch.randn(count, self.recipe.generator.code, generator=random)
            drawn = model.generator.mapping(z.to(self.device))
        else:
            drawn = model.draw(count, random).detach().requires_grad_()
        w = model.generator.spread(drawn)
        textures = model.textures(w)
        noise = torch.randn(textures.shape, generator=random).to(self.device)
        return self.path(textures, w, noise)

    def _adam(self) -> torch.optim.Adam:
        """Return the discriminators' Adam; lazy R1 slows rates and decays as StyleGAN2 does."""
        optimiser, settings = self.recipe.optimiser, self.recipe.adversaries
        share = settings.r1_every / (settings.r1_every + 1) if self.recipe.weights.r1 else 1.0
        groups: list[dict[str, Any]] = [
            {
                "params": list(network.parameters()),
                "lr": getattr(optimiser, f"{name}_rate") * share,
            }
            for name, network in self.discriminators.items()
        ]
        if not groups:
            groups = [{"params": [nn.Parameter(torch.zeros(0))], "lr": 0.0}]
        return torch.optim.Adam(groups, betas=(0.0, 0.99**share), eps=1e-8)


def stack_channels(dressed: Dressed) -> Tensor:
    """Return RGB over grey and the foreground mask as (B, 4, H, W), −1…1."""
    mask = dressed.masks[:, :1]
    return torch.cat([composite(dressed.rgb, mask, NEUTRAL_GREY), mask], dim=1) * 2.0 - 1.0


def true_channels(batch: Batch) -> Tensor:
    """Return the same of the captured images."""
    mask = batch.masks[:, :1]
    colour = composite_premultiplied(batch.colour, mask, NEUTRAL_GREY)
    return torch.cat([colour, mask], dim=1) * 2.0 - 1.0


def _premultiplied(dressed: Dressed) -> Dressed:
    return Dressed(dressed.rgb * dressed.masks[:, :1], dressed.masks)
