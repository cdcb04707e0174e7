"""Build the Blender extension: stage it, bundle wheels, build and validate the zip.

    python scripts/build_extension.py [--platforms all|current] [--blender PATH] [--out DIR]

Standard library only. Wheels come through pip, once; they are kept in build/wheels. The zip is
built and validated by Blender's own tool, which lies inside the bpy wheel of .venv-blender, or
by the Blender given with --blender.
"""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BUILD = ROOT / "build"
PACKAGES = ("pyzmq", "msgpack")

PYTHONS = ("3.11", "3.13")
"""Blender 4.2 to 5.0 have 3.11; Debian's 4.3 and Blender 5.1 have 3.13."""

PIP_PLATFORMS = {
    "linux-x64": ("manylinux_2_28_x86_64", "manylinux2014_x86_64"),
    "windows-x64": ("win_amd64",),
    "macos-arm64": ("macosx_11_0_arm64",),
}
"""Blender's platforms and what pip calls them."""


class BuildError(Exception):
    """The extension cannot be built; the message says why and what to do."""


def main(arguments: list[str] | None = None) -> int:
    """Build the zip and print its path; return the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--platforms", choices=("all", "current"), default="all")
    parser.add_argument("--blender", type=Path, help="a Blender executable, 4.2 or newer")
    parser.add_argument("--out", type=Path, default=BUILD / "dist", help="folder of the zip")
    options = parser.parse_args(arguments)
    try:
        chosen = list(PIP_PLATFORMS) if options.platforms == "all" else [current_platform()]
        print(build(options.out, chosen, options.blender))
    except BuildError as error:
        print(f"build_extension: {error}", file=sys.stderr)
        return 1
    return 0


def build(out: Path, platforms: list[str], blender: Path | None = None) -> Path:
    """Stage, build and validate the extension.

    Args:
        out: folder that gets the zip.
        platforms: keys of `PIP_PLATFORMS`.
        blender: executable whose tool to use instead of .venv-blender's.

    Raises:
        BuildError: wheels cannot be fetched, or Blender's tool refuses the extension.
    """
    tool = extension_tool(blender)
    wheels = fetch_wheels(platforms)
    staged = stage(wheels, platforms)
    out.mkdir(parents=True, exist_ok=True)
    _run([*tool, "validate", str(staged)], "Blender's tool refuses the staged extension")
    _run(
        [*tool, "build", "--source-dir", str(staged), "--output-dir", str(out)],
        "Blender's tool cannot build the extension",
    )
    zip_file = out / f"dressform-{manifest_version()}.zip"
    _run([*tool, "validate", str(zip_file)], "Blender's tool refuses the zip")
    return zip_file


def manifest_version() -> str:
    """Return the version in blender_manifest.toml."""
    return tomllib.loads((ROOT / "blender_manifest.toml").read_text("utf-8"))["version"]


def current_platform() -> str:
    """Return Blender's name of this machine's platform."""
    names = {
        ("Linux", "x86_64"): "linux-x64",
        ("Windows", "AMD64"): "windows-x64",
        ("Darwin", "arm64"): "macos-arm64",
    }
    key = (platform.system(), platform.machine())
    if key not in names:
        raise BuildError(f"no wheels are bundled for {key[0]} on {key[1]}; use --platforms all")
    return names[key]


def fetch_wheels(platforms: list[str]) -> list[Path]:
    """Return the wheels for these platforms and all `PYTHONS`, downloading what is missing."""
    found: list[Path] = []
    for requirement in pinned():
        for name in platforms:
            for python in PYTHONS:
                folder = BUILD / "wheels" / f"{requirement}-{name}-{python}"
                found.append(_fetch(requirement, name, python, folder))
    return sorted({wheel.name: wheel for wheel in found}.values())


def pinned() -> list[str]:
    """Return the requirements to bundle, as pyproject.toml pins them."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    return [text for text in project["dependencies"] if text.split("==")[0] in PACKAGES]


