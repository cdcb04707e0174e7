"""Wardrobes as packages (kind "wardrobe"), and the avatars that come out of them.

A package holds G, mean and directions of its styles, and perhaps the photo encoder and the face
discriminator that fits need. It names the dresser that its textures are made for and pins its
content; the body's spectral maps are computed from the body when it is loaded. An avatar of a
wardrobe is an ordinary avatar's package whose texture may be accompanied by its styles.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any, TypeVar, get_args

import torch
from torch import Tensor, nn

from blender_addon.contract.errors import BadParameter, PackageDamaged, UnknownModel
from models.body import load_body
from models.crop import MAX_SIZE
from models.package import (
    Manifest,
    find_package,
    load_arrays,
    package_digest,
    read_manifest,
    write_package,
)
from models.photo_encoder import PhotoEncoder, PhotoEncoderConfig
from models.spectral_texture import spectral_maps
from models.stylegan2_discriminator import Discriminator, DiscriminatorConfig
from models.texture_generator import TextureGenerator, TextureGeneratorConfig
from models.wardrobe import Prior, Wardrobe, WardrobeSpace

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from PIL.Image import Image

    from models.body import Body

KIND = "wardrobe"
DRESSER_ROLE, BODY_ROLE = "dresser", "body"
"""Roles of a wardrobe's requirements, which are its avatars', too."""
TEXTURE, STYLES = "texture", "w"
"""Arrays of an avatar's package."""
TRAINING = "training."
"""Before the names of arrays that a further training takes up, and nothing else reads."""

_SPACE = "space."
_Module = TypeVar("_Module", bound=nn.Module)


def write_wardrobe(
    folder: Path,
    generator: TextureGenerator,
    space: WardrobeSpace,
    *,
    dresser: Manifest,
    body: str,
    name: str,
    licence: str,
    prior: Prior = "gaussian",
    encoder: PhotoEncoder | None = None,
    face: Discriminator | None = None,
    largest_crop: int = MAX_SIZE,
    training: Mapping[str, Tensor] | None = None,
    recipe: dict[str, Any] | None = None,
    data: dict[str, Any] | None = None,
    metrics: dict[str, Any] | None = None,
    preview: Image | None = None,
) -> Manifest:
    """Write a wardrobe's package in float16; an older one of the same folder is replaced.

    Args:
        folder: named by the package's id.
        generator: G.
        space: of its styles.
        dresser: of the package that its textures are made for.
        body: id of the body whose UVs they lie in.
        name: what people read.
        licence: SPDX identifier.
        prior: where drawn people come from.
        encoder: of photographs.
        face: the discriminator whose features fits match.
        largest_crop: see `AvatarRenderer`; its avatars get it.
        training: arrays that a further training wants, say, codes or discriminators.
        recipe: how it was made.
        data: captures with digests.
        metrics: measured figures.
        preview: a square picture.

    Raises:
        BadParameter: space or encoder do not fit the generator, or the prior wants a mapping that
            the generator has not.
    """
    _check_parts(generator.config, space, encoder, prior)
    architecture: dict[str, Any] = {
        "generator": generator.config.to_plain(),
        "prior": prior,
        "bandwidth": space.bandwidth,
        "directions": list(space.names),
        "encoder": None if encoder is None else encoder.config.to_plain(),
        "face": None if face is None else asdict(face.config),
        "largest_crop": largest_crop,
        "dresser_digest": package_digest(dresser),
    }
    arrays = {
        f"{_SPACE}mean": space.mean,
        f"{_SPACE}axes": space.axes,
        f"{_SPACE}spreads": space.spreads,
    }
    if space.bank is not None:
        arrays[f"{_SPACE}bank"] = space.bank
    modules: dict[str, nn.Module | None] = {
        "generator": generator,
        "encoder": encoder,
        "face": face,
    }
    for prefix, module in modules.items():
        state = {} if module is None else module.state_dict()
        arrays |= {f"{prefix}.{key}": value for key, value in state.items()}
    arrays |= {TRAINING + key: value for key, value in (training or {}).items()}
    manifest = Manifest(
        kind=KIND,
        id=folder.name,
        name=name,
        licence=licence,
        architecture=architecture,
        requirements={DRESSER_ROLE: dresser.id, BODY_ROLE: body},
        recipe=recipe or {},
        data=data or {},
        metrics=metrics or {},
    )
    return write_package(folder, manifest, {k: _half(v) for k, v in arrays.items()}, preview)


