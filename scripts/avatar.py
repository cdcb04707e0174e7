"""`dressform avatar sample|blend|redress|save`: people of a wardrobe from the command line.

With the same code as the server, without one. New avatars go to the user's library, where Blender's
server finds them.
"""

from __future__ import annotations

import json
from dataclasses import replace as changed
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from blender_addon.contract.avatar_look import (
    DEFAULT_TRUNCATION,
    OWN,
    AvatarLook,
    LookSource,
    blended,
    check_part,
    parse_look,
    redressed,
)
from blender_addon.contract.avatar_train import AVATAR_PREFIX, avatar_id
from blender_addon.contract.errors import BadParameter
from blender_addon.contract.fields import is_model_id
from blender_addon.contract.wardrobe import PersonView
from models.avatar_look import Looks
from models.look_package import save_look
from models.package import DEFAULT_LIBRARY
from models.people_view import picture
from scripts.new_package import free_folder
from server.library import Library
from server.storage import Storage

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from models.avatar import AvatarRenderer

WARDROBE = "wardrobe-people"
YAWS = (0.0, 180.0)


def sample_people(
    seed: int | None = None,
    seeds: list[int] | None = None,
    out: Path = Path("people.png"),
    wardrobe: str = WARDROBE,
    like: str = "",
    near: float = 0.0,
    vary: str = "",
    truncation: float = DEFAULT_TRUNCATION,
    directions: dict[int, float] | None = None,
    yaws: list[float] | None = None,
    size: int = 192,
    save: str = "",
    library: Path = DEFAULT_LIBRARY,
    into: Path | None = None,
    replace: bool = False,
) -> None:
    """Draw people by chance and show them in one picture, a row each.

    Args:
        seed: of one person.
        seeds: of several; 0…5 when neither is given.
        out: PNG file.
        wardrobe: id of the package that draws them.
        like: id of an avatar that they start from, instead of the mean person.
        near: how much of that avatar stays, 0…1: "more like this".
        vary: head, torso, legs, hands or feet, to draw that part only.
        truncation: 1 leaves people as they are drawn, 0 is the mean person.
        directions: amounts along directions of the wardrobe by index, in standard deviations, as
            '{0: 1.5}'.
        yaws: degrees from which each is seen; 0 and 180 when left out.
        size: of one picture in pixels.
        save: name under which the only person is kept as an avatar.
        library: where the packages lie, beside the user's own.
        into: library that a new avatar goes to; the user's own when left out.
        replace: whether an avatar of this id may be replaced.

    Raises:
        BadParameter: several people cannot be kept under one name, or there is such an avatar.
    """
    chosen = seeds or ([seed] if seed is not None else list(range(6)))
    if save and len(chosen) != 1:
        raise BadParameter("only one person can be saved at once", "name one with --seed")
    people = _People(library, into)
    base = like or wardrobe
    start = AvatarLook(
        wardrobe=wardrobe,
        truncation=truncation,
        directions=tuple((directions or {}).items()),
    )
    looks: list[AvatarLook] = []
    for each in chosen:
        drawn = LookSource(seed=each)
        if vary:
            looks.append(redressed(start, drawn, check_part(vary, "vary"), 1.0 - near))
        else:
            # Directions are asked for, not part of the avatar that is left.
            looks.append(changed(blended(start, drawn, 1.0 - near), directions=start.directions))
    sheet = [
        np.concatenate([people.picture(base, look, yaw, size) for yaw in yaws or YAWS], axis=1)
        for look in looks
    ]
    Image.fromarray(np.concatenate(sheet)).save(out, optimize=True)
    print(out)
    if save:
        print(people.save(base, looks[0], save, "", replace=replace))


def blend_people(
    one: str,
    other: str,
    amount: float,
    name: str = "",
    identity: str = "",
    out: Path | None = None,
    library: Path = DEFAULT_LIBRARY,
    into: Path | None = None,
    replace: bool = False,
) -> None:
    """Make somebody between two people.

    Args:
        one: id of an avatar.
        other: id of another one of the same dresser, or a seed as "seed:7".
        amount: 0 is the one, 1 the other.
        name: what people read; made of both and the amount when left out.
        identity: of the package, "avatar-…"; made of the name when left out.
        out: also write a picture of both and what is between them to this PNG file.
        library: where the packages lie, beside the user's own.
        into: library that the new avatar goes to; the user's own when left out.
        replace: whether an avatar of this id may be replaced.

    Raises:
        BadParameter: they wear different dressers, or there is such an avatar.
    """
    people = _People(library, into)
    source = _source(other)
    look = blended(AvatarLook(), source, amount)
    shown = [AvatarLook(), look, AvatarLook(sources=((source, 1.0),))]
    name = name or f"{_plain(one)} and {_plain(other)} {amount:g}"
    people.keep(one, look, shown, name, identity, out, replace=replace)


