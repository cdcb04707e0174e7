"""Parsers as packages (kind "parser"): what was learnt, on features that are not in the package."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from blender_addon.contract.errors import PackageDamaged, UnknownModel
from models.package import load_arrays, read_manifest, write_package
from models.parser_network import ParserConfig, ParserNetwork

if TYPE_CHECKING:
    from pathlib import Path

    from PIL.Image import Image

    from models.package import Manifest

KIND = "parser"


def write_parser(
    folder: Path, network: ParserNetwork, manifest: Manifest, preview: Image | None = None
) -> Manifest:
    """Write a package in float16; returns the manifest as written.

    Args:
        folder: named by the package's id.
        network: in any mode.
        manifest: of kind "parser", with the decoder's `config.to_plain()` as architecture.
        preview: a square picture.
    """
    arrays = {
        name: value.detach().cpu().to(torch.float16) if value.is_floating_point() else value.cpu()
        for name, value in network.decoder.state_dict().items()
    }
    return write_package(folder, manifest, arrays, preview)


def load_parser(folder: Path, device: str = "cpu") -> ParserNetwork:
    """Load a package, in evaluation mode and without gradients.

    Raises:
        UnknownModel: the package is of another kind, or not there.
        PackageDamaged: a file differs from its model.json, or weights do not fit it.
    """
    manifest = read_manifest(folder)
    if manifest.kind != KIND:
        raise UnknownModel(f"{folder.name!r} is a {manifest.kind}, not a {KIND}")
    arrays = load_arrays(folder, device=device)
    try:
        network = ParserNetwork(ParserConfig.from_plain(manifest.architecture))
        network.decoder.load_state_dict(
            {n: v.float() if v.is_floating_point() else v for n, v in arrays.items()}
        )
    except (RuntimeError, TypeError, ValueError) as error:
        raise PackageDamaged(
            f"{folder.name}: the weights do not fit model.json ({error})"
        ) from error
    return network.to(device).eval().requires_grad_(requires_grad=False)
