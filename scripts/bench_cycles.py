"""`dressform bench cycles`: an avatar against Cycles rendering the character it was made from.

The same frames of the same person on the same machine, one after the other: Cycles with 16
samples and its denoiser, the neural render path from pose to pixels. Speed alone would be
cheap: PSNR between both stands beside it, and a sheet shows them side by side.
"""

from __future__ import annotations

import json as json_module
import os
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from blender_addon.contract.errors import CaptureError, SetupError
from models.package import DEFAULT_LIBRARY
from scripts.bench import ROOT, bench_blender_program

if TYPE_CHECKING:
    from collections.abc import Sequence

    from PIL.Image import Image

    from training.captures import Capture
    from training.evaluation_truth import Prediction, TrueFrame

SAMPLES = 16
SIZE = 512
SPEED_BOUND = 30.0
_TIMEOUT = 3600
_WARM_UP = 1
"""First frames that do not count: Cycles builds its trees, the network its plans."""


def bench_cycles(
    avatar: str,
    character: Path | None = None,
    capture: Path | None = None,
    frames: int = 8,
    samples: int = SAMPLES,
    size: int = SIZE,
    threads: int = 0,
    blender: Path | None = None,
    library: Path = DEFAULT_LIBRARY,
    pictures: Path | None = None,
    json: Path | None = None,
) -> int:
    """Render a character's frames with Cycles and its avatar's with the network; compare.

    Args:
        avatar: id of its package.
        character: the .blend that the avatar was captured from.
        capture: poses and cameras: its held-out frames that show the whole person.
        frames: how many are rendered; the first one warms up and does not count.
        samples: of Cycles, denoised.
        size: width of the frames in pixels.
        threads: of both; 0 for all cores.
        blender: a Blender 4.2 or newer; default: the one in .venv-blender.
        library: folder of packages.
        pictures: folder for the side-by-side sheet.
        json: also write {"figure": {"value", "bound", "ok"}} to this file.

    Returns:
        0 when the speed bound holds.

    Raises:
        SetupError: there is no Blender, or Cycles did not finish.
        CaptureError: character or capture is not given, or has too few frames.
    """
    from training.captures import Capture
    from training.evaluation_tables import Bound, figure, write_json

    if character is None or capture is None:
        raise CaptureError(
            "a character and its frames are needed", "give --character FILE.blend --capture DIR"
        )
    poses = Capture.open(capture)
    chosen = whole_frames(poses, frames)
    with tempfile.TemporaryDirectory() as folder:
        rendered, cycles_seconds = render_with_cycles(
            character, poses, chosen, Path(folder), samples=samples, size=size, threads=threads,
            blender=blender,
        )  # fmt: skip
        pairs = compare(library, avatar, rendered, size=size, threads=threads)
    cycles = float(np.median(cycles_seconds[_WARM_UP:]))
    neural = float(np.median([pair.seconds for pair in pairs[_WARM_UP:]]))
    figures = {
        "speed_ratio": figure(cycles / neural, Bound(SPEED_BOUND)),
        "cycles_seconds": figure(cycles),
        "neural_seconds": figure(neural),
        "psnr_person": figure(float(np.mean([pair.psnr_person for pair in pairs]))),
        "psnr_box": figure(float(np.mean([pair.psnr_box for pair in pairs]))),
        "samples": figure(float(samples)),
        "frames": figure(float(len(pairs) - _WARM_UP)),
    }
    print(bench_table(figures, avatar, size))
    if json is not None:
        write_json(json, figures)
    if pictures is not None:
        pictures.mkdir(parents=True, exist_ok=True)
        side_by_side(pairs, cycles, neural).save(pictures / f"{avatar}-cycles.png")
    return 0 if all(entry["ok"] for entry in figures.values()) else 1


def whole_frames(capture: Capture, count: int) -> list[int]:
    """Return held-out frames that show the whole person, evenly spread.

    Raises:
        CaptureError: there are not two.
    """
    from training.evaluation import spread

    held_out = capture.frames("held-out")
    tagged = [i for i in held_out if "whole view" in capture.description.frames[i].tags]
    chosen = spread(tagged or held_out, count)
    if len(chosen) < _WARM_UP + 1:
        raise CaptureError(
            f"{capture.folder} has too few held-out frames", "give a capture with at least two"
        )
    return chosen


def write_plan(file: Path, capture: Capture, indices: Sequence[int]) -> None:
    """Write frames of a capture as the plan that capture_character.py reads."""
    bodies = [capture.posed_body(i) for i in indices]
    cameras = [capture.camera(i) for i in indices]
    entries = [capture.description.frames[i] for i in indices]
    np.savez(
        file,
        pose=np.stack([body.pose for body in bodies]),
        transl=np.stack([body.transl for body in bodies]),
        expression=np.stack([body.expression for body in bodies]),
        K=np.stack([camera.K for camera in cameras]),
        R=np.stack([camera.R for camera in cameras]),
        t=np.stack([camera.t for camera in cameras]),
        name=np.array([entry.name for entry in entries]),
        split=np.array([entry.split for entry in entries]),
        tags=np.array([";".join(entry.tags) for entry in entries]),
        betas=capture.betas,
        image_size=np.array(capture.description.image_size),
    )


