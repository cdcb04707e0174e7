"""Rays of a set of heads: views in memory, and the rays of each step.

A step's rays depend on seed and step alone, so that a resumed training goes on with the same ones.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Protocol

import numpy as np
import torch
from scipy import ndimage

from blender_addon.contract.errors import HeadSetError
from blender_addon.contract.labels import LABEL_COUNT, Label
from training.heads.format import DEPTH_UNITS_PER_METRE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray
    from torch import Tensor

    from blender_addon.contract.camera import Camera
    from training.heads.format import HeadSet, HeadView
    from training.sof_recipe import SofData

DETAILS = (
    Label.BROW,
    Label.EYE,
    Label.INNER_MOUTH,
    Label.UPPER_LIP,
    Label.LOWER_LIP,
    Label.EAR_RING,
    Label.GLASSES,
    Label.NECKLACE,
)
"""Small labels, whose rays are drawn more often than their pixels are."""

MISSES, WITHIN, NEAR, DETAIL = range(4)
"""Zones of a view's pixels: off the bounding sphere, in it, near the head, at a detail."""


class Shares(Protocol):
    """How many rays a view gets, and which share of them where; see `SofData`."""

    @property
    def rays(self) -> int: ...
    @property
    def near(self) -> float: ...
    @property
    def details(self) -> float: ...


class RayBatch(NamedTuple):
    """Rays of some views of some heads.

    Attributes:
        head: (B,) int64 index of each head among the training's.
        origin: (B, V, 1, 3) float32 metres, of each view.
        direction: (B, V, N, 3) float32 unit length.
        labels: (B, V, N) int64.
        distance: (B, V, N) float32 metres along the ray to the true surface, 0 where background
            or not known.
    """

    head: Tensor
    origin: Tensor
    direction: Tensor
    labels: Tensor
    distance: Tensor

    def to(self, device: torch.device) -> RayBatch:
        """Return the batch on a device."""
        return RayBatch(*(each.to(device) for each in self))

    def share(self, rank: int, count: int) -> RayBatch:
        """Return one of `count` processes' heads."""
        return RayBatch(*(each[rank::count] for each in self))


