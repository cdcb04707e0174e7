"""The render path of an avatar frame: pure, placed to the pixel, honest about depth."""

import shutil

import numpy as np
import pytest
import torch

from blender_addon.contract.camera import Camera, look_at
from blender_addon.contract.errors import BodyMismatch, PackageDamaged, UnknownModel
from blender_addon.contract.operations import PosedBody
from blender_addon.contract.versions import PACKAGE_FORMAT, PACKAGE_FORMAT_DELTA
from models.avatar import AvatarRenderer
from models.body import load_body
from models.dresser import Dresser
from models.dresser_delta import delta_of
from models.frame import filled_depth
from models.package import (
    DEFAULT_LIBRARY,
    Manifest,
    load_arrays,
    package_digest,
    read_manifest,
    write_package,
)
from tests.training.toy_people import LIGHT_DRESSER

BODY = DEFAULT_LIBRARY / "body-cc0"
UP = np.array([0.0, 1.0, 0.0])


@pytest.fixture(scope="module")
def renderer():
    torch.manual_seed(0)
    dresser = Dresser(LIGHT_DRESSER)
    # An untrained mask head: make the body opaque and the rest empty, so that placing can be seen.
    torch.nn.init.constant_(dresser.mask_head[-1].bias, 0.5)
    return AvatarRenderer(load_body(BODY), torch.randn(16, 64, 64), dresser, "test")


def posed(transl=(0.0, 0.0, 0.0), betas=10):
    return PosedBody(
        pose=np.tile(np.eye(3, dtype=np.float32), (55, 1, 1)),
        transl=np.array(transl, np.float32),
        betas=np.zeros(betas, np.float32),
        expression=np.zeros(0, np.float32),
    )


def camera_at(distance, width=320, height=320, focal=300.0):
    eye = np.array([0.0, -0.4, distance])
    return look_at(eye, eye * [1, 1, 0], UP, focal=focal, width=width, height=height)


def shifted(camera, x, y):
    K = camera.K.copy()
    K[:2, 2] += (x, y)
    return Camera(K=K, R=camera.R, t=camera.t, width=camera.width, height=camera.height)


def test_the_same_request_gives_the_same_bytes(renderer):
    camera = camera_at(2.0)
    once, twice = (renderer.render(posed(), camera) for _ in range(2))
    for name in once:
        assert once[name].tobytes() == twice[name].tobytes()


def test_moving_the_lens_by_whole_pixels_moves_the_picture_exactly(renderer):
    camera = camera_at(4.0)
    still = renderer.render(posed(), camera)["rgba"]
    moved = renderer.render(posed(), shifted(camera, 9, -4))["rgba"]
    np.testing.assert_array_equal(moved[:-4, 9:], still[4:, :-9])


def test_colour_never_exceeds_alpha(renderer):
    rgba = renderer.render(posed(), camera_at(2.0))["rgba"].astype(int)
    assert (rgba[..., :3] <= rgba[..., 3:] + 1).all(), "premultiplied"


