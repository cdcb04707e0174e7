"""Handlers that find the device they were given missing."""

from __future__ import annotations

from typing import Any

from blender_addon.contract.errors import SetupError
from tests.server.handlers_for_tests import OPERATIONS

__all__ = ["OPERATIONS", "prepare"]


def prepare(_context: Any) -> None:
    raise SetupError("there is no such device")
