"""`dressform bench training` times real steps of a real training."""

from __future__ import annotations

import json

from scripts.bench_training import bench_training
from training.dressing_recipe import DressingData

from .toy_people import write_toy_capture


def test_the_share_of_the_data_is_that_of_the_two_times(tmp_path):
    capture = write_toy_capture(tmp_path / "library", tmp_path / "toy", train=2, held_out=0)
    file = tmp_path / "figures.json"
    code = bench_training(
        [capture],
        data=DressingData(size=64, batch=1, people_per_batch=1),
        library=tmp_path / "library",
        turns=1,
        device="cpu",
        json=file,
    )
    figures = json.loads(file.read_text())
    values = {name: figure["value"] for name, figure in figures.items()}
    share = values["step_fresh_ms"] / values["step_cached_ms"] - 1.0
    assert abs(values["training_data_share"] - share) < 1e-6
    assert values["batch_ms"] > 0.0
    assert figures["training_data_share"]["bound"] == 0.1
    assert code == (0 if figures["training_data_share"]["ok"] else 1)
