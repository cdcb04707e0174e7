"""A person in a photograph: keypoints and mask, from a process that sees, or from a file.

    photograph ─► models/person_perception.py (own environment) ─► PersonView ─► models/body_fit.py

Whoever has keypoints of their own (`read_person_view`) needs no such environment.
"""

from __future__ import annotations

import io
import json
import os
import subprocess
import tempfile
import time
import zipfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from blender_addon.contract.camera import focal_on_film
from blender_addon.contract.errors import (
    BadPersonView,
    DeadlineExceeded,
    InternalError,
    MissingExtra,
    NoPersonFound,
    SeveralPeople,
)
from models import person_perception
from models.person_perception import PROTOCOL
from models.pose_landmarks import LANDMARK_INDEX, LANDMARK_NAMES
from models.steps import finish

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping

    from numpy.typing import NDArray

PYTHON_VARIABLE = "DRESSFORM_PHOTO_PYTHON"
"""Names another Python that has MediaPipe, in place of `.venv-photo`'s."""
MAKE_ENVIRONMENT = "python scripts/environments.py photo"
TIMEOUT = 120.0
"""Seconds that seeing may take: two or three on an idle machine."""
MOST_PEOPLE = 4
LARGEST_SIDE = 1536
"""Larger photographs are made smaller for the eyes of the networks, which see 256 pixels anyway."""
_WAIT = 0.05
_SCRIPT = Path(person_perception.__file__)
_ROOT = Path(__file__).resolve().parent.parent
_ORIENTATION, _EXIF_BLOCK, _FOCAL_35 = 0x0112, 0x8769, 0xA405


@dataclass(frozen=True, kw_only=True)
class Photograph:
    """A photograph as it is to be looked at.

    Attributes:
        image: (H, W, 3) uint8 sRGB, upright as EXIF says.
        focal: focal length in pixels, or None when the file does not tell.
    """

    image: NDArray[np.uint8]
    focal: float | None = None


@dataclass(frozen=True, kw_only=True)
class PersonView:
    """What is seen of one person in a photograph.

    Attributes:
        width: of the photograph in pixels.
        height: of the photograph in pixels.
        landmarks: (33, 2) float32 pixels from the upper left corner, order of `LANDMARK_NAMES`;
            may lie outside the photograph.
        visibility: (33,) float32, 0 (not seen, or unknown) … 1.
        world: (33, 3) float32 metres round the middle of the hips (x right, y down, z away from
            the camera), a guess of networks that knows little of lengths; None when unknown.
        mask: (H, W) float32, 0 … 1 the person; None when unknown.
        hands: (2, 21, 2) float32 pixels, left hand first, order of MediaPipe's hands.
        hands_seen: (2,) float32, 0 where a hand is not seen.
        hands_world: (2, 21, 3) float32 metres, axes as those of `world`.
    """

    width: int
    height: int
    landmarks: NDArray[np.float32]
    visibility: NDArray[np.float32]
    world: NDArray[np.float32] | None = None
    mask: NDArray[np.float32] | None = None
    hands: NDArray[np.float32] | None = None
    hands_seen: NDArray[np.float32] | None = None
    hands_world: NDArray[np.float32] | None = None

    def __post_init__(self) -> None:
        count = len(LANDMARK_NAMES)
        _check("landmarks", self.landmarks, (count, 2))
        _check("visibility", self.visibility, (count,))
        if self.visibility.min() < 0 or self.visibility.max() > 1:
            raise BadPersonView("visibility must lie in 0…1", field="visibility")
        _check("world", self.world, (count, 3))
        _check("mask", self.mask, (self.height, self.width))
        _check("hands", self.hands, (2, 21, 2))
        _check("hands_seen", self.hands_seen, (2,))
        _check("hands_world", self.hands_world, (2, 21, 3))


def read_photograph(path: Path) -> Photograph:
    """Read a photograph, turned as its EXIF orientation says, and its focal length if it is there.

    Raises:
        BadPersonView: it cannot be read as an image.
    """
    try:
        with Image.open(path) as file:
            exif = file.getexif()
            millimetres = exif.get_ifd(_EXIF_BLOCK).get(_FOCAL_35)
            upright = ImageOps.exif_transpose(file)
            image = np.asarray(upright.convert("RGB"))
    except (OSError, UnidentifiedImageError, SyntaxError, ValueError) as error:
        raise BadPersonView(
            f"{path} cannot be read as an image ({error})", "give a JPEG, PNG or WebP"
        ) from error
    focal = None
    if isinstance(millimetres, (int, float)) and 5 <= millimetres <= 1000:
        focal = focal_on_film(float(millimetres), image.shape[1], image.shape[0])
    return Photograph(image=image, focal=focal)


def perceive_person(
    image: NDArray[np.uint8], person: int | None = None, timeout: float = TIMEOUT
) -> PersonView:
    """See the person in an image; see `iterate_person`."""
    return finish(iterate_person(image, person, timeout))


