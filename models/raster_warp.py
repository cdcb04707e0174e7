"""The default rasteriser backend: a z-buffer in NVIDIA Warp, one source for CPU and CUDA.

Triangles are evaluated in homogeneous pixel coordinates relative to the pixel centre. With
X = K v (pixels · metres) and Z its depth, a pixel at (x, y) sees the vertex at
(X − x Z, Y − y Z), and the perspective-correct barycentrics are the three cross products of
those, up to a common factor (Olano and Greer 1997). No vertex is ever divided by its depth, so a
triangle that crosses the near plane, or passes behind the camera, needs no splitting: a pixel is
covered where the barycentrics have one sign and the depth is at least `near`. Only the bounding
box is computed from the clipped polygon.

The z-buffer holds (depth bits, face id) packed in 64 bits and is updated by an atomic minimum:
equal depths go to the lower face id, whatever the order of execution. Both triangles of a shared
edge evaluate it with opposite signs exactly (fused multiply-add is off), so no crack opens.
"""

# pyright: reportInvalidTypeForm=false, reportIndexIssue=false, reportArgumentType=false
# pyright: reportAttributeAccessIssue=false, reportCallIssue=false, reportOperatorIssue=false
# pyright: reportReturnType=false, reportAssignmentType=false, reportGeneralTypeIssues=false
# pyright: reportFunctionMemberAccess=false
# The bodies of kernels are Warp's language; a Python type checker misreads them.

import torch
import warp as wp

from blender_addon.contract.errors import BadParameter
from models.warp_launch import columns_per_thread, in_bands, launch, start

wp.set_module_options({"enable_backward": False, "fuse_fp": False})

EMPTY_KEY = wp.constant(wp.uint64(0xFFFFFFFFFFFFFFFF))
FACE_BITS = wp.constant(wp.uint64(0xFFFFFFFF))
DEGENERATE = wp.constant(1.0e-6)
"""Least ratio of a triangle's doubled area to the products it is the difference of."""
LARGE_AREA = 4096
"""On CUDA, triangles whose bounding box has more pixels are drawn by one thread per pixel."""


@wp.func_native("""
union { float f; unsigned int u; } bits;
bits.f = value;
return bits.u;
""")
def float_bits(value: float) -> wp.uint32:
    """Return the 32 bits of a float; those of positive floats sort as the floats do."""


@wp.func
def to_pixels(K: wp.mat33, v: wp.vec3) -> wp.vec3:
    """Return the vertex in homogeneous pixels: (x z, y z, z)."""
    return wp.vec3(
        K[0, 0] * v[0] + K[0, 1] * v[1] + K[0, 2] * v[2], K[1, 1] * v[1] + K[1, 2] * v[2], v[2]
    )


@wp.func
def extend(box: wp.vec4, p: wp.vec3, scale: float) -> wp.vec4:
    """Return the box (left, top, right, bottom) grown to hold the point p / scale."""
    x = p[0] / scale
    y = p[1] / scale
    return wp.vec4(wp.min(box[0], x), wp.min(box[1], y), wp.max(box[2], x), wp.max(box[3], y))


@wp.func
def extend_at_near(box: wp.vec4, p: wp.vec3, q: wp.vec3, near: float) -> wp.vec4:
    """Extend the box by the point where the edge crosses the near plane, if it does."""
    if (p[2] < near) != (q[2] < near):
        return extend(box, p + (q - p) * ((near - p[2]) / (q[2] - p[2])), near)
    return box


