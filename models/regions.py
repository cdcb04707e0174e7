"""Squares round a person's head and hands, and what an image shows there.

The crop operators C_head and C_hands of StylePeople (supplementary, section 1.2). The paper
finds them with OpenPose; here they come from the projected SMPL-X joints. Sizes are metres on
the body, so that one rule holds for close-ups and for whole bodies.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, Protocol

import torch
from torch import Tensor
from torch.nn import functional

from blender_addon.contract.joints import HEAD_JOINTS, LEFT_HAND_JOINTS, RIGHT_HAND_JOINTS

NEAR = 0.05
"""Metres before the camera; joints nearer than that give no crop."""
FEWEST_PIXELS = 8.0
"""Smaller squares are not worth enlarging: they hold no detail to judge."""
LEAST_OVERLAP = 0.25
"""Share of a square that must lie in the image (or of the image that it must cover)."""
LEAST_SEEN = 0.02
"""Share of a crop's pixels that its region's true mask must cover: less is hidden."""
FINEST_GRID = 4
"""Most samples per pixel and axis of a crop that is smaller than its square."""


@dataclass(frozen=True)
class Region:
    """A part of the body that is looked at closely.

    Attributes:
        joints: whose mean is the middle of the square.
        metres: side of the square at the distance of the joints.
        channel: of the masks.
    """

    joints: tuple[int, ...]
    metres: float
    channel: int


HEAD = Region(HEAD_JOINTS, 0.28, 2)
LEFT_HAND = Region(LEFT_HAND_JOINTS, 0.26, 1)
RIGHT_HAND = Region(RIGHT_HAND_JOINTS, 0.26, 1)


class Crops(Protocol):
    """What a batch must tell of its crops; such as `training.dressing_data.Batch`."""

    @property
    def shape(self) -> tuple[int, int, int]: ...

    @property
    def K(self) -> Tensor: ...

    @property
    def joints(self) -> Tensor: ...

    @property
    def masks(self) -> Tensor: ...


class Squares(NamedTuple):
    """Squares in some images of a batch.

    Attributes:
        image: (N,) int64 index into the batch.
        corner: (N, 2) x and y of the upper left corner, in pixels.
        side: (N,) in pixels.
    """

    image: Tensor
    corner: Tensor
    side: Tensor


def find_squares(batch: Crops, regions: tuple[Region, ...]) -> Squares:
    """Return the squares of regions that can be seen in a batch's crops.

    A square that is larger than the image or reaches over its border is shrunk and moved into
    the image: a close-up of half a face is judged by that half. Left out are regions behind the
    camera, mostly outside the image, smaller than `FEWEST_PIXELS`, or hidden (the true mask of
    the region is as good as empty there).
    """
    found = [_squares_of(batch, region) for region in regions]
    return Squares(*(torch.cat(parts) for parts in zip(*found, strict=True)))


def crop(images: Tensor, squares: Squares, size: int) -> Tensor:
    """Resample squares of images (B, C, H, W) to (N, C, size, size); differentiable in `images`.

    Bilinear when enlarging; when a square is larger than the crop, each pixel is the mean of
    several samples, so that nothing aliases.
    """
    height, width = images.shape[-2:]
    if not len(squares.image):
        return images.new_zeros(0, images.shape[1], size, size)
    fine = int((squares.side.max() / size).ceil().clamp(1, FINEST_GRID))
    steps = (torch.arange(size * fine, device=images.device) + 0.5) / (size * fine)
    x = squares.corner[:, :1] + squares.side[:, None] * steps
    y = squares.corner[:, 1:] + squares.side[:, None] * steps
    # grid_sample's −1…1 spans the image's outer edges, as our corner-origin pixels do.
    across = (2.0 * x / width - 1.0)[:, None, :].expand(-1, size * fine, -1)
    down = (2.0 * y / height - 1.0)[:, :, None].expand(-1, -1, size * fine)
    grid = torch.stack([across, down], dim=-1).to(images.dtype)
    sampled = functional.grid_sample(
        images[squares.image], grid, padding_mode="border", align_corners=False
    )
    return functional.avg_pool2d(sampled, fine) if fine > 1 else sampled


def _squares_of(batch: Crops, region: Region) -> Squares:
    _, height, width = batch.shape
    limit = float(min(height, width))
    joints = batch.joints[:, list(region.joints)]
    nearest = joints[..., 2].amin(dim=1)
    # Joints behind the camera may project anywhere; `seen` leaves them out below.
    middle = joints[..., :2].mean(dim=1).nan_to_num(0.0, 0.0, 0.0)
    wanted = batch.K[:, 0, 0] * region.metres / joints[..., 2].mean(dim=1).clamp(min=NEAR)
    size = middle.new_tensor([width, height])
    low = (middle - wanted[:, None] / 2).clamp(min=0.0)
    high = torch.minimum(middle + wanted[:, None] / 2, size)
    overlap = (high - low).clamp(min=0.0).prod(dim=1)
    side = wanted.clamp(max=limit)
    corner = (middle - side[:, None] / 2).clamp(min=0.0)
    corner = torch.minimum(corner, size - side[:, None])
    seen = (nearest > NEAR) & (side >= FEWEST_PIXELS) & (overlap >= LEAST_OVERLAP * side.square())
    image = seen.nonzero().flatten()
    squares = Squares(image, corner[image], side[image])
    mask = batch.masks[:, region.channel : region.channel + 1]
    shown = crop(mask, squares, 16).mean(dim=(1, 2, 3)) >= LEAST_SEEN
    return Squares(*(part[shown] for part in squares))
