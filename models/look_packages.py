"""Which packages a look is made of, and why some do not go together. Needs no torch.

Textures can be mixed where one dresser reads them on one body: those of a wardrobe's people, of fits, and
of avatars that were trained together. What a dresser reads from its texture is its own affair.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from blender_addon.contract.errors import BadParameter, UnknownModel

if TYPE_CHECKING:
    from pathlib import Path

    from blender_addon.contract.avatar_look import AvatarLook
    from models.package import Manifest

WARDROBE_KIND = "wardrobe"


class Packages(Protocol):
    """Where packages are found, by id."""

    @property
    def folders(self) -> tuple[Path, ...]:
        """The libraries, in the order in which they are looked through."""
        ...

    def manifest(self, model: str) -> Manifest:
        """Return a package's model.json; `UnknownModel` when there is none."""
        ...

    def package(self, model: str) -> Path:
        """Return the folder of a package."""
        ...

    def digest(self, model: str) -> str:
        """Return the digest of a package and of all that it requires."""
        ...


def wardrobe_of(own: Manifest, look: AvatarLook) -> str:
    """Return the id of a look's wardrobe: the one that it names, or the avatar's; "" for neither.

    Args:
        own: of the avatar that the look is for, or of a wardrobe.
        look: what it looks like.

    Raises:
        BadParameter: it needs one, and nobody names it.
    """
    own_wardrobe = (
        own.id if own.kind == WARDROBE_KIND else str(own.architecture.get("wardrobe", ""))
    )
    named = look.wardrobe or own_wardrobe
    drawn = bool(look.directions) or any(source.seed is not None for source in look.named())
    if drawn and not named:
        raise BadParameter(
            f"{own.id!r} does not come from a wardrobe, which seeds and directions need",
            "name a wardrobe of the same dresser, or start from one of its people",
            field="wardrobe",
        )
    return named


def look_packages(packages: Packages, avatar: str, look: AvatarLook) -> list[str]:
    """Return the ids of the packages that a look is made of: what its renders depend on.

    Raises:
        UnknownModel: the avatar is not there.
        BadParameter: see `wardrobe_of`.
    """
    wardrobe = wardrobe_of(packages.manifest(avatar), look)
    others = {source.avatar for source in look.named()} | {wardrobe}
    return [avatar, *sorted(others - {"", avatar})]


def check_goes_with(own: Manifest, other: Manifest) -> None:
    """Refuse a texture that is not of the same dresser and body.

    Args:
        own: of the avatar that is to wear it, or of a wardrobe.
        other: of another avatar or wardrobe.

    Raises:
        UnknownModel: the other one is neither an avatar nor a wardrobe.
        BadParameter: they do not go together; says why.
    """
    if other.kind not in ("avatar", WARDROBE_KIND):
        raise UnknownModel(f"{other.id!r} is a {other.kind}, not an avatar")
    dressers = own.requirements.get("dresser"), other.requirements.get("dresser")
    if dressers[0] != dressers[1]:
        raise BadParameter(
            f"{own.id!r} wears textures of the dresser {dressers[0]!r}, "
            f"and {other.id!r} has one of {dressers[1]!r}",
            f"choose people of {dressers[0]!r}, or fit {other.id!r} anew from pictures of it",
            field="look",
        )
    versions = own.architecture.get("dresser_digest"), other.architecture.get("dresser_digest")
    if None not in versions and versions[0] != versions[1]:
        raise BadParameter(
            f"{own.id!r} and {other.id!r} were made for different versions of {dressers[0]!r}",
            "export or fit the older one anew",
            field="look",
        )
    bodies = own.requirements.get("body"), other.requirements.get("body")
    if bodies[0] != bodies[1]:
        raise BadParameter(
            f"{own.id!r} lies on the body {bodies[0]!r}, and {other.id!r} on {bodies[1]!r}",
            "choose people of one body",
            field="look",
        )
    for each in (own, other):
        if each.architecture.get("dresser_delta"):
            raise BadParameter(
                f"{each.id!r} was refined together with a dresser of its own, and nobody else's "
                "reads its texture",
                "use the avatar before its refinement",
                field="look",
            )
