"""The dresser: StylePeople's renderer network R."""

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from models.dresser import STRIDE, Dresser, DresserConfig, autocast_dtype, grown


@pytest.fixture(scope="module")
def dresser():
    torch.manual_seed(0)
    return Dresser(DresserConfig(input_skip=False, shell=False)).eval()


def test_the_papers_architecture_has_the_released_renderers_size(dresser):
    # 14.38 M parameters in the released renderer; the two heads differ by a few thousand.
    unet = sum(p.numel() for p in dresser.unet.parameters())
    assert unet == pytest.approx(14.38e6, rel=0.005)


@pytest.mark.parametrize("sides", [(STRIDE, STRIDE), (64, 96)])
def test_outputs_have_the_inputs_size_and_lie_within_0_and_1(dresser, sides):
    with torch.inference_mode():
        rgb, masks = dresser(torch.randn(2, 18, *sides) * 3)
    assert rgb.shape == masks.shape == (2, 3, *sides)
    assert rgb.dtype == masks.dtype == torch.float32
    for values in (rgb, masks):
        assert values.min() >= 0
        assert values.max() <= 1


def test_gradient_reaches_the_texture_channels(dresser):
    features = torch.randn(1, 18, 32, 32, requires_grad=True)
    rgb, masks = dresser(features)
    (rgb.mean() + masks.mean()).backward()
    assert features.grad is not None
    assert features.grad.abs().sum() > 0


def test_encoder_is_chosen_by_the_config():
    small = Dresser(DresserConfig(encoder="mobilenet_v2"))
    assert small(torch.zeros(2, 36, 32, 32)).rgb.shape == (2, 3, 32, 32)


def test_an_untrained_dresser_with_input_skip_shows_the_textures_colour():
    dresser = Dresser(DresserConfig(encoder="mobilenet_v2")).eval()
    features = torch.rand(1, 36, 32, 32) * 2 - 1
    with torch.inference_mode():
        rgb = dresser(features).rgb
    torch.testing.assert_close(rgb * 2 - 1, torch.tanh(1.3 * features[:, :3]))


def test_packages_without_the_fields_have_neither_skip_nor_shell():
    older = DresserConfig.from_plain({"encoder": "resnet18"})
    assert not older.input_skip
    assert not older.shell


def test_a_dresser_grows_a_shell_and_dresses_as_before():
    torch.manual_seed(1)
    older = Dresser(DresserConfig(shell=False)).eval()
    newer = Dresser().eval()
    newer.load_state_dict(grown(older.state_dict(), newer))
    body = torch.randn(1, 18, 32, 32)
    with torch.inference_mode():
        before = older(body)
        after = newer(torch.cat([body, torch.randn(1, 18, 32, 32)], dim=1))
    torch.testing.assert_close(before, after)


def test_config_survives_a_manifest():
    config = DresserConfig(encoder="resnet34", features=8)
    assert DresserConfig.from_plain({**config.to_plain(), "newer": 1}) == config


def test_forward_stays_on_a_fake_cuda_device():
    """A tensor made on the wrong device inside the network would be caught here."""
    with FakeTensorMode():
        dresser = Dresser()
        for module in dresser.modules():
            for name, value in list(module.named_parameters(recurse=False)):
                module._parameters[name] = torch.nn.Parameter(
                    torch.empty(value.shape, device="cuda:0")
                )
            for name, value in list(module.named_buffers(recurse=False)):
                module._buffers[name] = torch.empty(value.shape, dtype=value.dtype, device="cuda:0")
        dressed = dresser.eval()(torch.empty(1, dresser.config.channels, 64, 64, device="cuda:0"))
        assert dressed.rgb.device == torch.device("cuda:0")
        assert dressed.masks.shape == (1, 3, 64, 64)


def test_autocast_is_bfloat16_or_nothing_on_this_processor():
    assert autocast_dtype(torch.device("cpu")) in (torch.bfloat16, None)
