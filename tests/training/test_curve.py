"""How many frames an avatar needs: fair splits, equal trainings, and nothing done twice."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from PIL import Image

from blender_addon.contract.errors import CaptureError, SplitLeak, TrainingError
from models.dresser import Dresser
from models.package import Manifest, read_manifest, write_package
from training.captures import Capture
from training.checkpoint import CHECKPOINT_FILE, load_checkpoint
from training.curve import curve_figures, curve_table, evaluate_curve, read_recipe, split_for_curve

from .toy_people import LIGHT_DRESSER, write_toy_capture

TINY = f"""
architecture: {json.dumps(LIGHT_DRESSER.to_plain())}
data: {{size: 64, batch: 1, people_per_batch: 1}}
weights: {{adversarial: 0, adversarial_head: 0, adversarial_hands: 0}}
optimiser: {{trainable: delta, texture_size: 64, warm_start: 2}}
schedule: {{minutes: 30, warm_up: 1, freeze_statistics: 0}}
perceptual_stages: [0, 1]
"""


@pytest.fixture(scope="module")
def library(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("library")


@pytest.fixture(scope="module")
def capture(library, tmp_path_factory) -> Capture:
    """Nine training frames, all but the last of an orbit, and two held-out poses."""
    folder = tmp_path_factory.mktemp("captures") / "toy"
    write_toy_capture(library, folder, train=9, held_out=2)
    description = json.loads((folder / "capture.json").read_text())
    for entry in description["frames"][:8]:
        entry["tags"] = ["orbit"]
    (folder / "capture.json").write_text(json.dumps(description))
    return Capture.open(folder)


def write_dresser(library: Path, frames=()) -> None:
    dresser = Dresser(LIGHT_DRESSER)
    manifest = Manifest(
        kind="dresser",
        id="dresser-toys",
        name="Toys",
        licence="CC0-1.0",
        architecture=dresser.config.to_plain(),
        data={"training_frames": list(frames)},
    )
    write_package(library / manifest.id, manifest, dresser.state_dict())


@pytest.fixture(scope="module")
def curve(library, capture, tmp_path_factory) -> tuple[Path, list]:
    """A finished curve of two counts: its folder and its arguments."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    write_dresser(library)
    out = tmp_path_factory.mktemp("curve")
    recipe = out / "tiny.yaml"
    recipe.write_text(TINY)
    options = {
        "counts": (2, 5),
        "steps": 2,
        "recipe": recipe,
        "library": library,
        "views": 2,
        "size": 96,
        "json": out / "curve.json",
        "device": "cpu",
        "threads": 1,
    }
    assert evaluate_curve(capture.folder, out, **options) == 0
    return out, options


def test_views_of_the_orbit_are_held_out_and_poses_stand_apart(capture):
    split = split_for_curve(capture, views=2, limit=40)
    assert split.views == (2, 6)
    assert split.pool == (0, 1, 3, 4, 5, 7)
    assert split.poses == (9, 10)


def test_without_an_orbit_all_training_frames_serve(library, tmp_path):
    plain = Capture.open(write_toy_capture(library, tmp_path / "plain", train=4, held_out=3))
    split = split_for_curve(plain, views=2, limit=2)
    assert split.pool == (0, 1, 2, 3)
    assert split.groups == {"poses": (4, 6)}


def test_each_count_is_trained_equally_long_on_its_own_frames(capture, curve):
    out, _ = curve
    for count in (2, 5):
        subset = Capture.open(out / f"frames-{count:03d}" / "capture")
        assert len(subset.frames("train")) == count
        names = {subset.description.frames[i].name for i in subset.frames("held-out")}
        assert names == {capture.description.frames[i].name for i in (2, 6, 9, 10)}
        state = load_checkpoint(out / f"frames-{count:03d}" / "run")
        assert state is not None
        assert state["step"] == 2
        avatar = f"avatar-{capture.description.id}-frames-{count:03d}"
        manifest = read_manifest(out / f"frames-{count:03d}" / "library" / avatar)
        assert manifest.requirements["dresser"] == "dresser-toys"


def test_views_and_poses_are_reported_apart(curve):
    out, _ = curve
    figures = json.loads((out / "curve.json").read_text())
    for count in (2, 5):
        for group in ("views", "poses"):
            assert 3 < figures[f"psnr_box_{group}_of_{count}_frames"]["value"] < 40
    with Image.open(out / "sheet.png") as sheet:
        # Truth and two counts across; two views and two poses down.
        assert sheet.size == (3 * 96, 4 * 96)


def test_what_is_done_is_not_done_again(capture, curve):
    out, options = curve
    checkpoint = out / "frames-005" / "run" / CHECKPOINT_FILE
    before = checkpoint.stat().st_mtime_ns
    assert evaluate_curve(capture.folder, out, **options) == 0
    assert checkpoint.stat().st_mtime_ns == before


def test_the_bound_compares_few_frames_with_many():
    results = {
        n: {"psnr_box_views": p, "psnr_box_poses": 20.0} for n, p in ((60, 24.0), (200, 25.0))
    }
    figures = curve_figures(results)
    assert figures["loss_of_60_frames_views"] == {"value": 1.0, "bound": 1.5, "ok": True}
    assert figures["loss_of_60_frames_poses"]["bound"] is None
    results[60]["psnr_box_views"] = 23.0
    assert not curve_figures(results)["loss_of_60_frames_views"]["ok"]


def test_the_table_has_a_row_for_each_count(capture):
    split = split_for_curve(capture, views=2, limit=40)
    table = curve_table({10: {"psnr_box_views": 21.5}, 30: {"psnr_box_views": 22.25}}, split)
    assert "held-out views (2 frames)" in table
    assert "22.250" in table


def test_more_frames_than_there_are_and_nothing_to_measure_on_are_refused(
    capture, library, tmp_path
):
    with pytest.raises(TrainingError, match="has 6 frames to train on"):
        evaluate_curve(capture.folder, tmp_path / "out", (7,), library=library, views=2)
    bare = write_toy_capture(library, tmp_path / "bare", train=3, held_out=0)
    with pytest.raises(CaptureError, match="no frames to measure on"):
        evaluate_curve(bare, tmp_path / "out", (2,), library=library)


def test_a_dresser_that_saw_the_held_out_frames_is_refused(capture, library, tmp_path):
    write_dresser(tmp_path, [capture.description.frames[9].digest])
    with pytest.raises(SplitLeak, match="1 of the held-out frames"):
        evaluate_curve(capture.folder, tmp_path / "out", (2,), library=tmp_path, views=2)


def test_the_shipped_recipe_trains_a_delta():
    recipe = read_recipe(Path(__file__).parents[2] / "training/recipes/dressing-cpu-phase2.yaml")
    assert recipe.optimiser.trainable == "delta"
