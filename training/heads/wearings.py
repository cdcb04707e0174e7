"""Glasses, ear-rings, necklaces and teeth, fitted to the head that has them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from training.heads.solids import ball, puffed, sheet, skin_band, tube
from training.people.noise import smoothstep
from training.people.surfaces import Surface, joined

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from training.people.bare import BareBody

    Array = NDArray[np.float64]

Rim = Literal["round", "oval", "square", "cat"]
EarRingKind = Literal["stud", "hoop", "drop"]
NecklaceKind = Literal["chain", "beads", "pendant"]


@dataclass(frozen=True, kw_only=True)
class Glasses:
    """Glasses with rims, bridge and temples.

    Attributes:
        rim: shape.
        width: half width of one lens, metres.
        height: half height of one lens, metres.
        thickness: radius of the rims, metres.
        dark: sunglasses, whose lenses hide the eyes; else there is nothing between the rims.
    """

    rim: Rim = "round"
    width: float = 0.024
    height: float = 0.020
    thickness: float = 0.0014
    dark: bool = False


@dataclass(frozen=True, kw_only=True)
class EarRing:
    """A pair of ear-rings; `size` in metres is a stud's or hoop's diameter, a drop's length."""

    kind: EarRingKind = "stud"
    size: float = 0.008


@dataclass(frozen=True, kw_only=True)
class Necklace:
    """A necklace; `drop` is how many metres its front hangs below the throat's pit."""

    kind: NecklaceKind = "chain"
    drop: float = 0.03
    width: float = 0.003


def make_glasses(bare: BareBody, glasses: Glasses) -> Surface:
    """Return rims, bridge and temples that sit on the nose and the ears."""
    rims = _rims(bare, glasses)
    left = rims[0]
    parts = [tube(bare, rim, glasses.thickness, closed=True) for rim in rims]
    middle = float(left[:, 1].mean())
    inner = left[np.argmin(left[:, 0] + 0.25 * np.abs(left[:, 1] - middle - 0.004))]
    arch = np.linspace(-1, 1, 9)
    bridge = np.stack(
        [
            inner[0] * arch,
            inner[1] + 0.004 * (1 - arch**2),
            inner[2] + 0.003 * (1 - arch**2),
        ],
        axis=1,
    )
    parts.append(tube(bare, bridge, glasses.thickness))
    outer = left[np.argmax(left[:, 0] + 0.35 * left[:, 1])]
    temple = _temple(bare, outer)
    sides = (np.array([side, 1.0, 1.0]) for side in (1.0, -1.0))
    parts += [tube(bare, temple * side, 0.8 * glasses.thickness) for side in sides]
    return joined(parts)


def make_lenses(bare: BareBody, glasses: Glasses) -> Surface:
    """Return the dark lenses of sunglasses."""
    return joined([_lens(bare, rim) for rim in _rims(bare, glasses)])


def _rims(bare: BareBody, glasses: Glasses) -> tuple[Array, Array]:
    """Return the middle lines (N, 3) of the left and of the right rim."""
    eye = bare.joint("left_eye_smplhf")
    apart = max(float(eye[0]), glasses.width + 0.006)
    center = np.array([apart, float(eye[1]) - 0.004, 0.0])
    outline = _outline(glasses)
    place = center[:2] + outline
    depth = _clear_depth(bare, glasses, center)
    # Lenses curve back towards the temples.
    z = depth - 3.2 * np.clip(place[:, 0] - apart, 0, None) ** 2 * 6
    left = np.concatenate([place, z[:, None]], axis=1)
    return left, left * np.array([-1.0, 1.0, 1.0])


