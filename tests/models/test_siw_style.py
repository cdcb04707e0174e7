"""Styles of a SIW StyleGAN: mapping, truncation, prior, the encoder of images, packages."""

from __future__ import annotations

import json

import pytest
import torch

from blender_addon.contract.errors import PackageDamaged, UnknownModel
from models.package import MANIFEST_FILE, Manifest, package_digest, read_manifest
from models.siw import one_hot
from models.siw_config import SiwConfig
from models.siw_encoder import StyleEncoder, region_statistics
from models.siw_layers import Styles
from models.siw_package import Siw, load_siw, save_siw
from models.siw_style import RegionMapping, SharedMapping, StylePrior, mapping_of, truncate

REGIONS = 17
TINY = SiwConfig(
    size=32, label_size=32, encoder=(6, 8, 12), base=256, widest=12, style=10, code=4,
    mapping="regions", mapping_layers=2, mapping_width=12, spade=(16, 32), spade_hidden=5,
    spade_kernel=(3, 1), style_bias=True, colour_from=16, photo_encoder=6,
)  # fmt: skip


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)
    torch.set_num_threads(1)


def test_mapping_of_the_paper_is_stylegan2s():
    mapping = mapping_of(SiwConfig())
    assert isinstance(mapping, SharedMapping)
    assert sum(p.numel() for p in mapping.parameters()) == 8 * (512 * 512 + 512)


def test_mapping_by_region_starts_with_styles_that_differ():
    mapping = mapping_of(TINY)
    assert isinstance(mapping, RegionMapping)
    w = mapping(torch.randn(200, REGIONS, 4))
    assert w.shape == (200, REGIONS, 10)
    # He initialisation: a style says as much as its code, from the first step on.
    assert 0.3 < w.std(dim=0).mean() < 3.0
    same = mapping(torch.zeros(1, REGIONS, 4))
    assert (same[0, 1] - same[0, 2]).abs().max() > 0.1, "regions are told apart"


def test_truncation_is_a_number_for_all_regions_or_one_each():
    w, mean = torch.randn(3, REGIONS, 10), torch.randn(REGIONS, 10)
    torch.testing.assert_close(truncate(w, mean, 1.0), w)
    torch.testing.assert_close(truncate(w, mean, 0.0), mean.expand(3, -1, -1))
    only_hair = torch.ones(REGIONS)
    only_hair[15] = 0.5
    found = truncate(w, mean, only_hair)
    torch.testing.assert_close(found[:, :15], w[:, :15])
    torch.testing.assert_close(found[:, 15], 0.5 * (w[:, 15] + mean[15]))


