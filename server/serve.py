"""`dressform serve`: one broker with its workers, until it is told to stop."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import re
import secrets
import signal
import sys
from dataclasses import replace
from pathlib import Path

import zmq

from blender_addon.contract.errors import BadParameter
from blender_addon.contract.versions import PROJECT_VERSION
from models.package import DEFAULT_LIBRARY
from server.broker import Broker, BrokerSettings
from server.endpoints import DEFAULT_ENDPOINT, loopback_endpoint
from server.library import Library
from server.operation import Context, load_table
from server.pool import WorkerLimits, WorkerPool
from server.processes import process_alive
from server.sockets import open_sockets
from server.storage import LIBRARY_FOLDER, Storage, user_data
from server.worker import WorkerSettings

log = logging.getLogger("server.serve")

_DEVICE = re.compile(r"auto|cpu|cuda(:\d{1,2})?")


def serve(
    endpoint: str = DEFAULT_ENDPOINT,
    device: str = "auto",
    library: Path = DEFAULT_LIBRARY,
    user_library: Path | None = None,
    captures: Path | None = None,
    captures_gb: float = 20.0,
    workers: int = 1,
    queue_size: int = 64,
    cache_mb: int = 512,
    hang_seconds: float = 120.0,
    parent_pid: int = 0,
    log_file: Path | None = None,
    log_level: str = "INFO",
    handlers: str = "server.handlers",
) -> int:
    """Serve the library's models to Blender until interrupted.

    Prints one JSON line when it listens: {"ready": true, "endpoint": …, "pid": …}.

    Args:
        endpoint: tcp://127.0.0.1:PORT; port 0 takes a free one. Other machines reach it through
            `ssh -L`; an endpoint that is not loopback is refused.
        device: auto (a GPU when there is one), cpu, or cuda:N.
        library: folder of model packages.
        user_library: folder of the users' own avatars, which training writes; by default in this
            user's data folder (environment variable DRESSFORM_DATA, or the system's place).
        captures: folder of captures that clients send; by default beside the users' library.
        captures_gb: gigabytes that captures may take.
        workers: processes that render, each with its own copy of the models.
        queue_size: requests that may wait; further ones are told to try again.
        cache_mb: megabytes of finished results kept in memory.
        hang_seconds: a worker silent for longer is killed and started again.
        parent_pid: exit when this process is gone; 0 for none.
        log_file: append the log to this file instead of standard error.
        log_level: DEBUG, INFO, WARNING or ERROR.
        handlers: Python module that holds the operations, for development.

    Returns:
        exit code.

    Raises:
        InsecureEndpoint: the endpoint is not on the loopback interface.
        BadParameter: an option is not valid.
        SetupError: the address is taken, or the device is not there.
    """
    address = loopback_endpoint(endpoint)
    _check_options(device, workers, queue_size, cache_mb, hang_seconds, log_level)
    _log_to(log_file, log_level)
    storage = _storage(user_library, captures, captures_gb)
    settings = WorkerSettings(
        endpoint=worker_endpoint(),
        identity="",
        device=device,
        library=str(library.resolve()),
        user_library=str(storage.library),
        captures=str(storage.captures),
        handlers=handlers,
        log_level=logging.getLevelNamesMapping()[log_level],
    )
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    try:
        clients, behind = open_sockets(context, address, settings.endpoint)
        # With a port chosen by the system, the real address is known only now.
        settings = _with_endpoint(settings, behind)
        broker = Broker(
            clients,
            behind,
            load_table(handlers),
            WorkerPool(settings, workers, WorkerLimits(hang_seconds=hang_seconds)),
            Context(
                library=Library(Path(settings.library), storage.library),
                device="",
                storage=storage,
            ),
            BrokerSettings(queue_size=queue_size, cache_bytes=cache_mb << 20),
        )
        bound = clients.getsockopt_string(zmq.LAST_ENDPOINT)
        # The selector loop, because it can watch a ZeroMQ descriptor on every system.
        with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner:
            runner.run(_serve(broker, bound, parent_pid))
    finally:
        context.destroy()
    log.info("stopped")
    return 0


async def _serve(broker: Broker, bound: str, parent_pid: int) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)
        if number is not None:
            # Not loop.add_signal_handler, which Windows lacks.
            signal.signal(number, lambda *_: loop.call_soon_threadsafe(stop.set))
    watch = asyncio.create_task(_watch_parent(parent_pid, stop))
    line = {"ready": True, "endpoint": bound, "pid": os.getpid(), "version": PROJECT_VERSION}
    print(json.dumps(line), flush=True)  # noqa: T201 - the ready line is this command's output
    log.info("listening endpoint=%s pid=%d", bound, os.getpid())
    try:
        await broker.run(stop)
    finally:
        watch.cancel()


async def _watch_parent(parent_pid: int, stop: asyncio.Event) -> None:
    while parent_pid and process_alive(parent_pid):
        await asyncio.sleep(0.5)
    if parent_pid:
        log.info("parent gone pid=%d", parent_pid)
        stop.set()


def _check_options(
    device: str,
    workers: int,
    queue_size: int,
    cache_mb: int,
    hang_seconds: float,
    log_level: str,
) -> None:
    if not _DEVICE.fullmatch(device):
        raise BadParameter(f"device {device!r} is not auto, cpu or cuda:N", field="device")
    if not 1 <= workers <= 64:
        raise BadParameter("workers must lie within 1…64", field="workers")
    if queue_size < 1 or cache_mb < 0 or hang_seconds <= 0:
        raise BadParameter("queue_size, cache_mb and hang_seconds must be positive")
    if log_level not in ("DEBUG", "INFO", "WARNING", "ERROR"):
        raise BadParameter("log_level must be DEBUG, INFO, WARNING or ERROR", field="log_level")


def _storage(user_library: Path | None, captures: Path | None, captures_gb: float) -> Storage:
    if captures_gb <= 0:
        raise BadParameter("captures_gb must be positive", field="captures_gb")
    library = user_library or user_data() / LIBRARY_FOLDER
    return Storage.beside(
        library.resolve(), captures.resolve() if captures else None, int(captures_gb * (1 << 30))
    )


def _log_to(file: Path | None, level: str) -> None:
    if file is not None:
        file.parent.mkdir(parents=True, exist_ok=True)
        with file.open("ab") as opened:
            # The descriptor itself, so that workers and libraries write there too.
            os.dup2(opened.fileno(), sys.stderr.fileno())
    logging.basicConfig(
        level=level,
        stream=sys.stderr,
        format="%(asctime)s %(levelname)s %(name)s %(message)s",
        force=True,
    )


def worker_endpoint() -> str:
    """Return where a broker listens for its workers: only this machine's processes reach it."""
    if sys.platform == "linux":
        # An abstract name: nothing on disk that a killed server could leave behind. Who connects
        # without a worker's secret routing id is ignored.
        return f"ipc://@dressform-{secrets.token_hex(16)}"
    return "tcp://127.0.0.1:*"


def _with_endpoint(settings: WorkerSettings, socket: zmq.Socket[bytes]) -> WorkerSettings:
    if settings.endpoint.startswith("ipc:"):
        return settings
    return replace(settings, endpoint=socket.getsockopt_string(zmq.LAST_ENDPOINT))
