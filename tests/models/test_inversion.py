"""Fits of photographs: stages move what they may, terms can be switched, Table 3 is the default."""

from __future__ import annotations

import inspect
from collections import Counter
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pytest
import torch
import yaml

from blender_addon.contract.camera import look_at
from blender_addon.contract.errors import BadParameter, Cancelled
from blender_addon.contract.operations import PosedBody
from models import turns
from models.avatar import AvatarRenderer
from models.dresser_package import load_dresser
from models.inversion import FitPhoto, fit_avatar
from models.inversion_recipe import (
    CPU_FIT,
    OPTIMISED_STAGES,
    FitRecipe,
    FitStageRecipe,
    with_effort,
    without,
)
from models.wardrobe_package import load_wardrobe
from tests.models.toy_wardrobe import DRESSER, WARDROBE, toy_body, write_toy_wardrobe

if TYPE_CHECKING:
    from collections.abc import Iterator

    from blender_addon.contract.wardrobe import FitStage
    from models.body import Body
    from models.dresser import Dresser
    from models.inversion import FitProgress, FittedAvatar
    from models.wardrobe import Wardrobe

RECIPES = Path(__file__).parents[2] / "training" / "recipes"
TERMS = [each.name for each in fields(FitStageRecipe)][3:]
SMALL = replace(CPU_FIT, size=64, face_size=32, at_once=0, unwrapped=0.0)


class Toy(NamedTuple):
    """A wardrobe, and photographs of somebody whom it can draw."""

    wardrobe: Wardrobe
    dresser: Dresser
    body: Body
    photos: list[FitPhoto]

    def fit(
        self, recipe: FitRecipe, stages: tuple[FitStage, ...] = OPTIMISED_STAGES, **options: object
    ) -> tuple[FittedAvatar, list[FitProgress]]:
        photos = options.pop("photos", self.photos[:1])
        going = fit_avatar(
            self.wardrobe, self.dresser, self.body, photos, recipe, stages=stages, **options
        )
        steps: list[FitProgress] = []
        while True:
            try:
                steps.append(next(going))
            except StopIteration as end:
                return end.value, steps


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Toy:
    library = tmp_path_factory.mktemp("library")
    write_toy_wardrobe(library)
    body = toy_body()
    wardrobe = load_wardrobe(library, WARDROBE, body=body)
    assert wardrobe.encoder is not None
    torch.manual_seed(3)
    for each in wardrobe.encoder.map2style:
        torch.nn.init.normal_(each.linear.weight, 0.0, 0.1)
    dresser = load_dresser(library / DRESSER)
    texture = wardrobe.texture(wardrobe.draw(5, truncation=1.0))
    renderer = AvatarRenderer(body, texture, dresser, "toy", largest_crop=256)
    photos = [_photograph(renderer, angle) for angle in (0.0, 2.5)]
    return Toy(wardrobe, dresser, body, photos)


def _photograph(renderer: AvatarRenderer, angle: float) -> FitPhoto:
    pose = np.tile(np.eye(3, dtype=np.float32), (55, 1, 1))
    body = PosedBody(
        pose=pose,
        transl=np.zeros(3, np.float32),
        betas=np.zeros(10, np.float32),
        expression=np.zeros(10, np.float32),
    )
    camera = look_at(
        np.array([3.0 * np.sin(angle), -0.3, 3.0 * np.cos(angle)]),
        np.array([0.0, -0.35, 0.0]),
        np.array([0.0, 1.0, 0.0]),
        focal=120.0,
        width=96,
        height=96,
    )
    shown = renderer.render(body, camera, ("rgba",))["rgba"].astype(np.float32)
    colour = shown[..., :3] / np.maximum(shown[..., 3:] / 255.0, 1e-3)
    rgba = np.concatenate([colour, shown[..., 3:]], axis=-1)
    return FitPhoto(rgba=rgba.clip(0, 255).astype(np.uint8), body=body, camera=camera)


