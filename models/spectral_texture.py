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

SUPERSAMPLING = 4
"""Points along each axis of a texel: thin islands lie between the centres of coarse texels."""


def spectral_maps(body: Body, sizes: Sequence[int]) -> list[Tensor]:
    """Return a body's spectral coordinates as maps, the same bytes every time.

    Off the UV islands a map goes on with what is nearest, so that texels at a seam hold what
    their vertices do on both sides.

    Args:
        body: with spectral coordinates.
        sizes: sides in texels.

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
    return [_map(body, body.spectral, size) for size in sizes]


def _map(body: Body, spectral: Tensor, size: int) -> Tensor:
    side = size * SUPERSAMPLING
    # The UV square 1 m in front of a camera whose image it fills.
    flat = torch.cat([body.uv[:, :1], 1.0 - body.uv[:, 1:], torch.ones_like(body.uv[:, :1])], dim=1)
    K = torch.diag(torch.tensor([side, side, 1.0])).to(flat)
    fragments = rasterize(flat[None], body.uv_faces, K[None], (side, side))
    values = interpolate(fragments, spectral[body.faces.long()])
    covered = fragments.covered[:, None].float()
    total = functional.avg_pool2d(values.permute(0, 3, 1, 2) * covered, SUPERSAMPLING)
    share = functional.avg_pool2d(covered, SUPERSAMPLING)
    return _continued(total[0] / share[0].clamp_min(1e-6), share[0, 0] > 0)


def _continued(values: Tensor, known: Tensor) -> Tensor:
    """Give texels (C, H, W) that are not known (H, W) the value of the nearest known one."""
    nearest: Any = distance_transform_edt(
        ~known.cpu().numpy(), return_distances=False, return_indices=True
    )
    rows, columns = torch.from_numpy(nearest).to(values.device).long()
    return values[:, rows, columns]
