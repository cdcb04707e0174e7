"""Sets of heads on disk: label maps with cameras, and depth or images. Writer and reader.

A folder::

    heads.json           what the set is, its heads, their views, splits and cameras
    labels/NAME.png      8-bit indexed, value = label 0…16, clean borders, the contract's palette
    depth/NAME.png       heads only: 16-bit grey, tenths of a millimetre along the camera's
                         viewing axis, 0 = background
    images/NAME.png      portraits only: 8-bit sRGB

Head space: metres, Y up, X to the head's left, the face looks along +Z. Its origin lies in the
middle of the head, between the ears; it is fixed to the body's head joint (`space`), so that it
is the same place in every head. Cameras are OpenCV K, [R|t] from head space to camera, with
corner-origin pixels. A head and what it wears lie within 0.35 m of the origin.
docs/heads.md shows the format.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast, get_args

import numpy as np
from PIL import Image, UnidentifiedImageError

from blender_addon.contract.camera import Camera
from blender_addon.contract.errors import BadParameter, HeadSetError
from blender_addon.contract.labels import LABEL_NAMES, PALETTE, check_labels
from blender_addon.contract.versions import HEAD_SET_FORMAT

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray

DESCRIPTION_FILE = "heads.json"
LABEL_FOLDER = "labels"
DEPTH_FOLDER = "depth"
IMAGE_FOLDER = "images"
SUFFIX = ".png"

HEAD_RADIUS = 0.35
"""Metres round the origin of head space that hold a head and what it wears."""

DEPTH_UNITS_PER_METRE = 10_000
MAX_DEPTH = 65_535 / DEPTH_UNITS_PER_METRE
"""Metres; the farthest that a depth file can say."""

Kind = Literal["heads", "portraits"]
Split = Literal["train", "held-out"]

_NAME_SIGNS = frozenset('/\\:*?"<>|')


@dataclass(frozen=True, kw_only=True)
class HeadView:
    """One view of a head.

    Attributes:
        name: file name without suffix.
        head: id of the head.
        split: of a head in training, "held-out" views are for measuring; of a held-out head,
            "train" views are those that a fit may look at.
        camera: from head space, of the set's size.
    """

    name: str
    head: str
    split: Split
    camera: Camera


@dataclass(frozen=True, kw_only=True)
class Head:
    """One head as heads.json describes it.

    Attributes:
        id: name of the head.
        split: whether training may see it.
        attributes: what it is and wears: plain values.
        views: in order.
    """

    id: str
    split: Split
    attributes: dict[str, Any]
    views: tuple[HeadView, ...]


@dataclass(frozen=True, kw_only=True)
class HeadSetDescription:
    """The content of heads.json.

    Attributes:
        kind: "heads" come with depth, "portraits" with images.
        size: width and height of every map in pixels.
        licence: SPDX identifier or a plain sentence.
        source: how it was made (command, seed, body): plain values.
        heads: in order.
    """

    kind: Kind
    size: int
    licence: str
    source: dict[str, Any]
    heads: tuple[Head, ...]

    def to_json(self) -> dict[str, Any]:
        """Return the plain values of heads.json."""
        return {
            "format": HEAD_SET_FORMAT,
            "kind": self.kind,
            "size": self.size,
            "labels": list(LABEL_NAMES),
            "licence": self.licence,
            "source": self.source,
            "heads": [
                {
                    "id": head.id,
                    "split": head.split,
                    "attributes": head.attributes,
                    "views": [_view_to_json(view) for view in head.views],
                }
                for head in self.heads
            ],
        }


class HeadSetWriter:
    """Writes a set: the maps of each view in any order, by any process, then heads.json.

    Until `close` the folder has no heads.json, so that no reader takes it for a whole set.

    Args:
        folder: made when it is missing.
        kind: "heads" or "portraits".
        size: width and height of every map in pixels.

    Raises:
        HeadSetError: the folder already holds a set.
    """

    def __init__(self, folder: Path, *, kind: Kind, size: int) -> None:
        self.folder = Path(folder)
        self.kind: Kind = kind
        self.size = size
        if (self.folder / DESCRIPTION_FILE).exists():
            raise HeadSetError(
                f"{self.folder} already holds a set of heads", "give another folder, or remove it"
            )
        for name in (LABEL_FOLDER, _second_folder(kind)):
            (self.folder / name).mkdir(parents=True, exist_ok=True)

    def add(
        self,
        name: str,
        labels: NDArray[np.uint8],
        *,
        depth: NDArray[np.float32] | None = None,
        image: NDArray[np.uint8] | None = None,
    ) -> None:
        """Write the maps of one view.

        Args:
            name: file name without suffix.
            labels: (S, S) uint8, 0…16.
            depth: (S, S) float32 metres along the viewing axis, 0 = background; heads need it.
            image: (S, S, 3) uint8 sRGB; portraits need it.

        Raises:
            HeadSetError: names the view and what is wrong with it.
        """
        _check_name(name, f"view {name!r}")
        try:
            check_labels(labels)
        except BadParameter as error:
            raise HeadSetError(f"view {name}: {error.cause}") from error
        second = depth if self.kind == "heads" else image
        other = image if self.kind == "heads" else depth
        if second is None or other is not None:
            raise HeadSetError(f"view {name}: heads come with depth, portraits with an image")
        side = (self.size, self.size)
        if labels.shape != side or second.shape[:2] != side:
            raise HeadSetError(f"view {name}: maps must be {self.size} pixels wide and high")
        if depth is not None:
            _save(self._path(DEPTH_FOLDER, name), Image.fromarray(_depth_units(depth, name)))
        if image is not None:
            if image.dtype != np.uint8 or image.shape != (*side, 3):
                raise HeadSetError(f"view {name}: image must be (S, S, 3) uint8")
            _save(self._path(IMAGE_FOLDER, name), Image.fromarray(np.ascontiguousarray(image)))
        _save(self._path(LABEL_FOLDER, name), indexed_image(labels))

    def close(self, *, licence: str, source: Mapping[str, Any], heads: Sequence[Head]) -> None:
        """Write heads.json; the set is whole from now on.

        Raises:
            HeadSetError: a value is not of the format, or a view has no files.
        """
        description = HeadSetDescription(
            kind=self.kind,
            size=self.size,
            licence=licence,
            source=dict(source),
            heads=tuple(heads),
        )
        path = self.folder / DESCRIPTION_FILE
        fields = description.to_json()
        parse_description(fields, str(path))
        _check_files(self.folder, description)
        partial = path.with_suffix(".partial")
        partial.write_text(json.dumps(fields, separators=(",", ":")) + "\n", encoding="utf-8")
        partial.replace(path)

    def _path(self, folder: str, name: str) -> Path:
        return self.folder / folder / f"{name}{SUFFIX}"


class HeadSet:
    """A set of heads on disk, opened with `HeadSet.open`. Maps are read when asked for."""

    def __init__(self, folder: Path, description: HeadSetDescription) -> None:
        self.folder = folder
        self.description = description

    @classmethod
    def open(cls, folder: Path) -> HeadSet:
        """Read and validate everything but the pixels.

        Raises:
            HeadSetError: names the file and the field that is missing or wrong, or a map that
                is not there.
        """
        folder = Path(folder)
        path = folder / DESCRIPTION_FILE
        description = parse_description(_read_json(path), str(path))
        _check_files(folder, description)
        return cls(folder, description)

    @property
    def size(self) -> int:
        """Width and height of every map in pixels."""
        return self.description.size

    @property
    def kind(self) -> Kind:
        """Whether views come with depth ("heads") or images ("portraits")."""
        return self.description.kind

    @property
    def heads(self) -> tuple[Head, ...]:
        """Every head, in order."""
        return self.description.heads

    def views(
        self, split: Split | None = "train", *, heads: Split | None = "train"
    ) -> list[HeadView]:
        """Return views in order.

        Args:
            split: of the views; None for both.
            heads: split of the heads that they show; None for both. What training may see is
                the default, `views("train")`; held-out views of training heads are
                `views("held-out")`; of heads never trained on, `views(None, heads="held-out")`.
        """
        return [
            view
            for head in self.heads
            if heads in (None, head.split)
            for view in head.views
            if split in (None, view.split)
        ]

    def labels(self, view: HeadView) -> NDArray[np.uint8]:
        """Return a view's (S, S) uint8 label map, 0…16.

        Raises:
            HeadSetError: the file is damaged, of another size, not indexed, or holds a value
                that is no label.
        """
        path = self._path(LABEL_FOLDER, view)
        labels = _read_map(path, self.size, ("P", "L"))
        try:
            return check_labels(labels, str(path))
        except BadParameter as error:
            raise HeadSetError(error.cause) from error

    def depth(self, view: HeadView) -> NDArray[np.float32]:
        """Return a view's (S, S) float32 metres along the viewing axis, 0 = background.

        Raises:
            HeadSetError: portraits have none; the file is damaged or of another size or type.
        """
        if self.kind != "heads":
            raise HeadSetError(f"{self.folder} holds portraits, which have no depth")
        units = _read_map(self._path(DEPTH_FOLDER, view), self.size, ("I;16", "I"))
        return units.astype(np.float32) / np.float32(DEPTH_UNITS_PER_METRE)

    def image(self, view: HeadView) -> NDArray[np.uint8]:
        """Return a view's (S, S, 3) uint8 sRGB image.

        Raises:
            HeadSetError: heads have none; the file is damaged or of another size or type.
        """
        if self.kind != "portraits":
            raise HeadSetError(f"{self.folder} holds heads without images")
        return _read_map(self._path(IMAGE_FOLDER, view), self.size, ("RGB",)).astype(np.uint8)

    @cached_property
    def digest(self) -> str:
        """Sha256 (hexadecimal) over name and sha256 of every file that the set names."""
        total = hashlib.sha256()
        for path in self.files():
            content = hashlib.sha256(path.read_bytes()).hexdigest()
            total.update(f"{path.relative_to(self.folder).as_posix()} {content}\n".encode())
        return total.hexdigest()

    def files(self) -> list[Path]:
        """Return the paths of every file that the set names, heads.json first."""
        return [self.folder / DESCRIPTION_FILE, *_map_files(self.folder, self.description)]

    def _path(self, folder: str, view: HeadView) -> Path:
        return self.folder / folder / f"{view.name}{SUFFIX}"


def indexed_image(labels: NDArray[np.uint8]) -> Image.Image:
    """Return a label map (H, W) as an indexed image with the contract's palette."""
    height, width = labels.shape
    image = Image.frombytes("P", (width, height), np.ascontiguousarray(labels).tobytes())
    image.putpalette(PALETTE.tobytes())
    return image


