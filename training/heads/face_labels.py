"""Which portrait label each point of the skin has: lines drawn on the template's face.

The lines are analytic, so that borders are as clean as the image, however coarse the mesh, and
the same ones that `training.people.skin` paints by, so that labels and colours agree.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from blender_addon.contract.camera import look_at
from blender_addon.contract.labels import Label
from models.raster import rasterize
from training.people.noise import smoothstep
from training.people.skin import brow_share, mouth_shares

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from training.people.bare import BareBody

    Floats = NDArray[np.floating]

# Half width of the nose at heights below the eyes, metres.
_NOSE_Y = (-0.0485, -0.0475, -0.0455, -0.042, -0.036, -0.028, -0.015, 0.0, 0.008)
_NOSE_X = (0.0, 0.0075, 0.0165, 0.0185, 0.0172, 0.0135, 0.0100, 0.0075, 0.0045)
# The jaw's lower edge from behind the ear to the chin: height over depth.
_JAW_Z = (-0.12, -0.092, -0.084, -0.070, -0.050, -0.030, -0.010, 0.010, 0.030)
_JAW_Y = (-0.045, -0.047, -0.062, -0.083, -0.096, -0.103, -0.106, -0.108, -0.109)

_INNER_MOUTHS: dict[str, NDArray[np.bool_]] = {}
"""By a body's digest: the template is the same for every person."""

_FAR = 1.0
"""Metres between samples at which strands fade: labels have none."""


@dataclass(frozen=True, kw_only=True)
class FacePaint:
    """Where brows and lips are drawn, apart from the template's own place.

    Attributes:
        brow_weight: thickness, around 1.
        brow_lift: metres up.
        brow_tilt: how far the outer ends rise, metres over the brow's length.
        lip_height: factor on the lips' painted height.
    """

    brow_weight: float = 1.0
    brow_lift: float = 0.0
    brow_tilt: float = 0.0
    lip_height: float = 1.0

    def moved(self, paint: Floats, bare: BareBody) -> Floats:
        """Return the (N, 3) template coordinates by which a point (N, 3) is painted."""
        x, y, z = _from_eyes(paint, bare)
        front = smoothstep(-0.03, -0.01, z)
        brow = np.exp(-(((y - 0.021) / 0.013) ** 2)) * front
        lift = self.brow_lift + self.brow_tilt * (x - 0.033) / 0.04
        # Lids are painted just below: the lift must have faded there.
        lift = lift * smoothstep(0.008, 0.014, y)
        mouth = np.exp(-(((y + 0.0694) / 0.016) ** 2) - (x / 0.03) ** 2) * front
        squeezed = (y + 0.0694) * (1 / self.lip_height - 1) * mouth
        result = np.array(paint, np.float32)
        result[:, 1] += (squeezed - lift * brow).astype(np.float32)
        return result


