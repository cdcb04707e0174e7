"""One step of a SOF's training: what rays and points of the field pay.

The paper's loss is the cross-entropy of what marched rays see. Synthetic heads also know where
their surface is: marched rays are told how far they end from it, and the field itself is told what
lies on it and that nothing lies before it. These terms are ours, and what makes a SOF learn within
an hour on two cores.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.rays import Rays, sphere_chord
from models.sof import BACKGROUND, Sof

if TYPE_CHECKING:
    from models.sof import Marched, SofConfig
    from models.sof_field import FieldWeights
    from training.sof_data import RayBatch
    from training.sof_recipe import SofWeights

DEPTH_UNIT = 0.01
"""Metres that count as 1 in the depth's loss."""
TAUGHT_STEPS = 4
"""The depth's loss looks at so many last steps: rays that arrive early may end early."""
ON_SURFACE = 0.004
"""Metres, standard deviation along the ray of the points that are taken to lie on the surface:
marched rays miss it by as much."""
BEFORE_SURFACE = 0.015
"""Metres before the surface from where on there is nothing."""


class SofModel(nn.Module):
    """A SOF and the codes of the heads that it is trained on.

    Args:
        config: of the SOF.
        heads: number of codes.
        deviation: of their first values.
    """

    def __init__(self, config: SofConfig, heads: int, deviation: float) -> None:
        super().__init__()
        self.sof = Sof(config)
        self.codes = nn.Parameter(deviation * torch.randn(heads, config.code))


def losses(
    sof: Sof,
    codes: Tensor,
    batch: RayBatch,
    weights: SofWeights,
    label_weights: Tensor,
    *,
    marched: float,
    noise: Tensor,
    dtype: torch.dtype | None = None,
) -> dict[str, Tensor]:
    """Return the unweighted terms of a step by their names in `SofWeights`.

    Args:
        sof: the modules.
        codes: (B, code) of the batch's heads.
        batch: its rays.
        weights: terms without a weight are left out.
        label_weights: (labels,) of the cross-entropies.
        marched: share of each view's rays that are marched.
        noise: (B, V, N, 2) uniform 0…1: places of the points beside the surface.
        dtype: that Φ computes in.
    """
    field = sof.field(codes, dtype)
    terms: dict[str, Tensor] = {}
    count = max(round(marched * batch.labels.shape[2]), 1)
    if weights.labels or weights.depth or weights.bounds:
        origin = batch.origin.expand(-1, -1, count, -1).flatten(1, 2)
        rays = Rays(origin, batch.direction[:, :, :count].flatten(1, 2))
        labels = batch.labels[:, :, :count].flatten(1, 2)
        distance = batch.distance[:, :, :count].flatten(1, 2)
        terms |= _marched(sof.march(field, rays), labels, distance, weights, label_weights)
    if weights.surface or weights.empty:
        terms |= _points(sof, field, batch, weights, label_weights, noise)
    if weights.code:
        terms["code"] = codes.square().mean()
    return terms


def _marched(
    marched: Marched, labels: Tensor, distance: Tensor, weights: SofWeights, label_weights: Tensor
) -> dict[str, Tensor]:
    hit = marched.chord.hit
    terms: dict[str, Tensor] = {}
    if weights.labels:
        terms["labels"] = functional.cross_entropy(marched.logits[hit], labels[hit], label_weights)
    if weights.depth:
        solid = hit & (distance > 0.0)
        off = (marched.path[-TAUGHT_STEPS:] - distance)[:, solid] / DEPTH_UNIT
        terms["depth"] = _mean(functional.huber_loss(off, torch.zeros_like(off), reduction="none"))
    if weights.bounds:
        before = functional.relu(marched.chord.near - marched.distance)
        terms["bounds"] = _mean(before[hit].square())
    return terms


def _points(
    sof: Sof,
    field: FieldWeights,
    batch: RayBatch,
    weights: SofWeights,
    label_weights: Tensor,
    noise: Tensor,
) -> dict[str, Tensor]:
    chord = sphere_chord(Rays(batch.origin, batch.direction), sof.config.radius)
    solid = batch.distance > 0.0
    end = torch.where(solid, batch.distance - BEFORE_SURFACE, chord.far)
    empty = chord.near + noise[..., 0] * (end - chord.near).clamp_min(0.0)
    # Box–Muller would do as well; the inverse of the normal distribution is one call.
    spread = ON_SURFACE * torch.special.ndtri(noise[..., 1].clamp(1e-3, 1.0 - 1e-3))
    # Where nothing is, the second point is one more that must be background.
    anywhere = chord.near + noise[..., 1] * (chord.far - chord.near)
    surface = torch.where(solid, batch.distance + spread, anywhere)
    distances = torch.cat([surface, empty], dim=2)
    direction = torch.cat([batch.direction, batch.direction], dim=2)
    points = (batch.origin + distances[..., None] * direction).flatten(1, 2)
    logits = sof.classify(sof.describe(field, points)).view(*distances.shape, -1)
    on, before = logits.chunk(2, dim=2)
    hit = chord.hit
    terms: dict[str, Tensor] = {}
    if weights.surface:
        terms["surface"] = functional.cross_entropy(on[hit], batch.labels[hit], label_weights)
    if weights.empty:
        nothing = torch.full_like(batch.labels[hit], BACKGROUND)
        terms["empty"] = functional.cross_entropy(before[hit], nothing)
    return terms


def _mean(values: Tensor) -> Tensor:
    """Return the mean, 0 of nothing."""
    return values.sum() / max(values.numel(), 1)
