"""The wardrobe: drawing and blending people, its package, and its people as ordinary avatars."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn import functional

from blender_addon.contract.errors import BadParameter, PackageDamaged, UnknownModel
from models.avatar import AvatarRenderer
from models.dresser import Dresser
from models.package import load_arrays, read_manifest, write_package
from models.wardrobe import Wardrobe, WardrobeSpace
from models.wardrobe_package import save_wardrobe_avatar, training_arrays, write_wardrobe
from tests.models.test_avatar import camera_at, posed
from tests.models.toy_wardrobe import (
    DRESSER,
    GENERATOR,
    LICENCE,
    WARDROBE,
    write_toy_avatar,
    write_toy_wardrobe,
)

LAYERS, STYLE = GENERATOR.layers, GENERATOR.style


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    library = tmp_path_factory.mktemp("library")
    return library, write_toy_wardrobe(library)


@pytest.fixture(scope="module")
def library(written):
    return written[0]


@pytest.fixture(scope="module")
def wardrobe(library):
    return Wardrobe.load(library, WARDROBE)


# --- people


def test_a_seed_is_a_person_and_truncation_pulls_them_to_the_mean(wardrobe):
    drawn = wardrobe.draw(3, truncation=1.0)
    assert drawn.shape == (LAYERS, STYLE)
    assert torch.equal(drawn, wardrobe.draw(3, truncation=1.0))
    assert not torch.allclose(drawn, wardrobe.draw(4, truncation=1.0))
    half = wardrobe.draw(3, truncation=0.5)
    torch.testing.assert_close(half - wardrobe.mean_w, 0.5 * (drawn - wardrobe.mean_w))
    assert torch.equal(wardrobe.draw(3, truncation=0.0), wardrobe.mean_w)


def test_drawn_people_have_the_mean_and_covariance_of_the_codes():
    codes = torch.randn(40, 3, generator=torch.Generator().manual_seed(0)) @ torch.tensor(
        [[2.0, 0.0, 0.0], [1.0, 0.5, 0.0], [0.0, 0.0, 0.1]]
    )
    space = WardrobeSpace.of(codes)
    assert (space.spreads.diff() <= 0).all()
    covariance = torch.einsum("k,klw,klv->wv", space.spreads.square(), space.axes, space.axes)
    torch.testing.assert_close(covariance, codes.T.cov())
    torch.testing.assert_close(space.mean[0], codes.mean(dim=0))
    assert len(WardrobeSpace.of(codes[:3]).axes) == 2, "three people differ in two directions"
    with pytest.raises(BadParameter, match="at least two"):
        WardrobeSpace.of(codes[:1])


def test_people_drawn_near_a_bank_keep_mean_and_covariance_and_are_like_somebody_of_it():
    codes = torch.randn(60, 4, generator=torch.Generator().manual_seed(0)).sign() * torch.tensor(
        [3.0, 1.0, 0.5, 0.2]
    )
    gaussian = WardrobeSpace.of(codes)
    kernel = replace(gaussian, bank=codes[:, None], bandwidth=0.4)
    random = torch.Generator().manual_seed(1)
    drawn = {
        name: torch.stack([space.draw(random)[0] for _ in range(4000)]) + space.mean
        for name, space in {"gaussian": gaussian, "kernel": kernel}.items()
    }
    torch.testing.assert_close(drawn["kernel"].T.cov(), codes.T.cov(), rtol=0.1, atol=0.1)
    torch.testing.assert_close(drawn["kernel"].mean(dim=0), codes.mean(dim=0), rtol=0, atol=0.1)
    # Codes lie at ±3: a Gaussian draws most people from between them, a kernel next to none.
    between = {name: float((w[:, 0].abs() < 1.0).float().mean()) for name, w in drawn.items()}
    assert between["gaussian"] > 0.2 > 0.1 > between["kernel"]
    still = replace(kernel, bandwidth=0.0).draw(random) + kernel.mean
    assert torch.cdist(still, codes).min() < 1e-5, "without the Gaussian it is a person of the bank"


def test_a_direction_goes_so_many_deviations(wardrobe):
    step = wardrobe.direction(1, 2.0)
    along = (step[0] * wardrobe.space.axes[1, 0]).sum()
    assert float(along) == pytest.approx(2.0 * float(wardrobe.space.spreads[1]), rel=5e-3)
    assert wardrobe.directions == ("first", "second")
    with pytest.raises(BadParameter, match="no direction 99"):
        wardrobe.direction(99, 1.0)


def test_blends_keep_what_a_fit_has_beyond_its_styles(wardrobe):
    one, other = (wardrobe.draw(seed) for seed in (1, 2))
    detail = torch.zeros(16, 32, 32)
    detail[0, 5, 7] = 3.0
    fitted = wardrobe.appearance(wardrobe.texture(one) + detail, one)
    plain = wardrobe.appearance(wardrobe.texture(other), other)
    texture, w = wardrobe.avatar_texture([(fitted, 0.25), (plain, 0.75)])
    torch.testing.assert_close(w, wardrobe.interpolate(one, other, 0.75))
    torch.testing.assert_close(texture, wardrobe.texture(w) + 0.25 * detail)
    # Alone, a person is exactly who they are; along a direction they take the detail with them.
    alone, _ = wardrobe.avatar_texture([(fitted, 1.0), (plain, 0.0)])
    assert torch.equal(alone, fitted.texture)
    moved, w = wardrobe.avatar_texture([(fitted, 1.0)], [(0, 1.5)])
    torch.testing.assert_close(w, one + wardrobe.direction(0, 1.5))
    torch.testing.assert_close(moved, wardrobe.texture(w) + detail)


def test_a_person_without_styles_is_beyond_the_mean_person(wardrobe):
    texture = torch.randn(16, 32, 32, generator=torch.Generator().manual_seed(0))
    person = wardrobe.appearance(texture)
    assert torch.equal(person.w, wardrobe.mean_w)
    drawn = wardrobe.appearance(wardrobe.texture(wardrobe.draw(1)), wardrobe.draw(1))
    blend, w = wardrobe.avatar_texture([(person, 0.5), (drawn, 0.5)])
    beyond = texture - wardrobe.texture(wardrobe.mean_w)
    torch.testing.assert_close(blend, wardrobe.texture(w) + 0.5 * beyond)


def test_blends_that_make_no_sense_are_refused(wardrobe):
    person = wardrobe.appearance(torch.zeros(16, 32, 32))
    with pytest.raises(BadParameter, match=r"add up to 0\.6"):
        wardrobe.avatar_texture([(person, 0.6)])
    with pytest.raises(BadParameter, match="not of the wardrobe"):
        wardrobe.appearance(torch.zeros(16, 64, 64))


# --- packages


def test_a_wardrobe_survives_its_package_as_float16(written, wardrobe):
    library, networks = written
    arrays = load_arrays(library / WARDROBE)
    floats = [a.dtype for a in arrays.values() if a.is_floating_point()]
    assert set(floats) == {torch.float16}
    assert not any("spectral" in name for name in arrays), "the body has these"
    w = wardrobe.draw(0)
    with torch.no_grad():
        before, after = networks.generator(w[None])[0], wardrobe.texture(w)
        assert (before - after).abs().max() < 0.02
        photo = torch.randn(1, 4, 32, 32)
        styles = networks.encoder(photo), wardrobe.encoder(photo)
        torch.testing.assert_close(*styles, rtol=0.05, atol=0.02)
        crop = torch.randn(2, 4, 16, 16)
        torch.testing.assert_close(networks.face(crop), wardrobe.face(crop), rtol=0.05, atol=0.05)
    assert wardrobe.digest
    assert not any(p.requires_grad for p in wardrobe.generator.parameters())


def test_encoder_face_and_a_further_trainings_arrays_are_optional(written, tmp_path):
    library, networks = written
    manifest = write_wardrobe(
        tmp_path / "bare", networks.generator, networks.space,
        dresser=read_manifest(library / DRESSER), body="body-cc0", name="Bare", licence=LICENCE,
        training={"codes": torch.eye(STYLE)},
    )  # fmt: skip
    bare = Wardrobe.load([tmp_path, library], "bare")
    assert (bare.encoder, bare.face) == (None, None)
    assert torch.equal(training_arrays(tmp_path / "bare")["codes"], torch.eye(STYLE))
    assert manifest.requirements == {"dresser": DRESSER, "body": "body-cc0"}
    with pytest.raises(BadParameter, match="no prior 'mapping'"):
        write_wardrobe(
            tmp_path / "mapped", networks.generator, networks.space, prior="mapping",
            dresser=read_manifest(library / DRESSER), body="body-cc0", name="M", licence=LICENCE,
        )  # fmt: skip


def test_a_bank_to_draw_near_to_survives_the_package(written, tmp_path):
    library, networks = written
    bank = torch.randn(5, *networks.space.mean.shape, generator=torch.Generator().manual_seed(2))
    space = replace(networks.space, bank=bank.half().float(), bandwidth=0.3)
    settings = {
        "dresser": read_manifest(library / DRESSER), "body": "body-cc0",
        "name": "Near", "licence": LICENCE,
    }  # fmt: skip
    write_wardrobe(tmp_path / "near", networks.generator, space, prior="kernel", **settings)
    near = Wardrobe.load([tmp_path, library], "near")
    assert torch.equal(near.space.bank, space.bank)
    expected = space.draw(torch.Generator().manual_seed(7)) + space.mean
    torch.testing.assert_close(near.draw(7, 1.0)[:1], expected[:1], rtol=1e-2, atol=1e-2)
    with pytest.raises(BadParameter, match="a kernel prior, and no other"):
        write_wardrobe(tmp_path / "x", networks.generator, space, prior="gaussian", **settings)
    wrong = replace(space, bank=bank[..., :-1])
    with pytest.raises(BadParameter, match="styles of the shape"):
        write_wardrobe(tmp_path / "x", networks.generator, wrong, prior="kernel", **settings)


def test_people_of_a_wardrobe_are_ordinary_avatars(library, wardrobe):
    write_toy_avatar(library, "avatar-five", 5)
    write_toy_avatar(library, "avatar-six", 6, styles=False)
    five, six = (AvatarRenderer.load(library, f"avatar-{n}") for n in ("five", "six"))
    frames = [each.render(posed(), camera_at(2.0)) for each in (five, six)]
    rgba = frames[0]["rgba"]
    assert not np.array_equal(rgba, frames[1]["rgba"])
    np.testing.assert_array_equal(np.isinf(frames[0]["depth"]), rgba[..., 3] == 0)
    assert 2.0 > np.quantile(frames[0]["depth"][np.isfinite(frames[0]["depth"])], 0.5) > 1.7
    kept = load_arrays(library / "avatar-five")
    torch.testing.assert_close(kept["w"], wardrobe.draw(5, truncation=1.0))
    assert "w" not in load_arrays(library / "avatar-six")
    assert five.largest_crop == 256


def test_the_dresser_sees_half_the_crop_and_the_body_is_always_opaque(library):
    write_toy_avatar(library, "avatar-seven", 7)
    renderer = AvatarRenderer.load(library, "avatar-seven")
    geometry = renderer.geometry(posed(), camera_at(2.0))
    features = renderer.features(geometry)
    painted = renderer.paint(features)
    side = geometry.crop.size
    assert features.features.shape[-1] == side // 2
    assert painted.rgba.shape == (1, 4, side, side)
    assert painted.depth.shape == (1, side, side)
    inside = torch.isfinite(painted.depth)
    # The coverage is enlarged smoothly: soft at the rim, opaque where neighbours are covered, too.
    assert (painted.rgba[:, 3][inside] > 0.1).all()
    whole = -functional.max_pool2d(-features.coverage, 3, stride=1, padding=1) == 1
    whole = whole[0].repeat_interleave(2, dim=1).repeat_interleave(2, dim=2)
    assert whole.sum() > 500
    assert (painted.rgba[:, 3][whole] == 1).all()
    assert painted.rgba[:, 3][~inside].mean() < 0.02


def test_textures_that_are_not_of_a_wardrobe_are_not_saved_as_its(library, tmp_path):
    manifest = read_manifest(library / WARDROBE)
    for texture, w in ((torch.zeros(16, 64, 64), None), (torch.zeros(16, 32, 32), torch.zeros(2))):
        with pytest.raises(BadParameter, match="must be finite"):
            save_wardrobe_avatar(tmp_path / "x", manifest, texture, w, name="X", licence=LICENCE)
    assert not (tmp_path / "x").exists()


def test_a_wardrobe_whose_dresser_changed_is_refused(tmp_path):
    networks = write_toy_wardrobe(tmp_path, complete=False)
    manifest = read_manifest(tmp_path / DRESSER)
    write_package(tmp_path / DRESSER, manifest, Dresser(networks.dresser.config).state_dict())
    with pytest.raises(PackageDamaged, match="another version"):
        Wardrobe.load(tmp_path, WARDROBE)
    with pytest.raises(UnknownModel, match="not a wardrobe"):
        Wardrobe.load(tmp_path, DRESSER)
