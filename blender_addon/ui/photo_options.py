"""What can be said about a fit to photographs: one set of options for panel and operator."""

# pyright: reportAttributeAccessIssue=false, reportOptionalMemberAccess=false
# pyright: reportIncompatibleMethodOverride=false, reportMissingModuleSource=false
# (Blender's stubs: unions of all data types, Optionals that never are None, other parameter names)
# pyright: reportInvalidTypeForm=false

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import bpy
import numpy as np

from ..contract.camera import focal_on_film
from ..contract.errors import BadParameter
from ..contract.wardrobe import (
    FIT_FILE_KINDS,
    MAX_EFFORT,
    MAX_FIT_FILE_BYTES,
    MIN_EFFORT,
    OPTIMISED,
    FitFile,
)
from ..scene import stills

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..scene.stills import Still

ONLY_ONE = "ONLY"
MASK_KINDS = tuple(kind.removeprefix("*") for kind in stills.PICTURE_FILES.split(";"))


class PhotoOptions:
    """Options of a fit: properties of the panel, and of the operator that it starts."""

    quick: bpy.props.BoolProperty(
        name="First Guess Only",
        description="Take what the encoder sees at a glance: seconds instead of minutes",
    )
    effort: bpy.props.FloatProperty(
        name="Effort",
        description="Times the usual number of steps: 0.3 takes about a third of the time",
        default=1.0,
        min=MIN_EFFORT,
        max=MAX_EFFORT,
    )
    minutes: bpy.props.FloatProperty(
        name="Minutes at Most",
        description="Take what has been found by then; 0: as long as it takes",
        min=0.0,
        max=24 * 60.0,
        precision=1,
    )
    refine: bpy.props.BoolProperty(
        name="Refine Body", description="Fit shape and pose once more, by the picture"
    )
    person: bpy.props.EnumProperty(
        name="Person",
        description="Which of several people it is",
        items=[
            (ONLY_ONE, "The Only One", "One person is seen; several are an error"),
            ("0", "Leftmost", "Of several people the first, counted from the left"),
            ("1", "Second from Left", ""),
            ("2", "Third from Left", ""),
            ("3", "Fourth from Left", ""),
        ],
    )
    lens: bpy.props.EnumProperty(
        name="Lens",
        description="How far the photograph's lens is known; it decides how far away the person is",
        items=[
            ("FILE", "As the File Says", "Of the photograph's Exif, or the camera; else a guess"),
            ("FILM", "Millimeters", "Focal length on full-frame film of 36 mm"),
            ("ANGLE", "Field of View", "Angle along the longer side"),
            ("PIXELS", "Pixels", "Focal length in pixels of the photograph"),
        ],
    )
    film_focal: bpy.props.FloatProperty(
        name="Focal Length",
        description="On full-frame film of 36 mm, as cameras of telephones tell it",
        default=50.0,
        min=5.0,
        max=1000.0,
        subtype="DISTANCE_CAMERA",
    )
    angle: bpy.props.FloatProperty(
        name="Field of View",
        description="Angle along the longer side of the photograph",
        default=math.radians(40.0),
        min=math.radians(2.0),
        max=math.radians(150.0),
        subtype="ANGLE",
    )
    focal: bpy.props.FloatProperty(
        name="Focal Length",
        description="In pixels of the photograph",
        default=1000.0,
        min=1.0,
        max=1e6,
        subtype="PIXEL",
    )
    fit: bpy.props.StringProperty(
        name="Body Fit",
        description=(
            "Your own fit of the body: .npz or .json of Dressform's fields, or SMPLify-X's .pkl, "
            ".json or .npz. For several photographs a folder with one of each one's name. "
            "Empty: the body is fitted for you"
        ),
        subtype="FILE_PATH",
    )
    mask: bpy.props.StringProperty(
        name="Mask",
        description=(
            "A picture of the photograph's size, the person white on black. For several "
            "photographs a folder with one of each one's name. Empty: the person is found for you"
        ),
        subtype="FILE_PATH",
    )


NAMES = tuple(PhotoOptions.__annotations__)


