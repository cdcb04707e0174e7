"""The wardrobe's R: output of twice the input's side, grown in place; the body always in front."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from blender_addon.contract.errors import BadParameter
from models.dresser import Dresser, DresserConfig, grown
from models.dresser_package import load_dresser
from models.package import DEFAULT_LIBRARY

SMALL = {
    "encoder": "tu-tf_mobilenetv3_small_minimal_100",
    "shell": False,
    "depth": 3,
    "decoder": (12, 8, 8),
    "features": 8,
}


def config(**changes) -> DresserConfig:
    return DresserConfig(**{**SMALL, **changes})


@pytest.fixture(scope="module")
def lower():
    torch.manual_seed(0)
    dresser = Dresser(config())
    for head in (dresser.rgb_head, dresser.mask_head):
        torch.nn.init.normal_(head[-1].weight)
    return dresser.eval()


@pytest.fixture(scope="module")
def finer(lower):
    torch.manual_seed(1)
    dresser = Dresser(config(upscale=2, fade=0.0))
    dresser.load_state_dict(grown(lower.state_dict(), dresser))
    return dresser.eval()


@pytest.fixture(scope="module")
def features():
    return torch.randn(2, 18, 16, 24, generator=torch.Generator().manual_seed(2))


@torch.no_grad()
def test_a_dresser_that_has_just_grown_gives_the_lower_ones_output_enlarged(lower, finer, features):
    for before, after in zip(lower(features), finer(features), strict=True):
        wanted = functional.interpolate(before, scale_factor=2, mode="bilinear")
        torch.testing.assert_close(after, wanted, rtol=0, atol=1e-6)


@torch.no_grad()
def test_the_fade_moves_from_the_lower_branch_to_the_new_one(finer, features):
    outputs = []
    for fade in (0.0, 0.5, 1.0):
        finer.fade = fade
        outputs.append(torch.cat(finer(features), dim=1))
        assert finer.faded_config.fade == fade
    finer.fade = 0.0
    torch.testing.assert_close(outputs[1], (outputs[0] + outputs[2]) / 2)
    # The new branch starts as what the heads see in enlarged features: near, but not the same.
    assert 0 < (outputs[2] - outputs[0]).abs().mean() < 0.1


def test_at_the_end_of_the_fade_only_the_new_branch_learns(finer, features):
    finer.fade = 1.0
    finer.zero_grad()
    rgb, masks = finer(features)
    (rgb.mean() + masks.mean()).backward()
    finer.fade = 0.0
    assert all(p.grad is not None for p in finer.enlarger.parameters())
    assert all(p.grad is None for p in finer.rgb_head.parameters())
    assert finer.unet.encoder.parameters().__next__().grad.abs().sum() > 0


@pytest.mark.parametrize("upscale", [1, 2])
@torch.no_grad()
def test_the_foreground_is_never_less_than_the_body(features, upscale):
    dresser = Dresser(config(upscale=upscale, covers_body=True)).eval()
    coverage = torch.zeros(2, 1, 16, 24)
    coverage[:, :, 4:12, 8:16] = 1.0
    coverage[:, :, 3, 8:16] = 0.25
    masks = dresser(features, coverage).masks
    bare = dresser(features, torch.zeros_like(coverage)).masks
    assert masks.shape == (2, 3, 16 * upscale, 24 * upscale)
    inside = (slice(None), 0, slice(5 * upscale, 11 * upscale), slice(9 * upscale, 15 * upscale))
    assert (masks[inside] == 1).all()
    # Soft elsewhere: a share of the body adds that share, and nothing changes off it.
    rim = (slice(None), 0, 3 * upscale, slice(9 * upscale, 15 * upscale))
    assert (masks[rim] > bare[rim]).all()
    assert (masks[rim] < 1).all()
    assert torch.equal(masks[:, :, 14 * upscale :], bare[:, :, 14 * upscale :])
    assert torch.equal(masks[:, 1:], bare[:, 1:])
    with pytest.raises(BadParameter, match="coverage"):
        dresser(features)


@torch.no_grad()
def test_the_shipped_dresser_dresses_bit_for_bit_as_its_parts_do():
    dresser = load_dresser(DEFAULT_LIBRARY / "dresser-people")
    assert dresser.enlarger is None
    given = torch.randn(1, 36, 64, 64, generator=torch.Generator().manual_seed(3))
    given = given.contiguous(memory_format=torch.channels_last)
    hidden = dresser.unet(given)
    rgb = torch.tanh(dresser.rgb_head(hidden) + dresser.skip(given)) * 0.5 + 0.5
    dressed = dresser(given)
    assert torch.equal(dressed.rgb, rgb)
    assert torch.equal(dressed.masks, torch.sigmoid(dresser.mask_head(hidden)))


def test_packages_that_know_none_of_this_are_dressers_as_before():
    older = DresserConfig.from_plain({"encoder": "resnet18", "shell": True})
    assert (older.upscale, older.depth, older.covers_body) == (1, 5, False)
    assert older.decoder == (256, 128, 64, 32, 16)
    assert DresserConfig.from_plain(config(upscale=2).to_plain()) == config(upscale=2)


@pytest.mark.parametrize("wrong", [{"upscale": 3}, {"fade": 1.5}, {"depth": 4}])
def test_sizes_that_do_not_fit_are_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong)) if "depth" not in wrong else "decoder"):
        config(**wrong)


def test_a_shallow_dresser_holds_no_stage_that_it_never_calls():
    config = DresserConfig(depth=4, decoder=(32, 24, 16, 16), shell=False)
    shallow = Dresser(config)
    features = torch.zeros(1, config.channels, 64, 64)
    shallow(features).rgb.sum().backward()
    assert [name for name, each in shallow.named_parameters() if each.grad is None] == [
        name for name, _ in shallow.named_parameters() if name.startswith("mask_head")
    ]


def test_a_shallow_dresser_reads_a_state_that_still_has_the_dropped_stages():
    shallow = Dresser(DresserConfig(depth=4, decoder=(32, 24, 16, 16)))
    state = shallow.state_dict() | {"unet.encoder.layer4.0.conv1.weight": torch.zeros(1)}
    shallow.load_state_dict(state)
    state["unet.encoder.layer9.weight"] = torch.zeros(1)
    with pytest.raises(RuntimeError, match="layer9"):
        shallow.load_state_dict(state)
