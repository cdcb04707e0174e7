"""The photo encoder learns codes of drawn and captured people; fits are measured on other views."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from blender_addon.contract.camera import look_at
from blender_addon.contract.errors import SplitLeak
from blender_addon.contract.operations import PosedBody
from blender_addon.contract.pose import rotation_from_axis_angle
from models.avatar import AvatarRenderer
from models.dresser_package import load_dresser
from models.inversion_recipe import CPU_FIT
from models.package import load_arrays, read_manifest, write_package
from models.wardrobe_package import load_wardrobe
from scripts.cli import COMMANDS
from tests.models.toy_wardrobe import BODY, DRESSER, ENCODER, WARDROBE, write_toy_wardrobe
from training.captures import Capture, CaptureFrame, CaptureWriter
from training.schedule import StagePlan
from training.wardrobe.encoder import train_photo_encoder
from training.wardrobe.encoder_recipe import EncoderData, EncoderSchedule, EncoderWeights
from training.wardrobe.fit_ablations import TERMS, evaluate_fit_ablations, inception_score
from training.wardrobe.fit_evaluation import BASELINE, evaluate_fit, summary
from training.wardrobe.fit_measure import check_people

RECIPES = Path(__file__).parents[2] / "training" / "recipes"
SEEDS = (4, 5)
SMALL = replace(CPU_FIT, size=64, face_size=32)


@pytest.fixture(scope="module")
def toys(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Path]]:
    """A library whose wardrobe knows two captured people's codes, and their captures."""
    library = tmp_path_factory.mktemp("library")
    write_toy_wardrobe(library)
    wardrobe = load_wardrobe(library, WARDROBE)
    folders = [library.parent / f"capture-{seed}" / f"toy-{seed}" for seed in SEEDS]
    for seed, folder in zip(SEEDS, folders, strict=True):
        texture = wardrobe.texture(wardrobe.draw(seed, truncation=1.0))
        _write_capture(library, texture, folder)
    manifest = read_manifest(library / WARDROBE)
    codes = torch.stack([wardrobe.draw(seed, truncation=1.0) for seed in SEEDS])
    known = replace(manifest, data={"captures": [{"id": folder.name} for folder in folders]})
    arrays = load_arrays(library / WARDROBE) | {"training.codes": codes}
    write_package(library / WARDROBE, known, arrays)
    return library, folders


def _write_capture(library: Path, texture: torch.Tensor, folder: Path) -> None:
    wardrobe = load_wardrobe(library, WARDROBE)
    body = wardrobe.manifest.requirements["body"]
    from models.body import load_body

    dresser = load_dresser(library / DRESSER)
    renderer = AvatarRenderer(load_body(library / body), texture, dresser, "x", largest_crop=256)
    options: dict[str, Any] = {"licence": "CC0-1.0", "background": "black", "image_size": (64, 64)}
    betas = np.zeros(10, np.float32)
    with CaptureWriter(folder, id=folder.name, body=BODY, betas=betas, **options) as writer:
        for index in range(4):
            pose = np.tile(np.eye(3, dtype=np.float32), (55, 1, 1))
            pose[0] = rotation_from_axis_angle(np.array([0.0, 0.7 * index, 0.0]))
            posed = PosedBody(
                pose=pose, transl=np.zeros(3, np.float32), betas=betas, expression=betas
            )
            camera = look_at(
                np.array([0.0, -0.3, 3.0]), np.array([0.0, -0.35, 0.0]), np.array([0.0, 1.0, 0.0]),
                focal=80.0, width=64, height=64,
            )  # fmt: skip
            shown = renderer.render(posed, camera, ("rgba", "masks"))
            writer.add(
                CaptureFrame(
                    name=f"{index:03d}",
                    split="train" if index < 2 else "held-out",
                    tags=("toy",),
                    image=shown["rgba"][..., :3],
                    masks=shown["masks"],
                    body=posed,
                    camera=camera,
                )
            )


