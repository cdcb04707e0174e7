"""The operations of the model server, one module per family. Imports torch inside functions only."""

from __future__ import annotations

from typing import TYPE_CHECKING

from blender_addon.contract.errors import SetupError
from server.handlers import (
    avatar,
    avatar_fit,
    body,
    capture,
    library,
    portrait,
    portrait_fit,
    training,
    wardrobe,
)

if TYPE_CHECKING:
    from server.operation import Context

OPERATIONS = (
    *library.OPERATIONS,
    *body.OPERATIONS,
    *avatar.OPERATIONS,
    *wardrobe.OPERATIONS,
    *avatar_fit.OPERATIONS,
    *portrait.OPERATIONS,
    *portrait_fit.OPERATIONS,
    *capture.OPERATIONS,
    *training.OPERATIONS,
)


def prepare(context: Context) -> None:
    """Import what renders need and settle on a device, before the worker takes work.

    Raises:
        SetupError: the device that was asked for is not there.
    """
    import torch

    # Slow to import: now, not in a request.
    import models.avatar_look  # pyright: ignore[reportUnusedImport]
    import models.portrait  # pyright: ignore[reportUnusedImport]  # noqa: F401
    from models.memory import keep_freed_memory

    keep_freed_memory()

    if context.device == "auto":
        context.device = "cuda:0" if torch.cuda.is_available() else "cpu"
    if context.device == "cuda":
        context.device = "cuda:0"
    if context.device != "cpu":
        _check_cuda(context.device)


def _check_cuda(device: str) -> None:
    import torch

    index = int(device.partition(":")[2])
    if not torch.cuda.is_available():
        raise SetupError(
            f"torch sees no CUDA device, but {device} was asked for",
            "use --device auto or cpu, or install a driver that nvidia-smi can talk to",
        )
    if index >= torch.cuda.device_count():
        raise SetupError(
            f"there is no {device}: torch sees {torch.cuda.device_count()} CUDA devices",
            "use --device cuda:0, or auto",
        )
