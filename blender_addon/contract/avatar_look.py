"""How a person's neural texture is made of others: the look that requests carry.

A look is a recipe, not an array: from the same packages it always gives the same texture, so
renders stay pure functions, and every weight and amount of it can be animated. The texture is

    G(w) + Σ weights · (T − G(w of T)),   w = Σ weights · (w of T) + directions,

where T are the textures of the sources and w their codes in the wardrobe; what a fit put into
its texture beyond its w is kept in proportion. Then parts are replaced, with feathered seams.
Parsing is here, too: `avatar.render` of `operations` may carry a look.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, cast

from .errors import BadParameter
from .fields import is_model_id, number, plain_map, seed, text, weighted

if TYPE_CHECKING:
    from collections.abc import Mapping

PARTS = ("head", "torso", "legs", "hands", "feet")
"""Of a body's surface; every point belongs to one of them, but near seams."""

MAX_LOOK_DIRECTIONS = 64
MAX_DIRECTION_AMOUNT = 20.0
DEFAULT_TRUNCATION = 0.85


@dataclass(frozen=True, kw_only=True)
class LookSource:
    """Where a texture comes from: an avatar of the library, a seed, or neither: the request's own.

    Attributes:
        avatar: id of a package that shares body and dresser with the request's avatar.
        seed: a person whom the wardrobe draws by chance; equal seeds give equal people.
    """

    avatar: str = ""
    seed: int | None = None

    def to_wire(self) -> dict[str, Any]:
        """Return plain values."""
        if self.seed is not None:
            return {"seed": self.seed}
        return {"avatar": self.avatar} if self.avatar else {}


OWN = LookSource()
"""What the avatar of the request has."""


@dataclass(frozen=True, kw_only=True)
class AvatarLook:
    """Whom somebody looks like.

    On the wire a map: sources (list of 1…16 maps: avatar or seed or neither, weight; weights add
    up to 1; default the avatar's own), directions (list of [index, amount], at most 64), parts
    (map by `PARTS` of maps: avatar or seed or neither, amount 0…1), truncation (0…2, default
    0.85), wardrobe (str, optional).

    Attributes:
        sources: blended, with weights that add up to 1.
        directions: which principal direction of the wardrobe's people, and how far along it in
            standard deviations.
        parts: whose part replaces this one, and how much of it: 1 is all.
        truncation: of seeds; 1 leaves a person as drawn, 0 is the mean person.
        wardrobe: id of the package that draws seeds and knows directions; when empty the one
            that the request's avatar was made with, if any.
    """

    sources: tuple[tuple[LookSource, float], ...] = ((OWN, 1.0),)
    directions: tuple[tuple[int, float], ...] = ()
    parts: Mapping[str, tuple[LookSource, float]] = field(
        default_factory=dict[str, "tuple[LookSource, float]"]
    )
    truncation: float = DEFAULT_TRUNCATION
    wardrobe: str = ""

    def to_wire(self) -> dict[str, Any]:
        """Return plain values; equal looks give equal ones."""
        return {
            "sources": [source.to_wire() | {"weight": weight} for source, weight in self.sources],
            "directions": [[index, amount] for index, amount in self.directions],
            "parts": {
                part: self.parts[part][0].to_wire() | {"amount": self.parts[part][1]}
                for part in PARTS
                if part in self.parts
            },
            "truncation": self.truncation,
            "wardrobe": self.wardrobe,
        }

    def named(self) -> set[LookSource]:
        """Return every source that the look names, own ones included."""
        return {source for source, _ in self.sources} | {each for each, _ in self.parts.values()}


def seeded(
    number_drawn: int, wardrobe: str = "", truncation: float = DEFAULT_TRUNCATION
) -> AvatarLook:
    """Return the look of a person whom the wardrobe draws."""
    source = LookSource(seed=number_drawn)
    return AvatarLook(sources=((source, 1.0),), truncation=truncation, wardrobe=wardrobe)


