"""Read the numbers of a pickle without executing it.

A pickle is a program; SMPLify-X writes its results as one. Here nothing that the file names is
ever imported: the few names by which numpy pickles its arrays stand for plain classes of this
module, any other name is refused, and numpy's own unpickling code is not run either.
"""

from __future__ import annotations

import io
import math
import pickle
from typing import Any, cast

import numpy as np

from .errors import BadMotion

MAX_BYTES = 256 << 20

_DTYPES = ("f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "b1")


class _DType:
    """Stands for numpy.dtype."""

    def __init__(self, name: object, *_rest: object) -> None:
        self.name = name.decode("ascii") if isinstance(name, bytes) else name
        self.order = "<"

    def __setstate__(self, state: Any) -> None:
        self.order = ">" if state[1] in (">", b">") else "<"

    def real(self) -> np.dtype[Any]:
        if self.name not in _DTYPES:
            raise BadMotion(f"the pickle holds arrays of the kind {str(self.name)[:20]!r}")
        return np.dtype(f"{self.order}{self.name}")


class _Array:
    """Stands for numpy.ndarray."""

    values: np.ndarray[Any, Any]

    def __setstate__(self, state: Any) -> None:
        _version, shape, dtype, fortran, data = state
        self.values = _array(tuple(shape), dtype, data, fortran=bool(fortran))


def _array(shape: tuple[int, ...], dtype: Any, data: Any, *, fortran: bool) -> np.ndarray[Any, Any]:
    raw = data.encode("latin1") if isinstance(data, str) else data
    if not isinstance(dtype, _DType) or not isinstance(raw, bytes):
        raise BadMotion("the pickle holds an array of something other than numbers")
    kind = dtype.real()
    if len(shape) > 8 or math.prod(shape) * kind.itemsize != len(raw):
        raise BadMotion("the pickle holds an array whose size is wrong")
    return np.frombuffer(raw, kind).reshape(shape, order="F" if fortran else "C")


def _reconstruct(*_arguments: object) -> _Array:
    return _Array()


def _scalar(dtype: object, data: object = b"") -> float:
    return float(_array((), dtype, data, fortran=False))


def _encode(text: object, encoding: object = "latin1") -> bytes:
    """Stands for _codecs.encode, by which Python 3 writes bytes into old pickles."""
    if not isinstance(text, str) or encoding != "latin1":
        raise BadMotion("the pickle asks for an unusual text encoding")
    return text.encode("latin1")


_MULTIARRAY = ("numpy.core.multiarray", "numpy._core.multiarray")
_ALLOWED: dict[tuple[str, str], Any] = {
    ("numpy", "ndarray"): _Array,
    ("numpy", "dtype"): _DType,
    ("_codecs", "encode"): _encode,
    ("collections", "OrderedDict"): dict,
    **{(module, "_reconstruct"): _reconstruct for module in _MULTIARRAY},
    **{(module, "scalar"): _scalar for module in _MULTIARRAY},
}


class _Reader(pickle.Unpickler):
    def find_class(self, module_name: str, global_name: str, /) -> Any:
        try:
            return _ALLOWED[module_name, global_name]
        except KeyError:
            raise BadMotion(
                f"the pickle asks to run {module_name[:40]}.{global_name[:40]}; nothing was run",
                "save the result's arrays with numpy.savez and import the .npz",
            ) from None


def read_arrays(data: bytes) -> dict[str, np.ndarray[Any, Any]]:
    """Return the numeric arrays of a pickled dictionary; other entries are left out.

    Raises:
        BadMotion: not such a pickle, or one that wants to run something.
    """
    if len(data) > MAX_BYTES:
        raise BadMotion(f"the pickle is over {MAX_BYTES >> 20} MB")
    try:
        content = _Reader(io.BytesIO(data), encoding="latin1").load()
    except BadMotion:
        raise
    except Exception as error:
        raise BadMotion(f"this is not a readable pickle ({type(error).__name__})") from error
    if not isinstance(content, dict):
        raise BadMotion("the pickle does not hold a dictionary")
    found: dict[str, np.ndarray[Any, Any]] = {}
    for key, value in cast("dict[Any, Any]", content).items():
        array = _numbers(value)
        if isinstance(key, str) and array is not None:
            found[key] = array
    return found


def _numbers(value: Any) -> np.ndarray[Any, Any] | None:
    if isinstance(value, _Array):
        return getattr(value, "values", None)
    if isinstance(value, bool | int | float):
        try:
            return np.asarray(float(value))
        except OverflowError:
            return None
    return None
