"""The texture generator: StyleGAN2 with the body's spectral coordinates, one style a layer."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn import functional

from blender_addon.contract.errors import BadParameter, BodyMismatch
from models.body import load_body
from models.package import DEFAULT_LIBRARY
from models.spectral_texture import spectral_maps
from models.stylegan2 import ModulatedConv2d
from models.texture_generator import TextureGenerator, TextureGeneratorConfig

CONFIG = TextureGeneratorConfig(
    size=16, base=128, widest=8, style=6, code=5, mapping_layers=2, spectral_from=8
)


@pytest.fixture(scope="module")
def body():
    return load_body(DEFAULT_LIBRARY / "body-cc0")


@pytest.fixture(scope="module")
def maps(body):
    return spectral_maps(body, (8, 16, 256))


@pytest.fixture(scope="module")
def generator(maps):
    torch.manual_seed(0)
    network = TextureGenerator(CONFIG, maps[:2])
    for name, parameter in network.named_parameters():
        if name.endswith("strength"):
            torch.nn.init.constant_(parameter, 0.3)
    return network


@pytest.fixture(scope="module")
def w():
    return torch.randn(2, CONFIG.layers, CONFIG.style, generator=torch.Generator().manual_seed(1))


def looked_up(texture, uv):
    """Return (N, C) bilinear values of a texture (C, S, S) at UVs (N, 2), v up."""
    at = torch.stack([uv[:, 0], 1 - uv[:, 1]], dim=1) * 2 - 1
    found = functional.grid_sample(texture[None], at[None, None], align_corners=False)
    return found[0, :, 0].T


def test_spectral_maps_hold_the_vertices_values_on_both_sides_of_a_seam(body, maps):
    vertex = torch.zeros(len(body.uv), dtype=torch.int64)
    vertex[body.uv_faces.long().flatten()] = body.faces.long().flatten()
    twice = torch.bincount(vertex)[vertex] > 1
    seam, uv = vertex[twice], body.uv[twice]
    assert len(seam) > 100
    error = (looked_up(maps[2], uv) - body.spectral[seam]).abs().mean(dim=1)
    # Fingers' and toes' islands are narrower than a texel.
    assert error.median() < 0.01
    assert (error < 0.05).float().mean() > 0.95


def test_spectral_maps_are_the_same_bytes_at_any_time(body, maps):
    assert torch.equal(spectral_maps(body, (16,))[0], maps[1])
    assert maps[0].shape == (16, 8, 8)
    with pytest.raises(BodyMismatch, match="spectral"):
        spectral_maps(replace(body, spectral=None), (8,))


def test_the_papers_size_has_stylegan2s_parameters_and_the_spectral_channels():
    paper = TextureGenerator()
    assert paper.config.layers == 14
    assert paper.config.spectral_sizes == (64, 128, 256)
    count = sum(p.numel() for p in paper.parameters())
    # 8 × 512 × 513 of the mapping; the constant; and per layer what StyleGAN2 has at 256², where
    # 16 channels take the place of 3 and five convolutions receive 16 more.
    widths = {r: min(512, 32768 // r) for r in (4, 8, 16, 32, 64, 128, 256)}
    wanted = 8 * 512 * 513 + 512 * 16
    for r, width in widths.items():
        more = 16 if r >= 64 else 0
        wanted += _convolution(width + more, width) + (width * 16 + 513 * width + 16)
        if r < 256:
            wanted += _convolution(width + more, widths[2 * r])
    assert count == wanted
    assert count == pytest.approx(30.3e6, rel=0.001)


def _convolution(inputs, outputs):
    """Kernel, style's scale, bias and strength of the noise."""
    return 9 * inputs * outputs + 513 * inputs + outputs + 1


