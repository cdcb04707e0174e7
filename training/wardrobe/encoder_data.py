"""What the photo encoder learns from: people whose code is known, as photographs show them.

Making an image of a drawn person costs as much as several steps, so all are made once, before the
training, and kept as bytes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from models.inversion_photo import surface_of
from models.shell import stacked
from models.texture import MipChain, gather_features
from models.unwrap import UvLayout, unwrap
from training.dressing_data import cut_pixels, read_frames, whole_window

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from models.dresser import Dressed, Dresser
    from models.photo_encoder import PhotoEncoderConfig
    from models.wardrobe import Wardrobe
    from training.dressing_data import Frame, People
    from training.wardrobe.encoder_recipe import EncoderData

MARGIN = 1.2
"""Side of a crop over the visible body's bounding box, as the render path crops."""
_SIZE = 256
"""Side at which drawn people are rendered."""
_FRAME_SEED, _VARY_SEED = 7_368_787, 15_485_863


@dataclass(frozen=True)
class EncoderImages:
    """Images as the encoder reads them, with the codes that it should find.

    Attributes:
        images: (N, 4, S, S) uint8: colour, and mask or visibility.
        w: (N, W) or (N, L, W) float32.
        person: (N,) int64: whose image each is; nobody is in two splits.
    """

    images: Tensor
    w: Tensor
    person: Tensor

    def split(self, every: int) -> tuple[EncoderImages, EncoderImages]:
        """Return the images of most people, and those of one in `every`."""
        out = self.person % every == every - 1
        return self._where(~out), self._where(out)

    def batch(self, data: EncoderData, seed: int, step: int) -> tuple[Tensor, Tensor]:
        """Return a step's images (B, 4, S, S), −1…1 and 0…1, varied, and their codes."""
        rng = np.random.default_rng((seed, step))
        chosen = torch.from_numpy(rng.integers(len(self.images), size=data.batch))
        random = torch.Generator().manual_seed(seed * _VARY_SEED + step)
        return varied(as_floats(self.images[chosen]), data, random), self.w[chosen]

    def joined(self, other: EncoderImages) -> EncoderImages:
        """Return both sets; people are told apart."""
        person = torch.cat([self.person, other.person + int(self.person.max()) + 1])
        layers = max(each.w.ndim for each in (self, other))
        if layers == 3:
            most = max(each.w.shape[1] for each in (self, other) if each.w.ndim == 3)
            codes = [_layered(each.w, most) for each in (self, other)]
        else:
            codes = [self.w, other.w]
        return EncoderImages(torch.cat([self.images, other.images]), torch.cat(codes), person)

    def write(self, file: Path, key: str) -> None:
        """Keep the images in a file.

        Args:
            file: replaced when it is whole.
            key: of what they were made from.
        """
        from safetensors.torch import save_file

        file.parent.mkdir(parents=True, exist_ok=True)
        part = file.with_suffix(".part")
        tensors = {"images": self.images, "w": self.w.contiguous(), "person": self.person}
        save_file(tensors, part, {"key": key})
        part.replace(file)

    @classmethod
    def read(cls, file: Path, key: str) -> EncoderImages | None:
        """Return the images of a file, or None where it is missing or made from something else."""
        from safetensors import safe_open

        if not file.is_file():
            return None
        with safe_open(file, "pt") as held:  # pyright: ignore[reportUnknownVariableType]
            if held.metadata().get("key") != key:
                return None
            return cls(*(held.get_tensor(name) for name in ("images", "w", "person")))

    def _where(self, mask: Tensor) -> EncoderImages:
        return EncoderImages(self.images[mask], self.w[mask], self.person[mask])


def as_floats(images: Tensor) -> Tensor:
    """Return bytes (N, 4, S, S) as colour −1…1 and visibility 0…1; unseen texels are 0."""
    values = images.float() / 255.0
    seen = values[:, 3:]
    return torch.cat([(values[:, :3] * 2.0 - 1.0) * (seen > 0), seen], dim=1)


def as_bytes(image: Tensor) -> Tensor:
    """Return (4, S, S) floats as bytes."""
    both = torch.cat([(image[:3] + 1.0) * 0.5, image[3:]])
    return (both.clamp(0.0, 1.0) * 255.0).round().to(torch.uint8)


def varied(images: Tensor, data: EncoderData, random: torch.Generator) -> Tensor:
    """Vary light, tint, noise and what is seen of images (B, 4, S, S)."""
    count = len(images)

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=random)

    gain = 1.0 + data.light * normal(count, 1, 1, 1) + data.tint * normal(count, 3, 1, 1)
    colour = (images[:, :3] + 1.0) * gain - 1.0
    colour = colour + data.noise * normal(count, 3, *images.shape[-2:])
    seen = images[:, 3:]
    other = seen.roll(1, dims=0)
    hides = torch.rand(count, 1, 1, 1, generator=random) < data.hidden
    # A photograph from elsewhere: only what both see stays, unless that is next to nothing.
    both = seen * (other > 0)
    enough = both.mean(dim=(1, 2, 3), keepdim=True) > 0.02
    seen = torch.where(hides & enough, both, seen)
    return torch.cat([colour.clamp(-1.0, 1.0) * (seen > 0), seen], dim=1)


