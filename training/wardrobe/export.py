"""`dressform export wardrobe`: a run's averaged networks as packages, a dresser's and a wardrobe's."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path  # noqa: TC003 - jsonargparse reads the annotations
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import torch

from blender_addon.contract.errors import TrainingError
from models.avatar import AvatarRenderer
from models.avatar_preview import preview, side_by_side
from models.package import DEFAULT_LIBRARY, Manifest, package_digest, write_package
from models.spectral_texture import spectral_maps
from models.stylegan2_discriminator import DiscriminatorConfig
from models.wardrobe import Prior, Wardrobe, WardrobeSpace
from models.wardrobe_package import write_wardrobe
from training.captures import find_captures
from training.checkpoint import load_checkpoint
from training.stage import RECIPE_FILE
from training.wardrobe.data import Crowd
from training.wardrobe.directions import direction_names
from training.wardrobe.growth import GrowingDiscriminator
from training.wardrobe.model import WardrobeModel
from training.wardrobe.recipe import WardrobeRecipe
from training.wardrobe.samples import Looker
from training.wardrobe.step import fade_in

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor

DIRECTIONS = 64
"""Principal directions that a package keeps."""
NAMED = 10
SAMPLED = 4096
"""Styles of a mapping whose mean and directions are kept."""
SHOWN = 8
"""People of the preview."""


class TrainedWardrobe(NamedTuple):
    """A run's outcome: the running average of its weights.

    Attributes:
        model: G, R and codes.
        people: ids in the order of the codes.
        recipe: all that decided about it.
        steps: made.
        minutes: of training.
        discriminators: their states by "player.name", if there were any.
    """

    model: WardrobeModel
    people: list[str]
    recipe: WardrobeRecipe
    steps: int
    minutes: float
    discriminators: dict[str, Tensor]


def export_wardrobe(
    run: Path,
    captures: Path | list[Path],
    library: Path = DEFAULT_LIBRARY,
    id: str = "wardrobe-people",  # noqa: A002
    dresser_id: str = "dresser-wardrobe",
    name: str = "People",
    prior: Prior | None = None,
    bandwidth: float | None = None,
    discriminators: Path | None = None,
) -> int:
    """Write a run's wardrobe and its dresser as packages; those of the same ids are replaced.

    Args:
        run: folder of `dressform train wardrobe`.
        captures: those that it was trained on, whose frames measure and name what it learnt.
        library: where the packages go, and where the body lies.
        id: of the wardrobe's package.
        dresser_id: of the dresser's.
        name: what people read.
        prior: where drawn people come from; the run's when omitted. Only the adversarial stage
            learns with one.
        bandwidth: of a "kernel" prior; the run's when omitted.
        discriminators: another run of the same wardrobe whose discriminators ship, D_face among them:
            one that went on from this run, against people who looked as these do.
    """
    trained = _with_prior(read_run(run), prior, bandwidth)
    if discriminators is not None:
        trained = _with_discriminators(trained, read_run(discriminators))
    recipe = trained.recipe
    crowd = Crowd.open(
        find_captures(captures),
        library,
        recipe.data,
        upscale=recipe.dresser.upscale,
        texture_size=recipe.generator.size,
        shell=recipe.dresser.shell,
    )
    crowd = _of_the_run(crowd, trained)
    trained.model.generator = with_maps(trained.model, crowd)
    licences = sorted({c.description.licence for c in crowd.people.captures})
    figures = {
        k: round(v, 4)
        for k, v in Looker(crowd, recipe.seed).figures(trained.model).items()
        if v == v  # noqa: PLR0124 - NaN is not JSON
    }
    facts: dict[str, Any] = {
        "licence": " AND ".join(licences),
        "recipe": {
            "command": "dressform train wardrobe",
            "steps": trained.steps,
            "minutes": round(trained.minutes, 2),
            **recipe.to_plain(),
        },
        "data": _data(crowd),
        "metrics": figures,
    }
    space = space_of(trained)
    names = direction_names(trained.model, space, crowd, NAMED)
    space = replace(space, names=tuple(names))
    dresser = Manifest(
        kind="dresser",
        id=dresser_id,
        name=f"Dresser of the wardrobe {id}",
        architecture=trained.model.dresser.faded_config.to_plain(),
        **facts,
    )
    state = {k: _half(v) for k, v in trained.model.dresser.state_dict().items()}
    # The package has the digest of what lies in it: read it as written.
    dresser = write_package(library / dresser_id, dresser, state)
    picture = preview_of(trained, space, crowd)
    write_wardrobe(
        library / id,
        trained.model.generator,
        space,
        dresser=dresser,
        body=crowd.people.body.id,
        name=name,
        prior=recipe.codes.prior,
        face=_face(trained),
        largest_crop=max(512, recipe.data.size),
        training=_kept(trained),
        preview=picture,
        **facts,
    )
    for folder in (library / dresser_id, library / id):
        size = sum(path.stat().st_size for path in folder.iterdir()) / 1e6
        print(f"{folder}: {size:.1f} MB")  # noqa: T201 - a command's own output
    print(f"{package_digest(dresser)[:12]}; directions: {', '.join(names)}")  # noqa: T201
    return 0


def read_run(run: Path) -> TrainedWardrobe:
    """Read a run's checkpoint as it ships.

    Raises:
        TrainingError: there is no checkpoint of a wardrobe.
    """
    state = load_checkpoint(run)
    if state is None or "stand" not in state or "people" not in state:
        raise TrainingError(f"{run} holds no checkpoint of a wardrobe", "train first")
    values: dict[str, Any] = json.loads((run / RECIPE_FILE).read_text(encoding="utf-8"))
    recipe = WardrobeRecipe.from_plain(values)
    model = WardrobeModel(recipe, len(state["people"]), None)
    model.load_state_dict(state["average"])
    model.dresser.fade = fade_in(state)
    steps, seconds = state["stand"][:2]
    adversarial = state["adversarial"]
    return TrainedWardrobe(
        model.eval().requires_grad_(requires_grad=False),
        list(state["people"]),
        recipe,
        int(steps),
        float(seconds) / 60.0,
        {} if adversarial is None else dict(adversarial["discriminators"]),
    )


def with_maps(model: WardrobeModel, crowd: Crowd) -> Any:
    """Return the generator with the body's spectral maps, which no checkpoint holds."""
    generator = model.generator
    config = generator.config
    maps = spectral_maps(crowd.people.body, config.spectral_sizes)
    filled = type(generator)(config, maps)
    filled.load_state_dict(generator.state_dict())
    filled = filled.eval().requires_grad_(requires_grad=False)
    return filled.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]


