"""Neural textures: levels, mip chains, look-up, and the dresser's input."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn import functional

from blender_addon.contract.errors import BadParameter
from models.raster import interpolate, rasterize, supersampled
from models.surface import SurfaceSamples, surface_samples
from models.texture import (
    OFF_BODY_UV,
    MipChain,
    NeuralTexture,
    dressing_features,
    gather_features,
    look_up_in_torch,
    sample,
)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def quad(depth: float = 2.0, tilt: float = 0.0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """A square of side 2 before the camera whose UV is 0…1, u to the right and v up."""
    vertices = torch.tensor(
        [[-1.0, 1, depth], [1, 1, depth + tilt], [1, -1, depth + tilt], [-1, -1, depth]]
    )
    faces = torch.tensor([[0, 1, 2], [0, 2, 3]])
    uv = torch.tensor([[0.0, 0], [1, 0], [1, 1], [0, 1]])
    return vertices[None], faces, uv[faces]


def camera(size: tuple[int, int], focal: float) -> torch.Tensor:
    return torch.tensor([[[focal, 0, size[1] / 2], [0, focal, size[0] / 2], [0, 0, 1]]])


def bumpy(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """A few separate random triangles with random UVs: seams everywhere."""
    generator = seeded(seed)
    middle = torch.rand(40, 1, 3, generator=generator) * torch.tensor([2.0, 2, 2]) + torch.tensor(
        [-1.0, -1, 1.5]
    )
    vertices = (middle + 0.4 * torch.randn(40, 3, 3, generator=generator)).view(1, -1, 3)
    faces = torch.arange(120).view(-1, 3)
    return vertices, faces, torch.rand(40, 3, 2, generator=generator)


# --- the texture's levels


def test_the_default_texture_is_the_papers():
    texture = NeuralTexture()
    assert [tuple(level.shape) for level in texture.levels] == [
        (16, size, size) for size in (8, 16, 32, 64, 128, 256, 512)
    ]


def test_assembling_sums_upsampled_levels():
    texture = NeuralTexture(3, 8, 32)
    for level, value in zip(texture.levels, (1.0, 2.0, 4.0), strict=True):
        level.data.fill_(value)
    torch.testing.assert_close(texture.assemble(), torch.full((3, 32, 32), 7.0))

    parts = [torch.randn(level.shape, generator=seeded(1)) for level in texture.levels]
    for level, part in zip(texture.levels, parts, strict=True):
        level.data.copy_(part)
    total = parts[0]
    for part in parts[1:]:
        total = part + functional.interpolate(total[None], scale_factor=2, mode="bilinear")[0]
    torch.testing.assert_close(texture.assemble(), total)


def test_every_level_gets_a_gradient():
    texture = NeuralTexture(2, 8, 32)
    texture.assemble().square().sum().backward()
    texture.assemble().sum().backward()
    assert all((level.grad != 0).all() for level in texture.levels)


def test_the_mipmap_penalty_has_the_papers_weights():
    texture = NeuralTexture(1)
    for level in texture.levels:
        level.data.fill_(1.0)
    expected = 1 * 64 + 2 * 128 + 4 * 256 + 8 * 512
    assert texture.mipmap_penalty().item() == pytest.approx(expected, rel=1e-5)
    assert texture.mipmap_penalty(normalised=True).item() == pytest.approx(15, rel=1e-5)


def test_the_mipmap_penalty_has_a_gradient_where_textures_start():
    texture = NeuralTexture(1)
    texture.mipmap_penalty().backward()
    assert all(level.grad is None or level.grad.isfinite().all() for level in texture.levels)


@pytest.mark.parametrize("sizes", [(8, 500), (64, 32), (0, 8)])
def test_sizes_that_are_no_powers_of_two_are_refused(sizes):
    with pytest.raises(BadParameter):
        NeuralTexture(4, *sizes)


# --- mip chains


def test_a_constant_texture_is_constant_at_every_level_and_place():
    chain = MipChain.build(torch.full((3, 64, 64), 2.5))
    assert chain.table.shape == (chain.rows, 3) == (64 * 64 + 1365, 3)
    uv = torch.rand(200, 2, generator=seeded()) * 1.2 - 0.1
    level = torch.rand(200, generator=seeded(1)) * 9 - 1
    torch.testing.assert_close(sample(chain, uv, level), torch.full((200, 3), 2.5))


def test_a_checker_of_single_texels_is_its_mean_from_the_first_coarser_level_on():
    checker = (torch.arange(32)[:, None] + torch.arange(32)) % 2
    chain = MipChain.build(checker[None].float())
    uv = torch.rand(100, 2, generator=seeded())
    for level in (1.0, 1.7, 3.0, 5.0, 8.0):
        values = sample(chain, uv, torch.full((100,), level))
        torch.testing.assert_close(values, torch.full((100, 1), 0.5))
    sharp = sample(chain, uv, torch.zeros(100))
    assert sharp.std() > 0.15
    # Half-way to level 1, half the contrast.
    torch.testing.assert_close(
        sample(chain, uv, torch.full((100,), 0.5)) - 0.5, (sharp - 0.5) / 2, rtol=0, atol=1e-6
    )


def test_v_points_up_and_u_to_the_right():
    texture = torch.zeros(2, 8, 8)
    texture[0, 0] = 1.0  # the top row
    texture[1, :, 0] = 1.0  # the left column
    chain = MipChain.build(texture)
    corners = torch.tensor([[0.0, 1.0], [1.0, 1.0], [0.0, 0.0], [1.0, 0.0]])
    expected = torch.tensor([[1.0, 1], [1, 0], [0, 1], [0, 0]])
    assert torch.equal(sample(chain, corners, torch.zeros(4)), expected)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 1000), size=st.sampled_from([1, 2, 16, 64]), level=st.integers(0, 6))
def test_looking_up_a_level_is_sampling_the_shrunk_image(seed, size, level):
    """Against torch's grid_sample, which knows neither tables nor v up."""
    image = torch.randn(5, size, size, generator=seeded(seed))
    uv = torch.rand(50, 2, generator=seeded(seed + 1))
    shrunk = functional.avg_pool2d(image[None], min(2**level, size))
    grid = torch.stack([uv[:, 0] * 2 - 1, 1 - uv[:, 1] * 2], dim=1)[None, None]
    expected = functional.grid_sample(
        shrunk, grid, mode="bilinear", padding_mode="border", align_corners=False
    )
    values = sample(MipChain.build(image), uv, torch.full((50,), float(level)))
    torch.testing.assert_close(values, expected[0, :, 0].T, rtol=0, atol=1e-4)