@wp.func
def bounds(
    p0: wp.vec3, p1: wp.vec3, p2: wp.vec3, near: float, width: int, top: int, bottom: int
) -> wp.vec4i:
    """Return first column, first row, end column, end row of the pixels that may be covered.

    The slack absorbs rounding of the projection; the edge functions decide.
    """
    box = wp.vec4(1.0e9, 1.0e9, -1.0e9, -1.0e9)
    crosses_near = wp.min(p0[2], wp.min(p1[2], p2[2])) < near
    if p0[2] >= near:
        box = extend(box, p0, p0[2])
    if p1[2] >= near:
        box = extend(box, p1, p1[2])
    if p2[2] >= near:
        box = extend(box, p2, p2[2])
    if crosses_near:
        box = extend_at_near(box, p0, p1, near)
        box = extend_at_near(box, p1, p2, near)
        box = extend_at_near(box, p2, p0, near)
    slack = wp.where(crosses_near, 1.0, 0.02)
    # Clamped as floats: a huge float has no defined integer.
    left = wp.clamp(wp.ceil(box[0] - 0.5 - slack), 0.0, float(width))
    upper = wp.clamp(wp.ceil(box[1] - 0.5 - slack), float(top), float(bottom))
    right = wp.clamp(wp.floor(box[2] + 0.5 + slack), 0.0, float(width))
    lower = wp.clamp(wp.floor(box[3] + 0.5 + slack), float(top), float(bottom))
    return wp.vec4i(int(left), int(upper), int(right), int(lower))


@wp.func
def key_of(
    p0: wp.vec3, p1: wp.vec3, p2: wp.vec3, x: float, y: float, near: float, face: int
) -> wp.uint64:
    """Return the z-buffer key of the triangle at a pixel centre, EMPTY_KEY if it is not there."""
    x0 = p0[0] - x * p0[2]
    y0 = p0[1] - y * p0[2]
    x1 = p1[0] - x * p1[2]
    y1 = p1[1] - y * p1[2]
    x2 = p2[0] - x * p2[2]
    y2 = p2[1] - y * p2[2]
    b0 = x1 * y2 - x2 * y1
    b1 = x2 * y0 - x0 * y2
    b2 = x0 * y1 - x1 * y0
    if wp.min(b0, wp.min(b1, b2)) < 0.0 and wp.max(b0, wp.max(b1, b2)) > 0.0:
        return EMPTY_KEY
    total = b0 + b1 + b2
    size = wp.abs(x1 * y2) + wp.abs(x2 * y0) + wp.abs(x0 * y1)
    # Written so that NaN fails it too.
    if not (wp.abs(total) > DEGENERATE * size):
        return EMPTY_KEY
    z = (b0 * p0[2] + b1 * p1[2] + b2 * p2[2]) / total
    if not (z >= near and z < 1.0e30):
        return EMPTY_KEY
    return (wp.uint64(float_bits(z)) << wp.uint64(32)) | wp.uint64(face)


@wp.kernel
def draw(
    vertices: wp.array2d(dtype=wp.vec3),
    faces: wp.array(dtype=wp.vec3i),
    intrinsics: wp.array(dtype=wp.mat33),
    near: float,
    top: int,
    bottom: int,
    large_area: int,
    large: wp.array2d(dtype=int),
    large_count: wp.array(dtype=int),
    keys: wp.array3d(dtype=wp.uint64),
) -> None:
    """One thread per image and triangle: draw it into rows [top, bottom) of the z-buffer."""
    image, face = wp.tid()
    corners = faces[face]
    K = intrinsics[image]
    p0 = to_pixels(K, vertices[image, corners[0]])
    p1 = to_pixels(K, vertices[image, corners[1]])
    p2 = to_pixels(K, vertices[image, corners[2]])
    if not (wp.isfinite(p0) and wp.isfinite(p1) and wp.isfinite(p2)):
        return
    box = bounds(p0, p1, p2, near, keys.shape[2], top, bottom)
    if box[0] >= box[2] or box[1] >= box[3]:
        return
    if (box[2] - box[0]) * (box[3] - box[1]) > large_area:
        large[image, wp.atomic_add(large_count, image, 1)] = face
        return
    for row in range(box[1], box[3]):
        for column in range(box[0], box[2]):
            key = key_of(p0, p1, p2, float(column) + 0.5, float(row) + 0.5, near, face)
            if key < keys[image, row, column]:
                wp.atomic_min(keys, image, row, column, key)


