"""Skin, lips, brows, lashes, nails and eyes, painted per pixel on the template's coordinates.

Distances on the face are in metres from the middle between the eyes of the template, so every
line is as clean as the image, however coarse the mesh.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from blender_addon.contract.joints import JOINT_INDEX
from training.people.materials import Color, Look, Pixels, linear
from training.people.noise import detail, mix, smoothstep

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from training.people.bare import BareBody

    Floats = NDArray[np.floating]


@dataclass(frozen=True, kw_only=True)
class Complexion:
    """A person's colours, straight sRGB.

    Attributes:
        skin: tone of the lit cheek.
        lips: tone of the lips.
        brows: colour of brows and lashes.
        iris: colour of the eyes.
        brow_weight: thickness of the brows, around 1.
        stubble: 0 … 1, a shaved beard's shade.
        blush: redness of cheeks and nose, 0 … 1.
        freckles: 0 … 1.
        make_up: darkness of the lids, 0 … 1.
    """

    skin: Color
    lips: Color
    brows: Color
    iris: Color = (0.35, 0.24, 0.14)
    brow_weight: float = 1.0
    stubble: float = 0.0
    blush: float = 0.5
    freckles: float = 0.0
    make_up: float = 0.2


@dataclass(frozen=True)
class Nail:
    """A finger nail: middle of the finger's end, and axes along, across and out of the nail."""

    center: NDArray[np.float64]
    along: NDArray[np.float64]
    across: NDArray[np.float64]
    out: NDArray[np.float64]
    length: float
    width: float


def find_nails(bare: BareBody) -> list[Nail]:
    """Find the ten finger nails on the template from the fingers' tips."""
    nails: list[Nail] = []
    for side in ("left", "right"):
        for finger in ("index", "middle", "ring", "pinky", "thumb"):
            last = JOINT_INDEX[f"{side}_{finger}3"]
            before = JOINT_INDEX[f"{side}_{finger}2"]
            owned = bare.template[bare.weights.argmax(axis=1) == last]
            if len(owned) < 4:
                continue
            along = bare.marks[last] - bare.marks[before]
            along = along / np.linalg.norm(along)
            reach = (owned - bare.marks[last]) @ along
            tip = bare.marks[last] + along * reach.max()
            up = np.array([0.0, 1.0, 0.0])
            if finger == "thumb":
                # The thumb's back looks up and forward, away from the palm.
                up = np.array([0.15 if side == "left" else -0.15, 0.75, 0.65])
            out = up - (up @ along) * along
            out = out / np.linalg.norm(out)
            across = np.cross(along, out)
            girth = owned[reach > reach.max() - 0.02]
            width = float(np.ptp(girth @ across)) * 0.36
            length = 0.0062 if finger != "thumb" else 0.0075
            nails.append(Nail(tip - along * (length + 0.001), along, across, out, length, width))
    return nails


def skin_look(
    complexion: Complexion, bare: BareBody, nails: list[Nail], pixels: Pixels, hand: Floats
) -> Look:
    """Return how skin looks.

    Args:
        complexion: the colours.
        bare: the person, for the places of eyes and joints.
        nails: of `find_nails`.
        pixels: N pixels of skin.
        hand: (N,) share of the hands' joints.
    """
    tone = linear(complexion.skin)
    paint = pixels.paint
    count = len(paint)
    depth = float(tone.mean())
    albedo = np.broadcast_to(tone, (count, 3)).astype(np.float32)
    blotch = pixels.detail(paint, 38.0, 2)
    pores = pixels.detail(paint, 520.0, 3)
    albedo = albedo * (1 + 0.05 * blotch + 0.03 * pores)[:, None]
    # Palms are paler and pinker, the more so the darker the skin.
    palm = (pixels.palm * smoothstep(0.3, 0.9, hand)) * (
        0.35 + 0.4 * smoothstep(0.3, 0.05, np.float32(depth) * np.ones(count))
    )
    pale = np.clip(tone * 0.6 + np.array([0.30, 0.17, 0.13], np.float32), 0, 0.85)
    albedo = mix(albedo, pale, palm.astype(np.float32))
    gloss = np.full(count, 0.07, np.float32)
    for nail in nails:
        _paint_nail(nail, paint, albedo, gloss, tone)
    head = paint[:, 1] > bare.mark("neck")[1]
    if head.any():
        painted, shine = _paint_face(complexion, bare, paint[head], albedo[head], pixels.footprint)
        albedo[head] = painted
        gloss[head] = shine
    tilt = np.stack([pixels.detail(paint, 330.0, 31 + k) for k in range(3)], 1) * 0.035
    return Look(albedo, gloss, 16.0, tilt, 0.3)


