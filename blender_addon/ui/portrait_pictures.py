"""Thumbnails of portraits as they look now, drawn by the server while the artist goes on."""

# pyright: reportAttributeAccessIssue=false, reportOptionalMemberAccess=false
# pyright: reportIncompatibleMethodOverride=false, reportMissingModuleSource=false
# (Blender's stubs: unions of all data types, Optionals that never are None, other parameter names)

from __future__ import annotations

import contextlib
import hashlib
import time
from typing import TYPE_CHECKING

import bpy
import numpy as np

from .. import connection, portrait_service
from ..contract.errors import DressformError
from ..scene import portraits
from . import gallery, watching

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..contract.portraits import PortraitLook
    from ..portrait_service import Samples

SIDE = 128
SETTLED_SECONDS = 0.4
"""A slider in motion asks for no pictures: the look must have stayed so long."""

_shown: dict[int, str] = {}
"""Object's session uid → key of the picture on show."""

_failed: set[str] = set()
_wanted: dict[int, tuple[str, float]] = {}


def icon_of(ob: bpy.types.Object) -> int:
    """Return the icon of a portrait's current look; the last one's until it is drawn, 0 at first.

    Called while the panel is drawn: asks for a new picture when the look has changed.
    """
    want(ob)
    key = _shown.get(ob.session_uid)
    return gallery.known_icon(key) if key else 0


def is_current(ob: bpy.types.Object) -> bool:
    """Tell whether the picture on show is that of the look as it is now."""
    try:
        return _shown.get(ob.session_uid) == _key(portraits.read_look(ob))
    except DressformError:
        return False


def want(ob: bpy.types.Object) -> None:
    """Ask for a picture of the look, unless it is on show; never starts a server."""
    if bpy.app.background or not connection.current().known_endpoint():
        return
    try:
        key = _key(portraits.read_look(ob))
    except DressformError:
        return  # the panel says so
    uid = ob.session_uid
    if key in _failed or key == _shown.get(uid) or key == _wanted.get(uid, ("", 0.0))[0]:
        return
    _wanted[uid] = (key, time.monotonic())
    if not bpy.app.timers.is_registered(_tick):
        bpy.app.timers.register(_tick, first_interval=SETTLED_SECONDS)


def _tick() -> float | None:
    for uid, (key, since) in list(_wanted.items()):
        if time.monotonic() - since < SETTLED_SECONDS or watching.is_running(_job(uid)):
            continue
        del _wanted[uid]
        ob = watching.object_of(uid)
        if ob is None or not portraits.is_portrait(ob):
            continue
        with contextlib.suppress(DressformError):  # the panel says so
            _draw(uid, key, portraits.read_look(ob))
    return SETTLED_SECONDS if _wanted else None


def _draw(uid: int, key: str, look: PortraitLook) -> None:
    def show(samples: Samples) -> None:
        if samples.images is None:
            return
        old = _shown.get(uid)
        if gallery.picture_icon(key, samples.images[0]):
            _shown[uid] = key
        if old is not None and old != key and old not in _shown.values():
            gallery.forget_icon(old)

    def work(stop: Callable[[], bool]) -> Samples:
        return portrait_service.itself(watching.server(stop), look, SIDE)

    watching.watch("Thumbnail", _job(uid), work, show, lambda: _failed.add(key))


def _job(uid: int) -> str:
    return f"thumbnail {uid}"


def _key(look: PortraitLook) -> str:
    params, arrays = look.to_wire()
    digest = hashlib.sha256(repr(sorted(params.items())).encode())
    for name in sorted(arrays):
        digest.update(np.ascontiguousarray(arrays[name]).tobytes())
    return f"look {digest.hexdigest()}"


def unregister() -> None:
    """Forget everything and take the timer away."""
    _shown.clear()
    _failed.clear()
    _wanted.clear()
    if bpy.app.timers.is_registered(_tick):
        bpy.app.timers.unregister(_tick)
