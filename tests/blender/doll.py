"""A doll with plausible proportions: prisms on bones, a round head, in one connected mesh."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from types import ModuleType

BETAS, EXPRESSIONS = 2, 2
SIDES = 6

_LEFT = {
    "hip": (0.08, 0.88, 0.0), "knee": (0.09, 0.48, 0.0), "ankle": (0.09, 0.08, -0.02),
    "foot": (0.1, 0.03, 0.1), "collar": (0.06, 1.38, 0.0), "shoulder": (0.17, 1.4, 0.0),
    "elbow": (0.43, 1.4, -0.01), "wrist": (0.68, 1.4, 0.0), "eye_smplhf": (0.032, 1.6, 0.08),
}  # fmt: skip
_MIDDLE = {
    "pelvis": (0.0, 0.95, 0.0), "spine1": (0.0, 1.06, 0.0), "spine2": (0.0, 1.18, 0.0),
    "spine3": (0.0, 1.27, 0.0), "neck": (0.0, 1.45, 0.0), "head": (0.0, 1.53, 0.01),
    "jaw": (0.0, 1.55, 0.02),
}  # fmt: skip
_RADII = {
    "pelvis": 0.13, "spine1": 0.12, "spine2": 0.12, "spine3": 0.13, "neck": 0.05, "hip": 0.08,
    "knee": 0.055, "ankle": 0.04, "foot": 0.035, "collar": 0.06, "shoulder": 0.045,
    "elbow": 0.035, "wrist": 0.04,
}  # fmt: skip
HEAD_RADIUS = 0.105


def joints() -> np.ndarray:
    """T-pose joints, SMPL-X axes."""
    from blender_addon.contract.joints import JOINT_NAMES

    found = np.zeros((55, 3))
    for index, name in enumerate(JOINT_NAMES):
        side, _, part = name.partition("_")
        if name in _MIDDLE:
            found[index] = _MIDDLE[name]
        elif part in _LEFT:
            found[index] = _LEFT[part]
        else:
            finger, knuckle = part[:-1], int(part[-1])
            row = ("thumb", "index", "middle", "ring", "pinky").index(finger)
            found[index] = (0.73 + 0.03 * knuckle, 1.4, 0.05 - 0.022 * row)
        if side == "right":
            found[index, 0] *= -1
    return found


def arrays() -> dict[str, np.ndarray]:
    """The arrays of `body.template`."""
    from blender_addon.contract.joints import JOINT_NAMES, PARENTS

    places = joints()
    vertices, faces, owners, firsts = [], [], [], []
    for index, name in enumerate(JOINT_NAMES):
        part = name.partition("_")[2] if name.startswith(("left", "right")) else name
        firsts.append(sum(map(len, vertices)))
        if name == "head":
            points, corners = _ball(places[index] + (0, 0.07, 0.02), HEAD_RADIUS)
        else:
            children = [c for c, parent in enumerate(PARENTS) if parent == index]
            end = places[children].mean(axis=0) if children else places[index] + (0, 0, 0.02)
            points, corners = _prism(places[index], end, _RADII.get(part, 0.009))
        faces.append(corners + firsts[-1])
        vertices.append(points)
        owners += [index] * len(points)
    # A sliver from each part to its parent's makes the doll one connected mesh.
    links = [(firsts[p], firsts[i], firsts[i] + 1) for i, p in enumerate(PARENTS) if p >= 0]
    faces.append(np.array(links))
    points, corners = np.concatenate(vertices), np.concatenate(faces)
    rng = np.random.default_rng(3)
    shifts = rng.normal(0, 0.005, (55, 3, BETAS))
    count = len(points)
    return {
        "vertices": points.astype(np.float32),
        "faces": corners.astype(np.int32),
        "uv": rng.uniform(0, 1, (count, 2)).astype(np.float32),
        "uv_faces": corners.astype(np.int32),
        "joints": places.astype(np.float32),
        "shape_dirs": shifts[owners].astype(np.float32),
        "expression_dirs": np.zeros((count, 3, EXPRESSIONS), np.float32),
        "joint_shape_dirs": shifts.astype(np.float32),
        "weight_joints": np.repeat(np.array(owners)[:, None], 4, axis=1).astype(np.uint8),
        "weight_values": np.tile([1.0, 0, 0, 0], (count, 1)).astype(np.float32),
    }


def template(stand_in: ModuleType) -> object:
    """The parsed template; `stand_in` is the installed extension's module."""
    return stand_in.parse_template({"id": "doll", "digest": "0" * 64}, arrays())