def copy(source: Any, target: Any) -> None:
    """Give a button's operator what the panel says."""
    for name in NAMES:
        setattr(target, name, getattr(source, name))


def draw(layout: Any, options: Any) -> None:
    """Draw the options, of the panel or of an operator."""
    layout.use_property_split = True
    layout.use_property_decorate = False
    column = layout.column(align=True)
    column.prop(options, "quick")
    stages = column.column(align=True)
    stages.enabled = not options.quick
    stages.prop(options, "refine")
    stages.prop(options, "effort")
    stages.prop(options, "minutes", text="Minutes")
    layout.prop(options, "person")
    column = layout.column(align=True)
    column.prop(options, "lens")
    number = {"FILM": "film_focal", "ANGLE": "angle", "PIXELS": "focal"}.get(options.lens)
    if number:
        column.prop(options, number, text=" ")
    column = layout.column(align=True)
    column.prop(options, "fit")
    column.prop(options, "mask")


def of_fit(options: Any, photos: Sequence[Still], names: Sequence[str]) -> dict[str, Any]:
    """Return the fields of `AvatarFit` that the options say.

    Args:
        photos: the photographs.
        names: of each, without folder and suffix.

    Raises:
        BadParameter: a file of a body fit or a mask is missing, or does not fit its photograph.
    """
    fits = _files(options.fit, names, FIT_FILE_KINDS, "body fit")
    masks = _files(options.mask, names, MASK_KINDS, "mask")
    return {
        "stages": () if options.quick else OPTIMISED,
        "effort": options.effort,
        "seconds": 60.0 * options.minutes or None,
        "refine": options.refine,
        "person": None if options.person == ONLY_ONE else int(options.person),
        "focal": _focal(options, photos[0]),
        "fit_files": tuple(_fit_file(path) for path in fits),
        "masks": tuple(_mask(path, photo) for path, photo in zip(masks, photos, strict=False)),
    }


def _focal(options: Any, photo: Still) -> float | None:
    height, width = photo.image.shape[:2]
    if options.lens == "FILM":
        return focal_on_film(options.film_focal, width, height)
    if options.lens == "ANGLE":
        return 0.5 * max(width, height) / math.tan(0.5 * options.angle)
    return options.focal if options.lens == "PIXELS" else photo.focal


def _files(given: str, names: Sequence[str], kinds: Sequence[str], what: str) -> list[Path]:
    """Return a file for each photograph; none when none are given."""
    if not given:
        return []
    path = Path(bpy.path.abspath(given))
    if not path.is_dir():
        if len(names) > 1:
            raise BadParameter(
                f"one {what} was given for {len(names)} photographs",
                "choose a folder with one of each photograph's name",
            )
        if not path.is_file():
            raise BadParameter(f"the {what} {path.name} is not there", "choose another file")
        return [path]
    found: list[Path] = []
    for name in names:
        of_name = [path / f"{name}{kind}" for kind in kinds]
        file = next((each for each in of_name if each.is_file()), None)
        if file is None:
            raise BadParameter(
                f"{path.name} holds no {what} of {name}",
                f"name it {name} with one of the ends {', '.join(kinds)}",
            )
        found.append(file)
    return found


def _fit_file(path: Path) -> FitFile:
    try:
        too_large = path.stat().st_size > MAX_FIT_FILE_BYTES
        content = b"" if too_large else path.read_bytes()
    except OSError as error:
        raise BadParameter(f"{path.name} cannot be read ({error.strerror})") from error
    if too_large or not path.name.lower().endswith(FIT_FILE_KINDS):
        raise BadParameter(
            f"{path.name} is no body fit of one photograph",
            f"choose a file of the kinds {', '.join(FIT_FILE_KINDS)}",
        )
    return FitFile(name=path.name, content=np.frombuffer(content, np.uint8))


def _mask(path: Path, photo: Still) -> np.ndarray[Any, Any]:
    mask = stills.read_mask(path)
    if mask.shape != photo.image.shape[:2]:
        raise BadParameter(
            f"the mask {path.name} has another size than its photograph",
            "give one of the same width and height",
        )
    return mask