def redress_person(
    one: str,
    other: str,
    take: list[str] | str = "head",
    amount: float = 1.0,
    name: str = "",
    identity: str = "",
    out: Path | None = None,
    library: Path = DEFAULT_LIBRARY,
    into: Path | None = None,
    replace: bool = False,
) -> None:
    """Give somebody parts of somebody else.

    Args:
        one: id of an avatar.
        other: id of another one of the same dresser, or a seed as "seed:7".
        take: head, torso, legs, hands, feet, or several as '[head, hands]'.
        amount: 0 leaves the part, 1 replaces it.
        name: what people read; made of both and the parts when left out.
        identity: of the package, "avatar-…"; made of the name when left out.
        out: also write a picture of both and the new one to this PNG file.
        library: where the packages lie, beside the user's own.
        into: library that the new avatar goes to; the user's own when left out.
        replace: whether an avatar of this id may be replaced.

    Raises:
        BadParameter: they wear different dressers, or there is such an avatar.
    """
    people = _People(library, into)
    source, parts = _source(other), [take] if isinstance(take, str) else take
    look = AvatarLook()
    for part in parts:
        look = redressed(look, source, check_part(part, "take"), amount)
    shown = [AvatarLook(), look, AvatarLook(sources=((source, 1.0),))]
    name = name or f"{_plain(one)} with {' '.join(parts)} of {_plain(other)}"
    people.keep(one, look, shown, name, identity, out, replace=replace)


def save_person(
    name: str,
    avatar: str = WARDROBE,
    seed: int | None = None,
    look: Path | None = None,
    truncation: float = DEFAULT_TRUNCATION,
    identity: str = "",
    library: Path = DEFAULT_LIBRARY,
    into: Path | None = None,
    replace: bool = False,
) -> None:
    """Keep a look as an avatar of a library.

    Args:
        name: what people read.
        avatar: id of the avatar or wardrobe that the look is for.
        seed: a person whom the wardrobe draws.
        look: JSON file of a look (docs/wire.md), instead of a seed.
        truncation: of the seed.
        identity: of the package, "avatar-…"; made of the name when left out.
        library: where the packages lie, beside the user's own.
        into: library that the new avatar goes to; the user's own when left out.
        replace: whether an avatar of this id may be replaced.

    Raises:
        BadParameter: there is such an avatar already, or neither seed nor look is given.
    """
    if (seed is None) == (look is None):
        raise BadParameter("either a seed or a look is needed", "give --seed or --look")
    wanted = AvatarLook(sources=((OWN if seed is None else LookSource(seed=seed), 1.0),))
    wanted = changed(wanted, truncation=truncation)
    if look is not None:
        wanted = parse_look(_read_json(look))
    print(_People(library, into).save(avatar, wanted, name, identity, replace=replace))


class _People:
    """The libraries of a command, and the looks made of them."""

    def __init__(self, library: Path, into: Path | None) -> None:
        self.into = into or Storage().library
        self.packages = Library(library, self.into)
        self.looks = Looks(self.packages)
        self._own: dict[str, AvatarRenderer] = {}

    def picture(self, avatar: str, look: AvatarLook, yaw: float, size: int) -> NDArray[np.uint8]:
        """Return a picture (size, size, 3) of somebody."""
        person = self.looks.person(self._renderer(avatar), avatar, look)
        return picture(person.renderer, PersonView(size=size, yaw=yaw), person.made.betas)

    def keep(
        self,
        avatar: str,
        look: AvatarLook,
        shown: Sequence[AvatarLook],
        name: str,
        identity: str,
        out: Path | None,
        *,
        replace: bool,
    ) -> None:
        """Save a look, write a picture of some, and say where they are."""
        print(self.save(avatar, look, name, identity, replace=replace))
        if out is None:
            return
        row = [self.picture(avatar, each, 0.0, 256) for each in shown]
        Image.fromarray(np.concatenate(row, axis=1)).save(out, optimize=True)
        print(out)

    def save(
        self, avatar: str, look: AvatarLook, name: str, identity: str, *, replace: bool
    ) -> Path:
        """Write a look as an avatar; return its folder."""
        folder = avatar_folder(self.into, identity or avatar_id(name), replace=replace)
        person = self.looks.person(self._renderer(avatar), avatar, look)
        recipe = {"command": "avatar save"}
        save_look(folder, self.packages, avatar, look, person, name=name, recipe=recipe)
        return folder

    def _renderer(self, avatar: str) -> AvatarRenderer:
        if avatar not in self._own:
            self._own[avatar] = self.looks.load(avatar)
        return self._own[avatar]


def avatar_folder(library: Path, identity: str, *, replace: bool) -> Path:
    """Return the folder of a new avatar.

    Raises:
        BadParameter: this is no avatar's id, or there is one and it must stay.
    """
    if not (is_model_id(identity) and identity.startswith(AVATAR_PREFIX)):
        raise BadParameter(f"{identity!r} is not an id of the form {AVATAR_PREFIX}…")
    return free_folder(library, identity, "an avatar", replace=replace)


def _source(words: str) -> LookSource:
    start, colon, number = words.partition(":")
    if start == "seed" and colon and number.isdecimal():
        return LookSource(seed=int(number))
    return LookSource(avatar=words)


def _plain(avatar: str) -> str:
    return avatar.removeprefix(AVATAR_PREFIX).replace(":", " ")


def _read_json(file: Path) -> Any:
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BadParameter(f"{file} cannot be read as JSON: {error}") from error
