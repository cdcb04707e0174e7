"""The wardrobe's operations of wire version 1: what each takes, and its limits.

All of them speak of looks (`avatar_look`): people are drawn by chance, blended with others, given
parts of others, kept as avatars of their own, or made of photographs. `avatar` may name an avatar
or, everywhere but in a fit, a package of kind "wardrobe": then its mean person is meant.
`wardrobe_requests` reads requests back.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np

from .avatar_look import PARTS, AvatarLook, LookSource, blended, redressed

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .camera import Camera
    from .operations import PosedBody, Priority

AVATAR_SAMPLE = "avatar.sample"
AVATAR_BLEND = "avatar.blend"
AVATAR_REDRESS = "avatar.redress"
AVATAR_SAVE = "avatar.save"
AVATAR_FIT = "avatar.fit"

MAX_PICTURES = 64
"""People that one request may show."""
MAX_PHOTOGRAPHS = 8
MAX_PEOPLE = 64
MAX_FIT_SECONDS = 24 * 3600.0
MIN_EFFORT, MAX_EFFORT = 0.02, 4.0
FIT_FILE_KINDS = (".npz", ".json", ".pkl", ".pickle")
MAX_FIT_FILE_BYTES = 16 << 20

FitStage = Literal["body", "encoder", "w", "generator", "noise", "texture", "writing"]
FIT_STAGES: tuple[FitStage, ...] = (
    *("body", "encoder", "w", "generator", "noise", "texture", "writing"),
)
"""In this order; StylePeople's four stages of optimisation stand between encoder and writing."""
OPTIMISED: tuple[FitStage, ...] = ("w", "generator", "noise", "texture")

Wire = tuple[dict[str, Any], dict[str, np.ndarray[Any, Any]]]
"""Params and arrays of a request."""


@dataclass(frozen=True, kw_only=True)
class PersonView:
    """How people are shown to choose from.

    Params on the wire: size (int, side of a picture in pixels, 16…512, 0 for no pictures,
    default 128), yaw (number, degrees from the front, default 0), part (str, optional: look at
    this part only). Arrays, instead of yaw and part: pose, transl, betas, expression, K, Rt as in
    `avatar.render`, where K is that of a picture of `size` by `size`; `pose` and `transl` alone
    keep the view's own camera.

    Attributes:
        body: pose and shape of the people; else they stand relaxed in the avatar's own shape.
        camera: of `size` by `size`; else one that sees all of them.
    """

    size: int = 128
    yaw: float = 0.0
    part: str = ""
    body: PosedBody | None = None
    camera: Camera | None = None

    def to_wire(self) -> Wire:
        """Return params and arrays."""
        params: dict[str, Any] = {"size": self.size, "yaw": self.yaw, "part": self.part}
        arrays: dict[str, np.ndarray[Any, Any]] = {}
        if self.body is not None:
            arrays |= self.body.to_wire()
        if self.camera is not None:
            arrays |= self.camera.to_wire()
        return params, arrays


@dataclass(frozen=True, kw_only=True)
class AvatarSample:
    """`avatar.sample`: people whom the wardrobe draws, to choose from.

    Params on the wire: avatar (str: whose body and look it starts from), look (map, default the
    avatar's own), seeds (list of 1…64 int), near (number 0…1, default 0: 0 draws anew, otherwise
    that much of the look stays: "more like this"), vary (str, optional: one of `PARTS`, and only
    that part is drawn), those of `PersonView`, priority.

    Result params: digest (str), looks (list of maps: the look of each seed), directions (list of
    str: what the wardrobe's principal directions do, by index). Result arrays: images
    (n, size, size, 3) uint8 sRGB before grey, unless size is 0.
    """

    operation: ClassVar[str] = AVATAR_SAMPLE

    avatar: str
    look: AvatarLook = field(default_factory=AvatarLook)
    seeds: tuple[int, ...] = (0,)
    near: float = 0.0
    vary: str = ""
    view: PersonView = field(default_factory=PersonView)
    priority: Priority = "interactive"

    def to_wire(self) -> Wire:
        """Return params and arrays for a request."""
        params, arrays = self.view.to_wire()
        params |= {
            "avatar": self.avatar,
            "look": self.look.to_wire(),
            "seeds": list(self.seeds),
            "near": self.near,
            "vary": self.vary,
            "priority": self.priority,
        }
        return params, arrays

    def looks(self) -> list[AvatarLook]:
        """Return the look of each seed."""
        drawn = [LookSource(seed=seed) for seed in self.seeds]
        if self.vary:
            return [redressed(self.look, each, self.vary, 1.0 - self.near) for each in drawn]
        return [blended(self.look, each, 1.0 - self.near) for each in drawn]