def random_lookup(chain: MipChain, textures: int, seed: int = 0) -> tuple:
    uv = torch.rand(300, 2, generator=seeded(seed))
    level = torch.rand(300, generator=seeded(seed + 1)) * 7 - 0.5
    counts = torch.randint(1, 5, (300,), generator=seeded(seed + 2)).cumsum(0)
    offset = torch.cat([torch.zeros(1).long(), counts[counts < 300], torch.tensor([300])])
    which = torch.randint(0, textures, (len(offset) - 1,), generator=seeded(seed + 3))
    return chain, uv, level, offset, (which * chain.rows).int(), 0.25


def test_the_kernel_and_its_gradient_equal_plain_torch():
    from models.texture import _look_up

    textures = torch.randn(3, 16, 32, 32, generator=seeded())
    gradients, values = [], []
    for look_up in (_look_up, look_up_in_torch):
        leaf = textures.clone().requires_grad_()
        result = look_up(*random_lookup(MipChain.build(leaf), 3))
        weights = torch.randn(result.shape, generator=seeded(9))
        (result * weights).sum().backward()
        values.append(result.detach())
        gradients.append(leaf.grad)
    torch.testing.assert_close(values[0], values[1], rtol=0, atol=1e-5)
    torch.testing.assert_close(gradients[0], gradients[1], rtol=0, atol=1e-5)
    assert gradients[0].abs().sum() > 0