def correlated_codes(count: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Codes of regions 0 and 1 that share their first number; region 2 is shown by every third."""
    codes = torch.randn(count, REGIONS, 4) * 2.0 + 5.0
    codes[:, 1, 0] = codes[:, 0, 0]
    present = torch.ones(count, REGIONS, dtype=torch.bool)
    present[:, 2] = torch.arange(count) % 3 == 0
    return codes, torch.full_like(codes, 0.1), present


@pytest.mark.parametrize("bank", [0.0, 0.6, 1.0])
def test_drawn_codes_are_spread_as_the_portraits_are(bank):
    codes, deviations, present = correlated_codes(600)
    prior = StylePrior.of(codes, deviations, present)
    drawn = prior.draw(4000, torch.Generator().manual_seed(1), bank=bank)
    shown = [codes[present[:, region], region] for region in range(REGIONS)]
    mean = torch.stack([each.mean(dim=0) for each in shown])
    deviation = torch.stack([each.std(dim=0) for each in shown])
    torch.testing.assert_close(drawn.mean(dim=0), mean, atol=0.2, rtol=0)
    torch.testing.assert_close(drawn.std(dim=0), deviation, atol=0.25, rtol=0)
    together = torch.corrcoef(torch.stack([drawn[:, 0, 0], drawn[:, 1, 0]]))[0, 1]
    assert together > 0.9, "regions of one portrait belong together"


def test_bank_alone_repeats_portraits_but_never_their_absent_regions():
    codes, deviations, present = correlated_codes(30)
    codes[~present] = 1e6
    prior = StylePrior.of(torch.where(present[..., None], codes, 0.0), deviations, present)
    drawn = prior.draw(50, torch.Generator().manual_seed(1), bank=1.0)
    nearest = (drawn[:, None, 0] - codes[None, :, 0]).abs().amax(dim=2).min(dim=1).values
    assert nearest.max() < 1e-4
    assert drawn[:, 2].abs().max() < 100.0


def test_prior_spreads_out_and_keeps_a_bank_of_the_size_asked_for():
    codes, deviations, present = correlated_codes(40)
    prior = StylePrior.of(codes, deviations, present, bank=10)
    assert prior.bank.shape == (10, REGIONS, 4)
    generator = torch.Generator().manual_seed(3)
    still = prior.draw(5, generator, spread=0.0)
    torch.testing.assert_close(still, still[:1].expand(5, -1, -1))


def test_statistics_of_regions_by_hand():
    images = torch.rand(1, 3, 4, 4)
    labels = torch.zeros(1, 4, 4, dtype=torch.uint8)
    labels[:, :2] = 5
    mean, deviation, share = region_statistics(images, one_hot(labels, REGIONS))
    pixels = images[0, :, :2].reshape(3, -1)
    torch.testing.assert_close(mean[0, 5], pixels.mean(dim=1))
    torch.testing.assert_close(
        deviation[0, 5], pixels.var(dim=1, unbiased=False).clamp(min=1e-5).sqrt(),
        rtol=1e-3, atol=1e-4,
    )  # fmt: skip
    assert share[0, 5] == 0.5
    assert share[0, 6] == 0.0


def test_encoder_reads_only_the_regions_that_are_there():
    encoder = StyleEncoder(TINY)
    labels = torch.zeros(2, 32, 32, dtype=torch.uint8)
    labels[1, :16] = 15
    images = torch.rand(2, 3, 32, 32) * 2 - 1
    codes = encoder(images, one_hot(labels, REGIONS))
    assert codes.present.sum(dim=1).tolist() == [1, 2]
    assert not codes.mean[~codes.present].any()
    # What the other half looks like says little about this half: its colours do not.
    changed = images.clone()
    changed[1, :, :16] = 0.9
    again = encoder(changed, one_hot(labels, REGIONS))
    assert (again.mean[1, 15] - codes.mean[1, 15]).abs().max() > 0.1
    torch.testing.assert_close(again.mean[0], codes.mean[0])
    noise = torch.randn(2, REGIONS, 4)
    torch.testing.assert_close(codes.sample(noise)[~codes.present], noise[~codes.present])


def test_divergence_of_a_unit_gaussian_is_nothing():
    codes = StyleEncoder(TINY)(torch.rand(1, 3, 32, 32), torch.ones(1, REGIONS, 32, 32) / REGIONS)
    unit = codes._replace(
        mean=torch.zeros_like(codes.mean), log_variance=torch.zeros_like(codes.mean)
    )
    assert unit.divergence() == 0.0
    assert codes.divergence() > 0.0


def manifest(model: Siw, name: str = "siw-test") -> Manifest:
    return Manifest(
        kind="siw", id=name, name="Test", licence="CC0-1.0", architecture=model.config.to_plain()
    )


def test_package_gives_the_same_styles_and_pictures_back(tmp_path):
    model = Siw(TINY)
    model.prior = StylePrior.of(*correlated_codes(40))
    model.measure_style_mean(64)
    save_siw(tmp_path / "siw-test", model, manifest(model))
    loaded = load_siw(tmp_path / "siw-test")
    assert loaded.config == TINY
    assert not loaded.training
    w = loaded.draw(3, seed=7)
    torch.testing.assert_close(w, loaded.draw(3, seed=7))
    torch.testing.assert_close(w, model.draw(3, seed=7), rtol=0.02, atol=0.02)
    labels = one_hot(torch.randint(REGIONS, (3, 32, 32)), REGIONS)
    torch.testing.assert_close(
        loaded.generator(labels, Styles.by_region(w)),
        model.generator(labels, Styles.by_region(w)),
        rtol=0.05, atol=0.05,
    )  # fmt: skip
    assert loaded.get_buffer("style_mean").abs().max() > 0
    assert len(package_digest(read_manifest(tmp_path / "siw-test"))) == 16


def test_package_without_encoder_draws_one_style_for_all_regions(tmp_path):
    config = SiwConfig.from_plain(
        {**TINY.to_plain(), "mapping": "shared", "photo_encoder": 0, "code": 8}
    )
    model = Siw(config)
    save_siw(tmp_path / "siw-test", model, manifest(model))
    w = load_siw(tmp_path / "siw-test").draw(2, seed=1)
    assert w.shape == (2, REGIONS, 10)
    torch.testing.assert_close(w, w[:, :1].expand(-1, REGIONS, -1))
    assert (w[0] - w[1]).abs().max() > 1e-4


def test_wrong_packages_are_refused(tmp_path):
    model = Siw(TINY)
    with pytest.raises(UnknownModel):
        load_siw(tmp_path / "nothing")
    save_siw(tmp_path / "siw-test", model, manifest(model))
    file = tmp_path / "siw-test" / MANIFEST_FILE
    fields = json.loads(file.read_text())
    fields["architecture"]["widest"] = 14
    file.write_text(json.dumps(fields))
    with pytest.raises(PackageDamaged, match="fit"):
        load_siw(tmp_path / "siw-test")
    fields["kind"] = "sof"
    file.write_text(json.dumps(fields))
    with pytest.raises(UnknownModel, match="sof"):
        load_siw(tmp_path / "siw-test")
