"""Reading requests of the portrait operations: from `wire.Request` to the types of `portraits`.

What fails raises `BadParameter` and names the field. Unknown fields are ignored.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from .errors import BadParameter
from .fields import (
    MAX_SEED,
    chosen,
    flag,
    integer,
    integers,
    is_model_id,
    number,
    parse_model_id,
    photograph,
    plain_map,
    real_array,
    seed,
    text,
    weighted,
)
from .labels import LABEL_COUNT, check_labels
from .operations import camera_of, priority_of
from .portraits import (
    GEOMETRIES,
    MAX_DIRECTIONS,
    MAX_SAMPLES,
    MAX_THUMBNAIL,
    PORTRAIT_PASSES,
    PORTRAIT_PREFIX,
    HeadShape,
    PortraitBake,
    PortraitFit,
    PortraitLook,
    PortraitRender,
    PortraitSample,
    PortraitSegment,
    RegionStyle,
    Source,
    portrait_id,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from .portraits import Blend
    from .wire import Request

_LARGEST = 1e4
"""Greatest number of a code or style that a request may carry."""


def parse_look(request: Request) -> PortraitLook:
    """Read what all portrait operations share.

    Raises:
        BadParameter: a field is missing or out of range; names it.
    """
    params = request.params
    codes = _rows(request.arrays, "codes", (-1, -1))
    style_rows = _rows(request.arrays, "styles", (-1, LABEL_COUNT, -1))
    shape = plain_map(params.get("shape", {}), "shape")
    head_rows = 0 if codes is None else len(codes)
    rows = 0 if style_rows is None else len(style_rows)
    return PortraitLook(
        portrait=parse_model_id(request, "portrait"),
        shape=HeadShape(
            blend=_blend(shape, "shape", head_rows, heads=True),
            directions=_directions(shape),
        ),
        styles=_styles(params, rows),
        codes=codes,
        style_rows=style_rows,
    )


def parse_portrait_render(request: Request) -> PortraitRender:
    """Read a `portrait.render` request.

    Raises:
        BadParameter: a field is missing or out of range; names it.
    """
    params, arrays = request.params, request.arrays
    camera = camera_of(request)
    labels = None
    if "labels" in arrays:
        labels = check_labels(arrays["labels"])
        if labels.shape != (camera.height, camera.width):
            raise BadParameter("labels must have the frame's width and height", field="labels")
    geometry = text(params, "geometry", default="marched")
    if geometry not in GEOMETRIES:
        raise BadParameter(f"geometry must be one of {', '.join(GEOMETRIES)}", field="geometry")
    return PortraitRender(
        look=parse_look(request),
        camera=camera,
        passes=chosen(params, "passes", PORTRAIT_PASSES, PORTRAIT_PASSES[:3], least=1),
        geometry=geometry,
        background=flag(params, "background"),
        labels=labels,
        priority=priority_of(params),
        stream=text(params, "stream", default=""),
    )


def parse_portrait_sample(request: Request) -> PortraitSample:
    """Read a `portrait.sample` request.

    Raises:
        BadParameter: a field is missing or out of range; names it.
    """
    params = request.params
    size = integer(params, "size") if "size" in params else 128
    if size != 0 and not 16 <= size <= MAX_THUMBNAIL:
        raise BadParameter(f"size must be 0 or lie within 16…{MAX_THUMBNAIL}", field="size")
    return PortraitSample(
        look=parse_look(request),
        seeds=integers(params, "seeds", (0,), MAX_SAMPLES, 0, MAX_SEED),
        vary=chosen(params, "vary", ("shape", "styles"), ("shape", "styles"), least=0),
        labels=integers(
            params, "labels", tuple(range(LABEL_COUNT)), LABEL_COUNT, 0, LABEL_COUNT - 1
        ),
        near=number(params, "near", 0.0, 1.0) if "near" in params else 0.0,
        size=size,
        yaw=number(params, "yaw", -180.0, 180.0) if "yaw" in params else 0.0,
        priority=priority_of(params),
    )


def parse_portrait_bake(request: Request) -> PortraitBake:
    """Read a `portrait.bake` request.

    Raises:
        BadParameter: a field is missing or out of range; names it.
    """
    views = integer(request.params, "views") if "views" in request.params else 72
    if not 8 <= views <= 512:
        raise BadParameter("views must lie within 8…512", field="views")
    return PortraitBake(look=parse_look(request), views=views)


def parse_portrait_segment(request: Request) -> PortraitSegment:
    """Read a `portrait.segment` request.

    Raises:
        BadParameter: image is missing or is no image.
    """
    return PortraitSegment(image=photograph(request.arrays))


def parse_portrait_fit(request: Request) -> PortraitFit:
    """Read a `portrait.fit` request.

    Raises:
        BadParameter: a field is missing or out of range; names it.
    """
    params = request.params
    image = photograph(request.arrays)
    labels = None
    if "labels" in request.arrays:
        labels = check_labels(request.arrays["labels"])
        if labels.shape != image.shape[:2]:
            raise BadParameter("labels must have the photograph's size", field="labels")
    name = text(params, "name")
    identity = text(params, "id", default="") or portrait_id(name)
    if not is_model_id(identity) or not identity.startswith(PORTRAIT_PREFIX):
        raise BadParameter(f'id must be of the form "{PORTRAIT_PREFIX}…"', field="id")
    return PortraitFit(
        portrait=parse_model_id(request, "portrait"),
        name=name,
        id=identity,
        image=image,
        labels=labels,
        focal=number(params, "focal", 1.0, 1e6) if params.get("focal") is not None else None,
        replace=flag(params, "replace"),
    )


def _rows(
    arrays: Mapping[str, np.ndarray[Any, Any]], name: str, shape: tuple[int, ...]
) -> NDArray[np.float32] | None:
    if name not in arrays:
        return None
    rows = real_array(arrays, name, shape)
    if len(rows) > MAX_SAMPLES or np.abs(rows).max(initial=0.0) > _LARGEST:
        raise BadParameter(
            f"{name} must be at most {MAX_SAMPLES} rows within ±{_LARGEST:g}", field=name
        )
    return rows.astype(np.float32)


def _styles(params: Mapping[str, Any], rows: int) -> dict[int, RegionStyle]:
    given = params.get("styles", [])
    if not isinstance(given, list) or len(cast("list[Any]", given)) > LABEL_COUNT:
        raise BadParameter(f"styles must be a list of at most {LABEL_COUNT} maps", field="styles")
    found: dict[int, RegionStyle] = {}
    for entry in cast("list[Any]", given):
        style = plain_map(entry, "styles")
        label = integer(style, "label")
        if not 0 <= label < LABEL_COUNT or label in found:
            raise BadParameter(f"styles name labels 0…{LABEL_COUNT - 1}, each once", field="styles")
        truncation = number(style, "truncation", 0.0, 2.0) if "truncation" in style else 1.0
        found[label] = RegionStyle(
            blend=_blend(style, "styles", rows, heads=False), truncation=truncation
        )
    return found


def _blend(values: Mapping[str, Any], name: str, rows: int, *, heads: bool) -> Blend:
    given = values.get("blend", [{"weight": 1.0}])
    return weighted(given, name, lambda entry: _source(entry, name, rows, heads))


def _source(entry: Mapping[str, Any], name: str, rows: int, heads: bool) -> Source:
    if entry.get("seed") is not None:
        return Source(seed=seed(entry, name))
    if entry.get("row") is not None:
        row = integer(entry, "row")
        if not 0 <= row < rows:
            raise BadParameter(f"{name} names row {row} of {rows} that were sent", field=name)
        return Source(row=row)
    head = text(entry, "head", default="")
    if head and not heads:
        raise BadParameter("styles come from seeds and rows, not from heads", field=name)
    return Source(head=head)


def _directions(shape: Mapping[str, Any]) -> tuple[float, ...]:
    given = shape.get("directions", [])
    values = cast("list[Any]", given) if isinstance(given, list) else None
    if values is None or len(values) > MAX_DIRECTIONS:
        raise BadParameter(
            f"directions must be a list of at most {MAX_DIRECTIONS} numbers", field="shape"
        )
    for value in values:
        fine = isinstance(value, int | float) and not isinstance(value, bool)
        if not fine or not math.isfinite(value) or abs(value) > 20:
            raise BadParameter("directions must be numbers within −20…20", field="shape")
    return tuple(float(value) for value in values)
