"""A run's packages render what was trained, carry their frames' digests, and stay small."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from blender_addon.contract.errors import TrainingError
from models.avatar import AvatarRenderer
from models.avatar_preview import preview_pose
from models.dresser import Dresser
from models.dresser_delta import delta_in
from models.package import load_arrays, read_manifest
from training.captures import Capture
from training.dressing_data import People, cut_batch, whole_window
from training.dressing_recipe import (
    DressingData,
    DressingOptimiser,
    DressingRecipe,
    DressingRefinement,
    DressingSchedule,
)
from training.dressing_training import DressingTraining
from training.export import export_dressing, read_run, renderer, write_packages
from training.fit_refinement import export_fits
from training.plain_texture import write_plain_texture

from .toy_people import BODY_ID, LIGHT_DRESSER, write_toy_capture


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
        architecture=LIGHT_DRESSER,
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


@pytest.fixture(autouse=True)
def blank_previews(monkeypatch):
    """Paint the previews of `trained` only; those that single tests export would cost a second."""
    monkeypatch.setattr("training.export.preview", lambda *_: Image.new("RGB", (512, 512)))


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
    library, captures, _, training = trained
    people = People.open(captures, library)
    avatar, dresser = (read_manifest(library / n) for n in ("avatar-toy-0", "dresser-toys"))
    assert avatar.data["training_frames"] == people.captures[0].digests("train")
    assert len(dresser.data["training_frames"]) == 6
    assert avatar.data["captures"][0]["digest"] == people.captures[0].digest
    assert avatar.requirements == {"body": BODY_ID, "dresser": "dresser-toys"}
    assert avatar.licence == "CC0-1.0"
    assert avatar.architecture["betas"] == pytest.approx(people.captures[0].betas, abs=1e-4)
    assert avatar.recipe["steps"] == 6
    assert avatar.recipe["weights"]["l1"] == training.recipe.weights.l1
    assert "held-out/psnr_box" in avatar.metrics


def test_a_package_has_a_painted_preview(trained):
    library, *_ = trained
    with Image.open(library / "avatar-toy-0" / "preview.png") as image:
        pixels = np.asarray(image)
    assert pixels.shape == (512, 512, 3)
    # Six steps leave a haze everywhere; what matters here is that a picture was painted.
    assert pixels.std() > 2


def numbers(module):
    return sum(tensor.numel() for tensor in module.state_dict().values())


def test_sizes_stay_in_the_budget(trained):
    library, _, _, training = trained
    dresser = (library / "dresser-toys" / "weights.safetensors").stat().st_size
    # Half-precision numbers and their names; those of the recipes' own dresser make 29 MB.
    assert dresser < 2 * numbers(training.model.dresser) + 50_000
    with torch.device("meta"):
        assert 2 * numbers(Dresser(DressingRecipe().architecture)) < 29.5e6
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


# --- phase 2: one person, whose dresser is the shared one, nearly the shared one, or their own


def phase_two(run, trainable, moved=()):
    """Return a run's outcome as a phase 2 of its second person that moved some tensors."""
    people = replace(run.people, captures=run.people.captures[1:])
    recipe = {**run.recipe, "optimiser": {**run.recipe["optimiser"], "trainable": trainable}}
    dresser = {
        name: value + 0.25 if any(name.startswith(part) for part in moved) else value
        for name, value in run.dresser.items()
    }
    textures = [run.textures[1] * 0.5]
    return replace(run, people=people, recipe=recipe, dresser=dresser, textures=textures)


def content(library):
    return {path: path.read_bytes() for path in library.rglob("*") if path.is_file()}


def test_an_avatar_with_a_delta_goes_into_a_library_that_others_share(trained, tmp_path):
    library, captures, out, _ = trained
    run = phase_two(read_run(out, People.open(captures, library)), "delta", ["rgb_head.3.bias"])
    folder = tmp_path / "library"
    shutil.copytree(library, folder)
    before = content(folder)
    assert write_packages(run, folder) == [folder / "avatar-toy-1"]
    after = content(folder)
    changed = {path.parent.name for path in before if before[path] != after[path]}
    assert changed == {"avatar-toy-1"}
    assert set(after) == set(before)
    manifest = read_manifest(folder / "avatar-toy-1")
    assert manifest.requirements["dresser"] == "dresser-toys"
    assert manifest.data["training_frames"] == run.people.captures[0].digests("train")
    assert "held-out/psnr_box" in manifest.metrics
    capture = run.people.captures[0]
    body, camera = capture.posed_body(0), capture.camera(0)
    ours = renderer(run, 0).render(body, camera)
    shipped = AvatarRenderer.load(folder, "avatar-toy-1").render(body, camera)
    assert all(np.array_equal(ours[name], shipped[name]) for name in ours)


