"""Checkpoints of a training: written whole or not at all, read without executing anything."""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any

import torch

from blender_addon.contract.errors import TrainingError

CHECKPOINT_FILE = "checkpoint.pt"
CHECKPOINT_FORMAT = 1


def save_checkpoint(folder: Path, state: dict[str, Any]) -> None:
    """Write tensors and plain values; the last checkpoint stays until this one is whole."""
    folder.mkdir(parents=True, exist_ok=True)
    part = folder / f"{CHECKPOINT_FILE}.part"
    with part.open("wb") as file:
        torch.save({**state, "format": CHECKPOINT_FORMAT}, file)
        file.flush()
        os.fsync(file.fileno())
    part.replace(folder / CHECKPOINT_FILE)


def load_checkpoint(folder: Path) -> dict[str, Any] | None:
    """Return the last checkpoint's content on the CPU, or None when there is none.

    Raises:
        TrainingError: the file is damaged or of another format.
    """
    path = Path(folder) / CHECKPOINT_FILE
    if not path.is_file():
        return None
    advice = "remove the checkpoint to start anew, or give another --out"
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, ValueError, pickle.UnpicklingError) as error:
        raise TrainingError(f"{path} cannot be read: {error}", advice) from error
    if state.get("format") != CHECKPOINT_FORMAT:
        raise TrainingError(f"{path} is of another format", advice)
    return state
