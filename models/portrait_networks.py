"""The two networks of portraits, loaded once and shared by all portraits that name them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from weakref import WeakValueDictionary

import torch

from models.baked_head import BakedHead, BakeSettings
from models.package import package_digest, read_manifest
from models.recent import Recent
from models.siw_package import load_siw
from models.sof_package import load_sof
from models.sof_render import SofRenderer
from models.sof_space import SofSpace

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor

    from models.siw_package import Siw
    from models.sof_package import LoadedSof

KEPT_BAKED = 4
"""Baked heads in memory: some megabytes each."""


@dataclass(frozen=True, eq=False)
class Heads:
    """A SOF ready to draw.

    Attributes:
        sof: the package's content.
        renderer: keeps what depends on a head alone.
        space: of its codes.
        baked: heads that were baked, by `code_key`, with how finely.
    """

    sof: LoadedSof
    renderer: SofRenderer
    space: SofSpace
    baked: Recent[tuple[BakedHead, BakeSettings]] = field(
        default_factory=lambda: Recent[tuple[BakedHead, BakeSettings]](KEPT_BAKED)
    )

    @classmethod
    def of(cls, sof: LoadedSof) -> Heads:
        """Return what a loaded package can do."""
        return cls(sof, SofRenderer(sof.sof), SofSpace(sof.codes))


_heads: WeakValueDictionary[tuple[str, str], Heads] = WeakValueDictionary()
_painters: WeakValueDictionary[tuple[str, str], Siw] = WeakValueDictionary()
"""By digest of the package and device. Shared tensors must not be changed: renderers never do."""


def shared_heads(folder: Path, device: str = "cpu") -> Heads:
    """Return a SOF's package; the same one while somebody holds it.

    A package that has changed on disk is loaded anew: what is shared goes by its digest.

    Raises:
        UnknownModel: the package is of another kind, or not there.
        PackageDamaged: a file differs from its model.json.
    """
    key = _key(folder, device)
    heads = _heads.get(key)
    if heads is None:
        heads = _heads[key] = Heads.of(load_sof(folder, device))
    return heads


def shared_painter(folder: Path, device: str = "cpu") -> Siw:
    """Return a SIW StyleGAN's package, as `shared_heads` does a SOF's."""
    key = _key(folder, device)
    painter = _painters.get(key)
    if painter is None:
        loaded = load_siw(folder, device)
        painter = loaded.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
        _painters[key] = painter
    return painter


def code_key(code: Tensor) -> bytes:
    """Return what names a head's code (C,) in memories."""
    return code.detach().float().cpu().numpy().tobytes()


def _key(folder: Path, device: str) -> tuple[str, str]:
    return package_digest(read_manifest(folder)), str(torch.device(device))
