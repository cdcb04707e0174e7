"""The rasteriser against a float64 oracle, and what it promises besides."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch._subclasses.fake_tensor import FakeTensorMode

from blender_addon.contract.errors import BadParameter, MissingExtra
from models import raster_warp, warp_launch
from models.raster import Fragments, barycentrics, interpolate, rasterize
from tests.models.raster_oracle import trace

NEAR = 0.1
EDGE = 2e-3
"""Pixels: nearer to an edge than this, float32 may decide either way."""


def intrinsics(size: tuple[int, int], focal: float = 1.2, skew: float = 0.0) -> torch.Tensor:
    height, width = size
    return torch.tensor(
        [
            [focal * width, skew, width / 2 + 0.3],
            [0.0, focal * width * 1.1, height / 2 - 0.7],
            [0.0, 0.0, 1.0],
        ]
    )


def soup(seed: int, triangles: int, spread: float, nearest: float) -> torch.Tensor:
    """Random separate triangles (T · 3, 3) around the view, from `nearest` on in depth."""
    random = np.random.default_rng(seed)
    middle = random.uniform([-1, -1, nearest], [1, 1, 4], (triangles, 1, 3))
    middle[..., :2] *= np.maximum(middle[..., 2:], 0.3) * 0.5
    corners = middle + spread * random.normal(size=(triangles, 3, 3))
    return torch.tensor(corners.reshape(-1, 3), dtype=torch.float32)


def separate_faces(vertices: torch.Tensor) -> torch.Tensor:
    return torch.arange(len(vertices), dtype=torch.int32).view(-1, 3)


def check_against_oracle(
    fragments: Fragments,
    image: int,
    vertices: torch.Tensor,
    faces: torch.Tensor,
    K: torch.Tensor,
    near: float = NEAR,
) -> int:
    """Assert that one image agrees wherever rounding cannot decide; return the pixels compared."""
    face = fragments.face[image].numpy()
    depth = fragments.depth[image].numpy()
    barycentric = fragments.barycentric[image].numpy()
    truth = trace(vertices.numpy(), faces.numpy(), K.numpy(), face.shape, near)
    rows, columns = np.indices(face.shape)

    # Unsure: an edge of a piece passes within rounding of the centre.
    unsure = (np.abs(truth.margin) < EDGE).any(axis=0)
    order = np.sort(truth.depth, axis=0)
    if len(faces) > 1:
        with np.errstate(invalid="ignore"):
            unsure |= order[1] - order[0] < 1e-4 * order[0]
    nearest = truth.depth.argmin(axis=0)
    expected = np.where(np.isfinite(order[0]), nearest, -1)
    sure = ~unsure
    np.testing.assert_array_equal(face[sure], expected[sure])

    seen = sure & (expected >= 0)
    true_depth = truth.depth[nearest, rows, columns][seen]
    true_barycentric = truth.barycentric[nearest, rows, columns][seen]
    # A face seen edge-on amplifies rounding: compare what it puts on screen, the position.
    corners = vertices[faces.long()].numpy().astype(np.float64)[nearest[seen]]
    position = (barycentric[seen].astype(np.float64)[:, :, None] * corners).sum(axis=1)
    truth_position = (true_barycentric[:, :, None] * corners).sum(axis=1)
    projected = position @ K.numpy().astype(np.float64).T
    on_screen = projected[:, :2] / projected[:, 2:]
    centres = np.stack([columns[seen] + 0.5, rows[seen] + 0.5], axis=1)
    assert np.abs(on_screen - centres).max(initial=0) < 0.02
    np.testing.assert_allclose(barycentric[seen].sum(axis=1), 1, atol=1e-5)
    steep = np.abs(position - truth_position).max(axis=1) > 1e-3 * true_depth
    assert steep.mean() < 0.02 if seen.any() else True
    np.testing.assert_allclose(depth[seen][~steep], true_depth[~steep], rtol=2e-3)
    assert np.isinf(depth[face < 0]).all()
    assert (barycentric[face < 0] == 0).all()
    assert np.isfinite(barycentric).all()
    return int(sure.sum())


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    triangles=st.integers(1, 24),
    spread=st.sampled_from([0.003, 0.05, 0.4, 3.0]),
    nearest=st.sampled_from([-1.0, 0.05, 1.0]),
    size=st.sampled_from([(24, 24), (17, 40), (1, 9)]),
    skew=st.sampled_from([0.0, 3.0]),
)
def test_random_triangles_agree_with_the_oracle(seed, triangles, spread, nearest, size, skew):
    vertices = soup(seed, triangles, spread, nearest)
    faces, K = separate_faces(vertices), intrinsics(size, skew=skew)
    fragments = rasterize(vertices[None], faces, K[None], size, near=NEAR)
    compared = check_against_oracle(fragments, 0, vertices, faces, K)
    assert compared > 0 or size[0] == 1


def test_triangles_crossing_the_near_plane_are_cut_exactly():
    size = (48, 48)
    # A floor that runs from behind the camera to the distance, and a wall that pierces it.
    vertices = torch.tensor(
        [[-4, 0.4, -3], [4, 0.4, -3], [0, 0.4, 9], [0.1, -2, -1], [0.3, 2, 0.5], [0.2, 0, 3.0]]
    )
    faces, K = separate_faces(vertices), intrinsics(size)
    fragments = rasterize(vertices[None], faces, K[None], size, near=0.5)
    check_against_oracle(fragments, 0, vertices, faces, K, near=0.5)
    assert set(fragments.face.unique().tolist()) == {-1, 0, 1}
    assert fragments.depth.min() >= 0.5


def test_a_triangle_filling_the_screen_covers_every_pixel():
    size = (33, 65)
    vertices = torch.tensor([[-900.0, -900, 2], [900, -900, 2], [0, 1500, 3]])
    fragments = rasterize(vertices[None], separate_faces(vertices), intrinsics(size)[None], size)
    assert (fragments.face == 0).all()
    check_against_oracle(fragments, 0, vertices, separate_faces(vertices), intrinsics(size), 0.01)


def test_sub_pixel_triangles_are_seen_only_where_they_hold_a_pixel_centre():
    size = (16, 16)
    K = torch.tensor([[16.0, 0, 8], [0, 16, 8], [0, 0, 1]])
    tiny = torch.tensor([[-0.01, -0.01, 1], [0.01, -0.01, 1], [0, 0.02, 1]])
    on_centre = tiny + torch.tensor([0.5 / 16, 0.5 / 16, 0])
    between = tiny + torch.tensor([4.0 / 16, 4.0 / 16, 0])
    vertices = torch.cat([on_centre, between])
    fragments = rasterize(vertices[None], separate_faces(vertices), K[None], size)
    assert fragments.covered.nonzero().tolist() == [[0, 8, 8]]
    assert fragments.face[0, 8, 8] == 0


@pytest.mark.parametrize("winding", [[0, 1, 2], [0, 2, 1]])
def test_both_sides_of_a_face_are_seen(winding):
    vertices = torch.tensor([[-1.0, -1, 2], [1, -1, 2], [0, 1, 2]])
    faces = torch.tensor([winding])
    fragments = rasterize(vertices[None], faces, intrinsics((9, 9))[None], (9, 9))
    assert fragments.covered.sum() > 20
    assert (fragments.barycentric >= 0).all()


def test_triangles_without_area_and_without_finite_corners_draw_nothing():
    nan, inf = float("nan"), float("inf")
    good = [[-1.0, -1, 2], [1, -1, 2], [0, 1, 2]]
    vertices = torch.tensor(
        [
            *[[0.0, 0, 1]] * 3,  # a point
            [-1, 0, 1], [1, 0, 1], [-1, 0, 1],  # a line
            [nan, 0, 1], [1, 0, 1], [0, 1, 1],
            [inf, 0, 1], [1, 0, 1], [0, 1, 1],
            [0, 0, -inf], [1, 0, 1], [0, 1, 1],
            [3e38, 3e38, 1], [-3e38, 0, 1], [0, 3e38, 1],  # overflows in float32
            [0, 0, 0], [0, 0, 0.005], [0.001, 0, 0],  # nearer than the near plane
            *good,
        ]
    )  # fmt: skip
    faces = separate_faces(vertices)
    fragments = rasterize(vertices[None], faces, intrinsics((12, 12))[None], (12, 12))
    assert set(fragments.face.unique().tolist()) == {-1, len(faces) - 1}
    assert fragments.barycentric.isfinite().all()


@pytest.mark.parametrize("exact", [True, False])
@pytest.mark.parametrize("seed", range(4))
def test_a_connected_surface_shows_no_cracks(seed, exact):
    """A bumpy sheet whose vertices project onto pixel centres: edges run through many others.

    Exactly so where all numbers are short in binary, within rounding otherwise.
    """
    size = (48, 48)
    generator = torch.Generator().manual_seed(seed)
    if exact:
        K = torch.tensor([[32.0, 0, 24], [0, 32, 24], [0, 0, 1]])
        depth = 2.0 ** torch.randint(0, 3, (25, 25), generator=generator)
    else:
        K = torch.tensor([[33.3, 0.7, 24.1], [0, 31.7, 23.3], [0, 0, 1]])
        depth = 1 + 2 * torch.rand(25, 25, generator=generator)
    y, x = torch.meshgrid(*[torch.arange(25) * 2 - 0.5] * 2, indexing="ij")
    rays = torch.stack([x, y, torch.ones_like(x)], dim=-1) @ torch.linalg.inv(K).T
    vertices = (rays * depth[..., None]).view(-1, 3)
    index = torch.arange(25 * 25).view(25, 25)
    a, b, c, d = index[:-1, :-1], index[1:, :-1], index[:-1, 1:], index[1:, 1:]
    faces = torch.cat([torch.stack([a, b, c], -1), torch.stack([d, b, c], -1)]).view(-1, 3)
    fragments = rasterize(vertices[None], faces, K[None], size)
    assert fragments.covered[0, :47, :47].all()


def test_an_empty_view_and_an_empty_mesh_are_empty():
    size = (8, 8)
    behind = torch.tensor([[[-1.0, -1, -2], [1, -1, -2], [0, 1, -2]]])
    for faces in (torch.tensor([[0, 1, 2]]), torch.zeros((0, 3), dtype=torch.int64)):
        fragments = rasterize(behind, faces, intrinsics(size)[None], size)
        assert not fragments.covered.any()
        assert fragments.depth.isinf().all()
        assert interpolate(fragments, torch.ones(len(faces), 3, 2)).abs().sum() == 0


def test_a_batch_holds_what_its_images_hold_alone():
    size = (20, 28)
    views = [soup(seed, 30, 0.5, 0.2) for seed in range(3)]
    faces = separate_faces(views[0])
    K = torch.stack([intrinsics(size, focal) for focal in (0.8, 1.2, 2.0)])
    together = rasterize(torch.stack(views), faces, K, size, near=NEAR)
    for image, vertices in enumerate(views):
        check_against_oracle(together, image, vertices, faces, K[image])
        alone = rasterize(vertices[None], faces, K[image : image + 1], size, near=NEAR)
        assert torch.equal(alone.face[0], together.face[image])
        assert torch.equal(alone.barycentric[0], together.barycentric[image])


def test_equal_depths_go_to_the_lower_face():
    vertices = torch.tensor([[-1.0, -1, 2], [1, -1, 2], [0, 1, 2]])
    faces = torch.tensor([[0, 1, 2], [0, 1, 2], [0, 1, 2]])
    fragments = rasterize(vertices[None], faces, intrinsics((9, 9))[None], (9, 9))
    assert set(fragments.face.unique().tolist()) == {-1, 0}


def test_the_same_input_gives_the_same_bytes_from_any_thread():
    vertices = soup(5, 400, 0.3, -0.2)
    faces, K = separate_faces(vertices), intrinsics((64, 64))
    results: list[bytes] = []

    def render() -> None:
        fragments = rasterize(vertices[None], faces, K[None], (64, 64))
        parts = (fragments.face, fragments.barycentric, fragments.depth)
        results.append(b"".join(part.numpy().tobytes() for part in parts))

    for _ in range(3):
        threads = [threading.Thread(target=render) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(results) == 9
    assert len(set(results)) == 1


def test_large_triangles_drawn_per_pixel_give_the_same_z_buffer():
    """CUDA's way with large triangles, run on the CPU."""
    vertices = soup(9, 60, 1.0, -0.5)[None]
    faces, K = separate_faces(vertices[0]), intrinsics((40, 50))[None]
    mesh = (vertices, faces, K, (40, 50), NEAR)
    whole = raster_warp.z_buffer(*mesh)
    split = raster_warp.z_buffer(*mesh, large_area=16)
    assert (whole != -1).any()
    assert torch.equal(whole, split)


