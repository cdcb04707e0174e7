"""Renders a neural-dressed person in Blender, from nothing: `python scripts/demo.py`.

Makes the environments, builds the extension and installs it into a profile of its own, starts
a model server on an ephemeral loopback port, lets Blender build a scene in which the default
avatar walks past a moving camera, renders it through the extension's RenderEngine, and writes
PNG frames, an MP4 and a contact sheet. Safe to interrupt and repeat.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from scripts.environments import (  # noqa: E402
    Blender,
    SetupFailed,
    find_blender,
    say,
    server_environment,
)

FRAMES = 48
SIZE = 512


def main() -> int:
    """Run the demo; return the exit code."""
    options = _options()
    started = time.monotonic()
    try:
        python = server_environment()
        if Path(sys.prefix) != python.parent.parent:
            # What follows needs the environment's packages: go on inside it.
            return subprocess.run([python, __file__, *sys.argv[1:]], check=False).returncode
        blender = find_blender(options.blender)
        archive = build_extension(python)
    except SetupFailed as failure:
        say(f"Set-up stopped: {failure}")
        return 1
    except KeyboardInterrupt:
        say("Interrupted; start again to go on from here.")
        return 130
    prepared = time.monotonic()
    out = Path(options.out).resolve()
    if not render_demo(python, blender, archive, out, options):
        return 1
    say(f"Frames:        {out / 'frames'}")
    say(f"Film:          {out / 'film.mp4'}")
    say(f"Contact sheet: {out / 'contact_sheet.png'}")
    say(f"Set-up took {prepared - started:.0f} s, the film {time.monotonic() - prepared:.0f} s.")
    return 0


def build_extension(python: Path) -> Path:
    """Build the extension's zip for this machine; return its path."""
    say("Extension: building …")
    command = [str(python), str(ROOT / "scripts/build_extension.py"), "--platforms", "current"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    if done.returncode:
        raise SetupFailed(
            f"the extension could not be built:\n{(done.stdout + done.stderr)[-2000:]}",
            "check the network connection (it needs the wheels of pyzmq and msgpack once)",
        )
    return Path(done.stdout.strip().splitlines()[-1])


def render_demo(
    python: Path, blender: Blender, archive: Path, out: Path, options: argparse.Namespace
) -> bool:
    """Start a server, render the scene in Blender, cut the film; say what goes wrong."""
    from blender_addon.local_server import LocalServer

    out.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(out / "frames", ignore_errors=True)
    say("Server: starting …")
    server = LocalServer.start(
        [str(python), "-m", "scripts.cli", "serve"], cwd=ROOT, log=out / "server.log"
    )
    try:
        say(f"Server: ready at {server.endpoint}")
        environment = {
            **os.environ,
            "DRESSFORM_ENDPOINT": server.endpoint,
            "DRESSFORM_EXTENSION_ZIP": str(archive),
            "BLENDER_USER_RESOURCES": str(ROOT / "build" / "demo-profile"),
        }
        arguments = [
            *("--avatar", options.avatar, "--motion", "walk", "--camera", "walk-past"),
            *("--frames", f"1-{FRAMES}", "--size", str(SIZE), "--out", str(out / "frames")),
        ]
        command = blender.command(ROOT / "scripts/render_avatar.py", arguments)
        code = run_blender(command, environment, out / "blender.log")
    finally:
        server.stop()
        say("Server: stopped")
    if code:
        say(
            f"Blender stopped with exit code {code}; see {out / 'blender.log'} and server.log there"
        )
        return False
    say("Film: writing …")
    cut = subprocess.run([str(python), "-m", "scripts.film", str(out)], cwd=ROOT, check=False)
    return cut.returncode == 0


def run_blender(command: list[str], environment: dict[str, str], log: Path) -> int:
    """Run Blender; show its frames as they come, keep all its words in a log.

    Returns:
        its exit code.
    """
    with (
        log.open("w", encoding="utf-8") as words,
        subprocess.Popen(
            command,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        ) as process,
    ):
        for line in process.stdout or ():
            words.write(line)
            if line.startswith(("frame ", "render_avatar:", "  next step:")):
                say(f"    {line.strip()}")
    return process.returncode


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--blender", type=Path, help="a Blender 4.2 or newer to use")
    parser.add_argument("--avatar", default="default", help="id of the avatar (default: the first)")
    parser.add_argument("--out", default=str(ROOT / "out" / "demo"), help="folder for the results")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
