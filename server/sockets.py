"""A ZeroMQ socket on an asyncio loop: one callback per message, sends that never wait.

Leaner than zmq.asyncio: no future per message, which would be half of the broker's work.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import zmq

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Sequence

    from blender_addon.contract.wire import Frame

_BURST = 64


class LoopSocket:
    """Owns a socket; calls back with the frames of each message that arrives.

    Args:
        socket: bound or connected; closed by `close`.
        loop: a selector loop.
        on_message: gets the frames, uncopied; must not raise.
    """

    def __init__(
        self,
        socket: zmq.Socket[bytes],
        loop: asyncio.AbstractEventLoop,
        on_message: Callable[[list[zmq.Frame]], None],
    ) -> None:
        self._socket = socket
        self._loop = loop
        self._on_message = on_message
        self._scheduled = False
        self._closed = False
        self._descriptor = cast("int", socket.getsockopt(zmq.FD))
        loop.add_reader(self._descriptor, self._drain)
        self._wake()

    def send(self, frames: Sequence[Frame | zmq.Frame]) -> bool:
        """Send at once; return whether the peer is there and takes it."""
        if self._closed:
            return False
        try:
            self._socket.send_multipart(frames, zmq.NOBLOCK, copy=False)
        except zmq.ZMQError as error:
            if error.errno not in (zmq.EHOSTUNREACH, zmq.EAGAIN):
                raise
            return False
        finally:
            # A send may swallow the edge-triggered wake-up of a message that came meanwhile.
            if self._readable():
                self._wake()
        return True

    def close(self, linger_seconds: float) -> None:
        """Stop listening; what is on its way out gets this long."""
        self._closed = True
        self._loop.remove_reader(self._descriptor)
        self._socket.close(linger=int(linger_seconds * 1000))

    def _readable(self) -> bool:
        return bool(cast("int", self._socket.getsockopt(zmq.EVENTS)) & zmq.POLLIN)

    def _wake(self) -> None:
        if not self._scheduled and not self._closed:
            self._scheduled = True
            self._loop.call_soon(self._drain_scheduled)

    def _drain_scheduled(self) -> None:
        self._scheduled = False
        self._drain()

    def _drain(self) -> None:
        # At most a burst, so that other sockets and timers get their turn under load.
        for _ in range(_BURST):
            if self._closed or not self._readable():
                return
            try:
                frames = self._socket.recv_multipart(zmq.NOBLOCK, copy=False)
            except zmq.Again:
                return
            self._on_message(frames)
        self._wake()