def test_sharing_rows_out_among_threads_changes_no_byte(monkeypatch):
    vertices = soup(6, 300, 0.4, -0.2)[None]
    mesh = (vertices, separate_faces(vertices[0]), intrinsics((70, 50))[None], (70, 50))
    whole = rasterize(*mesh)
    monkeypatch.setattr(warp_launch, "SMALLEST_BAND", 8)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 5)
    shared = rasterize(*mesh)
    assert torch.equal(whole.face, shared.face)
    assert torch.equal(whole.barycentric, shared.barycentric)
    assert torch.equal(whole.depth, shared.depth)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_forked_data_loader_can_rasterise(monkeypatch):
    monkeypatch.setattr(warp_launch, "SMALLEST_BAND", 8)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    vertices = soup(6, 30, 0.4, -0.2)[None]
    mesh = (vertices, separate_faces(vertices[0]), intrinsics((70, 50))[None], (70, 50))
    here = rasterize(*mesh)
    child = os.fork()
    if child == 0:
        os._exit(0 if torch.equal(rasterize(*mesh).face, here.face) else 1)
    for _ in range(600):
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            break
        time.sleep(0.05)
    else:
        os.kill(child, 9)
        os.waitpid(child, 0)
        pytest.fail("the forked child hangs")
    assert status == 0