def test_the_gradient_of_a_look_up_is_right():
    texture = torch.randn(2, 8, 8, dtype=torch.float64, generator=seeded()).requires_grad_()
    uv = torch.rand(9, 2, generator=seeded(1))
    level = torch.tensor([0.0, 0.4, 1.0, 1.5, 2.0, 2.9, 3.0, 5.0, -1.0])
    assert torch.autograd.gradcheck(
        lambda t: sample(MipChain.build(t, torch.float64), uv.double(), level.double()), (texture,)
    )


def test_bfloat16_chains_give_nearly_the_same():
    texture = torch.randn(16, 32, 32, generator=seeded())
    uv, level = torch.rand(50, 2, generator=seeded(1)), torch.linspace(0, 5, 50)
    exact = sample(MipChain.build(texture), uv, level)
    rounded = sample(MipChain.build(texture, torch.bfloat16), uv, level)
    assert rounded.dtype == torch.bfloat16
    torch.testing.assert_close(rounded.float(), exact, rtol=0, atol=0.03)


def test_chains_of_odd_sizes_are_refused():
    for shape in ((3, 48, 48), (3, 32, 64)):
        with pytest.raises(BadParameter):
            MipChain.build(torch.zeros(shape))


# --- the surface as the camera sees it


def test_the_level_of_detail_is_that_of_the_projected_texels():
    """A square facing the camera: texels per pixel are known."""
    size, s = (40, 40), 2
    for focal in (10.0, 37.0, 160.0):
        vertices, faces, corner_uv = quad(depth=2.0)
        samples = surface_samples(
            vertices, faces, corner_uv, camera(size, focal), size, supersampling=s
        )
        pixels_across = 2 * focal / 2.0 * s
        expected = torch.full_like(samples.footprint, -math.log2(pixels_across))
        torch.testing.assert_close(samples.footprint, expected, rtol=0, atol=1e-3)


def test_the_footprint_is_the_jacobian_of_uv_on_screen():
    """Against finite differences of the interpolated UV, on a tilted and skewed surface."""
    size = (60, 60)
    vertices, faces, corner_uv = quad(depth=1.5, tilt=2.0)
    K = camera(size, 40.0)
    samples = surface_samples(vertices, faces, corner_uv, K, size, supersampling=1)
    uv = interpolate(rasterize(vertices, faces, K, size), corner_uv.double())[0]
    dx, dy = uv[1:-1, 2:] - uv[1:-1, :-2], uv[2:, 1:-1] - uv[:-2, 1:-1]
    determinant = (dx[..., 0] * dy[..., 1] - dx[..., 1] * dy[..., 0]).abs() / 4
    measured = torch.zeros(size, dtype=torch.float64)
    measured[1:-1, 1:-1] = 0.5 * determinant.log2()
    ours = torch.full(size, float("nan")).flatten()
    ours[samples.pixel] = samples.footprint
    inner = (ours.view(size).isfinite().float()[None, None], torch.ones(1, 1, 5, 5))
    inner = functional.conv2d(*inner, padding=2)[0, 0] == 25
    assert inner.sum() > 200
    torch.testing.assert_close(ours.view(size)[inner].double(), measured[inner], rtol=0, atol=0.02)


def test_seams_and_silhouettes_do_not_disturb_the_level():
    """Every sample's level depends on its own face only: alone, the face gives the same."""
    size = (30, 30)
    vertices, faces, corner_uv = bumpy()
    K = camera(size, 25.0)
    whole = surface_samples(vertices, faces, corner_uv, K, size, supersampling=1)
    face = rasterize(vertices, faces, K, size).face.flatten()[whole.pixel]
    shown = face.unique()
    assert len(shown) > 10
    for index in shown[:10].tolist():
        one = surface_samples(
            vertices, faces[index : index + 1], corner_uv[index : index + 1], K, size,
            supersampling=1,
        )  # fmt: skip
        shared = torch.isin(one.pixel, whole.pixel[face == index])
        assert torch.equal(one.footprint[shared], whole.footprint[face == index])
        assert torch.equal(one.uv[shared], whole.uv[face == index])


