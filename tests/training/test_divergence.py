"""What counts as divergence, and what does not."""

from __future__ import annotations

import math

import numpy as np
import pytest

from blender_addon.contract.errors import TrainingDiverged
from training.divergence import PATIENCE, DivergenceWatch


def fed(watch: DivergenceWatch, losses) -> None:
    for step, loss in enumerate(losses):
        watch.look(step, {"loss": loss}, loss)


def test_a_value_that_is_not_finite_stops_at_once_and_is_named():
    with pytest.raises(TrainingDiverged, match="step 7: gradient not finite"):
        DivergenceWatch(0).look(7, {"loss": 1.0, "gradient": math.inf}, 1.0)


def test_an_explosion_stops_and_no_checkpoint_is_written_on_its_way():
    watch = DivergenceWatch(10.0)
    fed(watch, [1.0] * 2 * PATIENCE)
    assert not watch.in_doubt
    rise = [1.2**step for step in range(200)]
    while not watch.in_doubt:
        fed(watch, [rise.pop(0)])
    with pytest.raises(TrainingDiverged, match="times what they were at best"):
        fed(watch, rise)


def test_single_hard_crops_and_an_ordinary_fall_are_no_explosion():
    rng = np.random.default_rng(0)
    watch = DivergenceWatch(10.0)
    fed(watch, 5.0 * np.exp(-np.arange(400) / 100) * rng.lognormal(0, 0.7, 400) + 0.2)
    watch.look(400, {"loss": 8.0}, 8.0)
    assert not watch.in_doubt


def test_a_watch_goes_on_from_its_checkpoint():
    one, other = DivergenceWatch(10.0), DivergenceWatch(10.0)
    fed(one, [1.0] * PATIENCE)
    other.load(one.to_plain())
    for watch in (one, other):
        with pytest.raises(TrainingDiverged):
            fed(watch, [1000.0] * PATIENCE)
