"""`avatar.train`: a new avatar from a capture that the server holds."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .errors import BadParameter
from .fields import flag, integer, is_model_id, number, text

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .wire import Request

AVATAR_TRAIN = "avatar.train"
AVATAR_PREFIX = "avatar-"

MAX_MINUTES = 20 * 60.0
MAX_STEPS = 1_000_000

STAGES = ("preparing", "training", "writing")

_RECIPE = re.compile(r"[a-z0-9][a-z0-9-]{0,63}")
_NOT_PLAIN = re.compile(r"[^a-z0-9]+")


@dataclass(frozen=True, kw_only=True)
class AvatarTrain:
    """Train an avatar; asked again in the same words, the server goes on where it stopped.

    Params on the wire: capture (str: from `capture.put`), name (str: what people read), avatar
    (str, optional: id of the new package, "avatar-…"; made of the name otherwise), recipe (str,
    optional: name of a shipped recipe; the server's choice for its device otherwise), minutes
    (number) or steps (int): how long, the recipe's own when neither is given; init_from (str,
    optional: id of a dresser or avatar to start from; the library's shared dresser otherwise),
    replace (bool, default false: whether a user's avatar of this id may be replaced).

    Progress params: stage (one of `STAGES`), share (0…1, of the whole), step (int), loss (float,
    when known), seconds_left (float, when known). Now and then a progress reply carries the array
    preview (H, W, 3) uint8: true frames beside those of the avatar as it is.

    Result params: avatar (str), digest (str), steps (int), minutes (float).
    """

    capture: str
    name: str
    avatar: str
    recipe: str = ""
    minutes: float | None = None
    steps: int | None = None
    init_from: str = ""
    replace: bool = False

    def to_wire(self) -> dict[str, Any]:
        """Return the params of a request."""
        params: dict[str, Any] = {
            "capture": self.capture,
            "name": self.name,
            "avatar": self.avatar,
            "recipe": self.recipe,
            "init_from": self.init_from,
            "replace": self.replace,
        }
        if self.minutes is not None:
            params["minutes"] = self.minutes
        if self.steps is not None:
            params["steps"] = self.steps
        return params


def avatar_id(name: str) -> str:
    """Return the id that an avatar of this name gets: "avatar-" and plain letters.

    Raises:
        BadParameter: nothing of the name can be part of an id.
    """
    plain = _NOT_PLAIN.sub("-", name.lower()).strip("-")[:60]
    if not plain:
        raise BadParameter(
            f"{name!r} has no letter from a to z and no digit to make an id of",
            "give an id, or another name",
            field="name",
        )
    return AVATAR_PREFIX + plain


def new_avatar_id(params: Mapping[str, Any], field: str) -> str:
    """Return the id for an avatar that is to be made: the one named, or one made of `name`.

    Raises:
        BadParameter: it cannot be an avatar's id.
    """
    avatar = text(params, field, default="") or avatar_id(text(params, "name"))
    if not (is_model_id(avatar) and avatar.startswith(AVATAR_PREFIX)) or avatar == AVATAR_PREFIX:
        raise BadParameter(f'{field} must be an id of the form "{AVATAR_PREFIX}…"', field=field)
    return avatar


def parse_avatar_train(request: Request) -> AvatarTrain:
    """Read an `avatar.train` request.

    Raises:
        BadParameter: a field is missing or out of range; names it.
    """
    params = request.params
    name = text(params, "name")
    recipe = text(params, "recipe", default="")
    if recipe and not _RECIPE.fullmatch(recipe):
        raise BadParameter("recipe is not the name of a recipe", field="recipe")
    init_from = text(params, "init_from", default="")
    if init_from and not is_model_id(init_from):
        raise BadParameter("init_from is not the id of a model package", field="init_from")
    minutes, steps = _length(params)
    return AvatarTrain(
        capture=text(params, "capture"),
        name=name,
        avatar=new_avatar_id(params, "avatar"),
        recipe=recipe,
        minutes=minutes,
        steps=steps,
        init_from=init_from,
        replace=flag(params, "replace"),
    )


def _length(params: Mapping[str, Any]) -> tuple[float | None, int | None]:
    minutes = steps = None
    if params.get("minutes") is not None:
        minutes = number(params, "minutes", 1e-3, MAX_MINUTES)
    if params.get("steps") is not None:
        steps = integer(params, "steps")
        if not 1 <= steps <= MAX_STEPS:
            raise BadParameter(f"steps must lie within 1…{MAX_STEPS}", field="steps")
    if minutes is not None and steps is not None:
        raise BadParameter("give minutes or steps, not both", field="steps")
    return minutes, steps
