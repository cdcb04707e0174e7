"""First values of a training: packages of an earlier one, or plain RGB textures."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from blender_addon.contract.errors import TrainingError
from models.dresser import grown
from models.package import Manifest, list_packages, load_arrays, read_manifest
from training.checkpoint import load_checkpoint
from training.dressing_model import average_state, spread_over_levels
from training.plain_texture import fit_plain_texture, read_plain_texture

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from torch import Tensor

    from training.dressing_data import Frame, People
    from training.dressing_model import DressingModel
    from training.dressing_recipe import DressingData


def start_from_plain_textures(
    model: DressingModel,
    people: People,
    frames: Sequence[Sequence[Frame]],
    data: DressingData,
    *,
    steps: int,
    seed: int,
    leave: set[int],
) -> None:
    """Fit each person's plain texture and copy it into the first three channels.

    Colours and faces then come sooner.

    Args:
        model: changed in place.
        people: captures and body.
        frames: training frames per person.
        data: crops of the fit.
        steps: of the fit; 0 leaves the textures as they are.
        seed: of the fit's crops.
        leave: people whose textures stay as they are.
    """
    if steps <= 0:
        return
    for person, texture in enumerate(model.each_texture()):
        if person in leave:
            continue
        colour = fit_plain_texture(
            people, person, frames[person], data, steps=steps, seed=seed, size=texture.size
        )
        # Centred and at the scale of −1…1, as the network's other inputs.
        spread_over_levels(texture, 2.0 * colour - 1.0, slice(0, 3))


def start_from_kept_textures(model: DressingModel, people: People, folder: Path) -> set[int]:
    """Copy plain textures that were fitted before into the first three channels.

    Args:
        model: changed in place.
        people: whose ids name the files.
        folder: of `dressform train plain-texture`.

    Returns:
        the people who have one.
    """
    found: set[int] = set()
    for person, name in enumerate(people.ids):
        texture = model.each_texture()[person]
        if not (folder / f"{name}.png").is_file():
            continue
        colour = read_plain_texture(folder, name)
        if colour.shape[-1] == texture.size:
            spread_over_levels(texture, 2.0 * colour - 1.0, slice(0, 3))
            found.add(person)
    return found


def start_from(model: DressingModel, people: People, source: Path) -> set[int]:
    """Take the dresser, and the textures of known people, from a run or from packages.

    Args:
        model: changed in place.
        people: matched by the ids of their captures.
        source: a run's folder, a library, or the package of one avatar or dresser.

    Returns:
        the people whose textures were found.

    Raises:
        TrainingError: there is no fitting dresser.
    """
    state = load_checkpoint(source)
    if state is None:
        return start_from_packages(model, people, source)
    values = average_state(state["model"], state["average"])
    own: dict[str, Tensor] = {}
    known: list[str] = state["people"]
    for name, value in values.items():
        part, _, rest = name.partition(".")
        if part != "textures":
            own[name] = value
            continue
        index, _, level = rest.partition(".")
        if known[int(index)] in people.ids:
            own[f"textures.{people.ids.index(known[int(index)])}.{level}"] = value
    try:
        model.load_state_dict({**model.state_dict(), **own})
    except RuntimeError as error:
        raise TrainingError(
            f"the run {source} is of another architecture", "give the recipe that it was run with"
        ) from error
    return {i for i, name in enumerate(people.ids) if name in known}


def start_from_packages(model: DressingModel, people: People, source: Path) -> set[int]:
    """Take the dresser, and the textures of known people, from packages.

    Args:
        model: changed in place.
        people: whose ids name avatars "avatar-<id>".
        source: a library, or the package of one avatar or dresser in it.

    Returns:
        the people whose textures were found whole: none when the model has an input skip that
        the dresser lacked, because their first three channels then need plain colours.

    Raises:
        TrainingError: there is no fitting dresser.
    """
    library, dresser = _dresser_of(source, people)
    try:
        arrays = load_arrays(library / dresser.id)
        gains_skip = model.dresser.skip is not None and "skip.weight" not in arrays
        model.dresser.load_state_dict(grown(arrays, model.dresser))
    except RuntimeError as error:
        raise TrainingError(
            f"the dresser {dresser.id!r} is of another architecture",
            "give the architecture that its model.json names",
        ) from error
    found: set[int] = set()
    for person, name in enumerate(people.ids):
        folder = library / f"avatar-{name}"
        if not folder.is_dir() or read_manifest(folder).requirements["dresser"] != dresser.id:
            continue
        image = load_arrays(folder)["texture"].float()
        texture = model.each_texture()[person]
        with torch.no_grad():
            spread_over_levels(texture, image, slice(0, len(image)))
        found.add(person)
    # With a new skip the first three channels mean colour, which those textures do not promise.
    return set() if gains_skip else found


def _dresser_of(source: Path, people: People) -> tuple[Path, Manifest]:
    """Return the library and the dresser's manifest that a path stands for."""
    if (source / "model.json").is_file():
        manifest = read_manifest(source)
        name = manifest.requirements.get("dresser", manifest.id)
        return source.parent, read_manifest(source.parent / name)
    packages = list_packages(source)
    wanted = {f"avatar-{name}" for name in people.ids}
    named = [p.requirements["dresser"] for p in packages if p.id in wanted]
    named += [p.id for p in packages if p.kind == "dresser"]
    if not named:
        raise TrainingError(f"{source} holds no dresser", "give a library that has one")
    return source, read_manifest(source / named[0])
