"""The undressed person: the shaped body in the rest pose, with what tailors measure on it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from blender_addon.contract.joints import HEAD_JOINTS, JOINT_COUNT, JOINT_INDEX
from models.body import skin
from training.people.surfaces import Surface, normals

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from blender_addon.contract.operations import PosedBody
    from models.body import Body

    Array = NDArray[np.float64]

EYE_JOINTS = (JOINT_INDEX["left_eye_smplhf"], JOINT_INDEX["right_eye_smplhf"])


@dataclass(frozen=True, kw_only=True)
class BareBody:
    """A shaped body in the rest pose.

    Attributes:
        body: the parametric body.
        betas: (n,) its shape.
        vertices: (V, 3) metres.
        normals: (V, 3) unit.
        joints: (55, 3) metres.
        template: (V, 3) vertices of the unshaped body.
        marks: (55, 3) joints of the unshaped body: what seams are measured from.
        weights: (V, 55) skinning weights.
        faces: (F, 3).
        eyes: (V,) bool: vertices of the eyeballs.
    """

    body: Body
    betas: NDArray[np.float32]
    vertices: Array
    normals: Array
    joints: Array
    template: Array
    marks: Array
    weights: Array
    faces: NDArray[np.int64]
    eyes: NDArray[np.bool_]

    def mark(self, name: str) -> Array:
        """Return the (3,) place of a joint on the unshaped body."""
        return self.marks[JOINT_INDEX[name]]

    def joint(self, name: str) -> Array:
        """Return the (3,) place of a joint of this person in the rest pose."""
        return self.joints[JOINT_INDEX[name]]

    def head_weight(self) -> Array:
        """(V,) share of the head's joints in each vertex."""
        return self.weights[:, list(HEAD_JOINTS)].sum(axis=1)

    def surface(self) -> Surface:
        """Return the whole body as a surface."""
        count = len(self.vertices)
        return Surface(
            vertices=self.vertices,
            faces=self.faces,
            weights=self.weights,
            paint=self.template,
            coords=np.zeros((count, 2)),
            edge=np.full(count, 1.0),
        )


def bare_body(body: Body, betas: NDArray[np.float32]) -> BareBody:
    """Shape a body and measure it.

    Args:
        body: on the CPU.
        betas: (n,) shape coefficients.
    """
    vertices, joints = _rest(body, betas)
    template, marks = _rest(body, np.zeros(1, np.float32))
    faces = body.faces.numpy().astype(np.int64)
    weights = body.skin_weights.numpy().astype(np.float64)
    eyes = weights[:, list(EYE_JOINTS)].sum(axis=1) > 0.5
    # The lids follow the eyes in part; the balls are what stays round about the joint.
    return BareBody(
        body=body,
        betas=np.asarray(betas, np.float32),
        vertices=vertices,
        normals=normals(vertices, faces),
        joints=joints,
        template=template,
        marks=marks,
        weights=weights,
        faces=faces,
        eyes=eyes,
    )


def posed_vertices(body: Body, posed: PosedBody) -> NDArray[np.float32]:
    """Return the (V, 3) vertices of the bare body by the project's own skinning."""
    with torch.no_grad():
        skinned = skin(
            body,
            torch.from_numpy(np.ascontiguousarray(posed.pose))[None],
            torch.from_numpy(np.ascontiguousarray(posed.betas))[None],
            torch.from_numpy(np.ascontiguousarray(posed.expression))[None],
            torch.from_numpy(np.ascontiguousarray(posed.transl))[None],
        )
    return skinned.vertices[0].numpy()


def _rest(body: Body, betas: NDArray[np.float32]) -> tuple[Array, Array]:
    with torch.no_grad():
        skinned = skin(
            body,
            torch.eye(3).expand(1, JOINT_COUNT, 3, 3),
            torch.from_numpy(np.asarray(betas, np.float32))[None],
            torch.zeros(1, 1),
            torch.zeros(1, 3),
        )
    return skinned.vertices[0].double().numpy(), skinned.joints[0].double().numpy()
