"""Warp's kernels as torch operators, `torch.ops.dressform.…`.

Each has a fake implementation of shapes and devices only, so that torch's FakeTensorMode can
run what is around it on a device that is not there and find tensors on the wrong one.
Arguments are contiguous, without gradient, and checked by the callers: `raster.rasterize` and
`texture.dressing_features` say what they mean.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from torch import Tensor

_library = torch.library.Library("dressform", "FRAGMENT")
_library.define(
    "rasterize(Tensor vertices, Tensor faces, Tensor K, int height, int width, float near)"
    " -> (Tensor, Tensor, Tensor)"
)
_library.define(
    "dressing_features(Tensor vertices, Tensor faces, Tensor corner_uv, Tensor K, int height,"
    " int width, Tensor table, Tensor first_rows, int texture_size, int supersampling,"
    " float near, float off_body_uv) -> (Tensor, Tensor, Tensor)"
)


def rasterize(*arguments: Any) -> tuple[Tensor, Tensor, Tensor]:
    """Return face ids, barycentrics and depth: `raster_warp.fragments` as an operator."""
    return torch.ops.dressform.rasterize(*arguments)


def dressing_features(*arguments: Any) -> tuple[Tensor, Tensor, Tensor]:
    """Return features, coverage and depth: `texture_warp.features` as an operator."""
    return torch.ops.dressform.dressing_features(*arguments)


def _rasterize(
    vertices: Tensor, faces: Tensor, K: Tensor, height: int, width: int, near: float
) -> tuple[Tensor, Tensor, Tensor]:
    from models import raster_warp

    return raster_warp.fragments(vertices, faces, K, (height, width), near)


def _rasterize_fake(
    vertices: Tensor, _faces: Tensor, _K: Tensor, height: int, width: int, _near: float
) -> tuple[Tensor, Tensor, Tensor]:
    shape = (vertices.shape[0], height, width)
    return (
        vertices.new_empty(shape, dtype=torch.int32),
        vertices.new_empty((*shape, 3)),
        vertices.new_empty(shape),
    )


def _dressing_features(
    vertices: Tensor,
    faces: Tensor,
    corner_uv: Tensor,
    K: Tensor,
    height: int,
    width: int,
    *lookup: Any,
) -> tuple[Tensor, Tensor, Tensor]:
    from models import texture_warp

    return texture_warp.features(vertices, faces, corner_uv, K, (height, width), *lookup)


def _dressing_features_fake(
    vertices: Tensor,
    _faces: Tensor,
    _corner_uv: Tensor,
    _K: Tensor,
    height: int,
    width: int,
    table: Tensor,
    *_lookup: Any,
) -> tuple[Tensor, Tensor, Tensor]:
    shape = (vertices.shape[0], height, width)
    return (
        vertices.new_empty((*shape, table.shape[1] + 2)),
        vertices.new_empty(shape),
        vertices.new_empty(shape),
    )


for _name, _real, _fake in (
    ("rasterize", _rasterize, _rasterize_fake),
    ("dressing_features", _dressing_features, _dressing_features_fake),
):
    _library.impl(_name, _real, "CompositeExplicitAutograd")
    torch.library.register_fake(f"dressform::{_name}", _fake, lib=_library)