def iterate_person(
    image: NDArray[np.uint8], person: int | None = None, timeout: float = TIMEOUT
) -> Generator[float, None, PersonView]:
    """See the person in an image; yields the seconds that passed, ten times a second or more.

    Args:
        image: (H, W, 3) uint8 sRGB.
        person: which one, counted from the left from 0, if there are several.
        timeout: seconds after which it is given up.

    Returns:
        what is seen, as the generator's value.

    Raises:
        NoPersonFound: nobody is seen.
        SeveralPeople: several people are seen and `person` says none of them.
        MissingExtra: there is no environment that sees.
        DeadlineExceeded: it took too long.
        InternalError: the process failed.
    """
    people = yield from iterate_people(image, timeout)
    if not people:
        raise NoPersonFound
    if person is None and len(people) > 1:
        raise SeveralPeople(f"{len(people)} people are seen in this photograph", count=len(people))
    if person is not None and not 0 <= person < len(people):
        raise SeveralPeople(
            f"there is no person {person}: {len(people)} seen in this photograph",
            "people count from the left, from 0",
            count=len(people),
        )
    return people[person or 0]


def iterate_people(
    image: NDArray[np.uint8], timeout: float = TIMEOUT
) -> Generator[float, None, list[PersonView]]:
    """See everybody in an image, from the left; arguments and errors as of `iterate_person`."""
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
        raise BadPersonView(f"an image of 8-bit RGB was due, not {image.dtype} {image.shape}")
    height, width = image.shape[:2]
    scale = min(1.0, LARGEST_SIDE / max(height, width))
    small = image
    if scale < 1.0:
        size = (max(round(width * scale), 1), max(round(height * scale), 1))
        small = np.asarray(Image.fromarray(image).resize(size, Image.Resampling.LANCZOS))
    request = io.BytesIO()
    np.savez(request, protocol=np.int64(PROTOCOL), image=small, most=np.int64(MOST_PEOPLE))
    answer = yield from _answer(request.getvalue(), timeout)
    views = _views(answer, small.shape[1], small.shape[0])
    return [_resized(view, width, height) for view in views]


def read_person_view(path: Path, image: NDArray[np.uint8]) -> PersonView:
    """Read somebody's own keypoints for a photograph, .json or .npz.

    Fields: `landmarks`, either (33, 2 or 3): x and y in pixels and visibility 0…1, or in JSON an
    object of some of `LANDMARK_NAMES`; others count as not seen. Optional: `world` (33, 3) and
    `mask`: (H, W) numbers, or in JSON the name of an image beside the file, white the person.

    Raises:
        BadPersonView: names the field that is missing or wrong.
    """
    height, width = image.shape[:2]
    fields = read_fields(path)
    if "landmarks" not in fields:
        raise BadPersonView(f"{path}: landmarks is missing", field="landmarks")
    landmarks, visibility = _landmarks(fields["landmarks"], path)
    world, mask = fields.get("world"), fields.get("mask")
    if isinstance(mask, str):
        if Path(mask).name != mask:
            raise BadPersonView(f"{path}: mask must be a file beside it", field="mask")
        mask = read_photograph(path.parent / mask).image.mean(axis=2) / 255.0
    elif mask is not None:
        mask = read_numbers(mask, "mask", path)
        mask = mask / 255.0 if mask.max(initial=0.0) > 1.0 else mask
    return PersonView(
        width=width,
        height=height,
        landmarks=landmarks,
        visibility=visibility,
        world=None if world is None else read_numbers(world, "world", path),
        mask=None if mask is None else mask.astype(np.float32),
    )


def photo_python() -> Path:
    """Return the Python that sees.

    Raises:
        MissingExtra: there is none.
    """
    given = os.environ.get(PYTHON_VARIABLE)
    inside = "Scripts/python.exe" if os.name == "nt" else "bin/python"
    python = Path(given) if given else _ROOT / ".venv-photo" / inside
    if not python.is_file():
        raise MissingExtra(
            "seeing people in photographs needs an environment of its own, which is not there",
            f"make it with `{MAKE_ENVIRONMENT}`, or give keypoints of your own (docs/fit.md)",
        )
    return python


