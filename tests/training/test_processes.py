"""Two processes on one machine make the step that one makes with twice the crops."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml

from training.checkpoint import load_checkpoint

from .toy_people import write_toy_capture

ROOT = Path(__file__).parents[2]

RECIPE = {
    "data": {"size": 64, "batch": 2, "people_per_batch": 1, "whole_share": 1.0},
    "weights": {"adversarial": 0.2, "adversarial_head": 0.2, "adversarial_hands": 0.2},
    "optimiser": {"warm_start": 0, "texture_size": 32, "average_every": 1},
    "schedule": {"steps": 1, "warm_up": 1, "freeze_statistics": 0.7, "explosion": 0.0},
    "adversaries": {
        "full": {"width": 8, "layers": 2},
        "regions": {"width": 8, "layers": 2},
        "head_size": 32,
        "hands_size": 32,
    },
    "perceptual_stages": [0, 1],
}

RATES = {"model": 3e-3, "adversaries": 2e-4}


@pytest.mark.slow
def test_two_processes_train_as_one_with_twice_the_batch(tmp_path):
    captures = [
        write_toy_capture(tmp_path / "library", tmp_path / f"person-{k}", person=k, train=4)
        for k in range(2)
    ]
    (tmp_path / "two.yaml").write_text(yaml.safe_dump(RECIPE))
    twice = {**RECIPE, "data": {**RECIPE["data"], "batch": 4, "people_per_batch": 2}}
    (tmp_path / "one.yaml").write_text(yaml.safe_dump(twice))
    states = {}
    for name, devices in (("one", 1), ("two", 2)):
        command = [sys.executable, "-m", "scripts.cli", "train", "dressing"]
        command += [f"[{captures[0]}, {captures[1]}]", f"--config={tmp_path / name}.yaml"]
        command += [f"--out={tmp_path / name}", f"--library={tmp_path / 'library'}"]
        command += ["--device=cpu", f"--devices={devices}", "--threads=1"]
        # Without bfloat16, whose rounding would hide what this test is about.
        environment = {**os.environ, "ONEDNN_MAX_CPU_ISA": "AVX2", "PYTHONPATH": str(ROOT)}
        done = subprocess.run(
            command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120
        )
        assert done.returncode == 0, done.stderr[-3000:]
        states[name] = load_checkpoint(tmp_path / name)
    assert_same_step(states["one"], states["two"])


def assert_same_step(one, two) -> None:
    assert one["step"] == two["step"] == 1
    # The losses of the step, and the statistics of all crops.
    assert two["watch"]["smooth"] == pytest.approx(one["watch"]["smooth"], rel=1e-5)
    for name, value in one["model"].items():
        if "running" in name:
            assert torch.allclose(value, two["model"][name], atol=1e-4), name
    # The averaged gradients, as Adam has taken them up. Instance normalisation of masked crops
    # (mostly black) makes rounding loud: a few per cent; another batch differs by 20 to 90.
    for player in ("optimiser", "own_optimiser"):
        for index, state in one[player]["state"].items():
            gradient, other = state["exp_avg"], two[player]["state"][index]["exp_avg"]
            # A bias before a normalisation has no gradient but rounding.
            if gradient.norm() > 1e-5:
                assert (gradient - other).norm() < 0.05 * gradient.norm(), (player, index)
    # The weights: Adam's first step is a rate long, whose sign follows the gradient's.
    for part in ("model", "adversaries"):
        for name, value in one[part].items():
            if value.is_floating_point() and "running" not in name and "bias" not in name:
                difference = (value - two[part][name]).abs().mean()
                assert difference < 0.1 * RATES[part], (part, name)
