"""Figures worked out by hand, the baseline, refused leaks, and the command as a whole."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from blender_addon.contract.errors import CaptureError, SplitLeak, TrainingError
from models.dresser import Dresser
from models.package import read_manifest, write_package
from training.captures import Capture
from training.dressing_data import People, load_frames
from training.dressing_recipe import DressingData
from training.evaluation import (
    AVATAR,
    BOUNDS,
    PLAIN,
    UV_ALONE,
    evaluate_avatar,
    evaluate_shipped,
    shipped_avatars,
    summary,
    table,
)
from training.evaluation_avatar import evaluate_one
from training.evaluation_frames import evaluate_frames
from training.evaluation_perceptual import Yardstick
from training.evaluation_split import check_split
from training.evaluation_truth import benchmark_frame
from training.image_metrics import iou, mean_figures, measure, person_box, psnr, ssim
from training.plain_texture import (
    fit_plain_texture,
    plain_renderer,
    read_plain_texture,
    write_plain_texture,
)

from .toy_people import BODY_ID, LIGHT_DRESSER, write_toy_capture

# --- figures


def test_psnr_by_hand():
    one = np.zeros((4, 4, 3))
    assert psnr(one, one + 0.1) == pytest.approx(20.0)
    assert psnr(one, one) == float("inf")


def test_iou_by_hand():
    one, other = np.zeros((10, 10)), np.zeros((10, 10))
    one[:, :6] = 1.0
    other[:, 3:9] = 0.9
    assert iou(one, other) == pytest.approx(30 / 90)
    assert np.isnan(iou(np.zeros((10, 10)), np.zeros((10, 10))))


def test_the_box_has_a_margin_within_the_image():
    mask = np.zeros((20, 30), bool)
    mask[2:8, 10:12] = True
    assert person_box(mask) == (slice(0, 12), slice(6, 16))


def test_a_frame_by_hand():
    # Truth: a dark square; prediction: the same one, a column wider, and slightly off in colour.
    true, true_masks = np.full((40, 40, 3), 0.8), np.zeros((40, 40, 3))
    true[10:30, 10:30], true_masks[10:30, 10:30, 0] = 0.2, 1.0
    image, masks = np.full((40, 40, 3), 0.8), np.zeros((40, 40, 3))
    image[10:30, 10:31], masks[10:30, 10:31, 0] = 0.3, 1.0
    figures = measure(image, masks, true, true_masks)
    squares = 20 * 20 * 0.1**2 + 20 * 0.5**2
    assert figures.psnr_person == pytest.approx(-10 * np.log10(squares / (20 * 21)))
    assert figures.psnr_box == pytest.approx(-10 * np.log10(squares / (28 * 28)))
    assert figures.iou_foreground == pytest.approx(20 / 21)
    assert np.isnan(figures.iou_hands)
    assert 0 < figures.ssim_box < 1


def test_ssim_of_equal_images_is_one():
    image = np.random.default_rng(0).random((20, 20, 3))
    assert ssim(image, image) == pytest.approx(1.0)


def test_means_leave_unknown_figures_out():
    black, masks = np.zeros((32, 32, 3)), np.zeros((32, 32, 3))
    masks[8:24, 8:24, 0] = 1.0
    known = measure(black, masks, black + 0.1, masks)
    means = mean_figures([known, replace(known, iou_hands=0.5, psnr_box=30.0)])
    assert means["psnr_box"] == pytest.approx(25.0)
    assert means["iou_hands"] == 0.5
    assert np.isnan(means["iou_face"])


# --- benchmark and baseline


@pytest.fixture(scope="module")
def shipped(tmp_path_factory):
    """A library with an untrained avatar of a toy, its benchmark and its baseline."""
    library, benchmark, folders, baselines = (
        tmp_path_factory.mktemp(name) for name in ("library", "benchmark", "captures", "baselines")
    )
    capture = write_toy_capture(library, folders / "toy-0", train=4, held_out=0, size=128)
    write_toy_capture(
        library, benchmark / "toy-0", train=0, held_out=2, size=256, seed=5, sequence=3
    )
    index = {"captures": {"toy-0": Capture.open(benchmark / "toy-0").digest}}
    (benchmark / "benchmark.json").write_text(json.dumps(index))
    people = People.open([capture], library)
    frames = load_frames(people, "train")
    data = DressingData(size=128, batch=2, people_per_batch=1)
    texture = fit_plain_texture(people, 0, frames[0], data, steps=30, size=64)
    write_plain_texture(baselines, "toy-0", texture, {"steps": 30})
    base = read_manifest(library / BODY_ID)
    write_package(
        library / "dresser-x",
        replace(
            base,
            kind="dresser",
            id="dresser-x",
            architecture=LIGHT_DRESSER.to_plain(),
            data={"training_frames": people.captures[0].digests("train")},
        ),
        Dresser(LIGHT_DRESSER).half().state_dict(),
    )
    write_package(
        library / "avatar-toy-0",
        replace(
            base,
            kind="avatar",
            id="avatar-toy-0",
            architecture={"betas": []},
            requirements={"body": BODY_ID, "dresser": "dresser-x"},
            data={
                "captures": [{"id": "toy-0"}],
                "training_frames": people.captures[0].digests("train"),
            },
        ),
        {"texture": torch.zeros(16, 64, 64)},
    )
    return library, benchmark, baselines, people


def test_benchmark_frames_are_averaged_with_their_camera(shipped):
    _, benchmark, *_ = shipped
    capture = Capture.open(benchmark / "toy-0")
    image, masks, camera = benchmark_frame(capture, 0, 128)
    assert image.shape == masks.shape == (128, 128, 3)
    assert (camera.width, camera.height) == (128, 128)
    point = np.array([0.1, 0.2, 0.0])
    assert camera.project(point)[:2] * 2 == pytest.approx(capture.camera(0).project(point)[:2])
    block = capture.masks(0)[100:102, 100:102].astype(float).mean(axis=(0, 1)) / 255
    assert masks[50, 50] == pytest.approx(block, abs=1e-5)
    outside = masks[..., 0] == 0
    assert image[outside] == pytest.approx(200 / 255, abs=1e-6)


def test_the_plain_texture_shows_a_person_on_the_bare_body(shipped):
    _, benchmark, baselines, people = shipped
    capture = Capture.open(benchmark / "toy-0")
    image, masks, camera = benchmark_frame(capture, 1, 256)
    texture = read_plain_texture(baselines, "toy-0")
    passes = plain_renderer(people.body, texture).render(capture.posed_body(1), camera)
    rgba = passes["rgba"].astype(np.float32) / 255
    inside = (rgba[..., 3] > 0.99) & (masks[..., 0] > 0.99)
    assert inside.sum() > 1000
    # Colours are right where the body is; the coat that stands off it is missing.
    assert psnr(rgba[..., :3][inside], image[inside]) > 20
    assert 0.6 < iou(rgba[..., 3], masks[..., 0]) < 0.97


def test_a_missing_baseline_says_how_to_make_one(tmp_path):
    with pytest.raises(TrainingError, match="nothing to compare") as caught:
        read_plain_texture(tmp_path, "nobody")
    assert "plain-texture" in caught.value.next_step


# --- split


@pytest.mark.parametrize("leaking", ["avatar-toy-0", "dresser-x"])
def test_frames_of_the_training_are_refused(shipped, leaking, monkeypatch):
    library, benchmark, *_ = shipped
    capture = Capture.open(benchmark / "toy-0")
    stolen = capture.description.frames[1].digest
    original = read_manifest

    def reading(folder):
        manifest = original(folder)
        if folder.name != leaking:
            return manifest
        frames = [*manifest.data["training_frames"], stolen]
        return replace(manifest, data={**manifest.data, "training_frames": frames})

    monkeypatch.setattr("training.evaluation_split.read_manifest", reading)
    with pytest.raises(SplitLeak, match="1 frames") as caught:
        check_split(library, reading(library / "avatar-toy-0"), capture)
    assert caught.value.details["package"] == leaking
    assert caught.value.details["frames"] == [stolen]


def test_a_package_that_hides_its_frames_is_refused(shipped):
    library, benchmark, *_ = shipped
    manifest = replace(read_manifest(library / "avatar-toy-0"), data={})
    with pytest.raises(SplitLeak, match="does not say"):
        check_split(library, manifest, Capture.open(benchmark / "toy-0"))


def test_only_the_measured_frames_must_be_new(shipped):
    library, _, _, people = shipped
    manifest = read_manifest(library / "avatar-toy-0")
    capture = people.captures[0]
    with pytest.raises(SplitLeak, match="4 frames"):
        check_split(library, manifest, capture, capture.frames("train"))
    check_split(library, manifest, capture, [])


# --- the commands


def test_evaluation_writes_figures_pictures_and_an_honest_exit_code(shipped, tmp_path, capsys):
    library, benchmark, baselines, _ = shipped
    file = tmp_path / "figures.json"
    code = evaluate_shipped(
        library, benchmark, baselines, json=file, frames=2, pictures=tmp_path / "worst"
    )
    # The avatar is untrained: nearly every bound fails, and the command says so.
    assert code == 1
    figures = json.loads(file.read_text())
    measured = {name for name in BOUNDS if "uv_alone" not in name and "hands" not in name}
    assert measured <= set(figures)
    for name in measured:
        assert figures[name]["bound"] == BOUNDS[name].value
    for name in ("psnr_person", "psnr_box", "psnr_box_hardest", "ssim_box", "iou_foreground"):
        assert figures[name]["ok"] is False
    gain = figures["avatar-toy-0/psnr_box"]["value"]
    gain -= figures["avatar-toy-0/plain_texture/psnr_box"]["value"]
    assert figures["gain_over_plain_texture"]["value"] == pytest.approx(gain, abs=1e-3)
    assert figures["flicker"]["value"] == figures["avatar-toy-0/flicker of turn"]["value"]
    # No network with UVs alone was trained: nothing is said about it.
    assert not [name for name in figures if "uv_alone" in name]
    assert (tmp_path / "worst" / "avatar-toy-0-worst.png").is_file()
    printed = capsys.readouterr().out
    assert "outside its bound" in printed
    assert "not measured: " in printed
    assert "avatar-toy-0" in printed


def nothing_to_tell(one, other):
    return (one - other).abs().mean()


def test_bounds_hold_when_every_figure_is_within_them(shipped):
    library, benchmark, baselines, _ = shipped
    (pair,) = shipped_avatars(library, benchmark)
    stick = Yardstick("difference", nothing_to_tell)
    result = evaluate_avatar(library, *pair, stick, baselines=baselines, limit=1)
    assert set(result.methods) == {AVATAR, PLAIN}
    (name,) = result.methods[AVATAR].frames
    frame = replace(
        result.methods[AVATAR].frames[name],
        psnr_person=25.0, psnr_box=28.0, psnr_head=24.0, psnr_hands=23.0, ssim_box=0.95,
        iou_foreground=0.98, iou_hands=0.92, iou_face=0.93, energy=0.9, true_energy=1.0,
    )  # fmt: skip
    better = replace(result.methods[AVATAR], frames={name: frame}, warped={"turn": (1.2, 1.0)})
    worse = {name: replace(frame, psnr_box=19.0, psnr_head=20.0, psnr_hands=22.5)}
    methods = {AVATAR: better, PLAIN: replace(better, frames=worse)}
    partly = summary([replace(result, methods=methods)], "difference")
    assert all(figure["ok"] for figure in partly.values())
    assert "gain_over_uv_alone" not in partly
    whole = replace(result, methods={**methods, UV_ALONE: replace(better, frames=worse)})
    figures = summary([whole], "difference")
    assert set(BOUNDS) <= set(figures)
    assert all(figure["ok"] for figure in figures.values())
    assert figures["gain_over_plain_texture"]["value"] == pytest.approx(9.0)
    assert figures["gain_over_uv_alone_hands"]["value"] == pytest.approx(0.5)
    assert "all bounds hold" in table([whole], figures, "difference")
    # One person who flickers, or who is worse than the others, is told.
    shaky = replace(better, warped={"turn": (1.4, 1.0)}, frames={name: replace(frame, psnr_box=25)})
    both = [whole, replace(whole, methods={**whole.methods, AVATAR: shaky})]
    figures = summary(both, "difference")
    assert figures["psnr_box_hardest"] == {"value": 25.0, "bound": 26.0, "ok": False}
    assert figures["flicker"]["value"] == pytest.approx(1.3)


def test_a_changed_benchmark_is_refused(shipped, tmp_path):
    library, benchmark, *_ = shipped
    shutil.copytree(benchmark, tmp_path / "benchmark")
    index = {"captures": {"toy-0": "0" * 64}}
    (tmp_path / "benchmark" / "benchmark.json").write_text(json.dumps(index))
    with pytest.raises(CaptureError, match="differs from the frozen"):
        shipped_avatars(library, tmp_path / "benchmark")


def test_a_benchmark_without_avatars_is_refused(shipped, tmp_path):
    library, *_ = shipped
    (tmp_path / "benchmark.json").write_text('{"captures": {}}')
    with pytest.raises(TrainingError, match="no avatar"):
        shipped_avatars(library, tmp_path)


def test_an_avatar_is_measured_on_any_capture(shipped, tmp_path, capsys):
    library, benchmark, *_ = shipped
    file = tmp_path / "figures.json"
    options = {"library": library, "json": file, "size": 128}
    assert evaluate_one("avatar-toy-0", benchmark / "toy-0", **options) == 0
    figures = json.loads(file.read_text())
    for name in ("psnr_head", "ssim_head", "lite0_distance_box", "detail", "flicker of turn"):
        assert np.isfinite(figures[name]["value"])
        assert figures[name]["ok"] is True
    assert "worst frames: " in capsys.readouterr().out
    with pytest.raises(CaptureError, match="no train frames"):
        evaluate_one("avatar-toy-0", benchmark / "toy-0", split="train", **options)


def test_frames_of_another_method_are_measured_in_the_same_way(shipped, tmp_path, capsys):
    library, benchmark, *_ = shipped
    capture = Capture.open(benchmark / "toy-0")
    file = tmp_path / "figures.json"
    # The truth itself, as straight alpha, but for one frame that is not there.
    for index, entry in enumerate(capture.description.frames[1:], start=1):
        alpha = capture.masks(index)[..., :1]
        colour = np.where(alpha, capture.image(index) / np.maximum(alpha / 255, 1e-6), 0).clip(
            0, 255
        )
        pixels = np.concatenate([colour, alpha], axis=-1).round().astype(np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{entry.name}.png")
    options = {"library": library, "json": file, "pictures": tmp_path}
    assert evaluate_frames(tmp_path, benchmark / "toy-0", **options) == 0
    figures = {name: figure["value"] for name, figure in json.loads(file.read_text()).items()}
    assert figures["psnr_person"] > 45
    assert figures["iou_foreground"] == 1.0
    assert figures["detail"] == pytest.approx(1.0, abs=0.02)
    assert figures["flicker"] == pytest.approx(1.0, abs=0.02)
    assert figures["frames_left_out"] == 1
    # A picture with no alpha says nothing about masks.
    assert "iou_hands" not in figures
    assert "1 frames have no picture" in capsys.readouterr().out
    assert list(tmp_path.glob("*-worst.png"))


def test_frames_that_fit_no_name_are_refused(shipped, tmp_path):
    library, benchmark, *_ = shipped
    with pytest.raises(CaptureError, match="no picture of a held-out frame"):
        evaluate_frames(tmp_path, benchmark / "toy-0", library=library)
