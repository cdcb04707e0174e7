"""Photographs on the body's surface: which colour each texel has, and how well it was seen.

    photograph, mask, posed body, camera ─► rasterised depth ─► texels projected, tested, sampled

What UV space shows does not depend on pose and camera. The encoder reads it (`photo_encoder.py`), the
texture stage of the wardrobe's training copies it, and with its gaps filled it is the least that a
fitted avatar must beat: the photograph unwrapped onto the body (`filled`).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from blender_addon.contract.errors import BadParameter
from models.raster import rasterize
from models.shell import vertex_normals

if TYPE_CHECKING:
    from collections.abc import Sequence

    from models.body import Body

NEAR = 0.01
"""Least visible depth in metres."""

STEEPEST = 0.1
"""Cosine of the angle to the view at which a texel begins to be seen …"""
FLATTEST = 0.6
"""… and from which on it is seen fully."""

_SLACK = 0.008
"""Metres that a texel may lie behind what the camera sees."""
_SLACK_PIXELS = 2.0
"""The same in pixels across, on a surface seen at an angle: its depth changes from pixel to pixel."""
_SURE = 0.9
"""Least coverage by the mask, after erosion, of a pixel whose colour is the person's alone."""

_GUESSED = 0.9
"""How much of their tone texels that nobody saw take from those that were."""
_TONE = 8
"""Texels over which tone is averaged."""


class Unwrapped(NamedTuple):
    """A photograph in UV space.

    Attributes:
        colour: (3, S, S) float32 sRGB, −1…1; 0 where nothing was seen.
        visibility: (1, S, S) float32, 0…1: 0 where the texel is hidden, seen edge-on or off the body.
    """

    colour: Tensor
    visibility: Tensor

    def stacked(self) -> Tensor:
        """Return both as (4, S, S), what a photo encoder reads."""
        return torch.cat([self.colour, self.visibility])


@dataclass(frozen=True)
class UvLayout:
    """Which point of the body each texel of a texture lies on.

    Attributes:
        body: whose UVs these are.
        size: S, texels per side.
        texel: (N,) int64 flat indices into (S, S) of the texels on the body, row 0 at v = 1.
        face: (N,) int64 the face under each.
        barycentric: (N, 3) float32 where on it.
    """

    body: Body
    size: int
    texel: Tensor
    face: Tensor
    barycentric: Tensor

    @classmethod
    def of(cls, body: Body, size: int) -> UvLayout:
        """Rasterise a body's UVs into S × S texels."""
        u, v = body.uv.unbind(1)
        flat = torch.stack([u, 1.0 - v, torch.ones_like(u)], dim=1)[None].float()
        K = torch.diag(flat.new_tensor([size, size, 1.0]))[None]
        seen = rasterize(flat, body.uv_faces, K, (size, size), near=NEAR)
        texel = seen.covered[0].flatten().nonzero()[:, 0]
        face = seen.face[0].flatten()[texel].long()
        return cls(body, size, texel, face, seen.barycentric[0].view(-1, 3)[texel])

    @property
    def covered(self) -> Tensor:
        """(S, S) bool: texels on the body."""
        where = torch.zeros(self.size**2, dtype=torch.bool, device=self.texel.device)
        where[self.texel] = True
        return where.view(self.size, self.size)

    def at_texels(self, per_vertex: Tensor) -> Tensor:
        """Interpolate (V, C) values of vertices at the texels: (N, C)."""
        corners = per_vertex[self.body.faces.long()[self.face]]
        return (corners * self.barycentric[..., None]).sum(dim=1)

    def image(self, values: Tensor) -> Tensor:
        """Spread (N, C) values of texels to (C, S, S), 0 off the body."""
        spread = values.new_zeros(self.size**2, values.shape[1])
        spread[self.texel] = values
        return spread.T.reshape(-1, self.size, self.size).contiguous()

    def values(self, image: Tensor) -> Tensor:
        """Return (N, C): the texels of an image (C, S, S)."""
        return image.flatten(1).T[self.texel]

    @cached_property
    def rest(self) -> Tensor:
        """(N, 3) float32: where the texels of the mean body in T-pose lie, metres."""
        return self.at_texels(self.body.v_template.float())

    @cached_property
    def mirrored(self) -> Tensor:
        """(N,) int64: for each texel the one on the other side of the mean body, left for right.

        Found by place, so that any UV layout will do.
        """
        return _nearest(self.rest, self.rest * self.rest.new_tensor([-1.0, 1.0, 1.0]))


