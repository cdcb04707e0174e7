"""Training a parser: portraits as photographs, the losses, a tiny run, its package and figures."""

from __future__ import annotations

import json
from dataclasses import fields, replace
from pathlib import Path

import jsonargparse
import numpy as np
import pytest
import torch

from blender_addon.contract.errors import SplitLeak, TrainingError
from blender_addon.contract.labels import Label, colors_to_labels, labels_to_colors
from models.label_agreement import off_borders
from models.package import list_packages
from models.parser_network import ParserConfig, ParserDecoder
from models.parser_package import load_parser
from training.checkpoint import load_checkpoint
from training.parser import train_parser
from training.parser_evaluation import evaluate_parser
from training.parser_export import export_parser, start_values
from training.parser_recipe import GROUPS, ParserData, ParserOptimiser, ParserRecipe
from training.parser_training import PLAIN, ParserTraining, overlap_loss
from training.photographs import PhotographChances, as_photograph, pattern
from training.siw_data import PortraitSet
from training.sof_recipe import SofSchedule
from training.stage import run_stage

from .toy_portraits import toy_labels, write_toy_portraits

RECIPE = Path(__file__).parents[2] / "training" / "recipes" / "parser-cpu.yaml"
SIZE = 64
TINY = ParserRecipe(
    architecture=ParserConfig(widths=(8, 12, 16, 24, 32), colours=4),
    data=ParserData(sizes=(SIZE,), pixels=6 * SIZE * SIZE),
    photographs=replace(PLAIN, mirror=0.5, scale=(0.9, 1.2)),
    optimiser=ParserOptimiser(rate=2e-2, average=0.7),
    schedule=SofSchedule(steps=30, warm_up=5, checkpoint_minutes=1e9),
)


@pytest.fixture(scope="module")
def portraits(tmp_path_factory):
    return write_toy_portraits(tmp_path_factory.mktemp("set") / "portraits", size=SIZE)


@pytest.fixture(scope="module")
def opened(portraits):
    return PortraitSet.open(portraits, None, SIZE)