@pytest.mark.parametrize("stage", OPTIMISED_STAGES)
def test_a_stage_lowers_its_loss_and_leaves_the_rest(toy: Toy, stage: FitStage) -> None:
    before = {k: v.clone() for k, v in toy.wardrobe.generator.state_dict().items()}
    own = replace(SMALL.stage(stage), iterations=6)
    fitted, steps = toy.fit(replace(SMALL, **{stage: own}), (stage,))
    losses = [
        step.losses["loss"] for step in steps if step.stage == stage and "loss" in step.losses
    ]
    assert losses[-1] < losses[0]
    assert list(fitted.figures) == ["encoder", stage]
    begun, ended = fitted.figures["encoder"], fitted.figures[stage]
    assert ended.distance < begun.distance
    unmoved = toy.wardrobe.texture(fitted.w)
    start = fitted.textures["encoder"]
    if stage == "w":
        assert not torch.equal(unmoved, start)
        torch.testing.assert_close(fitted.texture, unmoved)
    else:
        torch.testing.assert_close(unmoved, start)
        assert not torch.equal(fitted.texture, unmoved)
    after = toy.wardrobe.generator.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_terms_are_computed_where_they_have_a_weight(toy: Toy) -> None:
    once = with_effort(replace(FitRecipe(), size=64, face_size=32), 0.001)
    other = replace(
        once,
        w=FitStageRecipe(iterations=1, mse=0.0),
        generator=FitStageRecipe(iterations=1, lpips=0.0, generator_deviation=1.0),
        noise=FitStageRecipe(iterations=1, lpips=0.0, mse=0.0, face_lpips=0.1),
        texture=FitStageRecipe(iterations=1, lpips=0.0, mse=0.0, face_features=1.0),
    )
    for recipe in (once, other):
        _, steps = toy.fit(recipe)
        for stage in OPTIMISED_STAGES:
            weights = recipe.stage(stage)
            first = next(step for step in steps if step.stage == stage)
            wanted = {term for term in TERMS if getattr(weights, term)}
            assert set(first.losses) - {"loss"} == wanted


def _callers() -> Iterator[str]:
    """Name the functions that are running, inner first."""
    frame = inspect.currentframe()
    while frame is not None:
        yield frame.f_code.co_name
        frame = frame.f_back


