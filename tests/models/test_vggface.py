"""VGG-Face's distance needs its file, and refuses others in words."""

from __future__ import annotations

import pytest
import torch

from blender_addon.contract.errors import ModelError
from models.vggface import VggFaceDistance

SHAPES = {
    f"conv{block}_{index}": (channels, before if index == 1 else channels)
    for block, (before, channels, count) in enumerate(
        [(3, 64, 2), (64, 128, 2), (128, 256, 3), (256, 512, 3), (512, 512, 3)], start=1
    )
    for index in range(1, count + 1)
}


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    generator = torch.Generator().manual_seed(0)
    state = {}
    for name, (after, before) in SHAPES.items():
        scale = (2 / (9 * before)) ** 0.5
        state[f"{name}.weight"] = scale * torch.randn(after, before, 3, 3, generator=generator)
        state[f"{name}.bias"] = torch.zeros(after)
    path = tmp_path_factory.mktemp("vggface") / "vgg_face.pth"
    torch.save(state, path)
    return path


def test_the_distance_is_zero_for_equal_faces_and_has_a_gradient_elsewhere(weights):
    distance = VggFaceDistance(weights)
    faces = torch.rand(1, 3, 64, 64)
    assert float(distance(faces, faces)) == 0.0
    other = (0.5 * faces).requires_grad_()
    value = distance(other, faces)
    value.backward()
    assert value.item() > 0.0
    assert other.grad is not None
    assert float(other.grad.abs().sum()) > 0.0
    assert not any(p.requires_grad for p in distance.parameters())


def test_another_file_is_refused_in_words(tmp_path):
    torch.save({"features.0.weight": torch.zeros(1)}, tmp_path / "other.pth")
    with pytest.raises(ModelError, match="VGG-Face"):
        VggFaceDistance(tmp_path / "other.pth")
    with pytest.raises(ModelError, match="cannot be read"):
        VggFaceDistance(tmp_path / "missing.pth")
