"""The parametric body: SMPL-X's file format and its batched, differentiable skinning.

`load_body` reads a body package of the library or a licensed SMPLX_*.npz, unchanged.
"""

from __future__ import annotations

import hashlib
import zipfile
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from blender_addon.contract.errors import BodyFileError, BodyMismatch
from blender_addon.contract.joints import JOINT_COUNT, PARENTS
from models.body_package import unpack
from models.package import load_arrays, package_digest, read_manifest

if TYPE_CHECKING:
    from collections.abc import Mapping

REQUIRED_FIELDS = (
    *("v_template", "shapedirs", "J_regressor", "kintree_table", "weights", "f", "vt", "ft"),
)
HAND_FIELDS = ("hands_meanl", "hands_meanr", "hands_componentsl", "hands_componentsr")
LANDMARK_FIELDS = (
    *("lmk_faces_idx", "lmk_bary_coords"),
    *("dynamic_lmk_faces_idx", "dynamic_lmk_bary_coords"),
)
FILE_FIELDS = (*REQUIRED_FIELDS, *HAND_FIELDS, *LANDMARK_FIELDS, "posedirs", "spectral")

SHAPE_COLUMNS = 300
"""Columns of `shapedirs` before the expressions in the licensed files of 400 columns."""


class Hands(NamedTuple):
    """What SMPL-X's hand coefficients stand for: axis-angles of 15 joints = mean + c · components.

    Left hand first: means (2, 45), components (2, 45, 45), float32, by falling variance.
    """

    means: Tensor
    components: Tensor


class Landmarks(NamedTuple):
    """Points of the face on the surface, as face ids and barycentrics.

    The 51 inner ones: faces (51,), weights (51, 3). The outline, by the head's yaw in degrees
    (bins 0…39 to the subject's right, 40…78 to the left by 1…39): contour_faces (79, 17),
    contour_weights (79, 17, 3).
    """

    faces: Tensor
    weights: Tensor
    contour_faces: Tensor
    contour_weights: Tensor


@dataclass(frozen=True, kw_only=True)
class Body:
    """A body model.

    Attributes:
        v_template: (V, 3) float32 vertices of the mean body in T-pose, metres.
        shape_dirs: (V, 3, nb) float32 displacement per shape coefficient.
        expression_dirs: (V, 3, ne) float32 displacement per expression coefficient.
        pose_dirs: (486, V · 3) float32 pose correctives, or None when the file's are zero.
        joint_regressor: (55, V) float32.
        skin_weights: (V, 55) float32, rows sum to 1.
        parents: parent of each joint, −1 for the pelvis.
        faces: (F, 3) int64 vertex indices.
        uv: (T, 2) float32, v up.
        uv_faces: (F, 3) int64 UV indices of each face's corners.
        spectral: (V, 16) float32 spectral coordinates, or None.
        hands: what hand coefficients stand for, or None when the file has none.
        landmarks: of the face, or None when the file has none.
        id: name.
        digest: 16 hexadecimal digits that name the content.
    """

    v_template: Tensor
    shape_dirs: Tensor
    expression_dirs: Tensor
    pose_dirs: Tensor | None
    joint_regressor: Tensor
    skin_weights: Tensor
    parents: tuple[int, ...]
    faces: Tensor
    uv: Tensor
    uv_faces: Tensor
    spectral: Tensor | None
    hands: Hands | None
    landmarks: Landmarks | None
    id: str
    digest: str

    @cached_property
    def basis(self) -> tuple[Tensor, Tensor]:
        """Linear map from (betas, expression) to vertices and joints.

        Returns:
            (nb + ne, V · 3) for the vertices and (1 + nb + ne, 55 · 3) for the joints, whose
            first row is the template's. The regressor is linear, so it is applied once, here.
        """
        # Plain tensors also when rendering asks first: a fit may differentiate through them.
        with torch.inference_mode(mode=False):
            dirs = torch.cat([self.shape_dirs, self.expression_dirs], dim=2)
            joints = torch.einsum("jv,vck->kjc", self.joint_regressor, dirs)
            template = self.joint_regressor @ self.v_template
            return (
                dirs.permute(2, 0, 1).flatten(1).contiguous(),
                torch.cat([template[None], joints]).flatten(1).contiguous(),
            )


