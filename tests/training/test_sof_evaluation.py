"""Measuring fields of heads: orbits, splits, baked heads, speed."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from blender_addon.contract.errors import SplitLeak
from models.baked_head import BakeSettings
from models.label_orbit import orbit_agreement, orbit_cameras
from models.sof_package import write_sof
from models.sof_render import LabelMap
from scripts.bench_sof import sof_figures
from training.heads.format import HeadSet
from training.sof_evaluation import baked_heads, evaluate_sof, orbited_heads
from training.sof_export import export_sof
from training.sof_look import ACROSS, sheet

from .toy_heads import toy_view, write_toy_heads
from .toy_sof import toy_sof, trained_toy

COARSE = BakeSettings(views=12, size=64, resolution=48, widest=np.pi)


def exact(camera) -> LabelMap:
    labels, depth = toy_view(1, camera)
    depth = np.where(labels > 0, depth, np.inf).astype(np.float32)
    return LabelMap(torch.from_numpy(labels), torch.from_numpy(depth))


def test_a_rigid_head_keeps_its_labels_along_an_orbit():
    cameras = orbit_cameras(24, 160, widest=0.8)
    found = orbit_agreement((camera, exact(camera)) for camera in cameras)
    assert found.labels > 0.97
    assert found.followed > 0.9
    assert found.depth < 0.002


def test_labels_that_swim_over_the_head_are_noticed():
    def swimming(k: int, seen: LabelMap) -> LabelMap:
        rolled = torch.roll(seen.labels, shifts=4 * (k % 2), dims=1)
        both = (rolled > 0) & (seen.labels > 0)
        return LabelMap(torch.where(both, rolled, seen.labels), seen.depth)

    cameras = orbit_cameras(8, 96, widest=0.3)
    steady = orbit_agreement((camera, exact(camera)) for camera in cameras)
    frames = ((camera, swimming(k, exact(camera))) for k, camera in enumerate(cameras))
    assert orbit_agreement(frames).labels < steady.labels - 0.05


def test_what_is_hidden_in_the_next_frame_is_not_compared():
    camera = orbit_cameras(4, 64, widest=0.0)[0]
    seen = exact(camera)
    wall = LabelMap(torch.full_like(seen.labels, 16), torch.full_like(seen.depth, 0.3))
    found = orbit_agreement([(camera, seen), (camera, wall)])
    assert found.followed == 0.0


def test_an_orbit_begins_at_the_front_and_swings_to_both_sides():
    cameras = orbit_cameras(40, 64, widest=1.0)
    azimuths = [np.arctan2(c.center[0], c.center[2]) for c in cameras]
    assert azimuths[0] == pytest.approx(0.0)
    assert max(azimuths) == pytest.approx(1.0, abs=0.01)
    assert min(azimuths) == pytest.approx(-1.0, abs=0.01)


def test_a_toy_is_evaluated_whole(tmp_path, capsys, monkeypatch):
    folder = tmp_path / "heads"
    heads = write_toy_heads(folder, heads=3, views=4, size=32, held_out_heads=1)
    trained = trained_toy()
    package = tmp_path / "sof-toy"
    write_sof(
        package,
        trained.model.sof,
        trained.model.codes,
        trained.heads,
        name="Toys",
        licence="CC0-1.0",
        recipe={},
        data={"digest": heads.digest},
        metrics={},
    )
    code = evaluate_sof(
        package,
        folder,
        views=4,
        fitted=1,
        baked=0,
        orbits=0,
        fit_steps=15,
        json=tmp_path / "figures.json",
        picture=tmp_path / "sheets",
        threads=1,
    )
    figures = json.loads((tmp_path / "figures.json").read_text())
    assert code == int(not all(entry["ok"] for entry in figures.values()))
    assert figures["mean_iou"]["bound"] == 0.78
    assert figures["mean_iou"]["value"] > 0.4
    assert figures["fitted_mean_iou"]["value"] - figures["mean_head_iou"]["value"] == pytest.approx(
        figures["fitted_gain"]["value"], abs=2e-4
    )
    assert "mean_iou" in capsys.readouterr().out
    assert {path.name for path in (tmp_path / "sheets").iterdir()} == {
        "held-out-views.png",
        "held-out-heads.png",
    }


def test_sets_that_do_not_measure_are_refused(tmp_path):
    run, heads, _ = toy_sof()
    export_sof(run, tmp_path, id="sof-toy")
    others = write_toy_heads(tmp_path / "others", heads=3, views=4, size=24)
    with pytest.raises(SplitLeak, match="another set"):
        evaluate_sof(tmp_path / "sof-toy", others.folder)
    swapped = write_toy_heads(tmp_path / "swapped", heads=2, views=4, size=24, held_out_heads=1)
    with pytest.raises(SplitLeak, match="h0002"):
        evaluate_sof(tmp_path / "sof-toy", swapped.folder)
    assert HeadSet.open(heads.folder).digest == heads.digest


def test_baked_and_orbited_toys_agree_with_their_march():
    model, pictures = trained_toy().model, {}
    from models.sof_render import SofRenderer

    renderer = SofRenderer(model.sof)
    assert baked_heads(renderer, model.codes[:1], pictures, COARSE)["baked_agreement"] > 0.8
    assert len(pictures["baked"]) == 8
    found = orbited_heads(renderer, model.codes[:1], frames=6)
    assert 0.5 < found["orbit_agreement"] <= 1.0


def test_the_bench_times_what_it_says():
    model = trained_toy().model
    figures = {f.name: f for f in sof_figures(model.sof, model.codes[0], 1, 96, COARSE)}
    assert figures["label_map_over_plain"].bound == 0.1
    assert 0 < figures["label_map_over_plain"].value < 1.0
    assert figures["label_map_disagreement"].value <= 0.005
    assert figures["baked_over_kernel"].value > 0


def test_sheets_put_maps_below_each_other():
    one, two = np.full((4, 6), 1, np.uint8), np.full((4, 6), 2, np.uint8)
    picture = sheet([(one, two)] * (ACROSS + 1))
    assert picture.shape == (2 * 2 * 4, ACROSS * 6, 3)
    assert (picture[:4, :6] == picture[8:12, :6]).all()
    assert (picture[8:, 6:] == 0).all()
