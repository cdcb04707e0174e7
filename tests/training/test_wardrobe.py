"""Training of wardrobes on toy people: data, stages, exact resume, growth, the paper's figures."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import yaml
from jsonargparse import ArgumentParser

from blender_addon.contract.errors import CaptureError, TrainingError
from models.dresser import Dresser, DresserConfig
from models.dresser_package import load_dresser
from models.stylegan2_discriminator import DiscriminatorConfig
from models.texture_generator import TextureGeneratorConfig
from models.wardrobe_package import load_wardrobe
from training.schedule import StagePlan
from training.wardrobe.command import train_wardrobe
from training.wardrobe.data import Crowd
from training.wardrobe.export import export_wardrobe
from training.wardrobe.growth import GrowingDiscriminator
from training.wardrobe.losses import ImageTransforms
from training.wardrobe.model import WardrobeModel  # noqa: TC001
from training.wardrobe.recipe import (
    WardrobeAdversaries,
    WardrobeCodes,
    WardrobeData,
    WardrobeOptimiser,
    WardrobeRecipe,
    WardrobeSchedule,
    WardrobeWeights,
)
from training.wardrobe.training import WardrobeTraining

from .toy_people import write_toy_body, write_toy_capture

RECIPES = Path(__file__).parents[2] / "training" / "recipes"
CPU = torch.device("cpu")
QUICK = WardrobeRecipe(
    generator=TextureGeneratorConfig(
        size=32, base=512, widest=16, style=8, code=8, mapping_layers=0, spectral_from=16
    ),
    dresser=DresserConfig(
        depth=3, decoder=(16, 8, 8), features=8, shell=False, upscale=2, covers_body=True
    ),
    data=WardrobeData(
        size=64, people=2, frames=2, textures=3, unwrapped=4, held_out_people=1, paired=0.5
    ),
    codes=WardrobeCodes(prior="kernel", first="principal", noise=0.05, pull=1e-3),
    weights=WardrobeWeights(
        texture=1.0, edges=0.5, unwrapped=2.0, l1=20.0, segmentation=1.0, mask_entropy=5.0, kept=0.3, norms="rms"
    ),
    optimiser=WardrobeOptimiser(
        beta1=0.5, average_images=8, average_ramp=0.5, first_colours=0.1, equalised=False,
        image_rate=1e-2, image_dresser_rate=5e-3, texture_rate=1e-2,
    ),
    adversaries=WardrobeAdversaries(
        base=256, widest=8, face_size=32, regressor=4, r1_every=2, path_every=2, augreg_share=0.5
    ),
    schedule=WardrobeSchedule(
        texture=StagePlan(steps=2), image=StagePlan(steps=2),
        adversarial=StagePlan(steps=3),
    ),
)  # fmt: skip


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    library = tmp_path_factory.mktemp("people")
    write_toy_body(library)
    for person in range(4):
        write_toy_capture(library, library / f"capture-{person}", person=person, size=64)
    return library


@pytest.fixture(scope="module")
def crowd(folder) -> Crowd:
    return open_crowd(folder, QUICK.data)


def open_crowd(folder: Path, data: WardrobeData, upscale: int = 2) -> Crowd:
    captures = sorted(folder.glob("capture-*"))
    return Crowd.open(captures, folder, data, upscale=upscale, texture_size=32, shell=False)


def only(**steps: int) -> WardrobeSchedule:
    return WardrobeSchedule(**{name: StagePlan(steps=n) for name, n in steps.items()})


def test_last_people_are_held_out_and_a_step_is_always_the_same(crowd):
    assert (crowd.train, crowd.held_out) == ([0, 1, 2], [3])
    one, again, other = (crowd.batch(0, step) for step in (5, 5, 6))
    assert torch.equal(one.samples.uv, again.samples.uv)
    assert torch.equal(one.samples.pixel, again.samples.pixel)
    assert torch.equal(one.colour, again.colour)
    assert one.frames != other.frames
    assert [person for person, _ in one.frames] == [p for p in one.people for _ in range(2)]
    with pytest.raises(CaptureError, match="nobody is left"):
        Crowd(crowd.people, replace(QUICK.data, held_out_people=4), 2, 32)


def test_a_window_shows_the_same_pixels_and_surface_as_the_whole_image(crowd):
    cropping = Crowd(crowd.people, replace(QUICK.data, crop=32), 2, 32)
    window, frames = cropping.batch(0, 1, whole=False), crowd.batch(0, 1).frames
    whole = cropping.batch_of(frames)
    assert window.frames == frames
    assert window.shape == (4, 32, 32)
    for k in range(4):
        shift = (whole.K[k, :2, 2] - window.K[k, :2, 2]).round().int().tolist()
        column, row = shift
        cut = whole.colour[k, :, row : row + 32, column : column + 32]
        assert torch.equal(cut, window.colour[k])
        # The body lies where its pixels are, at half the size.
        place = (window.samples.pixel // 256 == k).nonzero()[:, 0]
        seen = torch.zeros(256)
        seen[window.samples.pixel[place] % 256] = 1.0
        true = torch.zeros(32 * 32)
        here = whole.samples.pixel[whole.samples.pixel // 1024 == k] % 1024
        true[here] = 1.0
        half = true.view(32, 32)[row // 2 : row // 2 + 16, column // 2 : column // 2 + 16]
        assert torch.equal(seen.view(16, 16), half)


def test_texture_and_image_stage_learn_what_held_out_frames_show(crowd, tmp_path):
    recipe = replace(QUICK, schedule=only(texture=40, image=60))
    training = WardrobeTraining(recipe, crowd, tmp_path, CPU)
    training.start(None)
    before = training.looked_at_images()
    history = training.run()
    after = training.looked_at_images()
    assert history[39] < 0.6 * history[0]
    assert after["held-out/psnr_person"] > before["held-out/psnr_person"] + 1.0
    assert after["held-out/ssim_box"] > before["held-out/ssim_box"] + 0.1
    assert after["spread/mean"] > 0.5


def test_an_adversarial_step_moves_every_network(crowd, tmp_path):
    training = WardrobeTraining(QUICK, crowd, tmp_path, CPU)
    stepper, adversarial = training.stepper, training.stepper.adversarial
    assert adversarial is not None
    players = dict(adversarial.discriminators.items()) | {"q": adversarial.regressor}
    players |= {"G": stepper.model.generator, "R": stepper.model.dresser}
    before = {name: [p.clone() for p in player.parameters()] for name, player in players.items()}
    # Step 2 penalises gradients and path lengths, too.
    values = stepper.make(crowd.batch(0, 2), "adversarial", 2, 0, 0.0)
    for name, player in players.items():
        moved = [
            not torch.equal(a, b) for a, b in zip(before[name], player.parameters(), strict=True)
        ]
        assert sum(moved) > 0.5 * len(moved), name
    assert {"loss/path", "loss/augreg", "loss/wreg", "r1/unary", "r1/binary"} <= values.keys()


def test_stopped_and_resumed_training_is_the_same_to_the_bit(crowd, tmp_path):
    straight = WardrobeTraining(QUICK, crowd, tmp_path / "straight", CPU)
    straight.start(None)
    expected = straight.run()
    stopped = WardrobeTraining(QUICK, crowd, tmp_path / "stopped", CPU)
    stopped.start(None)
    history: list[float] = []
    # In the middle of a stage, between two, and at the end.
    for step in (1, 4, 7):
        history += stopped.run(until=step)
        stopped = WardrobeTraining(QUICK, crowd, tmp_path / "stopped", CPU)
        assert stopped.resume()
    assert history == expected
    for a, b in zip(straight.average.parameters(), stopped.average.parameters(), strict=True):
        assert torch.equal(a, b)


def test_grown_discriminators_and_dresser_start_as_they_were(crowd, folder, tmp_path):
    torch.manual_seed(0)
    small = GrowingDiscriminator(DiscriminatorConfig(size=16, channels=4, base=64, widest=8))
    large = GrowingDiscriminator(DiscriminatorConfig(size=32, channels=4, base=64, widest=8))
    assert large.grow(small.state_dict())
    images = torch.rand(2, 4, 32, 32)
    halved = torch.nn.functional.avg_pool2d(images, 2)
    torch.testing.assert_close(large(images), small(halved))
    large.fade = 1.0
    assert not torch.allclose(large(images), small(halved))

    first = replace(
        QUICK, dresser=replace(QUICK.dresser, upscale=1), data=replace(QUICK.data, size=32),
        schedule=only(image=1, adversarial=1),
    )  # fmt: skip
    before = WardrobeTraining(first, open_crowd(folder, first.data, 1), tmp_path / "a", CPU)
    before.run()
    second = replace(
        QUICK, adversaries=replace(QUICK.adversaries, fade_images=8), schedule=only(adversarial=3)
    )
    after = WardrobeTraining(second, crowd, tmp_path / "b", CPU)
    after.start(tmp_path / "a")
    batch = crowd.batch(0, 0)
    faded = []
    for step in range(3):
        after.stepper.make(batch, "adversarial", step, step, 0.0)
        faded.append(after.stepper.model.dresser.fade)
    assert faded == [0.0, 0.5, 1.0]


def test_transforms_move_features_and_images_alike():
    transforms = ImageTransforms.draw(3, torch.Generator().manual_seed(0))
    features = torch.rand(3, 18, 16, 16)
    moved = transforms.apply_to_features(features, 16)
    assert moved[:, 16:].min() == pytest.approx(-2.0, abs=1e-4), "off the body comes in"
    torch.testing.assert_close(moved[:, :16], transforms.apply(features)[:, :16])


@pytest.mark.parametrize("name", ["wardrobe-256", "wardrobe-512", "wardrobe-cpu"])
def test_recipes_fill_the_same_names_and_comment_each(name):
    text = (RECIPES / f"{name}.yaml").read_text(encoding="utf-8")
    parser = ArgumentParser()
    parser.add_function_arguments(train_wardrobe)
    parser.add_argument("--config", action="config")
    parser.parse_args(["--captures", "x", "--config", str(RECIPES / f"{name}.yaml")])
    for line in text.splitlines():
        if ":" in line and not line.startswith("#") and not line.rstrip().endswith(":"):
            assert "#" in line, f"{name}: {line!r} says nothing"


@pytest.mark.parametrize("name", ["wardrobe-256", "wardrobe-512"])
def test_the_papers_recipes_hold_table_2(name):
    recipe = yaml.safe_load((RECIPES / f"{name}.yaml").read_text(encoding="utf-8"))
    table = {
        "adv_unary": 1, "adv_binary": 1, "adv_face": 1, "r1": 10, "path": 2, "augreg": 1, "wreg": 10,
    }  # fmt: skip
    assert {term: recipe["weights"][term] for term in table} == table
    rates = {
        "generator": 1e-3, "dresser": 1e-4, "regressor": 1e-3,
        "unary": 2e-3, "binary": 2e-3, "face": 2e-3,
    }  # fmt: skip
    assert {player: recipe["optimiser"][f"{player}_rate"] for player in rates} == rates
    assert recipe["optimiser"]["equalised"] is True
    assert recipe["codes"]["prior"] == "mapping"
    assert recipe["weights"]["norms"] == "written"
    generator = recipe["generator"]
    assert (generator["size"], generator["channels"], generator["spectral_channels"]) == (
        256,
        16,
        16,
    )
    assert generator["spectral_from"] == 64
    assert recipe["adversaries"]["face_size"] == 128
    assert recipe["dresser"]["covers_body"] is True
    # R sees 256² in both phases; the second doubles its output.
    size = int(name.removeprefix("wardrobe-"))
    assert recipe["data"]["size"] // recipe["dresser"]["upscale"] == 256
    assert recipe["data"]["size"] == size
    assert (
        recipe["schedule"]["texture"]
        == recipe["schedule"]["image"]
        == {"steps": None, "minutes": None}
    )
    grown = (recipe["adversaries"]["fade_images"] > 0, recipe["data"]["least_side"])
    assert grown == ((False, 0) if size == 256 else (True, 512))


def test_a_training_without_an_end_or_without_pairs_is_refused(crowd, tmp_path):
    with pytest.raises(TrainingError, match="no stage has an end"):
        WardrobeTraining(replace(QUICK, schedule=only()), crowd, tmp_path, CPU)
    alone = replace(QUICK, data=replace(QUICK.data, frames=1))
    with pytest.raises(TrainingError, match="two frames"):
        WardrobeTraining(alone, crowd, tmp_path, CPU)


def test_exported_run_is_a_wardrobe_whose_people_are_rendered(folder, crowd, tmp_path, capsys):
    training = WardrobeTraining(QUICK, crowd, tmp_path / "run", CPU)
    training.start(None)
    training.run()
    training.stepper.model.dresser.fade = training.average.dresser.fade = 0.25
    training.save()
    captures = sorted(folder.glob("capture-*"))
    assert export_wardrobe(tmp_path / "run", captures, folder) == 0
    assert "directions:" in capsys.readouterr().out
    wardrobe = load_wardrobe(folder, "wardrobe-people")
    assert wardrobe.face is not None
    assert len(wardrobe.directions) == 2, "three people differ in two directions"
    dresser = load_dresser(folder / "dresser-wardrobe")
    assert dresser.fade == 0.25, "exported as far as it has grown"
    batch = crowd.batch(0, 0)
    w = wardrobe.mean_w
    shown = [
        model.dress(model.features(texture[None], batch, torch.zeros(4, dtype=torch.int64)), batch)
        for model, texture in (
            (training.average.eval(), training.average.textures(w[None])[0]),
            (with_dresser(training.average, dresser), wardrobe.texture(w)),
        )
    ]
    torch.testing.assert_close(shown[0].rgb, shown[1].rgb, atol=0.02, rtol=0)
    known = wardrobe.manifest.data
    assert [entry["id"] for entry in known["captures"]] == training.ids
    assert known["held_out_people"] == ["toy-3"]
    # Discriminators may be those of a training that went on.
    plain, ids = _without_adversary(crowd, tmp_path), ("wardrobe-plain", "dresser-plain")
    assert export_wardrobe(plain, captures, folder, *ids, discriminators=tmp_path / "run") == 0
    given = load_wardrobe(folder, "wardrobe-plain").face.state_dict()
    assert all(torch.equal(v, given[k]) for k, v in wardrobe.face.state_dict().items())
    with pytest.raises(TrainingError, match="no discriminators"):
        export_wardrobe(tmp_path / "run", captures, folder, discriminators=plain)
    # The package starts the next training as the run would have.
    again = WardrobeTraining(QUICK, crowd, tmp_path / "again", CPU)
    again.start(folder / "wardrobe-people")
    torch.testing.assert_close(again.average.codes, training.average.codes, atol=0.01, rtol=0)
    shown = [each.average.eval().textures(w[None]) for each in (again, training)]
    torch.testing.assert_close(*shown, atol=0.02, rtol=0)
    for name, network in again.stepper.adversarial.discriminators.items():
        own = training.stepper.adversarial.discriminators[name].state_dict()
        for key, value in network.state_dict().items():
            torch.testing.assert_close(value, own[key], atol=0.01, rtol=0.01)


def _without_adversary(crowd, tmp_path):
    """Save a training that never had an adversary; return its folder."""
    short = WardrobeSchedule(texture=StagePlan(steps=1))
    training = WardrobeTraining(replace(QUICK, schedule=short), crowd, tmp_path / "without", CPU)
    training.run()
    return tmp_path / "without"


def with_dresser(model: WardrobeModel, dresser: Dresser) -> WardrobeModel:
    other = copy.deepcopy(model)
    other.dresser = dresser
    return other