class Skinned(NamedTuple):
    """A batch of posed bodies: vertices (B, V, 3) and joints (B, 55, 3), metres."""

    vertices: Tensor
    joints: Tensor


def load_body(path: Path, device: str | torch.device = "cpu") -> Body:
    """Load a body package (a folder) or an SMPL-X file (.npz).

    Raises:
        BodyFileError: not an SMPL-X body; says why.
    """
    path = Path(path)
    if path.is_dir():
        manifest = read_manifest(path)
        if manifest.kind != "body":
            raise BodyFileError(f"{path} is a package of a {manifest.kind}, not of a body")
        arrays = {name: value.numpy() for name, value in load_arrays(path).items()}
        if "uv_vertices" in arrays:  # the compact form, not a file's own fields
            arrays = unpack(arrays)
        _check_file(arrays, path)
        return _body(arrays, manifest.id, package_digest(manifest), device)
    arrays = read_smplx_file(path)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()[:16]
    return _body(arrays, path.stem, digest, device)


def read_smplx_file(path: Path) -> dict[str, np.ndarray[Any, Any]]:
    """Return the fields of an SMPL-X file (.npz) that make a body: numbers only.

    The name tables of licensed files are pickled objects: they are never read.

    Raises:
        BodyFileError: not an SMPL-X body; says why.
    """
    try:
        # numpy leaks the handle of a damaged file unless the handle is ours.
        with path.open("rb") as handle, np.load(handle, allow_pickle=False) as file:
            arrays = {name: file[name] for name in FILE_FIELDS if name in file.files}
    except (OSError, ValueError, zipfile.BadZipFile, EOFError) as error:
        raise BodyFileError(f"{path} cannot be read: {error}") from error
    _check_file(arrays, path)
    return arrays


def _check_file(arrays: Mapping[str, np.ndarray[Any, Any]], path: Path) -> None:
    """Raise `BodyFileError` with the reason unless the arrays are those of an SMPL-X file."""
    missing = [name for name in REQUIRED_FIELDS if name not in arrays]
    if missing:
        raise BodyFileError(f"{path} is not an SMPL-X file: it lacks {', '.join(missing)}")
    joints = arrays["weights"].shape[-1]
    if joints != JOINT_COUNT:
        known = {24: " (that is SMPL)", 52: " (that is SMPL-H)"}.get(joints, "")
        raise BodyFileError(f"{path} has {joints} joints{known}; SMPL-X has {JOINT_COUNT}")
    vertices, faces = len(arrays["v_template"]), len(arrays["f"])
    shapes = {
        "v_template": (vertices, 3),
        "shapedirs": (vertices, 3, arrays["shapedirs"].shape[-1]),
        "J_regressor": (JOINT_COUNT, vertices),
        "weights": (vertices, JOINT_COUNT),
        "f": (faces, 3),
        "ft": (faces, 3),
        "vt": (len(arrays["vt"]), 2),
    }
    for name, shape in shapes.items():
        if arrays[name].shape != shape:
            raise BodyFileError(f"{path}: {name} has the shape {arrays[name].shape}, not {shape}")
        if arrays[name].dtype.kind == "f" and not np.isfinite(arrays[name]).all():
            raise BodyFileError(f"{path}: {name} holds numbers that are not finite")
    parents = arrays["kintree_table"][0].astype(np.int64)
    if tuple(parents[1:]) != PARENTS[1:]:
        raise BodyFileError(f"{path}: its joints hang together in another way than SMPL-X's")
    if arrays["f"].max() >= vertices or arrays["ft"].max() >= len(arrays["vt"]):
        raise BodyFileError(f"{path}: a face names a vertex that does not exist")


