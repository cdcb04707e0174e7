"""What the stand-in's shape keys and drivers hold, computed from `body.template`. No bpy.

Rest bones cannot be animated, so a change of shape moves each bone by a driven offset instead,
and the shape keys hold what is left: `v(β) − Σ_j w_j D_j β`, where `D_j β` is the shift of joint
j. At rest this is exact; in a pose it differs from SMPL-X only where a vertex follows several
bones whose shifts differ. The pelvis keeps its place, as an animator expects of a root bone.
The server never sees the stand-in: it receives rotations, betas and expression.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ..contract.errors import BodyFileError
from ..contract.joints import JOINT_COUNT, PARENTS
from ..contract.pose import Y_UP_TO_Z_UP

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

MAX_SLIDERS = 32
"""Most shape or expression sliders a rig gets; further coefficients of a body stay 0."""

SLIDER_RANGE = 5.0
"""Sliders run over ±this many standard deviations."""

MAX_DRIVER_EXPRESSION = 255
"""Characters that Blender keeps of a driver's expression."""


@dataclass(frozen=True, kw_only=True)
class BodyTemplate:
    """A body as `body.template` sends it, in SMPL-X axes and metres.

    Attributes:
        id: name of the body.
        digest: of its package.
        vertices: (V, 3).
        faces: (F, 3) vertex indices.
        uv: (T, 2).
        uv_faces: (F, 3) indices into `uv`.
        joints: (55, 3) of the mean shape.
        shape_dirs: (V, 3, n).
        expression_dirs: (V, 3, m).
        joint_shape_dirs: (55, 3, n).
        weight_joints: (V, 4) joint indices.
        weight_values: (V, 4).
    """

    id: str
    digest: str
    vertices: NDArray[np.float64]
    faces: NDArray[np.int32]
    uv: NDArray[np.float64]
    uv_faces: NDArray[np.int32]
    joints: NDArray[np.float64]
    shape_dirs: NDArray[np.float64]
    expression_dirs: NDArray[np.float64]
    joint_shape_dirs: NDArray[np.float64]
    weight_joints: NDArray[np.int64]
    weight_values: NDArray[np.float64]


def parse_template(params: Mapping[str, Any], arrays: Mapping[str, Any]) -> BodyTemplate:
    """Check a `body.template` result and return it with at most `MAX_SLIDERS` of each kind.

    Raises:
        BodyFileError: an array is missing, has another shape or points outside.
    """
    vertices = _array(arrays, "vertices", (-1, 3))
    count = len(vertices)
    faces = _indices(arrays, "faces", (-1, 3), count)
    uv = _array(arrays, "uv", (-1, 2))
    shapes = _array(arrays, "shape_dirs", (count, 3, -1))[..., :MAX_SLIDERS]
    joint_shapes = _array(arrays, "joint_shape_dirs", (JOINT_COUNT, 3, -1))[..., :MAX_SLIDERS]
    if shapes.shape[-1] != joint_shapes.shape[-1]:
        raise BodyFileError("shape_dirs and joint_shape_dirs have different numbers of shapes")
    weight_joints = _indices(arrays, "weight_joints", (count, -1), JOINT_COUNT)
    return BodyTemplate(
        id=str(params.get("id", "body")),
        digest=str(params.get("digest", "")),
        vertices=vertices,
        faces=faces.astype(np.int32),
        uv=uv,
        uv_faces=_indices(arrays, "uv_faces", (len(faces), 3), len(uv)).astype(np.int32),
        joints=_array(arrays, "joints", (JOINT_COUNT, 3)),
        shape_dirs=shapes,
        expression_dirs=_array(arrays, "expression_dirs", (count, 3, -1))[..., :MAX_SLIDERS],
        joint_shape_dirs=joint_shapes,
        weight_joints=weight_joints,
        weight_values=_array(arrays, "weight_values", weight_joints.shape),
    )


def _array(arrays: Mapping[str, Any], name: str, shape: tuple[int, ...]) -> NDArray[np.float64]:
    values = np.asarray(arrays.get(name, np.zeros(0)), np.float64)
    fits = values.ndim == len(shape) and all(
        want in (-1, have) for want, have in zip(shape, values.shape, strict=True)
    )
    if not fits or not np.isfinite(values).all():
        raise BodyFileError(f"the body's {name} should be finite numbers of shape {shape}")
    return values


def _indices(
    arrays: Mapping[str, Any], name: str, shape: tuple[int, ...], limit: int
) -> NDArray[np.int64]:
    values = _array(arrays, name, shape).astype(np.int64)
    if values.size and not 0 <= int(values.min()) <= int(values.max()) < limit:
        raise BodyFileError(f"the body's {name} point outside of 0…{limit - 1}")
    return values


def to_blender(vectors: NDArray[np.floating]) -> NDArray[np.float64]:
    """Turn (…, 3) vectors from SMPL-X axes to Blender's."""
    return np.asarray(vectors, np.float64) @ Y_UP_TO_Z_UP.T


