"""`dressform avatar fit PHOTO [MORE …]`: photographs of one person become an avatar.

With the same code as the server, without one. Pictures on the way, if wanted, show photographs and
avatar after each stage.
"""

from __future__ import annotations

import signal
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, UnidentifiedImageError

from blender_addon.contract.avatar_train import avatar_id
from blender_addon.contract.errors import BadParameter
from blender_addon.contract.wardrobe import MAX_PHOTOGRAPHS, OPTIMISED, AvatarFit, FitStage
from models.avatar_look import Looks
from models.package import DEFAULT_LIBRARY
from models.person_fit import FitNetworks, iterate_person_fit, save_person
from scripts.avatar import WARDROBE, avatar_folder
from scripts.photo_fits import finish_fit, named_photograph
from server.library import Library
from server.storage import Storage
from training.imports.photo_fit import read_photo_fit

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence
    from types import FrameType

    from numpy.typing import NDArray

    from blender_addon.contract.camera import Camera
    from blender_addon.contract.operations import PosedBody
    from models.body import Body
    from models.person_fit import FittedPerson, PersonFitStep


def fit_photographs(
    photos: list[str],
    name: str = "",
    wardrobe: str = WARDROBE,
    stages: list[FitStage] | None = None,
    effort: float = 1.0,
    seconds: float | None = None,
    refine: bool = False,
    fit: list[Path] | Path | None = None,
    mask: list[Path] | Path | None = None,
    focal: float | None = None,
    person: int | None = None,
    pictures: Path | None = None,
    identity: str = "",
    library: Path = DEFAULT_LIBRARY,
    into: Path | None = None,
    licence: str = "as the photographs'",
    replace: bool = False,
) -> None:
    """Make an avatar of photographs of one person.

    Args:
        photos: image files, 1…8, before all options; or "astronaut" for scikit-image's photograph
            of Eileen Collins (NASA, public domain).
        name: what people read; made of the first photograph's when left out.
        wardrobe: id of the package whose people it is one of.
        stages: of w, generator, noise, texture: what is optimised after the encoder; all when left
            out, [] is the quickest.
        effort: times the stages' usual numbers of steps, 0.02…4.
        seconds: the stages end when so long has passed; Ctrl-C ends them, too. What they have found
            is the result.
        refine: whether shape and pose are refined, too.
        fit: your own fit of the body, a file for each photograph: .npz or .json of Dressform's own
            fields, or SMPLify-X's .pkl, .json or .npz (docs/wardrobe.md).
        mask: the person in each photograph, white on black, in place of what is seen in it.
        focal: focal length in pixels of the photographs; theirs, or a guess, when left out.
        person: which of several people, counted from the left from 0.
        pictures: also write a picture of each stage to this folder.
        identity: of the package, "avatar-…"; made of the name when left out.
        library: where the wardrobe lies, beside the user's own packages.
        into: library that the avatar goes to; the user's own when left out.
        licence: of the avatar: whoever took the photographs decides.
        replace: whether an avatar of this id may be replaced.

    Raises:
        BadParameter: a photograph cannot be used, or there is such an avatar already.
        NoPersonFound: nobody is seen.
        SeveralPeople: several people are seen, and --person does not say which is meant.
        MissingExtra: nothing here sees people in photographs, and no fit is given.
    """
    if not 1 <= len(photos) <= MAX_PHOTOGRAPHS:
        raise BadParameter(f"{len(photos)} photographs", f"give 1…{MAX_PHOTOGRAPHS}")
    name = name or Path(photos[0]).stem
    target = into or Storage().library
    folder = avatar_folder(target, identity or avatar_id(name), replace=replace)
    packages = Library(library, target)
    looks = Looks(packages)
    mean = looks.load(wardrobe)
    networks = FitNetworks(looks.wardrobe(wardrobe), mean.dresser, mean.body)
    read = [named_photograph(photo) for photo in photos]
    images = tuple(photo.image for photo in read)
    focals = [photo.focal if focal is None else focal for photo in read]
    asked = AvatarFit(
        wardrobe=wardrobe,
        name=name,
        images=images,
        masks=tuple(
            _read_mask(file, image) for file, image in zip(_each(mask, images), images, strict=True)
        ),
        fits=_read_fits(_each(fit, images), images, mean.body, focals[0]),
        stages=tuple(each for each in OPTIMISED if stages is None or each in stages),
        effort=effort,
        focal=focals[0],
        person=person,
        seconds=seconds,
        refine=refine,
    )
    with _asked_to_stop() as stop:
        fitted = _run(iterate_person_fit(networks, asked, stop=stop), pictures)
    save_person(folder, networks, asked, fitted, licence=licence, recipe={"command": "avatar fit"})
    for stage, figures in fitted.avatar.figures.items():
        print(f"{stage:<10} distance {figures.distance:.4f}   {figures.seconds:6.1f} s")
    print(folder)


def _each(
    files: Sequence[Path] | Path | None, images: Sequence[NDArray[np.uint8]]
) -> list[Path | None]:
    """Return a file, or None, for each photograph."""
    if files is None:
        return [None] * len(images)
    found: list[Path | None] = [files] if isinstance(files, Path) else [*files]
    if len(found) != len(images):
        raise BadParameter(f"{len(found)} files for {len(images)} photographs", "give one for each")
    return found


def _read_fits(
    files: Sequence[Path | None],
    images: Sequence[NDArray[np.uint8]],
    body: Body,
    focal: float | None,
) -> tuple[tuple[PosedBody, Camera], ...]:
    found: list[tuple[PosedBody, Camera]] = []
    for file, image in zip(files, images, strict=True):
        if file is None:
            return ()
        height, width = image.shape[:2]
        posed, camera, notes = read_photo_fit(file, width, height, body, focal)
        for note in notes:
            print(f"{file}: {note}")
        found.append((posed, camera))
    return tuple(found)


def _read_mask(file: Path | None, image: NDArray[np.uint8]) -> NDArray[np.uint8] | None:
    if file is None:
        return None
    try:
        with Image.open(file) as opened:
            mask = np.array(opened.convert("L"))
    except (OSError, UnidentifiedImageError, SyntaxError, ValueError) as error:
        raise BadParameter(f"{file} cannot be read as a mask: {error}") from error
    if mask.shape != image.shape[:2]:
        raise BadParameter(f"{file} has another size than its photograph")
    return mask


@contextmanager
def _asked_to_stop() -> Generator[Callable[[], bool]]:
    """Return what says whether Ctrl-C was pressed; pressed again it interrupts as ever."""
    pressed: list[int] = []

    def press(number: int, _frame: FrameType | None) -> None:
        pressed.append(number)
        signal.signal(signal.SIGINT, before)

    before = signal.signal(signal.SIGINT, press)
    try:
        yield lambda: bool(pressed)
    finally:
        signal.signal(signal.SIGINT, before)


def _run(fit: Generator[PersonFitStep, None, FittedPerson], pictures: Path | None) -> FittedPerson:
    """Run a fit to its end with a bar; keep the last picture of each stage."""
    shown: list[str] = []

    def keep(stage: str, picture: NDArray[np.uint8]) -> None:
        if pictures is None:
            return
        if stage not in shown:
            shown.append(stage)
        Image.fromarray(picture).save(pictures / f"{len(shown)}-{stage}.png")

    if pictures is not None:
        pictures.mkdir(parents=True, exist_ok=True)
    return finish_fit(fit, keep)
