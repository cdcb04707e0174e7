"""SOFs as packages (kind "sof"): the modules and the codes of the heads that they learned from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from blender_addon.contract.errors import PackageDamaged, UnknownModel
from models.package import Manifest, load_arrays, read_manifest, write_package
from models.sof import Sof, SofConfig

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path
    from typing import Any

    from PIL.Image import Image
    from torch import Tensor

KIND = "sof"
CODES = "codes"
"""Name of the codes among a package's arrays; the modules' names begin with "sof."."""
_PREFIX = "sof."


@dataclass(frozen=True)
class LoadedSof:
    """A SOF with the heads that span its sampling space.

    Attributes:
        sof: in evaluation mode, without gradients.
        codes: (N, code) float32 of the basis.
        heads: the basis' ids, in order.
        manifest: of the package.
    """

    sof: Sof
    codes: Tensor
    heads: tuple[str, ...]
    manifest: Manifest

    def code(self, head: str) -> Tensor:
        """Return the code of a head of the basis.

        Raises:
            UnknownModel: there is no such head.
        """
        if head not in self.heads:
            raise UnknownModel(f"{self.manifest.id!r} has no head {head!r}")
        return self.codes[self.heads.index(head)]


def write_sof(
    folder: Path,
    sof: Sof,
    codes: Tensor,
    heads: Sequence[str],
    *,
    name: str,
    licence: str,
    recipe: dict[str, Any],
    data: dict[str, Any],
    metrics: dict[str, Any],
    preview: Image | None = None,
) -> Manifest:
    """Write a SOF's package in float16.

    Args:
        folder: named by the package's id.
        sof: the modules.
        codes: (N, code) of its basis.
        heads: N ids.
        name: what people read.
        licence: SPDX identifier.
        recipe: how it was made.
        data: digest of the heads; their ids are added.
        metrics: measured figures.
        preview: a square picture.
    """
    arrays = {_PREFIX + name: value for name, value in sof.state_dict().items()} | {CODES: codes}
    manifest = Manifest(
        kind=KIND,
        id=folder.name,
        name=name,
        licence=licence,
        architecture=sof.config.to_plain(),
        recipe=recipe,
        data=data | {"basis": list(heads)},
        metrics=metrics,
    )
    half = {name: value.detach().cpu().to(torch.float16) for name, value in arrays.items()}
    return write_package(folder, manifest, half, preview)


def load_sof(folder: Path, device: str = "cpu") -> LoadedSof:
    """Load a SOF's package.

    Raises:
        UnknownModel: the package is of another kind, or not there.
        PackageDamaged: a file differs from its model.json, or the arrays are of another
            architecture.
    """
    manifest = read_manifest(folder)
    if manifest.kind != KIND:
        raise UnknownModel(f"{folder.name!r} is a {manifest.kind}, not a {KIND}")
    arrays = {name: value.float() for name, value in load_arrays(folder, device=device).items()}
    sof = Sof(SofConfig.from_plain(manifest.architecture)).to(device)
    heads = tuple(str(head) for head in manifest.data.get("basis", ()))
    try:
        codes = arrays.pop(CODES)
        sof.load_state_dict({name.removeprefix(_PREFIX): value for name, value in arrays.items()})
    except (KeyError, RuntimeError) as error:
        raise PackageDamaged(f"{folder}: the weights are of another architecture") from error
    if codes.shape != (len(heads), sof.config.code):
        raise PackageDamaged(f"{folder}: there are {len(codes)} codes for {len(heads)} heads")
    return LoadedSof(sof.eval().requires_grad_(requires_grad=False), codes, heads, manifest)