def _answer(request: bytes, timeout: float) -> Generator[float, None, dict[str, Any]]:
    """Run the process on a request and return its arrays."""
    python = photo_python()
    started = time.monotonic()
    # Files, not pipes: nobody has to read one while writing the other.
    with (
        tempfile.TemporaryFile() as given,
        tempfile.TemporaryFile() as said,
        tempfile.TemporaryFile() as complaints,
    ):
        given.write(request)
        given.seek(0)
        # -I: nothing of this process's paths and modules reaches the other environment.
        command = [str(python), "-I", str(_SCRIPT)]
        process = subprocess.Popen(command, stdin=given, stdout=said, stderr=complaints)
        try:
            while process.poll() is None:
                passed = time.monotonic() - started
                if passed > timeout:
                    raise DeadlineExceeded(
                        f"no person was seen within {timeout:.0f} s",
                        "try again when the machine is less busy, or with a smaller photograph",
                    )
                yield passed
                time.sleep(_WAIT)
        finally:
            if process.poll() is None:
                process.kill()
            process.wait()
        said.seek(0)
        complaints.seek(0)
        if process.returncode:
            tail = complaints.read().decode(errors="replace")[-1500:]
            raise InternalError(f"the process that sees people failed:\n{tail}")
        try:
            with np.load(io.BytesIO(said.read()), allow_pickle=False) as arrays:
                answer = dict(arrays)
        except (ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
            raise InternalError(
                f"the process that sees people answered nonsense: {error}"
            ) from error
    if int(answer.get("protocol", -1)) != PROTOCOL:
        raise InternalError("the process that sees people speaks another version")
    return answer


def _views(answer: Mapping[str, Any], width: int, height: int) -> list[PersonView]:
    views: list[PersonView] = []
    for number in range(int(answer["count"])):
        landmarks = answer[f"landmarks_{number}"]
        hands = answer[f"hands_{number}"]
        views.append(
            PersonView(
                width=width,
                height=height,
                landmarks=landmarks[:, :2],
                visibility=np.clip(landmarks[:, 2], 0.0, 1.0),
                world=answer[f"world_{number}"],
                mask=answer[f"mask_{number}"].astype(np.float32) / 255.0,
                hands=hands[..., :2],
                hands_seen=hands[:, 0, 2],
                hands_world=answer[f"hands_world_{number}"],
            )
        )
    return views


def _resized(view: PersonView, width: int, height: int) -> PersonView:
    if (view.width, view.height) == (width, height) or view.mask is None or view.hands is None:
        return view
    scale = np.array([width / view.width, height / view.height], np.float32)
    mask = Image.fromarray(view.mask).resize((width, height), Image.Resampling.BILINEAR)
    return replace(
        view,
        width=width,
        height=height,
        landmarks=view.landmarks * scale,
        hands=view.hands * scale,
        mask=np.asarray(mask, np.float32),
    )


def read_fields(path: Path) -> dict[str, Any]:
    """Return the fields of a .json object or of an .npz without objects, unchecked.

    Raises:
        BadPersonView: it is neither, or cannot be read.
    """
    try:
        if path.suffix == ".json":
            fields = json.loads(path.read_text(encoding="utf-8"))
            if not isinstance(fields, dict):
                raise BadPersonView(f"{path} holds no object of fields")
            return fields
        if path.suffix == ".npz":
            with path.open("rb") as handle, np.load(handle, allow_pickle=False) as arrays:
                return dict(arrays)
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise BadPersonView(f"{path} cannot be read ({error})") from error
    raise BadPersonView(f"{path} is neither .json nor .npz")


def _landmarks(value: Any, path: Path) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    if isinstance(value, dict):
        table = np.zeros((len(LANDMARK_NAMES), 3), np.float32)
        for name, point in value.items():
            if name not in LANDMARK_INDEX:
                raise BadPersonView(
                    f"{path}: there is no landmark {name!r}",
                    f"use some of: {', '.join(LANDMARK_NAMES)}",
                    field="landmarks",
                )
            numbers = read_numbers(point, f"landmarks.{name}", path)
            if numbers.shape not in ((2,), (3,)):
                raise BadPersonView(f"{path}: landmarks.{name} must be x, y and maybe visibility")
            table[LANDMARK_INDEX[name]] = [*numbers[:2], numbers[2] if len(numbers) == 3 else 1.0]
        return table[:, :2], table[:, 2]
    table = read_numbers(value, "landmarks", path)
    if table.ndim != 2 or table.shape[0] != len(LANDMARK_NAMES) or table.shape[1] not in (2, 3):
        raise BadPersonView(
            f"{path}: landmarks has the shape {table.shape}, not (33, 2) or (33, 3)",
            field="landmarks",
        )
    seen = table[:, 2] if table.shape[1] == 3 else np.ones(len(table), np.float32)
    return table[:, :2], seen


def read_numbers(value: Any, field: str, path: Path) -> NDArray[np.float32]:
    """Return a field's value as numbers.

    Raises:
        BadPersonView: it is something else.
    """
    try:
        return np.asarray(value, np.float32)
    except (TypeError, ValueError) as error:
        raise BadPersonView(f"{path}: {field} must be numbers", field=field) from error


def _check(field: str, value: NDArray[np.float32] | None, shape: tuple[int, ...]) -> None:
    if value is None:
        return
    if value.shape != shape:
        raise BadPersonView(f"{field} has the shape {value.shape}, not {shape}", field=field)
    if not np.isfinite(value).all():
        raise BadPersonView(f"{field} holds numbers that are not finite", field=field)
