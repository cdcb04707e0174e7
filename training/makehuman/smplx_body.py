"""Builds the free body: MakeHuman's people as fields of an SMPL-X file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import sparse
from scipy.optimize import nnls
from scipy.spatial import KDTree

from blender_addon.contract.joints import HEAD_JOINTS, JOINT_COUNT, JOINT_INDEX, JOINT_NAMES
from models.body_package import MIRRORED_HAND
from models.spectral import spectral_coordinates
from training.makehuman.basis import BODY_GROUPS, SHAPE_COEFFICIENTS, Basis
from training.makehuman.data import DECIMETRE, base_mesh, face_unit, face_units, uv_mask
from training.makehuman.landmarks import Face, contour_landmarks, fixed_landmarks
from training.makehuman.rig import skin_weights

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]
    Indices = NDArray[np.int64]
    Fields = dict[str, np.ndarray[Any, Any]]

EXPRESSION_COEFFICIENTS = 10
SKIN_VERTICES = 13380
"""Base vertices below this number are skin; the body's further groups are eyes, teeth, lashes."""

REGRESSOR_NEIGHBOURS = 320

_CURL = (1.35, 1.55, 1.0)
"""Bend of a finger's three joints in a fist, radians."""
_FAN = {"index": -0.3, "middle": -0.04, "ring": 0.14, "pinky": 0.32}
"""Turn of each finger about +y when the left hand spreads wide, radians."""
_THUMB = (((0.3, 0.8, -0.15), 0.6), ((0.68, 0.36, -0.57), 0.55), ((0.68, 0.36, -0.57), 0.9))
"""Axis and bend of the left thumb's joints as it closes over the palm, radians."""

SMPLX_VERTEX_IDS = {
    "nose": 9120,
    "reye": 9929,
    "leye": 9448,
    "rear": 616,
    "lear": 6,
    "rthumb": 8079,
    "rindex": 7669,
    "rmiddle": 7794,
    "rring": 7905,
    "rpinky": 8022,
    "lthumb": 5361,
    "lindex": 4933,
    "lmiddle": 5058,
    "lring": 5169,
    "lpinky": 5286,
    "LBigToe": 5770,
    "LSmallToe": 5780,
    "LHeel": 8846,
    "RBigToe": 8463,
    "RSmallToe": 8474,
    "RHeel": 8635,
}
"""Vertices that the `smplx` package gathers by number: the mesh is reordered to put the right
anatomy there."""


def smplx_fields(basis: Basis) -> Fields:
    """Return the fields that `models.body_package.pack` takes."""
    mesh = base_mesh()
    used = mesh.vertices_of(*BODY_GROUPS)
    faces, uv_faces = mesh.triangles(*BODY_GROUPS)
    template, shape_dirs = calm_skin(basis.template, basis.shape_dirs)
    weights = skin_weights()[used]
    order = _smplx_order(template[used], weights, used < SKIN_VERTICES, basis.joints)
    chosen = used[order]  # base vertex of each of the body's vertices
    weights = weights[order]
    number = np.full(len(mesh.vertices), -1)
    number[chosen] = np.arange(len(chosen))
    faces = number[faces]
    uv_used, uv_faces = np.unique(uv_faces, return_inverse=True)
    uv_faces = uv_faces.reshape(-1, 3)
    uv_vertex = np.zeros(len(uv_used), np.int64)
    uv_vertex[uv_faces] = faces
    vertices = template[chosen]
    skin = chosen < SKIN_VERTICES
    skin_faces = np.asarray(skin[faces].all(axis=1))
    regressor = joint_regressor(vertices, shape_dirs[chosen], basis, skin)
    face = _face_of(vertices, regressor @ vertices, chosen)
    fixed = fixed_landmarks(vertices, faces, skin_faces, face)
    head = skin & (weights[:, list(HEAD_JOINTS)].sum(axis=1) > 0.5)
    contour = contour_landmarks(vertices, faces, np.asarray(head[faces].all(axis=1)), face)
    means, components = hand_components()
    return {
        "v_template": vertices,
        "shapedirs": shape_dirs[chosen],
        "expressiondirs": expression_dirs()[chosen],
        "weights": weights,
        "J_regressor": regressor,
        "vt": mesh.uv[uv_used],
        "ft": uv_faces,
        "uv_vertex": uv_vertex,
        "spectral": spectral_coordinates(vertices, faces),
        "hands_mean": means,
        "hands_components": components,
        "lmk_faces_idx": fixed[0],
        "lmk_bary_coords": fixed[1],
        "dynamic_lmk_faces_idx": contour[0],
        "dynamic_lmk_bary_coords": contour[1],
        "makehuman_index": chosen,
    }


