"""From photographs of one person to an avatar's package: bodies, then the wardrobe's fit.

    photographs ─► person seen ─► body and camera ─► encoder ─► four stages ─► package

Server and command line share it. Every step is short, so that a worker serves others meanwhile.
"""

from __future__ import annotations

import hashlib
import json
import time
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from PIL import Image
from torch import Tensor

from blender_addon.contract.errors import NoPersonFound, PackageDamaged
from blender_addon.contract.wardrobe import fits_to_wire
from models.avatar import AvatarRenderer
from models.avatar_preview import preview
from models.body import Hands, Landmarks
from models.body_fit import BodyFitRecipe, iterate_fit_body
from models.crop import MAX_SIZE
from models.inversion import FitPhoto, fit_avatar
from models.inversion_recipe import CPU_FIT, FitRecipe, with_effort
from models.person_photo import iterate_person
from models.steps import retold
from models.turns import layer_turns, no_turn, spaced
from models.wardrobe_package import save_wardrobe_avatar

if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from pathlib import Path

    from numpy.typing import NDArray

    from blender_addon.contract.camera import Camera
    from blender_addon.contract.operations import PosedBody
    from blender_addon.contract.wardrobe import AvatarFit, FitStage
    from models.body import Body
    from models.dresser import Dresser
    from models.inversion import FitProgress, FittedAvatar
    from models.package import Manifest
    from models.person_photo import PersonView
    from models.turns import Turn
    from models.wardrobe import Wardrobe

FITS_FILE = "photographs.json"
"""Of a fitted avatar's package: the bodies and cameras of its photographs."""
PREVIEW_SIZE = 256
_BODY_SHARE = 0.2
_MASK_LEAST = 128


class PersonFitStep(NamedTuple):
    """Where a fit stands: stage, share of the whole, distance and picture when they are known."""

    stage: FitStage
    share: float
    distance: float | None = None
    preview: NDArray[np.uint8] | None = None


@dataclass(frozen=True)
class FittedPerson:
    """A fit's result.

    Attributes:
        avatar: texture, styles, shape and figures.
        fits: body and camera of each photograph.
    """

    avatar: FittedAvatar
    fits: tuple[tuple[PosedBody, Camera], ...]

    @property
    def distance(self) -> float:
        """Of the avatar from the photographs, after the last stage."""
        return list(self.avatar.figures.values())[-1].distance


@dataclass(frozen=True)
class FitNetworks:
    """What fits work with; nothing of it is changed."""

    wardrobe: Wardrobe
    dresser: Dresser
    body: Body


def iterate_person_fit(
    networks: FitNetworks,
    asked: AvatarFit,
    recipe: FitRecipe | None = None,
    stop: Callable[[], bool] | None = None,
    turn: Turn = no_turn,
) -> Generator[PersonFitStep, None, FittedPerson]:
    """Fit an avatar to photographs, step by step.

    Args:
        networks: of the wardrobe.
        asked: photographs, masks and bodies as far as the user gives them, and what is done.
        recipe: the stages; the one for the wardrobe's device when left out.
        stop: asked between steps of the stages; once true, what they have found is the result.
        turn: called many times within each step; the fit ends with what it raises.

    Returns:
        the fit, as the generator's value.

    Raises:
        NoPersonFound: nobody is seen in a photograph that comes without a body or a mask.
        SeveralPeople: several people are seen, and the request does not say which is meant.
        MissingExtra: a photograph must be looked at, and there is no environment that sees.
        BadParameter: a body does not fit its photograph.
    """
    started = time.monotonic()

    def enough() -> bool:
        late = asked.seconds is not None and time.monotonic() - started > asked.seconds
        return late or (stop is not None and stop())

    photos: list[FitPhoto] = []
    body = _on_cpu(networks.body)
    for number in range(len(asked.images)):
        first = _BODY_SHARE * number / len(asked.images)
        photo = yield from _photo(body, asked, number, first)
        photos.append(photo)
    photos = _of_one_shape(photos)
    stages = recipe or (CPU_FIT if networks.body.uv.device.type == "cpu" else FitRecipe())
    steps = fit_avatar(
        networks.wardrobe,
        networks.dresser,
        networks.body,
        photos,
        with_effort(stages, asked.effort),
        stages=asked.stages,
        refine=asked.refine,
        stop=enough,
        turn=turn,
    )

    def say(told: FitProgress) -> PersonFitStep:
        share = _BODY_SHARE + (0.98 - _BODY_SHARE) * told.share
        return PersonFitStep(told.stage, share, told.losses.get("distance"), told.preview)

    fitted = yield from retold(steps, say)
    bodies = zip(fitted.bodies, (photo.camera for photo in photos), strict=True)
    return FittedPerson(fitted, tuple(bodies))


