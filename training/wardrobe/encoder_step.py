"""The A-encoder's image losses: one photograph of a captured person must give their other images."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch

from models.shell import shell_distances
from models.unwrap import UvLayout
from training.dressing_data import read_frames
from training.wardrobe.data import Crowd
from training.wardrobe.encoder_data import dress_textures, frame_image
from training.wardrobe.losses import ImageLosses
from training.wardrobe.recipe import WardrobeData, WardrobeWeights

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from models.dresser import Dresser
    from models.texture_generator import TextureGenerator
    from training.dressing_data import People
    from training.wardrobe.data import Batch
    from training.wardrobe.encoder_recipe import EncoderRecipe

_SEED = 32_452_843


class ImageSupervision:
    """Reads one frame of a person and compares what G and R make of it with another frame.

    Args:
        generator: G, which stays as it is.
        dresser: R, which stays as it is.
        people: captures.
        recipe: weights, and how the encoder reads.
        train: captures that may be seen.
    """

    def __init__(
        self,
        generator: TextureGenerator,
        dresser: Dresser,
        people: People,
        recipe: EncoderRecipe,
        train: Sequence[int],
    ) -> None:
        self.generator, self.dresser, self.people, self.recipe = generator, dresser, people, recipe
        self.train = list(train)
        data = WardrobeData(people=recipe.weights.people, frames=1, memory=0.3)
        config = dresser.config
        seen = replace(people, shell=shell_distances(people.body)) if config.shell else people
        self.crowd = Crowd(seen, data, config.upscale, recipe.architecture.size)
        self.layout = UvLayout.of(people.body, recipe.architecture.size)
        weights = WardrobeWeights(l1=recipe.weights.l1, perceptual=recipe.weights.perceptual)
        self.compared = ImageLosses(weights, torch.device("cpu"))

    def draw(self, step: int) -> tuple[Tensor, Batch]:
        """Return a step's photographs (P, 4, S, S), and the frames that they must give."""
        rng = np.random.default_rng((_SEED, self.recipe.seed, step))
        chosen = rng.permutation(self.train)[: self.recipe.weights.people]
        images: list[Tensor] = []
        shown: list[tuple[int, int]] = []
        for person in (int(p) for p in chosen):
            frames = self.people.captures[person].frames("train")
            seen, other = rng.choice(frames, 2, replace=len(frames) < 2)
            frame = next(read_frames(self.people, person, [int(seen)]))
            images.append(frame_image(frame, self.layout, self.recipe.architecture))
            shown.append((person, int(other)))
        random = torch.from_numpy(rng.random((len(shown), 3, 1, 1), dtype=np.float32))
        return torch.stack(images), self.crowd.batch_of(shown, random)

    def losses(self, w: Tensor, batch: Batch) -> dict[str, Tensor]:
        """Return the losses by name of what the encoder found, (P, L, W)."""
        textures = self.generator(w)
        dressed = dress_textures(
            textures, self.dresser, batch.samples, batch.texture, batch.shape[0]
        )
        masked = dressed._replace(masks=dressed.masks * batch.captured)
        return self.compared.losses(masked, batch)