def parse_description(fields: Mapping[str, Any], file: str) -> HeadSetDescription:
    """Read the values of heads.json.

    Args:
        fields: the parsed JSON.
        file: its path, for the errors.

    Raises:
        HeadSetError: names file and field.
    """
    if fields.get("format") != HEAD_SET_FORMAT:
        raise HeadSetError(f"{file}: format is not {HEAD_SET_FORMAT}", field="format")
    kind = _choice(fields, "kind", get_args(Kind), file)
    size = fields.get("size")
    if not isinstance(size, int) or isinstance(size, bool) or not 8 <= size <= 4096:
        raise HeadSetError(f"{file}: size must be 8…4096 pixels", field="size")
    if fields.get("labels") != list(LABEL_NAMES):
        raise HeadSetError(f"{file}: labels are not the {len(LABEL_NAMES)} portrait labels")
    source = fields.get("source")
    if not isinstance(source, dict):
        raise HeadSetError(f"{file}: source must be a map", field="source")
    rows = _rows(fields, "heads", file)
    heads = tuple(_head(row, size, f"{file}: heads[{i}]") for i, row in enumerate(rows))
    _refuse_twins([head.id for head in heads], f"{file}: heads: the id")
    _refuse_twins([view.name for head in heads for view in head.views], f"{file}: views: the name")
    return HeadSetDescription(
        kind=cast("Kind", kind),
        size=size,
        licence=_text(fields, "licence", file),
        source=cast("dict[str, Any]", source),
        heads=heads,
    )


