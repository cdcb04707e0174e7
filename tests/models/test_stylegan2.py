"""StyleGAN2's layers against their definitions, written out with loops and per-sample kernels."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional

from models.stylegan2 import (
    EqualConv2d,
    EqualLinear,
    Mapping,
    ModulatedConv2d,
    ToColour,
    activate,
    downsample,
    fir,
    upsample,
)
from models.stylegan2_discriminator import Discriminator, DiscriminatorConfig, minibatch_deviation
from models.stylegan2_training import (
    PathLength,
    decay_of_half_life,
    discriminator_loss,
    follow,
    generator_loss,
    gradient_penalty,
    mix_layers,
)


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


def kernel_per_sample(layer: ModulatedConv2d, w: torch.Tensor) -> torch.Tensor:
    """StyleGAN2's own form: modulated and demodulated kernels, (B, out, in, k, k)."""
    weight = layer.weight / math.sqrt(layer.weight[0].numel())
    kernels = weight[None] * layer.scale(w)[:, None, :, None, None]
    if layer.demodulate:
        kernels = kernels / (kernels.square().sum(dim=(2, 3, 4), keepdim=True) + 1e-8).sqrt()
    return kernels


def zeros_between(x: torch.Tensor) -> torch.Tensor:
    batch, channels, height, width = x.shape
    spread = torch.zeros(batch, channels, 2 * height, 2 * width)
    spread[:, :, ::2, ::2] = x
    return spread


def filtered_by_loops(x: torch.Tensor, gain: float) -> torch.Tensor:
    """Valid correlation with [1, 3, 3, 1] ⊗ [1, 3, 3, 1] / 64 · gain."""
    taps = (1.0, 3.0, 3.0, 1.0)
    height, width = x.shape[-2] - 3, x.shape[-1] - 3
    out = torch.zeros(*x.shape[:2], height, width)
    for i, a in enumerate(taps):
        for j, b in enumerate(taps):
            out += a * b / 64.0 * gain * x[:, :, i : i + height, j : j + width]
    return out


