"""Portraits measured whole: labels found again, flicker along orbits, one table with all bounds."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from PIL import Image

from blender_addon.contract.errors import SplitLeak
from blender_addon.contract.labels import Label, colors_to_labels, labels_to_colors
from models.baked_head import BakeSettings
from models.label_orbit import orbit_cameras
from models.sof_render import LabelMap, SofRenderer
from models.sof_space import SofSpace
from training.evaluation_tables import Bound, figure, publish
from training.portrait_evaluation import PortraitCounts, evaluate_portraits
from training.portrait_fidelity import (
    drawn_label_maps,
    eye_contrast,
    label_fidelity,
    parser_fidelity,
)
from training.portrait_flicker import flicker, label_flow
from training.portrait_looks import COLUMNS, show_portrait_looks
from training.siw_data import to_images
from training.siw_frechet import features_of
from training.sof_evaluation import SofCounts

from .toy_heads import toy_camera, toy_view
from .toy_portrait_library import write_toy_library
from .toy_portraits import write_toy_portraits
from .toy_sof import trained_toy


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)
    torch.manual_seed(0)


class PaletteParser:
    """Reads labels off portraits that are painted in the palette's colours."""

    def probabilities(self, image):
        return np.eye(17, dtype=np.float32)[colors_to_labels(image)].transpose(2, 0, 1)


class PalettePainter:
    """Paints every label in its own colour, but for one, which it takes for another."""

    def __init__(self, mistaken: Label | None = None) -> None:
        self.mistaken = mistaken

    def paint(self, labels, styles):
        shown = labels.numpy().copy()
        if self.mistaken is not None:
            shown[shown == self.mistaken] = Label.SKIN
        return to_images(labels_to_colors(shown))


def toy_maps() -> np.ndarray:
    return np.stack([toy_view(k, toy_camera(0.2 * k, 0.1, 48))[0] for k in range(3)])


def test_labels_that_are_found_again_count_and_mistaken_ones_do_not():
    maps = toy_maps()
    exact = label_fidelity(PalettePainter(), PaletteParser(), maps, torch.zeros(3))
    assert exact["mean_iou"] == exact["iou_eye"] == 1.0
    blind = label_fidelity(PalettePainter(Label.EYE), PaletteParser(), maps, torch.zeros(3))
    assert blind["iou_eye"] == 0.0
    assert 0.5 < blind["mean_iou"] < 1.0
    assert blind["iou_hair"] == 1.0
    real = parser_fidelity(PaletteParser(), labels_to_colors(maps), maps)
    assert real["mean_iou"] == 1.0


def test_drawn_label_maps_show_other_heads_each_time_and_the_same_for_a_seed():
    model = trained_toy().model
    renderer, space = SofRenderer(model.sof), SofSpace(model.codes.detach())
    maps = drawn_label_maps(renderer, space, 3, 48, seed=5)
    assert maps.shape == (3, 48, 48)
    assert all((each > 0).mean() > 0.1 for each in maps)
    assert not np.array_equal(maps[0], maps[1])
    assert np.array_equal(maps, drawn_label_maps(renderer, space, 3, 48, seed=5))
    assert not np.array_equal(maps, drawn_label_maps(renderer, space, 3, 48, seed=6))


def test_eyes_without_light_and_dark_look_nowhere():
    labels = torch.zeros(1, 32, 32, dtype=torch.uint8)
    labels[:, 8:16, 8:24] = Label.EYE
    grey = torch.zeros(1, 3, 32, 32)
    looking = grey.clone()
    looking[:, :, 8:16, 8:16], looking[:, :, 8:16, 16:24] = -1.0, 1.0
    assert eye_contrast(grey, labels) == 0.0
    assert eye_contrast(looking, labels) == pytest.approx(0.5, abs=0.01)
    assert np.isnan(eye_contrast(grey, torch.zeros_like(labels)))


# --- flicker


def painted_frames(noise: float, count: int = 5):
    """A head whose colours belong to its surface, beside what `noise` adds anew in every frame."""
    rng = np.random.default_rng(0)
    for camera in orbit_cameras(count, 96, widest=0.15):
        labels, depth = toy_view(1, camera)
        depth = np.where(labels > 0, depth, np.inf).astype(np.float32)
        row, column = np.nonzero(labels)
        rays = np.stack([column + 0.5, row + 0.5, np.ones(len(row))], 1) @ np.linalg.inv(camera.K).T
        points = (rays * depth[row, column, None] - camera.t) @ camera.R
        image = np.full((*labels.shape, 3), 0.5)
        image[row, column] = 0.5 + 0.4 * np.sin(60 * points)
        image += rng.normal(0, noise, image.shape)
        seen = LabelMap(torch.from_numpy(labels), torch.from_numpy(depth))
        yield camera, seen, image.astype(np.float32)


def test_colours_that_stay_on_the_head_hardly_flicker_and_noise_does():
    steady, noisy = flicker(painted_frames(0.0)), flicker(painted_frames(0.1))
    assert steady.still > 4 * steady.warped
    assert steady.warped < 0.01
    # Two independent Gaussians' mean distance is 2 / √π of their deviation; resampling blurs one.
    assert 0.07 < noisy.warped - steady.warped < 0.12


