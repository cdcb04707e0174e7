"""`dressform evaluate curve`: how many frames of a new person an avatar needs.

From one capture, an orbit video perhaps, phase 2 is trained on 10, 30, 60 and 200 frames, equally
long, each from the same shared dresser, and measured on the same frames that none of them saw:
views of the orbit that were left out, and new poses apart, because a person who stands still
teaches nothing about how cloth moves.

Every count has a folder of its own (capture, run, library, figures.json); what is done is not done
again, and a training that was interrupted goes on from its checkpoint.
"""

from __future__ import annotations

import json as json_module
import shutil
import signal
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from PIL import Image

from blender_addon.contract.capture import DESCRIPTION_FILE, overlapping_frames
from blender_addon.contract.errors import CaptureError, SplitLeak, TrainingError
from models.avatar import AvatarRenderer
from models.memory import keep_freed_memory
from models.package import DEFAULT_LIBRARY, list_packages
from training.captures import Capture, CaptureFrame, CaptureWriter
from training.dressing_data import People
from training.dressing_recipe import DressingRecipe
from training.dressing_training import DressingTraining
from training.evaluation_measure import measure_stills, renderer_method, stills
from training.evaluation_perceptual import yardstick
from training.evaluation_regions import BodyParts
from training.evaluation_tables import Bound, figure, named, write_json
from training.evaluation_truth import GREY, SIZE
from training.export import read_run, write_packages

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from training.evaluation_measure import Method
    from training.evaluation_perceptual import Yardstick
    from training.evaluation_truth import Prediction, TrueFrame

RECIPE = Path(__file__).parent / "recipes" / "dressing-cpu-phase2.yaml"
ORBIT_TAG = "orbit"
FIGURES_FILE = "figures.json"
SHEET_FILE = "sheet.png"
WORST_LOSS = 1.5
"""By how many dB the avatar of few frames may lie below that of many."""
FEW, MANY = 60, 200
"""The counts that this bound compares."""
_SHOWN = 2
"""Frames of each group on the sheet."""
_PRINTED = ("psnr_box", "psnr_person", "ssim_box", "iou_foreground")


@dataclass(frozen=True)
class CurveSplit:
    """Which frames of a capture serve for what, by their indices.

    Attributes:
        pool: training frames, in order, from which each count chooses.
        views: held-out views of the poses in the pool; may be empty.
        poses: held-out frames of other poses; may be empty.
    """

    pool: tuple[int, ...]
    views: tuple[int, ...]
    poses: tuple[int, ...]

    @property
    def groups(self) -> dict[str, tuple[int, ...]]:
        """The held-out frames by what they measure, those that there are."""
        groups = {"views": self.views, "poses": self.poses}
        return {name: indices for name, indices in groups.items() if indices}


def evaluate_curve(
    capture: Path,
    out: Path,
    counts: tuple[int, ...] = (10, 30, 60, 200),
    minutes: float | None = 30.0,
    steps: int | None = None,
    recipe: Path = RECIPE,
    library: Path = DEFAULT_LIBRARY,
    views: int = 20,
    frames: int = 40,
    size: int = SIZE,
    json: Path | None = None,
    device: str = "auto",
    threads: int = 2,
) -> int:
    """Train one person on ever more frames, equally long, and measure each on the same others.

    Args:
        capture: of a person; frames tagged "orbit" are what is trained on, or all of the split
            "train" when there are none.
        out: folder of everything; a second call goes on where the first was stopped.
        counts: numbers of training frames.
        minutes: of training for each count.
        steps: end each training after so many steps instead.
        recipe: YAML of a phase 2.
        library: whose shared dresser they start from.
        views: frames of the orbit to hold out, where the capture holds none out itself.
        frames: measure at most so many views, and so many new poses.
        size: width in pixels to which frames are averaged down.
        json: also write {"figure": {"value", "bound", "ok"}} to this file.
        device: "auto", "cpu", "cuda" or "cuda:0".
        threads: of torch on the CPU.
    """
    torch.set_num_threads(threads)
    keep_freed_memory()
    source = Capture.open(capture)
    split = split_for_curve(source, views, frames)
    _check_counts(counts, split)
    _check_unseen(source, [*split.views, *split.poses], library)
    chosen = _with_length(read_recipe(recipe), minutes, steps)
    results: dict[int, dict[str, float]] = {}
    for count in sorted(set(counts)):
        folder = out / f"frames-{count:03d}"
        if not _train(source, split, count, folder, chosen, library, device):
            print(f"stopped at {count} frames; the same command goes on")  # noqa: T201
            return 130
        results[count] = _measured(source, split, folder, library, size)
    write_sheet(out, sorted(results))
    figures = curve_figures(results)
    print(curve_table(results, split))  # noqa: T201 - a command's own output
    if json is not None:
        write_json(json, figures)
    return 0 if all(entry["ok"] for entry in figures.values()) else 1