def _body(
    arrays: Mapping[str, np.ndarray], name: str, digest: str, device: str | torch.device
) -> Body:
    def real(field: str) -> Tensor:
        return torch.from_numpy(np.asarray(arrays[field], np.float32)).to(device)

    def whole(field: str) -> Tensor:
        return torch.from_numpy(np.asarray(arrays[field]).astype(np.int64)).to(device)

    dirs = real("shapedirs")
    split = SHAPE_COLUMNS if dirs.shape[-1] >= 400 else dirs.shape[-1] // 2
    posedirs = arrays.get("posedirs")
    corrective = None
    if posedirs is not None and np.any(posedirs):
        corrective = real("posedirs").reshape(-1, posedirs.shape[-1]).T.contiguous()
    hands = None
    if all(field in arrays for field in HAND_FIELDS):
        means, components = (
            torch.stack([real(field) for field in pair])
            for pair in (HAND_FIELDS[:2], HAND_FIELDS[2:])
        )
        hands = Hands(means, components)
    landmarks = None
    if all(field in arrays for field in LANDMARK_FIELDS):
        inner, inner_weights, contour, contour_weights = LANDMARK_FIELDS
        landmarks = Landmarks(
            whole(inner), real(inner_weights), whole(contour), real(contour_weights)
        )
    return Body(
        v_template=real("v_template"),
        shape_dirs=dirs[..., :split].contiguous(),
        expression_dirs=dirs[..., split:].contiguous(),
        pose_dirs=corrective,
        joint_regressor=real("J_regressor"),
        skin_weights=real("weights"),
        parents=PARENTS,
        faces=whole("f"),
        uv=real("vt"),
        uv_faces=whole("ft"),
        spectral=real("spectral") if "spectral" in arrays else None,
        hands=hands,
        landmarks=landmarks,
        id=name,
        digest=digest,
    )


def part_of(body: Body, vertices: Tensor) -> Body:
    """Return a body with some of the vertices only, and no faces: fits pose few points, often.

    Joints stay exact: the vertices that they are made of are kept, after those asked for.

    Args:
        body: the whole one.
        vertices: (N,) int64 indices; the part's first N vertices.
    """
    joints = (body.joint_regressor != 0).any(dim=0).nonzero()[:, 0]
    kept = torch.cat([vertices, joints[~torch.isin(joints, vertices)]])
    regressor = body.joint_regressor.new_zeros(JOINT_COUNT, len(kept))
    # A vertex asked for twice is counted once.
    first = torch.full((len(body.v_template),), -1, device=kept.device)
    first[kept.flip(0)] = torch.arange(len(kept) - 1, -1, -1, device=kept.device)
    regressor[:, first[joints]] = body.joint_regressor[:, joints]
    correctives = None
    if body.pose_dirs is not None:
        correctives = body.pose_dirs.view(len(body.pose_dirs), -1, 3)[:, kept].flatten(1)
    return replace(
        body,
        v_template=body.v_template[kept],
        shape_dirs=body.shape_dirs[kept],
        expression_dirs=body.expression_dirs[kept],
        pose_dirs=correctives,
        joint_regressor=regressor,
        skin_weights=body.skin_weights[kept],
        faces=body.faces[:0],
        uv_faces=body.uv_faces[:0],
        spectral=None,
        landmarks=None,
    )


