"""The baked head: a SOF's head as a labelled mesh, whose label maps cost a rasterisation.

`bake_head` marches a head from all around, fuses what it sees (`models/head_fusion.py`) and cuts
the mesh along the labels' borders (`models/label_mesh.py`). Blender's viewport shows the same mesh.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from blender_addon.contract.camera import look_at
from models.head_fusion import SeenView, fuse
from models.label_mesh import cut_by_label
from models.raster import rasterize
from models.rays import Pinhole
from models.sof_render import EVERY_PIXEL, LabelMap

if TYPE_CHECKING:
    from collections.abc import Generator

    from numpy.typing import NDArray
    from torch import Tensor

    from blender_addon.contract.camera import Camera
    from models.sof_render import SofRenderer

BAND = 64
"""Rows of a view that are marched between two turns: some tenths of a second."""


@dataclass(frozen=True, kw_only=True)
class BakeSettings:
    """How finely a head is baked.

    Attributes:
        views: marched, at least 64 for a head without phantom pieces.
        size: side of the views in pixels.
        resolution: grid points along each axis.
        truncation: grid spacings round the surface in which depths are averaged.
        distance: metres of the cameras.
        widest: radians to both sides of the face's direction that cameras reach. No further than
            where the SOF was trained: what it says of other views is made up, and silhouettes from
            the sides close the back of the head as well.
        lowest: least elevation of the cameras in radians.
        highest: greatest elevation.
    """

    views: int = 72
    size: int = 192
    resolution: int = 144
    truncation: float = 3.0
    distance: float = 1.3
    widest: float = math.pi
    lowest: float = -0.45
    highest: float = 0.65


class BakedHead:
    """A labelled mesh in head space.

    Args:
        vertices: (V, 3) float32 metres.
        faces: (F, 3) int64, counter-clockwise from outside.
        labels: (F,) uint8, never background.
    """

    def __init__(
        self, vertices: NDArray[np.float32], faces: NDArray[np.int64], labels: NDArray[np.uint8]
    ) -> None:
        self.vertices = vertices
        self.faces = faces
        self.labels = labels
        self._points = torch.from_numpy(vertices)
        self._indices = torch.from_numpy(faces.astype(np.int32))
        # Behind the last face stands what empty pixels see: their face is −1.
        self._table = torch.from_numpy(np.append(labels, np.uint8(0)))

    def to(self, device: torch.device | str) -> BakedHead:
        """Move what rasterising needs to a device."""
        self._points = self._points.to(device)
        self._indices = self._indices.to(device)
        self._table = self._table.to(device)
        return self

    @torch.inference_mode()
    def label_map(self, camera: Camera) -> LabelMap:
        """Rasterise the head.

        Args:
            camera: in head space.
        """
        pinhole = Pinhole.of(camera, device=self._points.device)
        seen = self._points @ pinhole.R[0].T + pinhole.t[0]
        drawn = rasterize(
            seen[None].contiguous(), self._indices, pinhole.K, (camera.height, camera.width)
        )
        # Index −1 is the table's last row.
        return LabelMap(self._table[drawn.face[0].long()], drawn.depth[0])


def bake_head(
    renderer: SofRenderer, code: Tensor, settings: BakeSettings | None = None
) -> BakedHead:
    """Bake a head at once; see `iterate_bake`."""
    *_, (_, head) = iterate_bake(renderer, code, settings)
    if head is None:
        raise RuntimeError("a bake ends with its head")
    return head


def iterate_bake(
    renderer: SofRenderer, code: Tensor, settings: BakeSettings | None = None
) -> Generator[tuple[float, BakedHead | None]]:
    """Bake a head view by view, so that a worker can do something else in between.

    Args:
        renderer: of the SOF.
        code: (code,) of the head.
        settings: how finely.

    Yields:
        progress 0…1, and with the last one the head.

    Raises:
        BadParameter: the head cannot be seen: an untrained SOF.
    """
    chosen = settings or BakeSettings()
    radius = renderer.sof.config.radius
    views: list[SeenView] = []
    for camera in bake_cameras(chosen, radius):
        bands: list[LabelMap] = []
        for top in range(0, camera.height, BAND):
            band = camera.cropped(0, top, camera.width, min(BAND, camera.height - top))
            bands.append(renderer.label_map(code, band, EVERY_PIXEL))
            done = min(top + BAND, camera.height) / camera.height
            yield 0.9 * (len(views) + done) / chosen.views, None
        seen = LabelMap(*(torch.cat(parts) for parts in zip(*bands, strict=True)))
        views.append(SeenView(camera, seen))
    spacing = 2.0 * radius / (chosen.resolution - 1)
    mesh = fuse(
        views,
        radius=radius,
        resolution=chosen.resolution,
        truncation=chosen.truncation * spacing,
    )
    yield 1.0, BakedHead(*cut_by_label(mesh))


def bake_cameras(settings: BakeSettings, radius: float) -> list[Camera]:
    """Return cameras spread evenly round the head, each of which sees the whole bounding sphere."""
    size = settings.size
    # The sphere's outline, seen from this distance, fills the image.
    focal = 0.5 * size * np.sqrt(settings.distance**2 - radius**2) / radius
    cameras: list[Camera] = []
    golden = 0.5 * (np.sqrt(5.0) - 1.0)
    low, high = np.sin(settings.lowest), np.sin(settings.highest)
    for index in range(settings.views):
        # A Fibonacci lattice: equal areas, no two views at one azimuth.
        y = low + (high - low) * (index + 0.5) / settings.views
        azimuth = settings.widest * (2.0 * ((golden * index) % 1.0) - 1.0)
        around = np.sqrt(1.0 - y**2)
        eye = settings.distance * np.array([around * np.sin(azimuth), y, around * np.cos(azimuth)])
        cameras.append(
            look_at(
                eye, np.zeros(3), np.array([0.0, 1.0, 0.0]), focal=focal, width=size, height=size
            )
        )
    return cameras
