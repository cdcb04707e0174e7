"""Ablations: the right variants, equally long, resumable, in a table and on a sheet."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from PIL import Image

from blender_addon.contract.errors import TrainingError
from training.ablation import PAPER_TERMS, train_ablations, variants
from training.dressing_recipe import (
    DressingData,
    DressingOptimiser,
    DressingRecipe,
    DressingSchedule,
)
from training.dressing_training import DressingTraining
from training.losses import DressingWeights

from .toy_people import write_toy_capture

SETTINGS = {
    "data": DressingData(size=64, batch=1, people_per_batch=1),
    "optimiser": DressingOptimiser(warm_start=0, texture_size=32),
    "schedule": DressingSchedule(steps=2),
    "perceptual_stages": (0,),
    "device": "cpu",
    "threads": 1,
}


def test_variants_leave_out_what_the_recipe_uses():
    recipe = DressingRecipe(weights=DressingWeights(adversarial=1.0))
    found = variants(recipe, PAPER_TERMS)
    # The recipe has no adversaries of head and hands: nothing can be left out there.
    expected = ["perceptual", "face_perceptual", "segmentation", "adversarial", "mipmap"]
    assert list(found) == ["full", *(f"no-{term}" for term in expected)]
    assert found["no-adversarial"] == replace(recipe, weights=DressingWeights())


def test_ablations_are_trained_once_and_laid_side_by_side(tmp_path, monkeypatch):
    capture = write_toy_capture(tmp_path / "library", tmp_path / "toy", train=2, held_out=1)
    options = {**SETTINGS, "out": tmp_path / "out", "library": tmp_path / "library"}
    assert train_ablations([capture], terms=["mipmap"], **options) == 0
    table = json.loads((tmp_path / "out/ablations.json").read_text())
    assert {name: row["steps"] for name, row in table.items()} == {"full": 2, "no-mipmap": 2}
    assert table["full"]["psnr_person"] != table["no-mipmap"]["psnr_person"]
    # The truth, and a row for each variant.
    assert Image.open(tmp_path / "out/ablations.png").size[1] == 3 * 160
    rows = (tmp_path / "out/ablations.md").read_text().splitlines()
    assert len(rows) == 4
    assert rows[3].startswith("| no-mipmap |")

    def trained_again(self: DressingTraining) -> None:
        raise AssertionError("a complete variant was trained again")

    monkeypatch.setattr(DressingTraining, "run", trained_again)
    assert train_ablations([capture], terms=["mipmap"], **options) == 0
    assert json.loads((tmp_path / "out/ablations.json").read_text()) == table


def test_a_comparison_by_the_clock_is_refused(tmp_path):
    with pytest.raises(TrainingError, match="equally many steps"):
        train_ablations([tmp_path], schedule=DressingSchedule(minutes=3.0))
