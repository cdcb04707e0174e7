"""A library of one wardrobe with tiny random networks: people in random colours, in a moment."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from models.body import load_body
from models.dresser import Dresser, DresserConfig
from models.package import DEFAULT_LIBRARY, Manifest, read_manifest, write_package
from models.photo_encoder import PhotoEncoder, PhotoEncoderConfig
from models.spectral_texture import spectral_maps
from models.stylegan2_discriminator import Discriminator, DiscriminatorConfig
from models.texture_generator import TextureGenerator, TextureGeneratorConfig
from models.wardrobe import WardrobeSpace
from models.wardrobe_package import load_wardrobe, save_wardrobe_avatar, write_wardrobe

if TYPE_CHECKING:
    from pathlib import Path

    from models.body import Body

BODY = "body-cc0"
DRESSER = "dresser-wardrobe"
WARDROBE = "wardrobe-toy"
LICENCE = "CC0-1.0"

GENERATOR = TextureGeneratorConfig(
    size=32, base=256, widest=12, style=10, code=6, mapping_layers=0, spectral_from=8
)
DRESSER_CONFIG = DresserConfig(
    encoder="tu-tf_mobilenetv3_small_minimal_100",
    upscale=2,
    depth=3,
    decoder=(12, 8, 8),
    features=8,
    covers_body=True,
)
ENCODER = PhotoEncoderConfig(
    backbone="mobilenetv3_small_050",
    size=32,
    layers=GENERATOR.layers,
    style=GENERATOR.style,
    width=8,
    pool=2,
    reads="unwrapped",
)
FACE = DiscriminatorConfig(size=16, channels=4, base=128, widest=8)


@dataclass(frozen=True)
class ToyNetworks:
    """What `write_toy_wardrobe` wrote, before it became float16."""

    generator: TextureGenerator
    dresser: Dresser
    encoder: PhotoEncoder
    face: Discriminator
    space: WardrobeSpace


def toy_body() -> Body:
    """The body that all toys wear."""
    return load_body(DEFAULT_LIBRARY / BODY)


def toy_networks(body: Body | None = None, seed: int = 0) -> ToyNetworks:
    """Make random networks whose people differ clearly, and whose colours stay within −1…1."""
    body = body or toy_body()
    torch.manual_seed(seed)
    generator = TextureGenerator(GENERATOR, spectral_maps(body, GENERATOR.spectral_sizes))
    with torch.no_grad():
        for name, parameter in generator.named_parameters():
            if name.endswith("strength"):
                parameter.fill_(0.05)
            if name.endswith("colour.conv.weight"):
                parameter.mul_(0.3)
    dresser = Dresser(DRESSER_CONFIG)
    # Nothing off the body, which is covered anyway.
    torch.nn.init.constant_(dresser.enlarger.mask_head[-1].bias, -6.0)
    space = WardrobeSpace.of(torch.randn(9, GENERATOR.style), names=("first", "second"))
    return ToyNetworks(
        generator.eval(),
        dresser.eval(),
        PhotoEncoder(ENCODER, space.mean).eval(),
        Discriminator(FACE).eval(),
        space,
    )


def write_toy_wardrobe(library: Path, *, seed: int = 0, complete: bool = True) -> ToyNetworks:
    """Write a body, a dresser and a wardrobe.

    Args:
        library: folder of packages.
        seed: of the networks.
        complete: with photo encoder and face discriminator.
    """
    if not (library / BODY).exists():
        shutil.copytree(DEFAULT_LIBRARY / BODY, library / BODY)
    networks = toy_networks(load_body(library / BODY), seed)
    dresser = Manifest(
        kind="dresser", id=DRESSER, name="Toy dresser", licence=LICENCE,
        architecture=DRESSER_CONFIG.to_plain(),
    )  # fmt: skip
    state = {
        k: v.half() if v.is_floating_point() else v
        for k, v in networks.dresser.state_dict().items()
    }
    written = write_package(library / DRESSER, dresser, state)
    write_wardrobe(
        library / WARDROBE, networks.generator, networks.space,
        dresser=written, body=BODY, name="Toy wardrobe", licence=LICENCE, largest_crop=256,
        encoder=networks.encoder if complete else None, face=networks.face if complete else None,
    )  # fmt: skip
    return networks


def write_toy_avatar(library: Path, avatar: str, seed: int, *, styles: bool = True) -> Manifest:
    """Write somebody whom the toy wardrobe of a library draws, with or without their styles."""
    wardrobe = load_wardrobe(library, WARDROBE)
    w = wardrobe.draw(seed, truncation=1.0)
    return save_wardrobe_avatar(
        library / avatar, read_manifest(library / WARDROBE), wardrobe.texture(w),
        w if styles else None, name=avatar, licence=LICENCE, recipe={"seed": seed},
    )  # fmt: skip