def unwrap(
    layout: UvLayout, colour: Tensor, mask: Tensor, vertices: Tensor, K: Tensor
) -> Unwrapped:
    """Look up which colour of a photograph each texel has.

    Args:
        layout: of the texture.
        colour: (3, H, W) float32 sRGB 0…1, not multiplied by the mask.
        mask: (H, W) float32 coverage by the person, 0…1.
        vertices: (V, 3) float32 posed body in camera space, metres.
        K: (3, 3) float32 intrinsics in pixels, corner origin.

    Raises:
        BadParameter: image and mask differ in size.
    """
    height, width = mask.shape
    if colour.shape != (3, height, width):
        raise BadParameter(
            f"an image of shape {tuple(colour.shape)} with a mask of {height} × {width}",
            "give (3, H, W) colours and an (H, W) mask",
        )
    seen = rasterize(vertices[None], layout.body.faces, K[None], (height, width), near=NEAR)
    # Nearest depth of a pixel and its neighbours: rims of what lies behind are left out.
    nearest = -functional.max_pool2d(-seen.depth[:, None], 3, stride=1, padding=1)
    sure = -functional.max_pool2d(-mask[None, None], 3, stride=1, padding=1)

    points = layout.at_texels(vertices)
    normals = vertex_normals(vertices[None], layout.body.faces.long())[0]
    normal = functional.normalize(layout.at_texels(normals), dim=1)
    depth = points[:, 2].clamp_min(NEAR)
    pixel = (points @ K.T)[:, :2] / depth[:, None]
    facing = -(normal * functional.normalize(points, dim=1)).sum(dim=1)

    where = pixel / pixel.new_tensor([width, height]) * 2.0 - 1.0
    looked = functional.grid_sample(
        torch.cat([colour[None], sure], dim=1),
        where[None, None],
        padding_mode="zeros",
        align_corners=False,
    )[0, :, 0]
    column, row = pixel.floor().long().unbind(1)
    inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
    flat = row.clamp(0, height - 1) * width + column.clamp(0, width - 1)
    behind = points[:, 2] - nearest.flatten()[flat]
    across = depth / K[0, 0]
    slack = _SLACK + _SLACK_PIXELS * across / facing.clamp_min(STEEPEST)

    angle = ((facing - STEEPEST) / (FLATTEST - STEEPEST)).clamp(0.0, 1.0)
    covered = ((looked[3] - _SURE) / (1.0 - _SURE)).clamp(0.0, 1.0)
    front = inside & (points[:, 2] > NEAR) & (behind < slack)
    visibility = angle * covered * front
    shown = (looked[:3] * 2.0 - 1.0) * (visibility > 0)
    return Unwrapped(layout.image(shown.T), layout.image(visibility[:, None]))


def averaged(views: Sequence[Unwrapped]) -> Unwrapped:
    """Return what several photographs of one person show together, each by how well it sees.

    Raises:
        BadParameter: there is none.
    """
    if not views:
        raise BadParameter("no photograph to unwrap", "give at least one")
    weight = torch.stack([view.visibility for view in views])
    total = (torch.stack([view.colour for view in views]) * weight).sum(dim=0)
    seen = weight.sum(dim=0)
    return Unwrapped(total / seen.clamp_min(1e-6), weight.amax(dim=0))


def filled(layout: UvLayout, view: Unwrapped, least: float = 0.05) -> Tensor:
    """Return a whole texture (3, S, S), −1…1: what was not seen is guessed from what was.

    First from the other side of the body, then from the nearest texel in T-pose, and between the
    islands of the UV layout from their rims. Where nothing was seen at all, it is mid-grey.

    Args:
        layout: of the texture.
        view: one photograph, or several averaged.
        least: visibility from which a colour is believed.
    """
    colour, visibility = layout.values(view.colour), layout.values(view.visibility)[:, 0]
    known = visibility >= least
    if not known.any():
        return torch.zeros_like(view.colour)
    other = known[layout.mirrored] & ~known
    colour = torch.where(other[:, None], colour[layout.mirrored], colour)
    known = known | other
    source = known.nonzero()[:, 0]
    missing = (~known).nonzero()[:, 0]
    colour = colour.clone()
    colour[missing] = colour[source[_nearest(layout.rest[source], layout.rest[missing])]]
    return spread_to_gaps(layout.image(colour), layout.covered)


def carried_over(layout: UvLayout, texture: Tensor, view: Unwrapped, amount: float) -> Tensor:
    """Give a texture the colours that photographs show, and their tone where they show nothing.

    Args:
        layout: of the texture.
        texture: (3, S, S), −1…1.
        view: the photographs in UV space.
        amount: 0 keeps the texture, 1 takes the photographs' colours where they see well.

    Returns:
        (3, S, S). Texels that nobody saw keep their detail, and take most of their tone from their
        mirrored ones or the nearest seen.
    """
    seen = layout.values(view.visibility)[:, :1]
    own, shown = layout.values(texture), layout.values(view.colour)
    covered = layout.covered[None].to(texture)
    coarse = _blurred(filled(layout, view) * covered, covered) - _blurred(
        texture * covered, covered
    )
    moved = own + amount * (
        seen * (shown - own) + (1.0 - seen) * _GUESSED * layout.values(coarse) * bool(seen.any())
    )
    return spread_to_gaps(layout.image(moved), layout.covered)


def spread_to_gaps(texture: Tensor, known: Tensor) -> Tensor:
    """Fill the texels between islands from averages over ever larger squares of known ones.

    Args:
        texture: (C, S, S), S a power of two.
        known: (S, S) bool: the texels that stay as they are.
    """
    weight = known.to(texture.dtype)[None, None]
    sums, counts = [texture[None] * weight], [weight]
    while sums[-1].shape[-1] > 1:
        sums.append(functional.avg_pool2d(sums[-1], 2))
        counts.append(functional.avg_pool2d(counts[-1], 2))
    spread = sums[-1] / counts[-1].clamp_min(1e-12)
    for total, count in zip(reversed(sums[:-1]), reversed(counts[:-1]), strict=True):
        coarse = functional.interpolate(spread, scale_factor=2, mode="nearest")
        spread = torch.where(count > 0, total / count.clamp_min(1e-12), coarse)
    return spread[0]


def _blurred(image: Tensor, known: Tensor) -> Tensor:
    """Average what is known of (C, S, S) over squares of `_TONE` texels."""
    side = min(_TONE, image.shape[-1])
    total, count = (functional.avg_pool2d(each[None], side) for each in (image, known))
    coarse = total / count.clamp_min(1e-6)
    return functional.interpolate(coarse, size=image.shape[-2:], mode="bilinear")[0]


def _nearest(places: Tensor, wanted: Tensor) -> Tensor:
    """Return for each wanted place (M, 3) the index of the nearest of (N, 3) places, int64."""
    from scipy.spatial import KDTree

    found = KDTree(places.cpu().numpy()).query(wanted.cpu().numpy())[1]
    return torch.from_numpy(np.asarray(found, np.int64)).to(places.device)
