"""`dressform export dressing`: a run's checkpoint becomes packages of a library.

One package for the dresser, float16, and one per person: the assembled neural texture, float16.
The running average of the weights is exported, and what is rendered from the packages is what
was measured.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path  # noqa: TC003 - jsonargparse reads the command's annotations
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from blender_addon.contract.camera import look_at
from blender_addon.contract.errors import TrainingError
from blender_addon.contract.joints import JOINT_COUNT, JOINT_INDEX
from blender_addon.contract.operations import PosedBody
from blender_addon.contract.pose import rotation_from_axis_angle
from models.avatar import AvatarRenderer
from models.dresser import Dresser, DresserConfig
from models.package import DEFAULT_LIBRARY, Manifest, write_package
from training.captures import find_captures
from training.checkpoint import load_checkpoint
from training.dressing_data import People
from training.dressing_model import DressingModel, average_state
from training.dressing_training import RECIPE_FILE
from training.losses import NEUTRAL_GREY

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray
    from torch import Tensor

    from blender_addon.contract.camera import Camera

PREVIEW_SIZE = 512


@dataclass(frozen=True, kw_only=True)
class TrainedDressing:
    """A run's outcome in the precision in which it ships.

    Attributes:
        dresser: state dict, floats as float16.
        textures: per person (C, S, S) float16.
        architecture: of the dresser.
        recipe: as run, with steps and minutes.
        people: captures and body.
        figures: the last measured on held-out frames.
    """

    dresser: dict[str, Tensor]
    textures: list[Tensor]
    architecture: DresserConfig
    recipe: dict[str, Any]
    people: People
    figures: dict[str, float]


def export_dressing(
    run: Path,
    captures: Path | list[Path],
    library: Path = DEFAULT_LIBRARY,
    name: str = "people",
    ids: list[str] | None = None,
) -> int:
    """Write a run's dresser and avatars as packages.

    Args:
        run: folder of `dressform train dressing`.
        captures: those of the training: the folder that holds them, or a list in its order.
        library: where the packages go; those of the same ids are replaced.
        name: the dresser becomes "dresser-<name>".
        ids: only these people; all when omitted.
    """
    trained = read_run(run, People.open(find_captures(captures), library))
    for folder in write_packages(trained, library, name, ids):
        size = sum(path.stat().st_size for path in folder.iterdir()) / 1e6
        print(f"{folder}: {size:.1f} MB")  # noqa: T201 - a command's own output
    return 0


def read_run(run: Path, people: People) -> TrainedDressing:
    """Read a run's checkpoint as it ships.

    Raises:
        TrainingError: there is no checkpoint, or it is of other captures.
    """
    state = load_checkpoint(run)
    if state is None:
        raise TrainingError(f"{run} holds no checkpoint", "train first, or check the path")
    if state["digests"] != [capture.digest for capture in people.captures]:
        raise TrainingError(
            f"{run} was trained on other captures than those given",
            f"give the captures of {', '.join(state['people'])} in this order",
        )
    recipe: dict[str, Any] = json.loads((run / RECIPE_FILE).read_text(encoding="utf-8"))
    config = DresserConfig.from_plain(recipe["architecture"])
    size = int(recipe["optimiser"]["texture_size"])
    model = DressingModel(config, len(people.captures), texture_size=size)
    model.load_state_dict(average_state(state["model"], state["average"]))
    return TrainedDressing(
        dresser={name: _half(value) for name, value in model.dresser.state_dict().items()},
        textures=[_half(t.assemble().detach()) for t in model.each_texture()],
        architecture=config,
        recipe={
            "command": "dressform train dressing",
            "steps": int(state["step"]),
            "minutes": round(float(state["seconds"]) / 60, 2),
            **recipe,
        },
        people=people,
        figures=_last_figures(run),
    )


def write_packages(
    trained: TrainedDressing, library: Path, name: str, ids: list[str] | None = None
) -> list[Path]:
    """Write the dresser's package and one per person; return their folders.

    Raises:
        TrainingError: an id is not one of the training's people.
    """
    people = trained.people
    unknown = set(ids or ()) - set(people.ids)
    if unknown:
        raise TrainingError(
            f"the run has no person {', '.join(sorted(unknown))}",
            f"its people are {', '.join(people.ids)}",
        )
    dresser_id = f"dresser-{name}"
    licences = sorted({capture.description.licence for capture in people.captures})
    frames = [digest for capture in people.captures for digest in capture.digests("train")]
    manifest = Manifest(
        kind="dresser",
        id=dresser_id,
        name=f"Dresser of {len(people.captures)} people",
        licence=" AND ".join(licences),
        architecture=trained.architecture.to_plain(),
        recipe=trained.recipe,
        data={
            "captures": [_capture_facts(people, i) for i in range(len(people.captures))],
            "training_frames": frames,
        },
        metrics=trained.figures,
    )
    written = [library / dresser_id]
    previews = [_preview(trained, i) for i in range(len(people.captures))]
    write_package(written[0], manifest, trained.dresser, _side_by_side(previews))
    for person, its_id in enumerate(people.ids):
        if ids is not None and its_id not in ids:
            continue
        manifest = _avatar_manifest(trained, person, dresser_id)
        folder = library / manifest.id
        arrays = {"texture": trained.textures[person]}
        write_package(folder, manifest, arrays, previews[person])
        written.append(folder)
    return written


def renderer(trained: TrainedDressing, person: int) -> AvatarRenderer:
    """Return what will render a person once the packages are written."""
    dresser = Dresser(trained.architecture)
    dresser.load_state_dict(trained.dresser)
    return AvatarRenderer(trained.people.body, trained.textures[person], dresser, "unsaved")


def preview_pose(betas: NDArray[np.float32]) -> PosedBody:
    """Return a relaxed pose, turned a little from the viewer: three-quarter view."""
    axis_angles = np.zeros((JOINT_COUNT, 3))
    turns = {
        "pelvis": (0.0, 0.45, 0.0),
        "spine2": (0.0, -0.08, 0.0),
        "head": (0.03, -0.2, 0.0),
        "left_shoulder": (0.0, -0.15, -1.1),
        "right_shoulder": (0.0, 0.15, 1.1),
        "left_elbow": (0.0, -0.35, 0.0),
        "right_elbow": (0.0, 0.5, 0.0),
        "left_hip": (-0.12, 0.1, 0.06),
        "right_hip": (0.05, -0.1, -0.06),
        "left_knee": (0.12, 0.0, 0.0),
    }
    for name, turn in turns.items():
        axis_angles[JOINT_INDEX[name]] = turn
    return PosedBody(
        pose=rotation_from_axis_angle(axis_angles).astype(np.float32),
        transl=np.zeros(3, np.float32),
        betas=betas,
        expression=np.zeros(1, np.float32),
    )


def _preview(trained: TrainedDressing, person: int) -> Image.Image:
    render = renderer(trained, person)
    body = preview_pose(trained.people.captures[person].betas)
    camera = _preview_camera(render, body)
    rgba = render.render(body, camera, ("rgba",))["rgba"].astype(np.float32) / 255
    picture = rgba[..., :3] + NEUTRAL_GREY * (1 - rgba[..., 3:])
    return Image.fromarray((picture * 255 + 0.5).clip(0, 255).astype(np.uint8))


def _preview_camera(render: AvatarRenderer, body: PosedBody) -> Camera:
    """Look at the middle of the posed body from the front, slightly from above."""
    size = PREVIEW_SIZE
    up = np.array([0.0, 1.0, 0.0])
    first = look_at(np.array([0.0, 0.4, 4.0]), np.zeros(3), up, focal=size, width=size, height=size)
    geometry = render.geometry(body, first)
    if geometry is None:
        return first
    seen = geometry.vertices[0].numpy()
    world = (seen - first.t) @ first.R
    low, high = world.min(axis=0), world.max(axis=0)
    middle = (low + high) / 2
    distance = 4.0
    focal = 0.86 * size * distance / (high - low).max()
    eye = middle + distance * np.array([0.0, 0.12, 1.0])
    return look_at(eye, middle, up, focal=focal, width=size, height=size)


def _side_by_side(pictures: list[Image.Image]) -> Image.Image:
    width, height = pictures[0].size
    sheet = Image.new("RGB", (width // 2 * len(pictures), height // 2))
    for index, picture in enumerate(pictures):
        small = picture.resize((width // 2, height // 2), Image.Resampling.BOX)
        sheet.paste(small, (index * (width // 2), 0))
    return sheet


def _avatar_manifest(trained: TrainedDressing, person: int, dresser_id: str) -> Manifest:
    people = trained.people
    capture = people.captures[person]
    texture = trained.textures[person]
    return Manifest(
        kind="avatar",
        id=f"avatar-{people.ids[person]}",
        name=str(capture.description.source.get("name", people.ids[person].capitalize())),
        licence=capture.description.licence,
        architecture={
            "texture_channels": texture.shape[0],
            "texture_size": texture.shape[1],
            "betas": [round(float(b), 5) for b in capture.betas],
        },
        requirements={"body": capture.description.body, "dresser": dresser_id},
        recipe=trained.recipe,
        data={
            "captures": [_capture_facts(people, person)],
            "training_frames": capture.digests("train"),
        },
        metrics=trained.figures,
    )


def _capture_facts(people: People, person: int) -> dict[str, Any]:
    capture = people.captures[person]
    return {
        "id": people.ids[person],
        "digest": capture.digest,
        "source": capture.description.source,
    }


def _last_figures(run: Path) -> dict[str, float]:
    """Return the last figures on held-out frames of the training's own captures."""
    figures: dict[str, float] = {}
    log = run / "log.jsonl"
    if log.is_file():
        for line in log.read_text(encoding="utf-8").splitlines():
            entry: Mapping[str, float] = json.loads(line)
            held = {k: v for k, v in entry.items() if k.startswith("held-out/")}
            figures = held or figures
    return {name: round(value, 4) for name, value in figures.items() if value == value}  # noqa: PLR0124 - NaN is not JSON


def _half(value: Tensor) -> Tensor:
    return value.half() if value.is_floating_point() else value