def _paint_nail(nail: Nail, paint: Floats, albedo: Floats, gloss: Floats, tone: Floats) -> None:
    near = np.flatnonzero(np.abs(paint - nail.center.astype(np.float32)).max(axis=1) < 0.02)
    if not len(near):
        return
    local = paint[near] - nail.center.astype(np.float32)
    u = local @ nail.along.astype(np.float32) / nail.length
    v = local @ nail.across.astype(np.float32) / nail.width
    w = local @ nail.out.astype(np.float32)
    round_box = (np.abs(u) ** 4 + np.abs(v) ** 4) ** 0.25
    share = smoothstep(1.06, 0.94, round_box) * (w > 0.0005)
    color = np.clip(tone * 0.55 + np.array([0.36, 0.22, 0.2], np.float32), 0, 0.9)
    moon = smoothstep(0.75, 0.9, u)
    nail_color = mix(
        np.broadcast_to(color, (len(near), 3)), np.array([0.85, 0.8, 0.74], np.float32), 0.7 * moon
    )
    albedo[near] = mix(albedo[near], nail_color, share * 0.85)
    gloss[near] = gloss[near] + 0.25 * share


def _paint_face(
    complexion: Complexion, bare: BareBody, paint: Floats, albedo: Floats, footprint: float
) -> tuple[Floats, Floats]:
    red = np.array([1.0, 0.72, 0.68], np.float32)
    eye = bare.mark("left_eye_smplhf")
    x = np.abs(paint[:, 0])
    side = paint[:, 0]
    y = paint[:, 1] - float(eye[1])
    z = paint[:, 2] - float(eye[2])
    apart = float(eye[0])
    front = smoothstep(-0.05, -0.02, z)
    gloss = np.full(len(x), 0.09, np.float32)

    blush = np.exp(-(((x - 0.042) / 0.020) ** 2) - ((y + 0.032) / 0.018) ** 2)
    nose = np.exp(-((x / 0.013) ** 2) - ((y + 0.042) / 0.014) ** 2) * smoothstep(0.015, 0.03, z)
    ears = smoothstep(0.068, 0.078, x) * 0.7
    redness = complexion.blush * (0.55 * blush * front + 0.5 * nose + 0.6 * ears)
    albedo = albedo * (1 - redness[:, None] * (1 - red))
    if complexion.freckles > 0:
        spots = smoothstep(0.62, 0.75, detail(paint, 330.0, footprint, 41)) * (blush + nose) * front
        albedo = albedo * (1 - 0.45 * complexion.freckles * np.clip(spots, 0, 1))[:, None]
    if complexion.stubble > 0:
        jaw = (
            smoothstep(-0.046, -0.066, y)
            * smoothstep(-0.14, -0.115, y)
            * smoothstep(-0.10, -0.075, z)
        )
        lip = smoothstep(0.028, 0.022, x) * smoothstep(-0.046, -0.052, y) * front
        beard = np.maximum(jaw, lip) * (0.8 + 0.2 * detail(paint, 700.0, footprint, 43))
        shade = linear(complexion.brows) * 0.6 + albedo.mean(axis=0) * 0.25
        albedo = mix(albedo, shade, np.clip(complexion.stubble * beard, 0, 0.85).astype(np.float32))

    lips, gap, inside = mouth_shares(x, y, z)
    ripple = detail(np.stack([side, y], 1), (700.0, 150.0), footprint, 44)
    lip_color = linear(complexion.lips) * (1 + 0.10 * ripple)[:, None]
    albedo = mix(albedo, lip_color.astype(np.float32), lips * 0.9)
    albedo = albedo * (1 - 0.75 * gap)[:, None]
    gloss = gloss + 0.22 * lips
    albedo = mix(albedo, np.array([0.10, 0.022, 0.022], np.float32), inside)

    lash, lid = _lids(x - apart, y, z)
    brow = brow_share(x, y, z, complexion.brow_weight, footprint)
    hair_color = linear(complexion.brows)
    albedo = albedo * (1 - (0.16 + 0.45 * complexion.make_up) * lid)[:, None]
    albedo = mix(albedo, hair_color, brow * 0.88)
    albedo = mix(albedo, hair_color * 0.35, lash * 0.85)
    gloss = gloss * (1 - 0.8 * np.clip(brow + lash, 0, 1))
    return albedo.astype(np.float32), gloss.astype(np.float32)


