"""What people ask of the server beside frames: samples, saved avatars, fits. No bpy.

The functions block: they are called from jobs, or in background mode.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from . import library
from .asking import JOB_SECONDS, FitProgress, call, stages, texts
from .contract.errors import BadMessage
from .contract.wardrobe import AVATAR_FIT, AVATAR_SAMPLE, AVATAR_SAVE

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from .asking import Server
    from .contract.wardrobe import AvatarFit, AvatarSample, AvatarSave
    from .contract.wire import Reply


@dataclass(frozen=True, kw_only=True)
class Fitted:
    """What became of photographs.

    Attributes:
        avatar: in the library.
        notes: what was approximated in the user's own body fits, in words for the user.
    """

    avatar: library.Avatar
    notes: tuple[str, ...] = ()


def find(server: Server, wardrobe_id: str) -> library.Avatar:
    """Return a wardrobe of the library; an empty id means the first.

    Raises:
        UnknownModel: there is none.
    """
    if not library.known.wardrobes or wardrobe_id:
        _fetch(server)
    return library.known.wardrobe(wardrobe_id)


def draw(server: Server, wanted: AvatarSample) -> NDArray[np.uint8]:
    """Return pictures (n, size, size, 3) uint8 of people whom the wardrobe draws.

    What its principal directions do is remembered in `library.known.directions`.

    Raises:
        BadMessage: the server's pictures are none.
        DressformError: as the server's.
    """
    params, arrays = wanted.to_wire()
    reply = call(server, AVATAR_SAMPLE, params, arrays)
    library.known.directions[wanted.look.wardrobe] = texts(reply.params.get("directions"))
    images = reply.arrays.get("images")
    side = wanted.view.size
    if images is None or images.shape != (len(wanted.seeds), side, side, 3):
        raise BadMessage("the server sent no pictures of the people")
    return images.astype(np.uint8)


def save(server: Server, wanted: AvatarSave) -> library.Avatar:
    """Keep a look as an avatar of the library; return it.

    Raises:
        DressformError: as the server's.
    """
    params, arrays = wanted.to_wire()
    return _made(server, call(server, AVATAR_SAVE, params, arrays, JOB_SECONDS))


def fit(
    server: Server, wanted: AvatarFit, on_progress: Callable[[FitProgress], None] = lambda _: None
) -> Fitted:
    """Make an avatar of photographs; it is in the library afterwards.

    Raises:
        DressformError: as the server's.
    """
    params, arrays = wanted.to_wire()
    reply = call(server, AVATAR_FIT, params, arrays, JOB_SECONDS, stages(on_progress))
    return Fitted(avatar=_made(server, reply), notes=texts(reply.params.get("notes")))


def _made(server: Server, reply: Reply) -> library.Avatar:
    made = str(reply.params.get("avatar", ""))
    library.known.previews.pop(made, None)  # a replaced avatar has a new picture
    _fetch(server)
    return library.known.avatar(made)


def _fetch(server: Server) -> None:
    library.fetch(server.endpoint(), should_stop=server.should_stop, revive=server.revive)