def blended(look: AvatarLook, other: LookSource, amount: float) -> AvatarLook:
    """Return a look that has gone some way towards somebody: 0 leaves it, 1 is that person.

    Its parts stay. What leads there from 0 to 1 can be animated.
    """
    weights: dict[LookSource, float] = {}
    for source, weight in look.sources:
        weights[source] = weights.get(source, 0.0) + weight * (1.0 - amount)
    weights[other] = weights.get(other, 0.0) + amount
    kept = tuple((source, weight) for source, weight in weights.items() if weight != 0.0)
    directions = tuple((index, far * (1.0 - amount)) for index, far in look.directions)
    return replace(look, sources=kept, directions=directions if amount != 1.0 else ())


def redressed(look: AvatarLook, other: LookSource, part: str, amount: float = 1.0) -> AvatarLook:
    """Return a look that wears a part of somebody else's."""
    return replace(look, parts={**look.parts, part: (other, amount)})


def parse_look(given: Any, name: str = "look") -> AvatarLook:
    """Read a look; None is the avatar's own.

    Raises:
        BadParameter: a field is missing or out of range.
    """
    if given is None:
        return AvatarLook()
    look = plain_map(given, name)
    wardrobe = text(look, "wardrobe", default="")
    if wardrobe and not is_model_id(wardrobe):
        raise BadParameter("wardrobe is not the id of a model package", field="wardrobe")
    sources = look.get("sources", [{"weight": 1.0}])
    return AvatarLook(
        sources=weighted(sources, "sources", lambda entry: parse_source(entry, "sources")),
        directions=_directions(look.get("directions", [])),
        parts=_parts(look.get("parts", {})),
        truncation=(
            number(look, "truncation", 0.0, 2.0) if "truncation" in look else DEFAULT_TRUNCATION
        ),
        wardrobe=wardrobe,
    )


def parse_source(entry: Mapping[str, Any], name: str) -> LookSource:
    """Read a source; `name` is the field that it belongs to.

    Raises:
        BadParameter: the avatar cannot be an id, or the seed is out of range.
    """
    if entry.get("seed") is not None:
        return LookSource(seed=seed(entry, name))
    avatar = text(entry, "avatar", default="")
    if avatar and not is_model_id(avatar):
        raise BadParameter(f"{name}: avatar is not the id of a model package", field=name)
    return LookSource(avatar=avatar)


def check_part(part: str, name: str) -> str:
    """Return a part's name.

    Raises:
        BadParameter: there is no such part.
    """
    if part not in PARTS:
        raise BadParameter(f"{name} may be {', '.join(PARTS)}", field=name)
    return part


def _parts(given: Any) -> dict[str, tuple[LookSource, float]]:
    found: dict[str, tuple[LookSource, float]] = {}
    for part, value in plain_map(given, "parts").items():
        entry = plain_map(value, "parts")
        amount = number(entry, "amount", 0.0, 1.0) if "amount" in entry else 1.0
        found[check_part(part, "parts")] = (parse_source(entry, "parts"), amount)
    return found


def _directions(given: Any) -> tuple[tuple[int, float], ...]:
    rows = cast("list[Any]", given) if isinstance(given, list) else None
    if rows is None or len(rows) > MAX_LOOK_DIRECTIONS:
        raise BadParameter(
            f"directions must be a list of at most {MAX_LOOK_DIRECTIONS} pairs", field="directions"
        )
    found: dict[int, float] = {}
    for row in rows:
        pair = cast("list[Any]", row) if isinstance(row, list) else []
        index, amount = pair if len(pair) == 2 else (None, None)
        if not isinstance(index, int) or isinstance(index, bool) or index < 0 or index in found:
            raise BadParameter(
                "directions must be pairs of an index, each once, and an amount",
                field="directions",
            )
        if not isinstance(amount, int | float) or isinstance(amount, bool):
            raise BadParameter("directions: an amount must be a number", field="directions")
        if not math.isfinite(amount) or abs(amount) > MAX_DIRECTION_AMOUNT:
            raise BadParameter(
                f"directions: amounts must lie within ±{MAX_DIRECTION_AMOUNT:g}",
                field="directions",
            )
        found[index] = float(amount)
    return tuple(found.items())
