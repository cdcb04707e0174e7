"""Surface samples in Warp: what each sub-pixel of a z-buffer shows of UV space."""

# pyright: reportInvalidTypeForm=false, reportIndexIssue=false, reportArgumentType=false
# pyright: reportAttributeAccessIssue=false, reportCallIssue=false, reportOperatorIssue=false
# pyright: reportReturnType=false, reportAssignmentType=false, reportGeneralTypeIssues=false
# The bodies of kernels are Warp's language; a Python type checker misreads them.

import torch
import warp as wp

from models import raster_warp
from models.raster_warp import EMPTY_KEY, Seen, seen_at
from models.warp_launch import columns_per_thread, launch

wp.set_module_options({"enable_backward": False, "fuse_fp": False})


@wp.func
def uv_at(corner_uv: wp.array2d(dtype=wp.vec2), seen: Seen) -> wp.vec2:
    """Return the UV of a seen point of a face."""
    b = seen.barycentric
    first = corner_uv[seen.face, 0] * b[0]
    return first + corner_uv[seen.face, 1] * b[1] + corner_uv[seen.face, 2] * b[2]


@wp.func_native("""
union { float f; unsigned int u; } bits;
bits.f = value;
float exponent = (float)((int)(bits.u >> 23) - 127);
bits.u = (bits.u & 0x007fffffu) | 0x3f800000u;
float m = bits.f - 1.0f;
// 1.8e-5 at most from log2(1 + m), and exact at 0 and 1, so that it has no jumps.
return exponent + m * (1.44183587f + m * (-0.70837215f + m * (0.41355505f
    + m * (-0.19126251f + m * 0.04424374f))));
""")
def quick_log2(value: float) -> float:
    """Return log2 of a positive number within 2e-5; the level of detail needs no more."""


@wp.func
def footprint_at(corner_uv: wp.array2d(dtype=wp.vec2), seen: Seen) -> float:
    """Return log2 of the side of the UV square that one sub-pixel sees."""
    u = corner_uv[seen.face, 1] - corner_uv[seen.face, 0]
    v = corner_uv[seen.face, 2] - corner_uv[seen.face, 0]
    uv_area = wp.abs(u[0] * v[1] - u[1] * v[0])
    determinant = uv_area * seen.depth * seen.depth / wp.abs(seen.area)
    return wp.clamp(0.5 * quick_log2(determinant), -16.0, 0.0)


@wp.kernel
def count_samples(
    vertices: wp.array2d(dtype=wp.vec3),
    faces: wp.array(dtype=wp.vec3i),
    intrinsics: wp.array(dtype=wp.mat33),
    keys: wp.array3d(dtype=wp.uint64),
    s: int,
    span: int,
    counts: wp.array3d(dtype=int),
    depth: wp.array3d(dtype=float),
) -> None:
    """One thread per `span` pixels: count the sub-pixels that see a face, find the nearest."""
    image, row, part = wp.tid()
    for column in range(part * span, wp.min(part * span + span, counts.shape[2])):
        count = int(0)  # noqa: RUF046, UP018 - a variable in Warp, not a constant
        first = EMPTY_KEY
        nearest_y = row * s
        nearest_x = column * s
        for y in range(row * s, row * s + s):
            for x in range(column * s, column * s + s):
                key = keys[image, y, x]
                if key != EMPTY_KEY:
                    count += 1
                    if key < first:
                        first = key
                        nearest_y = y
                        nearest_x = x
        counts[image, row, column] = count
        if count > 0:
            seen = seen_at(vertices, faces, intrinsics[image], first, image, nearest_y, nearest_x)
            depth[image, row, column] = seen.depth
        else:
            depth[image, row, column] = wp.inf


@wp.kernel
def collect_samples(
    vertices: wp.array2d(dtype=wp.vec3),
    faces: wp.array(dtype=wp.vec3i),
    intrinsics: wp.array(dtype=wp.mat33),
    keys: wp.array3d(dtype=wp.uint64),
    corner_uv: wp.array2d(dtype=wp.vec2),
    s: int,
    pixel: wp.array(dtype=wp.int64),
    offset: wp.array(dtype=wp.int64),
    uv: wp.array(dtype=wp.vec2),
    footprint: wp.array(dtype=float),
) -> None:
    """One thread per covered pixel: write its samples from offset[pixel] on."""
    index = wp.tid()
    columns = keys.shape[2] // s
    rows = keys.shape[1] // s
    column = int(pixel[index] % wp.int64(columns))
    row = int((pixel[index] // wp.int64(columns)) % wp.int64(rows))
    image = int(pixel[index] // wp.int64(columns * rows))
    slot = int(offset[index])
    for y in range(row * s, row * s + s):
        for x in range(column * s, column * s + s):
            key = keys[image, y, x]
            if key != EMPTY_KEY:
                seen = seen_at(vertices, faces, intrinsics[image], key, image, y, x)
                uv[slot] = uv_at(corner_uv, seen)
                footprint[slot] = footprint_at(corner_uv, seen)
                slot += 1


def draw(
    vertices: torch.Tensor, faces: torch.Tensor, K: torch.Tensor, size: tuple[int, int], near: float
) -> tuple[torch.Tensor, list[object]]:
    """Return the z-buffer of a supersampled view and Warp's view of the mesh."""
    keys = raster_warp.z_buffer(vertices, faces, K, size, near)
    return keys, raster_warp.mesh_arrays(vertices, faces, K)


def count(
    keys: torch.Tensor, mesh: list[object], shape: tuple[int, int, int], s: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return each pixel's number of samples (B, H, W) int32 and nearest depth (B, H, W)."""
    counts = torch.empty(shape, dtype=torch.int32, device=keys.device)
    depth = torch.empty(shape, dtype=torch.float32, device=keys.device)
    span = columns_per_thread(keys.device, shape[2])
    packed = wp.from_torch(keys, dtype=wp.uint64)
    inputs = [*mesh, packed, s, span, wp.from_torch(counts), wp.from_torch(depth)]
    dim = (shape[0], shape[1], -(-shape[2] // span))
    launch(count_samples, dim, inputs, keys.device)
    return counts, depth


def collect(
    keys: torch.Tensor,
    mesh: list[object],
    corner_uv: torch.Tensor,
    pixel: torch.Tensor,
    offset: torch.Tensor,
    s: int,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return UV (N, 2) and footprint (N,) of the samples of the covered pixels, float32."""
    total = int(offset[-1])
    uv = torch.empty((total, 2), dtype=torch.float32, device=keys.device)
    footprint = torch.empty(total, dtype=torch.float32, device=keys.device)
    inputs = [
        *mesh,
        wp.from_torch(keys, dtype=wp.uint64),
        wp.from_torch(corner_uv, dtype=wp.vec2),
        s,
        wp.from_torch(pixel),
        wp.from_torch(offset),
        wp.from_torch(uv, dtype=wp.vec2),
        wp.from_torch(footprint),
    ]
    launch(collect_samples, (len(pixel),), inputs, keys.device)
    return uv, footprint
