"""Reading single fields of requests: what is wrong raises `BadParameter` and names the field."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Any, TypeVar, cast

import numpy as np

from .errors import BadParameter

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    from .wire import Request

MAX_SOURCES = 16
MAX_SEED = 2**31 - 1
SUM_TOLERANCE = 1e-3

Read = TypeVar("Read")

_MODEL_ID = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,127}")


def parse_model_id(request: Request, name: str) -> str:
    """Return the id of a model package: letters, digits, "-", "_" and ".", no leading dot.

    `library.preview` names it by the param id (result array preview (H, W, 3 or 4) uint8),
    `body.template` by the param body (result: see docs/wire.md).
    """
    value = text(request.params, name)
    if not is_model_id(value):
        raise BadParameter(f"{name} is not the id of a model package", field=name)
    return value


def is_model_id(value: str) -> bool:
    """Whether a text can be the id of a model package, and so the name of its folder."""
    return bool(_MODEL_ID.fullmatch(value))


def text(params: Mapping[str, Any], name: str, *, default: str | None = None) -> str:
    """Return a text parameter of at most 256 characters."""
    value = params.get(name, default)
    if not isinstance(value, str) or len(value) > 256 or (not value and default is None):
        raise BadParameter(f"{name} must be a text of 1…256 characters", field=name)
    return value


def integer(params: Mapping[str, Any], name: str) -> int:
    """Return a whole-number parameter."""
    value = params.get(name)
    if not isinstance(value, int) or isinstance(value, bool):
        raise BadParameter(f"{name} must be a whole number", field=name)
    return value


def number(params: Mapping[str, Any], name: str, low: float, high: float) -> float:
    """Return a finite number parameter within low…high."""
    value = params.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise BadParameter(f"{name} must be a number", field=name)
    if not low <= value <= high:
        raise BadParameter(f"{name} must lie within {low}…{high}", field=name)
    return float(value)


def real_array(
    arrays: Mapping[str, np.ndarray[Any, Any]], name: str, shape: tuple[int, ...]
) -> NDArray[np.float64]:
    """Return a finite floating-point array of this shape as float64; −1 stands for any size."""
    array = arrays.get(name)
    if array is None or array.dtype.kind != "f":
        raise BadParameter(f"array {name} (floating point) is missing", field=name)
    if array.ndim != len(shape) or any(
        want not in (-1, have) for want, have in zip(shape, array.shape, strict=True)
    ):
        raise BadParameter(f"array {name} must have the shape {shape}", field=name)
    values = array.astype(np.float64)
    if not np.isfinite(values).all():
        raise BadParameter(f"array {name} holds numbers that are not finite", field=name)
    return values


def plain_map(value: Any, name: str) -> Mapping[str, Any]:
    """Return a value that must be a map; `name` is the field that it belongs to."""
    if not isinstance(value, dict):
        raise BadParameter(f"{name} must be made of maps", field=name)
    return cast("dict[str, Any]", value)


def flag(params: Mapping[str, Any], name: str) -> bool:
    """Return a parameter that is true or false, false when it is left out."""
    value = params.get(name, False)
    if not isinstance(value, bool):
        raise BadParameter(f"{name} must be true or false", field=name)
    return value


def integers(
    params: Mapping[str, Any], name: str, default: tuple[int, ...], most: int, low: int, high: int
) -> tuple[int, ...]:
    """Return a list of 1…most whole numbers within low…high."""
    given = params.get(name, list(default))
    values = cast("list[Any]", given) if isinstance(given, list) else None
    if values is None or not 1 <= len(values) <= most:
        raise BadParameter(f"{name} must be a list of 1…{most} whole numbers", field=name)
    for value in values:
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
            raise BadParameter(f"{name} must be whole numbers within {low}…{high}", field=name)
    return tuple(values)


def chosen(
    params: Mapping[str, Any],
    name: str,
    known: tuple[str, ...],
    default: tuple[str, ...],
    *,
    least: int,
) -> tuple[str, ...]:
    """Return a list of at least `least` of the known names, each once."""
    given = params.get(name, list(default))
    if not isinstance(given, list) or len(cast("list[Any]", given)) < least:
        raise BadParameter(f"{name} must be a list of names", field=name)
    names = tuple(str(value) for value in cast("list[Any]", given))
    if len(set(names)) != len(names) or any(value not in known for value in names):
        raise BadParameter(f"{name} may be {', '.join(known)}, each once", field=name)
    return names


def photograph(
    arrays: Mapping[str, np.ndarray[Any, Any]], name: str = "image"
) -> NDArray[np.uint8]:
    """Return an image (H, W, 3) uint8 with sides of 32…8192 pixels."""
    image = arrays.get(name)
    if image is None or image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise BadParameter(f"array {name} must be (H, W, 3) uint8", field=name)
    if not 32 <= min(image.shape[:2]) <= max(image.shape[:2]) <= 8192:
        raise BadParameter(f"{name}: sides must lie within 32…8192 pixels", field=name)
    return image.view(np.uint8)


def seed(params: Mapping[str, Any], name: str) -> int:
    """Return the parameter seed of a map; `name` is the field that the map belongs to."""
    value = integer(params, "seed")
    if not 0 <= value <= MAX_SEED:
        raise BadParameter(f"{name}: a seed must lie within 0…{MAX_SEED}", field=name)
    return value


def weighted(
    given: Any, name: str, read: Callable[[Mapping[str, Any]], Read]
) -> tuple[tuple[Read, float], ...]:
    """Return a blend: a list of 1…16 maps, each with a weight; the weights add up to 1.

    Args:
        given: the list.
        name: the field that it belongs to.
        read: what a map says beside its weight.
    """
    if not isinstance(given, list) or not 1 <= len(cast("list[Any]", given)) <= MAX_SOURCES:
        raise BadParameter(f"{name} must be a list of 1…{MAX_SOURCES} sources", field=name)
    maps = [plain_map(entry, name) for entry in cast("list[Any]", given)]
    blend = tuple((read(entry), number(entry, "weight", -10.0, 10.0)) for entry in maps)
    total = sum(weight for _, weight in blend)
    if abs(total - 1.0) > SUM_TOLERANCE:
        raise BadParameter(
            f"the weights of {name} add up to {total:.4g}, not to 1",
            "divide them by their sum",
            field=name,
        )
    return blend
