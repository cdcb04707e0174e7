"""Neural textures: their parameters, their mip chains, and look-up on the rasterised body.

A neural texture is a sum of levels of rising resolution (StylePeople, section 1.1). Assembled, it
is a (C, S, S) image in the UV convention of SMPL-X: u to the right, v up, so that row 0 of
the texture lies at v = 1. That flip happens in the look-up and nowhere else.

For rendering, the assembled texture is box-filtered into a `MipChain`. What the camera sees of
the body's surface is a list of `SurfaceSamples`, which depends on pose and camera only (so
training may keep it); `gather_features` looks the texture up there, and `dressing_features` does
both for one step of rendering.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.nn import functional

from blender_addon.contract.errors import BadParameter
from models import operators
from models.raster import check_mesh, supersampled
from models.surface import SurfaceSamples, surface_samples

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

OFF_BODY_UV = -2.0
"""What the two UV channels hold where no body is seen; on the body they are in −1…1."""

MIPMAP_WEIGHTS: Mapping[int, float] = {8: 0, 16: 0, 32: 0, 64: 1, 128: 2, 256: 4, 512: 8}
"""Weights of the levels' norms by resolution (StylePeople, section 1.2, L_mipmap)."""


class NeuralTexture(nn.Module):
    """One person's neural texture as a pyramid of trained levels.

    Args:
        channels: features per texel.
        smallest: resolution of the coarsest level, a power of two.
        largest: resolution of the finest level and of the assembled texture, a power of two.
        deviation: standard deviation of the initial values of all levels.
    """

    def __init__(
        self,
        channels: int = 16,
        smallest: int = 8,
        largest: int = 512,
        *,
        deviation: float = 0.0,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        if not (_is_power_of_two(smallest) and _is_power_of_two(largest) and smallest <= largest):
            raise BadParameter(
                f"texture levels from {smallest} to {largest}",
                "give two powers of two, the smaller first",
            )
        sizes = [smallest << step for step in range(int(math.log2(largest // smallest)) + 1)]
        self.levels = nn.ParameterList(
            nn.Parameter(deviation * torch.randn(channels, size, size, generator=generator))
            for size in sizes
        )

    @property
    def size(self) -> int:
        """Resolution of the assembled texture."""
        return self.levels[-1].shape[-1]

    def assemble(self) -> Tensor:
        """Sum the levels, each upsampled bilinearly by doublings, to (C, size, size) float32."""
        total = self.levels[0][None]
        for level in list(self.levels)[1:]:
            # Doubling step by step costs a fraction of upsampling each level to full size.
            total = functional.interpolate(
                total, scale_factor=2, mode="bilinear", align_corners=False
            )
            total = total + level
        return total[0]

    def mipmap_penalty(self, *, normalised: bool = False) -> Tensor:
        """Return Σ α_i ‖T^(2^i)‖₂ over the levels (StylePeople, section 1.2).

        Args:
            normalised: use the root mean square instead of the norm, so that the figure does
                not depend on resolution and number of channels (ours, not the paper's).
        """
        penalty = self.levels[0].new_zeros(())
        for level in self.levels:
            weight = MIPMAP_WEIGHTS.get(level.shape[-1], 0.0)
            if weight:
                penalty = penalty + weight * _norm(level, normalised=normalised)
        return penalty


@dataclass(frozen=True)
class MipChain:
    """Box-filtered levels S, S/2, … 1 of one or several textures, flattened to one table.

    Attributes:
        table: (T · rows, C) contiguous; per texture the levels follow one another, finest
            first, each row by row from v = 1 down.
        size: S, resolution of the finest level.
    """

    table: Tensor
    size: int

    @classmethod
    def build(cls, textures: Tensor, dtype: torch.dtype = torch.float32) -> MipChain:
        """Build the chain of textures (C, S, S) or (T, C, S, S); differentiable.

        Raises:
            BadParameter: the textures are not square with a power of two as size.
        """
        level = textures if textures.ndim == 4 else textures[None]
        size = level.shape[-1]
        if level.shape[-2] != size or not _is_power_of_two(size):
            raise BadParameter(
                f"a texture of {tuple(level.shape[-2:])} texels",
                "use a square texture whose size is a power of two",
            )
        channels = level.shape[1]
        parts = [level.flatten(2)]
        while level.shape[-1] > 1:
            level = functional.avg_pool2d(level, 2)
            parts.append(level.flatten(2))
        table = torch.cat(parts, dim=2).transpose(1, 2).reshape(-1, channels)
        return cls(table.to(dtype).contiguous(), size)

    @property
    def channels(self) -> int:
        return self.table.shape[1]

    @property
    def rows(self) -> int:
        """Rows of one texture: S² + (S/2)² + … + 1."""
        return (4 * self.size * self.size - 1) // 3


def sample(chain: MipChain, uv: Tensor, level: Tensor, texture: Tensor | None = None) -> Tensor:
    """Look textures up trilinearly.

    Args:
        chain: mip chain of T textures.
        uv: (N, 2) float32, clamped to [0, 1]; v points up.
        level: (N,) float32 level of detail, 0 the finest, clamped to the chain.
        texture: (N,) int64 which texture of the chain; the first when omitted.

    Returns:
        (N, C) in the chain's dtype, differentiable with respect to the chain.
    """
    offset = torch.arange(len(uv) + 1, device=uv.device)
    return _look_up(chain, uv, level, offset, _first_rows(chain, texture, uv), 1.0)


@dataclass(frozen=True)
class DressingInput:
    """What the dresser is given for a batch of crops.

    Attributes:
        features: (B, C + 2, H, W) float32, channels_last: texture features averaged over the
            sub-pixels (0 off the body), then UV · 2 − 1 likewise, with −2 off the body.
        coverage: (B, 1, H, W) float32 in 0…1: the share of sub-pixels on the body.
        depth: (B, H, W) float32 nearest depth in metres, inf off the body.
    """

    features: Tensor
    coverage: Tensor
    depth: Tensor


def gather_features(
    samples: SurfaceSamples, chain: MipChain, texture: Tensor | None = None
) -> DressingInput:
    """Look textures up at surface samples and average them to pixels.

    Args:
        samples: of B images.
        chain: mip chain of T textures.
        texture: (B,) int64 which texture each image wears; the first when omitted.

    Returns:
        The dresser's input, differentiable with respect to the chain.
    """
    counts = samples.offset.diff()
    share = 1.0 / samples.per_pixel
    which = None
    if texture is not None:
        which = texture[samples.pixel // (samples.shape[1] * samples.shape[2])]
    values = _look_up(
        chain,
        samples.uv,
        samples.footprint + math.log2(chain.size),
        samples.offset,
        _first_rows(chain, which, samples.pixel),
        share,
    )
    features = values.new_zeros((math.prod(samples.shape), chain.channels + 2))
    coverage = counts.to(torch.float32) * share
    uv = torch.segment_reduce(samples.uv * 2 - 1, "sum", offsets=samples.offset) * share
    features[:, chain.channels :] = OFF_BODY_UV
    uv = uv + OFF_BODY_UV * (1 - coverage)[:, None]
    features = features.index_copy(
        0, samples.pixel, torch.cat([values, uv.to(values.dtype)], dim=1)
    )
    covered = coverage.new_zeros(math.prod(samples.shape)).index_copy(0, samples.pixel, coverage)
    return DressingInput(
        features.view(*samples.shape, -1).permute(0, 3, 1, 2).float(),
        covered.view(*samples.shape)[:, None],
        samples.depth,
    )


def dressing_features(
    vertices: Tensor,
    faces: Tensor,
    corner_uv: Tensor,
    K: Tensor,
    size: tuple[int, int],
    chain: MipChain,
    *,
    texture: Tensor | None = None,
    supersampling: int = 2,
    near: float = 0.01,
) -> DressingInput:
    """Rasterise meshes and look their textures up: the dresser's input for a batch of crops.

    Arguments are those of `surface_samples` and `gather_features`. Without gradients to the
    chain, and with a float32 one, a fused kernel does all of it; the results agree within 1e-5.
    """
    needs_gradient = torch.is_grad_enabled() and chain.table.requires_grad
    if needs_gradient or chain.table.dtype != torch.float32:
        samples = surface_samples(
            vertices, faces, corner_uv, K, size, supersampling=supersampling, near=near
        )
        return gather_features(samples, chain, texture)
    check_mesh(vertices, faces, K, size, near)
    features, coverage, depth = operators.dressing_features(
        vertices.detach().contiguous(),
        faces.to(torch.int32).contiguous(),
        corner_uv.contiguous(),
        supersampled(K.detach(), supersampling),
        *size,
        chain.table.detach(),
        _first_rows(chain, texture, vertices),
        chain.size,
        supersampling,
        near,
        OFF_BODY_UV,
    )
    return DressingInput(features.permute(0, 3, 1, 2), coverage[:, None], depth)


def _first_rows(chain: MipChain, texture: Tensor | None, like: Tensor) -> Tensor:
    """Return where each entry's texture begins in the table, (len(like),) int32."""
    if texture is None:
        return torch.zeros(len(like), dtype=torch.int32, device=like.device)
    return (texture * chain.rows).to(torch.int32)


def _look_up(
    chain: MipChain, uv: Tensor, level: Tensor, offset: Tensor, first_rows: Tensor, share: float
) -> Tensor:
    """Look bags of samples up and add them: the arguments of `texture_warp.gather`."""
    if chain.table.dtype == torch.float32:
        bags = (offset.contiguous(), first_rows, share)
        return operators.gather_texels(
            chain.table, chain.size, uv.contiguous(), level.contiguous(), *bags
        )
    return look_up_in_torch(chain, uv, level, offset, first_rows, share)


def look_up_in_torch(
    chain: MipChain, uv: Tensor, level: Tensor, offset: Tensor, first_rows: Tensor, share: float
) -> Tensor:
    """Do what `texture_warp.gather` does in plain torch, for any dtype of the table.

    It is the reference of the kernel; its backward pass takes several times as long.
    """
    rows, weights = _texels(chain, uv, level, first_rows.repeat_interleave(offset.diff()).long())
    return functional.embedding_bag(
        rows.flatten(),
        chain.table,
        offset * rows.shape[1],
        mode="sum",
        per_sample_weights=(weights * share).flatten().to(chain.table.dtype),
        include_last_offset=True,
    )


def _texels(
    chain: MipChain, uv: Tensor, level: Tensor, first_rows: Tensor
) -> tuple[Tensor, Tensor]:
    """Return the rows (N, 8) int64 and weights (N, 8) float32 of a trilinear look-up."""
    last = int(math.log2(chain.size))
    level = level.clamp(0.0, float(last))
    fine = level.floor()
    blend = level - fine
    # Row 0 of the texture lies at v = 1.
    position = torch.stack([uv[:, 0], 1.0 - uv[:, 1]], dim=1).clamp(0.0, 1.0)
    rows: list[Tensor] = []
    weights: list[Tensor] = []
    for step, share in ((fine, 1.0 - blend), ((fine + 1).clamp(max=last), blend)):
        size = chain.size >> step.long()
        # The levels before one of this size hold 4/3 (S² − size²) texels.
        start = first_rows + (4 * (chain.size * chain.size - size * size)) // 3
        # Texel centres are at (i + 0.5) / size.
        at = position * size[:, None] - 0.5
        corner = at.floor()
        x_part, y_part = (at - corner).unbind(1)
        column, row = corner.long().unbind(1)
        top = size - 1
        left, right = column.clamp(min=0), torch.minimum(column + 1, top)
        upper, lower = row.clamp(min=0) * size, torch.minimum(row + 1, top) * size
        rows += [start + upper + left, start + upper + right]
        rows += [start + lower + left, start + lower + right]
        weights += [share * (1 - y_part) * (1 - x_part), share * (1 - y_part) * x_part]
        weights += [share * y_part * (1 - x_part), share * y_part * x_part]
    return torch.stack(rows, dim=1), torch.stack(weights, dim=1)


def _norm(level: Tensor, *, normalised: bool) -> Tensor:
    # The gradient of a norm at 0 is not defined; textures may start there.
    square = level.square().sum() if not normalised else level.square().mean()
    return (square + torch.finfo(square.dtype).tiny).sqrt()


def _is_power_of_two(number: int) -> bool:
    return number > 0 and number & (number - 1) == 0