def skin(body: Body, pose: Tensor, betas: Tensor, expression: Tensor, transl: Tensor) -> Skinned:
    """Pose a batch of bodies by linear blend skinning.

    Args:
        pose: (B, 55, 3, 3) rotations of each joint relative to its parent, SMPL-X order.
        betas: (B, ≤ n) shape coefficients; missing ones count as 0.
        expression: (B, ≤ m) expression coefficients.
        transl: (B, 3) translation of the root in metres, SMPL-X space (Y up).

    Raises:
        BodyMismatch: more coefficients than the body has.

    Source: SMPL-X (Pavlakos et al. 2019), equations 2–4; pose correctives are skipped when
    the file's are zero.
    """
    _check_counts(body, betas, expression)
    vertex_basis, joint_basis = body.basis
    batch = pose.shape[0]
    shaped = _shaped(body, vertex_basis, betas, expression).view(batch, -1, 3) + body.v_template
    rest = joint_basis[0] + _shaped(body, joint_basis[1:], betas, expression)
    rest = rest.view(batch, JOINT_COUNT, 3)
    if body.pose_dirs is not None:
        identity = torch.eye(3, device=pose.device, dtype=pose.dtype)
        bend = (pose[:, 1:] - identity).flatten(1)
        shaped = shaped + (bend @ body.pose_dirs).view_as(shaped)
    rotation, position = _chain(pose, rest)
    shift = position - (rotation @ rest[..., None])[..., 0]
    transforms = torch.cat([rotation, shift[..., None]], dim=3).view(batch, JOINT_COUNT, 12)
    blended = (body.skin_weights @ transforms).view(batch, -1, 3, 4)
    moved = (blended[..., :3] * shaped[..., None, :]).sum(dim=3) + blended[..., 3]
    return Skinned(moved + transl[:, None], position + transl[:, None])


def _check_counts(body: Body, betas: Tensor, expression: Tensor) -> None:
    for given, dirs in ((betas, body.shape_dirs), (expression, body.expression_dirs)):
        if given.shape[1] > dirs.shape[2]:
            raise BodyMismatch(f"{given.shape[1]} coefficients came, the body has {dirs.shape[2]}")


def _shaped(body: Body, basis: Tensor, betas: Tensor, expression: Tensor) -> Tensor:
    """Return (B, n): the coefficients times their rows of a basis (nb + ne, n).

    Only the rows asked for are touched: a licensed body has 400, a caller sends 20.
    """
    first = body.shape_dirs.shape[2]
    shape_rows = basis[: betas.shape[1]]
    expression_rows = basis[first : first + expression.shape[1]]
    return betas @ shape_rows + expression @ expression_rows


def _chain(pose: Tensor, rest: Tensor) -> tuple[Tensor, Tensor]:
    """Follow the kinematic tree, a level at a time: its 11 levels instead of its 55 joints.

    Returns:
        world rotations (B, 55, 3, 3) and joint positions (B, 55, 3).
    """
    parents = torch.tensor(PARENTS[1:], device=pose.device)
    bones = rest[:, 1:] - rest[:, parents]
    rotations: dict[int, Tensor] = {0: pose[:, 0]}
    positions: dict[int, Tensor] = {0: rest[:, 0]}
    for level in _LEVELS:
        above = [PARENTS[joint] for joint in level]
        parent_rotation = torch.stack([rotations[joint] for joint in above], dim=1)
        parent_position = torch.stack([positions[joint] for joint in above], dim=1)
        turned = parent_rotation @ pose[:, level]
        bone = bones[:, [joint - 1 for joint in level]]
        placed = parent_position + (parent_rotation @ bone[..., None])[..., 0]
        for index, joint in enumerate(level):
            rotations[joint], positions[joint] = turned[:, index], placed[:, index]
    order = range(JOINT_COUNT)
    return (
        torch.stack([rotations[joint] for joint in order], dim=1),
        torch.stack([positions[joint] for joint in order], dim=1),
    )


def _levels() -> list[list[int]]:
    depth = [0] * JOINT_COUNT
    for joint in range(1, JOINT_COUNT):
        depth[joint] = depth[PARENTS[joint]] + 1
    return [
        [joint for joint in range(JOINT_COUNT) if depth[joint] == level]
        for level in range(1, max(depth) + 1)
    ]


_LEVELS = _levels()