@wp.kernel
def draw_large(
    vertices: wp.array2d(dtype=wp.vec3),
    faces: wp.array(dtype=wp.vec3i),
    intrinsics: wp.array(dtype=wp.mat33),
    near: float,
    large: wp.array2d(dtype=int),
    large_count: wp.array(dtype=int),
    keys: wp.array3d(dtype=wp.uint64),
) -> None:
    """One thread per pixel: draw the triangles that `draw` set aside."""
    image, row, column = wp.tid()
    nearest = keys[image, row, column]
    K = intrinsics[image]
    for slot in range(large_count[image]):
        face = large[image, slot]
        corners = faces[face]
        key = key_of(
            to_pixels(K, vertices[image, corners[0]]),
            to_pixels(K, vertices[image, corners[1]]),
            to_pixels(K, vertices[image, corners[2]]),
            float(column) + 0.5,
            float(row) + 0.5,
            near,
            face,
        )
        nearest = wp.min(nearest, key)
    keys[image, row, column] = nearest


@wp.struct
class Seen:
    """Where on which face a pixel looks; area is twice the face's, in homogeneous pixels."""

    face: int
    barycentric: wp.vec3
    depth: float
    area: float


@wp.func
def seen_at(
    vertices: wp.array2d(dtype=wp.vec3),
    faces: wp.array(dtype=wp.vec3i),
    K: wp.mat33,
    key: wp.uint64,
    image: int,
    row: int,
    column: int,
) -> Seen:
    """Recompute what `draw` saw when it wrote the key; the key is not empty."""
    seen = Seen()
    seen.face = int(key & FACE_BITS)
    corners = faces[seen.face]
    p0 = to_pixels(K, vertices[image, corners[0]])
    p1 = to_pixels(K, vertices[image, corners[1]])
    p2 = to_pixels(K, vertices[image, corners[2]])
    x = float(column) + 0.5
    y = float(row) + 0.5
    x0 = p0[0] - x * p0[2]
    y0 = p0[1] - y * p0[2]
    x1 = p1[0] - x * p1[2]
    y1 = p1[1] - y * p1[2]
    x2 = p2[0] - x * p2[2]
    y2 = p2[1] - y * p2[2]
    b0 = x1 * y2 - x2 * y1
    b1 = x2 * y0 - x0 * y2
    b2 = x0 * y1 - x1 * y0
    seen.area = b0 + b1 + b2
    seen.barycentric = wp.vec3(b0 / seen.area, b1 / seen.area, b2 / seen.area)
    seen.depth = (b0 * p0[2] + b1 * p1[2] + b2 * p2[2]) / seen.area
    return seen


@wp.kernel
def resolve(
    vertices: wp.array2d(dtype=wp.vec3),
    faces: wp.array(dtype=wp.vec3i),
    intrinsics: wp.array(dtype=wp.mat33),
    keys: wp.array3d(dtype=wp.uint64),
    top: int,
    span: int,
    face_out: wp.array3d(dtype=int),
    barycentric: wp.array3d(dtype=wp.vec3),
    depth: wp.array3d(dtype=float),
) -> None:
    """One thread per `span` columns, from row `top` on: turn keys into what pixels see."""
    image, band_row, part = wp.tid()
    row = top + band_row
    K = intrinsics[image]
    for column in range(part * span, wp.min(part * span + span, keys.shape[2])):
        key = keys[image, row, column]
        if key == EMPTY_KEY:
            face_out[image, row, column] = -1
            barycentric[image, row, column] = wp.vec3(0.0, 0.0, 0.0)
            depth[image, row, column] = wp.inf
        else:
            seen = seen_at(vertices, faces, K, key, image, row, column)
            face_out[image, row, column] = seen.face
            barycentric[image, row, column] = seen.barycentric
            depth[image, row, column] = seen.depth