def test_samples_are_the_rasterisers_sub_pixels_grouped_by_pixel():
    size, s = (14, 18), 3
    vertices, faces, corner_uv = bumpy(4)
    K = camera(size, 15.0)
    samples = surface_samples(vertices, faces, corner_uv, K, size, supersampling=s)
    fragments = rasterize(vertices, faces, supersampled(K, s), (size[0] * s, size[1] * s))
    uv = interpolate(fragments, corner_uv)[0]
    assert samples.offset[-1] == fragments.covered.sum() == len(samples.uv)
    for index in range(0, len(samples.pixel), 7):
        row, column = divmod(int(samples.pixel[index]), size[1])
        block = slice(row * s, row * s + s), slice(column * s, column * s + s)
        seen = fragments.covered[0][block]
        mine = samples.uv[samples.offset[index] : samples.offset[index + 1]]
        torch.testing.assert_close(mine, uv[block][seen], rtol=0, atol=1e-6)
        assert samples.depth[0, row, column] == fragments.depth[0][block].min()
    empty = torch.ones(size).flatten()
    empty[samples.pixel] = 0
    assert samples.depth.flatten()[empty.bool()].isinf().all()


def test_packed_samples_give_nearly_the_same_features():
    size = (24, 20)
    vertices, faces, corner_uv = bumpy(2)
    samples = surface_samples(vertices, faces, corner_uv, camera(size, 20.0), size)
    packed = samples.pack()
    assert packed["uv"].dtype == packed["footprint"].dtype == torch.uint16
    again = SurfaceSamples.unpack(packed)
    assert again.shape == samples.shape
    assert torch.equal(again.pixel, samples.pixel)
    assert torch.equal(again.offset, samples.offset)
    assert torch.equal(again.depth, samples.depth)
    torch.testing.assert_close(again.uv, samples.uv, rtol=0, atol=1e-5)
    torch.testing.assert_close(again.footprint, samples.footprint, rtol=0, atol=2e-4)


# --- the dresser's input


def test_the_fused_path_equals_the_path_with_gradients():
    size = (33, 47)
    vertices, faces, corner_uv = bumpy(1)
    batch = torch.cat([vertices, vertices + torch.tensor([0.1, -0.2, 0.5])])
    K = camera(size, 40.0).expand(2, -1, -1)
    textures = torch.randn(2, 16, 64, 64, generator=seeded())
    which = torch.tensor([1, 0])
    chain = MipChain.build(textures)
    trained = MipChain.build(textures.clone().requires_grad_())
    for s in (1, 2, 3):
        arguments = (batch, faces, corner_uv, K, size)
        fused = dressing_features(*arguments, chain, texture=which, supersampling=s)
        slow = dressing_features(*arguments, trained, texture=which, supersampling=s)
        assert slow.features.requires_grad
        assert not fused.features.requires_grad
        for name in ("features", "coverage", "depth"):
            torch.testing.assert_close(
                getattr(fused, name), getattr(slow, name).detach(), rtol=0, atol=1e-5
            )
        assert fused.features.shape == (2, 18, *size)
        assert fused.features.is_contiguous(memory_format=torch.channels_last)


def test_each_image_wears_its_own_texture_and_only_that_gets_a_gradient():
    size = (12, 12)
    vertices, faces, corner_uv = quad()
    textures = torch.stack([torch.full((4, 8, 8), value) for value in (1.0, 2.0, 3.0)])
    leaf = textures.requires_grad_()
    result = dressing_features(
        vertices.expand(2, -1, -1), faces, corner_uv, camera(size, 40.0).expand(2, -1, -1), size,
        MipChain.build(leaf), texture=torch.tensor([2, 0]),
    )  # fmt: skip
    assert (result.features[0, :4] == 3).all()
    assert (result.features[1, :4] == 1).all()
    result.features.sum().backward()
    assert (leaf.grad[1] == 0).all()
    # Every pixel hands its gradient of 1 on to its texture, whatever the filtering.
    torch.testing.assert_close(leaf.grad[0].sum(), torch.tensor(4.0 * 144))