def _head(row: Any, size: int, place: str) -> Head:
    fields = _map(row, place)
    name = _text(fields, "id", place)
    attributes = fields.get("attributes", {})
    return Head(
        id=name,
        split=cast("Split", _choice(fields, "split", get_args(Split), place)),
        attributes=dict(_map(attributes, f"{place}.attributes")),
        views=tuple(
            _view(view, name, size, f"{place}.views[{i}]")
            for i, view in enumerate(_rows(fields, "views", place))
        ),
    )


def _view(row: Any, head: str, size: int, place: str) -> HeadView:
    fields = _map(row, place)
    name = _text(fields, "name", place)
    _check_name(name, f"{place}.name")
    try:
        K, R, t = (np.asarray(fields.get(key), np.float64) for key in ("K", "R", "t"))
        camera = Camera(K=K, R=R, t=t, width=size, height=size)
    except (BadParameter, TypeError, ValueError) as error:
        raise HeadSetError(f"{place}: not a camera: {error}", field=place) from error
    split = cast("Split", _choice(fields, "split", get_args(Split), place))
    return HeadView(name=name, head=head, split=split, camera=camera)


def _view_to_json(view: HeadView) -> dict[str, Any]:
    camera = view.camera
    return {
        "name": view.name,
        "split": view.split,
        "K": camera.K.tolist(),
        "R": camera.R.tolist(),
        "t": camera.t.tolist(),
    }