def skin_labels(paint: Floats, mouth: Floats, face: FacePaint, bare: BareBody) -> NDArray[np.uint8]:
    """Return the (N,) labels of points of the skin.

    Args:
        paint: (N, 3) metres on the unshaped template.
        mouth: (N,) share of `inner_mouth`.
        face: where brows and lips are drawn.
        bare: the person, for the places of the template's eyes.
    """
    x, y, z = _from_eyes(paint, bare)
    labels = np.full(len(x), Label.SKIN, np.uint8)
    jaw = np.interp(z, _JAW_Z, _JAW_Y)
    labels[y < jaw] = Label.NECK
    along = -0.25 * (z + 0.0755) + 0.968 * (y + 0.0205)
    across = 0.968 * (z + 0.0755) + 0.25 * (y + 0.0205)
    ear = (np.hypot(across / 0.0185, along / 0.0305) < 1) & (x > 0.0655)
    labels[ear] = Label.EAR
    nose = (x < np.interp(y, _NOSE_Y, _NOSE_X, left=0.0, right=0.0)) & (z > 0.004)
    labels[nose] = np.where(paint[nose, 0] > 0, Label.LEFT_NOSE, Label.RIGHT_NOSE)
    # The eye's opening with its lashes, as in CelebAMask-HQ: the rims of the lids belong to it.
    w = (x - np.float32(bare.mark("left_eye_smplhf")[0])) / 0.0146
    top = -0.0014 + 0.0060 * np.clip(1 - np.abs(w) ** 2.2, 0, 1)
    bottom = -0.0031 - 0.0041 * np.clip(1 - w**2, 0, 1)
    labels[(y < top) & (y > bottom) & (np.abs(w) < 1.06) & (z > -0.03)] = Label.EYE
    x, y, z = _from_eyes(face.moved(paint, bare), bare)
    lips, _, inside = mouth_shares(x, y, z)
    upper = y > -0.0694
    labels[(lips > 0.5) & upper] = Label.UPPER_LIP
    labels[(lips > 0.5) & ~upper] = Label.LOWER_LIP
    labels[(np.maximum(inside, mouth) > 0.5) & (lips <= 0.5)] = Label.INNER_MOUTH
    labels[brow_share(x, y, z, face.brow_weight, _FAR) > 0.3] = Label.BROW
    return labels


def inner_mouth(bare: BareBody) -> NDArray[np.bool_]:
    """(V,) bool: vertices of the mouth's inside, which nobody sees while it is closed."""
    known = _INNER_MOUTHS.get(bare.body.digest)
    if known is not None:
        return known
    middle = np.array([0.0, *bare.mark("left_eye_smplhf")[1:]])
    x, y, z = (bare.template - middle).T
    near = (np.abs(x) < 0.045) & (np.abs(y + 0.0695) < 0.035) & (z > -0.08)
    seen = np.zeros(len(near), bool)
    for yaw, pitch in ((0, 0), (45, 0), (-45, 0), (0, -35), (0, 30)):
        seen[bare.faces[_faces_seen(bare, middle, yaw, pitch)].ravel()] = True
    inside = near & ~seen & ~bare.eyes
    _INNER_MOUTHS[bare.body.digest] = inside
    return inside


def _faces_seen(
    bare: BareBody, middle: NDArray[np.float64], yaw: float, pitch: float
) -> NDArray[np.bool_]:
    """(F,) bool: faces of the template that a camera before the mouth sees for the greater part."""
    a, e = np.radians(yaw), np.radians(pitch)
    away = np.array([np.sin(a) * np.cos(e), np.sin(e), np.cos(a) * np.cos(e)])
    mouth = middle + np.array([0.0, -0.07, 0.02])
    up = np.array([0.0, 1.0, 0.0])
    camera = look_at(mouth + 0.6 * away, mouth, up, focal=1500.0, width=512, height=512)
    pixels = camera.project(bare.template)[bare.faces][..., :2]
    first, second = pixels[:, 1] - pixels[:, 0], pixels[:, 2] - pixels[:, 0]
    area = np.abs(first[:, 0] * second[:, 1] - first[:, 1] * second[:, 0]) / 2
    fragments = rasterize(
        torch.from_numpy((bare.template @ camera.R.T + camera.t).astype(np.float32))[None],
        torch.from_numpy(bare.faces),
        torch.from_numpy(camera.K.astype(np.float32))[None],
        (512, 512),
    )
    face = fragments.face[0].numpy()
    count = np.bincount(face[face >= 0], minlength=len(bare.faces))
    # Lips that do not quite close let a little of the inside be seen.
    return (count > 0.5 * area) & (count > 0)


def _from_eyes(paint: Floats, bare: BareBody) -> tuple[Floats, Floats, Floats]:
    """Return x without sign, height above the eyes and depth ahead of them, metres."""
    eye = bare.mark("left_eye_smplhf").astype(np.float32)
    return np.abs(paint[:, 0]), paint[:, 1] - eye[1], paint[:, 2] - eye[2]
