"""The three adversaries: what they are shown, who learns from what, and tiny trainings with them."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

from blender_addon.contract.errors import TrainingError
from models.discriminators import PatchDiscriminatorConfig
from models.dresser import Dressed, DresserConfig
from models.regions import HEAD, LEFT_HAND, RIGHT_HAND, find_squares
from training.adversaries import Adversaries, DressingAdversaries
from training.dressing_data import People, cut_batch, load_frames, whole_window
from training.dressing_recipe import (
    DressingData,
    DressingOptimiser,
    DressingRecipe,
    DressingSchedule,
)
from training.dressing_training import DressingTraining
from training.image_metrics import psnr
from training.losses import (
    ADVERSARIAL,
    NEUTRAL_GREY,
    DressingWeights,
    composite,
    composite_premultiplied,
)

from .toy_people import LIGHT_DRESSER, write_toy_capture

if TYPE_CHECKING:
    from pathlib import Path

SMALL = PatchDiscriminatorConfig(width=8, layers=2)
SETTINGS = DressingAdversaries(full=SMALL, regions=SMALL, head_size=32, hands_size=32)
WEIGHTS = DressingWeights(adversarial=0.2, adversarial_head=0.2, adversarial_hands=0.2)
QUICK = DressingRecipe(
    architecture=LIGHT_DRESSER,
    data=DressingData(size=64, batch=2, people_per_batch=2),
    weights=WEIGHTS,
    optimiser=DressingOptimiser(
        warm_start=4, average=0.9, average_every=2, texture_size=64, dresser_rate=2e-3
    ),
    schedule=DressingSchedule(steps=6, warm_up=1, freeze_statistics=0.5),
    adversaries=SETTINGS,
    perceptual_stages=(0, 1),
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
def batch(toys):
    library, captures = toys
    people = People.open(captures, library)
    frames = [frame for some in load_frames(people, "train") for frame in some]
    return cut_batch(people, frames, [whole_window(frame, 1.2) for frame in frames], 64)


def training(toys, out: Path, recipe: DressingRecipe = QUICK, **options) -> DressingTraining:
    library, captures = toys
    torch.set_num_threads(1)
    return DressingTraining(recipe, captures, out, library=library, device="cpu", **options)


def truth_as_prediction(batch) -> Dressed:
    alpha = batch.masks[:, :1]
    return Dressed(batch.colour / alpha.clamp(min=1e-6), batch.masks.clone())


def test_the_truth_and_a_perfect_prediction_look_alike_to_the_adversaries(batch):
    adversaries = Adversaries(SETTINGS, WEIGHTS, seed=0)
    views = adversaries.views(truth_as_prediction(batch), batch)
    assert set(views.drawn) == set(ADVERSARIAL)
    for term in ADVERSARIAL:
        assert len(views.drawn[term]), term
        assert torch.allclose(views.drawn[term], views.true[term], atol=1e-4), term


def test_each_visible_hand_is_a_crop_of_its_own(batch):
    adversaries = Adversaries(SETTINGS, WEIGHTS, seed=0)
    views = adversaries.views(truth_as_prediction(batch), batch)
    hands = len(find_squares(batch, (LEFT_HAND, RIGHT_HAND)).image)
    assert len(views.true["adversarial_hands"]) == hands
    assert len(views.true["adversarial_head"]) == len(find_squares(batch, (HEAD,)).image)


def test_regions_are_masked_by_the_predicted_segmentation_when_drawn(batch):
    adversaries = Adversaries(SETTINGS, WEIGHTS, seed=0)
    dressed = truth_as_prediction(batch)
    dressed.masks[:, 1:] = 0.0
    views = adversaries.views(dressed, batch)
    assert float(views.drawn["adversarial_head"].abs().max()) == 0.0
    assert float(views.true["adversarial_head"].abs().max()) > 0.0


def test_each_player_learns_from_its_own_loss_only(batch):
    adversaries = Adversaries(SETTINGS, WEIGHTS, seed=0)
    rgb = torch.rand_like(batch.colour).requires_grad_()
    views = adversaries.views(Dressed(rgb, batch.masks), batch)
    torch.stack(list(adversaries.losses(views).values())).sum().backward()
    assert rgb.grad is not None
    assert float(rgb.grad.abs().sum()) > 0.0
    assert all(p.grad is None for p in adversaries.parameters())
    before = rgb.grad.clone()
    torch.stack(list(adversaries.own_losses(views).values())).sum().backward()
    assert all(p.grad is not None for p in adversaries.parameters())
    assert torch.equal(rgb.grad, before)


def test_a_term_without_weight_has_no_network():
    weights = replace(WEIGHTS, adversarial=0.0, adversarial_hands=0.0)
    adversaries = Adversaries(SETTINGS, weights, seed=0)
    assert list(adversaries.networks) == ["adversarial_head"]
    assert adversaries.rates() == {"adversarial_head": SETTINGS.head_rate}
    none = Adversaries(SETTINGS, DressingWeights(), seed=0)
    assert not none.any
    assert not list(none.parameters())


def test_each_adversary_has_its_own_rate():
    settings = replace(SETTINGS, full_rate=1e-4, head_rate=2e-4, hands_rate=3e-4)
    groups = Adversaries(settings, WEIGHTS, seed=0).optimiser().param_groups
    assert [group["lr"] for group in groups] == [1e-4, 2e-4, 3e-4]
    assert all(group["betas"][0] == 0.5 for group in groups)


def test_adversaries_learn_to_tell_wrong_colours_from_captured_ones(batch):
    adversaries = Adversaries(SETTINGS, WEIGHTS, seed=0)
    optimiser = adversaries.optimiser()
    for group in optimiser.param_groups:
        group["lr"] = 2e-3
    dressed = truth_as_prediction(batch)
    wrong = Dressed(1.0 - dressed.rgb, dressed.masks)
    own = {}
    for _ in range(20):
        optimiser.zero_grad()
        own = adversaries.own_losses(adversaries.views(wrong, batch))
        torch.stack(list(own.values())).sum().backward()
        optimiser.step()
    # Undecided, all scores one half, is a loss of 1; the background's patches stay undecided.
    for term in ADVERSARIAL:
        assert own[term].item() < 0.9, term


def test_a_resumed_training_with_adversaries_repeats_the_undisturbed_one(toys, tmp_path):
    recipe = replace(QUICK, adversaries=replace(SETTINGS, start=0.3))
    whole = training(toys, tmp_path / "whole", recipe)
    whole.start()
    expected = whole.run()
    first = training(toys, tmp_path / "parts", recipe)
    first.start()
    before = []
    steps = first.iterate()
    for report in steps:
        if report.values is not None:
            before.append(report.values["loss"])
            if report.step == 4:
                break
    steps.close()
    second = training(toys, tmp_path / "parts", recipe)
    assert second.resume()
    assert before + second.run() == expected
    for own, other in [
        (whole.model, second.model),
        (whole.stepper.adversaries, second.stepper.adversaries),
    ]:
        for name, value in own.state_dict().items():
            assert torch.equal(value, other.state_dict()[name]), name


def test_a_run_with_other_terms_cannot_be_resumed(toys, tmp_path):
    run = training(toys, tmp_path / "run")
    run.start()
    run.save()
    other = training(toys, tmp_path / "run", replace(QUICK, weights=DressingWeights()))
    with pytest.raises(TrainingError, match="other losses"):
        other.resume()


def measured(run: DressingTraining, person: int = 0) -> float:
    """Return dB of a person's held-out frame."""
    frame = run.held_out[person][0]
    size = run.recipe.data.size
    cut = cut_batch(run.people, [frame], [whole_window(frame, 1.2)], size)
    with torch.no_grad():
        dressed = run.averaged_model()(cut)
    predicted = composite(dressed.rgb, dressed.masks[:, :1], NEUTRAL_GREY)
    true = composite_premultiplied(cut.colour, cut.masks[:, :1], NEUTRAL_GREY)
    return psnr(predicted.numpy(), true.numpy())