def split_for_curve(capture: Capture, views: int, limit: int) -> CurveSplit:
    """Choose what is trained on and what is held out; the same for every count.

    Args:
        capture: of a person.
        views: frames of the orbit to hold out, where the capture holds none out itself.
        limit: at most so many held-out frames of each kind, evenly spread.
    """
    entries = capture.description.frames
    tagged = {i for i, entry in enumerate(entries) if ORBIT_TAG in entry.tags}
    train, held_out = capture.frames("train"), stills(capture, capture.frames("held-out"))
    pool = [i for i in train if i in tagged] or train
    seen = [i for i in held_out if i in tagged]
    if tagged and not seen:
        # Midway between the ends of equal parts, so that the two ends of the orbit stay in.
        places = (np.arange(views) + 0.5) * len(pool) / max(views, 1)
        seen = [pool[int(place)] for place in places]
        pool = [i for i in pool if i not in seen]
    others = [i for i in held_out if i not in tagged]
    return CurveSplit(tuple(pool), tuple(_spread(seen, limit)), tuple(_spread(others, limit)))


def read_recipe(file: Path) -> DressingRecipe:
    """Read a training's recipe from YAML."""
    import jsonargparse

    parser = jsonargparse.ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(DressingRecipe)
    return DressingRecipe(**vars(parser.instantiate(parser.parse_path(file))))


def write_subset(
    capture: Capture, name: str, train: Sequence[int], held_out: Sequence[int], folder: Path
) -> Path:
    """Write a capture of some frames of another; one that is already whole is left as it is.

    Args:
        capture: the source.
        name: id of the copy.
        train: indices of its frames for the split "train", whatever their own.
        held_out: likewise for "held-out".
        folder: of the copy.
    """
    if (folder / DESCRIPTION_FILE).is_file():
        return folder
    shutil.rmtree(folder, ignore_errors=True)
    given = capture.description
    with CaptureWriter(
        folder,
        id=name,
        body=given.body,
        licence=given.licence,
        background=given.background,
        image_size=given.image_size,
        betas=capture.betas,
        image_suffix=given.image_suffix,
        source={**given.source, "frames_of": capture.digest},
    ) as writer:
        for split, indices in (("train", train), ("held-out", held_out)):
            for index in indices:
                entry = given.frames[index]
                writer.add(
                    CaptureFrame(
                        name=entry.name,
                        split="train" if split == "train" else "held-out",
                        tags=entry.tags,
                        image=capture.image(index),
                        masks=capture.masks(index),
                        body=capture.posed_body(index),
                        camera=capture.camera(index),
                    )
                )
    return folder


def curve_figures(results: Mapping[int, Mapping[str, float]]) -> dict[str, dict[str, object]]:
    """Return every figure of every count, and by how much few frames lie below many.

    Args:
        results: by count, figures named "<figure>_<group>".
    """
    figures = {
        f"{name}_of_{count}_frames": figure(value)
        for count, some in results.items()
        for name, value in some.items()
    }
    for group in ("views", "poses"):
        name = f"psnr_box_{group}"
        if all(name in results.get(count, {}) for count in (FEW, MANY)):
            loss = results[MANY][name] - results[FEW][name]
            bound = Bound(WORST_LOSS, at_most=True) if group == "views" else None
            figures[f"loss_of_{FEW}_frames_{group}"] = figure(loss, bound)
    return figures


def curve_table(results: Mapping[int, Mapping[str, float]], split: CurveSplit) -> str:
    """Return the curve as people read it: a row per count, a block per group."""
    lines: list[str] = []
    for group, indices in split.groups.items():
        what = "held-out views" if group == "views" else "new poses"
        lines += [f"{what} ({len(indices)} frames)"]
        lines += ["frames  " + "".join(f"{name:>16}" for name in _PRINTED)]
        for count, figures in sorted(results.items()):
            values = (figures.get(f"{name}_{group}", float("nan")) for name in _PRINTED)
            lines += [f"{count:>6}  " + "".join(f"{value:>16.3f}" for value in values)]
    return "\n".join(lines)


def write_sheet(out: Path, counts: Sequence[int]) -> None:
    """Write the pictures of all counts side by side: truth first, then ever more frames."""
    names = sorted(path.name for path in (out / f"frames-{counts[0]:03d}" / "pictures").iterdir())
    rows: list[NDArray[np.uint8]] = []
    for name in names:
        pairs = [_read(out / f"frames-{count:03d}" / "pictures" / name) for count in counts]
        half = pairs[0].shape[1] // 2
        rows.append(np.concatenate([pairs[0][:, :half], *(p[:, half:] for p in pairs)], axis=1))
    Image.fromarray(np.concatenate(rows)).save(out / SHEET_FILE, optimize=True)


