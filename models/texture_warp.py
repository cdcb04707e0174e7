"""Texture look-up fused into one Warp kernel, for rendering without gradients.

It computes what `texture.surface_samples` and `texture.gather_features` compute, for every
sub-pixel of the z-buffer, without writing the samples down.
"""

# pyright: reportInvalidTypeForm=false, reportIndexIssue=false, reportArgumentType=false
# pyright: reportAttributeAccessIssue=false, reportCallIssue=false, reportOperatorIssue=false
# pyright: reportReturnType=false, reportAssignmentType=false, reportGeneralTypeIssues=false
# The bodies of kernels are Warp's language; a Python type checker misreads them.

import functools
from typing import Any

import torch
import warp as wp

from models import raster_warp
from models.raster_warp import EMPTY_KEY, seen_at

wp.set_module_options({"enable_backward": False, "fuse_fp": False})


@wp.func
def footprint(first: wp.vec2, second: wp.vec2, third: wp.vec2, depth: float, area: float) -> float:
    """Return log2 of the side of the UV square that one sub-pixel sees."""
    u = second - first
    v = third - first
    uv_area = wp.abs(u[0] * v[1] - u[1] * v[0])
    return wp.clamp(0.5 * wp.log2(uv_area * depth * depth / wp.abs(area)), -16.0, 0.0)


@functools.cache
def kernel_for(channels: int) -> Any:  # noqa: PLR0915 - Warp takes nested functions
    """Return the kernel for textures of this many channels."""
    texel = wp.types.vector(length=channels, dtype=wp.float32)

    @wp.func
    def bilinear(table: wp.array(dtype=texel), start: int, u: float, v: float, size: int) -> texel:
        """Interpolate in one level whose first row is `start`; (u, v) in 0…1, v down."""
        x = u * float(size) - 0.5
        y = v * float(size) - 0.5
        column = int(wp.floor(x))
        row = int(wp.floor(y))
        x_part = x - wp.floor(x)
        y_part = y - wp.floor(y)
        left = wp.max(column, 0)
        right = wp.min(column + 1, size - 1)
        upper = start + wp.max(row, 0) * size
        lower = start + wp.min(row + 1, size - 1) * size
        return (
            table[upper + left] * ((1.0 - y_part) * (1.0 - x_part))
            + table[upper + right] * ((1.0 - y_part) * x_part)
            + table[lower + left] * (y_part * (1.0 - x_part))
            + table[lower + right] * (y_part * x_part)
        )

    @wp.func
    def level_start(size: int, level_size: int) -> int:
        return (4 * (size * size - level_size * level_size)) // 3

    @wp.func
    def trilinear(
        table: wp.array(dtype=texel), first: int, size: int, last: int, uv: wp.vec2, level: float
    ) -> texel:
        within = wp.clamp(level, 0.0, float(last))
        fine = int(wp.floor(within))
        coarse = wp.min(fine + 1, last)
        blend = within - wp.floor(within)
        u = wp.clamp(uv[0], 0.0, 1.0)
        v = wp.clamp(1.0 - uv[1], 0.0, 1.0)
        fine_size = size >> fine
        value = bilinear(table, first + level_start(size, fine_size), u, v, fine_size)
        if blend > 0.0:
            coarse_size = size >> coarse
            other = bilinear(table, first + level_start(size, coarse_size), u, v, coarse_size)
            value = value * (1.0 - blend) + other * blend
        return value

    @wp.kernel(module="unique")
    def dress(
        vertices: wp.array2d(dtype=wp.vec3),
        faces: wp.array(dtype=wp.vec3i),
        intrinsics: wp.array(dtype=wp.mat33),
        keys: wp.array3d(dtype=wp.uint64),
        corner_uv: wp.array2d(dtype=wp.vec2),
        table: wp.array(dtype=texel),
        first_rows: wp.array(dtype=int),
        size: int,
        last: int,
        level_offset: float,
        s: int,
        off_body: float,
        span: int,
        features: wp.array4d(dtype=float),
        coverage: wp.array3d(dtype=float),
        depth: wp.array3d(dtype=float),
    ) -> None:
        """One thread per `span` pixels: average the texture over their sub-pixels."""
        image, row, part = wp.tid()
        K = intrinsics[image]
        first = first_rows[image]
        share = 1.0 / float(s * s)
        for column in range(part * span, wp.min(part * span + span, coverage.shape[2])):
            total = texel()
            uv_total = wp.vec2(0.0, 0.0)
            count = int(0)  # noqa: RUF046, UP018 - a variable in Warp, not a constant
            nearest = float(wp.inf)
            for sub in range(s * s):
                y = row * s + sub // s
                x = column * s + sub % s
                key = keys[image, y, x]
                if key != EMPTY_KEY:
                    seen = seen_at(vertices, faces, K, key, image, y, x)
                    uv0 = corner_uv[seen.face, 0]
                    uv1 = corner_uv[seen.face, 1]
                    uv2 = corner_uv[seen.face, 2]
                    b = seen.barycentric
                    uv = uv0 * b[0] + uv1 * b[1] + uv2 * b[2]
                    level = footprint(uv0, uv1, uv2, seen.depth, seen.area) + level_offset
                    total += trilinear(table, first, size, last, uv, level)
                    uv_total += uv * 2.0 - wp.vec2(1.0, 1.0)
                    count += 1
                    nearest = wp.min(nearest, seen.depth)
            covered = float(count) * share
            uv_total = uv_total * share + wp.vec2(off_body, off_body) * (1.0 - covered)
            for channel in range(channels):
                features[image, row, column, channel] = total[channel] * share
            features[image, row, column, channels] = uv_total[0]
            features[image, row, column, channels + 1] = uv_total[1]
            coverage[image, row, column] = covered
            depth[image, row, column] = nearest

    return dress, texel


