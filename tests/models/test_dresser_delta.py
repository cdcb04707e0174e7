"""Phase 2's delta: small, exact, and all else of the dresser is shared memory."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import save

from blender_addon.contract.errors import PackageDamaged
from models.dresser import Dresser, DresserConfig
from models.dresser_delta import (
    DELTA_BYTES,
    delta_in,
    delta_of,
    is_in_delta,
    moved_outside,
    with_delta,
)


@pytest.fixture(scope="module")
def shared() -> Dresser:
    torch.manual_seed(3)
    dresser = Dresser().eval()
    with torch.no_grad():
        for name, buffer in dresser.named_buffers():
            if name.endswith("running_var"):
                buffer.uniform_(0.5, 2.0)
    return dresser.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]


def moved(dresser: Dresser, *, everything: bool = False) -> dict[str, torch.Tensor]:
    """Return a dresser's state as a training would leave it."""
    generator = torch.Generator().manual_seed(5)
    return {
        name: value + 0.05 * torch.randn(value.shape, generator=generator)
        if value.is_floating_point() and (everything or is_in_delta(name))
        else value.clone()
        for name, value in dresser.state_dict().items()
    }


def test_a_delta_of_the_default_dresser_stays_in_its_budget(shared):
    delta = delta_of(shared.state_dict())
    assert len(save(delta)) <= DELTA_BYTES
    # With a texture of 512² × 16 in half precision, 0.1 MB is left for model.json and preview.
    assert 512 * 512 * 16 * 2 + DELTA_BYTES <= 9_000_000 - 100_000


def test_the_delta_moves_fine_detail_and_every_norms_scale_but_no_statistics(shared):
    names = {name for name in shared.state_dict() if is_in_delta(name)}
    norms = [name for name, m in shared.named_modules() if isinstance(m, torch.nn.BatchNorm2d)]
    assert {f"{norm}.weight" for norm in norms} <= names
    assert {f"{norm}.bias" for norm in norms} <= names
    assert not any("running" in name or "num_batches" in name for name in names)
    assert {"rgb_head.3.weight", "mask_head.1.bias", "unet.segmentation_head.0.weight"} <= names
    assert "unet.decoder.blocks.4.conv1.0.weight" in names
    assert "unet.decoder.blocks.1.conv1.0.weight" not in names
    assert "unet.encoder.conv1.weight" not in names


def test_shared_dresser_and_delta_give_the_trained_dresser_up_to_rounding(shared):
    state = moved(shared)
    trained = Dresser()
    trained.load_state_dict(state)
    worn = with_delta(shared, delta_in(delta_of(state)))
    features = torch.randn(1, 36, 64, 64, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        ours, theirs, others = (net.eval()(features) for net in (worn, trained, shared))
    assert (ours.rgb - theirs.rgb).abs().max() < 5e-3
    assert (ours.masks - theirs.masks).abs().max() < 5e-3
    assert (others.rgb - theirs.rgb).abs().max() > 0.05


def test_what_a_delta_leaves_is_the_shared_dressers_own_memory(shared):
    worn = with_delta(shared, delta_in(delta_of(moved(shared))))
    before = {name: value.clone() for name, value in shared.state_dict().items()}
    for name, value in worn.state_dict().items():
        same = value.data_ptr() == shared.state_dict()[name].data_ptr()
        assert same != is_in_delta(name), name
    with torch.no_grad():
        worn.rgb_head[3].weight.zero_()
    assert all(torch.equal(before[name], value) for name, value in shared.state_dict().items())


def test_a_delta_that_does_not_fit_is_refused(shared):
    with pytest.raises(PackageDamaged, match="not part of one"):
        with_delta(shared, {"unet.encoder.conv1.weight": torch.zeros(64, 36, 7, 7)})
    with pytest.raises(PackageDamaged, match="shape"):
        with_delta(shared, {"rgb_head.3.bias": torch.zeros(4)})


def test_tensors_that_moved_outside_the_delta_are_named(shared):
    state = shared.state_dict()
    assert moved_outside(state, moved(shared)) == []
    assert "unet.encoder.conv1.weight" in moved_outside(state, moved(shared, everything=True))
    statistics = {**state, "unet.encoder.bn1.running_mean": torch.ones(64)}
    assert moved_outside(state, statistics) == ["unet.encoder.bn1.running_mean"]
    other = Dresser(DresserConfig(encoder="mobilenet_v2")).state_dict()
    assert moved_outside(state, other)