def test_every_parameter_and_the_style_of_every_layer_learns(generator, w):
    styles = w.clone().requires_grad_()
    texture = generator(styles)
    assert texture.shape == (2, 16, 16, 16)
    noise = torch.randn(texture.shape, generator=torch.Generator().manual_seed(2))
    generator.zero_grad()
    (texture * noise).sum().backward()
    names = [n for n, _ in generator.named_parameters() if not n.startswith("mapping")]
    dead = [n for n in names if not bool(generator.get_parameter(n).grad.any())]
    assert dead == []
    assert (styles.grad.abs().sum(dim=2) > 0).all()


@torch.no_grad()
def test_a_layers_style_acts_from_its_resolution_on(generator, w):
    other = w.clone()
    other[:, 2:] = w.flip(0)[:, 2:]
    assert torch.equal(generator(w, until=4), generator(other, until=4))
    assert not torch.allclose(generator(w), generator(other))
    alone = w.clone()
    alone[:, -1] = 0
    # The last style paints colours only: coarser ones do not change.
    assert torch.equal(generator(w, until=8), generator(alone, until=8))


@torch.no_grad()
def test_one_style_for_all_layers_is_spread_and_per_layer_ones_stay(generator, w):
    one = generator.mapping(torch.randn(2, 5))
    assert one.shape == (2, CONFIG.style)
    assert torch.equal(generator.spread(one), one[:, None].repeat(1, CONFIG.layers, 1))
    assert generator.spread(w) is w


def test_noise_is_fixed_and_can_be_given_and_optimised(generator, w):
    with torch.no_grad():
        assert torch.equal(generator(w), generator(w))
    noise = [each.clone().requires_grad_() for each in generator.noise()]
    assert [each.shape[-1] for each in noise] == [4, 8, 8, 16, 16]
    texture = generator(w, noise)
    assert torch.equal(texture.detach(), generator(w).detach())
    texture.square().sum().backward()
    assert all(bool(each.grad.any()) for each in noise)
    with pytest.raises(BadParameter, match="noise tensors"):
        generator(w, noise[:2])


def test_kernels_start_from_unit_gaussians_as_equalised_rates_want_it(generator):
    """Layers divide by √fan-in when they run: Adam then moves all of them alike."""
    kernels = [m.weight for m in generator.modules() if isinstance(m, ModulatedConv2d)]
    kernels += [m.affine.weight for m in generator.modules() if isinstance(m, ModulatedConv2d)]
    assert len(kernels) == 2 * (5 + 3)
    assert all(0.8 < float(k.detach().std()) < 1.2 for k in kernels)


@torch.no_grad()
def test_the_bodys_spectral_coordinates_reach_the_texture_and_are_not_in_the_state(generator, w):
    plain = TextureGenerator(CONFIG)
    plain.load_state_dict(generator.state_dict())
    assert torch.equal(plain(w, until=4), generator(w, until=4))
    assert not torch.allclose(plain(w), generator(w))
    with pytest.raises(BadParameter, match="spectral maps"):
        TextureGenerator(CONFIG, [torch.zeros(16, 8, 8)])


def test_styles_of_another_generator_and_a_missing_mapping_are_refused(generator):
    with pytest.raises(BadParameter, match="w of the shape"):
        generator(torch.zeros(1, 4, CONFIG.style))
    bare = TextureGenerator(replace(CONFIG, mapping_layers=0, noise=False))
    assert bare.noise() == []
    assert bare(torch.zeros(1, CONFIG.layers, CONFIG.style)).shape == (1, 16, 16, 16)
    with pytest.raises(BadParameter, match="no mapping"):
        bare.mapping(torch.zeros(1, 5))


def test_config_survives_a_manifest():
    assert TextureGeneratorConfig.from_plain({**CONFIG.to_plain(), "newer": 1}) == CONFIG
    with pytest.raises(ValueError, match="power of two"):
        replace(CONFIG, size=48)


def test_forward_stays_on_a_fake_cuda_device():
    with FakeTensorMode(), torch.device("cuda:0"):
        network = TextureGenerator(CONFIG)
        texture = network(network.spread(network.mapping(torch.zeros(3, 5))))
        assert texture.device == torch.device("cuda:0")
        assert texture.shape == (3, 16, 16, 16)
