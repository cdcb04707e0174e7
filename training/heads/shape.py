"""A head's own features: smooth warps of the free body's face beyond what its betas reach.

A warp moves every point of the head alike, eyeballs and mouth included, so that lids stay on
eyes and whatever grows on the skin follows. Coordinates are those of the unshaped template, in
metres from the middle between its eyes: x to the person's left, y up, z ahead.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING

import numpy as np

from blender_addon.contract.joints import JOINT_INDEX
from training.people.bare import BareBody, bare_body
from training.people.noise import noise, smoothstep
from training.people.surfaces import normals

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from models.body import Body

    Array = NDArray[np.float64]

_EYE_JOINTS = (JOINT_INDEX["left_eye_smplhf"], JOINT_INDEX["right_eye_smplhf"])


@dataclass(frozen=True, kw_only=True)
class Features:
    """How a face differs from the mean one: each about −1…1, 0 for the mean.

    `uneven` is the size of a difference between left and right; its seed is the head's.
    """

    nose_width: float = 0.0
    nose_length: float = 0.0
    nose_hump: float = 0.0
    jaw_width: float = 0.0
    chin: float = 0.0
    face_length: float = 0.0
    cheeks: float = 0.0
    eye_size: float = 0.0
    eye_distance: float = 0.0
    brow_ridge: float = 0.0
    skull_height: float = 0.0
    skull_width: float = 0.0
    lip_fullness: float = 0.0
    mouth_width: float = 0.0
    ear_size: float = 0.0
    ear_angle: float = 0.0
    uneven: float = 0.3


def random_features(rng: np.random.Generator) -> Features:
    """Draw features: mostly near the mean, all but the eyes' size within −1.3…1.3."""
    names = [field.name for field in fields(Features) if field.name != "uneven"]
    values = np.clip(rng.normal(0, 0.6, len(names)), -1.3, 1.3).round(3)
    drawn = dict(zip(names, values.tolist(), strict=True))
    # The free body's eyes are small for a portrait.
    drawn["eye_size"] += 1.0
    return Features(**drawn, uneven=round(float(rng.uniform(0.1, 0.8)), 3))


def shaped_body(
    body: Body,
    betas: NDArray[np.float32],
    features: Features,
    expression: NDArray[np.float32],
    seed: int,
) -> BareBody:
    """Return a body whose rest pose has the features and already wears the expression.

    Args:
        body: on the CPU.
        betas: (n,) shape coefficients.
        features: of the face.
        expression: (m,) expression coefficients; more than the body has do not count.
        seed: of what is uneven in the face.
    """
    bare = bare_body(body, betas)
    count = min(len(expression), int(body.expression_dirs.shape[2]))
    moved = body.expression_dirs[..., :count].double().numpy() @ expression[:count].astype(float)
    # The mean of both eyes' joints is the point that the template's coordinates are told from.
    middle = bare.marks[list(_EYE_JOINTS)].mean(axis=0)
    vertices = bare.vertices + moved + displacement(features, bare.template - middle, seed)
    joints = bare.joints.copy()
    for joint in _EYE_JOINTS:
        joints[joint] += displacement(features, bare.marks[joint][None] - middle, seed)[0]
    return replace(bare, vertices=vertices, joints=joints, normals=normals(vertices, bare.faces))


def displacement(features: Features, points: Array, seed: int) -> Array:
    """Return the (N, 3) metres by which features move points (N, 3) of the template."""
    f = features
    x, y, z = points.T
    side = np.abs(x)
    front = smoothstep(-0.05, 0.0, z)
    out = np.zeros_like(points)
    nose = _bump(x, 0.024) * _bump(y + 0.040, 0.014) * smoothstep(-0.01, 0.01, z)
    out[:, 0] += 0.22 * f.nose_width * x * nose
    tip = _bump(x, 0.016) * _bump(y + 0.036, 0.018) * smoothstep(-0.01, 0.02, z)
    out[:, 2] += 0.006 * f.nose_length * tip
    out[:, 1] -= 0.003 * f.nose_length * tip
    out[:, 2] += 0.0035 * f.nose_hump * _bump(x, 0.012) * _bump(y + 0.012, 0.013) * front
    out[:, 0] += 0.09 * f.jaw_width * x * _bump(y + 0.085, 0.036) * smoothstep(-0.12, -0.08, z)
    chin = _bump(x, 0.032) * _bump(y + 0.100, 0.024) * front
    out[:, 1] -= 0.005 * f.chin * chin
    out[:, 2] += 0.005 * f.chin * chin
    # The lower face grows longer; the neck takes it up.
    fall = np.clip(-y, 0, 0.11) * smoothstep(-0.21, -0.12, y) * smoothstep(-0.11, -0.05, z)
    out[:, 1] -= 0.07 * f.face_length * fall
    cheek = _bump(side - 0.052, 0.020) * _bump(y + 0.036, 0.028) * smoothstep(-0.07, -0.03, z)
    out[:, 0] += 0.004 * f.cheeks * np.tanh(x / 0.02) * cheek
    apart = 0.029
    dx = side - apart
    eye = np.exp(-((dx / 0.024) ** 2 + (y / 0.020) ** 2)) * smoothstep(-0.03, -0.02, z)
    out[:, 0] += 0.10 * f.eye_size * np.sign(x) * dx * eye
    out[:, 1] += 0.20 * f.eye_size * (y + 0.0005) * eye
    out[:, 2] += 0.08 * f.eye_size * z * eye
    out[:, 0] += 0.0022 * f.eye_distance * np.tanh(x / 0.012) * _bump(y, 0.036) * front
    out[:, 2] += 0.004 * f.brow_ridge * _bump(y - 0.019, 0.013) * _bump(x, 0.055) * front
    out[:, 1] += 0.07 * f.skull_height * np.clip(y - 0.03, 0, None)
    out[:, 0] += 0.05 * f.skull_width * x * smoothstep(-0.08, 0.0, y)
    mouth = _bump(y + 0.0694, 0.014) * _bump(x, 0.034) * smoothstep(-0.03, 0.0, z)
    out[:, 1] += 0.28 * f.lip_fullness * (y + 0.0694) * mouth
    out[:, 2] += 0.0022 * f.lip_fullness * mouth
    out[:, 0] += 0.10 * f.mouth_width * x * mouth
    ear = smoothstep(0.062, 0.070, side) * np.exp(
        -(((z + 0.0755) / 0.030) ** 2) - ((y + 0.0205) / 0.042) ** 2
    )
    out[:, 1] += 0.12 * f.ear_size * (y + 0.0205) * ear
    out[:, 2] += 0.12 * f.ear_size * (z + 0.0755) * ear
    out[:, 0] += 0.004 * f.ear_angle * np.sign(x) * smoothstep(0.066, 0.085, side) * ear
    for axis in range(3):
        out[:, axis] += 0.0012 * f.uneven * noise(points, 14.0, (seed + 17 * axis) % 997)
    head = smoothstep(-0.21, -0.15, y) * (side < 0.13)
    return out * head[:, None]


def _bump(value: Array, width: float) -> Array:
    return np.exp(-((value / width) ** 2))
