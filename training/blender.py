"""Blender as a program that training data comes from."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

from blender_addon.contract.errors import SetupError

if TYPE_CHECKING:
    from collections.abc import Sequence

CHECKOUT = Path(__file__).resolve().parents[1]
DEFAULT_BLENDER = CHECKOUT / ".venv-blender" / "bin" / "python"
"""A Python that has bpy does as well as Blender itself."""


def blender_command(blender: Path, script: str) -> list[str]:
    """Return the command line that runs a script of `scripts/`, up to the script's own options.

    Args:
        blender: Blender, or a Python that has bpy.
        script: its file name.

    Raises:
        SetupError: there is no such program.
    """
    program = shutil.which(blender)
    if program is None:
        raise SetupError(
            f"there is no Blender at {blender}", "name one with --blender, or do without Cycles"
        )
    file = str(CHECKOUT / "scripts" / script)
    if Path(program).name.startswith("python"):
        return [program, file, "--"]
    return [program, "-b", "--factory-startup", "--python-exit-code", "1", "-P", file, "--"]


def run_blender(blender: Path, script: str, words: Sequence[str], *, timeout: float) -> None:
    """Run a script of `scripts/` to its end.

    Args:
        blender: Blender, or a Python that has bpy.
        script: its file name.
        words: its options.
        timeout: seconds.

    Raises:
        SetupError: there is no such program, or it failed: what it said last is in the message.
    """
    command = [*blender_command(blender, script), *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=timeout)
    if done.returncode:
        said = (done.stdout + done.stderr)[-1500:]
        raise SetupError(
            f"{script} ended with exit code {done.returncode}:\n{said}",
            "see that this Blender starts in the background",
        )
