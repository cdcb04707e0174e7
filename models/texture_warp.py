"""Trilinear texture look-up in Warp.

`gather` and its adjoint `scatter` serve training. `features`, for rendering, computes what
`surface.surface_samples` and `texture.gather_features` compute, straight from the z-buffer and
without writing the samples down. `texture.texels` is the same look-up in torch.
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
from models.surface_warp import footprint_at, uv_at
from models.warp_launch import columns_per_thread, in_bands, launch, start

wp.set_module_options({"enable_backward": False, "fuse_fp": False})


@wp.struct
class Lookup:
    """The four rows and weights of a bilinear look-up in one level."""

    rows: wp.vec4i
    weights: wp.vec4


@wp.func
def bilinear(first: int, size: int, level: int, uv: wp.vec2, share: float) -> Lookup:
    """Find the texels of one level of a chain; the same steps as `texture.bilinear_texels`."""
    level_size = size >> level
    # The levels before this one hold 4/3 (S² − size²) texels.
    start = first + (4 * (size * size - level_size * level_size)) // 3
    x = wp.clamp(uv[0], 0.0, 1.0) * float(level_size) - 0.5
    y = wp.clamp(1.0 - uv[1], 0.0, 1.0) * float(level_size) - 0.5
    column = int(wp.floor(x))
    row = int(wp.floor(y))
    x_part = x - wp.floor(x)
    y_part = y - wp.floor(y)
    left = wp.max(column, 0)
    right = wp.min(column + 1, level_size - 1)
    upper = start + wp.max(row, 0) * level_size
    lower = start + wp.min(row + 1, level_size - 1) * level_size
    found = Lookup()
    found.rows = wp.vec4i(upper + left, upper + right, lower + left, lower + right)
    found.weights = wp.vec4(
        share * (1.0 - y_part) * (1.0 - x_part),
        share * (1.0 - y_part) * x_part,
        share * y_part * (1.0 - x_part),
        share * y_part * x_part,
    )
    return found


@wp.func
def level_parts(level: float, last: int):  # noqa: ANN201 - Warp finds what its functions return
    """Return the finer of the two levels that a level of detail lies between, and how far it is."""
    within = wp.clamp(level, 0.0, float(last))
    fine = wp.floor(within)
    return int(fine), within - fine


@wp.struct
class Bags:
    """Samples to look up and add up by bag: bag p holds samples offset[p] … offset[p + 1] − 1.

    Attributes:
        size: of the chain's finest level.
        last: number of the chain's coarsest level.
        uv: of each sample.
        level: level of detail of each sample.
        offset: of each bag, and the end.
        first: row where each bag's texture begins in the table.
        share: factor of every sample.
    """

    size: int
    last: int
    uv: wp.array(dtype=wp.vec2)
    level: wp.array(dtype=float)
    offset: wp.array(dtype=wp.int64)
    first: wp.array(dtype=int)
    share: float


# Warp takes types and functions from closures: below, one kernel per number of channels.


@functools.cache
def texel_type(channels: int) -> Any:
    """Return Warp's type of one table row."""
    return wp.types.vector(length=channels, dtype=wp.float32)


def rows_of(table: torch.Tensor) -> Any:
    """Return Warp's view of a contiguous table (rows, C)."""
    # A table of one channel may count as contiguous with strides that Warp refuses.
    plain = table.detach().view(-1).view(table.shape)
    return wp.from_torch(plain, dtype=texel_type(table.shape[1]))


@functools.cache
def trilinear_for(channels: int) -> Any:
    """Return the look-up of one texel row, compiled for a number of channels."""
    texel = texel_type(channels)

    @wp.func
    def weighted(table: wp.array(dtype=texel), at: Lookup) -> texel:
        return (
            table[at.rows[0]] * at.weights[0]
            + table[at.rows[1]] * at.weights[1]
            + table[at.rows[2]] * at.weights[2]
            + table[at.rows[3]] * at.weights[3]
        )

    @wp.func
    def trilinear(
        table: wp.array(dtype=texel), first: int, size: int, last: int, uv: wp.vec2, level: float
    ) -> texel:
        fine, blend = level_parts(level, last)
        value = weighted(table, bilinear(first, size, fine, uv, 1.0 - blend))
        if blend > 0.0:
            value += weighted(table, bilinear(first, size, fine + 1, uv, blend))
        return value

    return trilinear


@functools.cache
def gather_for(channels: int) -> Any:
    """Return the kernel that sums weighted look-ups by pixel."""
    texel, trilinear = texel_type(channels), trilinear_for(channels)

    @wp.kernel(module="unique")
    def gather(table: wp.array(dtype=texel), bags: Bags, out: wp.array(dtype=texel)) -> None:
        """One thread per bag: add up its looked-up samples."""
        bag = wp.tid()
        total = texel()
        for index in range(int(bags.offset[bag]), int(bags.offset[bag + 1])):
            total += trilinear(
                table, bags.first[bag], bags.size, bags.last, bags.uv[index], bags.level[index]
            )
        out[bag] = total * bags.share

    return gather


