"""Skirts: a tube around hips and thighs that hangs over both legs in every pose.

Each ring of the tube is the outline of both legs at one length of thigh. A vertex that looks in
a direction leans on the leg that stands farther out that way, smoothly, so that striding or
bent legs stretch the cloth between them and never poke through.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from blender_addon.contract.joints import JOINT_INDEX
from training.people.noise import noise, smoothstep
from training.people.surfaces import Surface

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from training.people.bare import BareBody

    Array = NDArray[np.float64]

_AROUND, _DOWN = 120, 40
_SOFT = 0.035
_ARM_JOINTS = [*range(16, 22), *range(25, 55)]


@dataclass(frozen=True, kw_only=True)
class SkirtCut:
    """The measures of a skirt.

    Attributes:
        length: 0 (hip joint) … 1 (knee) along the thigh; a little over 1 covers the knee.
        flare: metres that the hem stands out further than the hips.
        pleats: number of waves around the hem; 0 for none.
    """

    length: float = 0.9
    flare: float = 0.05
    pleats: int = 14


class Skirt:
    """A skirt on a person: its rest surface, and its shape in a pose."""

    def __init__(self, bare: BareBody, cut: SkirtCut, seed: int) -> None:
        self._rest_joints = bare.joints
        self._angles = np.linspace(0, 2 * np.pi, _AROUND, endpoint=False)
        self._steps = np.linspace(0, 1, _DOWN)
        self._waist = float(bare.joint("spine1")[1]) + 0.01
        self._length = cut.length
        rest = np.concatenate([np.tile(np.eye(3), (55, 1, 1)), np.zeros((55, 3, 1))], axis=2)
        self._radius = self._measure(bare, rest, cut, seed)
        vertices = self.posed(rest)
        self.surface = self._surface(bare, vertices)

    def posed(self, transforms: Array) -> Array:
        """Return the (V, 3) vertices in a pose.

        Args:
            transforms: (55, 3, 4) of `joint_transforms`.
        """
        base, across, ahead, centers = self._rings(transforms)
        cos, sin = np.cos(self._angles), np.sin(self._angles)
        way = across[:, None] * sin[None, :, None] + ahead[:, None] * cos[None, :, None]
        gap = ((centers[0] - centers[1])[:, None] * way).sum(-1)
        left = 1 / (1 + np.exp(-np.clip(gap / _SOFT, -40, 40)))
        # The ring's middle leans on the outer leg in each direction.
        lean = left[..., None] * centers[0][:, None] + (1 - left[..., None]) * centers[1][:, None]
        legs = lean + self._radius[..., None] * way
        return (base[:, None] + legs).reshape(-1, 3)

    def skinned(self) -> Surface:
        """Return the skirt with weights: pelvis at the waist, both thighs below, shared over x.

        The share of the legs changes smoothly from side to side, so that the tube stays whole.
        """
        vertices = self.surface.vertices
        hips, knees = self._rest_joints[[1, 2]], self._rest_joints[[4, 5]]
        on_thigh = (hips[:, 1].mean() - vertices[:, 1]) / (hips[:, 1] - knees[:, 1]).mean()
        thighs = 0.96 * smoothstep(-0.12, 0.42, on_thigh)
        left = smoothstep(-0.11, 0.11, vertices[:, 0] - hips[:, 0].mean())
        weights = np.zeros((len(vertices), self._rest_joints.shape[0]))
        weights[:, 0] = 1 - thighs
        weights[:, 1] = thighs * left
        weights[:, 2] = thighs * (1 - left)
        return replace(self.surface, weights=weights)

    def hidden_skin(self, bare: BareBody, *, seen: float = 0.09) -> NDArray[np.bool_]:
        """(F,) bool: the skin under the skirt, down to `seen` metres above its hem."""
        hem = float(self.surface.vertices[:, 1].min())
        x, y, _ = bare.vertices.T
        under = (y < self._waist - 0.03) & (y > hem + seen) & (np.abs(x) < 0.3)
        arms = bare.weights[:, _ARM_JOINTS].sum(axis=1) > 0.1
        return np.asarray((under & ~arms)[bare.faces].all(axis=1))

    def _rings(self, transforms: Array) -> tuple[Array, Array, Array, Array]:
        """Return per ring: base (D, 3), axes across and ahead (D, 3), leg centres (2, D, 3)."""
        pelvis = transforms[0]
        hips, knees, ankles = (
            np.stack(
                [
                    transforms[JOINT_INDEX[f"{side}_{name}"]][:, :3]
                    @ self._rest_joints[JOINT_INDEX[f"{side}_{name}"]]
                    + transforms[JOINT_INDEX[f"{side}_{name}"]][:, 3]
                    for side in ("left", "right")
                ]
            )
            for name in ("hip", "knee", "ankle")
        )
        rest_hips = np.stack(
            [self._rest_joints[JOINT_INDEX[f"{s}_hip"]] for s in ("left", "right")]
        )
        hip_height = float(rest_hips[:, 1].mean())
        above = self._waist - hip_height
        thigh = float(np.linalg.norm(knees - hips, axis=1).mean())
        total = above + self._length * thigh
        down = self._steps * total
        # Above the hip joints the rings belong to the pelvis, below to the legs.
        up = pelvis[:, 1]
        on_hip = np.clip((down - above) / thigh, 0, None)
        centers = []
        for k in range(2):
            along = np.where(
                on_hip[:, None] <= 1,
                hips[k] + on_hip[:, None] * (knees[k] - hips[k]),
                knees[k] + (on_hip[:, None] - 1) * (ankles[k] - knees[k]),
            )
            raised = np.clip(above - down, 0, None)[:, None] * up
            centers.append(along + raised)
        centers = np.stack(centers)
        middle = centers.mean(axis=0)
        # The rings turn from the pelvis' level to square with the thighs.
        thigh_way = (hips - knees).mean(axis=0)
        thigh_way = thigh_way / np.linalg.norm(thigh_way)
        turn = smoothstep(0.0, 0.5, on_hip)[:, None] * 0.9
        axis = (1 - turn) * up + turn * thigh_way
        axis = axis / np.linalg.norm(axis, axis=1, keepdims=True)
        across = np.broadcast_to(pelvis[:, 0], axis.shape)
        across = across - (across * axis).sum(1, keepdims=True) * axis
        across = across / np.linalg.norm(across, axis=1, keepdims=True)
        ahead = np.cross(across, axis)
        return middle, across, ahead, centers - middle

    def _measure(self, bare: BareBody, rest: Array, cut: SkirtCut, seed: int) -> Array:
        """Return (D, A) metres from the leaning middle to the cloth in the rest pose."""
        base, across, ahead, centers = self._rings(rest)
        lower = np.abs(bare.template[:, 0]) < 0.35
        points = bare.vertices[lower]
        radius = np.zeros((_DOWN, _AROUND))
        for ring in range(_DOWN):
            y = base[ring, 1]
            slab = points[np.abs(points[:, 1] - y) < 0.025]
            local = slab - base[ring]
            for k, angle in enumerate(self._angles):
                way = across[ring] * np.sin(angle) + ahead[ring] * np.cos(angle)
                gap = ((centers[0, ring] - centers[1, ring]) * way).sum()
                left = 1 / (1 + np.exp(-np.clip(gap / _SOFT, -40, 40)))
                lean = left * centers[0, ring] + (1 - left) * centers[1, ring]
                radius[ring, k] = ((local - lean) @ way).max()
        hips = int(0.3 * _DOWN)
        # Below the seat the cloth hangs from it instead of following the thighs inward.
        kernel = np.hanning(9) / np.hanning(9).sum()
        for ring in range(hips, _DOWN):
            radius[ring] = np.maximum(radius[ring], 0.985 * radius[ring - 1])
        padded = np.concatenate([radius[:, -4:], radius, radius[:, :4]], axis=1)
        radius = np.stack([np.convolve(row, kernel, "valid") for row in padded])
        below = smoothstep(0.25, 1.0, self._steps)[:, None]
        fold = np.cos(cut.pleats * self._angles + 1.5 * np.sin(3 * self._angles)) * 0.5 + 0.5
        uneven = noise(np.stack([np.cos(self._angles), np.sin(self._angles)], 1), 2.0, seed)
        pleat = 0.035 * min(cut.pleats, 1) * fold * (0.8 + 0.4 * uneven)
        return radius + 0.028 + below * (cut.flare * below + pleat[None])

    def _surface(self, bare: BareBody, vertices: Array) -> Surface:
        ring, column = np.meshgrid(np.arange(_DOWN), np.arange(_AROUND + 1), indexing="ij")
        index = ring * _AROUND + column % _AROUND
        a, b, c, d = index[:-1, :-1], index[1:, :-1], index[1:, 1:], index[:-1, 1:]
        faces = np.concatenate(
            [np.stack([a, b, c], -1).reshape(-1, 3), np.stack([a, c, d], -1).reshape(-1, 3)]
        )
        waist_to_hem = (
            vertices.reshape(_DOWN, _AROUND, 3)[0] - vertices.reshape(_DOWN, _AROUND, 3)[-1]
        )
        length = float(np.abs(waist_to_hem[:, 1]).mean())
        down = np.repeat(self._steps, _AROUND) * length
        around = np.tile(self._angles, _DOWN)
        girth = 0.16
        # The print is drawn at this girth: heights shrink alike, so that its cells stay square.
        grid = vertices.reshape(_DOWN, _AROUND, 3)
        radius = float(np.linalg.norm(grid - grid.mean(axis=1, keepdims=True), axis=2).mean())
        drawn = down * girth / radius
        weights = np.zeros((len(vertices), 55))
        weights[:, 0] = 1.0
        paint = np.stack(
            [np.sin(around) * girth, bare.mark("spine1")[1] - drawn, np.cos(around) * girth], axis=1
        )
        return Surface(
            vertices=vertices,
            faces=faces,
            weights=weights,
            paint=paint,
            coords=paint[:, [0, 2]],
            edge=length - down,
        )