def z_buffer(
    vertices: torch.Tensor,
    faces: torch.Tensor,
    K: torch.Tensor,
    size: tuple[int, int],
    near: float,
    large_area: int | None = None,
) -> torch.Tensor:
    """Draw a batch of meshes into packed z-buffers.

    Args:
        vertices: (B, V, 3) float32, contiguous, camera space in metres.
        faces: (F, 3) int32, contiguous.
        K: (B, 3, 3) float32, contiguous, pixels.
        size: height and width in pixels.
        near: least visible depth in metres.
        large_area: bounding boxes over this many pixels are drawn by one thread per pixel;
            by default 4096 on CUDA and never on the CPU.

    Returns:
        (B, height, width) int64: depth bits << 32 | face id, −1 where empty.
    """
    device = vertices.device
    start()
    batch, (height, width) = vertices.shape[0], size
    if faces.numel() and not 0 <= int(faces.min()) <= int(faces.max()) < vertices.shape[1]:
        raise BadParameter("faces name vertices that do not exist", "pass the faces of this mesh")
    keys = torch.full((batch, height, width), -1, dtype=torch.int64, device=device)
    if large_area is None:
        large_area = LARGE_AREA if device.type == "cuda" else 2**31 - 1
    set_aside = large_area < height * width
    slots = faces.shape[0] if set_aside else 0
    large = torch.empty((batch, slots), dtype=torch.int32, device=device)
    large_count = torch.zeros(batch if set_aside else 0, dtype=torch.int32, device=device)
    mesh = mesh_arrays(vertices, faces, K)
    aside = [wp.from_torch(large), wp.from_torch(large_count)]
    packed = wp.from_torch(keys, dtype=wp.uint64)

    def draw_rows(top: int, bottom: int) -> None:
        inputs = [*mesh, near, top, bottom, large_area, *aside, packed]
        launch(draw, (batch, faces.shape[0]), inputs, device)

    if set_aside:
        draw_rows(0, height)
        launch(draw_large, (batch, height, width), [*mesh, near, *aside, packed], device)
    else:
        in_bands(height, device, draw_rows, per_thread=2)
    return keys


def mesh_arrays(vertices: torch.Tensor, faces: torch.Tensor, K: torch.Tensor) -> list[object]:
    """Return Warp's views of a batch of meshes and intrinsics; nothing is copied."""
    return [
        wp.from_torch(vertices, dtype=wp.vec3),
        wp.from_torch(faces, dtype=wp.vec3i),
        wp.from_torch(K, dtype=wp.mat33),
    ]


def fragments(
    vertices: torch.Tensor,
    faces: torch.Tensor,
    K: torch.Tensor,
    size: tuple[int, int],
    near: float,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Rasterise: face (B, H, W) int32, barycentric (B, H, W, 3), depth (B, H, W) float32."""
    keys = z_buffer(vertices, faces, K, size, near)
    face = torch.empty(keys.shape, dtype=torch.int32, device=keys.device)
    barycentric = torch.empty((*keys.shape, 3), dtype=torch.float32, device=keys.device)
    depth = torch.empty(keys.shape, dtype=torch.float32, device=keys.device)
    span = columns_per_thread(keys.device, size[1])
    mesh = [*mesh_arrays(vertices, faces, K), wp.from_torch(keys, dtype=wp.uint64)]
    outputs = [
        wp.from_torch(face),
        wp.from_torch(barycentric, dtype=wp.vec3),
        wp.from_torch(depth),
    ]

    def resolve_rows(top: int, bottom: int) -> None:
        dim = (len(keys), bottom - top, -(-size[1] // span))
        launch(resolve, dim, [*mesh, top, span, *outputs], keys.device)

    in_bands(size[0], keys.device, resolve_rows, per_thread=4)
    return face, barycentric, depth
