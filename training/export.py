"""`dressform export dressing`: a run's checkpoint becomes packages of a library.

A run that trained the whole dresser gives one package for the dresser, float16, and one per
person: the assembled neural texture, float16. A run of phase 2 that left the shared dresser as it
was (`optimiser.trainable: texture`), or moved a small part of it (`delta`), gives avatars alone,
which require the dresser that the run started from. The running average of the weights is
exported, and what is rendered from the packages is what was measured.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path  # noqa: TC003 - jsonargparse reads the command's annotations
from typing import TYPE_CHECKING, Any, Literal

import torch

from blender_addon.contract.errors import TrainingError
from blender_addon.contract.versions import PACKAGE_FORMAT, PACKAGE_FORMAT_DELTA
from models.avatar import AvatarRenderer
from models.avatar_preview import preview, side_by_side
from models.crop import MAX_SIZE, MULTIPLE
from models.dresser import Dresser, DresserConfig
from models.dresser_delta import delta_of, is_in_delta, moved_outside
from models.package import (
    DEFAULT_LIBRARY,
    Manifest,
    list_packages,
    load_arrays,
    package_digest,
    write_package,
)
from training.captures import find_captures
from training.checkpoint import load_checkpoint
from training.dressing_data import People
from training.dressing_model import DressingModel, average_state
from training.stage import RECIPE_FILE

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    import numpy as np
    from numpy.typing import NDArray
    from PIL.Image import Image
    from torch import Tensor

Trainable = Literal["all", "delta", "texture"]

LARGEST_CROP = 1024
"""Crops of avatars that were trained on larger frames than this are enlarged all the same."""


@dataclass(frozen=True, kw_only=True)
class TrainedDressing:
    """A run's outcome in the precision in which it ships.

    Attributes:
        dresser: state dict, floats as float16.
        textures: per person (C, S, S) float16.
        betas: per person (n,) float32: the capture's, corrected where the run refined its fits.
        architecture: of the dresser.
        recipe: as run, with steps and minutes.
        people: captures and body.
        figures: the last measured on held-out frames.
    """

    dresser: dict[str, Tensor]
    textures: list[Tensor]
    betas: list[NDArray[np.float32]]
    architecture: DresserConfig
    recipe: dict[str, Any]
    people: People
    figures: dict[str, float]

    @property
    def trainable(self) -> Trainable:
        """What the run moved of the dresser: all of it, a delta, or (texture) nothing."""
        return self.recipe["optimiser"].get("trainable", "all")


def export_dressing(
    run: Path,
    captures: Path | list[Path],
    library: Path = DEFAULT_LIBRARY,
    name: str | None = None,
    ids: list[str] | None = None,
    shared: Path = DEFAULT_LIBRARY,
) -> int:
    """Write a run's avatars as packages, and its dresser if the run trained all of it.

    Args:
        run: folder of `dressform train dressing`.
        captures: those of the training: the folder that holds them, or a list in its order.
        library: where the packages go; those of the same ids are replaced, others left alone.
        name: the dresser becomes "dresser-<name>"; when omitted, "people" or the only person's id.
        ids: only these people; all when omitted.
        shared: a second library to look through for the body, and for the dresser that a phase 2
            started from.
    """
    libraries = (library, shared)
    trained = read_run(run, People.open(find_captures(captures), libraries))
    for folder in write_packages(trained, library, name, ids, libraries):
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
        betas=_betas(people, state.get("refinement")),
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
    trained: TrainedDressing,
    library: Path,
    name: str | None = None,
    ids: list[str] | None = None,
    libraries: Sequence[Path] = (),
) -> list[Path]:
    """Write packages of a run; each whole or not at all, none but the run's own touched.

    Args:
        trained: the run's outcome.
        library: where the packages go.
        name: of the dresser: see `export_dressing`.
        ids: only these people.
        libraries: where to look for the dresser that a phase 2 started from; `library` when empty.

    Returns:
        the packages' folders, a dresser first.

    Raises:
        TrainingError: an id is not one of the training's people; the dresser of a phase 2 is
            not found; the dresser would replace one that other avatars wear.
    """
    people = trained.people
    unknown = set(ids or ()) - set(people.ids)
    if unknown:
        raise TrainingError(
            f"the run has no person {', '.join(sorted(unknown))}",
            f"its people are {', '.join(people.ids)}",
        )
    wanted = [i for i, its_id in enumerate(people.ids) if ids is None or its_id in ids]
    if trained.trainable != "all":
        worn = started_from(trained, libraries or (library,))
        previews = {i: _preview(trained, i) for i in wanted}
        written: list[Path] = []
    else:
        name = name or ("people" if len(people.ids) > 1 else people.ids[0])
        folder = library / f"dresser-{name}"
        _check_nobody_else_wears(trained, folder, [people.ids[i] for i in wanted])
        previews = {i: _preview(trained, i) for i in range(len(people.ids))}
        sheet = side_by_side(list(previews.values()))
        worn = write_package(
            folder, _dresser_manifest(trained, folder.name), trained.dresser, sheet
        )
        written = [folder]
    for person in wanted:
        manifest = _avatar_manifest(trained, person, worn)
        arrays = {"texture": trained.textures[person]}
        if trained.trainable == "delta":
            arrays |= delta_of(trained.dresser)
        write_package(library / manifest.id, manifest, arrays, previews[person])
        written.append(library / manifest.id)
    return written


def started_from(trained: TrainedDressing, libraries: Iterable[Path]) -> Manifest:
    """Find the dresser that a phase 2 started from: the one whose other tensors it still has.

    Args:
        trained: of a run with `trainable` "delta" or "texture".
        libraries: folders of packages.

    Raises:
        TrainingError: no dresser has them.
    """
    differing: list[tuple[int, str]] = []
    for library in libraries:
        for manifest in list_packages(library):
            if manifest.kind != "dresser":
                continue
            if DresserConfig.from_plain(manifest.architecture) != trained.architecture:
                continue
            changed = _changed(trained, load_arrays(library / manifest.id))
            if not changed:
                return manifest
            differing.append((len(changed), manifest.id))
    found = "no dresser of this architecture is there"
    if differing:
        found = "the nearest, {1!r}, differs in {0} tensors".format(*min(differing))
    raise TrainingError(
        f"the dresser that the run started from is not in {_listed(libraries)}: {found}",
        "give the library that holds it, as it was, with --shared",
    )


def renderer(trained: TrainedDressing, person: int) -> AvatarRenderer:
    """Return what will render a person once the packages are written."""
    dresser = Dresser(trained.architecture)
    dresser.load_state_dict(trained.dresser)
    return AvatarRenderer(
        trained.people.body,
        trained.textures[person],
        dresser,
        "unsaved",
        largest_crop=_largest_crop(trained, person),
    )


def _preview(trained: TrainedDressing, person: int) -> Image:
    return preview(renderer(trained, person), trained.betas[person])


def _changed(trained: TrainedDressing, shared: Mapping[str, Tensor]) -> list[str]:
    """Return the names of tensors that the run was not to move, and that are not the shared ones."""
    changed = moved_outside(shared, trained.dresser)
    if trained.trainable == "texture":
        changed += [
            name
            for name, value in trained.dresser.items()
            if is_in_delta(name) and not torch.equal(value, shared[name].half())
        ]
    return changed


def _check_nobody_else_wears(
    trained: TrainedDressing, folder: Path, replaced: Sequence[str]
) -> None:
    """Refuse to replace a dresser under avatars that were trained with the old one."""
    others = [
        manifest.id
        for manifest in list_packages(folder.parent)
        if manifest.requirements.get("dresser") == folder.name
        and manifest.id.removeprefix("avatar-") not in replaced
    ]
    if not others or not folder.is_dir():
        return
    old = load_arrays(folder)
    if set(old) != set(trained.dresser) or any(
        not torch.equal(old[name], value) for name, value in trained.dresser.items()
    ):
        raise TrainingError(
            f"{folder.name!r} would be replaced, but {', '.join(others)} wear it",
            "give another --name, export all people of the run, or remove those avatars first",
        )


def _dresser_manifest(trained: TrainedDressing, dresser_id: str) -> Manifest:
    people = trained.people
    licences = sorted({capture.description.licence for capture in people.captures})
    count = len(people.captures)
    return Manifest(
        kind="dresser",
        id=dresser_id,
        name=f"Dresser of {count} people" if count > 1 else f"Dresser of {people.ids[0]}",
        licence=" AND ".join(licences),
        architecture=trained.architecture.to_plain(),
        recipe=trained.recipe,
        data={
            "captures": [_capture_facts(people, i) for i in range(count)],
            "training_frames": [d for capture in people.captures for d in capture.digests("train")],
        },
        metrics=trained.figures,
    )


def _avatar_manifest(trained: TrainedDressing, person: int, dresser: Manifest) -> Manifest:
    people = trained.people
    capture = people.captures[person]
    texture = trained.textures[person]
    largest = _largest_crop(trained, person)
    return Manifest(
        kind="avatar",
        id=f"avatar-{people.ids[person]}",
        name=str(capture.description.source.get("name", people.ids[person].capitalize())),
        licence=capture.description.licence,
        architecture={
            "texture_channels": texture.shape[0],
            "texture_size": texture.shape[1],
            "betas": [round(float(b), 5) for b in trained.betas[person]],
            "dresser_digest": package_digest(dresser),
            "dresser_delta": trained.trainable == "delta",
        }
        | ({"largest_crop": largest} if largest != MAX_SIZE else {}),
        requirements={"body": capture.description.body, "dresser": dresser.id},
        recipe=trained.recipe,
        data={
            "captures": [_capture_facts(people, person)],
            "training_frames": capture.digests("train"),
        },
        metrics=trained.figures,
        format=PACKAGE_FORMAT_DELTA if trained.trainable == "delta" else PACKAGE_FORMAT,
    )


def _largest_crop(trained: TrainedDressing, person: int) -> int:
    """Return the network resolution up to which the training showed a whole person's scale."""
    side = max(trained.people.captures[person].description.image_size)
    finest = float(trained.recipe["data"].get("finest", 1.0))
    return max(MAX_SIZE, min(int(side / max(finest, 1.0)), LARGEST_CROP) // MULTIPLE * MULTIPLE)


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


def _betas(people: People, refinement: Mapping[str, Tensor] | None) -> list[NDArray[np.float32]]:
    """Return everyone's shape, with the corrections of `FitRefinement.betas` where there are any."""
    given = [capture.betas for capture in people.captures]
    if refinement is None:
        return given
    corrections = refinement["betas"].cpu().numpy()
    return [b + corrections[person, : len(b)] for person, b in enumerate(given)]


def _listed(libraries: Iterable[Path]) -> str:
    return ", ".join(dict.fromkeys(map(str, libraries)))


def _half(value: Tensor) -> Tensor:
    return value.half() if value.is_floating_point() else value