def _train(toys: tuple[Path, list[Path]], out: Path, **options: Any) -> list[dict[str, float]]:
    library, folders = toys
    data = EncoderData(drawn=12, views=1, frames=2, batch=8, held_out=6)
    options = {"data": data, "architecture": ENCODER, "threads": 1} | options
    assert train_photo_encoder(folders, WARDROBE, out, library, **options) == 0
    lines = (out / "log.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


def test_codes_of_drawn_people_are_learnt_and_installed(
    toys: tuple[Path, list[Path]], tmp_path: Path
) -> None:
    library, _ = toys
    schedule = EncoderSchedule(rate=3e-3, training=StagePlan(steps=40))
    before = load_arrays(library / WARDROBE)
    log = _train(toys, tmp_path / "run", schedule=schedule, install=True)
    assert log[-1]["train/explained"] > 0.15
    after = load_arrays(library / WARDROBE)
    assert before.keys() == after.keys()
    same = [name for name in before if not name.startswith("encoder.")]
    assert all(torch.equal(before[name], after[name]) for name in same)
    encoder = load_wardrobe(library, WARDROBE).encoder
    assert encoder is not None
    assert encoder.map2style[0].linear.weight.any()


def test_captured_people_teach_through_codes_and_images(
    toys: tuple[Path, list[Path]], tmp_path: Path
) -> None:
    log = _train(
        toys,
        tmp_path / "run",
        kind="both",
        schedule=EncoderSchedule(training=StagePlan(steps=2)),
        weights=EncoderWeights(l1=1.0, images_every=2, people=1),
    )
    assert np.isfinite(log[-1]["train/explained"])
    assert (tmp_path / "run" / "package" / "run" / "model.json").is_file()


def test_the_recipe_says_what_ships() -> None:
    held = yaml.safe_load((RECIPES / "photo-encoder-cpu.yaml").read_text(encoding="utf-8"))
    assert held["schedule"]["rate"] == 1e-3  # the paper's
    assert held["architecture"]["backbone"] == "mobilenetv3_small_050"
    assert COMMANDS["train photo-encoder"].function.endswith(":train_photo_encoder")


def test_fits_are_measured_against_the_unwrapped_photograph(
    toys: tuple[Path, list[Path]], tmp_path: Path
) -> None:
    library, folders = toys
    # As if the wardrobe had never seen them.
    manifest = read_manifest(library / WARDROBE)
    try:
        write_package(
            library / WARDROBE, replace(manifest, data={}), load_arrays(library / WARDROBE)
        )
        file = tmp_path / "fit.json"
        evaluate_fit(
            folders, WARDROBE, library, SMALL, effort=0.02, people=1, frames=1, json=file,
            pictures=tmp_path, threads=1,
        )  # fmt: skip
        figures = json.loads(file.read_text(encoding="utf-8"))
        assert {"gain_psnr", "gain_ssim", "iou", "encoder/psnr", "texture/psnr"} <= figures.keys()
        gain = figures["texture/psnr"]["value"] - figures["unwrapped_photograph/psnr"]["value"]
        assert figures["gain_psnr"]["value"] == pytest.approx(gain, abs=1e-3)
        assert figures["gain_psnr"]["bound"] == 2.0
        assert (tmp_path / f"{folders[0].name}.png").is_file()
        evaluate_fit_ablations(
            folders, WARDROBE, library, out=tmp_path / "table", recipe=SMALL, effort=0.02,
            people=1, frames=3, only=["no LPIPS"], features=0, threads=1,
        )  # fmt: skip
        table = (tmp_path / "table" / "fit-ablations.md").read_text(encoding="utf-8")
        assert "| no LPIPS |" in table
        assert "no MSE" not in table
    finally:
        write_package(library / WARDROBE, manifest, load_arrays(library / WARDROBE))


def test_the_ablations_are_all_seven_of_the_paper() -> None:
    assert len(TERMS) == 8
    assert set(TERMS.values()) - {None} == {
        "lpips", "mse", "encoder_deviation", "generator_deviation", "texture_deviation",
        "face_lpips", "face_features",
    }  # fmt: skip


def test_people_of_the_training_are_refused(toys: tuple[Path, list[Path]]) -> None:
    library, folders = toys
    with pytest.raises(SplitLeak, match="trained on"):
        check_people(load_wardrobe(library, WARDROBE), [Capture.open(folders[0])])


def test_bounds_are_of_the_last_stages_gains_over_all_people() -> None:
    def person(gain: float) -> dict[str, dict[str, float]]:
        return {
            "encoder": {"psnr": 15.0, "ssim": 0.5, "iou": 0.9, "distance": 1.0},
            "texture": {"psnr": 15.0 + gain, "ssim": 0.55, "iou": 0.95, "distance": 1.0},
            BASELINE: {"psnr": 15.0, "ssim": 0.5, "iou": 0.8, "distance": 1.0},
        }

    figures = summary({"one": person(1.0), "two": person(4.0)}, "lpips")
    assert figures["gain_psnr"] == {"value": 2.5, "bound": 2.0, "ok": True}
    assert figures["one/gain_psnr"]["value"] == 1.0
    assert not summary({"one": person(1.0)}, "lpips")["gain_psnr"]["ok"]


def test_inception_score_counts_how_many_kinds_are_surely_told_apart(tmp_path: Path) -> None:
    file = tmp_path / "weights.pth"
    torch.save({"fc.weight": torch.eye(4) * 50.0, "fc.bias": torch.zeros(4)}, file)
    assert inception_score(torch.eye(4), file) == pytest.approx(4.0, rel=1e-3)
    assert inception_score(torch.eye(4)[[0, 0, 0]], file) == pytest.approx(1.0, rel=1e-3)