def test_turns_within_steps_change_nothing_and_can_end_a_fit(
    toy: Toy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(turns, "LEAST_SECONDS", 0.0)
    recipe, stages = with_effort(SMALL, 0.001), ("generator", "texture")
    alone, _ = toy.fit(recipe, stages)
    renderer = AvatarRenderer(toy.body, alone.texture, toy.dresser, "toy", largest_crop=256)
    photo = toy.photos[1]
    passes = ("rgba",)
    shown = renderer.render(photo.body, photo.camera, passes)["rgba"]
    places: Counter[str] = Counter()
    wanted = ("backward", "look", "begin")

    def serve() -> None:
        place = next((name for name in _callers() if name in ("render", *wanted)), "else")
        places[place] += 1
        if place == "render":
            return
        # What is served there shares the fit's dresser and finds torch as it is elsewhere.
        assert torch.is_grad_enabled()
        assert not torch.is_inference_mode_enabled()
        if places[place] in (1, 20):
            np.testing.assert_array_equal(
                renderer.render(photo.body, photo.camera, passes)["rgba"], shown
            )

    beside, _ = toy.fit(recipe, stages, turn=serve)
    assert min(places[place] for place in wanted) >= 20
    assert torch.equal(alone.texture, beside.texture)
    assert torch.equal(alone.w, beside.w)

    def give_up() -> None:
        if "backward" in _callers():
            raise Cancelled

    with pytest.raises(Cancelled):
        toy.fit(recipe, stages, turn=give_up)
    assert not any(layer._forward_hooks for layer in toy.dresser.modules())


def test_a_term_can_be_left_out_of_all_stages() -> None:
    for term in TERMS:
        changed = without(FitRecipe(), [term])
        assert all(getattr(changed.stage(stage), term) == 0.0 for stage in OPTIMISED_STAGES)
        others = [each for each in TERMS if each != term]
        for stage in OPTIMISED_STAGES:
            assert [getattr(changed.stage(stage), each) for each in others] == [
                getattr(FitRecipe().stage(stage), each) for each in others
            ]
    with pytest.raises(BadParameter):
        without(FitRecipe(), ["iterations"])  # pyright: ignore[reportArgumentType]


def test_defaults_are_table_3() -> None:
    table = {
        "iterations": (100, 70, 50, 100),
        "rate": (0.01, 0.01, 0.1, 0.15),
        "lpips": (1.0, 1.0, 1.0, 1.0),
        "mse": (0.5, 0.5, 0.5, 0.5),
        "encoder_deviation": (0.1, 0.0, 0.0, 0.0),
        "generator_deviation": (0.0, 1.0, 0.0, 0.0),
        "texture_deviation": (0.0, 0.0, 0.0, 0.1),
        "face_lpips": (0.5, 1.0, 0.1, 2.0),
        "face_features": (0.0, 2.0, 0.0, 3.0),
    }
    recipe = FitRecipe()
    for name, row in table.items():
        assert tuple(getattr(recipe.stage(stage), name) for stage in OPTIMISED_STAGES) == row
    assert recipe.unwrapped == 0.0
    for stage in OPTIMISED_STAGES:
        assert recipe.stage(stage).final_rate == 1.0


@pytest.mark.parametrize(
    ("file", "recipe"), [("avatar-fit.yaml", FitRecipe()), ("avatar-fit-cpu.yaml", CPU_FIT)]
)
def test_recipe_files_hold_the_presets(file: str, recipe: FitRecipe) -> None:
    held = yaml.safe_load((RECIPES / file).read_text(encoding="utf-8"))
    assert held == recipe.to_plain()


def test_a_fit_can_be_given_up_or_cut_short_between_steps(toy: Toy) -> None:
    going = fit_avatar(toy.wardrobe, toy.dresser, toy.body, toy.photos[:1], SMALL)
    for _ in range(4):
        next(going)
    going.close()
    asked = iter([False, False, False])
    fitted, steps = toy.fit(SMALL, stop=lambda: next(asked, True))
    assert list(fitted.figures) == ["encoder", "w"]
    assert max(step.iteration for step in steps if step.stage == "w") == 2


def test_pictures_show_photographs_above_the_avatar(toy: Toy) -> None:
    _, steps = toy.fit(SMALL, (), photos=toy.photos)
    preview = steps[0].preview
    assert preview is not None
    assert preview.shape == (128, 128, 3)
    above = preview[:64, :64].astype(float)
    assert np.abs(above - above[0, 0]).max() > 60  # somebody stands before grey


def test_styles_of_several_photographs_are_averaged(toy: Toy) -> None:
    alone = [toy.fit(SMALL, (), photos=[photo])[0].w for photo in toy.photos]
    together, _ = toy.fit(SMALL, (), photos=toy.photos)
    assert not torch.allclose(alone[0], alone[1])
    torch.testing.assert_close(together.w, (alone[0] + alone[1]) / 2)


def test_a_shifted_body_moves_back_when_that_is_asked_for(toy: Toy) -> None:
    photo = toy.photos[0]
    off = np.array([0.03, 0.0, 0.0], np.float32)
    wrong = replace(photo, body=replace(photo.body, transl=photo.body.transl + off))
    w = toy.wardrobe.draw(5, truncation=1.0)
    encoder, toy.wardrobe.encoder = toy.wardrobe.encoder, None
    mean, toy.wardrobe.mean_w = toy.wardrobe.mean_w, w
    try:
        # With the true texture in place, only the body can make things better.
        still = replace(SMALL, w=FitStageRecipe(iterations=12, rate=0.0), refine_rate=4e-3)
        fitted, _ = toy.fit(still, ("w",), photos=[wrong], refine=True)
    finally:
        toy.wardrobe.encoder, toy.wardrobe.mean_w = encoder, mean
    assert np.abs(fitted.bodies[0].transl[0]) < 0.8 * off[0]


def test_strange_requests_are_refused(toy: Toy) -> None:
    with pytest.raises(BadParameter, match="stage"):
        toy.fit(SMALL, ("polish",))  # pyright: ignore[reportArgumentType]
    with pytest.raises(BadParameter, match="no photograph"):
        toy.fit(SMALL, photos=[])
    small = replace(toy.photos[0], rgba=toy.photos[0].rgba[:50])
    with pytest.raises(BadParameter, match="camera"):
        toy.fit(SMALL, photos=[small])
