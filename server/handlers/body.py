"""`body.template`: a body as the add-on needs it to build a rig with a stand-in mesh."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from blender_addon.contract import operations
from blender_addon.contract.errors import UnknownModel
from blender_addon.contract.fields import parse_model_id
from server.operation import Answer, Context, Operation

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from blender_addon.contract.wire import Arrays, Request
    from models.body import Body

WEIGHTS_PER_VERTEX = 4


def template(context: Context, batch: Sequence[Request]) -> list[Answer]:
    """Return the template of each body asked for, by the param body.

    Result params: id, digest, betas and expressions (int, how many coefficients), licence.
    Result arrays: vertices (V, 3) float32 metres, T-pose; faces (F, 3) int32; uv (T, 2) float32;
    uv_faces (F, 3) int32; joints (55, 3) float32; shape_dirs (V, 3, betas) and expression_dirs
    (V, 3, expressions) float32; joint_shape_dirs (55, 3, betas) float32: how each shape
    coefficient moves the joints; weight_joints (V, 4) uint8 and weight_values (V, 4) float32,
    the largest skinning weights of each vertex, rows summing to 1.
    """
    return [_template(context, parse_model_id(request, "body")) for request in batch]


def _template(context: Context, name: str) -> Answer:
    from models.body import load_body

    manifest = context.library.manifest(name)
    if manifest.kind != "body":
        raise UnknownModel(f"{name!r} is a {manifest.kind}, not a body")
    digest = context.library.digest(name)
    body = load_body(context.library.package(name))
    params = {
        "id": name,
        "digest": digest,
        "betas": int(body.shape_dirs.shape[-1]),
        "expressions": int(body.expression_dirs.shape[-1]),
        "licence": manifest.licence,
    }
    return Answer(params=params, arrays=template_arrays(body), digest=digest)


def template_arrays(body: Body) -> Arrays:
    """Return the arrays of a body's template; see `template`."""
    regressor = body.joint_regressor.numpy()
    vertices, shapes = body.v_template.numpy(), body.shape_dirs.numpy()
    joints, values = strongest_weights(body.skin_weights.numpy())
    return {
        "vertices": vertices,
        "faces": body.faces.numpy().astype(np.int32),
        "uv": body.uv.numpy(),
        "uv_faces": body.uv_faces.numpy().astype(np.int32),
        "joints": (regressor @ vertices).astype(np.float32),
        "shape_dirs": shapes,
        "expression_dirs": body.expression_dirs.numpy(),
        "joint_shape_dirs": np.einsum("jv,vck->jck", regressor, shapes, optimize=True),
        "weight_joints": joints,
        "weight_values": values,
    }


def strongest_weights(
    weights: NDArray[np.float32],
) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Return the largest `WEIGHTS_PER_VERTEX` of each row of (V, 55) weights, strongest first.

    Returns:
        joints (V, 4) uint8 and values (V, 4) float32, rows scaled to sum to 1.
    """
    order = np.argsort(-weights, axis=1, kind="stable")[:, :WEIGHTS_PER_VERTEX]
    values = np.take_along_axis(weights, order, axis=1)
    total = values.sum(axis=1, keepdims=True)
    return order.astype(np.uint8), (values / np.maximum(total, 1e-12)).astype(np.float32)


OPERATIONS = (
    Operation(name=operations.BODY_TEMPLATE, kind="predict", call=template, model="body"),
)