def posed(body) -> np.ndarray:
    """Skin the doll by hand: (V, 3) in SMPL-X space."""
    from blender_addon.contract.joints import PARENTS

    given = arrays()
    betas = np.pad(np.asarray(body.betas, np.float64), (0, BETAS))[:BETAS]
    rest = given["joints"] + given["joint_shape_dirs"] @ betas
    points = given["vertices"] + given["shape_dirs"] @ betas
    turned, placed = np.array(body.pose, np.float64), rest.copy()
    placed[0] += body.transl
    for joint, parent in enumerate(PARENTS[1:], start=1):
        placed[joint] = placed[parent] + turned[parent] @ (rest[joint] - rest[parent])
        turned[joint] = turned[parent] @ turned[joint]
    owner = given["weight_joints"][:, 0]
    return np.einsum("vij,vj->vi", turned[owner], points - rest[owner]) + placed[owner]


def coverage(points: np.ndarray, faces: np.ndarray, camera, samples: int = 6) -> tuple:
    """Draw triangles: share of each pixel that they cover (H, W), depth at its samples' nearest."""
    seen = camera.project(points)
    high, wide = camera.height * samples, camera.width * samples
    depth = np.full((high, wide), np.inf)
    for a, b, c in seen[faces]:
        corners = np.array([a, b, c])[:, :2] * samples
        low = np.maximum(np.floor(corners.min(axis=0)).astype(int), 0)
        top = np.minimum(np.ceil(corners.max(axis=0)).astype(int) + 1, [wide, high])
        if (low >= top).any():
            continue
        x, y = np.meshgrid(np.arange(low[0], top[0]) + 0.5, np.arange(low[1], top[1]) + 0.5)
        (ax, ay), (bx, by), (cx, cy) = corners
        area = (bx - ax) * (cy - ay) - (by - ay) * (cx - ax)
        if abs(area) < 1e-9:
            continue
        u = ((bx - x) * (cy - y) - (by - y) * (cx - x)) / area
        v = ((cx - x) * (ay - y) - (cy - y) * (ax - x)) / area
        w = 1 - u - v
        inside = (u >= 0) & (v >= 0) & (w >= 0)
        z = 1 / np.where(inside, u / a[2] + v / b[2] + w / c[2], 1.0)
        part = depth[low[1] : top[1], low[0] : top[0]]
        part[inside] = np.minimum(part, z)[inside]
    blocks = depth.reshape(camera.height, samples, camera.width, samples)
    return np.isfinite(blocks).mean(axis=(1, 3)), blocks.min(axis=(1, 3))


def _prism(start: np.ndarray, end: np.ndarray, radius: float) -> tuple[np.ndarray, np.ndarray]:
    along = np.asarray(end) - start
    along = along if np.linalg.norm(along) > 1e-3 else np.array([0, 0, 0.02])
    side = np.cross(along, [0.3, 0.5, 0.8])
    side /= np.linalg.norm(side)
    other = np.cross(along / np.linalg.norm(along), side)
    turn = np.linspace(0, 2 * np.pi, SIDES, endpoint=False)[:, None]
    ring = radius * (np.cos(turn) * side + np.sin(turn) * other)
    points = np.concatenate([start + ring, start + 0.5 * along + ring, start + along + ring])
    return points, _bands(3)


def _ball(center: np.ndarray, radius: float) -> tuple[np.ndarray, np.ndarray]:
    rows = np.linspace(0.05, np.pi - 0.05, 9)
    turn = np.linspace(0, 2 * np.pi, SIDES, endpoint=False)
    points = [
        center + radius * np.array([np.sin(r) * np.sin(t), np.cos(r), np.sin(r) * np.cos(t)])
        for r in rows
        for t in turn
    ]
    return np.array(points), _bands(len(rows))


def _bands(rings: int) -> np.ndarray:
    faces = []
    for ring in range(rings - 1):
        for k in range(SIDES):
            a, b = ring * SIDES + k, ring * SIDES + (k + 1) % SIDES
            faces += [(a, b, b + SIDES), (a, b + SIDES, a + SIDES)]
    caps = [(0, k + 1, k) for k in range(1, SIDES - 1)]
    last = (rings - 1) * SIDES
    caps += [(last, last + k, last + k + 1) for k in range(1, SIDES - 1)]
    return np.array(faces + caps)