def test_interpolated_positions_lie_on_the_pixels_rays():
    size = (32, 32)
    vertices = soup(3, 50, 0.6, 0.5)[None]
    faces, K = separate_faces(vertices[0]), intrinsics(size)[None]
    fragments = rasterize(vertices, faces, K, size)
    position = interpolate(fragments, vertices[0][faces.long()])
    assert torch.equal(position[~fragments.covered], torch.zeros_like(position)[~fragments.covered])
    seen = position[fragments.covered]
    torch.testing.assert_close(seen[:, 2], fragments.depth[fragments.covered], rtol=1e-4, atol=0)
    pixels = seen @ K[0].T
    _, row, column = fragments.covered.nonzero(as_tuple=True)
    torch.testing.assert_close(pixels[:, 0] / pixels[:, 2], column + 0.5, rtol=0, atol=5e-3)
    torch.testing.assert_close(pixels[:, 1] / pixels[:, 2], row + 0.5, rtol=0, atol=5e-3)


def test_attributes_may_differ_between_images_and_carry_gradients():
    size = (12, 12)
    vertices = soup(1, 6, 0.8, 1.0).expand(2, -1, -1)
    faces, K = separate_faces(vertices[0]), intrinsics(size).expand(2, -1, -1)
    fragments = rasterize(vertices, faces, K, size)
    attributes = torch.randn(2, len(faces), 3, 4, requires_grad=True)
    both = interpolate(fragments, attributes)
    one = interpolate(fragments, attributes[1])
    assert torch.equal(both[1], one[1])
    both.sum().backward()
    # Each covered pixel hands on a gradient of 1, spread by barycentrics.
    torch.testing.assert_close(attributes.grad.sum(), fragments.covered.sum() * 4.0)


