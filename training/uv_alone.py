"""The same network with UVs alone: what an avatar's neural texture must beat.

One network per person, trained on the same captures with the avatar's own recipe and as many
steps, but its texture is zero and stays so: the network sees where on the body each pixel lies,
and has to keep the person's looks in its own weights. `dressform train uv-alone` trains it and
keeps what it shows for the benchmark's frames in `training/baselines/uv-alone/`, so that an
evaluation needs no weights.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import fields, replace
from pathlib import Path  # noqa: TC003 - jsonargparse reads the annotations
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from PIL import Image

from blender_addon.contract.capture import overlapping_frames
from blender_addon.contract.errors import SplitLeak, TrainingError
from models.avatar import AvatarRenderer
from models.memory import keep_freed_memory
from models.package import DEFAULT_LIBRARY, read_manifest
from training.dressing_recipe import DressingRecipe
from training.dressing_training import DressingTraining
from training.evaluation_measure import stills
from training.evaluation_truth import SIZE, Prediction, TrueFrame, benchmark_frame
from training.plain_texture import BASELINES
from training.stage import RECIPE_FILE

if TYPE_CHECKING:
    from training.captures import Capture
    from training.evaluation_measure import Method

UV_ALONE_FOLDER = "uv-alone"
NOTES_FILE = "baseline.json"
_TEXTURE_SIZE = 8


def train_uv_alone(
    capture: Path,
    like: Path,
    out: Path,
    baselines: Path = BASELINES,
    benchmark: Path | None = None,
    steps: int | None = None,
    init_from: Path | None = None,
    stop_after: float | None = None,
    library: Path = DEFAULT_LIBRARY,
    device: str = "auto",
    threads: int = 2,
) -> int:
    """Train a person's network on UVs alone and keep its pictures of the benchmark's frames.

    Args:
        capture: the person's training capture.
        like: the avatar's run or package, whose recipe is repeated.
        out: the run's folder; a stopped run goes on from its checkpoint.
        baselines: where the pictures go, as uv-alone/ID.
        benchmark: the person's benchmark capture; default: that of the shipped benchmark.
        steps: default: as many as the avatar's last stage made.
        init_from: packages or a run whose dresser the network starts from.
        stop_after: stop with a checkpoint after so many minutes of this session.
        library: where the capture's body lies.
        device: "auto", "cpu", "cuda" or "cuda:0".
        threads: of torch on the CPU.
    """
    from training.captures import Capture

    torch.set_num_threads(threads)
    keep_freed_memory()
    recipe = without_texture(read_recipe(like), steps or steps_of(like))
    training = DressingTraining(recipe, [capture], out, library=library, device=device)
    name = training.people.ids[0]
    if benchmark is None:
        from training.people.benchmark import open_benchmark

        frozen = open_benchmark()
        if name not in frozen:
            raise TrainingError(
                f"the benchmark has no person {name}", "give its held-out capture: --benchmark DIR"
            )
        measured = frozen[name]
    else:
        measured = Capture.open(benchmark)
    if not training.resume():
        start_without_texture(training, init_from)
    training.run(stop_after=stop_after)
    if recipe.schedule.progress(training.step, training.seconds) < 1.0:
        print(f"{out}: step {training.step}, not finished: run the command again")  # noqa: T201
        return 0
    folder = baselines / UV_ALONE_FOLDER / name
    write_frames(folder, uv_renderer(training), measured, training_notes(training))
    print(folder)  # noqa: T201 - a command's own output
    return 0


def read_recipe(source: Path) -> DressingRecipe:
    """Return the recipe that a run or a package was made with.

    Raises:
        TrainingError: there is none, or it has settings that this version does not know.
    """
    import jsonargparse

    plain = _plain_recipe(source)
    known = {field.name for field in fields(DressingRecipe)}
    parser = jsonargparse.ArgumentParser(exit_on_error=False)
    parser.add_argument("--recipe", type=DressingRecipe)
    given = {"recipe": {name: value for name, value in plain.items() if name in known}}
    try:
        return cast("DressingRecipe", parser.instantiate(parser.parse_object(given)).recipe)
    except (jsonargparse.ArgumentError, ValueError) as error:
        raise TrainingError(
            f"the recipe of {source} is not one of this version: {error}",
            "repeat the avatar's training with this version first",
        ) from error


def steps_of(source: Path) -> int:
    """Return how many steps a run or a package's last stage made."""
    from training.checkpoint import load_checkpoint

    made = _plain_recipe(source).get("steps")
    if made is None:
        made = (load_checkpoint(source) or {}).get("step")
    if not made:
        raise TrainingError(f"{source} does not say how many steps it made", "give --steps")
    return int(made)