def calm_skin(template: Array, shape_dirs: Array) -> tuple[Array, Array]:
    """Smooth nipples and crotch away: the bare body is a plain mannequin.

    Positions and shape directions are averaged with their neighbours' within a soft mask, so
    the smooth form holds for every shape.
    """
    amount = _modesty()
    neighbours = _neighbours(len(template))
    values = np.concatenate([template[..., None], shape_dirs], axis=2)
    for _ in range(30):
        average = neighbours(values)
        values = values + 0.9 * amount[:, None, None] * (average - values)
    return values[..., 0], values[..., 1:]


def _modesty() -> Array:
    """Return (19158,) 0…1: how much each skin vertex is smoothed, from MakeHuman's UV masks."""
    amount = np.maximum(_mask_at_vertices("aureolae"), _mask_at_vertices("genitals"))
    amount[SKIN_VERTICES:] = 0.0
    return np.where(amount > 0.1, np.maximum(amount, 0.5), 0.0)


def _mask_at_vertices(name: str) -> Array:
    """Return (19158,) 0…1: a UV mask's largest value at each base vertex."""
    mesh, mask = base_mesh(), uv_mask(name)
    column = np.clip(mesh.uv[:, 0] * mask.shape[1], 0, mask.shape[1] - 1).astype(int)
    row = np.clip((1 - mesh.uv[:, 1]) * mask.shape[0], 0, mask.shape[0] - 1).astype(int)
    strength = np.zeros(len(mesh.vertices))
    np.maximum.at(strength, mesh.quads.ravel(), mask[row, column][mesh.uv_quads.ravel()])
    return strength


def _neighbours(count: int) -> Any:
    quads = base_mesh().quads
    rows, columns = quads.ravel(), np.roll(quads, 1, axis=1).ravel()
    edges = sparse.coo_matrix((np.ones(len(rows)), (rows, columns)), shape=(count, count))
    edges = ((edges + edges.T) > 0).astype(np.float64)
    means = sparse.diags(1.0 / np.maximum(np.asarray(edges.sum(axis=1)).ravel(), 1.0)) @ edges

    def average(values: Array) -> Array:
        return np.asarray(means @ values.reshape(count, -1)).reshape(values.shape)

    return average


def expression_dirs() -> Array:
    """Return (19158, 3, 10) metres: principal directions of random mixes of face units.

    Units of the eyes' gaze and of the jaw are left out: joints move these.
    """
    mesh = base_mesh()
    names = [n for n in face_units() if not n.startswith(("eyeLook", "tongueOut", "jaw"))]
    units = np.zeros((len(names), len(mesh.vertices), 3))
    for row, name in enumerate(names):
        indices, offsets = face_unit(name)
        units[row, indices] = offsets * DECIMETRE
    rng = np.random.default_rng(0)
    people = 600
    mixes = rng.random((people, len(names))) * (rng.random((people, len(names))) < 0.12)
    moved = mixes @ units.reshape(len(names), -1)
    # The neutral face is 0, so the analysis is about 0, not about the mean.
    _, values, directions = np.linalg.svd(moved, full_matrices=False)
    scale = values[:EXPRESSION_COEFFICIENTS, None] / np.sqrt(people - 1)
    dirs = directions[:EXPRESSION_COEFFICIENTS] * scale
    # Sign: positive is what the mixes do more of.
    signs = np.sign((moved @ dirs.T).mean(axis=0))
    dirs = dirs * np.where(signs == 0, 1, signs)[:, None]
    return dirs.reshape(EXPRESSION_COEFFICIENTS, -1, 3).transpose(1, 2, 0)