def features(
    vertices: torch.Tensor,
    faces: torch.Tensor,
    corner_uv: torch.Tensor,
    K: torch.Tensor,
    size: tuple[int, int],
    table: torch.Tensor,
    first_rows: torch.Tensor,
    texture_size: int,
    supersampling: int,
    near: float,
    off_body: float,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Rasterise and look up; see `texture.dressing_features` for what the arguments mean.

    Args:
        K: (B, 3, 3) intrinsics of the supersampled image.
        table: (rows, C) float32 of the mip chain.
        first_rows: (B,) int32 where each image's texture begins in the table.

    Returns:
        features (B, H, W, C + 2), coverage (B, H, W), depth (B, H, W), all float32.
    """
    batch, (height, width), channels = vertices.shape[0], size, table.shape[1]
    device = vertices.device
    keys = raster_warp.z_buffer(
        vertices, faces, K, (height * supersampling, width * supersampling), near
    )
    out = torch.empty((batch, height, width, channels + 2), dtype=torch.float32, device=device)
    coverage = torch.empty((batch, height, width), dtype=torch.float32, device=device)
    depth = torch.empty_like(coverage)
    kernel, texel = kernel_for(channels)
    span = raster_warp.columns_per_thread(device, width)
    inputs = [
        *raster_warp.mesh_arrays(vertices, faces, K),
        wp.from_torch(keys, dtype=wp.uint64),
        wp.from_torch(corner_uv, dtype=wp.vec2),
        wp.from_torch(table, dtype=texel),
        wp.from_torch(first_rows),
        texture_size,
        texture_size.bit_length() - 1,
        float(texture_size.bit_length() - 1),
        supersampling,
        off_body,
        span,
        wp.from_torch(out),
        wp.from_torch(coverage),
        wp.from_torch(depth),
    ]
    raster_warp.launch(kernel, (batch, height, -(-width // span)), inputs, device)
    return out, coverage, depth