def test_barycentrics_repeat_the_rasterisers_and_have_the_right_gradient():
    size = (6, 6)
    vertices = soup(2, 4, 0.7, 1.0)[None]
    faces, K = separate_faces(vertices[0]), intrinsics(size)[None]
    fragments = rasterize(vertices, faces, K, size)
    assert fragments.covered.any()
    again = barycentrics(vertices, faces, K, fragments)
    torch.testing.assert_close(again, fragments.barycentric, rtol=0, atol=1e-5)
    exact = vertices.double().requires_grad_()
    camera = K.double().requires_grad_()
    assert torch.autograd.gradcheck(
        lambda v, k: barycentrics(v, faces, k, fragments), (exact, camera)
    )


def good_arguments() -> dict:
    return {
        "vertices": torch.tensor([[[-1.0, -1, 2], [1, -1, 2], [0, 1, 2]]]),
        "faces": torch.tensor([[0, 1, 2]]),
        "K": intrinsics((4, 4))[None],
        "size": (4, 4),
    }


@pytest.mark.parametrize(
    "wrong",
    [
        {"vertices": torch.zeros(3, 3)},
        {"vertices": torch.zeros(1, 3, 3, dtype=torch.float64)},
        {"faces": torch.tensor([[0, 1, 3]])},
        {"faces": torch.tensor([[0, 1, -1]])},
        {"faces": torch.tensor([[0.0, 1.0, 2.0]])},
        {"K": torch.eye(3)},
        {"size": (0, 4)},
        {"size": (4, 40000)},
        {"near": 0.0},
    ],
)
def test_arguments_that_do_not_fit_are_refused(wrong):
    with pytest.raises(BadParameter):
        rasterize(**{**good_arguments(), **wrong})