def save_person(
    folder: Path,
    networks: FitNetworks,
    asked: AvatarFit,
    person: FittedPerson,
    *,
    licence: str,
    recipe: dict[str, Any],
    turn: Turn = no_turn,
) -> Manifest:
    """Write a fit as an avatar; an older one of the folder is replaced.

    Args:
        folder: named by the package's id.
        networks: that made it.
        asked: what was asked for.
        person: the fit.
        licence: whoever took the photographs decides.
        recipe: of the package, to which the request's own settings are added.
        turn: called while its picture is painted; what it raises leaves nothing behind.
    """
    fitted = person.avatar
    own = networks.wardrobe.manifest
    renderer = AvatarRenderer(
        networks.body,
        fitted.texture,
        networks.dresser,
        "",
        largest_crop=int(own.architecture.get("largest_crop", MAX_SIZE)),
    )
    with layer_turns(spaced(turn), networks.dresser):
        picture = preview(renderer, fitted.betas)
    rows = {name: array.tolist() for name, array in fits_to_wire(person.fits).items()}
    sizes = [(camera.width, camera.height) for _, camera in person.fits]
    return save_wardrobe_avatar(
        folder,
        own,
        fitted.texture,
        fitted.w,
        name=asked.name,
        licence=licence,
        betas=fitted.betas.tolist(),
        recipe={
            **recipe,
            "stages": list(asked.stages),
            "effort": asked.effort,
            "refine": asked.refine,
        },
        data={
            "photographs": [hashlib.sha256(image.tobytes()).hexdigest() for image in asked.images]
        },
        metrics={
            "distance": round(person.distance, 5),
            "distances": {
                stage: round(figures.distance, 5) for stage, figures in fitted.figures.items()
            },
        },
        preview=picture.resize((PREVIEW_SIZE, PREVIEW_SIZE), Image.Resampling.BOX),
        extra_files={FITS_FILE: json.dumps(rows | {"sizes": sizes}).encode()},
    )


def read_fits(folder: Path) -> dict[str, NDArray[np.float32]]:
    """Return the bodies and cameras of a fitted avatar's photographs, as `fits_to_wire` does.

    Raises:
        PackageDamaged: the package holds none.
    """
    try:
        rows = json.loads((folder / FITS_FILE).read_text(encoding="utf-8"))
        return {name: np.array(rows[name], np.float32) for name in rows if name != "sizes"}
    except (OSError, ValueError) as error:
        raise PackageDamaged(f"{folder.name!r} was not fitted to photographs") from error


def _photo(
    body: Body, asked: AvatarFit, number: int, first: float
) -> Generator[PersonFitStep, None, FitPhoto]:
    image = asked.images[number]
    mask = asked.masks[number] if asked.masks else None
    given = asked.fits[number] if asked.fits else None
    if given is None or mask is None:
        view = yield from _seen(image, asked.person, first)
        if mask is not None:
            view = replace(view, mask=mask.astype(np.float32) / 255.0)
        elif view.mask is not None:
            mask = (view.mask * 255.0 + 0.5).astype(np.uint8)
        if given is None:
            share = _BODY_SHARE / len(asked.images)
            given = yield from _placed(view, body, asked.focal, first, share)
    if mask is None or int(mask.max()) < _MASK_LEAST:
        raise NoPersonFound(
            f"nobody is seen in photograph {number}",
            "give another photograph, or a body fit and a mask of your own",
        )
    return FitPhoto(rgba=np.dstack([image, mask]), body=given[0], camera=given[1])


def _seen(
    image: NDArray[np.uint8], person: int | None, share: float
) -> Generator[PersonFitStep, None, PersonView]:
    told = PersonFitStep("body", share)
    return (yield from retold(iterate_person(image, person), lambda _: told))


def _placed(
    view: PersonView, body: Body, focal: float | None, first: float, share: float
) -> Generator[PersonFitStep, None, tuple[PosedBody, Camera]]:
    steps = iterate_fit_body(view, body, BodyFitRecipe(focal=focal))
    fit = yield from retold(
        steps, lambda told: PersonFitStep("body", first + share * (0.3 + 0.7 * told.share))
    )
    return fit.body, fit.camera


def _on_cpu(body: Body) -> Body:
    """Return a body for fits, whose few vertices are not worth another device."""
    if body.uv.device.type == "cpu":
        return body
    moved: dict[str, Any] = {}
    for field in fields(body):
        value = getattr(body, field.name)
        if isinstance(value, Tensor):
            moved[field.name] = value.cpu()
        elif isinstance(value, Hands | Landmarks):
            moved[field.name] = type(value)(*(each.cpu() for each in value))
    return replace(body, **moved)


def _of_one_shape(photos: list[FitPhoto]) -> list[FitPhoto]:
    """Give all bodies the mean of their shapes: the photographs show one person."""
    longest = max(len(photo.body.betas) for photo in photos)
    each = [np.pad(photo.body.betas, (0, longest - len(photo.body.betas))) for photo in photos]
    betas = np.mean(each, axis=0).astype(np.float32)
    return [replace(photo, body=replace(photo.body, betas=betas)) for photo in photos]