@torch.no_grad()
def space_of(trained: TrainedWardrobe) -> WardrobeSpace:
    """Return mean and directions of the codes, or of styles that the mapping makes."""
    model = trained.model
    settings = trained.recipe.codes
    if settings.prior != "mapping":
        space = WardrobeSpace.of(model.codes, DIRECTIONS)
        if settings.prior == "gaussian":
            return space
        bank = model.codes.detach().float()[:, None]
        return replace(space, bank=bank, bandwidth=settings.bandwidth)
    random = torch.Generator().manual_seed(trained.recipe.seed)
    z = torch.randn(SAMPLED, trained.recipe.generator.code, generator=random)
    return WardrobeSpace.of(model.generator.mapping(z), DIRECTIONS)


def preview_of(trained: TrainedWardrobe, space: WardrobeSpace, crowd: Crowd) -> Image:
    """Return drawn people side by side, in the bodies of training people."""
    model = trained.model
    wardrobe = Wardrobe(
        Manifest(kind="wardrobe", id="preview", name="preview", licence=""),
        model.generator,
        space,
        prior=trained.recipe.codes.prior,
    )
    pictures: list[Image] = []
    for seed in range(SHOWN):
        texture = wardrobe.texture(wardrobe.draw(seed))
        shown = AvatarRenderer(crowd.people.body, texture, model.dresser, "preview")
        betas = crowd.people.captures[crowd.train[seed % len(crowd.train)]].betas
        pictures.append(preview(shown, betas))
    return side_by_side(pictures)


def _with_prior(
    trained: TrainedWardrobe, prior: Prior | None, bandwidth: float | None
) -> TrainedWardrobe:
    codes = trained.recipe.codes
    codes = replace(
        codes,
        prior=prior or codes.prior,
        bandwidth=codes.bandwidth if bandwidth is None else bandwidth,
    )
    if codes.prior == "mapping" and not trained.recipe.generator.mapping_layers:
        raise TrainingError("the run has no mapping to draw from", 'use the prior "kernel"')
    trained.model.settings = codes
    return trained._replace(recipe=replace(trained.recipe, codes=codes))


def _with_discriminators(trained: TrainedWardrobe, other: TrainedWardrobe) -> TrainedWardrobe:
    if not other.discriminators or other.people != trained.people:
        raise TrainingError(
            "that run has no discriminators, or saw other people",
            "give one that was started from this run, with an adversarial stage",
        )
    return trained._replace(
        recipe=replace(trained.recipe, adversaries=other.recipe.adversaries),
        discriminators=other.discriminators,
    )


def _of_the_run(crowd: Crowd, trained: TrainedWardrobe) -> Crowd:
    """Check that the captures are those of the run, in their order."""
    ids = [crowd.people.ids[person] for person in crowd.train]
    if ids != trained.people:
        raise TrainingError(
            "the captures are not those that the run was trained on",
            f"give the folder with {trained.people[0]} … {trained.people[-1]}",
        )
    return crowd


def _data(crowd: Crowd) -> dict[str, Any]:
    captures = crowd.people.captures
    return {
        "captures": [
            {"id": crowd.people.ids[person], "digest": captures[person].digest}
            for person in crowd.train
        ],
        "training_frames": [d for p in crowd.train for d in captures[p].digests("train")],
        "held_out_people": [crowd.people.ids[person] for person in crowd.held_out],
    }


def _face(trained: TrainedWardrobe) -> GrowingDiscriminator | None:
    """Return D_face, whose features fits match, if there was one."""
    state = {
        key.removeprefix("face."): value
        for key, value in trained.discriminators.items()
        if key.startswith("face.")
    }
    if not state:
        return None
    settings = trained.recipe.adversaries
    face = GrowingDiscriminator(
        DiscriminatorConfig(
            size=settings.face_size, channels=4, base=settings.base, widest=settings.widest
        )
    )
    face.load_state_dict(state)
    return face


def _kept(trained: TrainedWardrobe) -> dict[str, Tensor]:
    """Return what a further training takes up: codes, and the other discriminators."""
    others = {k: v for k, v in trained.discriminators.items() if not k.startswith("face.")}
    return {"codes": cast("Tensor", trained.model.codes).detach()} | others


def _half(value: Tensor) -> Tensor:
    value = value.detach()
    return value.half() if value.is_floating_point() else value
