"""The folders that the server may write: users' avatars, captures that came in, trainings.

Nothing of a user's lands in the checkout. What clients send names no path: folders get their
names from ids that were checked and from digests.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass, field
from pathlib import Path

DATA_VARIABLE = "DRESSFORM_DATA"
"""Names the folder of this user's data; the system's own place for it otherwise."""

LIBRARY_FOLDER = "library"
CAPTURES_FOLDER = "captures"
TRAININGS_FOLDER = "trainings"

DEFAULT_CAPTURE_BYTES = 20 << 30


@dataclass(frozen=True, kw_only=True)
class Storage:
    """Where a server keeps what its users make; folders are made when they are first needed.

    Attributes:
        library: model packages of the users' own.
        captures: captures that clients sent, and uploads that are not whole yet.
        trainings: runs of trainings, so that they can be resumed.
        capture_bytes: how much captures and uploads may take together.
    """

    library: Path = field(default_factory=lambda: user_data() / LIBRARY_FOLDER)
    captures: Path = field(default_factory=lambda: user_data() / CAPTURES_FOLDER)
    trainings: Path = field(default_factory=lambda: user_data() / TRAININGS_FOLDER)
    capture_bytes: int = DEFAULT_CAPTURE_BYTES

    @classmethod
    def beside(
        cls, library: Path, captures: Path | None = None, capture_bytes: int = DEFAULT_CAPTURE_BYTES
    ) -> Storage:
        """Return the storage whose other folders lie beside a library, unless they are given."""
        return cls(
            library=library,
            captures=captures or library.parent / CAPTURES_FOLDER,
            trainings=library.parent / TRAININGS_FOLDER,
            capture_bytes=capture_bytes,
        )


def user_data() -> Path:
    """Return the folder of this user's data: `DRESSFORM_DATA`, or where the system wants it."""
    given = os.environ.get(DATA_VARIABLE, "").strip()
    if given:
        return Path(given).expanduser()
    if sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
        return base / "Dressform"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Application Support" / "Dressform"
    return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share") / "dressform"
