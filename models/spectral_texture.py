"""A body's spectral coordinates as maps in UV space, which join the texture generator's inputs.

Source: StylePeople supplementary, section 2.1: the coordinates of the vertices (`models/spectral.py`)
rasterised bilinearly in the UV texture space.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from scipy.ndimage import distance_transform_edt
from torch.nn import functional

from blender_addon.contract.errors import BodyMismatch
from models.raster import interpolate, rasterize

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from models.body import Body

SIDE = 512
"""Points along each axis at which the UV square is looked at; texels of a map average theirs. Thin
islands lie between the centres of coarse texels."""


def spectral_maps(body: Body, sizes: Sequence[int]) -> list[Tensor]:
    """Return a body's spectral coordinates as maps, the same bytes every time.

    Off the UV islands a map goes on with what is nearest, so that texels at a seam hold what
    their vertices do on both sides.

    Args:
        body: with spectral coordinates.
        sizes: sides in texels, powers of two up to `SIDE`.

    Returns:
        (C, size, size) float32 in −1…1 for each size, row 0 at v = 1, on the body's device.

    Raises:
        BodyMismatch: the body has no spectral coordinates.
    """
    if body.spectral is None:
        raise BodyMismatch(
            f"{body.id!r} has no spectral coordinates",
            "use the default body, or pack yours with `models.spectral`",
        )
    return vertex_maps(body, body.spectral, sizes)


def vertex_maps(body: Body, values: Tensor, sizes: Sequence[int]) -> list[Tensor]:
    """Return values of a body's vertices as maps in UV space, the same bytes every time.

    Args:
        body: whose UVs these are.
        values: (V, C) float32.
        sizes: as of `spectral_maps`.

    Returns:
        (C, size, size) float32 for each size, row 0 at v = 1; off the UV islands goes on what is
        nearest.
    """
    if not sizes:
        return []
    # The UV square 1 m in front of a camera whose image it fills.
    u, v = body.uv[:, :1], body.uv[:, 1:]
    flat = torch.cat([u, 1.0 - v, torch.ones_like(u)], dim=1)
    K = torch.diag(torch.tensor([SIDE, SIDE, 1.0])).to(flat)
    fragments = rasterize(flat[None], body.uv_faces, K[None], (SIDE, SIDE))
    looked = interpolate(fragments, values[body.faces.long()])[0].permute(2, 0, 1)
    covered = fragments.covered.float()
    return [_averaged(looked, covered, SIDE // size) for size in sizes]


def _averaged(values: Tensor, covered: Tensor, points: int) -> Tensor:
    """Average what is covered over texels of points × points; continue it where nothing is."""
    total = functional.avg_pool2d(values, points)
    share = functional.avg_pool2d(covered, points)
    return _continued(total / share.clamp_min(1e-6), share[0] > 0)


def _continued(values: Tensor, known: Tensor) -> Tensor:
    """Give texels (C, H, W) that are not known (H, W) the value of the nearest known one."""
    nearest: Any = distance_transform_edt(
        ~known.cpu().numpy(), return_distances=False, return_indices=True
    )
    rows, columns = torch.from_numpy(nearest).to(values.device).long()
    return values[:, rows, columns]