@pytest.mark.parametrize("demodulate", [True, False])
def test_scale_convolve_demodulate_equals_kernels_modulated_per_sample(demodulate):
    layer = ModulatedConv2d(5, 7, 3, 6, demodulate=demodulate)
    x, w = torch.randn(3, 5, 8, 9), torch.randn(3, 6)
    expected = torch.cat(
        [
            functional.conv2d(x[i : i + 1], kernel, padding=1)
            for i, kernel in enumerate(kernel_per_sample(layer, w))
        ]
    )
    torch.testing.assert_close(layer(x, w), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kernel", [1, 3])
def test_doubling_convolution_is_zeros_between_pixels_then_kernel_then_filter(kernel):
    layer = ModulatedConv2d(4, 6, kernel, 5, up=True)
    x, w = torch.randn(2, 4, 5, 6), torch.randn(2, 5)
    # Generous zeros around: the order of kernel and filter then does not matter at the border.
    wide = functional.pad(zeros_between(x), (8, 8, 8, 8))
    convolved = torch.cat(
        [
            functional.conv2d(wide[i : i + 1], each, padding=kernel // 2)
            for i, each in enumerate(kernel_per_sample(layer, w))
        ]
    )
    # Two zeros before and one after, as StyleGAN2 aligns its filter.
    expected = filtered_by_loops(convolved, 4.0)[:, :, 6 : 6 + 10, 6 : 6 + 12]
    torch.testing.assert_close(layer(x, w), expected, rtol=1e-4, atol=1e-5)


def test_upsampling_is_zeros_between_pixels_then_the_filter():
    x = torch.randn(2, 3, 6, 5)
    padded = functional.pad(zeros_between(x), (2, 1, 2, 1))
    inside = (slice(None), slice(None), slice(2, -2), slice(2, -2))
    torch.testing.assert_close(upsample(x)[inside], filtered_by_loops(padded, 4.0)[inside])


def test_downsampling_is_the_filter_then_every_second_pixel():
    x = torch.randn(2, 3, 8, 6)
    expected = filtered_by_loops(functional.pad(x, (1, 1, 1, 1)), 1.0)[:, :, ::2, ::2]
    torch.testing.assert_close(downsample(x), expected)
    assert downsample(x).shape == (2, 3, 4, 3)


def test_halving_convolution_is_filter_then_stride():
    layer = EqualConv2d(3, 4, 3, down=True)
    x = torch.randn(1, 3, 8, 8)
    filtered = filtered_by_loops(functional.pad(x, (2, 2, 2, 2)), 1.0)
    weight = layer.weight / math.sqrt(27)
    expected = functional.conv2d(filtered, weight, stride=2)
    torch.testing.assert_close(layer(x), expected)
    assert layer(x).shape == (1, 4, 4, 4)


def test_filter_keeps_the_mean():
    x = torch.ones(1, 2, 9, 9)
    torch.testing.assert_close(fir(x, padding=0), torch.ones(1, 2, 6, 6))


def test_equalised_layers_keep_the_variance_and_learn_at_their_rate():
    layer = EqualLinear(400, 300, rate=0.01)
    x = torch.randn(500, 400)
    assert layer(x).std().item() == pytest.approx(0.01 * layer.weight.std().item(), rel=0.1)
    conv = EqualConv2d(40, 50, 3)
    y = conv(torch.randn(2, 40, 20, 20))[:, :, 2:-2, 2:-2]
    assert y.std().item() == pytest.approx(1.0, rel=0.1)
    assert activate(torch.randn(100_000)).square().mean().item() == pytest.approx(1.04, rel=0.05)


def test_demodulated_output_has_unit_variance_whatever_the_style():
    layer = ModulatedConv2d(32, 16, 3, 8)
    for scale in (0.1, 3.0):
        y = layer(torch.randn(4, 32, 16, 16), scale * torch.randn(4, 8))
        assert y[:, :, 2:-2, 2:-2].std().item() == pytest.approx(1.0, rel=0.15)


def test_mapping_looks_at_the_direction_of_a_code_only():
    mapping = Mapping(16, 24, layers=4)
    z = torch.randn(3, 16)
    assert mapping(z).shape == (3, 24)
    torch.testing.assert_close(mapping(7.0 * z), mapping(z))
    assert not torch.allclose(mapping(z), mapping(-z))


def test_colours_add_up_over_resolutions():
    to_colour = ToColour(8, 5)
    x, w, skip = torch.randn(2, 8, 8, 8), torch.randn(2, 5), torch.randn(2, 3, 4, 4)
    torch.testing.assert_close(
        to_colour(x, w, skip), to_colour(x, w, None) + upsample(skip), rtol=1e-5, atol=1e-6
    )


@pytest.mark.parametrize("up", [True, False])
def test_gradients_of_the_modulated_convolution(up):
    layer = ModulatedConv2d(2, 3, 3, 4, up=up).double()
    x = torch.randn(2, 2, 3, 3, dtype=torch.double, requires_grad=True)
    w = torch.randn(2, 4, dtype=torch.double, requires_grad=True)

    def run(x: torch.Tensor, w: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        # demodulation() keeps float32; here its formula in double.
        scale = layer.scale(w)
        energy = (weight / math.sqrt(18)).square().sum(dim=(2, 3))
        factor = torch.rsqrt(scale.square() @ energy.T + 1e-8)
        return layer.convolve(x * scale[:, :, None, None]) * factor[:, :, None, None]

    assert torch.autograd.gradcheck(lambda x, w: run(x, w, layer.weight), (x, w))
    torch.testing.assert_close(
        run(x, w, layer.weight), layer(x, w), rtol=1e-5, atol=1e-6, check_dtype=False
    )


def test_what_depends_on_weights_is_kept_until_they_change():
    layer = ModulatedConv2d(4, 5, 3, 6)
    x, w = torch.randn(1, 4, 6, 6), torch.randn(1, 6)
    with torch.inference_mode():
        before = layer(x, w)
    with torch.no_grad():
        torch.testing.assert_close(layer(x, w), before)
        layer.weight.add_(torch.randn_like(layer.weight))
        changed = layer(x, w)
    torch.testing.assert_close(changed, layer(x, w).detach())
    assert (changed - before).abs().max() > 0.1
    with torch.inference_mode():
        torch.testing.assert_close(layer(x, w), changed)
    # A fit of styles through fixed weights that were rendered with before.
    layer.requires_grad_(False)
    wanted = w.clone().requires_grad_()
    layer(x, wanted).sum().backward()
    assert wanted.grad.abs().sum() > 0


def test_minibatch_deviation_by_hand():
    x = torch.randn(4, 3, 2, 2)
    # Groups of 2 take every second image: (0, 2) and (1, 3).
    expected = [
        torch.stack([x[i], x[i + 2]]).var(dim=0, unbiased=False).add(1e-8).sqrt().mean()
        for i in (0, 1)
    ]
    found = minibatch_deviation(x, 2)
    assert found.shape == (4, 1, 2, 2)
    for i in range(4):
        torch.testing.assert_close(found[i], expected[i % 2].expand(1, 2, 2))
    assert minibatch_deviation(x[:1].expand(3, -1, -1, -1), 4).max() < 1e-3


def test_discriminator_gives_one_score_an_image_at_any_size():
    for size in (8, 32):
        config = DiscriminatorConfig(size=size, base=256, widest=16)
        assert Discriminator(config)(torch.randn(3, 3, size, size)).shape == (3, 1)
    with pytest.raises(ValueError, match="power of two"):
        DiscriminatorConfig(size=48)


def test_discriminator_of_the_paper_has_stylegan2s_parameters():
    # Configuration F at 1024²: 29 million parameters (Karras et al. 2020, table of sizes).
    network = Discriminator(DiscriminatorConfig())
    count = sum(p.numel() for p in network.parameters())
    assert count == 29_012_513


def test_gradient_penalty_of_a_linear_score_is_its_squared_norm():
    direction = torch.randn(3, 4, 4)
    images = torch.randn(2, 3, 4, 4, requires_grad=True)
    scores = (images * direction).sum(dim=(1, 2, 3))
    torch.testing.assert_close(gradient_penalty(scores, images), direction.square().sum())


def test_gradient_penalty_trains_the_discriminator():
    network = Discriminator(DiscriminatorConfig(size=8, base=64, widest=8))
    images = torch.randn(2, 3, 8, 8, requires_grad=True)
    gradient_penalty(network(images), images).backward()
    assert network.from_colour.weight.grad is not None
    assert network.from_colour.weight.grad.abs().sum() > 0


def test_path_length_of_a_linear_generator_is_its_jacobians():
    matrix = torch.randn(12, 5)
    w = torch.randn(4, 5, requires_grad=True)
    images = (w @ matrix.T).reshape(4, 3, 2, 2)
    noise = torch.randn(4, 3, 2, 2)
    penalty = PathLength(decay=0.99)
    lengths = (noise.reshape(4, 12) / 2.0 @ matrix).norm(dim=1)
    mean = 0.01 * lengths.mean()
    expected = (lengths - mean).square().mean()
    torch.testing.assert_close(penalty(images, w, noise), expected)
    torch.testing.assert_close(penalty.mean, mean)


def test_losses_pull_scores_apart():
    high, low = torch.full((4, 1), 3.0), torch.full((4, 1), -3.0)
    assert discriminator_loss(high, low) < discriminator_loss(low, high)
    assert generator_loss(high) < generator_loss(low)
    assert discriminator_loss(low * 0, low * 0).item() == pytest.approx(2 * math.log(2))


def test_running_average_follows_with_its_half_life():
    model, average = torch.nn.Linear(2, 2), torch.nn.Linear(2, 2)
    start = average.weight.detach().clone()
    decay = decay_of_half_life(32, 320)
    for _ in range(10):
        follow(average, model, decay)
    torch.testing.assert_close(average.weight, 0.5 * start + 0.5 * model.weight)


def test_layers_mix_from_a_crossing_on():
    generator = torch.Generator().manual_seed(0)
    first, second = torch.zeros(200, 2), torch.ones(200, 2)
    mixed = mix_layers(first, second, 6, 0.9, generator)[:, :, 0]
    assert (mixed[:, 0] == 0).all()
    assert (mixed.diff(dim=1) >= 0).all(), "once second, always second"
    assert mixed[:, -1].mean().item() == pytest.approx(0.9, abs=0.06)
    assert mix_layers(first, second, 6, 0.0, generator).abs().max() == 0
