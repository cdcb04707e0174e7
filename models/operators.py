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
_library.define(
    "gather_texels(Tensor table, int size, Tensor uv, Tensor level, Tensor offset,"
    " Tensor first_rows, float share) -> Tensor"
)
_library.define(
    "scatter_texels(Tensor gradient, int rows, int size, Tensor uv, Tensor level, Tensor offset,"
    " Tensor first_rows, float share) -> Tensor"
)
_library.define(
    "slope_texels(Tensor gradient, Tensor table, int size, Tensor uv, Tensor level, Tensor offset,"
    " Tensor first_rows, float share) -> Tensor"
)


def rasterize(*arguments: Any) -> tuple[Tensor, Tensor, Tensor]:
    """Return face ids, barycentrics and depth: `raster_warp.fragments` as an operator."""
    return torch.ops.dressform.rasterize(*arguments)


def dressing_features(*arguments: Any) -> tuple[Tensor, Tensor, Tensor]:
    """Return features, coverage and depth: `texture_warp.features` as an operator."""
    return torch.ops.dressform.dressing_features(*arguments)


def gather_texels(*arguments: Any) -> Tensor:
    """Return sums of looked-up samples: `texture_warp.gather`, differentiable in table and UV."""
    return torch.ops.dressform.gather_texels(*arguments)


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


def _gather_texels(table: Tensor, *bags: Any) -> Tensor:
    from models import texture_warp

    return texture_warp.gather(table, texture_warp.bags_of(*bags))


def _gather_texels_fake(
    table: Tensor, _size: int, _uv: Tensor, _level: Tensor, offset: Tensor, *_bags: Any
) -> Tensor:
    return table.new_empty((offset.shape[0] - 1, table.shape[1]))


def _scatter_texels(gradient: Tensor, rows: int, *bags: Any) -> Tensor:
    from models import texture_warp

    return texture_warp.scatter(gradient, rows, texture_warp.bags_of(*bags))


def _scatter_texels_fake(gradient: Tensor, rows: int, *_: Any) -> Tensor:
    return gradient.new_empty((rows, gradient.shape[1]))


def _slope_texels(gradient: Tensor, table: Tensor, *bags: Any) -> Tensor:
    from models import texture_warp, texture_warp_uv

    return texture_warp_uv.slopes(gradient, table, texture_warp.bags_of(*bags))


def _slope_texels_fake(
    _gradient: Tensor, _table: Tensor, _size: int, uv: Tensor, *_: Any
) -> Tensor:
    return torch.empty_like(uv)


def _keep_lookup(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    del output
    table, size, uv, level, offset, first_rows, share = inputs
    # The table is large: it is kept for the slope along UV only, which few trainings ask for.
    kept = table if ctx.needs_input_grad[2] else None
    ctx.save_for_backward(uv, level, offset, first_rows, kept)
    ctx.lookup = (table.shape[0], size, share)


def _gather_texels_backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
    rows, size, share = ctx.lookup
    *samples, table = ctx.saved_tensors
    of_table = of_uv = None
    gradient = gradient.contiguous()
    if ctx.needs_input_grad[0]:
        of_table = torch.ops.dressform.scatter_texels(gradient, rows, size, *samples, share)
    if table is not None:
        of_uv = torch.ops.dressform.slope_texels(gradient, table, size, *samples, share)
    return of_table, None, of_uv, None, None, None, None


for _name, _real, _fake in (
    ("rasterize", _rasterize, _rasterize_fake),
    ("dressing_features", _dressing_features, _dressing_features_fake),
    ("gather_texels", _gather_texels, _gather_texels_fake),
    ("scatter_texels", _scatter_texels, _scatter_texels_fake),
    ("slope_texels", _slope_texels, _slope_texels_fake),
):
    _library.impl(_name, _real, "CompositeExplicitAutograd")
    torch.library.register_fake(f"dressform::{_name}", _fake, lib=_library)
torch.library.register_autograd(
    "dressform::gather_texels", _gather_texels_backward, setup_context=_keep_lookup, lib=_library
)
