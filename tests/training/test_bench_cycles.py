"""The comparison with Cycles, without Cycles: the plan it is sent, and what is made of its frames."""

from __future__ import annotations

import json

import numpy as np
import pytest

from blender_addon.capture.plan import load_plan
from blender_addon.contract.capture import frame_digest
from blender_addon.contract.errors import CaptureError
from models.avatar import AvatarRenderer
from models.body import load_body
from scripts import bench_cycles as bench
from training.captures import Capture

from .toy_people import BODY_ID, write_toy_capture


@pytest.fixture(scope="module")
def toys(tmp_path_factory):
    library, folder = tmp_path_factory.mktemp("library"), tmp_path_factory.mktemp("captures")
    write_toy_capture(library, folder / "toy", train=1, held_out=3, size=64)
    return library, Capture.open(folder / "toy")


def test_cycles_is_sent_the_captures_own_frames(toys, tmp_path):
    _, capture = toys
    chosen = bench.whole_frames(capture, 2)
    assert chosen == [1, 3]
    bench.write_plan(tmp_path / "plan.npz", capture, chosen)
    planned = load_plan(tmp_path / "plan.npz")
    for frame, index in zip(planned, chosen, strict=True):
        entry = capture.description.frames[index]
        assert (frame.name, frame.split) == (entry.name, entry.split)
        camera = frame.camera
        assert frame_digest(frame.body.pose, camera.K, camera.R, camera.t) == entry.digest
        assert np.array_equal(frame.body.betas, capture.betas)


def test_frames_that_show_the_whole_person_are_preferred(toys):
    _, capture = toys
    with pytest.raises(CaptureError, match="too few"):
        bench.whole_frames(capture, 1)


class Painter:
    """Shows the truth that it was given, a little too bright."""

    def __init__(self, capture):
        self.capture, self.index = capture, -1
        self.body = None

    def render(self, body, camera, passes):
        self.index += 1
        image, masks = self.capture.image(self.index), self.capture.masks(self.index)
        brighter = np.minimum(image + 10.0 * (masks[..., :1] / 255), 255).astype(np.uint8)
        return {"rgba": np.concatenate([brighter, masks[..., :1]], -1), "masks": masks}


def test_figures_and_sheet_of_a_comparison(toys, tmp_path, monkeypatch, capsys):
    library, capture = toys
    painter = Painter(capture)
    painter.body = load_body(library / BODY_ID)
    monkeypatch.setattr(AvatarRenderer, "load", lambda *_: painter)
    given = {}

    def rendered(character, poses, chosen, folder, **options):
        given.update(options, character=character)
        return capture, [9.0, 2.0, 3.0, 4.0]

    monkeypatch.setattr(bench, "render_with_cycles", rendered)
    code = bench.bench_cycles(
        "avatar-toy", tmp_path / "toy.blend", capture.folder, size=64, threads=1,
        json=tmp_path / "figures.json", pictures=tmp_path,
    )  # fmt: skip
    figures = json.loads((tmp_path / "figures.json").read_text())
    # The first frame warms up: the median of the others.
    assert figures["cycles_seconds"]["value"] == 3.0
    ratio = figures["speed_ratio"]
    assert ratio["bound"] == 30.0
    assert code == (0 if ratio["ok"] else 1)
    # 10 of 255 off on the person.
    assert figures["psnr_person"]["value"] == pytest.approx(20 * np.log10(25.5), abs=0.4)
    assert given["samples"] == 16
    assert (tmp_path / "avatar-toy-cycles.png").is_file()
    assert "speed ratio" in capsys.readouterr().out


def test_without_a_character_nothing_is_compared():
    with pytest.raises(CaptureError, match="a character and its frames"):
        bench.bench_cycles("avatar-toy")
