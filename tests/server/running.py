"""Real servers for tests: processes of their own, with the handlers of `handlers_for_tests`."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from blender_addon.contract import operations
from blender_addon.contract.camera import look_at
from blender_addon.contract.errors import DressformError
from blender_addon.contract.operations import AvatarRender, PosedBody
from blender_addon.contract.pose import rotation_from_axis_angle
from blender_addon.local_server import LocalServer
from models.package import MANIFEST_FILE, Manifest, write_package

if TYPE_CHECKING:
    from blender_addon.client import Client

ROOT = Path(__file__).parents[2]
COMMAND = [sys.executable, "-m", "scripts.cli", "serve"]
HANDLERS = ("--handlers", "tests.server.handlers_for_tests")

StartServer = Callable[..., LocalServer]


def start_server(folder: Path, *options: str, library: Path | None = None) -> LocalServer:
    """Start a server that logs to a file in `folder`."""
    os.environ["PYTHONPATH"] = str(ROOT)  # so that workers find the handlers
    return LocalServer.start(
        COMMAND,
        log=folder / "server.log",
        library=library or folder,
        cwd=ROOT,
        options=(*HANDLERS, *options),
    )


def start_product(
    home: Path, library: Path, *options: str, endpoint: str = "tcp://127.0.0.1:0"
) -> LocalServer:
    """Start a server with the product's own handlers; what it writes stays in `home`."""
    return LocalServer.start(
        COMMAND,
        endpoint=endpoint,
        log=home / "server.log",
        library=library,
        cwd=ROOT,
        options=("--device", "cpu", "--user-library", str(home / "own" / "library"), *options),
    )


def health(client: Client) -> dict[str, Any]:
    return client.call(operations.HEALTH, timeout=10).params


def worker_pid(client: Client) -> int:
    """The process of the first worker, once it is ready."""
    # Its imports take seconds, and minutes where many others want the cores.
    until(lambda: health(client)["workers"][0]["state"] == "ready", 280)
    return health(client)["workers"][0]["pid"]


def until(condition: Callable[[], object], seconds: float = 20.0) -> None:
    """Wait until something holds; fail when it does not in time."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.01)


def ended_with(client: Client, request_id: str) -> type[DressformError] | None:
    """The type of error that a request ends with, or None for a result."""
    try:
        client.wait(request_id)
    except DressformError as error:
        return type(error)
    return None


def running(client: Client) -> int:
    """How many jobs the workers have in hand."""
    return sum(worker["jobs"] for worker in health(client)["workers"])


def add_model(library: Path, name: str, **changes: Any) -> None:
    """Write a small package into a library; without weights' files that a test has no use for."""
    import torch

    fields: dict[str, Any] = {
        "kind": "avatar",
        "id": name,
        "name": name.title(),
        "licence": "CC0-1.0",
    }
    arrays = {"texture": torch.full((2,), float(changes.pop("value", 1.0)))}
    preview = changes.pop("preview", None)
    write_package(library / name, Manifest(**fields | changes), arrays, preview)
    assert (library / name / MANIFEST_FILE).is_file()


def frame(number: int, *, avatar: str = "anna", size: int = 32, **changes: Any) -> AvatarRender:
    """The request of one frame of an animation."""
    pose = np.zeros((55, 3))
    pose[16, 2] = 0.05 * number
    body = PosedBody(
        pose=rotation_from_axis_angle(pose).astype(np.float32),
        transl=np.array([0.0, 0.0, 0.01 * number], np.float32),
        betas=np.zeros(10, np.float32),
        expression=np.zeros(0, np.float32),
    )
    eye, up = np.array([0.0, 0.9, 3.0]), np.array([0.0, 1.0, 0.0])
    camera = look_at(eye, np.array([0.0, 0.9, 0.0]), up, focal=1.2 * size, width=size, height=size)
    return AvatarRender(avatar=avatar, body=body, camera=camera, **changes)
