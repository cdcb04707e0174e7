"""Label maps of a SOF from any camera: the plain march, and one ten times as fast that agrees.

What makes it fast, and what it costs in exactness (docs/sof.md has the figures):

- H runs once a head: `SofRenderer` keeps Φ's weights of the codes it has seen. Exact.
- Rays that miss the head's bounding sphere are background by definition. Exact.
- Rays march in blocks that stay in the processor's cache, in bfloat16 where it is native.
- Rays whose last steps were shorter than `STILL` metres have arrived; those that have left the
  sphere are gone.
- Label maps are drawn from coarse to fine: a block whose corners have one label is filled with
  it, at the coarsest level only if its neighbours' corners have it, too; the others are marched at
  every pixel. Things narrower than the coarsest blocks that no corner meets would be missed.

No randomness and no state from frame to frame: equal requests give equal bytes.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from blender_addon.contract.errors import BadParameter
from models.dresser import autocast_dtype
from models.rays import Chord, Pinhole, Rays, depth_per_distance, pixel_rays, sphere_chord
from models.sof import BACKGROUND, Sof

if TYPE_CHECKING:
    from blender_addon.contract.camera import Camera
    from models.sof_field import FieldWeights

BLOCK = 2048
"""Rays that march together: their features fit the cache of a core."""
COARSEST = 8
"""Pixels between the corners of the coarsest blocks; a power of two."""
FINEST_VIEW = 32
"""Blocks across the shorter side of an image, at least: a small image has small blocks."""
STILL = 2e-4
"""Metres: a ray whose step is shorter than this has arrived."""
KEPT_HEADS = 8
"""Heads whose Φ a renderer keeps: of the width of 256, 0.8 MB each in float32."""


class LabelMap(NamedTuple):
    """What a camera sees of a head.

    Attributes:
        labels: (H, W) uint8, 0 is background.
        depth: (H, W) float32 camera-space z in metres, inf where background.
    """

    labels: Tensor
    depth: Tensor


@dataclass(frozen=True)
class Shortcuts:
    """Which shortcuts a renderer takes; all switched off, it marches plainly.

    Attributes:
        low_precision: bfloat16 where the hardware has it.
        arrive: end rays early whose steps have become short.
        coarsest: pixels between the corners of the coarsest blocks, at most; a power of two. 1
            marches at every pixel.
    """

    low_precision: bool = True
    arrive: bool = True
    coarsest: int = COARSEST

    def __post_init__(self) -> None:
        if self.coarsest < 1 or self.coarsest & (self.coarsest - 1):
            raise BadParameter("shortcuts: coarsest must be a power of two")

    def stride(self, camera: Camera) -> int:
        """Return the pixels between the corners of the coarsest blocks of a camera's image."""
        stride = self.coarsest
        while stride > 1 and stride * FINEST_VIEW > min(camera.width, camera.height):
            stride //= 2
        return stride


EVERY_PIXEL = Shortcuts(coarsest=1)
"""For uses that need each pixel's own depth, as fusing views into a mesh."""


@torch.inference_mode()
def plain_label_map(sof: Sof, code: Tensor, camera: Camera) -> LabelMap:
    """March every pixel's ray all steps in float32: what the fast renderer is compared with.

    Args:
        sof: in evaluation mode.
        code: (code,) of the head.
        camera: in head space.
    """
    cameras, rays = _frame_rays(camera, code.device)
    field = sof.field(code[None])
    parts = [
        sof.march(field, Rays(rays.origin, part)) for part in rays.direction.split(8 * BLOCK, dim=1)
    ]
    labels = torch.cat([part.labels for part in parts], dim=1)
    distance = torch.cat([part.distance for part in parts], dim=1)
    depth = distance * depth_per_distance(cameras, rays.direction)
    return _label_map(labels[0], depth[0], camera)


