"""A full beard: a shell on jaw, chin and upper lip with a ragged edge."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from training.people.noise import noise, smoothstep
from training.people.strands import StrandStyle
from training.people.surfaces import (
    Surface,
    clip,
    normals,
    select_faces,
    smoothed,
    subdivide,
    with_vertices,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from training.people.bare import BareBody

    Array = NDArray[np.float64]


BEARD_STRANDS = StrandStyle(
    count=5500, length=(0.009, 0.021), width=0.0010, lift=0.006, wave=0.0014
)


def beard_field(bare: BareBody, *, seed: int = 0) -> Array:
    """(V,) metres inside the beard's outline, for the template's vertices; negative elsewhere."""
    eye = bare.mark("left_eye_smplhf")
    x = np.abs(bare.template[:, 0])
    y = bare.template[:, 1] - eye[1]
    z = bare.template[:, 2] - eye[2]
    # From the sideburns before the ears along the cheek down to beside the mouth.
    cheek = np.interp(
        x, [0.0, 0.016, 0.03, 0.046, 0.058, 0.068], [-0.053, -0.053, -0.059, -0.05, -0.03, 0.0]
    )
    below = cheek - y
    under = y + 0.132 + 0.25 * np.clip(-0.02 - z, 0, 0.1)
    ears = z + 0.088
    # Around the mouth it opens: lips and a finger's breadth of skin at their sides stay free.
    mouth = 0.006 * (np.hypot(x / 0.026, (y + 0.0705) / 0.0125) - 1) / 0.4
    inside = 0.03 - (0.036 - 22.0 * x**2 - z)  # not the inside of the mouth
    field = np.minimum(np.minimum(below, under), np.minimum(ears, mouth))
    ear = np.hypot((z + float(eye[2] - bare.mark("head")[2]) - 0.003) / 0.026, (y + 0.021) / 0.040)
    field = np.where(x > 0.055, np.minimum(field, (ear - 1) * 0.025), np.minimum(field, inside))
    uneven = 0.0025 * noise(bare.template, 160.0, seed) + 0.0015 * noise(bare.template, 420.0, seed)
    return np.where(bare.head_weight() > 0.3, field + uneven, -0.2)


def grow_beard(bare: BareBody, seed: int) -> Surface:
    """Return a full beard as a surface; its strands run down and out from the mouth."""
    field = beard_field(bare, seed=seed)
    surface = bare.surface()
    wanted: NDArray[np.bool_] = np.asarray((field > -0.02)[surface.faces].all(axis=1))
    wanted &= ~bare.eyes[surface.faces].any(axis=1)
    eye = bare.mark("left_eye_smplhf")
    y = bare.template[:, 1] - eye[1]
    chin = smoothstep(-0.07, -0.12, y) * smoothstep(0.05, 0.02, np.abs(bare.template[:, 0]))
    thickness = 0.0015 + (0.007 + 0.012 * chin) * smoothstep(0.0, 0.014, field)
    outward = smoothed(bare.normals, surface.faces[wanted], 5)
    outward /= np.maximum(np.linalg.norm(outward, axis=1, keepdims=True), 1e-9)
    values = surface.attributes()
    values[:, :3] = bare.vertices + thickness[:, None] * outward
    values[:, 1] -= 0.010 * chin * smoothstep(0.0, 0.014, field)
    values[:, -1] = field
    beard = subdivide(select_faces(surface.rebuilt(values, surface.faces), wanted))
    beard = clip(beard, beard.edge)
    away = beard.paint - (eye * np.array([0, 1, 1]) + np.array([0.0, -0.045, 0.0]))
    coords = np.stack([np.arctan2(away[:, 0], -away[:, 1] + 0.02) * 0.06, -away[:, 1]], axis=1)
    values = beard.attributes()
    values[:, -3:-1] = coords
    beard = beard.rebuilt(values, beard.faces)
    relief = 0.0022 * noise(
        np.concatenate([coords, beard.paint[:, 2:]], 1), (260.0, 40.0, 60.0), seed
    )
    grown = smoothstep(0.0, 0.01, beard.edge) * relief
    return with_vertices(
        beard, beard.vertices + grown[:, None] * normals(beard.vertices, beard.faces)
    )