@dataclass(frozen=True, kw_only=True)
class AvatarBlend:
    """`avatar.blend`: steps from a look to somebody else.

    Params on the wire: avatar (str), look (map, default the avatar's own), other (map: avatar or
    seed), amounts (list of 1…64 numbers 0…1, default [0.5]), those of `PersonView`, priority.

    Result params: digest (str), looks (list of maps, one for each amount). Result arrays: images
    as of `AvatarSample`.
    """

    operation: ClassVar[str] = AVATAR_BLEND

    avatar: str
    other: LookSource
    look: AvatarLook = field(default_factory=AvatarLook)
    amounts: tuple[float, ...] = (0.5,)
    view: PersonView = field(default_factory=PersonView)
    priority: Priority = "interactive"

    def to_wire(self) -> Wire:
        """Return params and arrays for a request."""
        params, arrays = self.view.to_wire()
        params |= {
            "avatar": self.avatar,
            "look": self.look.to_wire(),
            "other": self.other.to_wire(),
            "amounts": list(self.amounts),
            "priority": self.priority,
        }
        return params, arrays

    def looks(self) -> list[AvatarLook]:
        """Return the look of each amount."""
        return [blended(self.look, self.other, amount) for amount in self.amounts]


@dataclass(frozen=True, kw_only=True)
class AvatarRedress:
    """`avatar.redress`: a look that tries on parts of others.

    Params on the wire: avatar (str), look (map, default the avatar's own), others (list of 1…64
    maps: avatar or seed), take (list of str of `PARTS`), amount (number 0…1, default 1), those of
    `PersonView`, priority.

    Result params: digest (str), looks (list of maps, one for each of the others). Result arrays:
    images as of `AvatarSample`.
    """

    operation: ClassVar[str] = AVATAR_REDRESS

    avatar: str
    others: tuple[LookSource, ...]
    take: tuple[str, ...] = (PARTS[0],)
    look: AvatarLook = field(default_factory=AvatarLook)
    amount: float = 1.0
    view: PersonView = field(default_factory=PersonView)
    priority: Priority = "interactive"

    def to_wire(self) -> Wire:
        """Return params and arrays for a request."""
        params, arrays = self.view.to_wire()
        params |= {
            "avatar": self.avatar,
            "look": self.look.to_wire(),
            "others": [other.to_wire() for other in self.others],
            "take": list(self.take),
            "amount": self.amount,
            "priority": self.priority,
        }
        return params, arrays

    def looks(self) -> list[AvatarLook]:
        """Return the look that wears the parts of each of the others."""
        found: list[AvatarLook] = []
        for other in self.others:
            look = self.look
            for part in self.take:
                look = redressed(look, other, part, self.amount)
            found.append(look)
        return found


@dataclass(frozen=True, kw_only=True)
class AvatarSave:
    """`avatar.save`: a look becomes an avatar of the user's own.

    Params on the wire: avatar (str), look (map, default the avatar's own), name (str: what people
    read), id (str, optional: of the new package, "avatar-…"; made of the name otherwise), replace
    (bool, default false: whether a user's avatar of this id may be replaced). Arrays: betas (n,)
    float, optional: shape of the new avatar; the blend of the sources' otherwise.

    Result params: avatar (str), digest (str), cached (never).
    """

    operation: ClassVar[str] = AVATAR_SAVE

    avatar: str
    name: str
    id: str = ""
    look: AvatarLook = field(default_factory=AvatarLook)
    betas: NDArray[np.float32] | None = None
    replace: bool = False

    def to_wire(self) -> Wire:
        """Return params and arrays for a request."""
        params: dict[str, Any] = {
            "avatar": self.avatar,
            "look": self.look.to_wire(),
            "name": self.name,
            "id": self.id,
            "replace": self.replace,
        }
        return params, {} if self.betas is None else {"betas": self.betas}


