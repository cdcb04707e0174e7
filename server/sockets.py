"""ZeroMQ sockets on an asyncio loop: one callback per message, sends that never wait.

Leaner than zmq.asyncio: no future per message, which would be half of the broker's work.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import zmq

from blender_addon.contract import wire
from blender_addon.contract.errors import SetupError

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


def open_sockets(
    context: zmq.Context[zmq.Socket[bytes]], endpoint: str, worker_endpoint: str
) -> tuple[zmq.Socket[bytes], zmq.Socket[bytes]]:
    """Bind the broker's two sockets.

    Args:
        context: owns them.
        endpoint: for clients; checked by `endpoints.loopback_endpoint`.
        worker_endpoint: for workers.

    Raises:
        SetupError: the address is taken.
    """
    clients = context.socket(zmq.ROUTER)
    workers = context.socket(zmq.ROUTER)
    for socket in (clients, workers):
        socket.setsockopt(zmq.LINGER, 0)
        socket.setsockopt(zmq.ROUTER_MANDATORY, 1)
    clients.setsockopt(zmq.MAXMSGSIZE, wire.MAX_ARRAY_BYTES + wire.MAX_HEADER_BYTES)
    clients.setsockopt(zmq.SNDHWM, 256)  # replies that a client may leave unread
    clients.setsockopt(zmq.IPV6, "[" in endpoint)
    # A client whose network died without a word counts as gone after this many milliseconds.
    clients.setsockopt(zmq.HEARTBEAT_IVL, 5_000)
    clients.setsockopt(zmq.HEARTBEAT_TIMEOUT, 20_000)
    workers.setsockopt(zmq.SNDHWM, 0)
    workers.setsockopt(zmq.RCVHWM, 0)
    try:
        clients.bind(endpoint)
        workers.bind(worker_endpoint)
    except zmq.ZMQError as error:
        clients.close(0)
        workers.close(0)
        raise SetupError(
            f"cannot listen at {endpoint}: {error.strerror}", "choose another port, or port 0"
        ) from error
    return clients, workers
