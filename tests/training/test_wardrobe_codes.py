"""First codes of people from what their unwrapped photographs show."""

import pytest
import torch

from training.wardrobe.first_codes import principal_codes


@pytest.fixture(scope="module")
def crowd():
    """Twelve people whose upper half varies in red, and less in blue below; some parts unseen."""
    generator = torch.Generator().manual_seed(3)
    red, blue = torch.randn(2, 12, 1, 1, generator=generator)
    colours = 0.02 * torch.randn(12, 3, 64, 64, generator=generator)
    colours[:, 0, :32] += 0.4 * red
    colours[:, 2, 32:] += 0.1 * blue
    visibility = (torch.rand(12, 1, 8, 8, generator=generator) > 0.3).float()
    visibility = visibility.repeat_interleave(8, 2).repeat_interleave(8, 3)
    return colours, visibility, red.flatten(), blue.flatten()


def test_the_first_component_is_what_differs_most(crowd):
    colours, visibility, red, _ = crowd
    codes = principal_codes(colours, visibility, 8)
    correlation = torch.corrcoef(torch.stack([codes[:, 0], red]))[0, 1]
    assert abs(correlation) > 0.95


def test_components_are_uncorrelated_and_of_variance_one(crowd):
    codes = principal_codes(*crowd[:2], 8)
    covariance = codes.T @ codes / (len(codes) - 1)
    assert torch.allclose(covariance, torch.eye(8), atol=1e-4)
    assert codes.mean(dim=0).abs().max() < 1e-4


def test_numbers_beyond_what_people_can_tell_are_zero(crowd):
    codes = principal_codes(*crowd[:2], 32)
    assert codes[:, 11:].abs().max() == 0
    assert codes[:, :11].abs().min(dim=0).values.max() > 0


def test_colours_that_nobody_saw_do_not_matter(crowd):
    colours, visibility, *_ = crowd
    other = torch.where(visibility > 0, colours, torch.full_like(colours, 0.9))
    assert torch.equal(
        principal_codes(colours, visibility, 8), principal_codes(other, visibility, 8)
    )


def test_components_may_keep_their_shares():
    random = torch.Generator().manual_seed(0)
    colours = torch.randn(6, 3, 32, 32, generator=random)
    colours[:3] += 2.0
    seen = torch.ones(6, 1, 32, 32)
    codes = principal_codes(colours, seen, 8, even=False)
    spread = codes.square().mean(dim=0)
    assert (spread[:4].diff() < 0).all()
    assert spread[0] > 3 * spread[1]
    same = principal_codes(colours, seen, 8)
    torch.testing.assert_close(codes[:, 0] / codes[0, 0], same[:, 0] / same[0, 0])
