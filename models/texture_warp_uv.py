"""The gradient of the texture look-up with respect to UV, in Warp: what refines a body's fit.

Apart from `texture_warp`, which every frame needs; this only serves trainings that move the body.
"""

# pyright: reportInvalidTypeForm=false, reportIndexIssue=false, reportArgumentType=false
# pyright: reportAttributeAccessIssue=false, reportCallIssue=false, reportOperatorIssue=false
# pyright: reportReturnType=false, reportAssignmentType=false, reportGeneralTypeIssues=false
# The bodies of kernels are Warp's language; a Python type checker misreads them.

import functools
from typing import Any

import torch
import warp as wp

from models.texture_warp import Bags, bilinear, level_parts, rows_of, texel_type
from models.warp_launch import launch

wp.set_module_options({"enable_backward": False, "fuse_fp": False})


@functools.cache
def slope_for(channels: int) -> Any:
    """Return the kernel of the gradient with respect to UV, for a number of channels."""
    texel = texel_type(channels)

    @wp.func
    def slope(
        table: wp.array(dtype=texel),
        first: int,
        size: int,
        level: int,
        uv: wp.vec2,
        share: float,
        value: texel,
    ) -> wp.vec2:
        """Return the slope of one level's bilinear look-up along u and v, against a gradient."""
        at = bilinear(first, size, level, uv, 1.0)
        level_size = float(size >> level)
        x = wp.clamp(uv[0], 0.0, 1.0) * level_size - 0.5
        y = wp.clamp(1.0 - uv[1], 0.0, 1.0) * level_size - 0.5
        x_part = x - wp.floor(x)
        y_part = y - wp.floor(y)
        upper_left = wp.dot(table[at.rows[0]], value)
        upper_right = wp.dot(table[at.rows[1]], value)
        lower_left = wp.dot(table[at.rows[2]], value)
        lower_right = wp.dot(table[at.rows[3]], value)
        along_x = (upper_right - upper_left) * (1.0 - y_part) + (lower_right - lower_left) * y_part
        along_y = (lower_left - upper_left) * (1.0 - x_part) + (lower_right - upper_right) * x_part
        # Row 0 lies at v = 1.
        return wp.vec2(along_x, -along_y) * (level_size * share)

    @wp.kernel(module="unique")
    def slopes(
        table: wp.array(dtype=texel),
        bags: Bags,
        gradient: wp.array(dtype=texel),
        out: wp.array(dtype=wp.vec2),
    ) -> None:
        """One thread per bag: the gradients of its samples' UVs."""
        bag = wp.tid()
        value = gradient[bag] * bags.share
        first = bags.first[bag]
        for index in range(int(bags.offset[bag]), int(bags.offset[bag + 1])):
            at = bags.uv[index]
            fine, blend = level_parts(bags.level[index], bags.last)
            total = slope(table, first, bags.size, fine, at, 1.0 - blend, value)
            if blend > 0.0:
                total += slope(table, first, bags.size, fine + 1, at, blend, value)
            # The look-up clamps: beyond the square nothing changes.
            inside_u = wp.where(at[0] < 0.0 or at[0] > 1.0, 0.0, 1.0)
            inside_v = wp.where(at[1] < 0.0 or at[1] > 1.0, 0.0, 1.0)
            out[index] = wp.vec2(total[0] * inside_u, total[1] * inside_v)

    return slopes


def slopes(gradient: torch.Tensor, table: torch.Tensor, bags: Any) -> torch.Tensor:
    """Return the gradient (N, 2) of the samples' UVs from that of `texture_warp.gather`'s result.

    Args:
        gradient: (P, C) float32, contiguous.
        table: (rows, C) float32 of the mip chain.
        bags: as those of `texture_warp.gather`.
    """
    count, channels = gradient.shape
    out = gradient.new_empty((bags.uv.shape[0], 2))
    inputs = [rows_of(table), bags, rows_of(gradient), wp.from_torch(out, dtype=wp.vec2)]
    launch(slope_for(channels), (count,), inputs, table.device)
    return out
