"""Training of neural dressing on toy people: data, learning, exact resume, divergence."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from blender_addon.contract.errors import TrainingDiverged, TrainingError
from models.dresser import DresserConfig
from models.texture import MipChain, NeuralTexture, gather_features
from training.checkpoint import CHECKPOINT_FILE, load_checkpoint, save_checkpoint
from training.dressing_data import (
    People,
    Window,
    area_weights,
    choose_window,
    cut_batch,
    cut_pixels,
    load_frames,
    make_batch,
    whole_window,
)
from training.dressing_model import DressingModel, assemble_chain, spread_over_levels
from training.dressing_recipe import (
    DressingData,
    DressingOptimiser,
    DressingRecipe,
    DressingSchedule,
)
from training.dressing_training import DressingTraining
from training.image_metrics import psnr
from training.losses import NEUTRAL_GREY, composite, composite_premultiplied

from .toy_people import LIGHT_DRESSER, write_toy_capture

RECIPES = Path(__file__).parents[2] / "training" / "recipes"

QUICK = DressingRecipe(
    architecture=LIGHT_DRESSER,
    data=DressingData(size=64, batch=2, people_per_batch=2),
    optimiser=DressingOptimiser(
        warm_start=4, average=0.9, average_every=2, texture_size=64, dresser_rate=2e-3
    ),
    schedule=DressingSchedule(steps=6, warm_up=1, freeze_statistics=0.5),
    perceptual_stages=(0, 1, 2),
)


@pytest.fixture(scope="module")
def toys(tmp_path_factory) -> tuple[Path, list[Path]]:
    library = tmp_path_factory.mktemp("library")
    folders = tmp_path_factory.mktemp("captures")
    captures = [
        write_toy_capture(library, folders / f"person-{k}", person=k, train=4, held_out=1)
        for k in range(2)
    ]
    return library, captures


@pytest.fixture(scope="module")
def people(toys) -> People:
    library, captures = toys
    return People.open(captures, library)


@pytest.fixture(scope="module")
def frames(people):
    return load_frames(people, "train")


def training(toys, out: Path, recipe: DressingRecipe = QUICK, **options) -> DressingTraining:
    library, captures = toys
    torch.set_num_threads(1)
    return DressingTraining(recipe, captures, out, library=library, device="cpu", **options)


# --- data


@given(
    start=st.floats(-20, 40),
    side=st.floats(1, 50),
    size=st.integers(1, 40),
    length=st.integers(1, 30),
)
@settings(max_examples=100, deadline=None)
def test_area_weights_conserve_light(start, side, size, length):
    weights, first = area_weights(start, side, size, length)
    assert 0 <= first <= length
    # Every source pixel wholly inside the window gives all of its light to the target.
    given_away = weights.sum(dim=0).numpy() * side / size
    for k, value in enumerate(given_away):
        inside = min(first + k + 1, start + side) - max(first + k, start)
        assert value == pytest.approx(max(min(inside, 1.0), 0.0), abs=1e-3)


def test_a_shift_by_half_a_pixel_averages_neighbours():
    weights, _ = area_weights(0.5, 3.0, 3, 4)
    source = torch.tensor([0.0, 1.0, 3.0, 7.0])
    assert (weights @ source).tolist() == [0.5, 2.0, 5.0]


def test_cut_pixels_of_the_whole_frame_is_the_frame(people, frames):
    frame = frames[0][0]
    size = frame.camera.width
    planes = cut_pixels(frame, Window(0.0, 0.0, float(size)), size)
    capture = people.captures[0]
    index = capture.frames("train")[0]
    image = np.concatenate([capture.image(index), capture.masks(index)], axis=-1)
    assert np.abs(planes.permute(1, 2, 0).numpy() * 255 - image).max() < 1e-3


@pytest.mark.parametrize("zoom", [1.0, 0.5])
def test_the_rasterised_body_lies_inside_the_person_at_any_zoom(people, frames, zoom):
    frame = frames[0][1]
    whole = whole_window(frame, 1.2)
    middle, side = whole.x + whole.side / 2, whole.side * zoom
    window = Window(middle - side / 2, whole.y + whole.side / 2 - side / 2, side)
    batch = cut_batch(people, [frame], [window], 64)
    coverage = gather_features(batch.samples(), MipChain.build(torch.zeros(1, 8, 8))).coverage
    true = batch.masks[:, :1]
    # The toys' coat stands off the body by a few pixels all around.
    assert coverage.sum() > 300
    assert (coverage * (1 - true)).sum() < 0.005 * coverage.sum()
    assert coverage.sum() < true.sum()


def test_a_batch_depends_on_seed_and_step_only(people, frames):
    one, again, other = (make_batch(people, frames, QUICK.data, 3, step) for step in (5, 5, 6))
    assert all(
        torch.equal(a, b)
        for a, b in zip(one, again, strict=True)
        if isinstance(a, torch.Tensor) and isinstance(b, torch.Tensor)
    )
    assert not torch.equal(one.colour, other.colour)
    assert one.people == (0, 1)
    assert one.texture.tolist() == [0, 1]


def test_windows_never_enlarge_the_capture(frames):
    data = DressingData(size=64, finest=1.0)
    rng = np.random.default_rng(0)
    sides = [choose_window(frames[0][0], data, rng).side for _ in range(60)]
    assert min(sides) >= 64.0
    assert max(sides) > 1.2 * min(sides)


# --- model


def test_the_fast_chain_is_the_mip_chain():
    generator = torch.Generator().manual_seed(1)
    textures = [
        NeuralTexture(4, smallest=4, largest=32, deviation=1.0, generator=generator)
        for _ in range(2)
    ]
    expected = MipChain.build(torch.stack([texture.assemble() for texture in textures]))
    found = assemble_chain(textures)
    assert found.size == expected.size
    assert torch.allclose(found.table, expected.table, atol=1e-5)


def test_an_image_spread_over_levels_adds_up_again():
    texture = NeuralTexture(5, smallest=8, largest=64, deviation=1.0)
    before = texture.assemble()
    image = torch.rand(3, 64, 64)
    spread_over_levels(texture, image, slice(1, 4))
    after = texture.assemble()
    assert torch.allclose(after[1:4], image, atol=1e-5)
    assert torch.equal(after[0], before[0])
    fine, coarse = texture.levels[-1][1:4], texture.levels[0][1:4]
    assert fine.abs().mean() < coarse.abs().mean()


# --- learning


def test_a_few_steps_on_toy_people_lower_the_loss(toys, tmp_path):
    recipe = replace(
        QUICK,
        schedule=DressingSchedule(steps=24, warm_up=3),
        optimiser=replace(QUICK.optimiser, warm_start=10),
    )
    run = training(toys, tmp_path / "run", recipe)
    run.start()
    history = run.run()
    assert len(history) == 24
    assert np.mean(history[-4:]) < 0.6 * np.mean(history[:3])
    log = (tmp_path / "run" / "log.jsonl").read_text()
    entries = [json.loads(row) for row in log.splitlines()]
    assert any("held-out/psnr_box" in entry for entry in entries)
    assert list((tmp_path / "run" / "samples").glob("*.png"))
    assert list((tmp_path / "run" / "tensorboard").iterdir())


@pytest.mark.slow
def test_one_frame_can_be_learnt_by_heart(toys, tmp_path):
    recipe = replace(
        QUICK,
        architecture=DresserConfig(),
        data=DressingData(size=96, batch=2, people_per_batch=2, whole_share=1.0, margin=(1.2, 1.2)),
        schedule=DressingSchedule(steps=150, warm_up=5, freeze_statistics=0.6),
        optimiser=replace(QUICK.optimiser, warm_start=40),
    )
    run = training(toys, tmp_path / "run", recipe, overfit=2)
    run.start()
    run.run()
    frame = run.frames[0][0]
    batch = cut_batch(run.people, [frame], [whole_window(frame, 1.2)], 96)
    with torch.no_grad():
        dressed = run.averaged_model()(batch)
    alpha = dressed.masks[:, :1]
    predicted = composite(dressed.rgb, alpha, NEUTRAL_GREY)
    true = composite_premultiplied(batch.colour, batch.masks[:, :1], NEUTRAL_GREY)
    assert psnr(predicted.numpy(), true.numpy()) > 27.0
    # The coat stands off the bare body: only the network can have drawn it.
    assert ((alpha > 0.5) == (batch.masks[:, :1] > 0.5)).float().mean() > 0.99


def test_a_resumed_training_repeats_the_undisturbed_one_to_the_bit(toys, tmp_path):
    whole = training(toys, tmp_path / "whole")
    whole.start()
    expected = whole.run()

    first = training(toys, tmp_path / "parts")
    first.start()
    with pytest.MonkeyPatch.context() as patch:
        # The session ends after three steps, as --stop_after would end it.
        patch.setattr(DressingSchedule, "progress", _stopping_at(3))
        before = first.run()
    second = training(toys, tmp_path / "parts")
    assert second.resume()
    assert second.step == 3
    assert before + second.run() == expected
    for name, value in whole.model.state_dict().items():
        assert torch.equal(value, second.model.state_dict()[name]), name
    assert whole.average is not None
    assert second.average is not None
    for name, value in whole.average.values.items():
        assert torch.equal(value, second.average.values[name]), name


def test_a_closed_iterator_leaves_a_checkpoint_and_the_turn_comes_mid_step(toys, tmp_path):
    run = training(toys, tmp_path / "run")
    run.start()
    steps = run.iterate()
    middle, made = next(steps), next(steps)
    assert middle.values is None
    assert (middle.step, made.step) == (0, 1)
    assert made.values is not None
    assert made.values["loss"] > 0
    assert 0 < made.progress < 0.5
    next(steps)
    steps.close()
    again = training(toys, tmp_path / "run")
    assert again.resume()
    # Half a step is finished before the checkpoint is written.
    assert again.step == 2


def test_divergence_stops_the_training_and_keeps_the_last_checkpoint(toys, tmp_path):
    run = training(toys, tmp_path / "run")
    run.start()
    run.save()
    with torch.no_grad():
        next(run.model.dresser.parameters())[0] = float("nan")
    with pytest.raises(TrainingDiverged, match="step 0"):
        run.run()
    again = training(toys, tmp_path / "run")
    assert again.resume()
    assert all(v.isfinite().all() for v in again.model.state_dict().values())


def test_other_captures_cannot_resume_a_run(toys, tmp_path):
    library, captures = toys
    run = training(toys, tmp_path / "run")
    run.start()
    run.save()
    other = DressingTraining(QUICK, captures[::-1], tmp_path / "run", library=library, device="cpu")
    with pytest.raises(TrainingError, match="other captures"):
        other.resume()


def test_a_stage_without_an_end_is_refused(toys, tmp_path):
    with pytest.raises(TrainingError, match="no end"):
        training(toys, tmp_path, replace(QUICK, schedule=DressingSchedule()))


# --- checkpoints


def test_a_damaged_checkpoint_is_refused_in_words(tmp_path):
    (tmp_path / CHECKPOINT_FILE).write_bytes(b"PK\x03\x04 not a checkpoint")
    with pytest.raises(TrainingError, match="cannot be read"):
        load_checkpoint(tmp_path)


def test_a_checkpoint_executes_nothing(tmp_path):
    torch.save({"format": 1, "trap": Path("/")}, tmp_path / CHECKPOINT_FILE)
    with pytest.raises(TrainingError, match="cannot be read"):
        load_checkpoint(tmp_path)


def test_an_interrupted_write_leaves_the_last_checkpoint(tmp_path, monkeypatch):
    save_checkpoint(tmp_path, {"step": 1})

    def fail(*_args: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(torch, "save", fail)
    with pytest.raises(OSError, match="disk full"):
        save_checkpoint(tmp_path, {"step": 2})
    state = load_checkpoint(tmp_path)
    assert state is not None
    assert state["step"] == 1


# --- schedule and recipes


def test_rates_fall_from_one_to_the_floor():
    schedule = DressingSchedule(steps=100, decay_from=0.2, floor=0.1)
    factors = [schedule.factor(schedule.progress(step, 0.0)) for step in range(101)]
    assert factors[:21] == [1.0] * 21
    assert factors[-1] == pytest.approx(0.1)
    assert all(a >= b for a, b in pairwise(factors))


def test_a_stage_planned_in_minutes_ends_by_the_clock():
    schedule = DressingSchedule(minutes=2.0)
    assert schedule.progress(10**6, 60.0) == pytest.approx(0.5)
    assert schedule.progress(0, 121.0) == 1.0


@pytest.mark.parametrize("recipe", sorted(RECIPES.glob("dressing-*.yaml")), ids=lambda p: p.stem)
def test_recipes_name_only_known_settings(recipe):
    settings = recipe_settings(recipe)
    assert settings.data.size % 32 == 0
    assert settings.schedule.minutes or settings.schedule.steps


@pytest.mark.parametrize("phase", [1, 2])
def test_the_papers_recipes_hold_table_1(phase):
    settings = recipe_settings(RECIPES / f"dressing-phase{phase}.yaml")
    weights = settings.weights
    assert (weights.perceptual, weights.vggface, weights.segmentation) == (1, 2e-1, 1e2)
    assert (weights.adversarial, weights.adversarial_head, weights.adversarial_hands) == (
        1e1,
        5e1,
        5e1,
    )
    assert weights.mipmap == 1
    assert weights.norms == "written"
    # What is not in the table is off, but for what stands in for VGG-Face.
    assert (weights.l1, weights.mask_entropy, weights.face_hands) == (0, 0, 1)
    assert weights.face_perceptual == weights.vggface
    optimiser, adversaries = settings.optimiser, settings.adversaries
    assert optimiser.texture_rate == {1: 5e-2, 2: 1e-3}[phase]
    assert optimiser.dresser_rate == 1e-3
    assert optimiser.beta1 == 5e-1
    assert (adversaries.full_rate, adversaries.head_rate, adversaries.hands_rate) == (2e-4,) * 3
    assert (settings.schedule.decay, settings.schedule.warm_up) == ("constant", 0)
    assert (optimiser.trainable, optimiser.clip) == ("all", 0)
    # Section 1.3: the image's resolution, and the texture's that stays.
    assert settings.data.size == {1: 512, 2: 1024}[phase]
    assert optimiser.texture_size == 512
    assert settings.architecture.texture_channels == 16


def recipe_settings(recipe: Path):
    import jsonargparse

    from training.dressing import train_dressing

    parser = jsonargparse.ArgumentParser(exit_on_error=False)
    parser.add_function_arguments(train_dressing, as_positional=False)
    parser.add_argument("--config", action="config")
    return parser.parse_args([f"--config={recipe}", "--captures=[a, b]"])


@pytest.mark.parametrize("name", ["dressing-phase1", "dressing-phase2", "dressing-cpu"])
def test_whole_recipes_comment_every_setting(name):
    import yaml

    text = (RECIPES / f"{name}.yaml").read_text()
    expected = DressingRecipe().to_plain()
    values = yaml.safe_load(text)
    assert _names(values) == _names(expected)
    for line in text.splitlines():
        if re.match(r"\s*\w+: \S", line):
            assert "#" in line, line


def _names(values: dict) -> set[str]:
    found: set[str] = set()
    for name, value in values.items():
        found.add(name)
        if isinstance(value, dict):
            found |= {f"{name}.{inner}" for inner in _names(value)}
    return found


def test_the_first_recipe_names_every_setting_with_its_default():
    import yaml

    values = yaml.safe_load((RECIPES / "dressing-cpu.yaml").read_text())
    values["schedule"]["minutes"] = None
    values["architecture"].pop("encoder")
    expected = json.loads(json.dumps(DressingRecipe().to_plain()))
    expected["architecture"].pop("encoder")
    assert values == expected


def _stopping_at(last: int):
    original = DressingSchedule.progress

    def progress(self: DressingSchedule, step: int, seconds: float) -> float:
        return 1.0 if step >= last else original(self, step, seconds)

    return progress


def test_models_of_one_seed_start_alike():
    one, other = (DressingModel(QUICK.architecture, 1, seed=4) for _ in range(2))
    assert all(
        torch.equal(a, b)
        for a, b in zip(one.state_dict().values(), other.state_dict().values(), strict=True)
    )
