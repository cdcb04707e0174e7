"""Times Cycles while scripts/capture_character.py renders; run by `dressform bench cycles`.

Takes the options of capture_character.py after `--`, the first of them the file for the timings:
a list of seconds, one a frame, from Cycles' start on a frame to its last pixel. Posing, reading
and writing images do not count.
"""

# pyright: reportAttributeAccessIssue=false, reportMissingModuleSource=false

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import bpy
from bpy.app.handlers import persistent

sys.path.insert(0, str(Path(__file__).resolve().parent))

import capture_character


def main() -> int:
    """Capture, and write the timings; return the capture's exit code."""
    at = sys.argv.index("--") + 1
    timings = Path(sys.argv.pop(at))
    started: list[float] = []
    seconds: list[float] = []

    @persistent  # the character's file is opened later, which drops all other handlers
    def begin(*_: Any) -> None:
        started.append(time.perf_counter())

    @persistent
    def end(*_: Any) -> None:
        seconds.append(time.perf_counter() - started[-1])

    bpy.app.handlers.render_init.append(begin)
    # The image is there; writing it comes later.
    bpy.app.handlers.render_post.append(end)
    try:
        code = capture_character.main()
    finally:
        # Left to the interpreter's end, they keep bpy as a module from ever ending.
        bpy.app.handlers.render_init.remove(begin)
        bpy.app.handlers.render_post.remove(end)
    timings.write_text(json.dumps(seconds), encoding="utf-8")
    return code


if __name__ == "__main__":
    sys.exit(main())