def without_texture(recipe: DressingRecipe, steps: int) -> DressingRecipe:
    """Return the same recipe for a texture of zeros that stays as it is."""
    settings: dict[str, Any] = {
        "texture_rate": 0.0,
        "texture_deviation": 0.0,
        "warm_start": 0,
        "texture_size": _TEXTURE_SIZE,
        # A recipe may move parts of the network only; here the network is all there is.
        "trainable": "all",
    }
    known = {field.name for field in fields(recipe.optimiser)}
    optimiser = replace(recipe.optimiser, **{k: v for k, v in settings.items() if k in known})
    return replace(
        recipe,
        optimiser=optimiser,
        weights=replace(recipe.weights, mipmap=0.0),
        schedule=replace(recipe.schedule, steps=steps, minutes=None),
    )


def start_without_texture(training: DressingTraining, init_from: Path | None = None) -> None:
    """Set the network's first values, and every texture to zero.

    Args:
        training: changed in place.
        init_from: packages or a run that has a dresser.
    """
    training.start(init_from)
    with torch.no_grad():
        for texture in training.model.each_texture():
            for level in texture.levels:
                level.zero_()


def uv_renderer(training: DressingTraining) -> AvatarRenderer:
    """Return the render path of what a training has learnt so far, without a texture."""
    dresser = training.averaged_model().dresser.cpu()
    channels = training.recipe.architecture.texture_channels
    texture = torch.zeros(channels, _TEXTURE_SIZE, _TEXTURE_SIZE)
    return AvatarRenderer(training.people.body, texture, dresser, "uv-alone")


def training_notes(training: DressingTraining) -> dict[str, Any]:
    """Return what a baseline's notes say about its training."""
    capture = training.people.captures[0]
    return {
        "command": "dressform train uv-alone",
        "training_capture": capture.digest,
        "training_frames": capture.digests("train"),
        "steps": training.step,
        "minutes": round(training.seconds / 60, 2),
        "recipe": training.recipe.to_plain(),
    }


def write_frames(
    folder: Path, renderer: AvatarRenderer, capture: Capture, notes: dict[str, Any]
) -> None:
    """Render a capture's frames and keep them as lossless webp with their digests.

    Args:
        folder: receives NAME.webp (RGB premultiplied by alpha) and baseline.json.
        renderer: of the baseline.
        capture: whose poses and cameras; frames of sequences are left out.
        notes: of the training; "training_frames" must have none of the capture's.

    Raises:
        SplitLeak: the baseline was trained on frames of the capture.
    """
    entries = capture.description.frames
    shared = overlapping_frames(notes["training_frames"], [entry.digest for entry in entries])
    if shared:
        raise SplitLeak(f"the baseline was trained on {len(shared)} frames of {capture.folder}")
    folder.mkdir(parents=True, exist_ok=True)
    files: dict[str, str] = {}
    for index in stills(capture, range(len(capture))):
        _, _, camera = benchmark_frame(capture, index, SIZE)
        rgba = renderer.render(capture.posed_body(index), camera, ("rgba",))["rgba"]
        path = folder / f"{entries[index].name}.webp"
        temporary = path.with_name(path.name + ".part")
        Image.fromarray(rgba).save(temporary, "WEBP", lossless=True, method=6, exact=True)
        temporary.replace(path)
        files[entries[index].name] = _digest(path)
    content = {"capture": capture.digest, "files": files, **notes}
    text = json.dumps(content, indent=1, sort_keys=True) + "\n"
    (folder / NOTES_FILE).write_text(text, encoding="utf-8")


def stored_frames(folder: Path, capture: Capture) -> Method | None:
    """Return the baseline of a capture's person as a method, or None when there is none.

    Raises:
        TrainingError: the baseline shows other frames than these, or a file is damaged.
    """
    own = folder / capture.description.id
    if not (own / NOTES_FILE).is_file():
        return None
    notes: dict[str, Any] = json.loads((own / NOTES_FILE).read_text(encoding="utf-8"))
    files: dict[str, str] = notes["files"]
    again = (
        f"make it anew: dressform train uv-alone CAPTURE --like models/library/avatar-{own.name}"
    )
    if notes["capture"] != capture.digest:
        raise TrainingError(f"{own} shows the frames of another capture", again)

    def show(frame: TrueFrame) -> Prediction | None:
        path = own / f"{frame.name}.webp"
        if frame.name not in files or frame.camera.width != SIZE:
            return None
        if not path.is_file() or _digest(path) != files[frame.name]:
            raise TrainingError(f"{path} is missing or damaged", again)
        with Image.open(path) as image:
            rgba = np.asarray(image.convert("RGBA"))
        masks = np.zeros_like(rgba[..., :3])
        masks[..., 0] = rgba[..., 3]
        return frame.over_background({"rgba": rgba, "masks": masks})._replace(channels=1)

    return show


def _plain_recipe(source: Path) -> dict[str, Any]:
    if (source / "model.json").is_file():
        recipe = dict(read_manifest(source).recipe)
        if recipe:
            return recipe
    if (source / RECIPE_FILE).is_file():
        return json.loads((source / RECIPE_FILE).read_text(encoding="utf-8"))
    raise TrainingError(
        f"{source} has no recipe", "give the folder of a dressing run or of an avatar's package"
    )


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