@dataclass(frozen=True)
class HeadRays:
    """Views of heads, in memory.

    Attributes:
        ids: of the heads, in the order of their codes.
        views: (V,) the views, of all heads.
        head: (V,) index of each view's head.
        labels: (V, S, S) uint8.
        depth: (V, S, S) uint16 tenths of a millimetre along the viewing axis; None where no loss
            needs it.
        zones: (V, S, S) uint8, see `DETAIL`.
    """

    ids: tuple[str, ...]
    views: tuple[HeadView, ...]
    head: NDArray[np.int64]
    labels: NDArray[np.uint8]
    depth: NDArray[np.uint16] | None
    zones: NDArray[np.uint8]

    @classmethod
    def load(
        cls, heads: HeadSet, views: Sequence[HeadView], *, radius: float, margin: float, depth: bool
    ) -> HeadRays:
        """Read the views of heads.

        Args:
            heads: the set.
            views: those to read; their heads get codes in this order.
            radius: of the bounding sphere in metres.
            margin: see `SofData`.
            depth: whether to read depth.

        Raises:
            HeadSetError: there are no views, or a file is damaged.
        """
        if not views:
            raise HeadSetError(f"{heads.folder}: no view to train on", "check its splits")
        ids = tuple(dict.fromkeys(view.head for view in views))
        index = {name: k for k, name in enumerate(ids)}
        labels = np.stack([heads.labels(view) for view in views])
        units = None
        if depth:
            units = np.stack(
                [
                    np.rint(heads.depth(view) * DEPTH_UNITS_PER_METRE).astype(np.uint16)
                    for view in views
                ]
            )
        zones = np.stack(
            [
                zones_of(picture, view.camera, radius=radius, margin=margin)
                for picture, view in zip(labels, views, strict=True)
            ]
        )
        head = np.array([index[view.head] for view in views])
        return cls(ids, tuple(views), head, labels, units, zones)

    def frequencies(self, data: Shares) -> NDArray[np.float64]:
        """Return each label's share of the rays as they are drawn: (17,), sum 1.

        Of the rays, not of the pixels: small labels are drawn more often already, and would
        otherwise count twice and swell.
        """
        shares = ((DETAIL, data.details), (NEAR, data.near - data.details), (WITHIN, 1 - data.near))
        total = np.zeros(LABEL_COUNT)
        for labels, zones in zip(self.labels, self.zones, strict=True):
            pairs = zones.ravel().astype(np.int64) * LABEL_COUNT + labels.ravel()
            counts = np.bincount(pairs, minlength=(DETAIL + 1) * LABEL_COUNT)
            counts = counts.reshape(DETAIL + 1, LABEL_COUNT)
            within = counts[WITHIN:].sum(axis=0)
            for zone, share in shares:
                pool = counts[zone:].sum(axis=0)
                pool = pool if pool.sum() else within
                total += share * pool / max(pool.sum(), 1)
        return total / total.sum()

    def batch(self, data: SofData, seed: int, step: int) -> RayBatch:
        """Draw a step's rays."""
        random = np.random.default_rng([seed, step])
        count = min(data.heads, len(self.ids))
        heads = random.choice(len(self.ids), count, replace=False)
        rows = [self._head(int(head), data, random) for head in heads]
        origin, direction, labels, distance = (
            torch.stack(parts) for parts in zip(*rows, strict=True)
        )
        return RayBatch(torch.from_numpy(heads), origin, direction, labels, distance)

    def _head(
        self, head: int, data: SofData, random: np.random.Generator
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        own = np.flatnonzero(self.head == head)
        chosen = random.choice(own, data.views, replace=len(own) < data.views)
        rows = [self._view(int(view), data, random) for view in chosen]
        origin, direction, labels, distance = (
            torch.stack(parts) for parts in zip(*rows, strict=True)
        )
        return origin, direction, labels, distance

    def _view(
        self, view: int, data: SofData, random: np.random.Generator
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        pixels = draw_pixels(self.zones[view], data, random)
        camera = self.views[view].camera
        direction = directions(camera, pixels)
        labels = self.labels[view].ravel()[pixels].astype(np.int64)
        distance = np.zeros(len(pixels), np.float32)
        if self.depth is not None:
            depth = self.depth[view].ravel()[pixels].astype(np.float64) / DEPTH_UNITS_PER_METRE
            distance = (depth / (direction @ camera.R[2])).astype(np.float32)
        return (
            torch.from_numpy(camera.center.astype(np.float32))[None],
            torch.from_numpy(direction.astype(np.float32)),
            torch.from_numpy(labels),
            torch.from_numpy(distance),
        )


def zones_of(
    labels: NDArray[np.uint8], camera: Camera, *, radius: float, margin: float
) -> NDArray[np.uint8]:
    """Return the zone of each pixel of a label map (S, S); see `DETAIL`."""
    side = max(labels.shape)
    direction = directions(camera, np.arange(labels.size))
    nearest = -(direction @ camera.center)
    off = np.square(camera.center + nearest[:, None] * direction).sum(axis=1)
    within = (off < radius**2).reshape(labels.shape)
    near = _grown(labels > 0, margin * side)
    detail = _grown(np.isin(labels, DETAILS), margin * side / 5)
    zones = np.where(near, NEAR, WITHIN)
    zones = np.where(detail, DETAIL, zones)
    return np.where(within, zones, MISSES).astype(np.uint8)


def directions(camera: Camera, pixels: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the unit directions (N, 3) of the rays through pixels' centres, by flat index."""
    x = pixels % camera.width + 0.5
    y = pixels // camera.width + 0.5
    u = (x - camera.K[0, 2]) / camera.K[0, 0]
    v = (y - camera.K[1, 2]) / camera.K[1, 1]
    seen = np.stack([u, v, np.ones_like(u)], axis=-1)
    return (seen / np.linalg.norm(seen, axis=-1, keepdims=True)) @ camera.R


def draw_pixels(
    zones: NDArray[np.uint8], data: Shares, random: np.random.Generator
) -> NDArray[np.int64]:
    """Draw a view's pixels (data.rays,), by flat index, in random order."""
    details = round(data.details * data.rays)
    near = round(data.near * data.rays) - details
    rest = data.rays - near - details
    flat = zones.ravel()
    within = np.flatnonzero(flat > MISSES)
    drawn: list[NDArray[np.int64]] = []
    for count, zone in ((details, DETAIL), (near, NEAR), (rest, WITHIN)):
        # A view from behind shows no eyes: its share goes to what there is.
        pool = np.flatnonzero(flat >= zone)
        drawn.append(random.choice(pool if len(pool) else within, count))
    pixels = np.concatenate(drawn)
    random.shuffle(pixels)
    return pixels


def label_weights(frequencies: NDArray[np.float64], power: float) -> NDArray[np.float32]:
    """Return frequency^−power for each label, scaled so that the mean over all rays is 1.

    Labels that hardly ever occur count like those of one ray in ten thousand.
    """
    weights = np.maximum(frequencies, 1e-4) ** -power
    return (weights / (weights * frequencies).sum()).astype(np.float32)


def _grown(mask: NDArray[np.bool_], pixels: float) -> NDArray[np.bool_]:
    size = 2 * max(round(pixels), 1) + 1
    return np.asarray(ndimage.maximum_filter(mask, size=size), bool)