def test_a_phase_two_is_trained_and_exported_as_a_delta_with_its_refined_shape(trained, tmp_path):
    library, captures, _, training = trained
    recipe = replace(
        training.recipe,
        optimiser=replace(training.recipe.optimiser, trainable="delta"),
        refine=DressingRefinement(enabled=True, start=0.0, betas_rate=1e-2),
    )
    out = tmp_path / "run"
    own = DressingTraining(recipe, captures[1:], out, library=library, device="cpu")
    own.start(init_from=library)
    own.run()
    assert export_dressing(out, captures[1:], tmp_path / "own", shared=library) == 0
    assert [path.name for path in (tmp_path / "own").iterdir()] == ["avatar-toy-1"]
    weights = load_arrays(tmp_path / "own" / "avatar-toy-1")
    averaged = own.averaged_model().dresser.state_dict()
    shared = load_arrays(library / "dresser-toys")
    moved = [name for name in delta_in(weights) if not torch.equal(averaged[name], shared[name])]
    assert len(moved) > 20
    for name, value in delta_in(weights).items():
        assert torch.allclose(value.float(), averaged[name], rtol=1e-3, atol=1e-5), name
    betas = read_manifest(tmp_path / "own" / "avatar-toy-1").architecture["betas"]
    assert betas != pytest.approx(own.people.captures[0].betas, abs=1e-3)
    assert export_fits(out, captures[1:], tmp_path / "fits", library) == 0
    refined = Capture.open(tmp_path / "fits" / "toy-1")
    assert refined.betas == pytest.approx(betas, abs=1e-4)
    AvatarRenderer.load([tmp_path / "own", library], "avatar-toy-1")


def test_an_avatar_may_lie_in_another_library_than_its_dresser(trained, tmp_path):
    library, captures, out, _ = trained
    run = phase_two(read_run(out, People.open(captures, library)), "delta", ["mask_head"])
    written = write_packages(run, tmp_path, libraries=(tmp_path, library))
    assert [path.name for path in written] == ["avatar-toy-1"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["avatar-toy-1"]
    AvatarRenderer.load([tmp_path, library], "avatar-toy-1")


def test_a_texture_alone_requires_the_dresser_as_it_was(trained, tmp_path):
    library, captures, out, _ = trained
    whole = read_run(out, People.open(captures, library))
    run = phase_two(whole, "texture")
    write_packages(run, tmp_path, libraries=[library])
    assert set(load_arrays(tmp_path / "avatar-toy-1")) == {"texture"}
    moved = phase_two(whole, "texture", ["rgb_head.3.bias"])
    with pytest.raises(TrainingError, match=r"'dresser-toys', differs in 1 tensors"):
        write_packages(moved, tmp_path, libraries=[library])


def test_a_phase_two_whose_statistics_moved_is_not_exported_as_a_delta(trained, tmp_path):
    library, captures, out, _ = trained
    run = phase_two(
        read_run(out, People.open(captures, library)),
        "delta",
        ["unet.encoder.model.bn1.running_mean"],
    )
    with pytest.raises(TrainingError, match="differs in 1 tensors"):
        write_packages(run, tmp_path, libraries=[library])
    assert list(tmp_path.iterdir()) == []


def test_a_dresser_of_ones_own_gets_ones_own_name(trained, tmp_path):
    library, captures, out, _ = trained
    run = phase_two(read_run(out, People.open(captures, library)), "all", ["unet"])
    folder = tmp_path / "library"
    shutil.copytree(library, folder)
    written = write_packages(run, folder)
    assert [path.name for path in written] == ["dresser-toy-1", "avatar-toy-1"]
    assert read_manifest(written[1]).requirements["dresser"] == "dresser-toy-1"
    assert content(folder / "dresser-toys").keys() == {
        folder / "dresser-toys" / path.name for path in (library / "dresser-toys").iterdir()
    }


def test_a_dresser_is_not_pulled_from_under_other_avatars(trained, tmp_path):
    library, captures, out, _ = trained
    run = phase_two(read_run(out, People.open(captures, library)), "all", ["unet"])
    folder = tmp_path / "library"
    shutil.copytree(library, folder)
    before = content(folder)
    with pytest.raises(TrainingError, match="avatar-toy-0 wear it"):
        write_packages(run, folder, "toys")
    assert content(folder) == before


def test_the_command_finds_body_and_dresser_in_the_shared_library(trained, tmp_path, capsys):
    library, captures, out, _ = trained
    assert export_dressing(out, captures, tmp_path, name="mine", ids=["toy-0"], shared=library) == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["avatar-toy-0", "dresser-mine"]
    assert "avatar-toy-0: 0." in capsys.readouterr().out


def test_the_preview_pose_is_a_pose():
    from blender_addon.contract.pose import check_rotations

    body = preview_pose(np.zeros(10, np.float32))
    assert check_rotations(body.pose).shape == (55, 3, 3)