def mouth_shares(x: Floats, y: Floats, z: Floats) -> tuple[Floats, Floats, Floats]:
    """Return (N,) shares of lips, of the dark line between them, and of the mouth's inside.

    Args:
        x: (N,) metres to the side of the face's middle, on the template, without sign.
        y: (N,) metres above the eyes.
        z: (N,) metres ahead of them.
    """
    # Depth tells the lips' front from the inside of the mouth behind it.
    behind = 0.034 - 24.0 * x**2 - z
    lips, gap = _lips(x, y)
    lips = lips * smoothstep(0.010, 0.006, behind)
    gap = gap * smoothstep(0.012, 0.006, behind)
    away = np.abs(y + 0.0695)
    between = smoothstep(0.006, 0.010, behind) * smoothstep(0.0095, 0.0075, away)
    deep = smoothstep(0.013, 0.017, behind) * smoothstep(0.024, 0.020, away)
    inside = np.maximum(between, deep) * smoothstep(0.026, 0.022, x) * (z > -0.06)
    return lips, gap, inside.astype(np.float32)


def _lips(x: Floats, y: Floats) -> tuple[Floats, Floats]:
    """Return the lips and the dark line between them."""
    corner = 0.0236
    t = np.clip(x / corner, 0, 1)
    top = -0.0693 + 0.0092 * (1 - t**2.2) - 0.0016 * np.exp(-((x / 0.0035) ** 2))
    bottom = -0.0693 - 0.0118 * np.sqrt(np.clip(1 - t**2.4, 0, 1))
    within = np.minimum(top - y, y - bottom)
    lips = smoothstep(-0.0006, 0.0009, within) * smoothstep(1.02, 0.97, x / corner)
    line = -0.0694 + 0.0006 * np.cos(x * 300)
    gap = smoothstep(0.0011, 0.0002, np.abs(y - line)) * smoothstep(1.05, 0.9, x / corner)
    return lips.astype(np.float32), gap.astype(np.float32)


def _lids(u: Floats, y: Floats, z: Floats) -> tuple[Floats, Floats]:
    """Return lashes along the lids' edges and the shade of the upper lid."""
    w = np.clip(u / 0.0146, -1.2, 1.2)
    open_top = -0.0022 + 0.0060 * np.clip(1 - np.abs(w) ** 2.2, 0, 1)
    open_bottom = -0.0030 - 0.0042 * np.clip(1 - w**2, 0, 1)
    span = smoothstep(1.18, 1.0, np.abs(w)) * (z > -0.03)
    upper = smoothstep(0.0019, 0.0006, np.abs(y - open_top - 0.0006)) * span
    lower = 0.45 * smoothstep(0.0011, 0.0004, np.abs(y - open_bottom)) * span
    shade = smoothstep(0.0095, 0.004, y - open_top) * smoothstep(-0.001, 0.001, y - open_top)
    shade = shade * smoothstep(1.25, 0.8, np.abs(w)) * (z > -0.03)
    return np.maximum(upper, lower).astype(np.float32), shade.astype(np.float32)