@pytest.mark.skipif(importlib.util.find_spec("pytorch3d") is not None, reason="pytorch3d is here")
def test_a_missing_backend_is_named_with_what_to_do():
    with pytest.raises(MissingExtra, match="pytorch3d"):
        rasterize(**good_arguments(), backend="pytorch3d")


def test_tensors_on_a_fake_gpu_pass_and_mixed_devices_do_not():
    with FakeTensorMode():
        arguments = {
            "vertices": torch.empty(2, 3, 3, device="cuda:0"),
            "faces": torch.empty(5, 3, dtype=torch.int32, device="cuda:0"),
            "K": torch.empty(2, 3, 3, device="cuda:0"),
            "size": (6, 7),
        }
        fragments = rasterize(**arguments)
        assert fragments.barycentric.shape == (2, 6, 7, 3)
        assert fragments.barycentric.device.type == "cuda"
        with pytest.raises(BadParameter, match="one device"):
            rasterize(**{**arguments, "K": torch.empty(2, 3, 3)})


@pytest.mark.slow
def test_a_first_start_compiles_without_a_word(tmp_path):
    """Several processes at once, with an empty kernel cache."""
    program = (
        "import torch; from models.raster import rasterize\n"
        "v = torch.tensor([[[-1., -1, 2], [1, -1, 2], [0, 1, 2]]])\n"
        "K = torch.tensor([[[4., 0, 2], [0, 4, 2], [0, 0, 1]]])\n"
        "print(int(rasterize(v, torch.tensor([[0, 1, 2]]), K, (4, 4)).covered.sum()))\n"
    )
    environment = {**os.environ, "WARP_CACHE_PATH": str(tmp_path)}
    running = [
        subprocess.Popen(
            [sys.executable, "-c", program],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(3)
    ]
    outputs = [process.communicate(timeout=200) for process in running]
    assert [process.returncode for process in running] == [0, 0, 0], outputs
    assert len({out for out, _ in outputs}) == 1
    assert int(outputs[0][0]) > 0
    assert all(err == "" for _, err in outputs)