def load_wardrobe(
    library: Path | Sequence[Path], wardrobe: str, device: str = "cpu", *, body: Body | None = None
) -> Wardrobe:
    """Load a wardrobe, in evaluation mode and without gradients; weights become float32.

    Args:
        library: one folder of packages, or several to be looked through in this order.
        wardrobe: id of the package.
        device: torch's name of it.
        body: the body that it names, if somebody has loaded it already.

    Raises:
        UnknownModel: the package is of another kind, or it or its body is not there.
        PackageDamaged: a file differs from its model.json, the weights do not fit it, or its
            dresser is another version than the one that it was trained with.
    """
    folder = find_package(library, wardrobe)
    manifest = read_manifest(folder)
    if manifest.kind != KIND:
        raise UnknownModel(f"{wardrobe!r} is a {manifest.kind}, not a {KIND}")
    architecture, requirements = manifest.architecture, manifest.requirements
    if {DRESSER_ROLE, BODY_ROLE} - requirements.keys():
        raise PackageDamaged(f"{wardrobe!r} does not name its dresser and its body")
    dresser = find_package(library, requirements[DRESSER_ROLE])
    if architecture.get("dresser_digest") != package_digest(read_manifest(dresser)):
        raise PackageDamaged(
            f"{wardrobe!r} was trained with another version of {dresser.name!r}",
            "bring that version back, or export the wardrobe together with its dresser",
        )
    body = body or load_body(find_package(library, requirements[BODY_ROLE]), device)
    arrays = load_arrays(folder, device=device)
    try:
        config = TextureGeneratorConfig.from_plain(architecture["generator"])
        maps = spectral_maps(body, config.spectral_sizes)
        generator = _filled(TextureGenerator(config, maps), "generator", arrays, device)
        encoder, face = None, None
        if architecture.get("encoder"):
            reader = PhotoEncoder(PhotoEncoderConfig.from_plain(architecture["encoder"]))
            encoder = _filled(reader, "encoder", arrays, device)
        if architecture.get("face"):
            judge = Discriminator(DiscriminatorConfig(**architecture["face"]))
            face = _filled(judge, "face", arrays, device)
        space = WardrobeSpace(
            *(arrays[_SPACE + key].float() for key in ("mean", "axes", "spreads")),
            names=tuple(architecture.get("directions", ())),
            bank=bank.float() if (bank := arrays.get(f"{_SPACE}bank")) is not None else None,
            bandwidth=float(architecture.get("bandwidth", 1.0)),
        )
        prior = architecture["prior"]
        _check_parts(config, space, encoder, prior)
    except (KeyError, RuntimeError, TypeError, ValueError, BadParameter) as error:
        raise PackageDamaged(f"{folder}: this is no wardrobe ({error})") from error
    return Wardrobe(
        manifest,
        generator,
        space,
        prior=prior,
        encoder=encoder,
        face=face,
        digest=package_digest(manifest),
    )


def training_arrays(folder: Path) -> dict[str, Tensor]:
    """Return what a wardrobe's package keeps for a further training, float32."""
    return {
        name.removeprefix(TRAINING): value.float()
        for name, value in load_arrays(folder).items()
        if name.startswith(TRAINING)
    }


