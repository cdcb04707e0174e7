"""Makes the environments that everything runs in. Standard library only: nothing exists yet.

`.venv` holds the server and training (torch); `.venv-blender` a Blender from the package index;
`.venv-photo`, if asked for, what sees people in photographs: `python scripts/environments.py photo`.
Each is made once and stamped with the digest of what it was made from, the stamp last: an
interrupted set-up starts that environment again, a finished one is left alone.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
import time
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

ROOT = Path(__file__).resolve().parent.parent
PYTHON_VERSION = (3, 11)
STAMP = "dressform-stamp"

BLENDERS = {"4.5": "4.5.15", "4.2": "4.2.23", "5.0": "5.0.1"}
"""bpy releases by series; the first is the default, 4.2 the oldest supported."""

MINIMUM_BLENDER = (4, 2)

TEST_REQUIREMENTS = ("pytest==9.2.0", "pytest-timeout==2.4.0")

PHOTO_REQUIREMENTS = (
    *("mediapipe==0.10.21", "numpy==1.26.4", "opencv-python-headless==4.11.0.86"),
    *("protobuf==4.25.8", "absl-py==2.5.1", "attrs==26.1.0", "flatbuffers==25.12.19"),
)
"""What `models/person_perception.py` needs, whole: MediaPipe asks for jax, matplotlib and more, half
a gigabyte that its pose and hands never load. It is the last release that carries its models, and
wants numpy below 2: hence an environment of its own."""

SYSTEM_LIBRARIES = {
    "libX11.so.6": "libx11-6",
    "libXrender.so.1": "libxrender1",
    "libXfixes.so.3": "libxfixes3",
    "libXi.so.6": "libxi6",
    "libxkbcommon.so.0": "libxkbcommon0",
    "libSM.so.6": "libsm6",
    "libICE.so.6": "libice6",
    "libGL.so.1": "libgl1",
    "libEGL.so.1": "libegl1",
}
"""Shared libraries that Blender loads, with the Debian packages that hold them."""


class SetupFailed(Exception):
    """Set-up cannot go on; says what to do.

    Stands alone because the project's own exception tree may not be importable yet.
    """

    def __init__(self, cause: str, next_step: str) -> None:
        super().__init__(f"{cause}\n  next step: {next_step}")


@dataclass(frozen=True)
class Blender:
    """A Blender that can run scripts: a binary, or the Python that has `bpy`."""

    program: Path
    is_module: bool

    def command(self, script: Path, arguments: Sequence[str]) -> list[str]:
        """Return the command line that runs a script in the background."""
        if self.is_module:
            return [str(self.program), str(script), "--", *arguments]
        return [
            *(str(self.program), "-b", "--factory-startup", "--python-exit-code", "1"),
            *("-P", str(script), "--", *arguments),
        ]


def say(text: str) -> None:
    """Print a step at once, also into a pipe."""
    print(text, flush=True)


def server_environment(extras: Sequence[str] = ()) -> Path:
    """Make or find `.venv` with these extras; return its Python."""
    folder = ROOT / ".venv"
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = sorted({*extras, *_stamped_extras(folder)})
    what = repr((project["dependencies"], project["optional-dependencies"], ROOT.as_posix()))
    suffix = f"[{','.join(wanted)}]" if wanted else ""
    return _environment(folder, what, ["-e", f".{suffix}"], gigabytes=9.0, extras=wanted)


def blender_environment(series: str = "4.5", *, tests: bool = False) -> Blender:
    """Make or find the environment with Blender of a series (see `BLENDERS`)."""
    release = BLENDERS[series]
    default = next(iter(BLENDERS))
    folder = ROOT / (".venv-blender" if series == default else f".venv-blender-{series}")
    tested = tests or "tests" in _stamped_extras(folder)
    requirements = [f"bpy=={release}", *(TEST_REQUIREMENTS if tested else ())]
    python = _environment(
        folder, repr(requirements), requirements, gigabytes=1.5, extras=["tests"] if tested else []
    )
    system_libraries()
    return Blender(python, is_module=True)


def photo_environment() -> Path:
    """Make or find `.venv-photo`, which sees people in photographs; return its Python."""
    requirements = ["--no-deps", *PHOTO_REQUIREMENTS]
    folder = ROOT / ".venv-photo"
    return _environment(folder, repr(requirements), requirements, gigabytes=0.5, extras=[])


def find_blender(given: Path | None) -> Blender:
    """Return the Blender to use: the given one, one on PATH, else one from the package index.

    Raises:
        SetupFailed: the given one is missing or too old.
    """
    if given is not None:
        if not given.is_file():
            raise SetupFailed(f"there is no Blender at {given}", "check the path after --blender")
        version = blender_version(given)
        if version is None or version < MINIMUM_BLENDER:
            raise SetupFailed(
                f"{given} is not a Blender of version {'.'.join(map(str, MINIMUM_BLENDER))} or newer",
                "install a newer Blender, or leave --blender out",
            )
        return Blender(given, is_module=False)
    on_path = shutil.which("blender")
    version = blender_version(Path(on_path)) if on_path else None
    if on_path and version is not None and version >= MINIMUM_BLENDER:
        say(f"Blender: using {on_path} ({version[0]}.{version[1]})")
        return Blender(Path(on_path), is_module=False)
    return blender_environment()


def blender_version(program: Path) -> tuple[int, int] | None:
    """Return a binary's version as (major, minor), or None if it does not say."""
    try:
        done = subprocess.run(
            [program, "--version"], capture_output=True, text=True, timeout=60, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    found = re.search(r"Blender (\d+)\.(\d+)", done.stdout)
    return (int(found[1]), int(found[2])) if found else None


def system_libraries(packages: Sequence[str] = ()) -> None:
    """Install what Blender loads from the system, where we may; else say what to install.

    Args:
        packages: further Debian packages that must be there.
    """
    if not sys.platform.startswith("linux"):
        return
    known = _known_libraries()
    missing = [package for name, package in SYSTEM_LIBRARIES.items() if name not in known]
    missing += [package for package in packages if not _installed(package)]
    if not missing:
        return
    install = ["apt-get", "install", "-y", "-qq", "--no-install-recommends", *missing]
    if shutil.which("apt-get") is None:
        raise SetupFailed(
            f"system libraries are missing; Debian calls them {' '.join(missing)}",
            "install them with your system's package manager and start again",
        )
    if os.geteuid() != 0:
        raise SetupFailed(
            f"system libraries are missing: {' '.join(missing)}", f"run: sudo {' '.join(install)}"
        )
    say(f"System libraries: installing {' '.join(missing)} …")
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for command in (["apt-get", "update", "-qq"], install):
        done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
        if done.returncode:
            raise SetupFailed(
                f"{' '.join(command)} failed:\n{done.stderr[-2000:]}",
                "check the network and the package sources, then start again",
            )


def _environment(
    folder: Path, what: str, requirements: list[str], *, gigabytes: float, extras: list[str]
) -> Path:
    python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    stamp = folder / STAMP
    digest = hashlib.sha256(what.encode()).hexdigest() + " " + ",".join(extras)
    if stamp.is_file() and stamp.read_text(encoding="utf-8") == digest and python.is_file():
        return python
    started = time.monotonic()
    base = _base_python()
    free = shutil.disk_usage(ROOT).free / 1e9
    if not python.is_file() and free < gigabytes:
        raise SetupFailed(
            f"{folder.name} needs about {gigabytes:.0f} GB, {free:.1f} GB are free",
            "free some disk space and start again",
        )
    stamp.unlink(missing_ok=True)
    if not python.is_file():
        say(f"{folder.name}: creating …")
        _run([base, "-m", "venv", "--clear", str(folder)], f"{folder.name} could not be created")
    say(f"{folder.name}: installing {' '.join(requirements)} (the first time takes minutes) …")
    _pip(python, requirements)
    stamp.write_text(digest, encoding="utf-8")
    say(f"{folder.name}: ready after {time.monotonic() - started:.0f} s")
    return python


def _stamped_extras(folder: Path) -> list[str]:
    # Extras of an earlier set-up stay: `demo.py` after `test.py` must not take the tests' away.
    stamp = folder / STAMP
    if not stamp.is_file():
        return []
    words = stamp.read_text(encoding="utf-8").split(" ")
    return [name for name in words[-1].split(",") if name]


def _base_python() -> str:
    if sys.version_info[:2] == PYTHON_VERSION:
        return sys.executable
    wanted = ".".join(map(str, PYTHON_VERSION))
    found = shutil.which(f"python{wanted}")
    if found is None:
        raise SetupFailed(
            f"this is Python {sys.version_info[0]}.{sys.version_info[1]}, and there is no "
            f"python{wanted} on PATH (Blender's own libraries are built for {wanted})",
            f"install Python {wanted} and run: python{wanted} {' '.join(sys.argv)}",
        )
    return found


def _pip(python: Path, requirements: list[str]) -> None:
    command = [str(python), "-m", "pip", "install", "--progress-bar", "off", *requirements]
    with subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        tail: list[str] = []
        for line in process.stdout or ():
            tail = [*tail[-30:], line.rstrip()]
            found = re.match(r"\s*(?:Downloading|Using cached|Processing) (\S+)", line)
            if found:
                say(f"    {found[1].rsplit('/', 1)[-1]}")
            elif line.startswith(("Installing collected", "Building")):
                say("    installing the files …")
    if process.returncode:
        text = "\n".join(tail)
        offline = re.search(r"(?i)connection|resolve|network|timed? ?out|proxy", text)
        raise SetupFailed(
            f"pip could not install {' '.join(requirements)}:\n{text}",
            "check the network connection (and any proxy), then start again: what is done stays"
            if offline
            else "read pip's words above; then start again: what is done stays",
        )


def _run(command: list[str], failure: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SetupFailed(
            f"{failure}: {(done.stderr or done.stdout)[-1000:]}",
            "Debian and Ubuntu hold venv in a package of its own: apt install python3.11-venv",
        )


def _known_libraries() -> str:
    done = subprocess.run(
        [shutil.which("ldconfig") or "/sbin/ldconfig", "-p"],
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout


def _installed(package: str) -> bool:
    query = shutil.which("dpkg-query")
    if query is None:
        return False
    done = subprocess.run(
        [query, "-W", "-f=${Status}", package], capture_output=True, text=True, check=False
    )
    return "install ok installed" in done.stdout


def main() -> int:
    """Make the environment that is asked for; return the exit code."""
    makers = {
        "server": server_environment,
        "blender": blender_environment,
        "photo": photo_environment,
    }
    if len(sys.argv) != 2 or sys.argv[1] not in makers:
        say(f"usage: python scripts/environments.py {'|'.join(makers)}")
        return 2
    try:
        makers[sys.argv[1]]()
    except SetupFailed as failure:
        say(f"Set-up stopped: {failure}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
