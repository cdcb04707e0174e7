"""The photo encoder: the paper's sizes, levels of any backbone, and weights from a file."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import timm
import torch

from blender_addon.contract.errors import ModelError
from models.photo_encoder import SHIPPED_ENCODER, PhotoEncoder, PhotoEncoderConfig, load_backbone
from models.texture_generator import TextureGeneratorConfig

if TYPE_CHECKING:
    from pathlib import Path

TINY = PhotoEncoderConfig(
    backbone="mobilenetv3_small_050", size=64, layers=14, style=6, width=8, pool=2
)


def test_the_papers_levels_are_as_large_as_the_generators_maps() -> None:
    config = PhotoEncoderConfig()
    assert config.backbone == "tf_efficientnet_b7"
    assert config.layers == TextureGeneratorConfig().layers
    assert config.normalisation == ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    with torch.device("meta"):
        encoder = PhotoEncoder(config)
        images = torch.zeros(1, 4, 512, 512)
        maps = encoder._maps(images)  # pyright: ignore[reportPrivateUsage]
        assert encoder(images).shape == (1, 14, 512)
    assert tuple(each.shape[-1] for each in maps) == TextureGeneratorConfig().resolutions
    assert 80e6 < sum(each.numel() for each in encoder.parameters()) < 95e6


def test_the_shipped_encoder_is_small_and_starts_at_the_mean() -> None:
    mean = torch.linspace(-1, 1, SHIPPED_ENCODER.style)
    encoder = PhotoEncoder(SHIPPED_ENCODER, mean).eval()
    assert sum(each.numel() for each in encoder.parameters()) < 2.2e6
    with torch.no_grad():
        found = encoder(torch.randn(2, 4, 128, 128))
    torch.testing.assert_close(found, mean.expand(2, 14, -1))


def test_each_level_gives_the_styles_of_its_own_resolution() -> None:
    encoder = PhotoEncoder(TINY).eval()
    images = torch.randn(1, 4, 64, 64)
    with torch.no_grad():
        before = encoder(images)
        encoder.map2style[3].linear.bias.add_(1.0)
        moved = (encoder(images) - before).abs().amax(dim=(0, 2)) > 0
    assert moved.nonzero()[:, 0].tolist() == [6, 7]


def test_published_weights_of_the_backbone_are_taken_up(tmp_path: Path) -> None:
    published = timm.create_model(TINY.backbone, pretrained=False)
    torch.save(published.state_dict(), tmp_path / "weights.pth")
    encoder = PhotoEncoder(TINY)
    load_backbone(encoder, tmp_path / "weights.pth")
    first = encoder.backbone.state_dict()["conv_stem.weight"]
    torch.testing.assert_close(first[:, :3], published.state_dict()["conv_stem.weight"])
    assert not first[:, 3].any()
    torch.save({"other": torch.zeros(1)}, tmp_path / "other.pth")
    with pytest.raises(ModelError, match=TINY.backbone):
        load_backbone(encoder, tmp_path / "other.pth")
