"""Clothes, shoes and hair from a folder of MakeHuman assets, fitted to a person.

Needs the `people` extra, whose data files say where a garment touches the body. The CC0 asset
set is not part of the project; docs/people.md says where it comes from. Everything here has a
procedural counterpart that needs no files.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
from scipy.spatial import KDTree

from blender_addon.contract.errors import ModelError
from training.makehuman.basis import full_basis
from training.makehuman.garments import Garment
from training.makehuman.rig import skin_weights
from training.people.hair import comb
from training.people.surfaces import Surface

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from training.people.bare import BareBody

    Array = NDArray[np.float64]


@dataclass(frozen=True)
class Fitted:
    """A garment on a person.

    Attributes:
        surface: in the person's rest pose.
        hidden: (V,) bool: vertices of the body that it covers.
    """

    surface: Surface
    hidden: NDArray[np.bool_]


def find_piece(folder: Path, name: str) -> Path:
    """Return the .mhclo file of a piece.

    Raises:
        ModelError: the folder has none of this name.
    """
    found = sorted(folder.rglob(f"{name}.mhclo"))
    if not found:
        raise ModelError(
            f"{folder} holds no {name}.mhclo",
            "point --assets at the unpacked MakeHuman asset set, or leave it out",
        )
    return found[0]


def fit_piece(bare: BareBody, folder: Path, name: str) -> Fitted:
    """Fit a piece of the asset folder to a person.

    Args:
        bare: a person of the free body; other bodies have no MakeHuman vertices.
        folder: the unpacked asset set.
        name: file name without suffix.

    Raises:
        ModelError: the piece is missing or damaged.
        MissingExtra: the `people` extra is not installed.
    """
    garment = Garment.from_mhclo(find_piece(folder, name))
    basis = full_basis()
    weights = _base_weights()
    turned = np.einsum("vj,jab->vab", weights, basis.rotations)
    count = min(len(bare.betas), basis.shape_dirs.shape[2])
    shaped = basis.template + basis.shape_dirs[..., :count] @ bare.betas[:count].astype(np.float64)
    vertices = garment.fit(shaped, turned)
    paint = garment.fit(basis.template, turned)
    surface = Surface(
        vertices=vertices,
        faces=garment.faces,
        weights=garment.skin_weights(weights),
        paint=paint,
        coords=paint[:, [0, 2]],
        edge=np.full(len(vertices), 1.0),
    )
    return Fitted(surface, _hidden(bare, basis.template, garment.hidden_body_vertices))


def fit_hair(bare: BareBody, folder: Path, name: str) -> Fitted:
    """Fit a hair style and comb it: `coords` run across and along the strands."""
    fitted = fit_piece(bare, folder, name)
    return Fitted(comb(bare, fitted.surface), fitted.hidden)


def fit_shoes(bare: BareBody, folder: Path, name: str) -> Fitted:
    """Fit shoes; `coords[:, 1]` is the height above their soles in metres."""
    fitted = fit_piece(bare, folder, name)
    surface = fitted.surface
    height = surface.vertices[:, 1] - surface.vertices[:, 1].min()
    values = surface.attributes()
    values[:, -3:-1] = np.stack([surface.vertices[:, 0], height], axis=1)
    return Fitted(surface.rebuilt(values, surface.faces), fitted.hidden)


@lru_cache(maxsize=1)
def _base_weights() -> Array:
    return skin_weights()


def _hidden(bare: BareBody, template: Array, hidden: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Carry the base mesh's hidden vertices over to the body's by their places."""
    covered = np.zeros(len(template), bool)
    covered[hidden] = True
    distance, nearest = KDTree(template).query(bare.template)
    return covered[np.asarray(nearest)] & (np.asarray(distance) < 0.01)
