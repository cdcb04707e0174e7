"""The client of the model server: submit, pump, wait, cancel. Knows no bpy and no torch.

A `Client` may be used from any thread, one call at a time is let in. It connects when the first
request is submitted, and again after a loss. Three things tell it that the server is gone: the
connection is refused, it breaks, or nothing at all arrives while requests are open (the server
sends a sign of life every second). All three end every open request with `ServerUnreachable`.
"""

from __future__ import annotations

import itertools
import logging
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import zmq
from zmq.utils.monitor import recv_monitor_message

from .contract import operations
from .contract.errors import (
    Busy,
    Cancelled,
    DeadlineExceeded,
    DressformError,
    ServerUnreachable,
    Unavailable,
    UnsupportedVersion,
)
from .contract.versions import PROJECT_VERSION, WIRE_VERSION
from .contract.wire import Reply, Request, decode_reply, encode_request, error_reply

if TYPE_CHECKING:
    from collections.abc import Callable

    from .contract.wire import Arrays

log = logging.getLogger(__name__)

STEP_SECONDS = 0.05
"""The longest that a blocking call goes without asking `should_stop`."""

SILENCE_SECONDS = 10.0
"""A server that says nothing for longer while it owes an answer counts as gone."""

GRACE_SECONDS = 0.5
"""How long past its timeout a request waits for the server's own word on it."""

FIRST_PAUSE_SECONDS = 0.05
LONGEST_PAUSE_SECONDS = 1.0
"""Between two attempts of `call`."""

_LOST_EVENTS = {
    int(zmq.EVENT_DISCONNECTED): "the connection to the server broke",
    int(zmq.EVENT_CONNECT_RETRIED): "no server listens",
    int(zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL): "what listens there is no model server",
    int(zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL): "what listens there is no model server",
    int(zmq.EVENT_HANDSHAKE_FAILED_AUTH): "the server refused the connection",
}


@dataclass
class _Pending:
    submitted: float
    deadline: float


@dataclass
class _Connection:
    socket: zmq.Socket[bytes]
    monitor: zmq.Socket[bytes]
    poller: zmq.Poller