def render_with_cycles(
    character: Path,
    capture: Capture,
    indices: Sequence[int],
    folder: Path,
    *,
    samples: int,
    size: int,
    threads: int,
    blender: Path | None,
) -> tuple[Capture, list[float]]:
    """Render frames of a capture anew in a real Blender; return them, and seconds a frame."""
    from training.captures import Capture

    write_plan(folder / "plan.npz", capture, indices)
    width, height = capture.description.image_size
    words = [str(folder / "timings.json"), str(character.resolve())]
    words += ["--plan", str(folder / "plan.npz"), "--out", str(folder / "cycles")]
    words += ["--size", f"{size}x{round(height * size / width)}", "--no-depth"]
    words += ["--samples", str(samples), "--held-out-samples", str(samples), "--denoise", "all"]
    words += ["--threads", str(threads)]
    program = bench_blender_program(blender)
    environment = {**os.environ, "BLENDER_USER_RESOURCES": str(folder / "profile")}
    done = subprocess.run(
        program.command(ROOT / "scripts/bench_cycles_blender.py", words),
        env=environment, capture_output=True, text=True, check=False, timeout=_TIMEOUT,
    )  # fmt: skip
    if done.returncode:
        raise SetupError(
            f"Blender stopped with exit code {done.returncode}:\n{(done.stdout + done.stderr)[-2000:]}"
        )
    seconds: list[float] = json_module.loads((folder / "timings.json").read_text())
    if len(seconds) != len(indices):
        raise SetupError(f"Cycles rendered {len(seconds)} of {len(indices)} frames")
    return Capture.open(folder / "cycles"), seconds


@dataclass(frozen=True)
class Pair:
    """A frame by Cycles and by the network.

    Attributes:
        truth: what Cycles rendered.
        neural: what the network shows.
        seconds: that the network took, from pose to pixels.
        psnr_person: dB over the pixels of the person in either.
        psnr_box: dB in the person's box.
    """

    truth: TrueFrame
    neural: Prediction
    seconds: float
    psnr_person: float
    psnr_box: float


def compare(
    library: Path, avatar: str, rendered: Capture, *, size: int, threads: int
) -> list[Pair]:
    """Render an avatar at a capture's frames, one after the other; measure time and likeness."""
    import torch

    from models.avatar import AvatarRenderer
    from models.memory import keep_freed_memory
    from training.evaluation_regions import BodyParts
    from training.evaluation_truth import true_frame
    from training.image_metrics import measure

    torch.set_num_threads(threads or os.cpu_count() or 1)
    keep_freed_memory()  # as in the server's worker
    renderer = AvatarRenderer.load(library, avatar)
    parts = BodyParts.of(renderer.body)
    pairs: list[Pair] = []
    for index in range(len(rendered)):
        frame = true_frame(rendered, index, parts, size)
        started = time.perf_counter()
        passes = renderer.render(frame.body, frame.camera, ("rgba", "masks"))
        seconds = time.perf_counter() - started
        shown = frame.over_background(passes)
        masks = frame.masks if shown.masks is None else shown.masks
        figures = measure(shown.image, masks, frame.image, frame.masks)
        pairs.append(Pair(frame, shown, seconds, figures.psnr_person, figures.psnr_box))
    return pairs


def bench_table(figures: dict[str, dict[str, float]], avatar: str, size: int) -> str:
    """Return the comparison as people read it."""
    value = {name: entry["value"] for name, entry in figures.items()}
    ratio = figures["speed_ratio"]
    return "\n".join(
        [
            f"{avatar}, {value['frames']:.0f} frames, {size} pixels wide",
            f"Cycles, {value['samples']:.0f} samples, denoised: {value['cycles_seconds']:.2f} s",
            f"neural, from pose to pixels: {value['neural_seconds']:.3f} s",
            (
                f"PSNR to Cycles' own frames: {value['psnr_person']:.2f} dB on the person, "
                f"{value['psnr_box']:.2f} dB in its box"
            ),
            (
                f"speed ratio: {ratio['value']:.1f} × (bound ≥ {ratio['bound']:g}: "
                f"{'ok' if ratio['ok'] else 'FAILS'})"
            ),
        ]
    )


def side_by_side(pairs: Sequence[Pair], cycles: float, neural: float) -> Image:
    """Return a sheet: Cycles above, the network below, a column a frame."""
    from PIL import Image as Pictures

    from training.looks import sheet

    def picture(image: np.ndarray) -> Image:
        return Pictures.fromarray((image * 255 + 0.5).clip(0, 255).astype(np.uint8))

    above = [(f"Cycles, {cycles:.2f} s", picture(pair.truth.image)) for pair in pairs]
    below = [
        (f"neural, {neural:.3f} s, {pair.psnr_box:.1f} dB", picture(pair.neural.image))
        for pair in pairs
    ]
    return sheet([*above, *below], len(pairs))
