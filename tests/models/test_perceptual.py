"""The offline perceptual distance orders distortions as eyes do; VGG19 needs its file."""

import numpy as np
import pytest
import torch
from skimage import data
from torch.nn import functional

from blender_addon.contract.errors import ModelError
from models.perceptual import LiteDistance, Vgg19Distance, lite0_weights, perceptual_distance


@pytest.fixture(scope="module")
def photo() -> torch.Tensor:
    image = np.asarray(data.astronaut(), np.float32)[:256, 100:356] / 255
    return torch.from_numpy(image).permute(2, 0, 1)[None]


@pytest.fixture(scope="module")
def distance() -> LiteDistance:
    return LiteDistance()


def blur(images: torch.Tensor, sigma: float) -> torch.Tensor:
    radius = int(3 * sigma)
    x = torch.arange(-radius, radius + 1, dtype=torch.float32)
    kernel = torch.exp(-0.5 * (x / sigma) ** 2)
    kernel = (kernel / kernel.sum()).expand(3, 1, -1)
    rows = functional.conv2d(
        functional.pad(images, (radius, radius, 0, 0), "reflect"), kernel[:, :, None, :], groups=3
    )
    return functional.conv2d(
        functional.pad(rows, (0, 0, radius, radius), "reflect"), kernel[..., None], groups=3
    )


def test_an_image_is_at_no_distance_from_itself(distance, photo):
    assert float(distance(photo, photo)) == 0.0


def test_stronger_blur_is_further_away(distance, photo):
    distances = [float(distance(blur(photo, sigma), photo)) for sigma in (0.7, 1.5, 3.0, 6.0)]
    assert distances == sorted(distances)
    assert distances[-1] > 3 * distances[0] > 0


def test_blur_is_further_than_a_brightness_change_of_equal_squared_error(distance, photo):
    blurred = blur(photo, 2.0)
    error = (blurred - photo).square().mean().sqrt()
    brighter = photo * 0.8 + 0.1
    brighter = photo + (brighter - photo) * error / (brighter - photo).square().mean().sqrt()
    assert float(distance(blurred, photo)) > 2 * float(distance(brighter, photo))


def test_the_weights_know_images(photo):
    # Features of the right weights respond to content: shuffled pixels (same colours) are far
    # away, a shift by one pixel is near. Random weights do not separate the two so well.
    distance = LiteDistance(stages=(2, 3, 4))
    order = torch.randperm(256 * 256, generator=torch.Generator().manual_seed(0))
    shuffled = photo.flatten(2)[..., order].view_as(photo)
    shifted = torch.roll(photo, 1, dims=-1)
    assert float(distance(shuffled, photo)) > 5 * float(distance(shifted, photo))


def test_kept_features_give_the_same_distance_and_gradient(distance, photo):
    target = blur(photo, 1.0)
    one = photo.clone().requires_grad_()
    other = photo.clone().requires_grad_()
    first = distance(one, target)
    second = distance(other, distance.features(target))
    first.backward()
    second.backward()
    assert torch.equal(first, second)
    assert one.grad is not None
    assert other.grad is not None
    assert torch.equal(one.grad, other.grad)
    assert one.grad.abs().max() > 0


@pytest.mark.slow
def test_descending_the_distance_restores_an_image(distance, photo):
    image = blur(photo, 2.0)[..., :128, :128].clone().requires_grad_()
    target = distance.features(photo[..., :128, :128])
    optimiser = torch.optim.Adam([image], 3e-3)
    start = float(distance(image, target).detach())
    for _ in range(15):
        optimiser.zero_grad()
        distance(image, target).backward()
        optimiser.step()
    assert float(distance(image, target).detach()) < 0.6 * start


def test_training_mode_does_not_change_the_yardstick(distance, photo):
    target = blur(photo, 1.0)
    before = float(distance(photo, target))
    distance.train()
    assert float(distance(photo, target)) == before
    assert not any(p.requires_grad for p in distance.parameters())


def test_flat_images_have_finite_gradients(distance):
    flat = torch.zeros(1, 3, 64, 64, requires_grad=True)
    distance(flat, torch.full((1, 3, 64, 64), 0.5)).backward()
    assert flat.grad is not None
    assert torch.isfinite(flat.grad).all()


def test_lite0_weights_are_the_whole_network():
    weights = lite0_weights()
    learned = [name for name in weights if not name.endswith("num_batches_tracked")]
    assert len(learned) == 247
    assert weights["classifier.weight"].shape == (1000, 1280)


def test_without_vgg_weights_the_offline_distance_stands_in_under_its_own_name():
    distance = perceptual_distance()
    assert isinstance(distance, LiteDistance)
    assert "lpips" not in distance.name.lower()


def test_a_wrong_vgg_file_is_refused_with_a_reason(tmp_path):
    path = tmp_path / "vgg19.pth"
    torch.save({"features.0.weight": torch.zeros(1)}, path)
    with pytest.raises(ModelError, match="VGG19"):
        Vgg19Distance(path)
    with pytest.raises(ModelError, match="cannot be read"):
        Vgg19Distance(tmp_path / "missing.pth")


@pytest.mark.slow
def test_vgg_weights_are_used_when_given(tmp_path, photo):
    import torchvision

    torch.manual_seed(0)
    path = tmp_path / "vgg19.pth"
    torch.save(torchvision.models.vgg19(weights=None).state_dict(), path)
    distance = perceptual_distance(path)
    assert distance.name == "VGG19 distance"
    crop = photo[..., :64, :64]
    assert [f.shape[1] for f in distance.features(crop)] == [64, 128, 256, 512, 512]
    assert float(distance(crop, crop)) == 0.0
    assert float(distance(blur(crop, 2.0), crop)) > 0.0
