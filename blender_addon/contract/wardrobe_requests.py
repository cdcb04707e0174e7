"""Reading requests of the wardrobe's operations: from `wire.Request` to the types of `wardrobe`.

What fails raises `BadParameter` or `BadPose` and names the field. Unknown fields are ignored.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import numpy as np

from .avatar_look import OWN, PARTS, check_part, parse_look, parse_source
from .avatar_train import new_avatar_id
from .camera import Camera
from .errors import BadParameter
from .fields import (
    MAX_SEED,
    chosen,
    flag,
    integer,
    integers,
    number,
    parse_model_id,
    photograph,
    plain_map,
    real_array,
    text,
)
from .operations import body_of, coefficients, priority_of
from .portraits import MAX_THUMBNAIL
from .wardrobe import (
    FIT_FILE_KINDS,
    MAX_EFFORT,
    MAX_FIT_FILE_BYTES,
    MAX_FIT_SECONDS,
    MAX_PEOPLE,
    MAX_PHOTOGRAPHS,
    MAX_PICTURES,
    MIN_EFFORT,
    OPTIMISED,
    AvatarBlend,
    AvatarFit,
    AvatarRedress,
    AvatarSample,
    AvatarSave,
    FitFile,
    PersonView,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from .operations import PosedBody
    from .wire import Request


def parse_avatar_sample(request: Request) -> AvatarSample:
    """Read an `avatar.sample` request.

    Raises:
        BadParameter: a field is missing or out of range; names it.
        BadPose: the pose is not 55 rotations.
    """
    params = request.params
    vary = text(params, "vary", default="")
    return AvatarSample(
        avatar=parse_model_id(request, "avatar"),
        look=parse_look(params.get("look")),
        seeds=integers(params, "seeds", (0,), MAX_PICTURES, 0, MAX_SEED),
        near=number(params, "near", 0.0, 1.0) if "near" in params else 0.0,
        vary=check_part(vary, "vary") if vary else "",
        view=_view(request),
        priority=priority_of(params),
    )


def parse_avatar_blend(request: Request) -> AvatarBlend:
    """Read an `avatar.blend` request.

    Raises:
        BadParameter: a field is missing or out of range; names it.
        BadPose: the pose is not 55 rotations.
    """
    params = request.params
    other = parse_source(plain_map(params.get("other"), "other"), "other")
    if other == OWN:
        raise BadParameter("other must name an avatar or a seed", field="other")
    amounts = params.get("amounts", [0.5])
    if not isinstance(amounts, list) or not 1 <= len(cast("list[Any]", amounts)) <= MAX_PICTURES:
        raise BadParameter(f"amounts must be a list of 1…{MAX_PICTURES} numbers", field="amounts")
    return AvatarBlend(
        avatar=parse_model_id(request, "avatar"),
        look=parse_look(params.get("look")),
        other=other,
        amounts=tuple(
            number({"amounts": each}, "amounts", 0.0, 1.0) for each in cast("list[Any]", amounts)
        ),
        view=_view(request),
        priority=priority_of(params),
    )


def parse_avatar_redress(request: Request) -> AvatarRedress:
    """Read an `avatar.redress` request.

    Raises:
        BadParameter: a field is missing or out of range; names it.
        BadPose: the pose is not 55 rotations.
    """
    params = request.params
    given = params.get("others")
    others = cast("list[Any]", given) if isinstance(given, list) else []
    if not 1 <= len(others) <= MAX_PICTURES:
        raise BadParameter(f"others must be a list of 1…{MAX_PICTURES} sources", field="others")
    return AvatarRedress(
        avatar=parse_model_id(request, "avatar"),
        look=parse_look(params.get("look")),
        others=tuple(parse_source(plain_map(each, "others"), "others") for each in others),
        take=chosen(params, "take", PARTS, PARTS[:1], least=1),
        amount=number(params, "amount", 0.0, 1.0) if "amount" in params else 1.0,
        view=_view(request),
        priority=priority_of(params),
    )


def parse_avatar_save(request: Request) -> AvatarSave:
    """Read an `avatar.save` request.

    Raises:
        BadParameter: a field is missing or out of range; names it.
    """
    params = request.params
    return AvatarSave(
        avatar=parse_model_id(request, "avatar"),
        name=text(params, "name"),
        id=new_avatar_id(params, "id"),
        look=parse_look(params.get("look")),
        betas=coefficients(request.arrays, "betas") if "betas" in request.arrays else None,
        replace=flag(params, "replace"),
    )


def parse_avatar_fit(request: Request) -> AvatarFit:
    """Read an `avatar.fit` request.

    Raises:
        BadParameter: a field is missing or out of range; names it.
        BadPose: a pose is not 55 rotations.
    """
    params, arrays = request.params, request.arrays
    count = sum(name.startswith("image_") for name in arrays)
    if not 1 <= count <= MAX_PHOTOGRAPHS:
        raise BadParameter(
            f"{count} photographs came", f"send 1…{MAX_PHOTOGRAPHS}: image_0 …", field="image_0"
        )
    images = tuple(photograph(arrays, f"image_{k}") for k in range(count))
    effort = number(params, "effort", MIN_EFFORT, MAX_EFFORT) if "effort" in params else 1.0
    person = integer(params, "person") if params.get("person") is not None else None
    if person is not None and not 0 <= person < MAX_PEOPLE:
        raise BadParameter(f"person must lie within 0…{MAX_PEOPLE - 1}", field="person")
    stages = chosen(params, "stages", OPTIMISED, OPTIMISED, least=0)
    return AvatarFit(
        wardrobe=parse_model_id(request, "wardrobe"),
        name=text(params, "name"),
        id=new_avatar_id(params, "id"),
        images=images,
        masks=tuple(_mask(arrays, k, image) for k, image in enumerate(images)),
        fits=_fits(arrays, images),
        fit_files=_fit_files(request, count),
        stages=tuple(stage for stage in OPTIMISED if stage in stages),
        effort=effort,
        focal=number(params, "focal", 1.0, 1e6) if params.get("focal") is not None else None,
        person=person,
        seconds=(
            number(params, "seconds", 0.0, MAX_FIT_SECONDS)
            if params.get("seconds") is not None
            else None
        ),
        refine=flag(params, "refine"),
        replace=flag(params, "replace"),
    )


def _view(request: Request) -> PersonView:
    params, arrays = request.params, request.arrays
    size = integer(params, "size") if "size" in params else 128
    if size != 0 and not 16 <= size <= MAX_THUMBNAIL:
        raise BadParameter(f"size must be 0 or lie within 16…{MAX_THUMBNAIL}", field="size")
    part = text(params, "part", default="")
    camera = None
    if size and ("K" in arrays or "Rt" in arrays):
        camera = _camera(real_array(arrays, "K", (3, 3)), real_array(arrays, "Rt", (3, 4)), size)
    return PersonView(
        size=size,
        yaw=number(params, "yaw", -180.0, 180.0) if "yaw" in params else 0.0,
        part=check_part(part, "part") if part else "",
        body=body_of(arrays) if "pose" in arrays else None,
        camera=camera,
    )


def _mask(
    arrays: Mapping[str, np.ndarray[Any, Any]], index: int, image: NDArray[np.uint8]
) -> NDArray[np.uint8] | None:
    mask = arrays.get(f"mask_{index}")
    if mask is None:
        return None
    if mask.dtype != np.uint8 or mask.shape != image.shape[:2]:
        raise BadParameter(
            f"mask_{index} must be (H, W) uint8 of the photograph's size", field=f"mask_{index}"
        )
    return mask.view(np.uint8)


_FIT_ARRAYS = ("pose", "transl", "K", "Rt")
_LONGEST_NAME = 128


def _fits(
    arrays: Mapping[str, np.ndarray[Any, Any]], images: tuple[NDArray[np.uint8], ...]
) -> tuple[tuple[PosedBody, Camera], ...]:
    if not any(name in arrays for name in _FIT_ARRAYS):
        return ()
    if any(name not in arrays or arrays[name].shape[:1] != (len(images),) for name in _FIT_ARRAYS):
        raise BadParameter(
            "a body fit is pose, transl, K and Rt, each with a row for every photograph",
            "send all of them, or none",
            field="pose",
        )
    expression = arrays.get("expression")
    if expression is not None and (expression.shape[:1] != (len(images),)):
        raise BadParameter("expression must have a row for every photograph", field="expression")
    found: list[tuple[PosedBody, Camera]] = []
    for k, image in enumerate(images):
        own = {name: arrays[name][k] for name in ("pose", "transl")}
        own |= {} if expression is None else {"expression": expression[k]}
        own |= {"betas": arrays["betas"]} if "betas" in arrays else {}
        K, Rt = (
            real_array({name: arrays[name][k]}, name, shape)
            for name, shape in (("K", (3, 3)), ("Rt", (3, 4)))
        )
        found.append((body_of(own), _camera(K, Rt, image.shape[1], image.shape[0])))
    return tuple(found)


def _fit_files(request: Request, count: int) -> tuple[FitFile, ...]:
    given = request.params.get("fit_files", [])
    names = cast("list[Any]", given) if isinstance(given, list) else None
    if names is None or len(names) not in (0, count):
        raise BadParameter("fit_files must name a file for every photograph", field="fit_files")
    if names and any(name in request.arrays for name in _FIT_ARRAYS):
        raise BadParameter("a body fit came twice", "send fit_files or arrays", field="fit_files")
    return tuple(_fit_file(request.arrays, number, name) for number, name in enumerate(names))


def _fit_file(arrays: Mapping[str, np.ndarray[Any, Any]], number: int, name: Any) -> FitFile:
    if (
        not isinstance(name, str)
        or not 0 < len(name) <= _LONGEST_NAME
        or not name.lower().endswith(FIT_FILE_KINDS)
        or any(sign in name for sign in "/\\:\0")
    ):
        raise BadParameter(
            f"fit_files must be names of files that end in {', '.join(FIT_FILE_KINDS)}",
            field="fit_files",
        )
    content = arrays.get(f"fit_{number}")
    if content is None or content.dtype != np.uint8 or content.ndim != 1:
        raise BadParameter(f"array fit_{number} (n,) uint8 is missing", field=f"fit_{number}")
    if content.size > MAX_FIT_FILE_BYTES:
        raise BadParameter(
            f"{name} has {content.size >> 20} MB",
            "send a fit of one photograph",
            field=f"fit_{number}",
        )
    return FitFile(name=name, content=content.view(np.uint8))


def _camera(
    K: NDArray[np.float64], Rt: NDArray[np.float64], width: int, height: int | None = None
) -> Camera:
    return Camera(K=K, R=Rt[:, :3], t=Rt[:, 3], width=width, height=height or width)
