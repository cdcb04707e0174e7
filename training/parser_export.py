"""`dressform export parser`: a run's checkpoint becomes a package of a library."""

from __future__ import annotations

import json
from pathlib import Path  # noqa: TC003 - jsonargparse reads the command's annotations
from typing import TYPE_CHECKING

from PIL import Image

from blender_addon.contract.errors import TrainingError
from models.package import DEFAULT_LIBRARY, MANIFEST_FILE, Manifest
from models.parser_network import ParserConfig, ParserNetwork
from models.parser_package import KIND, load_parser, write_parser
from training.checkpoint import load_checkpoint
from training.dressing_model import average_state
from training.stage import RECIPE_FILE

if TYPE_CHECKING:
    from torch import Tensor


def export_parser(
    run: Path,
    library: Path = DEFAULT_LIBRARY,
    id: str = "parser-portraits",  # noqa: A002
    name: str = "Portrait parser",
) -> int:
    """Write a run's parser as a package.

    Args:
        run: folder of `dressform train parser`.
        library: where the package goes; one of the same id is replaced.
        id: of the package.
        name: what people read.
    """
    state = load_checkpoint(run)
    if state is None:
        raise TrainingError(f"{run} holds no checkpoint", "train first, or check the path")
    recipe = json.loads((run / RECIPE_FILE).read_text(encoding="utf-8"))
    network = ParserNetwork(ParserConfig.from_plain(recipe["architecture"]))
    network.decoder.load_state_dict(average_state(state["decoder"], state["average"]))
    folder = library / id
    manifest = Manifest(
        kind=KIND,
        id=id,
        name=name,
        licence="CC0-1.0",
        architecture=network.decoder.config.to_plain(),
        recipe={
            "command": "dressform train parser",
            "steps_made": int(state["step"]),
            "minutes_made": round(float(state["seconds"]) / 60, 2),
            **recipe,
        },
        data={"digest": str(state["digest"])},
        metrics=_last_figures(run),
    )
    write_parser(folder, network, manifest, _preview(run))
    size = sum(path.stat().st_size for path in folder.iterdir()) / 1e6
    print(f"{folder}: {size:.1f} MB")  # noqa: T201 - a command's own output
    return 0


def start_values(source: Path) -> dict[str, Tensor]:
    """Return the decoder's state of a run or of a package.

    Raises:
        TrainingError: the run holds no checkpoint.
    """
    if (source / MANIFEST_FILE).is_file():
        return dict(load_parser(source).decoder.state_dict())
    state = load_checkpoint(source)
    if state is None:
        raise TrainingError(f"{source} holds no checkpoint", "train first, or check the path")
    return average_state(state["decoder"], state["average"])


def _last_figures(run: Path) -> dict[str, float]:
    found: dict[str, float] = {}
    log = run / "log.jsonl"
    if log.is_file():
        for line in log.read_text(encoding="utf-8").splitlines():
            entry: dict[str, float] = json.loads(line)
            found |= {name: value for name, value in entry.items() if name.startswith("held-out/")}
    return found


def _preview(run: Path) -> Image.Image | None:
    """Return held-out photographs and their parsed labels, of the run's last look."""
    looks = sorted((run / "samples").glob("*.png"))
    if not looks:
        return None
    with Image.open(looks[-1]) as sheet:
        side = sheet.height // 6
        cells = [(column, row) for column in (0, 1) for row in (3, 5)]
        preview = Image.new("RGB", (2 * side, 2 * side))
        for place, (column, row) in enumerate(cells):
            box = (column * side, row * side, (column + 1) * side, (row + 1) * side)
            preview.paste(sheet.crop(box), (place // 2 * side, place % 2 * side))
    return preview.resize((256, 256), Image.Resampling.BOX)
