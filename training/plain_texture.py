"""A person as a plain RGB texture on the bare body: the least that an avatar must beat.

The same captures, rasteriser and mip chain as the neural texture, but no network: hair and cloth
that leave the body cannot be shown. It is the baseline of the evaluation, and the first value of
three of the neural texture's channels.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from PIL import Image, PngImagePlugin
from torch import Tensor, nn
from torch.nn import functional

from blender_addon.contract.errors import TrainingError
from models.avatar import AvatarRenderer
from models.dresser import Dressed, DresserConfig
from models.package import DEFAULT_LIBRARY
from models.texture import NeuralTexture, gather_features
from training.dressing_data import People, load_frames, make_batch
from training.dressing_model import assemble_chain
from training.dressing_recipe import DressingData

if TYPE_CHECKING:
    from collections.abc import Sequence

    from models.body import Body
    from training.dressing_data import Frame

BASELINES = Path(__file__).parent / "baselines"
"""Plain textures of the benchmark's people, as `train_plain_textures` wrote them."""

RATE = 2e-2
SMOOTHNESS = 1e-3
"""Weight of the mip penalty: what no frame sees takes its colour from coarser levels."""


def fit_plain_texture(
    people: People,
    person: int,
    frames: Sequence[Frame],
    data: DressingData,
    *,
    steps: int,
    seed: int = 0,
    size: int = 512,
) -> Tensor:
    """Fit a person's RGB texture to captured frames by L1 on covered pixels.

    Args:
        people: the body and its UVs.
        person: index of the capture.
        frames: that person's training frames.
        data: crops as in training.
        steps: of Adam, with a linearly falling rate.
        seed: of the crops.
        size: side of the texture, S.

    Returns:
        (3, S, S) float32 sRGB; mostly within 0…1.
    """
    texture = NeuralTexture(channels=3, largest=size)
    optimiser = torch.optim.Adam(texture.parameters(), RATE, betas=(0.9, 0.99))
    for step in range(steps):
        for group in optimiser.param_groups:
            group["lr"] = RATE * (1.0 - step / steps) + 1e-4
        batch = make_batch(people, [frames], data, seed + 7919 * (person + 1), step)
        given = gather_features(batch.samples(), assemble_chain([texture]))
        alpha = batch.masks[:, :1]
        # Only pixels that are wholly body in both: soft edges hold a mixture with nothing.
        inside = (given.coverage > 0.99) & (alpha > 0.98)
        difference = (given.features[:, :3] + 0.5 - batch.colour).abs() * inside
        loss = difference.sum() / (3.0 * inside.sum().clamp_min(1))
        loss = loss + SMOOTHNESS * texture.mipmap_penalty(normalised=True)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return texture.assemble().detach() + 0.5


class PlainPainter(nn.Module):
    """Stands where a dresser stands in the render path, and shows the texture as it is.

    The texture has four channels: RGB, and a constant 1 that comes out as the coverage.
    """

    config = DresserConfig(texture_channels=4, input_skip=False, shell=False)

    def forward(self, features: Tensor) -> Dressed:
        """Return the texture's colour and the body's coverage for (B, 4 + 2, H, W) features."""
        coverage = features[:, 3:4].clamp(0.0, 1.0)
        colour = (features[:, :3] / coverage.clamp_min(1e-6)).clamp(0.0, 1.0)
        return Dressed(colour, functional.pad(coverage, (0, 0, 0, 0, 0, 2)))


def plain_renderer(body: Body, texture: Tensor) -> AvatarRenderer:
    """Return the render path of an avatar with a plain texture (3, S, S) on the bare body."""
    with_coverage = torch.cat([texture, torch.ones_like(texture[:1])])
    return AvatarRenderer(body, with_coverage, PlainPainter(), "plain")  # pyright: ignore[reportArgumentType]


def train_plain_textures(
    captures: list[Path],
    out: Path = BASELINES,
    library: Path = DEFAULT_LIBRARY,
    steps: int = 400,
    size: int = 256,
    seed: int = 0,
) -> int:
    """Fit and write the plain textures that avatars are measured against.

    Args:
        captures: those that the avatars are trained on.
        out: folder of "<id>.png"; the png names capture digest and steps.
        library: where the captures' body lies.
        steps: of the fit.
        size: side of the crops that it sees.
        seed: of the crops.
    """
    people = People.open(captures, library)
    frames = load_frames(people, "train")
    out.mkdir(parents=True, exist_ok=True)
    data = DressingData(size=size, people_per_batch=1)
    for person, name in enumerate(people.ids):
        texture = fit_plain_texture(people, person, frames[person], data, steps=steps, seed=seed)
        notes = {"capture": people.captures[person].digest, "steps": steps, "seed": seed}
        write_plain_texture(out, name, texture, notes)
        print(out / f"{name}.png")  # noqa: T201 - a command's own output
    return 0


def write_plain_texture(
    folder: Path, name: str, texture: Tensor, notes: dict[str, str | int]
) -> None:
    """Write (3, S, S) in 0…1 as an 8-bit png that carries notes."""
    pixels = texture.clamp(0, 1).mul(255).add(0.5).to(torch.uint8).permute(1, 2, 0)
    info = PngImagePlugin.PngInfo()
    for key, value in notes.items():
        info.add_text(key, str(value))
    Image.fromarray(pixels.contiguous().numpy()).save(
        folder / f"{name}.png", pnginfo=info, optimize=True
    )


def read_plain_texture(folder: Path, name: str) -> Tensor:
    """Return a person's plain texture (3, S, S), 0…1.

    Raises:
        TrainingError: there is none.
    """
    path = folder / f"{name}.png"
    if not path.is_file():
        raise TrainingError(
            f"{path} is missing: there is nothing to compare {name} with",
            "fit it: dressform train plain-texture CAPTURES",
        )
    with Image.open(path) as image:
        pixels = np.asarray(image.convert("RGB"), np.float32) / 255
    return torch.from_numpy(pixels).permute(2, 0, 1)