@pytest.fixture(scope="module")
def run(opened, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "parser"
    torch.set_num_threads(1)
    history = run_stage(ParserTraining(TINY, opened, out, torch.device("cpu")))
    return out, history


# --- portraits as photographs


@pytest.mark.parametrize("seed", range(6))
def test_image_and_labels_stay_paired_wherever_they_are_put(seed):
    labels = toy_labels(128, np.random.default_rng(seed))
    chances = replace(PLAIN, scale=(0.5, 1.6), turn=20.0, shift=0.1, mirror=0.5)
    rng = np.random.default_rng(seed)
    image, seen = as_photograph(labels_to_colors(labels), labels, 96, chances, rng)
    # Borders are blended, and mirrored halves of the nose have each other's colour.
    inside = off_borders(seen) & ~np.isin(seen, (Label.LEFT_NOSE, Label.RIGHT_NOSE))
    off = np.abs(image.astype(int) - labels_to_colors(seen)).max(axis=2)
    assert (off[inside] < 40).mean() > 0.97
    assert len(np.unique(seen)) >= 5


def _swapped(labels):
    table = np.arange(17, dtype=np.uint8)
    table[[Label.LEFT_NOSE, Label.RIGHT_NOSE]] = Label.RIGHT_NOSE, Label.LEFT_NOSE
    return table[labels]


def test_a_mirrored_face_keeps_its_own_left_and_right():
    labels = toy_labels(64, np.random.default_rng(0))
    image = labels_to_colors(labels)
    rng = np.random.default_rng(0)
    mirrored, seen = as_photograph(image, labels, 64, replace(PLAIN, mirror=1.0), rng)
    assert (colors_to_labels(labels_to_colors(labels)[:, ::-1]) == _swapped(seen)).mean() > 0.97
    assert (
        np.argwhere(seen == Label.RIGHT_NOSE)[:, 1].mean()
        < np.argwhere(seen == Label.LEFT_NOSE)[:, 1].mean()
    )
    assert mirrored.shape == image.shape


def test_the_same_numbers_give_the_same_photograph():
    labels = toy_labels(64, np.random.default_rng(1))
    image = labels_to_colors(labels)
    one, other = (
        as_photograph(image, labels, 64, PhotographChances(), np.random.default_rng(5))
        for _ in range(2)
    )
    assert np.array_equal(one[0], other[0])
    assert np.array_equal(one[1], other[1])
    third = as_photograph(image, labels, 64, PhotographChances(), np.random.default_rng(6))
    assert not np.array_equal(one[0], third[0])


def test_another_backdrop_leaves_the_head_alone():
    labels = toy_labels(64, np.random.default_rng(2))
    image = np.full((64, 64, 3), 128, np.uint8)
    chances = replace(PLAIN, background=1.0)
    found, seen = as_photograph(image, labels, 64, chances, np.random.default_rng(3))
    head = seen == Label.SKIN
    assert np.abs(found[head].astype(int) - 128).max() < 30
    assert np.abs(found[seen == 0].astype(int) - 128).mean() > 20


def test_an_occluder_is_no_part_of_the_head():
    labels = np.full((64, 64), Label.SKIN, np.uint8)
    image = np.full((64, 64, 3), 128, np.uint8)
    chances = replace(PLAIN, occluder=1.0)
    for seed in range(5):
        found, seen = as_photograph(image, labels, 64, chances, np.random.default_rng(seed))
        hidden = seen == Label.BACKGROUND
        assert np.abs(found[~hidden].astype(int) - 128).max() <= 12
        if hidden.any():
            return
    raise AssertionError("nothing was held before the head")


def test_patterns_are_colours_of_many_kinds():
    drawn = [pattern(32, np.random.default_rng(seed)) for seed in range(20)]
    assert all(each.shape == (32, 32, 3) and each.min() >= 0 and each.max() <= 1 for each in drawn)
    assert np.std([each.mean(axis=(0, 1)) for each in drawn], axis=0).min() > 0.05


# --- losses


def test_overlap_counts_small_regions_as_much_as_large_ones():
    labels = torch.zeros(1, 16, 16, dtype=torch.int64)
    labels[0, :2, :2] = 3
    right = torch.nn.functional.one_hot(labels, 17).permute(0, 3, 1, 2).float() * 50.0
    assert float(overlap_loss(right, labels)) < 0.15
    # All background: nearly all pixels are right, half of the labels are missed.
    blind = torch.zeros(1, 17, 16, 16)
    blind[:, 0] = 50.0
    assert float(overlap_loss(blind, labels)) > 0.45


# --- training


def test_a_tiny_run_learns_to_label_heads_that_it_never_saw(run):
    out, history = run
    assert np.mean(history[-5:]) < 0.6 * np.mean(history[:3])
    entries = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    assert entries[-1]["held-out/portraits"] > 0.15
    assert json.loads((out / "recipe.json").read_text())["data"]["sizes"] == [SIZE]
    assert list((out / "samples").glob("*.png"))


def test_a_resumed_training_ends_where_an_unbroken_one_does(opened, tmp_path):
    short = replace(TINY, schedule=replace(TINY.schedule, steps=4))
    device = torch.device("cpu")
    run_stage(ParserTraining(short, opened, tmp_path / "whole", device))
    first = ParserTraining(short, opened, tmp_path / "parts", device)
    make = first.make

    def stop_at_two(batch):
        if first.step == 1:
            first.stopping.set()
        return make(batch)

    first.make = stop_at_two
    run_stage(first)
    assert first.step == 2
    second = ParserTraining(short, opened, tmp_path / "parts", device)
    assert second.resume()
    run_stage(second)
    for part in ("decoder", "average"):
        a = load_checkpoint(tmp_path / "whole")[part]
        b = load_checkpoint(tmp_path / "parts")[part]
        assert all(torch.equal(a[name], b[name]) for name in a), part


def test_a_checkpoint_of_others_is_refused(run, opened, tmp_path):
    out, _ = run
    device = torch.device("cpu")
    others = PortraitSet.open(
        write_toy_portraits(tmp_path / "others", size=SIZE, train=3, held_out=1), None, SIZE
    )
    with pytest.raises(TrainingError, match="other portraits"):
        ParserTraining(TINY, others, out, device).resume()
    wider = replace(TINY, architecture=replace(TINY.architecture, colours=8))
    with pytest.raises(TrainingError, match="another architecture"):
        ParserTraining(wider, opened, out, device).resume()
    with pytest.raises(TrainingError, match="no end"):
        ParserTraining(replace(TINY, schedule=SofSchedule()), opened, tmp_path, device)


def test_a_run_becomes_a_package_that_is_measured(run, portraits, tmp_path, capsys):
    out, _ = run
    assert export_parser(out, tmp_path / "library", "parser-toy") == 0
    (manifest,) = list_packages(tmp_path / "library")
    assert (manifest.kind, manifest.licence) == ("parser", "CC0-1.0")
    assert manifest.metrics["held-out/portraits"] > 0.15
    folder = tmp_path / "library" / "parser-toy"
    kept, made = load_parser(folder).decoder.state_dict(), start_values(out)
    assert all(torch.allclose(kept[name], made[name], rtol=1e-3, atol=1e-4) for name in made)
    file = tmp_path / "figures.json"
    # Thirty steps cannot hold the shipped parser's bounds: the command says so.
    evaluate_parser(folder, portraits, count=2, json=file, picture=tmp_path / "sheet.png")
    figures = json.loads(file.read_text())
    assert figures["portraits/mean_iou"]["bound"] > 0.5
    assert figures["portraits/mean_iou"]["value"] > 0.1
    assert "photographs/skin" in figures
    assert "portraits/mean_iou" in capsys.readouterr().out


def test_a_parser_is_not_measured_on_other_portraits(run, tmp_path):
    export_parser(run[0], tmp_path, "parser-toy")
    others = write_toy_portraits(tmp_path / "others", size=SIZE, train=3, held_out=1)
    with pytest.raises(SplitLeak):
        evaluate_parser(tmp_path / "parser-toy", others)


# --- recipe


def test_the_recipe_names_every_setting_and_explains_it():
    parser = jsonargparse.ArgumentParser(exit_on_error=False)
    parser.add_function_arguments(train_parser, as_positional=False)
    parser.add_argument("--config", action="config")
    given = parser.parse_args([f"--config={RECIPE}", "--portraits=P"])
    lines = RECIPE.read_text().splitlines()
    for group in GROUPS:
        for field in fields(type(getattr(ParserRecipe(), group))):
            line = next(row for row in lines if row.strip().startswith(f"{field.name}:"))
            assert "#" in line, field.name
    decoder = ParserDecoder(ParserConfig(**vars(given.architecture)))
    assert 2 * sum(p.numel() for p in decoder.parameters()) < 4e6
