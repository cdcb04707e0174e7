"""A run's packages render what was trained, carry their frames' digests, and stay small."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from blender_addon.contract.errors import TrainingError
from models.avatar import AvatarRenderer
from models.package import load_arrays, read_manifest
from training.dressing_data import People, cut_batch, whole_window
from training.dressing_recipe import (
    DressingData,
    DressingOptimiser,
    DressingRecipe,
    DressingSchedule,
)
from training.dressing_training import DressingTraining
from training.export import preview_pose, read_run, renderer, write_packages
from training.plain_texture import write_plain_texture

from .toy_people import BODY_ID, write_toy_capture


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A short run on two toys: library, captures, run folder, and the training itself."""
    library = tmp_path_factory.mktemp("library")
    folders = tmp_path_factory.mktemp("captures")
    captures = [
        write_toy_capture(library, folders / f"person-{k}", person=k, train=3, held_out=1)
        for k in range(2)
    ]
    recipe = DressingRecipe(
        data=DressingData(size=64, batch=2),
        optimiser=DressingOptimiser(warm_start=8, average=0.5, average_every=1, texture_size=64),
        schedule=DressingSchedule(steps=6, warm_up=1),
        perceptual_stages=(0, 1),
    )
    out = tmp_path_factory.mktemp("runs") / "toys"
    training = DressingTraining(recipe, captures, out, library=library, device="cpu")
    training.start()
    training.run()
    write_packages(read_run(out, People.open(captures, library)), library, "toys")
    return library, captures, out, training


def test_packages_render_what_the_run_would(trained):
    library, captures, out, _ = trained
    people = People.open(captures, library)
    run = read_run(out, people)
    capture = people.captures[1]
    body, camera = capture.posed_body(0), capture.camera(0)
    ours = renderer(run, 1).render(body, camera)
    shipped = AvatarRenderer.load(library, "avatar-toy-1").render(body, camera)
    assert all(np.array_equal(ours[name], shipped[name]) for name in ours)
    assert shipped["rgba"].shape == (camera.height, camera.width, 4)


def test_packages_hold_the_running_average_up_to_rounding(trained):
    library, _, _, training = trained
    weights = load_arrays(library / "dresser-toys")
    averaged = training.averaged_model().dresser.state_dict()
    assert set(weights) == set(averaged)
    for name, value in averaged.items():
        assert torch.allclose(weights[name].float(), value.float(), rtol=1e-3, atol=1e-5), name
    texture = load_arrays(library / "avatar-toy-0")["texture"]
    assert texture.dtype == torch.float16
    assert texture.shape == (16, 64, 64)


def test_packages_say_what_they_were_trained_on(trained):
    library, captures, _, _ = trained
    people = People.open(captures, library)
    avatar, dresser = (read_manifest(library / n) for n in ("avatar-toy-0", "dresser-toys"))
    assert avatar.data["training_frames"] == people.captures[0].digests("train")
    assert len(dresser.data["training_frames"]) == 6
    assert avatar.data["captures"][0]["digest"] == people.captures[0].digest
    assert avatar.requirements == {"body": BODY_ID, "dresser": "dresser-toys"}
    assert avatar.licence == "CC0-1.0"
    assert avatar.architecture["betas"] == pytest.approx(people.captures[0].betas, abs=1e-4)
    assert avatar.recipe["steps"] == 6
    assert avatar.recipe["weights"]["l1"] == 20.0
    assert "held-out/psnr_box" in avatar.metrics


def test_a_package_has_a_painted_preview(trained):
    from PIL import Image

    library, *_ = trained
    with Image.open(library / "avatar-toy-0" / "preview.png") as image:
        pixels = np.asarray(image)
    assert pixels.shape == (512, 512, 3)
    # Six steps leave a haze everywhere; what matters here is that a picture was painted.
    assert pixels.std() > 2


def test_sizes_stay_in_the_budget(trained):
    library, *_ = trained
    dresser = (library / "dresser-toys" / "weights.safetensors").stat().st_size
    assert dresser < 29.5e6
    # A texture's file is its half-precision numbers and little else: 512² × 16 makes 8.4 MB.
    texture = (library / "avatar-toy-0" / "weights.safetensors").stat().st_size
    assert texture < 2 * 16 * 64 * 64 + 1000


def test_a_training_can_start_from_packages(trained, tmp_path):
    library, captures, _, training = trained
    again = DressingTraining(
        training.recipe, captures[::-1], tmp_path, library=library, device="cpu"
    )
    again.start(init_from=library)
    frame = training.frames[0][0]
    batch = cut_batch(training.people, [frame], [whole_window(frame, 1.2)], 64)
    moved = batch._replace(people=(1,))
    with torch.no_grad():
        ours = training.averaged_model()(batch)
        theirs = again.model.eval()(moved)
    assert (ours.rgb - theirs.rgb).abs().max() < 0.02
    assert (ours.masks - theirs.masks).abs().max() < 0.02


def test_a_training_can_start_from_another_run(trained, tmp_path):
    library, captures, out, training = trained
    again = DressingTraining(
        training.recipe, captures[::-1], tmp_path, library=library, device="cpu"
    )
    again.start(init_from=out)
    averaged = training.averaged_model()
    for ours, theirs in zip(
        averaged.each_texture(), reversed(again.model.each_texture()), strict=True
    ):
        assert torch.equal(ours.assemble(), theirs.assemble())
    for name, value in averaged.dresser.state_dict().items():
        assert torch.equal(value, again.model.dresser.state_dict()[name]), name


def test_kept_plain_textures_become_three_channels(trained, tmp_path):
    library, captures, _, training = trained
    colour = torch.rand(3, 64, 64)
    write_plain_texture(tmp_path, "toy-1", colour, {})
    again = DressingTraining(
        training.recipe, captures, tmp_path / "run", library=library, device="cpu"
    )
    again.start(init_from=library, plain_textures=tmp_path)
    kept, changed = (texture.assemble() for texture in again.model.each_texture())
    assert torch.allclose(changed[:3], 2 * colour - 1, atol=0.01)
    shipped = load_arrays(library / "avatar-toy-0")["texture"].float()
    assert torch.allclose(kept, shipped, atol=1e-4)


def test_only_the_people_asked_for_are_written(trained, tmp_path):
    library, captures, out, _ = trained
    run = read_run(out, People.open(captures, library))
    written = write_packages(run, tmp_path / "library", "some", ["toy-1"])
    assert [folder.name for folder in written] == ["dresser-some", "avatar-toy-1"]
    with pytest.raises(TrainingError, match="toy-9"):
        write_packages(run, tmp_path / "library", "some", ["toy-9"])


def test_a_run_of_other_captures_is_refused(trained):
    library, captures, out, _ = trained
    with pytest.raises(TrainingError, match="other captures"):
        read_run(out, People.open(captures[::-1], library))
    with pytest.raises(TrainingError, match="no checkpoint"):
        read_run(Path(out) / "nothing", People.open(captures, library))


def test_the_preview_pose_is_a_pose():
    from blender_addon.contract.pose import check_rotations

    body = preview_pose(np.zeros(10, np.float32))
    assert check_rotations(body.pose).shape == (55, 3, 3)