def shape_key_offsets(template: BodyTemplate) -> NDArray[np.float64]:
    """Return (n, V, 3) offsets of the betas' shape keys, Blender axes, metres per unit."""
    carried = np.einsum(
        "vk,vkcn->vcn", template.weight_values, template.joint_shape_dirs[template.weight_joints]
    )
    return to_blender(np.moveaxis(template.shape_dirs - carried, -1, 0))


def expression_key_offsets(template: BodyTemplate) -> NDArray[np.float64]:
    """Return (m, V, 3) offsets of the expressions' shape keys, Blender axes."""
    return to_blender(np.moveaxis(template.expression_dirs, -1, 0))


def bone_offset_gains(
    template: BodyTemplate, rest_axes: NDArray[np.floating]
) -> NDArray[np.float64]:
    """Return (55, 3, n): how far each bone moves along its own axes per unit of each beta.

    Args:
        rest_axes: (55, 3, 3) the bones' rest axes in armature space.
    """
    shifts = template.joint_shape_dirs.copy()
    shifts[1:] -= template.joint_shape_dirs[np.array(PARENTS[1:])]
    shifts[0] = 0.0  # the pelvis stays: `pelvis_position` accounts for its shift
    turned = np.einsum("ab,jbn->jan", Y_UP_TO_Z_UP, shifts)
    return np.einsum("jba,jbn->jan", np.asarray(rest_axes, np.float64), turned)


def joint_positions(
    table: NDArray[np.floating], betas: NDArray[np.floating]
) -> NDArray[np.float64]:
    """Return the (55, 3) joints of the unposed body of this shape, SMPL-X axes.

    Args:
        table: (55, 3, 1 + n): the mean shape's joints, then their change per beta.
        betas: (n,).
    """
    values = np.asarray(table, np.float64)
    return values[..., 0] + values[..., 1:] @ np.asarray(betas, np.float64)


def joint_table(template: BodyTemplate) -> NDArray[np.float64]:
    """Return the (55, 3, 1 + n) table of `joint_positions`."""
    return np.concatenate([template.joints[..., None], template.joint_shape_dirs], axis=-1)


def lift(template: BodyTemplate, betas: NDArray[np.floating]) -> float:
    """Return how far the stand-in is raised for its soles to stand at the rig's origin, metres.

    Args:
        betas: (≤ n,) shape that stands exactly on the ground.
    """
    given = np.zeros(template.shape_dirs.shape[-1])
    given[: min(len(betas), len(given))] = np.asarray(betas, np.float64)[: len(given)]
    heights = (template.vertices + template.shape_dirs @ given)[:, 1]
    pelvis_shift = float(template.joint_shape_dirs[0, 1] @ given)  # the stand-in's pelvis stays
    return pelvis_shift - float(heights.min())


def driver_expression(gains: NDArray[np.floating], variables: list[str]) -> tuple[str, list[str]]:
    """Write a weighted sum as a driver expression that Blender evaluates without Python.

    Args:
        gains: (n,) factor of each variable.
        variables: n short names.

    Returns:
        The expression and the variables it uses. Of very many terms the largest are kept
        (Blender stores 255 characters); terms under a micrometre are dropped.
    """
    terms = [
        (f"{gain:+.6f}*{name}", name, abs(gain))
        for gain, name in zip(np.asarray(gains, np.float64).tolist(), variables, strict=True)
        if abs(gain) >= 5e-7
    ]
    terms.sort(key=lambda term: -term[2])
    expression, used = "", list[str]()
    for text, name, _ in terms:
        if len(expression) + len(text) > MAX_DRIVER_EXPRESSION:
            break
        expression += text
        used.append(name)
    return expression.lstrip("+"), used


def bone_tails(joints: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return (55, 3) tails for the bones of joints (55, 3), Blender axes, metres.

    A bone points at the middle of its children, a last one goes on as its parent does.
    """
    heads = np.asarray(joints, np.float64)
    children: list[list[int]] = [[] for _ in range(JOINT_COUNT)]
    for joint, parent in enumerate(PARENTS[1:], start=1):
        children[parent].append(joint)
    tails = heads.copy()
    for joint, below in enumerate(children):
        if joint == _HEAD:
            tails[joint] = heads[joint] + np.array([0.0, 0.0, 0.15])
        elif joint in _STRAIGHT:
            tails[joint] = heads[_STRAIGHT[joint]]
        elif below:
            tails[joint] = heads[below].mean(axis=0)
        else:
            tails[joint] = heads[joint] + _last_direction(joint, heads)
        if np.linalg.norm(tails[joint] - heads[joint]) < 0.01:
            tails[joint] = heads[joint] + np.array([0.0, 0.0, 0.03])
    return tails


# Where a bone has several children, the one that the limb goes on with.
_STRAIGHT = {0: 3, 9: 12, 20: 28, 21: 43}
_HEAD, _JAW, _EYES = 15, 22, (23, 24)


def _last_direction(joint: int, heads: NDArray[np.float64]) -> NDArray[np.float64]:
    if joint in _EYES or joint == _JAW:
        return np.array([0.0, -0.05, 0.0])
    along = heads[joint] - heads[PARENTS[joint]]
    return along * (0.8 if joint > _EYES[-1] else 1.0)
