"""Whether another process still lives, on every system."""

from __future__ import annotations

import os
import sys


def process_alive(pid: int) -> bool:
    """Whether a process of this number runs; zombies count as gone where that can be seen."""
    if sys.platform == "win32":
        return _alive_on_windows(pid)
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return not _is_zombie(pid)


def _is_zombie(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:  # noqa: PTH123 - no path of ours
            return file.read().rpartition(")")[2].split()[:1] == ["Z"]
    except OSError:
        return False


def _alive_on_windows(pid: int) -> bool:
    # os.kill(pid, 0) would send Ctrl-C there.
    import ctypes

    synchronize, timed_out = 0x00100000, 0x00000102
    kernel = ctypes.WinDLL("kernel32")  # type: ignore[attr-defined,unused-ignore]  # Windows only
    handle = kernel.OpenProcess(synchronize, False, pid)
    if not handle:
        return False
    try:
        return bool(kernel.WaitForSingleObject(handle, 0) == timed_out)
    finally:
        kernel.CloseHandle(handle)