def _fetch(requirement: str, name: str, python: str, folder: Path) -> Path:
    ready = list(folder.glob("*.whl"))
    if len(ready) == 1:
        return ready[0]
    partial = folder.with_name(f"{folder.name}.part")
    shutil.rmtree(partial, ignore_errors=True)
    command = [_python_with_pip(), "-m", "pip", "download", "--quiet", "--no-deps"]
    command += ["--disable-pip-version-check", "--only-binary=:all:", "--python-version", python]
    for tag in PIP_PLATFORMS[name]:
        command += ["--platform", tag]
    print(f"fetching {requirement} for {name}, Python {python}", file=sys.stderr)
    _run(
        [*command, "--dest", str(partial), requirement],
        "pip cannot fetch a wheel; check the network (wheels are kept once fetched)",
    )
    shutil.rmtree(folder, ignore_errors=True)
    partial.rename(folder)
    return next(folder.glob("*.whl"))


def _python_with_pip() -> str:
    for candidate in (sys.executable, *(str(path) for path in _environment_pythons())):
        asked = [candidate, "-m", "pip", "--version"]
        if subprocess.run(asked, capture_output=True, check=False).returncode == 0:
            return candidate
    raise BuildError("no Python with pip is at hand; run scripts/test.py once, it makes one")


def _environment_pythons() -> list[Path]:
    inner = "Scripts/python.exe" if os.name == "nt" else "bin/python"
    names = (".venv-blender", ".venv", ".venv-blender-4.2", ".venv-blender-5.0")
    return [path for name in names if (path := ROOT / name / inner).exists()]


def stage(wheels: list[Path], platforms: list[str]) -> Path:
    """Lay manifest, code, motions and wheels in build/extension; return that folder."""
    staged = BUILD / "extension"
    shutil.rmtree(staged, ignore_errors=True)
    shutil.copytree(
        ROOT / "blender_addon", staged, ignore=shutil.ignore_patterns("__pycache__", "*.pyc")
    )
    (staged / "wheels").mkdir()
    for wheel in wheels:
        shutil.copy2(wheel, staged / "wheels")
    licence = ROOT / "LICENSE"
    if licence.exists():
        shutil.copy2(licence, staged)
    (staged / "blender_manifest.toml").write_text(_manifest(wheels, platforms), "utf-8")
    return staged


def _manifest(wheels: list[Path], platforms: list[str]) -> str:
    text = (ROOT / "blender_manifest.toml").read_text("utf-8")
    listed = ",\n".join(f'    "./wheels/{wheel.name}"' for wheel in wheels)
    named = ", ".join(f'"{name}"' for name in platforms)
    lines: list[str] = []
    for line in text.splitlines():
        if line.startswith("wheels ="):
            lines.append(f"wheels = [\n{listed},\n]")
        elif line.startswith("platforms ="):
            lines.append(f"platforms = [{named}]")
        else:
            lines.append(line)
    return "\n".join(lines) + "\n"


def extension_tool(blender: Path | None) -> list[str]:
    """Return the command of Blender's extension tool, without its verb.

    Raises:
        BuildError: neither a Blender nor an environment with bpy is there.
    """
    if blender is not None:
        if not blender.exists():
            raise BuildError(f"there is no Blender at {blender}")
        return [str(blender), "--background", "--factory-startup", "--command", "extension"]
    for name in (".venv-blender", ".venv-blender-5.0", ".venv-blender-4.2"):
        for tool in (ROOT / name).rglob("bl_pkg/cli/blender_ext.py"):
            return [sys.executable, str(tool)]
    raise BuildError(
        "Blender's extension tool is not at hand; run scripts/test.py once (it makes "
        ".venv-blender), or give --blender PATH"
    )


def _run(command: list[str], failure: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    if done.returncode != 0:
        words = (done.stdout + done.stderr).strip()
        raise BuildError(f"{failure}:\n{words[-2000:]}")


if __name__ == "__main__":
    sys.exit(main())
