"""For all tests: what they make lands in no user's own folders, and each computes on one thread."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator


if "PYTEST_XDIST_WORKER" in os.environ:
    # For the processes that tests start: beside other tests they have one core as well.
    os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup() -> None:
    """Let torch compute on one thread, whatever the test before had a command set.

    Tests run side by side: more threads than cores wait for each other at every operation, and toys
    then take twenty times as long.
    """
    torch = sys.modules.get("torch")
    if torch is not None:
        torch.set_num_threads(1)


@pytest.fixture(scope="session", autouse=True)
def data_of_nobody(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Servers that tests start find no avatars of the user's own, and write none there."""
    before = os.environ.get("DRESSFORM_DATA")
    os.environ["DRESSFORM_DATA"] = str(tmp_path_factory.mktemp("data"))
    yield
    if before is None:
        del os.environ["DRESSFORM_DATA"]
    else:
        os.environ["DRESSFORM_DATA"] = before
