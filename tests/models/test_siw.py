"""SIW StyleGAN: sizes of the paper, styles by region against the literal equation, caching."""

from __future__ import annotations

import pytest
import torch

from models.siw import SiwGenerator, grow, one_hot
from models.siw_config import SiwConfig
from models.siw_layers import RegionConv, RegionMap, Styles

TINY = SiwConfig(
    size=32,
    label_size=32,
    encoder=(6, 8, 12),
    base=256,
    widest=12,
    style=10,
    code=4,
    mapping="regions",
    mapping_layers=2,
    mapping_width=12,
    spade=(16, 32),
    spade_hidden=5,
    spade_kernel=(3, 1),
    style_bias=True,
    colour_from=16,
    photo_encoder=6,
)
REGIONS = 17


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)
    torch.set_num_threads(1)


def halves(size: int, batch: int = 1) -> torch.Tensor:
    """Label 1 on the left, label 15 on the right."""
    labels = torch.full((batch, size, size), 15, dtype=torch.uint8)
    labels[:, :, : size // 2] = 1
    return labels


def random_labels(size: int, batch: int = 2) -> torch.Tensor:
    blocks = torch.randint(REGIONS, (batch, size // 8, size // 8), dtype=torch.uint8)
    return blocks.repeat_interleave(8, dim=1).repeat_interleave(8, dim=2)


def wake(network: SiwGenerator) -> SiwGenerator:
    """Give parameters that start at 0 something to say."""
    for parameter in network.parameters():
        if parameter.abs().max() == 0:
            torch.nn.init.normal_(parameter, std=0.3)
    return network


def test_defaults_are_the_papers():
    config = SiwConfig()
    assert (config.size, config.labels, config.label_size) == (1024, 17, 128)
    assert config.encoder[-1] == 256, "section 5.1: three blocks, 256×16² at the end"
    assert len(config.encoder) == 3
    assert config.resolutions[0] == 16
    assert (config.style, config.code) == (512, 512)
    assert (config.mapping, config.mapping_layers) == ("shared", 8)
    assert config.spade == (64, 128, 256)
    assert not config.style_bias
    # StyleGAN2's configuration F.
    assert [config.width(r) for r in (16, 32, 64, 128, 256, 512, 1024)] == [
        512, 512, 512, 256, 128, 64, 32,
    ]  # fmt: skip


def test_parameters_of_the_papers_generator():
    with torch.device("meta"):
        network = SiwGenerator(SiwConfig())
    groups = {
        name: sum(p.numel() for p in getattr(network, name).parameters())
        for name in ("encoder", "blocks", "colours", "spade")
    }
    # By hand: 3×3 kernels, affine layers from 512, biases.
    kernels = 9 * (17 * 64 + 64 * 128 + 128 * 256)
    affine = 513 * (17 + 64 + 128)
    assert groups["encoder"] == kernels + affine + 64 + 128 + 256
    assert groups == {
        "encoder": 486_097, "blocks": 14_891_104, "colours": 1_040_277, "spade": 4_191_488,
    }  # fmt: skip


def test_no_noise_input():
    names = [name for name, _ in SiwGenerator(TINY).named_parameters()]
    assert not [name for name in names if "noise" in name]
    assert not [n for n in names if n.startswith("colours") and "spade" in n]


@pytest.mark.parametrize("up", [False, True])
def test_one_convolution_equals_one_a_region_away_from_borders(up):
    size, out = 24, 48 if up else 24
    layer = RegionConv(6, 5, 3, 8, up=up, style_bias=True)
    torch.nn.init.normal_(layer.shift.weight)
    before = RegionMap.of(one_hot(halves(size), REGIONS), hard=True)
    after = RegionMap.of(one_hot(halves(out), REGIONS), hard=True)
    x, w = torch.randn(1, 6, size, size), torch.randn(1, REGIONS, 8)
    fast = layer(x, Styles.by_region(w), before, after)
    exact = layer(x, Styles.literal(w), before, after)
    difference = (fast - exact).abs().amax(dim=(0, 1, 2))
    # A kernel of 3 sees one neighbour; doubled, it and the filter after it see two pixels.
    radius = 2 if up else 1
    inside = torch.ones(out, dtype=torch.bool)
    inside[out // 2 - radius : out // 2 + radius] = False
    assert difference[inside].max() < 1e-4
    assert difference[~inside].min() > 1e-3, "at the border the two must differ"


def test_colours_by_region_are_exact_everywhere():
    layer = RegionConv(6, 3, 1, 8, colour=True)
    regions = RegionMap.of(one_hot(random_labels(16), REGIONS), hard=True)
    x, w = torch.randn(2, 6, 16, 16), torch.randn(2, REGIONS, 8)
    torch.testing.assert_close(
        layer(x, Styles.by_region(w), regions, regions),
        layer(x, Styles.literal(w), regions, regions),
        rtol=1e-4, atol=1e-5,
    )  # fmt: skip


def test_similarity_maps_blend_the_outputs_of_two_styles():
    """Equation 8, from the layer's own outputs with either style."""
    layer = RegionConv(6, 5, 3, 8)
    labels = one_hot(random_labels(16), REGIONS)
    regions = RegionMap.of(labels, hard=True)
    x, first, second = torch.randn(2, 6, 16, 16), torch.randn(2, 8), torch.randn(2, 8)
    similarity = torch.rand(2, REGIONS)
    pixels = torch.einsum("bk,bkhw->bhw", similarity, labels)[:, None]

    def before_activation(styles: Styles) -> torch.Tensor:
        y = layer(x, styles, regions, regions) / 2**0.5
        return torch.where(y < 0, y / 0.2, y)

    zero = before_activation(Styles.everywhere(first))
    one = before_activation(Styles.everywhere(second))
    mixed = before_activation(Styles.mixed(first, second, similarity))
    expected = zero * pixels + one * (1.0 - pixels)
    torch.testing.assert_close(mixed, expected, rtol=1e-3, atol=1e-4)


def test_spade_scales_and_shifts_by_the_label_map():
    layer = RegionConv(4, 4, 3, 6)
    regions = RegionMap.of(one_hot(halves(8), REGIONS), hard=True)
    x, styles = torch.randn(1, 4, 8, 8), Styles.everywhere(torch.randn(1, 6))
    gamma, beta = torch.full((1, 8, 8, 4), 2.0), torch.full((1, 8, 8, 4), 50.0 * 2**0.5)
    plain = layer(x, styles, regions, regions)
    changed = layer(x, styles, regions, regions, (gamma, beta))
    # γ = 2 and β = 50: all positive, so the leaky ReLU is the identity.
    unactivated = torch.where(plain < 0, plain / 0.2, plain)
    torch.testing.assert_close(changed, 2.0 * unactivated + 50.0 * 2**0.5, rtol=1e-4, atol=1e-4)


def test_same_style_in_all_regions_is_one_style_everywhere():
    network = wake(SiwGenerator(TINY))
    labels = one_hot(random_labels(32), REGIONS)
    w = torch.randn(2, 10)
    everywhere = network(labels, Styles.everywhere(w))
    by_region = network(labels, Styles.by_region(w[:, None].expand(-1, REGIONS, -1)))
    torch.testing.assert_close(by_region, everywhere, rtol=1e-3, atol=1e-4)
    assert everywhere.shape == (2, 3, 32, 32)


def test_looking_up_equals_multiplying():
    network = wake(SiwGenerator(TINY))
    labels, w = one_hot(random_labels(32), REGIONS), torch.randn(2, REGIONS, 10)
    multiplied = network(labels, Styles.by_region(w)).detach()
    with torch.no_grad():
        torch.testing.assert_close(network(labels, Styles.by_region(w)), multiplied)


def test_what_depends_on_labels_alone_is_computed_once_for_many_styles():
    network = wake(SiwGenerator(TINY))
    labels, w = one_hot(random_labels(32, batch=1), REGIONS), torch.randn(3, REGIONS, 10)
    calls: list[int] = []
    for module in network.spade.values():
        module.register_forward_hook(lambda *_: calls.append(1))
    with torch.no_grad():
        parts = network.prepare(labels)
        made = len(calls)
        many = network.paint(parts, Styles.by_region(w))
        assert len(calls) == made == 2
        for index in range(3):
            alone = network(labels, Styles.by_region(w[index : index + 1]))
            torch.testing.assert_close(many[index : index + 1], alone, rtol=1e-4, atol=1e-5)


def test_style_of_a_region_changes_that_region():
    network = wake(SiwGenerator(TINY))
    labels, w = halves(32), torch.randn(1, REGIONS, 10)
    other = w.clone()
    other[:, 15] += 3.0
    with torch.no_grad():
        change = network(one_hot(labels, REGIONS), Styles.by_region(other))
        change = change - network(one_hot(labels, REGIONS), Styles.by_region(w))
    hair = labels[0] == 15
    assert change[0][:, hair].abs().mean() > 3 * change[0][:, ~hair].abs().mean()


def test_constant_start_is_the_papers_comparison_and_stylegan2s_baseline():
    config = SiwConfig(size=32, label_size=32, start="constant", base=256, widest=16, spade=())
    assert config.resolutions == (4, 8, 16, 32)
    network = SiwGenerator(config)
    w = torch.randn(2, 512)
    one = network(one_hot(random_labels(32), REGIONS), Styles.everywhere(w))
    other = network(one_hot(random_labels(32), REGIONS), Styles.everywhere(w))
    # Without SPADE and encoder, labels do not matter.
    torch.testing.assert_close(one, other)


def test_portraits_need_not_be_square():
    network = SiwGenerator(TINY)
    labels = one_hot(random_labels(64)[:, :32], REGIONS)
    assert network(labels, Styles.by_region(torch.randn(2, REGIONS, 10))).shape == (2, 3, 32, 64)


def test_larger_network_starts_as_the_smaller_one_enlarged():
    small = wake(SiwGenerator(TINY))
    large = SiwGenerator(SiwConfig.from_plain({**TINY.to_plain(), "size": 64}))
    fresh = grow(large, small)
    assert all(".64." in name for name in fresh)
    labels = halves(64)
    w = torch.randn(1, REGIONS, 10)
    with torch.no_grad():
        grown = large(one_hot(labels, REGIONS), Styles.by_region(w))
        before = small(one_hot(halves(32), REGIONS), Styles.by_region(w))
    enlarged = torch.nn.functional.interpolate(before, scale_factor=2, mode="bilinear")
    torch.testing.assert_close(grown, enlarged, rtol=1e-4, atol=1e-5)


def test_bfloat16_paints_nearly_the_same_and_gradients_reach_everything():
    network = wake(SiwGenerator(TINY))
    labels = one_hot(random_labels(32), REGIONS)
    styles = Styles.mixed(
        torch.randn(2, REGIONS, 10), torch.randn(2, REGIONS, 10), torch.rand(2, REGIONS)
    )
    image = network(labels, styles)
    rough = network(labels, styles, torch.bfloat16)
    assert rough.dtype == torch.float32
    assert (rough - image).abs().mean() < 0.03 * image.abs().mean()
    rough.square().mean().backward()
    silent = [n for n, p in network.named_parameters() if p.grad is None or not p.grad.any()]
    assert silent == []


def test_configuration_survives_a_manifest():
    assert SiwConfig.from_plain({**TINY.to_plain(), "unknown": 1}) == TINY
    for wrong in ({"size": 100}, {"size": 16}, {"size": 64, "label_size": 128}):
        with pytest.raises(ValueError):
            SiwConfig(**wrong)