def save_wardrobe_avatar(
    folder: Path,
    wardrobe: Manifest,
    texture: Tensor,
    w: Tensor | None = None,
    *,
    name: str,
    licence: str,
    betas: Sequence[float] = (),
    recipe: dict[str, Any] | None = None,
    data: dict[str, Any] | None = None,
    metrics: dict[str, Any] | None = None,
    preview: Image | None = None,
    extra_files: Mapping[str, bytes] | None = None,
) -> Manifest:
    """Write somebody of a wardrobe as an ordinary avatar; an older one of the folder is replaced.

    Args:
        folder: named by the package's id.
        wardrobe: of the wardrobe's package.
        texture: (C, S, S).
        w: (L, W) styles that it came from; without, blends start at the mean person.
        name: what people read.
        licence: SPDX identifier.
        betas: shape of the body.
        recipe: how it was made: seed, look, stages of the fit.
        data: digests of photographs, for instance.
        metrics: measured figures.
        preview: a square picture.
        extra_files: further files by name.

    Raises:
        BadParameter: texture or styles are not of this wardrobe, or not finite.
    """
    config = TextureGeneratorConfig.from_plain(wardrobe.architecture["generator"])
    wanted: dict[str, tuple[int, ...]] = {TEXTURE: (config.channels, config.size, config.size)}
    arrays = {TEXTURE: texture}
    if w is not None:
        wanted[STYLES], arrays[STYLES] = (config.layers, config.style), w
    for key, value in arrays.items():
        if tuple(value.shape) != wanted[key] or not bool(torch.isfinite(value).all()):
            raise BadParameter(
                f"{key} must be finite numbers of the shape {wanted[key]}", field=key
            )
    largest = int(wardrobe.architecture.get("largest_crop", MAX_SIZE))
    manifest = Manifest(
        kind="avatar",
        id=folder.name,
        name=name,
        licence=licence,
        architecture={
            "betas": [round(float(beta), 6) for beta in betas],
            "texture_channels": config.channels,
            "texture_size": config.size,
            "dresser_digest": wardrobe.architecture["dresser_digest"],
            "largest_crop": largest,
            "wardrobe": wardrobe.id,
            "wardrobe_digest": package_digest(wardrobe),
        },
        requirements={role: wardrobe.requirements[role] for role in (BODY_ROLE, DRESSER_ROLE)},
        recipe=recipe or {},
        data=data or {},
        metrics=metrics or {},
    )
    # Styles stay float32: blends and fits go on from them.
    kept = {TEXTURE: _half(texture)} | ({} if w is None else {STYLES: w.detach().float().cpu()})
    return write_package(folder, manifest, kept, preview, extra_files)


def _check_parts(
    config: TextureGeneratorConfig, space: WardrobeSpace, encoder: PhotoEncoder | None, prior: Prior
) -> None:
    layers = space.mean.shape[0]
    shape = (layers, config.style)
    if layers not in (1, config.layers) or space.mean.shape != shape:
        raise BadParameter(f"the mean style must be {(1, config.style)} or one for each layer")
    if space.axes.shape != (len(space.spreads), *shape) or len(space.names) > len(space.spreads):
        raise BadParameter("directions, their spreads and their names do not fit together")
    if prior not in get_args(Prior) or (prior == "mapping" and not config.mapping_layers):
        raise BadParameter(f"the generator has no prior {prior!r}")
    if (prior == "kernel") != (space.bank is not None) or not 0.0 <= space.bandwidth <= 1.0:
        raise BadParameter("a kernel prior, and no other, has a bank and a bandwidth of 0 to 1")
    if space.bank is not None and (not len(space.bank) or space.bank.shape[1:] != shape):
        raise BadParameter(f"the bank must hold styles of the shape {shape}")
    if encoder is None:
        return
    if (encoder.config.layers, encoder.config.style) != (config.layers, config.style):
        raise BadParameter("the encoder reads styles of another generator")


def _filled(module: _Module, prefix: str, arrays: Mapping[str, Tensor], device: str) -> _Module:
    """Return a module with its weights as float32, in evaluation mode and without gradients."""
    start = f"{prefix}."
    module.to(device)
    module.load_state_dict(
        {
            name.removeprefix(start): value.float() if value.is_floating_point() else value
            for name, value in arrays.items()
            if name.startswith(start)
        }
    )
    return module.eval().requires_grad_(requires_grad=False)


def _half(value: Tensor) -> Tensor:
    value = value.detach().cpu()
    return value.half() if value.is_floating_point() else value