def test_hidden_points_and_background_are_not_followed():
    camera = orbit_cameras(4, 64, widest=0.0)[0]
    labels, depth = toy_view(0, camera)
    depth = np.where(labels > 0, depth, np.inf).astype(np.float32)
    seen = LabelMap(torch.from_numpy(labels), torch.from_numpy(depth))
    flow = label_flow(camera, seen, camera, seen)
    assert np.array_equal(flow.known, labels > 0)
    row, column = np.nonzero(labels)
    np.testing.assert_allclose(flow.x[row, column], column + 0.5, atol=1e-3)
    np.testing.assert_allclose(flow.y[row, column], row + 0.5, atol=1e-3)
    wall = LabelMap(seen.labels, torch.full_like(seen.depth, 0.3))
    assert not label_flow(camera, seen, camera, wall).known.any()


# --- the whole table


@pytest.fixture
def library(tmp_path):
    return write_toy_library(tmp_path)


FEW = PortraitCounts(
    sof=SofCounts(
        views=2, fitted=1, baked=0, orbits=1, frames=2, fit_steps=3, bake=BakeSettings(views=8)
    ),
    painted=6,
    parsed=2,
    flickers=1,
    frames=3,
)


def test_all_figures_of_the_target_stand_in_one_table(library, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("training.portrait_evaluation.features_of", lambda *_: features_of(0))
    sets = {"heads": tmp_path / "heads", "portraits": tmp_path / "portraits"}
    file = tmp_path / "figures.json"
    code = evaluate_portraits(library, **sets, counts=FEW, threads=1, json=file)
    figures = json.loads(file.read_text())
    assert code == int(not all(entry["ok"] for entry in figures.values()))
    bounds = {name: entry["bound"] for name, entry in figures.items() if entry["bound"]}
    wanted = {
        "sof/mean_iou": 0.78,
        "sof/iou_eye": 0.55,
        "sof/fitted_mean_iou": 0.70,
        "sof/fitted_gain": 0.10,
        "sof/orbit_agreement": 0.95,
        "siw/frechet_over_floor": 2.5,
        "siw/spread/hair": 0.85,
        "siw/hue/cloth": 0.75,
        "siw/restyle/hair/outside": 0.15,
        "siw/restyle/hair/inside": 0.7,
        "fidelity/mean_iou": 0.60,
    }
    assert wanted.items() <= bounds.items()
    assert {"fidelity/real_mean_iou", "fidelity/eye_contrast", "flicker/warped"} <= set(figures)
    # Untrained networks: the bounds say so.
    assert not figures["fidelity/mean_iou"]["ok"]
    assert "FAILS" in capsys.readouterr().out
    # Held-out portraits of another set prove nothing about this painter.
    other = write_toy_portraits(tmp_path / "others", size=64, train=3, held_out=1)
    with pytest.raises(SplitLeak, match="other portraits"):
        evaluate_portraits(library, **(sets | {"portraits": other}), counts=FEW, threads=1)


def test_a_line_says_on_which_side_of_its_bound_a_figure_must_lie(tmp_path, capsys):
    figures = {
        "good": figure(0.9, Bound(0.8)),
        "low": figure(0.7, Bound(0.8)),
        "high": figure(3.0, Bound(2.5, at_most=True)),
        "nothing": figure(float("nan"), Bound(0.8)),
        "told": figure(5.0),
    }
    assert publish(figures, tmp_path / "f.json") == 1
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[1:] for line in lines] == [
        ["0.9000", "≥", "0.8", "ok"],
        ["0.7000", "≥", "0.8", "FAILS"],
        ["3.0000", "≤", "2.5", "FAILS"],
        ["–", "≥", "0.8", "FAILS"],
        ["5.0000"],
    ]
    assert publish({"good": figures["good"], "told": figures["told"]}, None) == 0
    assert json.loads((tmp_path / "f.json").read_text()) == figures


def test_the_bench_of_portraits_times_field_and_painter_in_one_run(library, tmp_path, monkeypatch):
    from scripts import bench_portrait

    coarse = BakeSettings(views=12, size=64, resolution=48, widest=np.pi)
    whole = bench_portrait.sof_figures
    monkeypatch.setattr(
        bench_portrait, "sof_figures", lambda sof, code, turns: whole(sof, code, turns, 64, coarse)
    )
    file = tmp_path / "bench.json"
    code = bench_portrait.bench_portrait(library=library, turns=1, json=file)
    figures = json.loads(file.read_text())
    assert code == int(not all(entry["ok"] for entry in figures.values()))
    assert {name: entry["bound"] for name, entry in figures.items() if entry["bound"]} == {
        "label_map_over_plain": 0.1,
        "label_map_disagreement": 0.005,
        "baked_over_kernel": 3.0,
        "regions_over_one_style": 1.3,
        "regions_over_two_convolutions": pytest.approx(1 / 3),
    }
    assert all(entry["value"] > 0 for name, entry in figures.items() if name.endswith("_ms"))


def test_sheets_show_viewpoints_styles_shapes_and_what_is_read_from_portraits(
    library, tmp_path, capsys
):
    out = tmp_path / "sheets"
    portraits = tmp_path / "portraits"
    assert show_portrait_looks(out, library, portraits, size=32, threads=1) == 0
    # The toy field of three heads has two principal directions; others show three.
    rows = {"viewpoints": 4, "styles": 6, "shapes": 4, "dynamic": 3, "chance": 4, "transfer": 4}
    assert {f"portrait-{name}.jpg" for name in rows} == {path.name for path in out.iterdir()}
    for name, count in rows.items():
        with Image.open(out / f"portrait-{name}.jpg") as picture:
            assert picture.width == COLUMNS * 32
            assert picture.height == count * (32 + 18)
    assert "portrait-dynamic.jpg" in capsys.readouterr().out
