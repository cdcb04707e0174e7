"""The compact form of a body in a model package, and the SMPL-X fields that it stands for.

SMPL-X's own file repeats itself (dense weights, a dense joint regressor, faces twice): the
packed form is a tenth of it. Packing rounds; what is shipped, tested against the `smplx`
package and rendered is always the unpacked form.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from blender_addon.contract.joints import JOINT_COUNT, JOINT_NAMES, PARENTS

if TYPE_CHECKING:
    from collections.abc import Mapping

    Fields = dict[str, np.ndarray[Any, Any]]

BONES_PER_VERTEX = 6
"""Skinning weights kept per vertex, in steps of 1/255."""

MIRRORED_HAND = np.tile([1.0, -1.0, -1.0], 15)
"""Signs that turn 15 axis-angles of a left hand into those of the right (SMPL-X's x mirrored)."""

POSE_CORRECTIVES = 9 * (JOINT_COUNT - 1)


def pack(fields: Mapping[str, np.ndarray[Any, Any]]) -> Fields:
    """Turn SMPL-X fields into the arrays of a package.

    Args:
        fields: v_template (V, 3), shapedirs (V, 3, n), expressiondirs (V, 3, m), weights (V, 55),
            J_regressor (55, V), vt (T, 2), ft (F, 3), uv_vertex (T,) the vertex of each UV, spectral
            (V, 16) in −1…1, hands_mean (2, 45) and hands_components (2, 45, 45) whose right
            hand mirrors the left, lmk_faces_idx (51,), lmk_bary_coords (51, 3),
            dynamic_lmk_faces_idx (79, 17), dynamic_lmk_bary_coords (79, 17, 3),
            makehuman_index (V,).
    """
    joints, weights = _packed_weights(fields["weights"])
    moved = np.flatnonzero(np.abs(fields["expressiondirs"]).max(axis=(1, 2)) > 1e-6)
    rows, columns = np.nonzero(fields["J_regressor"])
    return {
        "v_template": fields["v_template"].astype(np.float32),
        "shape_dirs": fields["shapedirs"].astype(np.float16),
        "expression_vertices": moved.astype(np.uint16),
        "expression_dirs": fields["expressiondirs"][moved].astype(np.float16),
        "skin_joints": joints,
        "skin_weights": weights,
        "regressor_joints": rows.astype(np.uint8),
        "regressor_vertices": columns.astype(np.uint16),
        "regressor_values": fields["J_regressor"][rows, columns].astype(np.float32),
        "uv": fields["vt"].astype(np.float32),
        "uv_vertices": fields["uv_vertex"].astype(np.uint16),
        "uv_faces": fields["ft"].astype(np.uint16),
        "spectral": np.rint(fields["spectral"] * 127).astype(np.int8),
        "hand_mean": fields["hands_mean"][0].astype(np.float32),
        "hand_components": np.rint(fields["hands_components"][0] * 32767).astype(np.int16),
        "landmark_faces": fields["lmk_faces_idx"].astype(np.uint16),
        "landmark_weights": _packed_shares(fields["lmk_bary_coords"]),
        "contour_faces": fields["dynamic_lmk_faces_idx"].astype(np.uint16),
        "contour_weights": _packed_shares(fields["dynamic_lmk_bary_coords"]),
        "makehuman_index": fields["makehuman_index"].astype(np.uint16),
    }


def unpack(arrays: Mapping[str, np.ndarray[Any, Any]]) -> Fields:
    """Turn the arrays of a package into the fields of an SMPL-X file (and a few of ours)."""
    count = len(arrays["v_template"])
    expression = np.zeros((count, 3, arrays["expression_dirs"].shape[-1]), np.float32)
    expression[arrays["expression_vertices"]] = arrays["expression_dirs"]
    weights = np.zeros((count, JOINT_COUNT), np.float32)
    rows = np.arange(count)[:, None]
    np.add.at(weights, (rows, arrays["skin_joints"]), arrays["skin_weights"].astype(np.float32))
    regressor = np.zeros((JOINT_COUNT, count), np.float32)
    regressor[arrays["regressor_joints"], arrays["regressor_vertices"]] = arrays["regressor_values"]
    faces = arrays["uv_vertices"][arrays["uv_faces"]]
    shape_dirs = arrays["shape_dirs"].astype(np.float32)
    mirror = MIRRORED_HAND.astype(np.float32)
    hand_components = arrays["hand_components"].astype(np.float32) / 32767
    parents = np.where(np.array(PARENTS) < 0, 2**32 - 1, np.array(PARENTS))
    return {
        "v_template": arrays["v_template"],
        "shapedirs": np.concatenate([shape_dirs, expression], axis=2),
        "J_regressor": regressor,
        "weights": weights / weights.sum(axis=1, keepdims=True),
        "kintree_table": np.stack([parents, np.arange(JOINT_COUNT)]).astype(np.int64),
        "f": faces.astype(np.uint32),
        "vt": arrays["uv"],
        "ft": arrays["uv_faces"].astype(np.uint32),
        "hands_meanl": arrays["hand_mean"],
        "hands_meanr": arrays["hand_mean"] * mirror,
        "hands_componentsl": hand_components,
        "hands_componentsr": hand_components * mirror,
        "lmk_faces_idx": arrays["landmark_faces"].astype(np.int64),
        "lmk_bary_coords": _unpacked_shares(arrays["landmark_weights"]),
        "dynamic_lmk_faces_idx": arrays["contour_faces"].astype(np.int64),
        "dynamic_lmk_bary_coords": _unpacked_shares(arrays["contour_weights"]),
        "spectral": arrays["spectral"].astype(np.float32) / 127,
        "makehuman_index": arrays["makehuman_index"].astype(np.int64),
        "joint_names": np.array(JOINT_NAMES),
    }


def smplx_file_fields(fields: Mapping[str, np.ndarray[Any, Any]]) -> Fields:
    """Add what the `smplx` package expects in a file: correctives (zero) and name tables."""
    count = len(fields["v_template"])
    numbers = {name: index for index, name in enumerate(JOINT_NAMES)}
    return {
        **fields,
        "posedirs": np.zeros((count, 3, POSE_CORRECTIVES), np.float32),
        "part2num": np.array(numbers, dtype=object),
        "joint2num": np.array(numbers, dtype=object),
    }


def _packed_weights(weights: np.ndarray[Any, Any]) -> tuple[np.ndarray[Any, Any], ...]:
    order = np.argsort(-weights, axis=1, kind="stable")[:, :BONES_PER_VERTEX]
    kept = np.take_along_axis(weights, order, axis=1)
    kept = kept / kept.sum(axis=1, keepdims=True) * 255
    whole = np.floor(kept).astype(np.int64)
    # Largest remainders get what rounding down left over, so that rows sum to 255 exactly.
    missing = 255 - whole.sum(axis=1)
    ranks = np.argsort(np.argsort(-(kept - whole), axis=1, kind="stable"), axis=1)
    whole += ranks < missing[:, None]
    return order.astype(np.uint8), whole.astype(np.uint8)


def _packed_shares(barycentrics: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Keep the first two of three shares that sum to 1, in steps of 1/65535."""
    return np.rint(barycentrics[..., :2] * 65535).astype(np.uint16)


def _unpacked_shares(packed: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    two = packed.astype(np.float32) / 65535
    return np.concatenate([two, 1 - two.sum(axis=-1, keepdims=True)], axis=-1)
