"""The baseline without a texture: it learns, keeps its pictures, and is refused where it cheats."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from blender_addon.contract.errors import SplitLeak, TrainingError
from models.body import load_body
from training.captures import Capture
from training.dressing_recipe import DressingData, DressingOptimiser, DressingRecipe
from training.dressing_training import DressingTraining
from training.evaluation_regions import BodyParts
from training.evaluation_truth import true_frame
from training.image_metrics import psnr
from training.uv_alone import (
    NOTES_FILE,
    read_recipe,
    start_without_texture,
    steps_of,
    stored_frames,
    train_uv_alone,
    training_notes,
    uv_renderer,
    without_texture,
    write_frames,
)

from .toy_people import BODY_ID, write_toy_capture

pytestmark = pytest.mark.slow
STEPS = 16


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A library, captures to train on and to measure, a run to be repeated, and its baseline."""
    root = tmp_path_factory.mktemp("world")
    library = root / "library"
    train = write_toy_capture(library, root / "train" / "toy-0", train=4, held_out=1, size=96)
    measured = write_toy_capture(
        library, root / "measured" / "toy-0", train=0, held_out=2, size=96, seed=3, sequence=2
    )
    recipe = DressingRecipe(
        data=DressingData(size=64, batch=2, whole_share=1.0),
        optimiser=DressingOptimiser(dresser_rate=3e-3, average=0.8, warm_start=0),
    )
    like = root / "like"
    like.mkdir()
    made = {**recipe.to_plain(), "steps": STEPS, "command": "dressform train dressing"}
    (like / "recipe.json").write_text(json.dumps(made))
    options = {"baselines": root / "baselines", "library": library, "device": "cpu", "threads": 1}
    code = train_uv_alone(train, like, root / "run", benchmark=measured, **options)
    return root, library, Capture.open(measured), recipe, code


def test_the_recipe_is_repeated_but_for_the_texture(world):
    root, _, _, recipe, code = world
    assert code == 0
    assert read_recipe(root / "like") == recipe
    assert steps_of(root / "like") == STEPS
    bare = without_texture(recipe, 7)
    assert bare.schedule.steps == 7
    assert bare.weights == replace(recipe.weights, mipmap=0.0)
    assert bare.optimiser.dresser_rate == recipe.optimiser.dresser_rate
    assert bare.data == recipe.data
    notes = json.loads((root / "baselines/uv-alone/toy-0" / NOTES_FILE).read_text())
    assert notes["steps"] == STEPS


def test_nothing_but_the_network_learns(world):
    root, library, _, recipe, _ = world
    training = DressingTraining(
        without_texture(recipe, STEPS), [root / "train/toy-0"], root / "run", library=library,
        device="cpu",
    )  # fmt: skip
    assert training.resume()
    assert training.step == STEPS
    for texture in training.model.each_texture():
        assert not any(level.any() for level in texture.levels)
    # Another texture would change what it shows: it really is not used.
    first = uv_renderer(training)
    assert not first.chain.table.any()


def test_its_pictures_are_those_that_it_renders(world):
    root, library, measured, recipe, _ = world
    show = stored_frames(root / "baselines/uv-alone", measured)
    parts = BodyParts.of(load_body(library / BODY_ID))
    frame = true_frame(measured, 0, parts)
    shown = show(frame)
    training = DressingTraining(
        without_texture(recipe, STEPS), [root / "train/toy-0"], root / "run", library=library,
        device="cpu",
    )  # fmt: skip
    training.resume()
    passes = uv_renderer(training).render(frame.body, frame.camera, ("rgba", "masks"))
    expected = frame.over_background(passes)
    assert np.array_equal(shown.image, expected.image)
    assert shown.channels == 1
    # It has learnt something of where the person is.
    grey = np.full_like(frame.image, frame.background[0])
    assert psnr(shown.image, frame.image) > psnr(grey, frame.image) + 1
    # Frames of sequences are not kept, nor are there pictures at another size.
    assert show(true_frame(measured, 2, parts)) is None
    assert show(true_frame(measured, 0, parts, 128)) is None


def test_another_capture_or_a_damaged_file_is_refused(world, tmp_path):
    root, library, measured, _, _ = world
    folder = root / "baselines/uv-alone"
    other = write_toy_capture(library, tmp_path / "toy-0", train=0, held_out=1, size=96, seed=9)
    with pytest.raises(TrainingError, match="another capture"):
        stored_frames(folder, Capture.open(other))
    stranger = write_toy_capture(library, tmp_path / "toy-5", person=5, train=0, held_out=1)
    assert stored_frames(folder, Capture.open(stranger)) is None
    show = stored_frames(folder, measured)
    path = folder / "toy-0" / "000.webp"
    kept = path.read_bytes()
    path.write_bytes(kept[:-9])
    frame = true_frame(measured, 0, BodyParts.of(load_body(library / BODY_ID)))
    with pytest.raises(TrainingError, match="damaged"):
        show(frame)
    path.write_bytes(kept)


def test_pictures_of_training_frames_are_not_kept(world, tmp_path):
    root, library, _, recipe, _ = world
    training = DressingTraining(
        without_texture(recipe, 1), [root / "train/toy-0"], tmp_path, library=library, device="cpu"
    )
    start_without_texture(training)
    with torch.inference_mode(), pytest.raises(SplitLeak, match="trained on 4 frames"):
        write_frames(
            tmp_path / "kept",
            uv_renderer(training),
            Capture.open(root / "train/toy-0"),
            training_notes(training),
        )


def test_a_folder_without_a_recipe_is_refused(tmp_path):
    with pytest.raises(TrainingError, match="no recipe"):
        read_recipe(tmp_path)
    (tmp_path / "recipe.json").write_text('{"data": {"size": 31}}')
    with pytest.raises(TrainingError, match="not one of this version"):
        read_recipe(tmp_path)