def _train(
    source: Capture,
    split: CurveSplit,
    count: int,
    folder: Path,
    recipe: DressingRecipe,
    library: Path,
    device: str,
) -> bool:
    """Train and export one count; return whether it is finished."""
    if (folder / FIGURES_FILE).is_file():
        return True
    places = np.arange(count) * len(split.pool) / count
    chosen = [split.pool[int(place)] for place in places]
    held_out = (*split.views, *split.poses)
    name = _person(source, folder)
    subset = write_subset(source, name, chosen, held_out, folder / "capture")
    run = folder / "run"
    training = DressingTraining(recipe, [subset], run, library=library, device=device)
    if not training.resume():
        training.start(init_from=library)
    previous = {
        number: signal.signal(number, lambda *_: training.stopping.set())
        for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        training.run(progress=sys.stderr.isatty())
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
    if recipe.schedule.progress(training.step, training.seconds) < 1.0:
        return False
    print(f"{count} frames: {training.step} steps")  # noqa: T201 - a command's own output
    libraries = (folder / "library", library)
    outcome = read_run(run, People.open([subset], libraries))
    write_packages(outcome, folder / "library", libraries=libraries)
    return True


def _person(source: Capture, folder: Path) -> str:
    """Return a name that no avatar of the library has, whose texture would be started from."""
    return f"{source.description.id}-{folder.name}"


def _check_unseen(source: Capture, indices: Sequence[int], library: Path) -> None:
    """Refuse to measure on frames that a shared dresser was trained on."""
    digests = [source.description.frames[index].digest for index in indices]
    for manifest in list_packages(library):
        known = manifest.data.get("training_frames", [])
        if manifest.kind == "dresser" and (same := overlapping_frames(digests, known)):
            raise SplitLeak(
                f"{manifest.id!r} was trained on {len(same)} of the held-out frames",
                "give a person who is new to the shared dresser, or another --library",
            )


def _measured(
    source: Capture, split: CurveSplit, folder: Path, library: Path, size: int
) -> dict[str, float]:
    """Return a count's figures, measured now unless they were before."""
    file = folder / FIGURES_FILE
    if file.is_file():
        return json_module.loads(file.read_text(encoding="utf-8"))
    libraries = [folder / "library", library]
    avatar = AvatarRenderer.load(libraries, f"avatar-{_person(source, folder)}")
    parts = BodyParts.of(avatar.body)
    distance = yardstick()
    figures: dict[str, float] = {}
    for group, indices in split.groups.items():
        means = _means(source, indices, parts, renderer_method(avatar), distance, size, folder)
        figures |= {f"{name}_{group}": value for name, value in means.items()}
    temporary = file.with_suffix(".part")
    temporary.write_text(json_module.dumps(figures, indent=1) + "\n", encoding="utf-8")
    temporary.replace(file)
    return figures


def _means(
    source: Capture,
    indices: Sequence[int],
    parts: BodyParts,
    method: Method,
    distance: Yardstick,
    size: int,
    folder: Path,
) -> dict[str, float]:
    shown = set(_spread(indices, _SHOWN))

    def keep(frame: TrueFrame, what: Mapping[str, Prediction], _psnr: float) -> None:
        if frame.index in shown:
            (folder / "pictures").mkdir(exist_ok=True)
            pair = np.concatenate([frame.image, what["avatar"].image], axis=1)
            picture = Image.fromarray((pair * 255 + 0.5).clip(0, 255).astype(np.uint8))
            picture.save(folder / "pictures" / f"{frame.index:05d}.png")

    measured = measure_stills(
        source, indices, parts, {"avatar": method}, distance, size=size, background=GREY, seen=keep
    )["avatar"]
    means = named(measured.means(), distance.name)
    return {name: float(value) for name, value in means.items() if np.isfinite(value)}


def _check_counts(counts: Sequence[int], split: CurveSplit) -> None:
    if not split.groups:
        raise CaptureError(
            "the capture has no frames to measure on", "give one with held-out frames, or an orbit"
        )
    if not counts or min(counts) < 1 or max(counts) > len(split.pool):
        raise TrainingError(
            f"the capture has {len(split.pool)} frames to train on, "
            f"not {', '.join(map(str, counts))}",
            "give other --counts, fewer --views, or a longer capture",
        )


def _with_length(
    recipe: DressingRecipe, minutes: float | None, steps: int | None
) -> DressingRecipe:
    minutes = None if steps is not None else minutes
    return replace(recipe, schedule=replace(recipe.schedule, minutes=minutes, steps=steps))


def _spread(indices: Sequence[int], limit: int) -> list[int]:
    if len(indices) <= limit:
        return list(indices)
    return [indices[int(k)] for k in np.linspace(0, len(indices) - 1, limit).round()]


def _read(path: Path) -> NDArray[np.uint8]:
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))
