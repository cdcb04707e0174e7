"""Patch discriminators: sizes as in the paper they come from, and that they can tell."""

from __future__ import annotations

import pytest
import torch

from models.discriminators import PatchDiscriminator, PatchDiscriminatorConfig


def test_the_default_has_the_usual_size_and_one_score_per_patch():
    network = PatchDiscriminator()
    # Isola et al.'s 70 × 70 PatchGAN for 3 channels.
    assert sum(p.numel() for p in network.parameters()) == 2_764_737
    assert network(torch.rand(2, 3, 256, 256)).shape == (2, 1, 30, 30)


@pytest.mark.parametrize(("layers", "patch"), [(3, 70), (2, 34), (1, 16)])
def test_a_score_sees_its_patch_and_nothing_else(layers: int, patch: int):
    config = PatchDiscriminatorConfig(width=4, layers=layers, normalise=False)
    images = torch.rand(1, 3, 128, 128, requires_grad=True)
    scores = PatchDiscriminator(config)(images)
    scores[0, 0, scores.shape[2] // 2, scores.shape[3] // 2].backward()
    assert images.grad is not None
    rows = images.grad[0].abs().sum(dim=(0, 2)).nonzero().flatten()
    assert int(rows[-1] - rows[0]) + 1 == patch


def test_scores_do_not_depend_on_the_rest_of_the_batch():
    network = PatchDiscriminator(PatchDiscriminatorConfig(width=8, layers=2))
    images = torch.rand(3, 3, 48, 48)
    assert torch.allclose(network(images)[:1], network(images[:1]), atol=1e-5)


def test_one_seed_gives_one_network():
    one, other = (PatchDiscriminator(PatchDiscriminatorConfig(width=8), seed=3) for _ in range(2))
    for name, value in one.state_dict().items():
        assert torch.equal(value, other.state_dict()[name]), name