@dataclass(frozen=True, kw_only=True)
class FitFile:
    """A user's own body fit as the file that it lies in; the server reads it.

    Attributes:
        name: of the file, without folders; its end, one of `FIT_FILE_KINDS`, says the kind.
        content: (n,) uint8.
    """

    name: str
    content: NDArray[np.uint8]


@dataclass(frozen=True, kw_only=True)
class AvatarFit:
    """`avatar.fit`: photographs of one person become an avatar.

    Params on the wire: wardrobe (str: id of the package), name (str), id (str, optional:
    "avatar-…"), stages (list of str of `OPTIMISED`, default all: what is optimised after the
    encoder; none is the quickest), effort (number 0.02…4, default 1: times the stages' usual
    numbers of steps), focal (number, optional: focal length in pixels of the photographs; guessed
    otherwise), person (int, optional: which of several people, from the left, from 0), seconds (number, optional: the stages end when so
    long has passed, and what they have found is the result), refine (bool, default false: whether shape and pose are refined, too),
    replace (bool, default false). Arrays: image_0 … image_7 (H, W, 3) uint8 sRGB, upright;
    mask_0 … (H, W) uint8, optional: the person, 255, in the photograph of that number; all of
    pose (n, 55, 3, 3), transl (n, 3), betas (b,), expression (n, e), K (n, 3, 3) and Rt (n, 3, 4)
    or none of them: the user's own fit of the body to each photograph, in place of the server's. Or
    fit_0 … (n,) uint8, one for each photograph: such fits as files, of Dressform's own fields or
    SMPLify-X's; then the param fit_files (list of str) has their names.

    Progress params: stage (one of `FIT_STAGES`), share (0…1 of the whole), seconds_left (float,
    when known), distance (float, offline perceptual, when known). Now and then a progress reply
    carries the array preview (h, w, 3) uint8: the photographs, and below them the avatar.

    Result params: avatar (str), digest (str), distance (float), notes (list of str: what was
    approximated in the user's own body fits). Result arrays: pose, transl, betas,
    expression, K and Rt of the fitted bodies, as above.
    """

    operation: ClassVar[str] = AVATAR_FIT

    wardrobe: str
    name: str
    images: tuple[NDArray[np.uint8], ...]
    id: str = ""
    masks: tuple[NDArray[np.uint8] | None, ...] = ()
    fits: tuple[tuple[PosedBody, Camera], ...] = ()
    fit_files: tuple[FitFile, ...] = ()
    stages: tuple[FitStage, ...] = OPTIMISED
    effort: float = 1.0
    focal: float | None = None
    person: int | None = None
    seconds: float | None = None
    refine: bool = False
    replace: bool = False

    def to_wire(self) -> Wire:
        """Return params and arrays for a request."""
        params: dict[str, Any] = {
            "wardrobe": self.wardrobe,
            "name": self.name,
            "id": self.id,
            "stages": list(self.stages),
            "effort": self.effort,
            "refine": self.refine,
            "replace": self.replace,
            "priority": "job",
        }
        chosen = {"focal": self.focal, "person": self.person, "seconds": self.seconds}
        params |= {name: value for name, value in chosen.items() if value is not None}
        arrays: dict[str, np.ndarray[Any, Any]] = {
            f"image_{number}": image for number, image in enumerate(self.images)
        }
        for number, mask in enumerate(self.masks):
            if mask is not None:
                arrays[f"mask_{number}"] = mask
        if self.fit_files:
            params["fit_files"] = [file.name for file in self.fit_files]
            arrays |= {f"fit_{number}": file.content for number, file in enumerate(self.fit_files)}
        return params, arrays | fits_to_wire(self.fits)


def fits_to_wire(fits: tuple[tuple[PosedBody, Camera], ...]) -> dict[str, np.ndarray[Any, Any]]:
    """Return the arrays of bodies that photographs show; they share the first one's betas."""
    if not fits:
        return {}
    each = [body.to_wire() | camera.to_wire() for body, camera in fits]
    stacked = {name: np.stack([one[name] for one in each]) for name in each[0] if name != "betas"}
    return stacked | {"betas": each[0]["betas"]}
