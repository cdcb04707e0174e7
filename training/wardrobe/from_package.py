"""What a further training takes up from a wardrobe's package: a run's folder may be gone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from blender_addon.contract.errors import TrainingError
from models.dresser_package import load_dresser
from models.package import MANIFEST_FILE, find_package, load_arrays, read_manifest
from models.wardrobe_package import load_wardrobe, training_arrays

if TYPE_CHECKING:
    from pathlib import Path

_CODES = "codes"
_FACE = "face."


def is_package(folder: Path) -> bool:
    """Whether a folder is a package rather than a run."""
    return (folder / MANIFEST_FILE).is_file()


def package_state(folder: Path) -> dict[str, Any]:
    """Return what a checkpoint holds of networks, people and adversaries; nothing of optimisers.

    Args:
        folder: of a wardrobe's package, with its dresser and its body beside it.

    Raises:
        TrainingError: the package keeps no codes.
        UnknownModel: it is of another kind, or its dresser or body is not there.
        PackageDamaged: a file differs from its model.json.
    """
    library, manifest = folder.parent, read_manifest(folder)
    wardrobe = load_wardrobe(library, folder.name)
    dresser = load_dresser(find_package(library, manifest.requirements["dresser"]))
    kept = training_arrays(folder)
    if _CODES not in kept:
        raise TrainingError(
            f"{folder} keeps no codes of the people that it was trained on",
            "start from a package that `dressform export wardrobe` wrote",
        )
    average = {f"generator.{key}": v for key, v in wardrobe.generator.state_dict().items()}
    average |= {f"dresser.{key}": v for key, v in dresser.state_dict().items()}
    average[_CODES] = kept.pop(_CODES)
    discriminators = kept | {
        key: value.float() for key, value in load_arrays(folder).items() if key.startswith(_FACE)
    }
    adversarial = {"discriminators": discriminators, "regressor": None} if kept else None
    return {
        "average": average,
        "people": [entry["id"] for entry in manifest.data["captures"]],
        "adversarial": adversarial,
    }