def _outline(glasses: Glasses) -> Array:
    """(N, 2) metres: one lens's outline around its middle, counter-clockwise."""
    turn = np.linspace(0, 2 * np.pi, 40, endpoint=False)
    power = {"round": 2.0, "oval": 2.2, "square": 4.0, "cat": 2.6}[glasses.rim]
    c, s = np.cos(turn), np.sin(turn)
    radius = (np.abs(c) ** power + np.abs(s) ** power) ** (-1 / power)
    x, y = glasses.width * radius * c, glasses.height * radius * s
    if glasses.rim == "cat":
        y = y + 0.22 * glasses.height * np.clip(x / glasses.width, 0, None) ** 2
    # The nose takes a corner of the lens.
    x = np.where((x < 0) & (y < 0), x * (1 + 0.16 * y / glasses.height), x)
    return np.stack([x, y], axis=1)


def _clear_depth(bare: BareBody, glasses: Glasses, center: Array) -> float:
    """Return the z at which rims pass in front of brows, lids and cheeks."""
    x, y, z = bare.vertices.T
    near = (np.abs(np.abs(x) - center[0]) < 1.05 * glasses.width) & (
        np.abs(y - center[1]) < 1.05 * glasses.height
    )
    nose = np.abs(x) < 0.012
    face = z > float(bare.joint("left_eye_smplhf")[2]) - 0.02
    clear = float(z[near & ~nose & face].max()) + 0.003
    on_bridge = nose & (np.abs(y - center[1] - 0.003) < 0.006) & face
    return max(clear, float(z[on_bridge].max()) - 0.004)


def _lens(bare: BareBody, rim: Array) -> Surface:
    middle = rim.mean(axis=0)
    # Not quite from the middle: triangles without area have no normal.
    share = np.linspace(0.03, 1, 6)[:, None, None]
    ring = np.concatenate([rim, rim[:1]])
    return sheet(bare, middle + share * (ring[None] - middle))


def _temple(bare: BareBody, hinge: Array) -> Array:
    """Return the left temple's curve: along the head, over the ear, down behind it."""
    mark, eye = bare.mark("left_eye_smplhf"), bare.joint("left_eye_smplhf")
    paint = bare.template - mark
    # The top of the ear's root, found on the template: every person has it at the same vertices.
    goal = np.array([0.070 - mark[0], 0.006, -0.073])
    root = bare.vertices[np.argmin(((paint - goal) ** 2).sum(axis=1))]
    z = np.linspace(hinge[2] - 0.002, root[2], 12)
    y = hinge[1] + (root[1] + 0.003 - hinge[1]) * smoothstep(hinge[2], root[2], z)
    skull = (np.abs(bare.vertices[:, 1] - eye[1]) < 0.03) & (bare.vertices[:, 0] > 0)
    skull &= np.abs(paint[:, 0] + mark[0]) < 0.0705
    width = np.empty(len(z))
    for k, (yk, zk) in enumerate(zip(y, z, strict=True)):
        near = skull & (np.hypot(bare.vertices[:, 1] - yk, bare.vertices[:, 2] - zk) < 0.013)
        width[k] = float(bare.vertices[near, 0].max()) + 0.0025 if near.any() else hinge[0]
    # From the hinge straight back: it may only stand further out than the skin.
    straight = np.linspace(hinge[0] + 0.001, width[-1], len(z))
    x = np.maximum(width, straight)
    x[0] = hinge[0]
    over = np.stack([x, y, z], axis=1)
    hook = over[-1] + np.array([[0.001, -0.006, -0.010], [0.0, -0.018, -0.017]])
    return np.concatenate([over, hook])


def make_ear_rings(bare: BareBody, ear_ring: EarRing) -> Surface:
    """Return a pair of ear-rings at the lobes."""
    return joined([_ear_ring(bare, ear_ring, side) for side in (1.0, -1.0)])


