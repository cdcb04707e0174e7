"""Results by the hash of what they are a pure function of; the least recently used go first."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import msgpack

if TYPE_CHECKING:
    from collections.abc import Sequence

    from blender_addon.contract.wire import Frame, Request

UNHASHED_PARAMS = frozenset({"priority", "stream"})
"""Say when a request is answered, not what the answer is."""


def cache_key(request: Request, array_frames: Sequence[Frame], digest: str) -> str:
    """Return the key of a request's answer.

    Args:
        request: the request; its id and timeout do not count.
        array_frames: the bytes of its arrays, in the order of its array table.
        digest: of the models that make the answer.
    """
    params = sorted((k, v) for k, v in request.params.items() if k not in UNHASHED_PARAMS)
    table = [(name, a.dtype.str, a.shape) for name, a in request.arrays.items()]
    content = [request.operation, digest, params, table]
    # msgpack is self-delimiting and the table fixes the frames' lengths: no two requests collide.
    hashed = hashlib.sha256(cast("bytes", msgpack.packb(content)))
    for frame in array_frames:
        hashed.update(frame)
    return hashed.hexdigest()


@dataclass(kw_only=True)
class CacheFigures:
    """What the cache has done so far."""

    hits: int = 0
    misses: int = 0


WORTH_KEEPING_SECONDS = 0.005
"""Results that came faster are made again about as fast as fetched, and would push others out."""


class ResultCache:
    """Reply frames by key.

    Args:
        max_bytes: together; 0 turns the cache off.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._entries: OrderedDict[str, tuple[list[Any], int]] = OrderedDict()
        self.bytes = 0
        self.figures = CacheFigures()

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, key: str) -> bool:
        return key in self._entries

    def get(self, key: str) -> list[Any] | None:
        """Return the frames of a reply (header first), or None."""
        entry = self._entries.get(key)
        if entry is None:
            self.figures.misses += 1
            return None
        self._entries.move_to_end(key)
        self.figures.hits += 1
        return entry[0]

    def put(self, key: str, frames: list[Any]) -> None:
        """Keep the frames of a reply; larger ones than the whole cache are not kept."""
        size = sum(len(frame) for frame in frames)
        if size > self._max_bytes or key in self._entries:
            return
        self._entries[key] = (frames, size)
        self.bytes += size
        while self.bytes > self._max_bytes:
            _, (_, freed) = self._entries.popitem(last=False)
            self.bytes -= freed


def renamed_reply(frames: list[Any], request_id: str) -> list[Any]:
    """Return cached reply frames under another request's id, marked as cached."""
    header = cast("dict[str, Any]", msgpack.unpackb(frames[0].buffer))
    header["id"] = request_id
    header["params"] = {**header["params"], "cached": True}
    return [cast("bytes", msgpack.packb(header)), *frames[1:]]