@pytest.mark.slow
def test_phase_1_with_adversaries_then_phase_2_learn_what_can_be_measured(toys, tmp_path):
    recipe = replace(
        QUICK,
        architecture=DresserConfig(),
        schedule=DressingSchedule(steps=70, warm_up=3, freeze_statistics=0.6),
        adversaries=replace(SETTINGS, start=0.4),
    )
    run = training(toys, tmp_path / "phase-1", recipe)
    run.start()
    before = measured(run)
    history = run.run()
    after = measured(run)
    assert np.mean(history[-5:]) < 0.5 * np.mean(history[:5])
    assert after > before + 5.0

    library, _ = toys
    new = write_toy_capture(library, tmp_path / "new", person=5, train=4, held_out=1)
    second = replace(
        recipe,
        schedule=DressingSchedule(steps=40, warm_up=3, freeze_statistics=0.0),
        optimiser=replace(QUICK.optimiser, trainable="delta", texture_rate=1e-2),
        data=replace(QUICK.data, people_per_batch=1),
    )
    alone = DressingTraining(second, [new], tmp_path / "phase-2", library=library, device="cpu")
    alone.start(tmp_path / "phase-1")
    shared = {k: v.clone() for k, v in alone.model.dresser.state_dict().items()}
    before = measured(alone)
    alone.run()
    assert measured(alone) > before + 1.0
    from models.dresser_delta import moved_outside

    assert moved_outside(shared, alone.model.dresser.state_dict()) == []
    assert any(
        not torch.equal(value, shared[name])
        for name, value in alone.model.dresser.state_dict().items()
    )


def test_the_texture_alone_moves_when_asked(toys, tmp_path):
    recipe = replace(
        QUICK,
        weights=DressingWeights(),
        optimiser=replace(QUICK.optimiser, trainable="texture"),
        schedule=DressingSchedule(steps=2),
    )
    run = training(toys, tmp_path / "run", recipe)
    run.start()
    before = {name: value.clone() for name, value in run.model.state_dict().items()}
    run.run()
    changed = {k for k, v in run.model.state_dict().items() if not torch.equal(v, before[k])}
    assert changed
    assert all(name.startswith("textures.") for name in changed)