def _ear_ring(bare: BareBody, ear_ring: EarRing, side: float) -> Surface:
    mark = bare.mark("left_eye_smplhf")
    # The lobe's outer face on the template.
    goal = np.array([side * 0.0745, mark[1] - 0.0465, mark[2] - 0.066])
    nearest = np.argmin(((bare.template - goal) ** 2).sum(axis=1))
    lobe = bare.vertices[nearest] + np.array([side * 0.0015, 0.0, 0.001])
    size = ear_ring.size
    if ear_ring.kind == "stud":
        return ball(bare, lobe, (size / 2, size / 2, size / 2))
    if ear_ring.kind == "hoop":
        turn = np.linspace(0, 2 * np.pi, 28, endpoint=False)
        ring = np.stack([0.25 * np.cos(turn) * side, np.sin(turn), np.cos(turn)], axis=1)
        center = lobe - np.array([0.0, size / 2, 0.0])
        return tube(bare, center + ring * size / 2, 0.0015, closed=True)
    wire = lobe - np.linspace(0, 1, 5)[:, None] * np.array([0.0, 0.45 * size, 0.0])
    end = lobe - np.array([0.0, 0.7 * size, 0.0])
    bead = ball(bare, end, (0.16 * size + 0.0015, 0.32 * size, 0.16 * size + 0.0015))
    stud = ball(bare, lobe, (0.003, 0.003, 0.003))
    return joined([stud, tube(bare, wire, 0.0012), bead])


def make_necklace(bare: BareBody, necklace: Necklace) -> Surface:
    """Return a necklace that lies on the skin around the neck and on the chest."""
    pit, width = bare.mark("neck"), necklace.width

    def lying(paint: Array) -> Array:
        x, y, z = (paint - pit).T
        side = np.abs(x)
        # High at the nape, low in front: a line over depth, drawn down to the front's drop.
        line = np.interp(z, [-0.08, -0.03, 0.03, 0.07], [0.045, 0.030, 0.000, -0.012])
        front = smoothstep(0.0, 0.05, z)
        line = line - front * (necklace.drop + 0.012) * np.clip(1 - side / 0.075, 0, 1)
        near = (side < 0.12) & (y > -0.16) & (y < 0.10)
        return np.where(near, width - np.abs(y - line), -0.2)

    chain = skin_band(bare, lying, 0.0035, rounds=1, splits=4)
    rise = np.clip(chain.edge / width, 0, 1)
    around = np.arctan2(chain.paint[:, 0], chain.paint[:, 2] - pit[2] + 0.01)
    beads = 1.0
    if necklace.kind == "beads":
        beads = 0.45 + 0.55 * np.abs(np.sin(around * 0.075 * np.pi / (2.2 * width)))
    chain = puffed(chain, 1.1 * width * np.sqrt(rise) * beads)
    if necklace.kind != "pendant":
        return chain
    ahead = chain.vertices[chain.vertices[:, 2] > np.median(chain.vertices[:, 2])]
    lowest = ahead[np.argmin(ahead[:, 1])] + np.array([0.0, -0.007, 0.003])
    pendant = ball(bare, lowest * np.array([0.0, 1.0, 1.0]), (0.006, 0.009, 0.003))
    # It lies on the chest, which moves with the upper spine and not with the head.
    weights = np.repeat(
        chain.weights[[int(np.argmin(chain.vertices[:, 1]))]], len(pendant.vertices), 0
    )
    values = pendant.attributes()
    values[:, 3 : 3 + weights.shape[1]] = weights
    return joined([chain, pendant.rebuilt(values, pendant.faces)])


def make_teeth(bare: BareBody) -> Surface:
    """Return the upper row of teeth, which the head holds while the jaw opens."""
    mark = bare.mark("left_eye_smplhf")
    # The upper lip's middle on the template: the row hangs behind it.
    goal = np.array([0.0, mark[1] - 0.0660, mark[2] + 0.034])
    lip = bare.vertices[np.argmin(((bare.template - goal) ** 2).sum(axis=1))]
    x = np.linspace(-0.019, 0.019, 25)
    rows = []
    for down in np.linspace(0.004, -0.0065, 4):
        z = lip[2] - 0.0105 - 30.0 * x**2
        rows.append(np.stack([x, np.full(len(x), lip[1] + down), z], axis=1))
    return sheet(bare, np.stack(rows), np.stack(np.broadcast_arrays(x, x), -1)[None].repeat(4, 0))
