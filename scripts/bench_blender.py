"""Times the render engine inside a real Blender; run by `dressform bench avatar`.

Renders frames of the demo's walk through the extension's engine and writes, for each frame, how
long the engine took from Blender's pose to the pixels in the passes, and the request that it
sent, so that the same requests can be replayed part by part.
"""

# pyright: reportAttributeAccessIssue=false, reportOptionalMemberAccess=false
# pyright: reportMissingModuleSource=false

from __future__ import annotations

import argparse
import json
import sys
import time
from importlib import import_module
from pathlib import Path
from typing import Any

import bpy
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent))

import render_avatar
from headless import find_extension


def main() -> int:
    """Render and write `timings.json` and `requests.npz`; return the exit code."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--avatar", default="")
    parser.add_argument("--frames", type=int, default=24)
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args(sys.argv[sys.argv.index("--") + 1 :])
    words = ["--avatar", options.avatar or "default", "--camera", "static", "--motion", "walk"]
    words += ["--frames", f"1-{options.frames}", "--size", str(options.size)]
    job = render_avatar.parse_job([*words, "--out", str(options.out)])
    extension = find_extension(job.shot.extension)
    try:
        timings, requests = time_frames(job, extension)
    finally:
        bpy.ops.preferences.addon_disable(module=extension)
    (options.out / "timings.json").write_text(json.dumps(timings), encoding="utf-8")
    # No allow_pickle here: the numpy of older Blenders would store it as an array of that name.
    np.savez(options.out / "requests.npz", **requests)  # pyright: ignore[reportArgumentType]
    return 0


def time_frames(
    job: render_avatar.Job, extension: str
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Render a shot; return seconds by frame and the requests' arrays, stacked."""
    library = import_module(f"{extension}.library")
    link = import_module(f"{extension}.connection").current()
    final = import_module(f"{extension}.engine.final")
    known = library.fetch(link.endpoint(), previews=False, revive=link.revive)
    avatar = known.first_or(job.avatar)
    template = library.fetch_template(link.endpoint(), avatar.body, revive=link.revive)
    scene = render_avatar.make_scene(job, extension, avatar, template)
    seconds: list[float] = []
    sent: list[Any] = []
    engine, ask = final.DressformRenderEngine, link.render
    plain_render = engine._render

    def timed_render(self: Any, depsgraph: Any) -> None:
        started = time.perf_counter()
        plain_render(self, depsgraph)
        seconds.append(time.perf_counter() - started)

    def recorded(client: Any, request: Any, **options: Any) -> Any:
        sent.append(request)
        return ask(client, request, **options)

    engine._render, link.render = timed_render, recorded
    try:
        for frame in range(job.shot.frames[0], job.shot.frames[1] + 1):
            scene.frame_set(frame)
            bpy.ops.render.render()
    finally:
        engine._render, link.render = plain_render, ask
    wires = [request.to_wire()[1] for request in sent]
    stacked = {name: np.stack([wire[name] for wire in wires]) for name in wires[0]}
    return {"avatar": avatar.id, "seconds": seconds, "size": list(job.shot.size)}, stacked


if __name__ == "__main__":
    sys.exit(main())
