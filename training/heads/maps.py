"""A bust seen by a camera: label map and depth, one sample at each pixel's centre."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from blender_addon.contract.labels import Label
from models.raster import rasterize
from training.heads.face_labels import skin_labels

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from blender_addon.contract.camera import Camera
    from training.heads.busts import Bust

    Floats = NDArray[np.float32]

NEAR = 0.05


@dataclass(frozen=True)
class Seen:
    """The N pixels of an image that show a bust, row by row.

    Attributes:
        covered: (H, W) bool, N of them True.
        face: (N,) index of the bust's face.
        share: (N, 3) barycentric coordinates on it.
        depth: (N,) metres along the viewing axis.
    """

    covered: NDArray[np.bool_]
    face: NDArray[np.int32]
    share: Floats
    depth: Floats

    def at(self, values: Floats, faces: NDArray[np.int64]) -> Floats:
        """Interpolate per-vertex values (V, k) to (N, k)."""
        return np.einsum("nc,nck->nk", self.share, values[faces[self.face]])


def look(bust: Bust, camera: Camera) -> Seen:
    """Find what each pixel's centre sees."""
    vertices = (bust.vertices @ camera.R.T + camera.t).astype(np.float32)
    fragments = rasterize(
        torch.from_numpy(vertices)[None],
        torch.from_numpy(bust.faces),
        torch.from_numpy(camera.K.astype(np.float32))[None],
        (camera.height, camera.width),
        near=NEAR,
    )
    face = fragments.face[0].numpy()
    covered = face >= 0
    return Seen(
        covered,
        face[covered],
        fragments.barycentric[0].numpy()[covered],
        fragments.depth[0].numpy()[covered],
    )


def label_map(bust: Bust, seen: Seen) -> NDArray[np.uint8]:
    """Return the (H, W) uint8 labels, 0…16, of what a camera sees."""
    owner = bust.owner[seen.face]
    values = np.empty(len(owner), np.uint8)
    for index, part in enumerate(bust.parts):
        mine = owner == index
        if part.label is not None:
            values[mine] = part.label
            continue
        corners = bust.faces[seen.face[mine]]
        at = np.einsum("nc,nck->nk", seen.share[mine], bust.static[corners, :7])
        values[mine] = skin_labels(at[:, :3], at[:, 6], bust.person.face, bust.bare)
    labels = np.full(seen.covered.shape, Label.BACKGROUND, np.uint8)
    labels[seen.covered] = values
    return labels


def depth_map(seen: Seen) -> NDArray[np.float32]:
    """Return the (H, W) float32 metres along the viewing axis, 0 = background."""
    depth = np.zeros(seen.covered.shape, np.float32)
    depth[seen.covered] = seen.depth
    return depth
