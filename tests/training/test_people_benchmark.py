"""The frozen benchmark: whole, small, disjoint from training, and still what the code makes."""

import json
import shutil

import numpy as np
import pytest

from blender_addon.contract.errors import CaptureError
from models.body import load_body
from training.captures import Capture, CaptureWriter
from training.people.benchmark import (
    BENCHMARK,
    FRAMES,
    PEOPLE,
    benchmark_plans,
    check_disjoint,
    freeze_benchmark,
    geometry_digest,
    open_benchmark,
)
from training.people.dataset import DEFAULT_BODY
from training.people.figures import build_figure
from training.people.frames import FramePlan, make_frame, make_shot


def test_files_are_those_that_were_frozen():
    captures = open_benchmark()
    assert set(captures) == {identity.name for identity in PEOPLE}
    for capture in captures.values():
        assert len(capture.frames("held-out")) >= FRAMES
        assert capture.frames("train") == []
        assert capture.description.image_size == (512, 512)
        assert capture.description.licence == "CC0-1.0"


def test_it_stays_small():
    size = sum(path.stat().st_size for path in BENCHMARK.rglob("*") if path.is_file())
    assert size <= 20e6


def test_the_hard_frames_are_there():
    for capture in open_benchmark().values():
        tags = [tag for frame in capture.description.frames for tag in frame.tags]
        for hard in ("crossed arms", "hands in front", "back view"):
            assert tags.count(hard) >= 4, hard
        assert tags.count("whole view") >= FRAMES // 2


def test_a_changed_file_is_noticed(tmp_path):
    shutil.copytree(BENCHMARK, tmp_path / "b")
    image = next((tmp_path / "b" / "rosa" / "images").iterdir())
    image.write_bytes(image.read_bytes() + b"\0")
    with pytest.raises(CaptureError, match="differs from the frozen benchmark"):
        open_benchmark(tmp_path / "b")


def test_the_shipped_body_still_is_the_one_it_was_made_with():
    index = json.loads((BENCHMARK / "benchmark.json").read_text())
    assert index["body_geometry"] == geometry_digest(load_body(DEFAULT_BODY))


def test_a_frozen_benchmark_is_not_overwritten(tmp_path):
    shutil.copy(BENCHMARK / "benchmark.json", tmp_path)
    with pytest.raises(CaptureError, match="already holds"):
        freeze_benchmark(captures=tmp_path, out=tmp_path)


def test_the_code_still_plans_a_frozen_frame():
    """Guards shipped avatars: new captures of the same people must hold the same poses."""
    number = 30
    frozen = open_benchmark()["marcus"]
    figure = build_figure(PEOPLE[1], load_body(DEFAULT_BODY))
    shot = make_shot(figure, benchmark_plans()[number], size=512)
    np.testing.assert_allclose(shot.body.pose, frozen.posed_body(number).pose, atol=1e-5)
    np.testing.assert_allclose(shot.camera.K, frozen.camera(number).K, atol=1e-3)


def test_training_frames_are_disjoint_and_overlap_is_refused(tmp_path):
    figure = build_figure(PEOPLE[0], load_body(DEFAULT_BODY))

    def write(name, plans):
        with CaptureWriter(
            tmp_path / name,
            id="anna",
            body="body-cc0",
            licence="CC0-1.0",
            background="black",
            image_size=(32, 32),
            betas=PEOPLE[0].shape(),
        ) as writer:
            for plan in plans:
                writer.add(make_frame(figure, plan, size=32))
        return Capture.open(tmp_path / name)

    check_disjoint(write("train", [FramePlan(number=k, split="train", seed=0) for k in range(2)]))
    frozen = open_benchmark()["anna"]
    # The same frame at another size has another camera matrix; a copy has the same digest.
    copy = tmp_path / "copy"
    shutil.copytree(frozen.folder, copy)
    with pytest.raises(CaptureError, match="holds frames of the benchmark"):
        check_disjoint(Capture.open(copy))