@functools.cache
def scatter_for(channels: int) -> Any:
    """Return the adjoint of `gather_for`: pixels' gradients to texels."""
    texel = texel_type(channels)

    @wp.func
    def add(table: wp.array(dtype=texel), at: Lookup, value: texel) -> None:
        wp.atomic_add(table, at.rows[0], value * at.weights[0])
        wp.atomic_add(table, at.rows[1], value * at.weights[1])
        wp.atomic_add(table, at.rows[2], value * at.weights[2])
        wp.atomic_add(table, at.rows[3], value * at.weights[3])

    @wp.kernel(module="unique")
    def scatter(table: wp.array(dtype=texel), bags: Bags, out: wp.array(dtype=texel)) -> None:
        """The adjoint of `gather`: one thread per bag adds its gradient `out` to the table."""
        bag = wp.tid()
        value = out[bag] * bags.share
        first = bags.first[bag]
        for index in range(int(bags.offset[bag]), int(bags.offset[bag + 1])):
            at = bags.uv[index]
            fine, blend = level_parts(bags.level[index], bags.last)
            add(table, bilinear(first, bags.size, fine, at, 1.0 - blend), value)
            if blend > 0.0:
                add(table, bilinear(first, bags.size, fine + 1, at, blend), value)

    return scatter


@functools.cache
def dress_for(channels: int) -> Any:
    """Return the kernel that writes the dresser's whole input in one pass."""
    texel, trilinear = texel_type(channels), trilinear_for(channels)
    row_type = texel_type(channels + 2)

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
        s: int,
        off_body: float,
        top: int,
        span: int,
        features: wp.array3d(dtype=row_type),
        coverage: wp.array3d(dtype=float),
        depth: wp.array3d(dtype=float),
    ) -> None:
        """One thread per `span` pixels, from row `top` on: average over their sub-pixels."""
        image, band_row, part = wp.tid()
        row = top + band_row
        K = intrinsics[image]
        first = first_rows[image]
        share = 1.0 / float(s * s)
        for column in range(part * span, wp.min(part * span + span, coverage.shape[2])):
            total = texel()
            uv_total = wp.vec2(0.0, 0.0)
            count = int(0)  # noqa: RUF046, UP018 - a variable in Warp, not a constant
            nearest = float(wp.inf)
            for y in range(row * s, row * s + s):
                for x in range(column * s, column * s + s):
                    key = keys[image, y, x]
                    if key != EMPTY_KEY:
                        seen = seen_at(vertices, faces, K, key, image, y, x)
                        uv = uv_at(corner_uv, seen)
                        level = footprint_at(corner_uv, seen) + float(last)
                        total += trilinear(table, first, size, last, uv, level)
                        uv_total += uv * 2.0 - wp.vec2(1.0, 1.0)
                        count += 1
                        nearest = wp.min(nearest, seen.depth)
            covered = float(count) * share
            uv_total = uv_total * share + wp.vec2(off_body, off_body) * (1.0 - covered)
            pixel = row_type()
            for channel in range(channels):
                pixel[channel] = total[channel] * share
            pixel[channels] = uv_total[0]
            pixel[channels + 1] = uv_total[1]
            features[image, row, column] = pixel
            coverage[image, row, column] = covered
            depth[image, row, column] = nearest

    return dress


def bags_of(
    size: int,
    uv: torch.Tensor,
    level: torch.Tensor,
    offset: torch.Tensor,
    first_rows: torch.Tensor,
    share: float,
) -> Any:
    """Return `Bags` of samples for the kernels.

    Args:
        size: of the chain's finest level.
        uv: (N, 2) float32.
        level: (N,) float32 level of detail.
        offset: (P + 1,) int64: bag p holds samples offset[p] … offset[p + 1] − 1.
        first_rows: (P,) int32 where each bag's texture begins in the table.
        share: factor of every sample.
    """
    start()
    bags = Bags()
    bags.size = size
    bags.last = size.bit_length() - 1
    bags.uv = wp.from_torch(uv.detach(), dtype=wp.vec2)
    bags.level = wp.from_torch(level)
    bags.offset = wp.from_torch(offset)
    bags.first = wp.from_torch(first_rows)
    bags.share = share
    return bags


def gather(table: torch.Tensor, bags: Any) -> torch.Tensor:
    """Look `Bags` of samples up in a mip chain (rows, C) float32; return their sums (P, C)."""
    count, channels = bags.first.shape[0], table.shape[1]
    out = table.new_empty((count, channels))
    launch(gather_for(channels), (count,), [rows_of(table), bags, rows_of(out)], table.device)
    return out


def scatter(gradient: torch.Tensor, rows: int, bags: Any) -> torch.Tensor:
    """Return the gradient (rows, C) of the table from that of `gather`'s result (P, C)."""
    count, channels = gradient.shape
    table = gradient.new_zeros((rows, channels))
    inputs = [rows_of(table), bags, rows_of(gradient)]
    launch(scatter_for(channels), (count,), inputs, table.device)
    return table


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
    span = columns_per_thread(device, width)
    scene = [
        *raster_warp.mesh_arrays(vertices, faces, K),
        wp.from_torch(keys, dtype=wp.uint64),
        wp.from_torch(corner_uv, dtype=wp.vec2),
        rows_of(table),
        wp.from_torch(first_rows),
        texture_size,
        texture_size.bit_length() - 1,
        supersampling,
        off_body,
    ]
    rows = wp.from_torch(out, dtype=texel_type(channels + 2))
    outputs = [rows, wp.from_torch(coverage), wp.from_torch(depth)]
    kernel = dress_for(channels)

    def dress_rows(top: int, bottom: int) -> None:
        dim = (batch, bottom - top, -(-width // span))
        launch(kernel, dim, [*scene, top, span, *outputs], device)

    in_bands(height, device, dress_rows, per_thread=4)
    return out, coverage, depth
