"""`avatar.fit`: photographs become an avatar of the user's own, while others are served."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from blender_addon.contract.errors import UnknownModel
from blender_addon.contract.wardrobe import AVATAR_FIT, FIT_STAGES
from blender_addon.contract.wardrobe_requests import parse_avatar_fit
from models.look_packages import WARDROBE_KIND
from server.fit_files import with_fits_read
from server.fit_progress import tell_fit
from server.handlers.avatar import loaded_avatar, loaded_looks
from server.operation import Answer, Context, Operation, Progress
from server.own_packages import made_before, request_digest

if TYPE_CHECKING:
    from collections.abc import Generator

    from blender_addon.contract.wardrobe import AvatarFit
    from blender_addon.contract.wire import Request
    from models.person_fit import FitNetworks, FittedPerson

log = logging.getLogger(__name__)

LICENCE = "as the photographs'"


def fit(context: Context, request: Request) -> Generator[Progress, None, Answer]:
    """Fit an avatar; see `wardrobe.AvatarFit` for params, progress and result.

    Raises:
        BadParameter: the id is taken, or a photograph cannot be used.
        NoPersonFound: nobody is seen; `SeveralPeople`: too many are.
        UnknownModel: the wardrobe is missing.
        MissingExtra: a photograph must be looked at, and nothing here can.
    """
    asked = parse_avatar_fit(request)
    kind = context.library.manifest(asked.wardrobe).kind
    if kind != WARDROBE_KIND:
        raise UnknownModel(f"{asked.wardrobe!r} is a {kind}, not a wardrobe")
    digest = request_digest(*asked.to_wire(), context.library.digest(asked.wardrobe))
    made = made_before(context, asked.id, digest, what="avatar", field="id", replace=asked.replace)
    notes: list[str] = []
    if made is None:
        yield Progress(params={"stage": FIT_STAGES[0], "share": 0.0})
        from models.person_fit import FitNetworks, save_person

        mean = loaded_avatar(context, asked.wardrobe).renderer
        wardrobe = loaded_looks(context).wardrobe(asked.wardrobe)
        networks = FitNetworks(wardrobe, mean.dresser, mean.body)
        asked, notes = with_fits_read(asked, networks.body)
        person = yield from _fitted(context, networks, asked)
        yield Progress(params={"stage": FIT_STAGES[-1], "share": 0.98})
        save_person(
            context.storage.library / asked.id,
            networks,
            asked,
            person,
            licence=LICENCE,
            recipe={"command": AVATAR_FIT, "request": digest},
            turn=context.turn,
        )
        log.info("avatar fitted avatar=%s", asked.id)
    return _answer(context, asked.id, notes)


def _fitted(
    context: Context, networks: FitNetworks, asked: AvatarFit
) -> Generator[Progress, None, FittedPerson]:
    from models.person_fit import iterate_person_fit

    steps = iterate_person_fit(networks, asked, turn=context.turn)
    return (
        yield from tell_fit(
            steps,
            lambda step: {} if step.distance is None else {"distance": round(step.distance, 5)},
        )
    )


def _answer(context: Context, avatar: str, notes: list[str]) -> Answer:
    from models.person_fit import read_fits

    params = {
        "avatar": avatar,
        "digest": context.library.digest(avatar),
        "distance": float(context.library.manifest(avatar).metrics["distance"]),
        "notes": notes,
    }
    return Answer(params=params, arrays=dict(read_fits(context.library.package(avatar))))


OPERATIONS = (Operation(name=AVATAR_FIT, kind="steps", call=fit),)
