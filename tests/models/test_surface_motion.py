"""Samples that move with mesh and camera: the rasteriser's values, and true slopes."""

from __future__ import annotations

import pytest
import torch

from models.surface import surface_samples
from models.surface_motion import moving_samples
from models.texture import MipChain, NeuralTexture, gather_features, look_up_in_torch, sample

SIZE = (24, 32)
FACES = torch.tensor([[0, 1, 2], [0, 2, 3]])
UV = torch.tensor([[0.1, 0.1], [0.9, 0.1], [0.9, 0.9], [0.1, 0.9]])
CORNER_UV = UV[FACES]
K = torch.tensor([[[30.0, 0.0, 16.0], [0.0, 30.0, 12.0], [0.0, 0.0, 1.0]]])


def leaning_quad() -> torch.Tensor:
    """Return a plane that fills the image and leans away: perspective matters."""
    plane = torch.tensor([[-4.0, 4.0], [4.0, 4.0], [4.0, -4.0], [-4.0, -4.0]])
    depth = 4.0 + plane @ torch.tensor([0.25, -0.3])
    return torch.cat([plane, depth[:, None]], dim=1)[None]


def test_values_are_the_rasterisers():
    generator = torch.Generator().manual_seed(0)
    vertices = leaning_quad() + 0.3 * torch.randn(2, 4, 3, generator=generator)
    vertices[1, :, 0] += 2.5
    intrinsics = K.expand(2, 3, 3).contiguous()
    still = surface_samples(vertices, FACES, CORNER_UV, intrinsics, SIZE)
    moving = moving_samples(vertices, FACES, CORNER_UV, intrinsics, SIZE)
    assert torch.equal(still.pixel, moving.pixel)
    assert torch.equal(still.offset, moving.offset)
    assert torch.equal(still.footprint, moving.footprint)
    assert torch.equal(still.depth, moving.depth)
    assert torch.allclose(still.uv, moving.uv, atol=1e-5)


@pytest.mark.parametrize("axis", [0, 1, 2], ids=["sideways", "up", "away"])
def test_slopes_in_the_vertices_are_those_of_drawing_anew(axis):
    shift = torch.zeros(3, requires_grad=True)
    weights = torch.rand(4 * SIZE[0] * SIZE[1], 2, generator=torch.Generator().manual_seed(3))

    def total(offset: torch.Tensor) -> torch.Tensor:
        vertices = leaning_quad() + offset
        samples = moving_samples(vertices, FACES, CORNER_UV, K, SIZE)
        # A plane: which of its two faces a pixel sees makes no difference.
        return (samples.uv * weights).sum()

    (slope,) = torch.autograd.grad(total(shift), shift)
    step = torch.zeros(3)
    step[axis] = 5e-3
    with torch.no_grad():
        expected = (total(step) - total(-step)) / 1e-2
    assert float(slope[axis]) == pytest.approx(float(expected), rel=2e-3)


def test_slopes_in_the_focal_length_are_those_of_drawing_anew():
    def total(factor: torch.Tensor) -> torch.Tensor:
        intrinsics = K * torch.stack([factor, factor, torch.ones(())]).diag().where(
            torch.eye(3, dtype=torch.bool), torch.ones(3, 3)
        )
        return moving_samples(leaning_quad(), FACES, CORNER_UV, intrinsics, SIZE).uv[:, 1].sum()

    factor = torch.ones((), requires_grad=True)
    (slope,) = torch.autograd.grad(total(factor), factor)
    with torch.no_grad():
        expected = (total(torch.tensor(1.005)) - total(torch.tensor(0.995))) / 0.01
    assert float(slope) == pytest.approx(float(expected), rel=2e-3)


def test_faces_seen_edge_on_give_no_wild_slopes():
    plane = [[-1.0, 0.006, 2.0], [1.0, 0.006, 2.0], [1.0, 0.0, 4.0], [-1.0, 0.0, 4.0]]
    vertices = torch.tensor([plane]).requires_grad_()
    samples = moving_samples(vertices, FACES, CORNER_UV, K, SIZE, supersampling=8)
    assert len(samples.uv)
    (slope,) = torch.autograd.grad(samples.uv.sum(), vertices)
    assert torch.isfinite(slope).all()


@pytest.mark.parametrize("channels", [3, 16])
def test_the_look_ups_slope_along_uv_is_the_reference_ones(channels):
    generator = torch.Generator().manual_seed(4)
    chain = MipChain.build(torch.randn(channels, 16, 16, generator=generator))
    # Some lie outside of the square, where the look-up clamps and has no slope.
    uv = torch.rand(300, 2, generator=generator) * 1.2 - 0.1
    level = torch.rand(300, generator=generator) * 6 - 1
    offset = torch.arange(301)
    towards = torch.randn(300, channels, generator=generator)
    slopes = []
    for look_up in (
        lambda at: sample(chain, at, level),
        lambda at: look_up_in_torch(
            chain, at, level, offset, torch.zeros(300, dtype=torch.int32), 1.0
        ),
    ):
        at = uv.clone().requires_grad_()
        slopes.append(torch.autograd.grad((look_up(at) * towards).sum(), at)[0])
    assert torch.allclose(*slopes, atol=1e-3, rtol=1e-4)
    assert slopes[0].abs().max() > 1


def test_texture_and_mesh_learn_from_the_same_picture():
    texture = NeuralTexture(16, smallest=8, largest=16, deviation=1.0)
    vertices = leaning_quad().requires_grad_()
    samples = moving_samples(vertices, FACES, CORNER_UV, K, SIZE)
    seen = gather_features(samples, MipChain.build(texture.assemble()))
    seen.features.square().mean().backward()
    assert vertices.grad is not None
    assert vertices.grad.abs().max() > 0
    assert all(level.grad is not None and level.grad.any() for level in texture.levels)
