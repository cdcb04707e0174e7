"""Ablations: the right variants, equally long, resumable, in a table and on a sheet."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from PIL import Image

from blender_addon.contract.errors import TrainingError
from models import regions
from training.ablation import PAPER_TERMS, train_ablations, variants
from training.comparison import CELL, VIEWS, frames_to_compare
from training.dressing_data import People
from training.dressing_recipe import (
    DressingData,
    DressingOptimiser,
    DressingRecipe,
    DressingSchedule,
)
from training.dressing_training import DressingTraining
from training.losses import DressingWeights

from .toy_people import LIGHT_DRESSER, write_toy_capture

SETTINGS = {
    "architecture": LIGHT_DRESSER,
    # Large enough for head and hand to be seen.
    "data": DressingData(size=96, batch=1, people_per_batch=1),
    "optimiser": DressingOptimiser(warm_start=0, texture_size=32, average_every=1),
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
    # The toys' face and hands cover too little of their squares to be looked at otherwise.
    monkeypatch.setattr(regions, "LEAST_SEEN", 0.0)
    assert train_ablations([capture], terms=["segmentation"], **options) == 0
    table = json.loads((tmp_path / "out/ablations.json").read_text())
    assert {name: row["steps"] for name, row in table.items()} == {"full": 2, "no-segmentation": 2}
    assert table["full"]["whole/psnr"] != table["no-segmentation"]["whole/psnr"]
    assert all(table["full"][f"{view}/distance"] is not None for view in VIEWS)
    # The truth, and a row for each variant.
    with Image.open(tmp_path / "out/ablations.png") as sheet:
        assert sheet.size[1] == 3 * CELL
    rows = (tmp_path / "out/ablations.md").read_text().splitlines()
    assert len(rows) == 4
    assert rows[3].startswith("| no-segmentation |")

    def trained_again(self: DressingTraining) -> None:
        raise AssertionError("a complete variant was trained again")

    monkeypatch.setattr(DressingTraining, "run", trained_again)
    assert train_ablations([capture], terms=["segmentation"], **options) == 0
    assert json.loads((tmp_path / "out/ablations.json").read_text()) == table


def test_other_captures_of_the_same_people_can_be_compared_on(tmp_path):
    library = tmp_path / "library"
    trained = [
        write_toy_capture(library, tmp_path / f"toy-{k}", person=k, train=1, held_out=0)
        for k in range(2)
    ]
    people = People.open(trained, library)
    with pytest.raises(TrainingError, match="no held-out frames"):
        frames_to_compare(people, None, library, 4)
    held = [
        write_toy_capture(
            library, tmp_path / f"held-{k}", person=k, train=0, held_out=2 + k, seed=1
        )
        for k in range(3)
    ]
    # Matched by name, whatever their order; without a person's, that person is not compared.
    found = frames_to_compare(people, held[1::-1], library, 4)
    assert [[frame.person for frame in some] for some in found] == [[1] * 3, [0] * 2]
    assert len(frames_to_compare(people, held[:1], library, 1)[0]) == 1
    with pytest.raises(TrainingError, match="of other people"):
        frames_to_compare(people, held[2:], library, 4)


def test_a_comparison_by_the_clock_is_refused(tmp_path):
    with pytest.raises(TrainingError, match="equally many steps"):
        train_ablations([tmp_path], schedule=DressingSchedule(minutes=3.0))