class Client:
    """A connection to a model server.

    Args:
        endpoint: of the server, e.g. tcp://127.0.0.1:5555.
        silence: seconds without any sign of life after which the server counts as gone.
    """

    def __init__(self, endpoint: str, *, silence: float = SILENCE_SECONDS) -> None:
        self.endpoint = endpoint
        self._silence = silence
        # A context of its own: closing it can neither wait for nor break anybody else's sockets.
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._connection: _Connection | None = None
        self._pending: dict[str, _Pending] = {}
        self._inbox: dict[str, Reply] = {}
        self._last_heard = 0.0
        self._numbers = itertools.count(1)
        self._lock = threading.RLock()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def pending(self) -> int:
        """How many requests are open."""
        return len(self._pending)

    def submit(
        self,
        operation: str,
        params: dict[str, Any] | None = None,
        arrays: Arrays | None = None,
        *,
        timeout: float,
    ) -> str:
        """Send a request and return its id; never waits for the server.

        Args:
            operation: `family.verb`.
            params: plain values.
            arrays: numpy arrays by name; copied before this returns.
            timeout: seconds until the request ends with `DeadlineExceeded`.

        Raises:
            BadMessage: an array has a dtype that may not travel.
            TooLarge: over a size limit of the protocol.
            ServerUnreachable: the endpoint is not an address.
        """
        with self._lock:
            request_id = f"r{next(self._numbers)}"
            request = Request(
                id=request_id,
                operation=operation,
                timeout=timeout,
                params=params or {},
                arrays=arrays or {},
            )
            frames = encode_request(request)
            now = time.monotonic()
            if not self._pending:
                self._last_heard = now
            connection = self._connected()
            self._pending[request_id] = _Pending(now, now + timeout + GRACE_SECONDS)
            try:
                connection.socket.send_multipart(frames, zmq.NOBLOCK, copy=True)
            except zmq.Again:
                self._lose("the server takes no more messages")
            return request_id

    def pump(self) -> list[Reply]:
        """Return all that has come in for open requests, without waiting.

        Errors come as replies of the kind "error" (`Reply.raise_if_error`).
        """
        with self._lock:
            replies = self._receive(0.0)
            finished = list(self._inbox.values())
            self._inbox.clear()
            return replies + finished

    def wait(
        self,
        request_id: str,
        *,
        should_stop: Callable[[], bool] | None = None,
        on_progress: Callable[[Reply], None] | None = None,
    ) -> Reply:
        """Wait for the result of a request.

        Args:
            request_id: from `submit`.
            should_stop: asked at least every 50 ms; when true the request is cancelled.
            on_progress: gets each progress reply.

        Raises:
            Cancelled: `should_stop` said so.
            DeadlineExceeded: the request's timeout is over.
            ServerUnreachable: the server is gone, or has said nothing in all that time.
            DressformError: whatever the server answers.
        """
        while True:
            if should_stop is not None and should_stop():
                self.cancel(request_id)
                raise Cancelled
            with self._lock:
                reply = self._inbox.pop(request_id, None)
                if reply is None and request_id not in self._pending:
                    raise ServerUnreachable(f"there is no open request {request_id!r}")
                progress = [] if reply else self._receive(STEP_SECONDS)
                reply = reply or self._inbox.pop(request_id, None)
            for told in progress:
                if on_progress is not None and told.id == request_id:
                    on_progress(told)
            if reply is not None:
                return reply.raise_if_error()

    def call(
        self,
        operation: str,
        params: dict[str, Any] | None = None,
        arrays: Arrays | None = None,
        *,
        timeout: float,
        patience: float | None = None,
        should_stop: Callable[[], bool] | None = None,
        on_progress: Callable[[Reply], None] | None = None,
        revive: Callable[[], None] | None = None,
    ) -> Reply:
        """Submit, wait, and try again while the server is busy, restarting or gone.

        Args:
            operation: as for `submit`, like params and arrays.
            params: plain values.
            arrays: numpy arrays by name.
            timeout: seconds for each attempt.
            patience: seconds for all attempts together; the timeout when omitted.
            should_stop: as for `wait`; also asked between attempts.
            on_progress: as for `wait`.
            revive: called between attempts when the server is gone, by whoever started it.

        Raises:
            DressformError: the last attempt's error once the patience is over, at once when
                trying again cannot help.
        """
        end = time.monotonic() + (timeout if patience is None else patience)
        pause = FIRST_PAUSE_SECONDS
        while True:
            left = end - time.monotonic()
            try:
                request_id = self.submit(
                    operation, params, arrays, timeout=max(min(timeout, left), 0.001)
                )
                return self.wait(request_id, should_stop=should_stop, on_progress=on_progress)
            except (Unavailable, DeadlineExceeded) as error:
                if time.monotonic() + pause >= end:
                    raise
                log.info("attempt failed operation=%s code=%s", operation, error.code)
                self._sleep(_pause_after(error, pause), end, should_stop)
                if revive is not None and isinstance(error, ServerUnreachable):
                    revive()
                pause = min(pause * 2, LONGEST_PAUSE_SECONDS)

    def hello(self, *, timeout: float = 5.0, patience: float | None = None) -> dict[str, Any]:
        """Return what the server says about itself (docs/wire.md).

        Raises:
            UnsupportedVersion: one of the two sides is older than the other.
            ServerUnreachable: nobody answers.
        """
        params = {"wire": WIRE_VERSION, "client": PROJECT_VERSION}
        said = self.call(operations.HELLO, params, timeout=timeout, patience=patience).params
        if said.get("wire") != WIRE_VERSION:
            raise UnsupportedVersion(version=said.get("wire"))
        return said

    def cancel(self, request_id: str) -> None:
        """End an open request: nothing more comes for it, and the server drops it."""
        with self._lock:
            self._inbox.pop(request_id, None)
            if self._pending.pop(request_id, None) is None or self._connection is None:
                return
            request = Request(
                id=f"c{next(self._numbers)}",
                operation=operations.JOB_CANCEL,
                timeout=5.0,
                params={"id": request_id},
            )
            try:
                self._connection.socket.send_multipart(encode_request(request), zmq.NOBLOCK)
            except zmq.ZMQError:
                log.debug("cancel not sent id=%s", request_id)

    def close(self) -> None:
        """Close the connection at once; the server cancels what is open."""
        with self._lock:
            self._disconnect()
            self._pending.clear()
            self._inbox.clear()
            self._context.destroy(linger=0)

    def _sleep(self, seconds: float, end: float, should_stop: Callable[[], bool] | None) -> None:
        until = min(time.monotonic() + seconds, end)
        while True:
            if should_stop is not None and should_stop():
                raise Cancelled
            left = until - time.monotonic()
            if left <= 0:
                return
            time.sleep(min(left, STEP_SECONDS))

    def _connected(self) -> _Connection:
        if self._connection is None:
            socket = self._context.socket(zmq.DEALER)
            socket.setsockopt(zmq.LINGER, 0)
            socket.setsockopt(zmq.IPV6, "[" in self.endpoint)
            monitor = socket.get_monitor_socket()
            try:
                socket.connect(self.endpoint)
            except zmq.ZMQError as error:
                _close(socket, monitor)
                raise ServerUnreachable(
                    f"{self.endpoint!r} is not an address: {error.strerror}",
                    "use an endpoint of the form tcp://127.0.0.1:5555",
                ) from error
            poller = zmq.Poller()
            poller.register(socket, zmq.POLLIN)
            poller.register(monitor, zmq.POLLIN)
            self._connection = _Connection(socket, monitor, poller)
        return self._connection

    def _disconnect(self) -> None:
        if self._connection is not None:
            connection, self._connection = self._connection, None
            _close(connection.socket, connection.monitor)

    def _receive(self, seconds: float) -> list[Reply]:
        """Wait up to `seconds` for anything; sort results into the inbox, return progress."""
        connection = self._connection
        progress: list[Reply] = []
        if connection is not None:
            ready = dict(connection.poller.poll(int(seconds * 1000)))
            if connection.socket in ready:
                self._read_replies(connection.socket, progress)
            if connection.monitor in ready:
                self._read_events(connection.monitor)
        self._check_time()
        return progress

    def _read_replies(self, socket: zmq.Socket[bytes], progress: list[Reply]) -> None:
        while True:
            try:
                frames = socket.recv_multipart(zmq.NOBLOCK, copy=False)
            except zmq.Again:
                return
            self._last_heard = time.monotonic()
            try:
                reply = decode_reply([frame.buffer for frame in frames])
            except DressformError as error:
                log.warning("a reply could not be read cause=%s", error.cause)
                continue
            if reply.id not in self._pending:
                continue
            if reply.kind == "progress":
                progress.append(reply)
            else:
                del self._pending[reply.id]
                self._inbox[reply.id] = reply

    def _read_events(self, monitor: zmq.Socket[bytes]) -> None:
        while monitor.poll(0):
            event = recv_monitor_message(monitor)["event"]
            reason = _LOST_EVENTS.get(int(event))
            if reason is not None:
                self._lose(reason)
                return

    def _check_time(self) -> None:
        if not self._pending:
            return
        now = time.monotonic()
        for request_id, pending in list(self._pending.items()):
            if pending.deadline <= now:
                self.cancel(request_id)
                # A server that lives would have said so itself.
                alive = self._last_heard > pending.submitted
                error = DeadlineExceeded() if alive else ServerUnreachable()
                self._inbox[request_id] = error_reply(request_id, error)
        if self._pending and now - self._last_heard > self._silence:
            self._lose(f"the server gave no sign of life for {self._silence:g} s")

    def _lose(self, reason: str) -> None:
        """End every open request; the next one connects anew, so nothing stale is sent."""
        self._disconnect()
        for request_id in self._pending:
            error = ServerUnreachable(f"{reason} ({self.endpoint})")
            self._inbox[request_id] = error_reply(request_id, error)
        self._pending.clear()


def _close(socket: zmq.Socket[bytes], monitor: zmq.Socket[bytes]) -> None:
    socket.disable_monitor()  # which leaves the monitor's own socket open
    monitor.close(0)
    socket.close(0)


def _pause_after(error: DressformError, pause: float) -> float:
    if isinstance(error, Busy):
        wanted = error.details.get("retry_after", pause)
        if isinstance(wanted, int | float):
            return min(max(float(wanted), 0.01), 5.0)
    return pause
