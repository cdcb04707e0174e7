"""Sets up and runs every check: `python scripts/test.py`; `--quick` for those without Blender.

Phases: environments, lint and types, quick tests, slow tests, Blender 4.2, 4.5 and 5.0 with
the extension installed from its zip, and with `--window` one real Blender window. Prints the
time of each phase. A skipped test fails the run unless `tests/allowed_skips.txt` names it.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
import xml.etree.ElementTree as ET
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from scripts.environments import (  # noqa: E402
    BLENDERS,
    Blender,
    SetupFailed,
    blender_environment,
    photo_environment,
    say,
    server_environment,
)

if TYPE_CHECKING:
    from collections.abc import Generator

REPORTS = ROOT / "build" / "reports"
ALLOWED_SKIPS = ROOT / "tests" / "allowed_skips.txt"
EXTRAS = ("dev", "people", "smplx")

QUIET_THREADS = {"OMP_WAIT_POLICY": "PASSIVE"}
"""Torch's waiting threads sleep: on a few shared cores, spinning ones slow everything tenfold."""


class Run:
    """What one run of this script found: phases with their times, failures, counts."""

    def __init__(self) -> None:
        self.times: list[tuple[str, float]] = []
        self.failed: list[str] = []
        self.counts = {"passed": 0, "failed": 0, "skipped": 0}

    @contextmanager
    def phase(self, name: str) -> Generator[None]:
        """Time a phase; announce it."""
        say(f"\n=== {name}")
        started = time.monotonic()
        try:
            yield
        finally:
            self.times.append((name, time.monotonic() - started))

    def check(
        self, what: str, command: list[str], environment: dict[str, str] | None = None
    ) -> None:
        """Run a command; remember it by name when it fails."""
        done = subprocess.run(
            command,
            cwd=ROOT,
            env={**os.environ, **QUIET_THREADS, **(environment or {})},
            check=False,
        )
        if done.returncode:
            self.failed.append(what)

    def tests(
        self,
        name: str,
        python: Path,
        arguments: list[str],
        environment: dict[str, str] | None = None,
    ) -> None:
        """Run pytest in an environment and count what its report says."""
        report = REPORTS / f"{name}.xml"
        report.unlink(missing_ok=True)
        command = [str(python), "-m", "pytest", "-q", f"--junitxml={report}", "--durations=8"]
        self.check(f"tests: {name}", [*command, *arguments], environment)
        if not report.is_file():
            self.failed.append(f"tests: {name} wrote no report")
            return
        self._count(name, report)

    def _count(self, name: str, report: Path) -> None:
        allowed = allowed_skips()
        ran = 0
        for case in ET.parse(report).getroot().iter("testcase"):  # noqa: S314
            title = f"{case.get('classname')}::{case.get('name')}"
            if case.find("failure") is not None or case.find("error") is not None:
                self.counts["failed"] += 1
            elif (skipped := case.find("skipped")) is not None:
                self.counts["skipped"] += 1
                if not any(title.startswith(prefix) for prefix in allowed):
                    self.failed.append(f"not allowed to skip: {title} ({skipped.get('message')})")
            else:
                self.counts["passed"] += 1
                ran += 1
        if ran == 0:
            self.failed.append(f"tests: {name} ran no test")

    def summary(self) -> int:
        """Print times and failures; return the exit code."""
        say("\n=== times")
        for name, seconds in self.times:
            say(f"  {seconds:7.1f} s  {name}")
        say(f"  {sum(seconds for _, seconds in self.times):7.1f} s  in all")
        for failure in self.failed:
            say(f"FAILED {failure}")
        say("")
        say(", ".join(f"{count} {word}" for word, count in self.counts.items()))
        return 1 if self.failed or self.counts["failed"] else 0


def allowed_skips() -> dict[str, str]:
    """Return the tests that may skip, with their reasons: `classname::name = reason` a line."""
    found: dict[str, str] = {}
    for line in ALLOWED_SKIPS.read_text(encoding="utf-8").splitlines():
        if line.strip() and not line.startswith("#"):
            title, reason = line.split(" = ", maxsplit=1)
            found[title.strip()] = reason.strip()
    return found


def main() -> int:
    """Run the phases that the options ask for; return the exit code."""
    options = _options()
    REPORTS.mkdir(parents=True, exist_ok=True)
    run = Run()
    try:
        with run.phase("environments"):
            python, blenders = environments(quick=options.quick)
        static_checks(run, python)
        with run.phase("quick tests"):
            # A file's tests stay together: they share what is costly to set up.
            side_by_side = ["--numprocesses=2", "--dist=loadfile"]
            outside = ["tests", "--ignore=tests/blender", *side_by_side]
            run.tests("quick", python, [*outside, "-m", "not slow"])
        if not options.quick:
            with run.phase("slow tests"):
                run.tests("slow", python, [*outside, "-m", "slow"])
            blender_phases(run, python, blenders, window=options.window)
    except SetupFailed as failure:
        say(f"Set-up stopped: {failure}")
        return 1
    return run.summary()


def environments(*, quick: bool) -> tuple[Path, dict[str, Blender]]:
    """Make or find the server's Python, that for photographs, and Blenders unless `quick`.

    Downloads and unpacking leave a core idle: the server's, the largest, is made beside the others.
    """

    def others() -> dict[str, Blender]:
        photo_environment()
        wanted = () if quick else BLENDERS
        return {series: blender_environment(series, tests=True) for series in wanted}

    with ThreadPoolExecutor(1) as background:
        blenders = background.submit(others)
        python = server_environment(EXTRAS)
        return python, blenders.result()


def static_checks(run: Run, python: Path) -> None:
    """Lint, format and types."""
    tools = python.parent
    with run.phase("lint and types"):
        run.check("ruff check", [str(tools / "ruff"), "check", "."])
        run.check("ruff format", [str(tools / "ruff"), "format", "--check", "."])
        # Without this, pyright stops to say that a newer one exists.
        quiet = {"PYRIGHT_PYTHON_IGNORE_WARNINGS": "1"}
        run.check("pyright", [str(tools / "pyright")], quiet)


def blender_phases(run: Run, python: Path, blenders: dict[str, Blender], *, window: bool) -> None:
    """Build the extension; test it in every supported Blender, and in a window when asked."""
    with run.phase("extension"):
        build = [str(python), str(ROOT / "scripts/build_extension.py")]
        done = subprocess.run(build, cwd=ROOT, capture_output=True, text=True, check=False)
        say(done.stdout + done.stderr)
        if done.returncode:
            run.failed.append("extension: the zip was not built")
            return
        archive = done.stdout.strip().splitlines()[-1]
    for series in sorted(blenders):
        environment = {
            "DRESSFORM_EXTENSION_ZIP": archive,
            "DRESSFORM_BLENDER_VERSION": BLENDERS[series],
            "DRESSFORM_PYTHON": str(python),
        }
        with run.phase(f"Blender {BLENDERS[series]}"):
            run.tests(f"blender-{series}", blenders[series].program, ["tests/blender"], environment)
    if window:
        with run.phase("window"):
            picture = ROOT / "build" / "window.png"
            command = [sys.executable, str(ROOT / "scripts/window_check.py"), archive, str(picture)]
            run.check("window", command, {"DRESSFORM_PYTHON": str(python)})


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--quick", action="store_true", help="only what needs no Blender")
    parser.add_argument(
        "--window",
        action="store_true",
        help="also open a real Blender window in a Debian root of its own (root, Linux)",
    )
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