def brow_share(x: Floats, y: Floats, z: Floats, weight: float, footprint: float) -> Floats:
    """Return the (N,) share of the brows, with strands; they end well before the nose's bridge.

    Args:
        x: (N,) metres to the side of the face's middle, on the template, without sign.
        y: (N,) metres above the eyes.
        z: (N,) metres ahead of them.
        weight: thickness, around 1.
        footprint: metres between two samples of the image.
    """
    place = np.array([0.010, 0.0226, 0.033, 0.0415, 0.050, 0.054], np.float32)
    line = np.interp(x, place, [0.0165, 0.0215, 0.0240, 0.0232, 0.0180, 0.0145])
    thick = weight * np.interp(x, place, [0.0036, 0.0042, 0.0036, 0.0028, 0.0014, 0.0004])
    distance = np.abs(y - line) / np.maximum(thick, 1e-5)
    body = (
        smoothstep(1.15, 0.55, distance)
        * smoothstep(0.0105, 0.0150, x)
        * smoothstep(0.0545, 0.050, x)
    )
    strands = detail(np.stack([x - 0.8 * y, y], 1), (900.0, 90.0), footprint, 45)
    share = (body * np.clip(0.8 + 0.45 * strands, 0, 1)).astype(np.float32)
    return share * smoothstep(-0.02, -0.005, z)


def eye_look(complexion: Complexion, bare: BareBody, pixels: Pixels) -> Look:
    """Return how eyeballs look: white, iris with a dark limbus, pupil."""
    rest = pixels.rest
    eyes = np.stack([bare.joint("left_eye_smplhf"), bare.joint("right_eye_smplhf")])
    centers = np.array([_ball_center(bare, k) for k in range(2)])
    which = (rest[:, 0] < eyes.mean(axis=0)[0]).astype(int)
    way = rest - centers[which].astype(np.float32)
    way = way / np.maximum(np.linalg.norm(way, axis=1, keepdims=True), 1e-9)
    off = np.arccos(np.clip(way[:, 2], -1, 1))
    around = np.arctan2(way[:, 1], way[:, 0])
    iris = linear(complexion.iris)
    white = np.array([0.74, 0.72, 0.70], np.float32)
    white = mix(
        np.broadcast_to(white, (len(off), 3)),
        np.array([0.72, 0.48, 0.44], np.float32),
        0.45 * smoothstep(0.75, 1.25, off),
    )
    fibre = detail(
        np.stack([np.cos(around), np.sin(around), 0.4 * off], 1) * 0.01,
        1500.0,
        pixels.footprint,
        51,
    )
    inner = smoothstep(0.42, 0.2, off)
    iris_color = iris[None] * (1 + 0.35 * fibre + 0.55 * inner)[:, None]
    iris_color = mix(iris_color, iris * 0.18, smoothstep(0.40, 0.47, off))
    albedo = mix(white, iris_color, smoothstep(0.50, 0.465, off))
    albedo = mix(albedo, np.array([0.006, 0.006, 0.007], np.float32), smoothstep(0.205, 0.18, off))
    return Look(albedo, np.full(len(off), 0.9, np.float32), 160.0, None, 0.25)


def _ball_center(bare: BareBody, which: int) -> NDArray[np.float64]:
    balls = bare.vertices[bare.eyes]
    one = balls[balls[:, 0] > 0] if which == 0 else balls[balls[:, 0] <= 0]
    return (one.min(axis=0) + one.max(axis=0)) / 2
