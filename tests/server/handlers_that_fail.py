"""Handlers whose workers die before they are ready; the broker itself can import them."""

from __future__ import annotations

import os
from typing import Any

from tests.server.handlers_for_tests import OPERATIONS

__all__ = ["OPERATIONS", "prepare"]


def prepare(_context: Any) -> None:
    os._exit(7)
