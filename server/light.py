"""Operations that the broker runs itself: short, without torch, in threads beside its loop."""

from __future__ import annotations

import asyncio
import logging
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from blender_addon.contract.errors import Busy, DressformError, InternalError
from blender_addon.contract.wire import error_reply
from server.operation import result_reply

if TYPE_CHECKING:
    from collections.abc import Callable

    from blender_addon.contract.wire import Reply, Request
    from server.operation import Context, Operation

log = logging.getLogger(__name__)

_THREADS = 2
_MAX_OPEN = 64


class LightOperations:
    """Runs operations of the kind "light"."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="light")
        self._open = 0

    def start(
        self, operation: Operation, request: Request, on_reply: Callable[[Reply], object]
    ) -> None:
        """Run an operation; its reply is handed over on the running loop.

        Raises:
            Busy: too many are open.
        """
        if self._open >= _MAX_OPEN:
            raise Busy(retry_after=0.1)
        self._open += 1

        def done(future: asyncio.Future[Reply]) -> None:
            self._open -= 1
            if not future.cancelled():
                on_reply(future.result())

        loop = asyncio.get_running_loop()
        future = loop.run_in_executor(self._threads, self._run, operation, request)
        future.add_done_callback(done)

    def close(self) -> None:
        """Drop what has not begun."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _run(self, operation: Operation, request: Request) -> Reply:
        try:
            return result_reply(request, operation.call(self._context, request))
        except DressformError as error:
            return error_reply(request.id, error)
        except Exception as error:
            log.exception("operation failed operation=%s", operation.name)
            return error_reply(request.id, InternalError(f"{type(error).__name__}: {error}"))