def test_channels_mean_what_they_say():
    size = (16, 16)
    vertices, faces, corner_uv = quad(depth=2.0)
    # The square covers pixels 4 … 12 but for a quarter of a pixel on each side.
    chain = MipChain.build(torch.full((3, 8, 8), 5.0))
    result = dressing_features(vertices, faces, corner_uv, camera(size, 7.5), size, chain)
    coverage = result.coverage[0, 0]
    assert set(coverage.unique().tolist()) <= {0.0, 0.25, 0.5, 1.0}
    assert (coverage[5:11, 5:11] == 1).all()
    assert (coverage[:4] == 0).all()
    features = result.features[0]
    torch.testing.assert_close(features[:3], 5 * coverage.expand(3, -1, -1))
    assert (features[3:, coverage == 0] == OFF_BODY_UV).all()
    inside = features[3:, coverage == 1]
    assert inside.abs().max() < 1
    # u rises to the right, v falls downwards.
    assert (features[3, 8, 6:11].diff() > 0).all()
    assert (features[4, 6:11, 8].diff() < 0).all()
    assert (result.depth[0][coverage > 0] == 2.0).all()
    assert result.depth[0][coverage == 0].isinf().all()


def test_an_empty_view_gives_an_empty_input():
    size = (8, 8)
    vertices, faces, corner_uv = quad(depth=-2.0)
    texture = torch.ones(2, 8, 8, requires_grad=True)
    for chain in (MipChain.build(texture), MipChain.build(texture.detach())):
        result = dressing_features(vertices, faces, corner_uv, camera(size, 8.0), size, chain)
        assert (result.features[:, :2] == 0).all()
        assert (result.features[:, 2:] == OFF_BODY_UV).all()
        assert (result.coverage == 0).all()
        assert result.depth.isinf().all()


def test_degenerate_uvs_do_no_harm():
    size = (8, 8)
    vertices, faces, corner_uv = quad()
    chain = MipChain.build(torch.rand(4, 16, 16, generator=seeded()))
    for flat in (torch.zeros_like(corner_uv), corner_uv * torch.tensor([1.0, 0.0])):
        result = dressing_features(vertices, faces, flat, camera(size, 8.0), size, chain)
        assert result.features.isfinite().all()


def test_cached_samples_train_a_texture_to_match_an_image():
    """The way of the training: samples once, then steps that look up and go back."""
    size = (24, 24)
    vertices, faces, corner_uv = quad(depth=2.0, tilt=0.5)
    samples = surface_samples(vertices, faces, corner_uv, camera(size, 20.0), size)
    wanted = MipChain.build(torch.rand(4, 32, 32, generator=seeded()))
    target = gather_features(samples, wanted).features
    texture = NeuralTexture(4, 8, 32)
    optimiser = torch.optim.Adam(texture.parameters(), lr=0.05)
    losses = []
    for _ in range(60):
        features = gather_features(samples, MipChain.build(texture.assemble())).features
        loss = (features - target).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] / 50


def test_rendering_works_in_inference_mode_on_a_prebuilt_chain():
    size = (8, 8)
    vertices, faces, corner_uv = quad()
    with torch.inference_mode():
        chain = MipChain.build(torch.ones(16, 8, 8))
        first = dressing_features(vertices, faces, corner_uv, camera(size, 8.0), size, chain)
        again = dressing_features(vertices, faces, corner_uv, camera(size, 8.0), size, chain)
    assert torch.equal(first.features, again.features)


def test_the_dressers_input_passes_on_a_fake_gpu():
    with FakeTensorMode():
        gpu = {"device": "cuda:0"}
        chain = MipChain.build(torch.empty(16, 32, 32, **gpu))
        result = dressing_features(
            torch.empty(2, 9, 3, **gpu),
            torch.empty(5, 3, dtype=torch.int32, **gpu),
            torch.empty(5, 3, 2, **gpu),
            torch.empty(2, 3, 3, **gpu),
            (20, 24),
            chain,
        )
        assert result.features.shape == (2, 18, 20, 24)
        assert result.features.device.type == "cuda"
