"""Dressers from packages: loaded once, shared by all avatars that wear them.

Ten avatars of one dresser would hold its 57 MB ten times. Here they hold it once, for as long as
any of them is loaded, and each has only its delta for itself. Shared tensors must not be changed:
renderers never do.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary, WeakValueDictionary

import torch

from blender_addon.contract.errors import UnknownModel
from models.dresser import Dresser, DresserConfig
from models.dresser_delta import with_delta
from models.package import load_arrays, package_digest, read_manifest

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from torch import Tensor

_loaded: WeakValueDictionary[tuple[str, str], Dresser] = WeakValueDictionary()
"""By digest of the package and device."""
_holding: WeakKeyDictionary[Dresser, Dresser] = WeakKeyDictionary()
"""Dressers with a delta, and the shared ones whose memory they use."""


def load_dresser(folder: Path, device: str = "cpu") -> Dresser:
    """Load a dresser's package, in evaluation mode and without gradients.

    Raises:
        UnknownModel: the package is of another kind, or not there.
        PackageDamaged: a file differs from its model.json.
    """
    manifest = read_manifest(folder)
    if manifest.kind != "dresser":
        raise UnknownModel(f"{folder.name!r} is a {manifest.kind}, not a dresser")
    dresser = Dresser(DresserConfig.from_plain(manifest.architecture)).to(device)
    dresser.load_state_dict(load_arrays(folder, device=device))
    dresser = dresser.eval().requires_grad_(requires_grad=False)
    return dresser.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]


def shared_dresser(folder: Path, device: str = "cpu") -> Dresser:
    """Return a dresser's package as `load_dresser` does; the same one while somebody holds it.

    A package that has changed on disk is loaded anew: what is shared goes by its digest.
    """
    key = (package_digest(read_manifest(folder)), str(torch.device(device)))
    dresser = _loaded.get(key)
    if dresser is None:
        dresser = load_dresser(folder, device)
        _loaded[key] = dresser
    return dresser


def worn_dresser(folder: Path, delta: Mapping[str, Tensor], device: str = "cpu") -> Dresser:
    """Return the dresser of an avatar: the shared one, or one that shares all but a delta.

    Args:
        folder: the shared dresser's package.
        delta: of `dresser_delta.delta_in`; empty for most avatars.
        device: where the dresser lies.

    Raises:
        PackageDamaged: the delta does not fit the dresser.
    """
    shared = shared_dresser(folder, device)
    if not delta:
        return shared
    worn = with_delta(shared, delta)
    # Keeps the shared one alive, so that the next avatar finds it.
    _holding[worn] = shared
    return worn