def drawn_images(
    wardrobe: Wardrobe,
    dresser: Dresser,
    people: People,
    config: PhotoEncoderConfig,
    data: EncoderData,
    seed: int,
) -> EncoderImages:
    """Render people whom the wardrobe draws in poses and cameras of the captures.

    Args:
        wardrobe: the generator and its prior.
        dresser: that its textures wear.
        people: captures, whose training frames lend poses and cameras, and the body.
        config: how the encoder reads.
        data: how many.
        seed: of the draws.
    """
    layout = UvLayout.of(people.body, config.size)
    rng = np.random.default_rng((_FRAME_SEED, seed))
    images: list[Tensor] = []
    codes: list[Tensor] = []
    for number in range(data.drawn):
        w = wardrobe.draw(seed * 1_000_003 + number, data.truncation)
        texture = wardrobe.texture(w)
        for frame in _random_frames(people, data.views, rng):
            images.append(as_bytes(_rendered(texture, dresser, people, frame, layout, config)))
            codes.append(w)
    person = torch.arange(data.drawn).repeat_interleave(data.views)
    return EncoderImages(torch.stack(images), torch.stack(codes), person)


def captured_images(
    people: People, codes: Mapping[int, Tensor], config: PhotoEncoderConfig, data: EncoderData
) -> EncoderImages:
    """Read frames of captured people whose codes are known.

    Args:
        people: captures and body.
        codes: by index of the capture, (W,) or (L, W).
        config: how the encoder reads.
        data: how many frames of each.
    """
    layout = UvLayout.of(people.body, config.size)
    images: list[Tensor] = []
    whose: list[int] = []
    for person in codes:
        frames = people.captures[person].frames("train")
        few = np.linspace(0, len(frames) - 1, min(data.frames, len(frames))).round().astype(int)
        for frame in read_frames(people, person, [frames[i] for i in few]):
            images.append(as_bytes(frame_image(frame, layout, config)))
            whose.append(person)
    w = torch.stack([codes[person].float() for person in whose])
    return EncoderImages(torch.stack(images), w, torch.tensor(whose))


def frame_image(frame: Frame, layout: UvLayout, config: PhotoEncoderConfig) -> Tensor:
    """Return a captured frame (4, S, S) as the encoder reads it."""
    window = whole_window(frame, MARGIN)
    planes = cut_pixels(frame, window, _SIZE)
    if config.reads == "photo":
        return _read_as_photo(planes[:3], planes[3:4], config.size)
    cut = frame.camera.cropped(window.x, window.y, _SIZE, _SIZE, _SIZE / window.side)
    colour = (planes[:3] / planes[3:4].clamp_min(1e-3)).clamp(0.0, 1.0)
    K = torch.from_numpy(cut.K.astype(np.float32))
    return unwrap(layout, colour, planes[3], torch.from_numpy(frame.vertices), K).stacked()


def dress_textures(
    textures: Tensor, dresser: Dresser, samples: object, which: Tensor, images: int
) -> Dressed:
    """Look textures (P, C, S, S) up at surface samples of so many images, and dress them."""
    layers = 2 if dresser.config.shell else 1
    given = gather_features(samples, MipChain.build(textures), which.repeat(layers))  # pyright: ignore[reportArgumentType]
    features = stacked(given.features) if layers > 1 else given.features
    features = features.contiguous(memory_format=torch.channels_last)
    return dresser(features, given.coverage[:images])


@torch.no_grad()
def _rendered(
    texture: Tensor,
    dresser: Dresser,
    people: People,
    frame: Frame,
    layout: UvLayout,
    config: PhotoEncoderConfig,
) -> Tensor:
    window = whole_window(frame, MARGIN)
    cut = frame.camera.cropped(window.x, window.y, _SIZE, _SIZE, _SIZE / window.side)
    K = torch.from_numpy(cut.K.astype(np.float32))
    vertices = torch.from_numpy(frame.vertices)
    samples = surface_of(vertices[None], K[None], people.body, dresser.config, _SIZE)
    dressed = dress_textures(texture[None], dresser, samples, torch.zeros(1, dtype=torch.long), 1)
    mask = dressed.masks[:1, :1]
    if config.reads == "photo":
        return _read_as_photo((dressed.rgb * mask)[0], mask[0], config.size)
    return unwrap(layout, dressed.rgb[0], mask[0, 0], vertices, K).stacked()


def _read_as_photo(colour: Tensor, mask: Tensor, size: int) -> Tensor:
    """Return premultiplied colour (3, H, W) and mask as (4, size, size)."""
    both = torch.cat([colour, mask])[None]
    small = functional.interpolate(
        both, size=(size, size), mode="bilinear", antialias=True, align_corners=False
    )[0]
    return torch.cat([small[:3] * 2.0 - 1.0, small[3:]])


def _random_frames(people: People, count: int, rng: np.random.Generator) -> Iterator[Frame]:
    for _ in range(count):
        person = int(rng.integers(len(people.captures)))
        frames: Sequence[int] = people.captures[person].frames("train")
        yield from read_frames(people, person, [frames[int(rng.integers(len(frames)))]])


def _layered(w: Tensor, layers: int) -> Tensor:
    return w[:, None].expand(-1, layers, -1) if w.ndim == 2 else w
