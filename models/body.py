"""The parametric body: SMPL-X's file format and its batched, differentiable skinning.

`load_body` reads a body package of the library or a licensed SMPLX_*.npz, unchanged.
"""

from __future__ import annotations

import hashlib
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch import Tensor

from blender_addon.contract.errors import BodyFileError, BodyMismatch
from blender_addon.contract.joints import JOINT_COUNT, PARENTS
from models.body_package import unpack
from models.package import load_arrays, package_digest, read_manifest

if TYPE_CHECKING:
    from collections.abc import Mapping

SHAPE_COLUMNS = 300
"""Columns of `shapedirs` before the expressions in the licensed files of 400 columns."""


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
    id: str
    digest: str


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
        arrays = unpack({name: value.numpy() for name, value in load_arrays(path).items()})
        return _body(arrays, manifest.id, package_digest(manifest), device)
    try:
        with np.load(path, allow_pickle=False) as file:
            names = [n for n in file.files if n not in ("part2num", "joint2num", "license")]
            arrays = {name: file[name] for name in names}
    except (OSError, ValueError, zipfile.BadZipFile, EOFError) as error:
        raise BodyFileError(f"{path} cannot be read: {error}") from error
    digest = hashlib.sha256(path.read_bytes()).hexdigest()[:16]
    return _body(arrays, path.stem, digest, device)


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
        id=name,
        digest=digest,
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
    for given, dirs in ((betas, body.shape_dirs), (expression, body.expression_dirs)):
        if given.shape[1] > dirs.shape[2]:
            raise BodyMismatch(f"{given.shape[1]} coefficients, the body has {dirs.shape[2]}")
    shaped = (
        body.v_template
        + torch.einsum("bk,vck->bvc", betas, body.shape_dirs[..., : betas.shape[1]])
        + torch.einsum("bk,vck->bvc", expression, body.expression_dirs[..., : expression.shape[1]])
    )
    joints = torch.einsum("jv,bvc->bjc", body.joint_regressor, shaped)
    if body.pose_dirs is not None:
        identity = torch.eye(3, device=pose.device, dtype=pose.dtype)
        bend = (pose[:, 1:] - identity).flatten(1)
        shaped = shaped + (bend @ body.pose_dirs).view_as(shaped)
    rotations, positions = [pose[:, 0]], [joints[:, 0]]
    for joint in range(1, JOINT_COUNT):
        parent = body.parents[joint]
        rotations.append(rotations[parent] @ pose[:, joint])
        offset = (joints[:, joint] - joints[:, parent])[..., None]
        positions.append(positions[parent] + (rotations[parent] @ offset)[..., 0])
    rotation, position = torch.stack(rotations, 1), torch.stack(positions, 1)
    shift = position - (rotation @ joints[..., None])[..., 0]
    blended = torch.einsum("vj,njab->nvab", body.skin_weights, rotation)
    moved = (blended @ shaped[..., None])[..., 0] + torch.einsum(
        "vj,nja->nva", body.skin_weights, shift
    )
    return Skinned(moved + transl[:, None], position + transl[:, None])
