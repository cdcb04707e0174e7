"""Opens one real Blender window and looks at it: `python scripts/window_check.py ZIP PICTURE`.

For CI and for developers (`scripts/test.py --window`), never unasked: it needs root on Debian or
Ubuntu, because the Blender comes from a Debian root of its own under build/trixie (made once,
about 2 GB and two minutes). In there, Xvfb shows a window in which a person is added, the
Dressform tab opened and a viewport set to rendered shading; the picture of that window is
written to PICTURE. The person gets another's head on the timeline, and people are drawn if the
library has a wardrobe: PICTURE-wardrobe shows the panel. Then, where .venv-photo is, a photograph
becomes an avatar by all stages (PICTURE-fit) while the viewport goes on, a second one is given up,
and the avatar dances in a film (PICTURE-fitted). If the library has portraits, one is added, animated, restyled and its labels
painted, and PICTURE-portrait shows that. F12 is pressed in it, and then the same Blender renders in background with
`-b -E DRESSFORM -a`: the pixels must be the same.
Standard library only; needs DRESSFORM_PYTHON, the Python of the server's environment; DRESSFORM_LIBRARY may name
another library than the default one.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
import time
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

ROOT = Path(__file__).resolve().parent.parent
if TYPE_CHECKING:
    from collections.abc import Generator

SUITE = "trixie"
SYSTEM = ROOT / "build" / SUITE
PACKAGES = (
    "blender",
    "libgl1-mesa-dri",
    "libegl1",
    "libegl-mesa0",
    "libglx-mesa0",
    "xvfb",
    "xauth",
    "imagemagick",
    "x11-utils",
    "python3-numpy",
)
"""python3-zmq and python3-msgpack are left out on purpose: the extension brings its own."""

DISPLAY = ":77"
SIZE = "1280x800"
WORK = "dressform-check"
"""Folder inside the root, below /tmp, that script and files go through."""

WINDOW_SECONDS = 500.0

REPORTS = ("ready", "wardrobe", "fit", "fitted", "portrait")
"""What the script in the window says, in this order; the window is photographed after each."""

STAGES = ("W", "Generator", "Noise", "Texture")
MOVES = 3
"""Pictures that the viewport must draw while a fit runs, each after the view or pose changed."""
CANCEL_SECONDS = 1.0

INTERRUPT_SECONDS = 3.0
"""From Ctrl-C to the end of the whole process, on a busy machine (0.5 s on an idle one)."""


class CheckFailed(Exception):
    """The check cannot run, or what it saw is wrong; the message says which and why."""


def main() -> int:
    """Run the check; return the exit code."""
    if len(sys.argv) != 3:
        print(__doc__)
        return 2
    try:
        picture = run_window_check(Path(sys.argv[1]).resolve(), Path(sys.argv[2]).resolve())
    except CheckFailed as failure:
        print(f"window check: {failure}", file=sys.stderr)
        return 1
    print(f"window check: {picture}")
    return 0


def run_window_check(archive: Path, picture: Path) -> Path:
    """Show the extension in a window, photograph it, render in background; return the picture.

    Raises:
        CheckFailed: something is missing, or the window or the frames are wrong.
    """
    python = os.environ.get("DRESSFORM_PYTHON", "")
    if not Path(python).exists():
        raise CheckFailed("DRESSFORM_PYTHON must name the Python of the server's environment")
    make_system()
    work = SYSTEM / "tmp" / WORK
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    shutil.copy2(archive, work / "dressform.zip")
    for name in ("window", "window_base", "window_fit"):
        shutil.copy2(ROOT / "tests" / "blender" / f"{name}.py", work / f"{name}.py")
    server = _start_server(python, work / "data")
    try:
        with mounted():
            said = _photograph(work, server.endpoint, picture)
            _judge(said, work)
            _render_in_background(work, server.endpoint)
            _interrupt(work)
    finally:
        server.process.terminate()
        _end(server.process, 20)
        server.process.kill()
    return picture


@dataclass(frozen=True)
class Server:
    """A model server and where it listens."""

    process: subprocess.Popen[bytes]
    endpoint: str


def _start_server(python: str, data: Path) -> Server:
    # Not through blender_addon.local_server: this script runs without pyzmq.
    command = [python, "-m", "scripts.cli", "serve", "--endpoint", "tcp://127.0.0.1:0"]
    library = os.environ.get("DRESSFORM_LIBRARY")
    command += ["--library", library] if library else []
    log = ROOT / "build" / "window-server.log"
    with log.open("wb") as stream:
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=stream,
            # Avatars that are made here are nobody's, and none of an earlier run must lie there.
            env={**os.environ, "DRESSFORM_DATA": str(data)},
        )
    line = process.stdout.readline() if process.stdout else b""
    try:
        return Server(process, json.loads(line)["endpoint"])
    except (ValueError, KeyError) as error:
        process.kill()
        raise CheckFailed(f"the model server did not start; see {log}") from error


def make_system() -> None:
    """Make the Debian root with Blender unless it is there.

    Raises:
        CheckFailed: not root, not Debian, or an installation failed.
    """
    ready = SYSTEM / "dressform-ready"
    if ready.exists() and ready.read_text("utf-8") == " ".join(PACKAGES):
        return
    if not hasattr(os, "geteuid") or os.geteuid() != 0 or shutil.which("apt-get") is None:
        raise CheckFailed("it needs root on Debian or Ubuntu (it makes a system of its own)")
    if shutil.which("debootstrap") is None:
        _say("installing debootstrap")
        _run(["apt-get", "update", "-qq"], 300)
        _run(["apt-get", "install", "-qq", "--no-install-recommends", "debootstrap"], 300)
    if not (SYSTEM / "etc" / "debian_version").exists():
        _say(f"making a Debian {SUITE} root (about half a minute)")
        partial = SYSTEM.with_name(f"{SUITE}.part")
        shutil.rmtree(partial, ignore_errors=True)
        partial.parent.mkdir(parents=True, exist_ok=True)
        _run(["debootstrap", "--variant=minbase", SUITE, str(partial)], 900)
        partial.rename(SYSTEM)
    _say("installing Blender in it (about 2 GB)")
    install = ["apt-get", "install", "-qq", "--no-install-recommends", *PACKAGES]
    with mounted():
        _run(_inside(["apt-get", "update", "-qq"]), 300)
        _run(_inside(["env", "DEBIAN_FRONTEND=noninteractive", *install]), 1800)
    ready.write_text(" ".join(PACKAGES), "utf-8")


@contextlib.contextmanager
def mounted() -> Generator[None]:
    """Mount what programs in the root need, and unmount it again."""
    points = (("proc", "/proc"), ("bind", "/dev"), ("bind", "/dev/shm"))  # noqa: S108
    done: list[Path] = []
    try:
        for kind, path in points:
            target = SYSTEM / path.lstrip("/")
            target.mkdir(parents=True, exist_ok=True)
            how = ["-t", "proc", "proc"] if kind == "proc" else ["--bind", path]
            _run(["mount", *how, str(target)], 30)
            done.append(target)
        yield
    finally:
        for target in reversed(done):
            # Lazily: a process that is still ending must not keep the mount.
            subprocess.run(["umount", "-l", str(target)], check=False)


def _photograph(work: Path, endpoint: str, picture: Path) -> dict[str, dict[str, Any]]:
    """Show the window and photograph it; return what its script reported.

    Pictures of the reports are named after `picture`, which is the first one's.
    """
    picture.parent.mkdir(parents=True, exist_ok=True)
    kept = {name: picture.with_stem(f"{picture.stem}-{name}") for name in REPORTS[1:]}
    kept[REPORTS[0]] = picture
    said: dict[str, dict[str, Any]] = {}
    # The first start's splash screen would cover what is to be seen.
    quiet = "import bpy; bpy.context.preferences.view.show_splash = False"
    quiet += "; bpy.ops.wm.save_userpref()"
    _run(_inside(["blender", "-b", "--python-expr", quiet]), 120)
    _say("opening the window")
    (work / "stop").unlink(missing_ok=True)
    screen = subprocess.Popen(
        _inside(["Xvfb", DISPLAY, "-screen", "0", f"{SIZE}x24", "+extension", "GLX"]),
        stderr=subprocess.DEVNULL,
    )
    log = ROOT / "build" / "window.log"
    with log.open("wb") as stream:
        width, height = SIZE.split("x")
        blender = subprocess.Popen(
            _inside(
                [
                    *("blender", "--python-exit-code", "1"),
                    *("--window-geometry", "0", "0", width, height),
                    *("-P", f"/tmp/{WORK}/window.py"),  # noqa: S108
                ],
                DRESSFORM_ENDPOINT=endpoint,
                DISPLAY=DISPLAY,
                LIBGL_ALWAYS_SOFTWARE="1",
            ),
            stdout=stream,
            stderr=subprocess.STDOUT,
        )
        try:
            for name in REPORTS:
                said[name] = _wait_for(work / f"{name}.json", blender, log)
                _shoot(work / f"{name}.png", kept[name])
                if name == "ready" and (ROOT / ".venv-photo").exists():  # what sees in photographs
                    shutil.copy2(work / "window_0001.png", work / "person.png")
                (work / f"{name}.seen").touch()
            (work / "stop").touch()
            _end(blender, 60)
        finally:
            blender.kill()
            screen.terminate()
            _end(screen, 10)
            screen.kill()
    if blender.returncode != 0:
        raise CheckFailed(f"Blender ended with {blender.returncode}; see {log}")
    if "Traceback" in log.read_text("utf-8", errors="replace"):  # of a panel that cannot be drawn
        raise CheckFailed(f"something failed in the window; see {log}")
    return said


def _shoot(shot: Path, picture: Path) -> None:
    inside = f"/tmp/{WORK}/{shot.name}"  # noqa: S108
    _run(_inside(["import", "-window", "root", inside], DISPLAY=DISPLAY), 60)
    shutil.copy2(shot, picture)


def _wait_for(ready: Path, blender: subprocess.Popen[bytes], log: Path) -> dict[str, Any]:
    end = time.monotonic() + WINDOW_SECONDS
    while time.monotonic() < end:
        if ready.exists():
            return json.loads(ready.read_text("utf-8"))
        if blender.poll() is not None:
            raise CheckFailed(f"Blender ended with {blender.returncode}; see {log}")
        time.sleep(0.2)
    raise CheckFailed(f"the window was not ready within {WINDOW_SECONDS:.0f} s; see {log}")


def _judge(said: dict[str, dict[str, Any]], work: Path) -> None:
    """Check what the script saw in the window (tests/blender/window.py)."""
    expected = {"category": "Dressform", "shown": True, "errors": []}
    for report, found in said.items():
        for name, value in expected.items():
            # While the view moves, its picture is on its way.
            if found.get(name) != value and (report, name) != ("fit", "shown"):
                raise CheckFailed(
                    f"in the window ({report}), {name} is {found.get(name)!r} and not {value!r}"
                )
    if not said["wardrobe"]["keyed"] or not said["wardrobe"]["worn"]:
        raise CheckFailed(f"in the window, the look is {said['wardrobe']}")
    if "stages" in said["fitted"]:
        _judge_fit(said["fitted"], work)
    portrait = said["portrait"]
    if "portrait" in portrait:
        animated = portrait["keyed"] and portrait["played"]
        if not animated or portrait["painted"] != [256, 256]:
            raise CheckFailed(f"in the window, the portrait is {portrait}")


def _judge_fit(found: dict[str, Any], work: Path) -> None:
    """Check a fit with all stages, one that was given up, and the film of the avatar."""
    _say(
        f"during the fit, {found['drawn']} pictures were drawn, the slowest in "
        f"{found['slowest']:.1f} s; Cancel took {found['cancelled']:.2f} s"
    )
    films = [_pixels(path) for path in sorted(work.glob("fitted_*.png"))]
    made = sorted(path.name for path in (work / "data" / "library").iterdir())
    failures = {
        "a stage of the fit had no picture of its own": not {*STAGES} <= {*found["stages"]}
        or found["pictures"] < len(STAGES),
        "the viewport stood still during the fit": found["drawn"] < MOVES,
        "the window was not photographed during the fit": not found["shot"],
        "Cancel came too late or took too long": not found["running"]
        or found["cancelled"] > CANCEL_SECONDS,
        "after Cancel no other fit can begin": not found["free"],
        f"the library holds {', '.join(made)}": made != ["avatar-person"],
        "frames of the fitted avatar are missing or alike": not len({*films}) == len(films) == 3,
    }
    for failure, happened in failures.items():
        if happened:
            raise CheckFailed(f"{failure}: {found}")


def _render_in_background(work: Path, endpoint: str) -> None:
    """`blender -b scene.blend -E DRESSFORM -a`: frames and exit code, good and bad."""
    _say("rendering in background")
    for name, code in (("scene.blend", 0), ("orthographic.blend", 1)):
        frames = f"/tmp/{WORK}/{name}-frames/f_"  # noqa: S108
        command = ["blender", "-b", f"/tmp/{WORK}/{name}", "-E", "DRESSFORM", "-o", frames]  # noqa: S108
        done = subprocess.run(
            _inside([*command, "-s", "1", "-e", "2", "-a"], DRESSFORM_ENDPOINT=endpoint),
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )
        written = len(list((work / f"{name}-frames").glob("f_*.png")))
        if done.returncode != code or written != (2 if code == 0 else 0):
            raise CheckFailed(
                f"blender -b {name} -E DRESSFORM -a ended with {done.returncode} and wrote "
                f"{written} frames:\n{(done.stdout + done.stderr)[-1500:]}"
            )

    if _pixels(work / "window_0001.png") != _pixels(work / "scene.blend-frames" / "f_0001.png"):
        raise CheckFailed("F12 in the window and -a in background gave different pixels")


def _interrupt(work: Path) -> None:
    """Ctrl-C while a server owes an answer: Blender's break reaches the engine, which lets go."""
    _say("interrupting a render")
    with socket.create_server(("127.0.0.1", 0)) as mute:  # listens, and never says a word
        endpoint = f"tcp://127.0.0.1:{mute.getsockname()[1]}"
        frames = f"/tmp/{WORK}/interrupted/f_"  # noqa: S108
        command = ["blender", "-b", f"/tmp/{WORK}/scene.blend", "-E", "DRESSFORM", "-o", frames]  # noqa: S108
        blender = subprocess.Popen(
            _inside([*command, "-s", "1", "-e", "2", "-a"], DRESSFORM_ENDPOINT=endpoint),
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            for line in blender.stdout or ():
                if "(1 of 1)" in line:
                    break
            time.sleep(0.5)
            pressed = time.monotonic()
            blender.send_signal(signal.SIGINT)
            blender.communicate(timeout=30)
        finally:
            blender.kill()
    took = time.monotonic() - pressed
    if took > INTERRUPT_SECONDS or any((work / "interrupted").glob("f_*")):
        raise CheckFailed(f"an interrupted render took {took:.1f} s to end, or left a frame")


def _pixels(path: Path) -> bytes:
    """Return a PNG's filtered rows; two files of Blender's differ in them if in any pixel."""
    if not path.exists():
        raise CheckFailed(f"the frame {path.name} was not written")
    data, position, packed = path.read_bytes(), 8, b""
    while position < len(data):
        length, kind = struct.unpack(">I4s", data[position : position + 8])
        if kind == b"IDAT":
            packed += data[position + 8 : position + 8 + length]
        position += 12 + length
    return zlib.decompress(packed)


def _inside(command: list[str], **environment: str) -> list[str]:
    settings = {"HOME": f"/tmp/{WORK}", "PATH": "/usr/bin:/bin:/usr/sbin:/sbin", **environment}  # noqa: S108
    settings |= {"BLENDER_USER_RESOURCES": f"/tmp/{WORK}/profile"}  # noqa: S108
    values = [f"{name}={value}" for name, value in settings.items()]
    return ["chroot", str(SYSTEM), "env", "-i", *values, *command]


def _run(command: list[str], seconds: float) -> None:
    done = subprocess.run(command, capture_output=True, text=True, timeout=seconds, check=False)
    if done.returncode != 0:
        words = (done.stdout + done.stderr)[-1500:]
        raise CheckFailed(f"{' '.join(command[:6])} … failed:\n{words}")


def _end(process: subprocess.Popen[bytes], seconds: float) -> None:
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(seconds)


def _say(text: str) -> None:
    print(f"window check: {text}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