class SofRenderer:
    """Draws label maps of heads, and keeps what depends on the head alone.

    Args:
        sof: shared by all heads; put into evaluation mode.
        shortcuts: how it draws unless told otherwise.
    """

    def __init__(self, sof: Sof, shortcuts: Shortcuts | None = None) -> None:
        self.sof = sof.eval()
        self.shortcuts = shortcuts or Shortcuts()
        self._fields: OrderedDict[tuple[bytes, torch.dtype | None], FieldWeights] = OrderedDict()

    @property
    def device(self) -> torch.device:
        """Where it draws."""
        return self.sof.classifier.weight.device

    @torch.inference_mode()
    def label_map(
        self, code: Tensor, camera: Camera, shortcuts: Shortcuts | None = None
    ) -> LabelMap:
        """Draw a head.

        Args:
            code: (code,) float32.
            camera: in head space.
            shortcuts: for this call.
        """
        chosen = shortcuts or self.shortcuts
        field = self._field(code, chosen)
        cameras = Pinhole.of(camera, device=self.device)
        stride = coarsest = chosen.stride(camera)
        # Blocks may reach over the image's right and lower edge: those rays exist as well.
        rows, columns = (-(-(side - 1) // stride) for side in (camera.height, camera.width))
        grid = _Grid.empty(rows + 1, columns + 1, self.device)
        wanted = torch.ones_like(grid.labels, dtype=torch.bool)
        while True:
            self._draw(grid, wanted, stride, cameras, field, chosen)
            if stride == 1:
                break
            grid, wanted = grid.refined(careful=stride == coarsest)
            stride //= 2
        labels = grid.labels[: camera.height, : camera.width].flatten()
        depth = grid.depth[: camera.height, : camera.width].flatten()
        return _label_map(labels, depth, camera)

    def _draw(
        self,
        grid: _Grid,
        wanted: Tensor,
        stride: int,
        cameras: Pinhole,
        field: FieldWeights,
        shortcuts: Shortcuts,
    ) -> None:
        """March the wanted points of a grid and write what they see."""
        row, column = wanted.nonzero(as_tuple=True)
        x, y = (stride * index.to(torch.float32) + 0.5 for index in (column, row))
        rays = pixel_rays(cameras, x[None], y[None])
        chord = sphere_chord(rays, self.sof.config.radius)
        within = chord.hit[0].nonzero()[:, 0]
        direction = rays.direction[:, within]
        chord = Chord(*(each[:, within] for each in chord))
        parts = [
            self._see(field, Rays(rays.origin, some), Chord(*some_chord), shortcuts)
            for some, *some_chord in zip(
                direction.split(BLOCK, dim=1),
                *(each.split(BLOCK, dim=1) for each in chord),
                strict=True,
            )
        ]
        seen_labels = torch.full_like(row, BACKGROUND)
        seen_depth = torch.full(row.shape, torch.inf, device=self.device)
        if parts:
            seen_labels[within] = torch.cat([labels for labels, _ in parts])
            distance = torch.cat([distance for _, distance in parts])
            seen_depth[within] = distance * depth_per_distance(cameras, direction)[0]
        grid.labels[row, column] = seen_labels
        grid.depth[row, column] = seen_depth

    def _see(
        self, field: FieldWeights, rays: Rays, chord: Chord, shortcuts: Shortcuts
    ) -> tuple[Tensor, Tensor]:
        """Return labels and distances of rays (1, N, 3) that enter the sphere."""
        sof = self.sof
        direction, far = rays.direction, chord.far
        ends, distance = chord.near.clone(), chord.near
        state = sof.marcher.start(distance)
        at = torch.arange(distance.shape[1], device=self.device)
        for _ in range(sof.config.steps):
            points = rays.origin + distance[..., None] * direction
            length, state = sof.marcher(sof.describe(field, points), state)
            distance = distance + length
            if not shortcuts.arrive:
                continue
            # Those on their way; the others' ends are written once and for all.
            moving = ((length.abs() > STILL) & (distance < far + STILL))[0]
            if int(moving.sum()) > 0.8 * len(at):
                continue
            ends[0, at] = distance[0]
            at, direction, far = at[moving], direction[:, moving], far[:, moving]
            distance = distance[:, moving]
            state = (state[0][:, moving], state[1][:, moving])
        ends[0, at] = distance[0]
        inside = (ends <= chord.far)[0].nonzero()[:, 0]
        points = rays.origin + ends[:, inside, None] * rays.direction[:, inside]
        labels = torch.full((ends.shape[1],), BACKGROUND, device=self.device)
        labels[inside] = sof.classify(sof.describe(field, points))[0].argmax(dim=-1)
        return labels, ends[0]

    def _field(self, code: Tensor, shortcuts: Shortcuts) -> FieldWeights:
        if tuple(code.shape) != (self.sof.config.code,):
            raise BadParameter(f"a code has {self.sof.config.code} numbers")
        dtype = autocast_dtype(self.device) if shortcuts.low_precision else None
        own = code.detach().to(self.device, torch.float32)
        key = (own.cpu().numpy().tobytes(), dtype)
        field = self._fields.pop(key, None)
        if field is None:
            field = self.sof.field(own[None], dtype)
        self._fields[key] = field
        while len(self._fields) > KEPT_HEADS:
            self._fields.popitem(last=False)
        return field


@dataclass(frozen=True)
class _Grid:
    """Labels (h, w) int64 and depths (h, w) float32 at points some pixels apart."""

    labels: Tensor
    depth: Tensor

    @classmethod
    def empty(cls, height: int, width: int, device: torch.device) -> _Grid:
        labels = torch.full((height, width), BACKGROUND, device=device)
        return cls(labels, torch.full((height, width), torch.inf, device=device))

    def refined(self, *, careful: bool) -> tuple[_Grid, Tensor]:
        """Return the grid at half the spacing, and which of its new points must be marched.

        Args:
            careful: march in the neighbours of mixed blocks as well.
        """
        labels = self.labels
        corners = torch.stack([labels[:-1, :-1], labels[:-1, 1:], labels[1:, :-1], labels[1:, 1:]])
        mixed = (corners != corners[:1]).any(dim=0)
        if careful:
            # What is thin shows at some corner near by, if not at this block's own.
            mixed = _spread(mixed)
        height, width = 2 * labels.shape[0] - 1, 2 * labels.shape[1] - 1
        wanted = torch.zeros((height, width), dtype=torch.bool, device=labels.device)
        wanted[1::2, 1::2] = mixed
        wanted = _spread(wanted)
        wanted[::2, ::2] = False
        repeated = labels.repeat_interleave(2, dim=0).repeat_interleave(2, dim=1)
        # Between background corners the mean of infinite depths is infinite, as it must be.
        depth = self.depth
        rows = torch.empty((height, depth.shape[1]), device=depth.device)
        rows[::2], rows[1::2] = depth, 0.5 * (depth[:-1] + depth[1:])
        full = torch.empty((height, width), device=depth.device)
        full[:, ::2], full[:, 1::2] = rows, 0.5 * (rows[:, :-1] + rows[:, 1:])
        return _Grid(repeated[:height, :width].contiguous(), full), wanted


def _spread(mask: Tensor) -> Tensor:
    grown = functional.max_pool2d(mask[None, None].to(torch.float32), 3, stride=1, padding=1)
    return grown[0, 0] > 0


def _frame_rays(camera: Camera, device: torch.device) -> tuple[Pinhole, Rays]:
    cameras = Pinhole.of(camera, device=device)
    x = torch.arange(camera.width, device=device) + 0.5
    y = torch.arange(camera.height, device=device) + 0.5
    rows, columns = torch.meshgrid(y, x, indexing="ij")
    return cameras, pixel_rays(cameras, columns.reshape(1, -1), rows.reshape(1, -1))


def _label_map(labels: Tensor, depth: Tensor, camera: Camera) -> LabelMap:
    shape = (camera.height, camera.width)
    labels = labels.to(torch.uint8)
    depth = depth.masked_fill(labels == BACKGROUND, torch.inf)
    return LabelMap(labels.view(shape), depth.view(shape))