def _second_folder(kind: Kind) -> str:
    return DEPTH_FOLDER if kind == "heads" else IMAGE_FOLDER


def _map_files(folder: Path, description: HeadSetDescription) -> Iterator[Path]:
    for head in description.heads:
        for view in head.views:
            for kind in (LABEL_FOLDER, _second_folder(description.kind)):
                yield folder / kind / f"{view.name}{SUFFIX}"


def _check_files(folder: Path, description: HeadSetDescription) -> None:
    # One listing for each folder: asking for every file by name takes seconds with many views.
    there = {
        path
        for name in (LABEL_FOLDER, _second_folder(description.kind))
        if (folder / name).is_dir()
        for path in (folder / name).iterdir()
    }
    for path in _map_files(folder, description):
        if path not in there:
            raise HeadSetError(f"{path} is missing: this folder is not a whole set", file=str(path))


def _depth_units(depth: NDArray[np.float32], name: str) -> NDArray[np.uint16]:
    if (
        depth.ndim != 2
        or not np.isfinite(depth).all()
        or depth.min() < 0
        or depth.max() > MAX_DEPTH
    ):
        raise HeadSetError(f"view {name}: depth must be (S, S) metres of 0…{MAX_DEPTH}")
    return np.rint(depth.astype(np.float64) * DEPTH_UNITS_PER_METRE).astype(np.uint16)


def _save(path: Path, image: Image.Image) -> None:
    image.save(path, "PNG", compress_level=3)


def _read_map(path: Path, size: int, modes: tuple[str, ...]) -> NDArray[Any]:
    try:
        with Image.open(path) as image:
            found, mode = image.size, image.mode
            pixels = np.asarray(image)
    except (OSError, UnidentifiedImageError, SyntaxError, ValueError) as error:
        raise HeadSetError(f"{path} cannot be read as an image: {error}") from error
    if found != (size, size) or mode not in modes:
        raise HeadSetError(
            f"{path}: {mode} of size {found}, where {modes[0]} of {size} × {size} was due"
        )
    return pixels


def _read_json(path: Path) -> Mapping[str, Any]:
    try:
        fields = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise HeadSetError(f"{path} is missing: this folder is not a whole set") from error
    except (OSError, ValueError) as error:
        raise HeadSetError(f"{path} is not readable JSON: {error}") from error
    return _map(fields, str(path))


def _map(value: Any, place: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise HeadSetError(f"{place} must be a map", field=place)
    return cast("Mapping[str, Any]", value)


def _rows(fields: Mapping[str, Any], key: str, place: str) -> list[Any]:
    rows = fields.get(key)
    if not isinstance(rows, list) or not rows:
        raise HeadSetError(f"{place}: {key} must be a list of at least one", field=key)
    return cast("list[Any]", rows)


def _text(fields: Mapping[str, Any], key: str, place: str) -> str:
    value = fields.get(key)
    if not isinstance(value, str) or not value:
        raise HeadSetError(f"{place}: {key} must be text", field=key)
    return value


def _choice(fields: Mapping[str, Any], key: str, choices: tuple[str, ...], place: str) -> str:
    value = fields.get(key)
    if value not in choices:
        raise HeadSetError(f"{place}: {key} must be one of {', '.join(choices)}", field=key)
    return cast("str", value)


def _check_name(name: str, place: str) -> None:
    if not name or name.startswith(".") or _NAME_SIGNS & set(name) or not name.isprintable():
        raise HeadSetError(f"{place}: {name!r} cannot be a file's name", field=place)


def _refuse_twins(names: list[str], what: str) -> None:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise HeadSetError(f"{what} {name!r} stands twice")
        seen.add(name)
