"""Numbers of files that other tools wrote: .npz, .json, safely read .pkl, and .hdf5.

Whatever is wrong becomes a `CaptureError` that names the file and the field.
"""

from __future__ import annotations

import json
import zipfile
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol, cast

import numpy as np

from blender_addon.contract.errors import BadMotion, CaptureError, MissingExtra
from blender_addon.contract.safe_pickle import read_arrays as read_pickle

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping
    from pathlib import Path

    from numpy.typing import NDArray

Arrays = dict[str, np.ndarray[Any, Any]]

ARRAY_SUFFIXES = (".npz", ".json", ".pkl", ".pickle")
"""Kinds of files that `read_arrays` reads."""

SEE_THE_DOCS = "see docs/real-captures.md for what each file holds"


class Rows(Protocol):
    """A large array on disk, read row by row: an h5py dataset, or numpy's own array."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Its shape; the first number counts the rows."""
        ...

    def __getitem__(self, index: int | slice, /) -> Any:
        """Return a row, or several."""
        ...


def wrong(path: Path, field: str, words: str, next_step: str | None = None) -> CaptureError:
    """Return the error that a field of a file deserves.

    Args:
        path: the file, or the folder that lacks one.
        field: name of the field; empty when it is about the file itself.
        words: what is wrong with it, as the rest of a sentence.
        next_step: what to do; the documentation of the format when omitted.
    """
    subject = f"{path}: {field}" if field else str(path)
    return CaptureError(f"{subject} {words}", next_step or SEE_THE_DOCS, field=field)


def read_arrays(path: Path) -> Arrays:
    """Read the numeric arrays of a file by its suffix; texts and objects are left out.

    A pickle is read without executing anything (`contract.safe_pickle`).

    Raises:
        CaptureError: the file cannot be read, or a pickle asks to run something.
    """
    try:
        if path.suffix == ".npz":
            return _read_npz(path)
        if path.suffix == ".json":
            return _numbers_of(json.loads(path.read_text(encoding="utf-8")), path)
        if path.suffix in (".pkl", ".pickle"):
            return read_pickle(path.read_bytes())
    except FileNotFoundError as error:
        raise wrong(path, "", "is missing") from error
    except BadMotion as error:
        raise wrong(path, "", f"cannot be read: {error.cause}", error.next_step) from error
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile) as error:
        raise wrong(path, "", f"cannot be read ({error})", "write the file again") from error
    raise wrong(path, "", f"is of no kind that is read ({', '.join(ARRAY_SUFFIXES)})")


def table(
    arrays: Mapping[str, np.ndarray[Any, Any]],
    field: str,
    path: Path,
    *shapes: tuple[int, ...],
) -> NDArray[np.float64]:
    """Return a field as float64 after checking it.

    Args:
        arrays: what the file holds.
        field: name of the array.
        path: the file, for the errors.
        shapes: those that are accepted, −1 for any size; an array of as many numbers whose
            other dimensions are 1, such as (1, 63) for (63,), is brought into the shape.

    Raises:
        CaptureError: missing, of another shape, or not finite.
    """
    if field not in arrays:
        names = ", ".join(sorted(arrays)[:12]) or "no numbers"
        raise wrong(path, field, f"is missing (the file holds {names})")
    values = np.asarray(arrays[field], np.float64)
    for shape in shapes:
        fitting = _in_shape(values, shape)
        if fitting is None:
            continue
        if not np.isfinite(fitting).all():
            raise wrong(path, field, "holds numbers that are not finite", "fit this frame again")
        return fitting
    want = " or ".join(str(shape).replace("-1", "any") for shape in shapes)
    raise wrong(path, field, f"has the shape {values.shape}, not {want}")


def _in_shape(values: NDArray[np.float64], shape: tuple[int, ...]) -> NDArray[np.float64] | None:
    if values.ndim == len(shape):
        kept = values
    else:
        kept = values.reshape([side for side in values.shape if side != 1])
        for axis, want in enumerate(shape):
            if want == 1 and kept.ndim < len(shape):
                kept = np.expand_dims(kept, axis)
    if kept.ndim != len(shape):
        return None
    fits = all(want in (-1, have) for want, have in zip(shape, kept.shape, strict=True))
    return kept if fits and kept.size else None


@contextmanager
def open_rows(folder: Path, stem: str) -> Generator[tuple[Path, Mapping[str, Rows]]]:
    """Open STEM.npz or STEM.hdf5 of a folder; large arrays of the second stay on disk.

    Yields:
        the file, and its arrays by name.

    Raises:
        CaptureError: there is neither, or it cannot be read.
        MissingExtra: it is an .hdf5 and the `captures` extra is not installed.
    """
    plain = folder / f"{stem}.npz"
    if plain.is_file():
        yield plain, read_arrays(plain)
        return
    path = next((p for p in (folder / f"{stem}.hdf5", folder / f"{stem}.h5") if p.is_file()), None)
    if path is None:
        raise wrong(folder / f"{stem}.hdf5", "", f"is missing (and so is {stem}.npz)")
    try:
        import h5py  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise MissingExtra(
            f"{path} is an HDF5 file, and h5py is not installed",
            'install the extra: pip install -e ".[captures]"; or save the same arrays as '
            f"{stem}.npz with numpy.savez",
        ) from error
    try:
        file = cast("Any", h5py).File(path, "r")
    except OSError as error:
        raise wrong(path, "", f"is not a readable HDF5 file ({error})") from error
    with file:
        yield path, file


def rows(tables: Mapping[str, Rows], field: str, path: Path, *shape: int) -> Rows:
    """Return a field of `open_rows` whose rows have a shape (−1: any size).

    Raises:
        CaptureError: missing, or of another shape.
    """
    if field not in tables:
        names = ", ".join(sorted(tables)) or "nothing"
        raise wrong(path, field, f"is missing (the file holds {names})")
    found = tables[field]
    have = tuple(getattr(found, "shape", ()))
    if len(have) != len(shape) + 1 or any(
        w not in (-1, h) for w, h in zip(shape, have[1:], strict=True)
    ):
        want = ("rows", *("any" if side == -1 else side for side in shape))
        raise wrong(path, field, f"has the shape {have}, not ({', '.join(map(str, want))})")
    return found


def _read_npz(path: Path) -> Arrays:
    found: Arrays = {}
    # Opened here: numpy leaves the file open when it is no archive.
    with path.open("rb") as stream, np.load(stream, allow_pickle=False) as archive:
        for name in archive.files:
            try:
                values = archive[name]
            except ValueError:
                continue  # objects, such as a gender: not needed, never unpickled
            if values.dtype.kind in "fiub":
                found[name] = values
    return found


def _numbers_of(content: Any, path: Path) -> Arrays:
    if not isinstance(content, dict):
        raise wrong(path, "", "does not hold a map of fields")
    found: Arrays = {}
    for name, value in cast("dict[str, Any]", content).items():
        if isinstance(value, str) or value is None:
            continue
        try:
            values = np.asarray(value)
        except ValueError as error:
            raise wrong(path, name, "is a list of rows of different lengths") from error
        if values.dtype.kind in "fiub":
            found[name] = values
    return found
