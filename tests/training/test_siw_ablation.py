"""Comparing painters that are trained equally long: variants, exact resume, Inception, charts."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from torch.nn import functional

from blender_addon.contract.errors import ModelError
from models.siw_config import SiwConfig
from training.charts import Series, beside, line_chart
from training.inception_features import FID_CLASSES, InceptionFeatures, WithoutPadding
from training.schedule import StagePlan
from training.siw_ablation import (
    CHART_FILE,
    MARKDOWN_FILE,
    SHEET_FILE,
    TABLE_FILE,
    TITLES,
    Yardstick,
    train_and_measure,
    train_siw_ablations,
    variants,
)
from training.siw_data import PortraitSet
from training.siw_frechet import features_of
from training.siw_recipe import (
    SiwAdversary,
    SiwData,
    SiwOptimiser,
    SiwRecipe,
    SiwSchedule,
    SiwWeights,
)
from training.siw_training import SiwTraining

from .toy_portraits import write_toy_portraits

RECIPE = Path(__file__).parents[2] / "training" / "recipes" / "siw-ablations.yaml"
CPU = torch.device("cpu")
TINY = SiwConfig(
    size=32, label_size=32, encoder=(8, 12, 16), base=512, widest=16, style=16, code=8,
    mapping_layers=2, mapping_rate=0.1, spade=(16, 32), spade_hidden=8, spade_kernel=(3, 1),
    colour_from=16,
)  # fmt: skip
QUICK = SiwRecipe(
    architecture=TINY,
    data=SiwData(batch=4, scale=(1.0, 1.2)),
    weights=SiwWeights(),
    optimiser=SiwOptimiser(average_images=20, average_ramp=0.1),
    adversary=SiwAdversary(base=128, widest=8, r1_every=2, path=0.0),
    schedule=SiwSchedule(unpaired=StagePlan(steps=4), explosion=0.0),
)


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return write_toy_portraits(tmp_path_factory.mktemp("portraits") / "toys", train=4)


@pytest.fixture(scope="module")
def toys(folder) -> PortraitSet:
    return PortraitSet.open(folder, None, 32, held_out=6)


@pytest.fixture(scope="module")
def yardstick(toys) -> Yardstick:
    return Yardstick.of(toys.held_out, features_of(0))


def test_variants_differ_in_what_they_are_named_after_and_in_nothing_else():
    found = variants(QUICK)
    assert list(found) == list(TITLES)
    assert {name: r.architecture.start for name, r in found.items()} == {
        "full": "labels",
        "constant": "constant",
        "unmixed": "labels",
        "constant-unmixed": "constant",
        "stylegan2": "constant",
    }
    assert [r.adversary.mixing for r in found.values()] == [0.9, 0.9, 0.0, 0.0, 0.0]
    assert [bool(r.architecture.spade) for r in found.values()] == [True] * 4 + [False]
    for recipe in found.values():
        architecture = replace(recipe.architecture, start="labels", spade=TINY.spade)
        adversary = replace(recipe.adversary, mixing=0.9)
        assert replace(recipe, architecture=architecture, adversary=adversary) == QUICK


@pytest.mark.parametrize(("name", "sees_labels"), [("full", True), ("stylegan2", False)])
def test_the_baseline_paints_without_looking_at_labels(toys, tmp_path, name, sees_labels):
    training = SiwTraining(variants(QUICK)[name], toys, tmp_path, CPU)
    model = training.average.eval()
    from training.siw_figures import Painter

    painter = Painter(model, CPU, torch.float32)
    w = model.draw(1, seed=0).expand(2, -1, -1)
    one, other = painter.paint(torch.from_numpy(toys.held_out.labels[[0, 5]]), w)
    assert ((one - other).abs().max() > 1e-3) == sees_labels


def test_an_interrupted_comparison_goes_on_exactly(toys, yardstick, tmp_path):
    def training(out: str) -> SiwTraining:
        return SiwTraining(variants(QUICK)["unmixed"], toys, tmp_path / out, CPU)

    whole = train_and_measure(training("whole"), [2, 4], yardstick)
    assert [point["images"] for point in whole] == [8.0, 16.0]
    assert all(point["frechet"] > 0 for point in whole)
    first = train_and_measure(training("parts"), [2], yardstick)
    parts = train_and_measure(training("parts"), [2, 4], yardstick)
    assert [p["frechet"] for p in parts] == [p["frechet"] for p in whole]
    assert parts[0] == first[0]
    again = training("parts")
    assert train_and_measure(again, [2, 4], yardstick) == parts
    assert again.stand.step == 4


def test_the_command_trains_measures_and_draws(folder, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("training.siw_ablation.features_of", lambda *_: features_of(0))
    parts = {
        name: getattr(QUICK, name)
        for name in ("architecture", "data", "weights", "optimiser", "adversary")
    }
    options = {"images": 8, "points": 2, "count": 4, "threads": 1, "device": "cpu"}
    only = ["full", "stylegan2"]
    assert train_siw_ablations(folder, tmp_path, only=only, **parts, **options) == 0
    table = json.loads((tmp_path / TABLE_FILE).read_text())
    assert "lite0 features, 4" in table["measure"]
    assert list(table["curves"]) == only
    assert [len(curve) for curve in table["curves"].values()] == [2, 2]
    assert "StyleGAN2, no labels" in (tmp_path / MARKDOWN_FILE).read_text()
    for file in (CHART_FILE, SHEET_FILE):
        with Image.open(tmp_path / file) as picture:
            assert min(picture.size) >= 128
    assert "stylegan2" in capsys.readouterr().out


def test_the_recipe_trains_the_papers_objective_and_explains_every_key():
    recipe = yaml.safe_load(RECIPE.read_text())
    plain = SiwRecipe().to_plain()
    assert set(recipe) == set(plain) | {"images", "points"}
    for group, values in plain.items():
        if isinstance(values, dict):
            assert set(recipe[group]) == set(values), group
    assert recipe["architecture"]["size"] == 128
    assert recipe["adversary"]["mixing"] == 0.9
    # Unpaired: no loss compares with a portrait, and no style is read from one.
    assert {k for k, v in recipe["weights"].items() if v} == {"adversarial"}
    assert recipe["architecture"]["mapping"] == "shared"
    for line in RECIPE.read_text().splitlines():
        key, colon, _ = line.partition(":")
        if colon and not line.startswith("#") and line.rstrip() != f"{key}:":
            assert "#" in line, line


# --- Inception


def random_inception(file: Path, classes: int) -> Path:
    from torchvision.models.inception import Inception3

    torch.manual_seed(0)
    network = Inception3(num_classes=classes, aux_logits=False, init_weights=False)
    torch.save(network.state_dict(), file)
    return file


def test_inception_weights_of_either_kind_measure_under_their_own_name(tmp_path):
    images = torch.rand(1, 3, 48, 48, generator=torch.Generator().manual_seed(0)) * 2 - 1
    found = {}
    for classes in (1000, FID_CLASSES):
        features = features_of(2, random_inception(tmp_path / "inception.pth", classes))
        found[classes] = features(images)
        assert ("FID" in features.name) == (classes == FID_CLASSES)
        assert found[classes].shape == (1, 2048)
        assert torch.equal(found[classes], features(images)), "no dropout, no batch statistics"
    # Equal weights before the last layer, other pooling.
    assert not torch.allclose(found[1000], found[FID_CLASSES])


def test_fids_averages_leave_padding_out():
    x = torch.rand(2, 3, 5, 6)
    padded = functional.avg_pool2d(x, kernel_size=3, stride=1, padding=1)
    expected = functional.avg_pool2d(x, 3, 1, 1, count_include_pad=False)
    torch.testing.assert_close(WithoutPadding()(padded), expected)


def test_missing_and_other_weights_are_refused(tmp_path):
    with pytest.raises(ModelError, match="cannot be read"):
        features_of(2, tmp_path / "nothing.pth")
    other = tmp_path / "other.pth"
    torch.save({"fc.bias": torch.zeros(1000)}, other)
    with pytest.raises(ModelError, match="Inception"):
        InceptionFeatures(other)


# --- charts


def blue_near(picture: Image.Image, x: int, y: int) -> bool:
    around = np.asarray(picture.crop((x - 3, y - 3, x + 4, y + 4)), int)
    return bool((np.abs(around - (0, 114, 178)).sum(axis=2) < 60).any())


def test_lines_go_where_their_values_are():
    rising = line_chart([Series("a", [(0, 0.0), (10, 1.0)])], title="t", across="x")
    falling = line_chart([Series("a", [(0, 1.0), (10, 0.0)])], title="t", across="x")
    low_left, high_right, middle = (64, 352), (616, 40), (340, 196)
    assert blue_near(rising, *low_left)
    assert blue_near(rising, *high_right)
    assert blue_near(rising, *middle)
    assert blue_near(falling, *middle)
    assert not blue_near(falling, *low_left)


def test_legends_hide_no_line():
    high = line_chart([Series("a", [(0, 1.0), (9, 1.0), (10, 0.0)])], title="t", across="x")
    assert blue_near(high, 200, 40)
    assert blue_near(high, 560, 40)


def test_charts_leave_out_what_is_not_finite_and_stand_beside_each_other():
    points = [(0.0, 100.0), (10.0, float("nan")), (20.0, 900.0)]
    chart = line_chart(
        [Series("a", points)], title="t", across="x", marks={"here": 15.0}, logarithmic=True
    )
    assert beside([chart, chart]).size == (2 * chart.width, chart.height)