def joint_regressor(
    vertices: Array, shape_dirs: Array, basis: Basis, skin: NDArray[np.bool_]
) -> Array:
    """Return (55, V) non-negative rows that sum to 1 and place the joints over shapes.

    Solved by non-negative least squares over the skin around each joint, on the template and on
    sampled people as their shape coefficients describe them.
    """
    stride = max(1, len(basis.coefficients) // 60)
    coefficients = np.concatenate([np.zeros((1, SHAPE_COEFFICIENTS)), basis.coefficients[::stride]])
    wanted = np.concatenate([basis.joints[None], basis.joint_samples[::stride]])
    indices = np.flatnonzero(skin)
    tree = KDTree(vertices[indices])
    regressor = np.zeros((JOINT_COUNT, len(vertices)))
    for joint in range(JOINT_COUNT):
        _, near = tree.query(basis.joints[joint], k=REGRESSOR_NEIGHBOURS)
        near = np.sort(indices[near])
        people = vertices[near] + np.einsum("vck,pk->pvc", shape_dirs[near], coefficients)
        rows = people.transpose(0, 2, 1).reshape(-1, len(near))
        rows = np.vstack([rows, np.full((1, len(near)), 10.0)])  # weights sum to 1
        values, _ = nnls(rows, np.append(wanted[:, joint].ravel(), 10.0), maxiter=20 * len(near))
        values[values < 1e-4] = 0.0
        regressor[joint, near] = values / values.sum()
    return regressor


def hand_components(samples: int = 4000) -> tuple[Array, Array]:
    """Return hand means (2, 45) and principal components (2, 45, 45), left then right.

    From sampled hands: curls that neighbouring fingers share, spread, and a thumb that opposes;
    axis-angle of 15 joints in SMPL-X order, radians. The right hand mirrors the left.
    """
    rng = np.random.default_rng(0)
    together, spread = rng.beta(1.3, 1.6, samples), rng.normal(0.25, 0.4, samples)
    pose = np.zeros((samples, 15, 3))
    for k, finger in enumerate(("index", "middle", "pinky", "ring")):
        own = np.clip(together + rng.normal(0, 0.22, samples), -0.1, 1.1)
        for segment, bend in enumerate(_CURL):
            noise = rng.normal(0, 0.05, samples)
            pose[:, 3 * k + segment, 2] = -(own * bend + noise)
        # Curled fingers cannot spread.
        pose[:, 3 * k, 1] = _FAN[finger] * spread * (1 - 0.8 * np.clip(own, 0, 1))
        pose[:, 3 * k, 0] = rng.normal(0, 0.06, samples)
    oppose = np.clip(0.6 * together + rng.normal(0.1, 0.3, samples), -0.4, 1.2)
    for segment, (axis, bend) in enumerate(_THUMB):
        turn = (bend * oppose)[:, None] * (np.array(axis) / np.linalg.norm(axis))
        pose[:, 12 + segment] = turn + rng.normal(0, 0.05, (samples, 3))
    flat = pose.reshape(samples, 45)
    mean = flat.mean(axis=0)
    _, _, components = np.linalg.svd(flat - mean, full_matrices=True)
    peaks = components[np.arange(45), np.abs(components).argmax(axis=1)]
    components = components * np.sign(peaks)[:, None]
    return np.stack([mean, mean * MIRRORED_HAND]), np.stack(
        [components, components * MIRRORED_HAND]
    )


def _smplx_order(
    vertices: Array, weights: Array, skin: NDArray[np.bool_], joints: Array
) -> Indices:
    """Return the vertices' order in which `SMPLX_VERTEX_IDS` hit the right anatomy."""
    anatomy = _anatomy(vertices, weights, skin, joints)
    order = np.arange(len(vertices))
    place = np.arange(len(vertices))  # inverse of order
    for name, wanted in SMPLX_VERTEX_IDS.items():
        vertex, there = anatomy[name], order[wanted]
        here = place[vertex]
        order[wanted], order[here] = vertex, there
        place[vertex], place[there] = wanted, here
    return order


def _anatomy(
    vertices: Array, weights: Array, skin: NDArray[np.bool_], joints: Array
) -> dict[str, int]:
    leading = weights.argmax(axis=1)

    def furthest(chosen: NDArray[np.bool_], axis: int, sign: float) -> int:
        indices = np.flatnonzero(chosen)
        return int(indices[np.argmax(sign * vertices[indices, axis])])

    def nearest(point: Array, chosen: NDArray[np.bool_]) -> int:
        distance = np.linalg.norm(vertices - point, axis=1)
        return int(np.where(chosen, distance, np.inf).argmin())

    head = skin & (leading == JOINT_INDEX["head"])
    left_eye, right_eye = (
        joints[JOINT_INDEX["left_eye_smplhf"]],
        joints[JOINT_INDEX["right_eye_smplhf"]],
    )
    level = left_eye[1]
    central = np.abs(vertices[:, 0]) < 0.01
    below = (vertices[:, 1] < level) & (vertices[:, 1] > level - 0.07)
    ears = head & (np.abs(vertices[:, 1] - level + 0.01) < 0.03)
    forward = np.array([0.0, 0.0, 0.02])
    found = {
        "nose": furthest(head & central & below, 2, 1),
        "leye": nearest(left_eye + forward, ~skin),
        "reye": nearest(right_eye + forward, ~skin),
        "lear": furthest(ears, 0, 1),
        "rear": furthest(ears, 0, -1),
    }
    for letter, side, x in (("l", "left", 1.0), ("r", "right", -1.0)):
        for finger in ("thumb", "index", "middle", "ring", "pinky"):
            tip = skin & (leading == JOINT_INDEX[f"{side}_{finger}3"])
            found[f"{letter}{finger}"] = furthest(tip, 0, x)
        toes = skin & (leading == JOINT_INDEX[f"{side}_foot"])
        inner = toes & (np.abs(vertices[:, 0]) < np.abs(vertices[toes, 0]).mean())
        found[f"{letter.upper()}BigToe"] = furthest(inner, 2, 1)
        found[f"{letter.upper()}SmallToe"] = furthest(toes, 0, x)
        ankle = skin & (leading == JOINT_INDEX[f"{side}_ankle"])
        found[f"{letter.upper()}Heel"] = furthest(ankle, 2, -1)
    return found


def _face_of(vertices: Array, joints: Array, chosen: Indices) -> Face:
    skin = chosen < SKIN_VERTICES
    lips = vertices[skin & (_mask_at_vertices("lips")[chosen] > 0.4)]
    lips = lips[lips[:, 2] > np.quantile(lips[:, 2], 0.25)]
    return Face(
        left_eye=joints[JOINT_INDEX["left_eye_smplhf"]],
        right_eye=joints[JOINT_INDEX["right_eye_smplhf"]],
        nose=vertices[SMPLX_VERTEX_IDS["nose"]],
        lips=lips,
        ears=float(np.quantile(vertices[skin & (_mask_at_vertices("ears")[chosen] > 0.5), 2], 0.9)),
    )


def regressor_errors(fields: Fields, basis: Basis) -> dict[str, float]:
    """Return each joint's mean error over the sampled people, metres, by name."""
    errors = np.zeros(JOINT_COUNT)
    for coefficients, wanted in zip(basis.coefficients, basis.joint_samples, strict=True):
        vertices = fields["v_template"] + fields["shapedirs"] @ coefficients
        errors += np.linalg.norm(fields["J_regressor"] @ vertices - wanted, axis=1)
    return dict(zip(JOINT_NAMES, errors / len(basis.coefficients), strict=True))