def test_depth_on_the_body_is_the_distance_along_the_viewing_axis(renderer):
    camera = camera_at(3.0)
    depth = renderer.render(posed(), camera)["depth"]
    chest = depth[depth.shape[0] // 2 - 20 : depth.shape[0] // 2, depth.shape[1] // 2]
    assert np.isfinite(chest).all()
    assert 2.7 < chest.min() < 3.0


def test_depth_is_infinite_exactly_where_alpha_is_zero(renderer):
    frame = renderer.render(posed(), camera_at(5.0))
    np.testing.assert_array_equal(np.isinf(frame["depth"]), frame["rgba"][..., 3] == 0)


def test_only_the_wanted_passes_come_back(renderer):
    assert set(renderer.render(posed(), camera_at(2.0), ["depth"])) == {"depth"}


@pytest.mark.parametrize(
    "transl", [(0.0, 0.0, 50.0), (80.0, 0.0, 0.0)], ids=["behind the camera", "beside the frame"]
)
def test_body_out_of_sight_gives_an_empty_frame(renderer, transl):
    frame = renderer.render(posed(transl), camera_at(2.0))
    assert not frame["rgba"].any()
    assert np.isinf(frame["depth"]).all()


@pytest.mark.parametrize("distance", [0.35, 1.0, 30.0], ids=["inside arm's reach", "close", "tiny"])
def test_every_distance_renders(renderer, distance):
    frame = renderer.render(posed(), camera_at(distance))
    assert frame["rgba"].shape == (320, 320, 4)
    assert frame["rgba"][..., 3].any()


def test_frames_that_are_not_square_render(renderer):
    frame = renderer.render(posed(), camera_at(3.0, width=200, height=90))
    assert frame["masks"].shape == (90, 200, 3)


def test_too_many_coefficients_are_refused(renderer):
    with pytest.raises(BodyMismatch):
        renderer.render(posed(betas=11), camera_at(2.0))


def test_filled_depth_keeps_the_body_and_continues_it_nearby():
    depth = torch.full((1, 64, 64), torch.inf)
    depth[:, 20:40, 20:30] = 2.0
    depth[:, 20:40, 30:40] = 4.0
    filled = filled_depth(depth)
    known = torch.isfinite(depth)
    assert torch.equal(filled[known], depth[known])
    assert torch.isfinite(filled).all()
    assert filled[0, 30, 18] < 3.0 < filled[0, 30, 41]


def test_filled_depth_of_nothing_is_nothing():
    assert torch.isinf(filled_depth(torch.full((1, 8, 8), torch.inf))).all()


def test_loaded_avatar_renders_what_its_parts_render(renderer, tmp_path):
    shutil.copytree(BODY, tmp_path / "body-cc0")
    licence = "CC0-1.0"
    write_package(
        tmp_path / "dresser-t",
        Manifest(
            kind="dresser",
            id="dresser-t",
            name="T",
            licence=licence,
            architecture=renderer.dresser.config.to_plain(),
        ),
        renderer.dresser.state_dict(),
    )
    texture = torch.randn(16, 64, 64, generator=torch.Generator().manual_seed(1))
    write_package(
        tmp_path / "avatar-t",
        Manifest(
            kind="avatar",
            id="avatar-t",
            name="T",
            licence=licence,
            requirements={"body": "body-cc0", "dresser": "dresser-t"},
        ),
        {"texture": texture},
    )
    loaded = AvatarRenderer.load(tmp_path, "avatar-t")
    direct = AvatarRenderer(renderer.body, texture, renderer.dresser, "x")
    camera = camera_at(3.0)
    np.testing.assert_array_equal(
        loaded.render(posed(), camera)["rgba"], direct.render(posed(), camera)["rgba"]
    )
    with pytest.raises(UnknownModel, match="not an avatar"):
        AvatarRenderer.load(tmp_path, "dresser-t")


# --- avatars with some tensors of the dresser for themselves


def write_dresser(library, dresser):
    manifest = Manifest(
        kind="dresser",
        id="dresser-t",
        name="T",
        licence="CC0-1.0",
        architecture=dresser.config.to_plain(),
    )
    written = write_package(library / "dresser-t", manifest, dresser.state_dict())
    return package_digest(written)


def write_avatar(library, name, texture, delta=None, dresser_digest=None):
    manifest = Manifest(
        kind="avatar",
        id=f"avatar-{name}",
        name=name,
        licence="CC0-1.0",
        architecture={"dresser_digest": dresser_digest} if dresser_digest else {},
        requirements={"body": "body-cc0", "dresser": "dresser-t"},
        format=PACKAGE_FORMAT_DELTA if delta else PACKAGE_FORMAT,
    )
    write_package(library / manifest.id, manifest, {"texture": texture, **(delta or {})})


@pytest.fixture
def library(tmp_path, renderer):
    """A library of one dresser, an avatar that wears it as it is, and one with a delta."""
    shutil.copytree(BODY, tmp_path / "body-cc0")
    texture = torch.randn(16, 64, 64, generator=torch.Generator().manual_seed(1))
    digest = write_dresser(tmp_path, renderer.dresser)
    write_avatar(tmp_path, "plain", texture)
    delta = delta_of(own_state(renderer.dresser))
    write_avatar(tmp_path, "own", texture, delta, digest)
    return tmp_path


def own_state(dresser):
    """Return the state of a dresser whose colours a phase 2 has turned about."""
    state = {name: value.clone() for name, value in dresser.state_dict().items()}
    state["rgb_head.3.bias"] += torch.tensor([0.5, -0.5, 0.25])
    return state


def test_an_avatar_with_a_delta_renders_with_its_own_tensors(library, renderer):
    dresser = Dresser(renderer.dresser.config)
    dresser.load_state_dict(own_state(renderer.dresser))
    plain, own = (AvatarRenderer.load(library, f"avatar-{n}") for n in ("plain", "own"))
    direct = AvatarRenderer(
        renderer.body, load_arrays(library / "avatar-own")["texture"], dresser, "x"
    )
    frames = [
        each.render(posed(), camera_at(2.0))["rgba"].astype(int) for each in (plain, own, direct)
    ]
    assert np.abs(frames[1] - frames[2]).max() <= 1
    assert np.abs(frames[1] - frames[0]).max() > 20


def test_avatars_of_one_dresser_share_what_they_can(library):
    one, own = (AvatarRenderer.load(library, f"avatar-{n}") for n in ("plain", "own"))
    again = AvatarRenderer.load(library, "avatar-plain")
    assert again.dresser is one.dresser
    assert own.dresser is not one.dresser
    first, shared = (next(each.dresser.unet.encoder.parameters()) for each in (own, one))
    assert first.data_ptr() == shared.data_ptr()


def test_a_dresser_written_anew_is_loaded_anew(library, renderer):
    before = AvatarRenderer.load(library, "avatar-plain")
    dresser = Dresser(renderer.dresser.config)
    dresser.load_state_dict(own_state(renderer.dresser))
    write_dresser(library, dresser)
    after = AvatarRenderer.load(library, "avatar-plain")
    assert after.digest != before.digest
    pictures = [each.render(posed(), camera_at(2.0))["rgba"] for each in (before, after)]
    assert not np.array_equal(*pictures)


def test_the_digest_covers_delta_and_dresser(library, renderer):
    digest = AvatarRenderer.load(library, "avatar-own").digest
    assert digest != AvatarRenderer.load(library, "avatar-plain").digest
    state = own_state(renderer.dresser)
    state["rgb_head.3.bias"] += 1e-2
    texture = load_arrays(library / "avatar-own")["texture"]
    dresser_digest = package_digest(read_manifest(library / "dresser-t"))
    write_avatar(library, "own", texture, delta_of(state), dresser_digest)
    assert AvatarRenderer.load(library, "avatar-own").digest != digest


def test_a_delta_is_not_put_on_another_version_of_its_dresser(library, renderer):
    dresser = Dresser(renderer.dresser.config)
    write_dresser(library, dresser)
    with pytest.raises(PackageDamaged, match="another version"):
        AvatarRenderer.load(library, "avatar-own")
