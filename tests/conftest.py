"""For all tests: what they make lands in no user's own folders."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator


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
