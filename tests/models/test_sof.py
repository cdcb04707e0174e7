"""The semantic occupancy field: sizes, geometry of rays, and fast against plain label maps."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from blender_addon.contract.camera import look_at
from blender_addon.contract.errors import BadParameter, PackageDamaged, UnknownModel
from models.rays import Pinhole, Rays, depth_per_distance, pixel_rays, sphere_chord
from models.sof import Sof, SofConfig
from models.sof_field import Hypernetwork, describe
from models.sof_package import load_sof, write_sof
from models.sof_render import EVERY_PIXEL, Shortcuts, SofRenderer, _Grid, plain_label_map
from tests.training.toy_sof import trained_toy


def camera(azimuth: float = 0.4, size: int = 64, distance: float = 1.2):
    eye = distance * np.array([np.sin(azimuth), 0.1, np.cos(azimuth)])
    up = np.array([0.0, 1.0, 0.0])
    return look_at(eye, np.zeros(3), up, focal=1.9 * size, width=size, height=size)


# --- sizes


def test_default_sizes_are_the_papers():
    config = SofConfig()
    # "encode each SOF into a vector z ∈ R^256", "one hidden layer with 256 channels", "a 4 layer
    # FC", "a FC layer with 256 input channels and k output channels"; SRNs' marcher: 16, 10 steps.
    assert (config.code, config.hidden, config.layers, config.width) == (256, 256, 4, 256)
    assert (config.labels, config.memory, config.steps, config.frequencies) == (17, 16, 10, 0)
    with torch.device("meta"):
        sof = Sof(config)
    phi = (3 * 256 + 256) + 3 * (256 * 256 + 256)
    hypernetwork = (256 * 256 + 256) + (256 * phi + phi)
    lstm = 4 * 16 * 256 + 4 * 16 * 16 + 2 * 4 * 16
    assert sum(p.numel() for p in sof.parameters()) == (
        hypernetwork + lstm + (16 + 1) + (256 * 17 + 17)
    )
    assert sum(p.numel() for p in sof.hypernetwork.parameters()) == hypernetwork == 51_054_592


def test_architecture_survives_a_manifest_and_ignores_what_it_does_not_know():
    config = SofConfig(width=32, frequencies=3)
    assert SofConfig.from_plain(config.to_plain() | {"later": 1}) == config


# --- rays


def test_rays_pass_through_their_pixels():
    view = camera(size=48)
    x = torch.tensor([[0.5, 10.25, 47.5]])
    y = torch.tensor([[0.5, 30.0, 12.5]])
    pinhole = Pinhole.of(view)
    rays = pixel_rays(pinhole, x, y)
    points = (rays.origin + 0.9 * rays.direction)[0].numpy()
    seen = view.project(points)
    assert np.abs(seen[:, 0] - x[0].numpy()).max() < 1e-3
    assert np.abs(seen[:, 1] - y[0].numpy()).max() < 1e-3
    depth = 0.9 * depth_per_distance(pinhole, rays.direction)
    assert np.abs(seen[:, 2] - depth[0].numpy()).max() < 1e-5
    assert torch.allclose(rays.direction.norm(dim=-1), torch.ones(1, 3))


@given(
    eye=st.tuples(*[st.floats(-2, 2)] * 3),
    aim=st.tuples(*[st.floats(-0.5, 0.5)] * 3),
)
@settings(max_examples=100, deadline=None)
def test_the_chord_lies_on_the_sphere(eye, aim):
    origin = torch.tensor(eye, dtype=torch.float64)
    direction = torch.tensor(aim, dtype=torch.float64) - origin
    if direction.norm() < 1e-2:
        return
    direction = direction / direction.norm()
    chord = sphere_chord(Rays(origin, direction), 0.35)
    if not chord.hit:
        # Nothing of the ray before the eye lies inside.
        t = torch.linspace(0, 5, 400, dtype=torch.float64)[:, None]
        assert (origin + t * direction).norm(dim=1).min() > 0.35 - 1e-3
        return
    assert (origin + chord.far * direction).norm() == pytest.approx(0.35, abs=1e-6)
    if chord.near > 0:
        assert (origin + chord.near * direction).norm() == pytest.approx(0.35, abs=1e-6)
    else:
        assert origin.norm() <= 0.35 + 1e-6


# --- field


def test_the_hypernetwork_makes_the_network_that_its_numbers_say():
    torch.manual_seed(0)
    network = Hypernetwork(code=4, hidden=8, width=6, layers=3, inputs=3)
    code = torch.randn(2, 4)
    points = torch.randn(2, 5, 3)
    found = describe(network(code), points, radius=2.0, frequencies=0)
    flat = network.output(torch.relu(network.hidden(code)))
    for head in range(2):
        x, start = points[head] / 2.0, 0
        for inputs, outputs in [(3, 6), (6, 6), (6, 6)]:
            matrix = flat[head, start : start + inputs * outputs].view(inputs, outputs)
            start += inputs * outputs
            x = x @ matrix + flat[head, start : start + outputs]
            start += outputs
            x = torch.relu(torch.nn.functional.layer_norm(x, (6,)))
        assert torch.allclose(found[head], x, atol=1e-5)


def test_codes_change_the_field_and_equal_codes_do_not():
    torch.manual_seed(0)
    sof = Sof(SofConfig(width=16, hidden=16, code=8))
    rays = pixel_rays(Pinhole.of(camera()), torch.full((1, 4), 32.0), torch.full((1, 4), 30.0))
    codes = torch.stack([torch.zeros(8), torch.zeros(8), torch.ones(8)])
    wide = Rays(rays.origin.expand(3, -1, -1), rays.direction.expand(3, -1, -1))
    marched = sof(codes, wide)
    assert torch.equal(marched.logits[0], marched.logits[1])
    assert not torch.allclose(marched.logits[0], marched.logits[2], atol=1e-3)
    assert marched.path.shape == (11, 3, 4)
    assert torch.equal(marched.path[0], marched.chord.near)


def test_rays_that_miss_the_sphere_see_background():
    torch.manual_seed(0)
    sof = Sof(SofConfig(width=16, hidden=16, code=8))
    with torch.no_grad():
        sof.classifier.bias[5] = 100.0
    far_away = look_at(
        np.array([0.0, 0.0, 1.2]),
        np.array([3.0, 0.0, 0.0]),
        np.array([0.0, 1.0, 0.0]),
        focal=100.0,
        width=16,
        height=16,
    )
    for drawn in (
        plain_label_map(sof.eval(), torch.zeros(8), far_away),
        SofRenderer(sof).label_map(torch.zeros(8), far_away),
    ):
        assert int(drawn.labels.max()) == 0
        assert bool(torch.isinf(drawn.depth).all())


# --- fast against plain


@pytest.mark.parametrize("azimuth", [0.0, 1.0, -2.0])
def test_fast_label_maps_agree_with_the_plain_march(azimuth):
    model = trained_toy().model
    renderer = SofRenderer(model.sof)
    view = camera(azimuth, size=128)
    fast = renderer.label_map(model.codes[1], view)
    plain = plain_label_map(model.sof, model.codes[1], view)
    assert fast.labels.dtype == torch.uint8
    assert len(plain.labels.unique()) >= 3
    assert float((fast.labels == plain.labels).float().mean()) >= 0.995
    both = (fast.labels > 0) & (plain.labels > 0)
    assert float((fast.depth - plain.depth)[both].abs().median()) < 1e-3


def test_without_shortcuts_the_renderer_is_the_plain_march():
    model = trained_toy().model
    exact = Shortcuts(low_precision=False, arrive=False, coarsest=1)
    for view in (camera(0.3, size=33), camera(2.0, size=50)):
        drawn = SofRenderer(model.sof, exact).label_map(model.codes[0], view)
        plain = plain_label_map(model.sof, model.codes[0], view)
        # Blocks of another size add up in another order: the last digits differ.
        assert float((drawn.labels == plain.labels).float().mean()) > 0.999


def test_equal_requests_give_equal_bytes_whatever_was_drawn_before():
    model = trained_toy().model
    renderer = SofRenderer(model.sof)
    first = renderer.label_map(model.codes[0], camera())
    for k in range(12):
        renderer.label_map(model.codes[k % 3] + 0.01 * k, camera(0.1 * k, size=32))
    again = renderer.label_map(model.codes[0], camera())
    other = SofRenderer(model.sof).label_map(model.codes[0], camera())
    for drawn in (again, other):
        assert torch.equal(drawn.labels, first.labels)
        assert torch.equal(drawn.depth, first.depth)


def test_few_rays_are_marched_and_far_fewer_than_pixels(monkeypatch):
    model = trained_toy().model
    renderer = SofRenderer(model.sof)
    marched = []
    see = SofRenderer._see
    monkeypatch.setattr(
        SofRenderer,
        "_see",
        lambda self, field, rays, *rest: (
            marched.append(rays.direction.shape[1]) or see(self, field, rays, *rest)
        ),
    )
    calls = []
    field = Sof.field
    monkeypatch.setattr(Sof, "field", lambda *a, **k: calls.append(1) or field(*a, **k))
    renderer.label_map(model.codes[0], camera(size=256))
    renderer.label_map(model.codes[0], camera(0.5, size=256))
    assert sum(marched) < 0.45 * 2 * 256 * 256
    assert len(calls) == 1, "the hypernetwork runs once a head"


def test_refined_grids_keep_what_is_known_and_ask_at_borders_only():
    labels = torch.zeros((6, 6), dtype=torch.int64)
    labels[:, 3:] = 7
    depth = torch.where(labels > 0, 1.0, torch.inf)
    grid, wanted = _Grid(labels, depth).refined(careful=True)
    assert grid.labels.shape == (11, 11)
    assert torch.equal(grid.labels[::2, ::2], labels)
    assert torch.equal(grid.depth[::2, ::2], depth)
    assert not bool(wanted[::2, ::2].any())
    assert bool(wanted[:, 5].all())
    assert not bool(wanted[:, 0].any())
    assert not bool(wanted[:, 10].any())
    assert bool((grid.labels[:, 9:] == 7).all())
    assert bool((grid.depth[:, 9:] == 1.0).all())
    _, narrow = _Grid(labels, depth).refined(careful=False)
    assert bool(narrow[:, 5].all())
    assert not bool(narrow[:, :4].any())
    assert not bool(narrow[:, 7:].any())


def test_what_is_wrong_is_said():
    model = trained_toy().model
    with pytest.raises(BadParameter, match="8 numbers"):
        SofRenderer(model.sof).label_map(torch.zeros(9), camera())
    with pytest.raises(BadParameter, match="power of two"):
        Shortcuts(coarsest=3)
    assert EVERY_PIXEL.coarsest == 1


def test_small_images_have_small_blocks():
    strides = [Shortcuts().stride(camera(size=size)) for size in (512, 256, 255, 128, 64, 40)]
    assert strides == [8, 8, 4, 4, 2, 1]
    assert Shortcuts(coarsest=2).stride(camera(size=512)) == 2


# --- packages


def test_a_package_gives_the_same_head_back(tmp_path):
    trained = trained_toy()
    model = trained.model
    folder = tmp_path / "sof-toy"
    write_sof(
        folder,
        model.sof,
        model.codes,
        trained.heads,
        name="Toys",
        licence="CC0-1.0",
        recipe={},
        data={},
        metrics={},
    )
    loaded = load_sof(folder)
    assert loaded.heads == ("h0000", "h0001", "h0002")
    assert loaded.sof.config == model.sof.config
    ours = SofRenderer(model.sof).label_map(model.codes[2], camera())
    theirs = SofRenderer(loaded.sof).label_map(loaded.code("h0002"), camera())
    assert float((ours.labels == theirs.labels).float().mean()) > 0.99
    with pytest.raises(UnknownModel, match="no head"):
        loaded.code("nobody")
    weights = folder / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"x")
    with pytest.raises(PackageDamaged):
        load_sof(folder)
