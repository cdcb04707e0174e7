"""`dressform bench avatar`: where the time of an avatar's frame goes, against bounds."""

from __future__ import annotations

import json as json_module
import os
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from blender_addon.contract.camera import Camera
from blender_addon.contract.errors import SetupError
from blender_addon.contract.operations import PosedBody
from server.figures import Figure, milliseconds, publish

if TYPE_CHECKING:
    from collections.abc import Callable

    from models.avatar import AvatarRenderer
    from scripts.environments import Blender

ROOT = Path(__file__).resolve().parent.parent
REPEATS = 3
OVERHEAD_BOUND = 0.6
SURFACE_BOUND = 2.0


def bench_avatar(
    avatar: str = "",
    frames: int = 24,
    blender: Path | None = None,
    json: Path | None = None,
) -> int:
    """Time an avatar's frame from Blender's pose to the pixels in the pass, part by part.

    Args:
        avatar: id in the default library; the first when empty.
        frames: how many frames of 512² Blender renders.
        blender: a Blender 4.2 or newer; default: the one in .venv-blender.
        json: also write {"figure_name": {"value", "bound", "ok"}} to this file.

    Returns:
        0 when every bound holds.

    Raises:
        SetupError: there is no Blender or no extension.
    """
    from server.bench_transport import bench_transport

    with tempfile.TemporaryDirectory() as folder:
        shot = render_shot(Path(folder), avatar, frames, blender)
    figures = [*frame_figures(shot), *bench_transport()]
    return publish(figures, json)


@dataclass(frozen=True)
class Shot:
    """What Blender rendered.

    Attributes:
        avatar: id.
        seconds: of each frame, from Blender's pose to the pixels in the passes.
        requests: the body and camera that each frame sent.
    """

    avatar: str
    seconds: list[float]
    requests: list[tuple[PosedBody, Camera]]


def render_shot(folder: Path, avatar: str, frames: int, blender: Path | None) -> Shot:
    """Render a shot in a real Blender against a server of its own."""
    from blender_addon.local_server import LocalServer, server_command

    found = bench_blender_program(blender)
    archive = _extension()
    environment = {
        **os.environ,
        "DRESSFORM_EXTENSION_ZIP": str(archive),
        "BLENDER_USER_RESOURCES": str(folder / "profile"),
    }
    server = LocalServer.start(
        server_command(str(ROOT / ".venv/bin/python")), cwd=ROOT, log=folder / "server.log"
    )
    try:
        environment["DRESSFORM_ENDPOINT"] = server.endpoint
        words = ["--avatar", avatar, "--frames", str(frames), "--out", str(folder)]
        command = found.command(ROOT / "scripts/bench_blender.py", words)
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, check=False, timeout=900
        )
    finally:
        server.stop()
    if done.returncode:
        raise SetupError(
            f"Blender stopped with exit code {done.returncode}:\n{(done.stdout + done.stderr)[-2000:]}"
        )
    timings: dict[str, Any] = json_module.loads((folder / "timings.json").read_text())
    with np.load(folder / "requests.npz") as arrays:
        requests = [
            _request({name: arrays[name][index] for name in arrays.files}, *timings["size"])
            for index in range(len(timings["seconds"]))
        ]
    return Shot(timings["avatar"], timings["seconds"], requests)


def bench_blender_program(blender: Path | None) -> Blender:
    """Return the Blender that is given, else the one in .venv-blender, else any that is found.

    Raises:
        SetupError: there is none.
    """
    from scripts.environments import Blender, SetupFailed, find_blender

    module = ROOT / ".venv-blender/bin/python"
    try:
        if blender is None and module.is_file():
            return Blender(module, is_module=True)
        return find_blender(blender)
    except SetupFailed as failure:
        raise SetupError(str(failure), "run `python scripts/demo.py` once") from failure


def frame_figures(shot: Shot) -> list[Figure]:
    """Replay the shot's requests part by part; return the figures."""
    import torch

    from models.avatar import AvatarRenderer
    from models.memory import keep_freed_memory
    from models.package import DEFAULT_LIBRARY
    from models.raster import rasterize

    keep_freed_memory()  # as in the server's worker

    renderer = AvatarRenderer.load(DEFAULT_LIBRARY, shot.avatar)
    forward, surface, kernel = [], [], []
    with torch.inference_mode():
        for body, camera in shot.requests:
            geometry = renderer.geometry(body, camera)
            if geometry is None:
                continue
            features = renderer.features(geometry)
            forward.append(_fastest(lambda f=features: renderer.dress(f)))
            surface.append(_fastest(lambda b=body, c=camera: _surface(renderer, b, c)))
            fine = geometry.K * geometry.K.new_tensor([2.0, 2.0, 1.0])[:, None]
            side = 2 * geometry.crop.size
            kernel.append(
                _fastest(
                    lambda g=geometry, K=fine, n=side: rasterize(
                        g.vertices, renderer.body.faces, K, (n, n)
                    )
                )
            )
    # Medians over the frames; the first frames warm Blender, server and caches up.
    frame, network = float(np.median(shot.seconds[4:])), float(np.median(forward))
    ratio, bare = float(np.median(surface)), float(np.median(kernel))
    return [
        milliseconds(
            "frame_ms", frame, "a 512² frame, from Blender's pose to the pixels in the passes"
        ),
        milliseconds("forward_ms", network, "the U-Net alone"),
        Figure(
            name="frame_overhead",
            value=(frame - network) / network,
            bound=OVERHEAD_BOUND,
            unit="×",
            meaning="everything beyond the U-Net's forward, over that forward",
        ),
        milliseconds("surface_ms", ratio, "skinning, rasterising and sampling"),
        Figure(
            name="surface_over_kernel",
            value=ratio / bare,
            bound=SURFACE_BOUND,
            unit="×",
            meaning="the same over the bare rasteriser kernel at the same resolution",
        ),
    ]


def _surface(renderer: AvatarRenderer, body: PosedBody, camera: Camera) -> None:
    geometry = renderer.geometry(body, camera)
    if geometry is not None:
        renderer.features(geometry)


def _fastest(work: Callable[[], object]) -> float:
    """Return the least seconds of `REPEATS` runs after one that warms up."""
    work()
    times: list[float] = []
    for _ in range(REPEATS):
        started = time.perf_counter()
        work()
        times.append(time.perf_counter() - started)
    return min(times)


def _request(arrays: dict[str, np.ndarray], width: int, height: int) -> tuple[PosedBody, Camera]:
    body = PosedBody(
        pose=arrays["pose"],
        transl=arrays["transl"],
        betas=arrays["betas"],
        expression=arrays["expression"],
    )
    extrinsics = arrays["Rt"]
    camera = Camera(
        K=arrays["K"], R=extrinsics[:, :3], t=extrinsics[:, 3], width=width, height=height
    )
    return body, camera


def _extension() -> Path:
    python = ROOT / ".venv/bin/python"
    command = [str(python), str(ROOT / "scripts/build_extension.py"), "--platforms", "current"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SetupError(
            f"the extension could not be built:\n{(done.stdout + done.stderr)[-1000:]}"
        )
    return Path(done.stdout.strip().splitlines()[-1])
