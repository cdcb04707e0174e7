"""Model packages: folders of model.json, weights.safetensors and preview.png. Never pickle.

`read_manifest` needs no torch, so the broker may list a library. `load_arrays` verifies the
sha256 of every file before a byte of it is used.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from blender_addon.contract.errors import PackageDamaged, UnknownModel
from blender_addon.contract.versions import PACKAGE_FORMAT, PACKAGE_FORMAT_DELTA

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from PIL.Image import Image
    from torch import Tensor

MANIFEST_FILE = "model.json"
WEIGHTS_FILE = "weights.safetensors"
PREVIEW_FILE = "preview.png"

DEFAULT_LIBRARY = Path(__file__).parent / "library"
"""The library of the default models, part of the checkout."""


_DEEPEST = 8
"""Packages that require each other, one below the other."""


def _empty() -> dict[str, Any]:
    return {}


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """The content of model.json.

    Attributes:
        kind: "body", "dresser", "avatar", "wardrobe", "sof", "siw", "portrait" or "parser".
        id: name of the package's folder; letters, digits, "-", "_" and ".".
        name: what people read.
        licence: SPDX identifier.
        architecture: what a loader needs to build the model.
        requirements: ids of other packages by role, e.g. {"body": "body-cc0"}.
        recipe: how it was made: command, seed, settings.
        data: captures with digests, digests of the training frames.
        metrics: measured figures.
        files: sha256 of every other file of the package.
        format: version of this description; `PACKAGE_FORMAT_DELTA` where the weights hold some
            of the dresser's tensors, too.
    """

    kind: str
    id: str
    name: str
    licence: str
    architecture: dict[str, Any] = field(default_factory=_empty)
    requirements: dict[str, str] = field(default_factory=dict[str, str])
    recipe: dict[str, Any] = field(default_factory=_empty)
    data: dict[str, Any] = field(default_factory=_empty)
    metrics: dict[str, Any] = field(default_factory=_empty)
    files: dict[str, str] = field(default_factory=dict[str, str])
    format: int = PACKAGE_FORMAT


def write_package(
    folder: Path,
    manifest: Manifest,
    arrays: Mapping[str, Tensor],
    preview: Image | None = None,
    extra_files: Mapping[str, bytes] | None = None,
) -> Manifest:
    """Write a package whole or not at all; an older one of the same folder is replaced.

    Args:
        folder: the package's folder, named by its id.
        manifest: its description; `files` is filled here.
        arrays: named tensors; any dtype that safetensors knows.
        preview: a square picture of the model.
        extra_files: further files by name, e.g. a label image.

    Returns:
        the manifest as written.
    """
    from safetensors.torch import save_file

    if folder.name != manifest.id:
        raise PackageDamaged(f"package {manifest.id!r} must lie in a folder of that name")
    folder.parent.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        save_file(
            {name: array.contiguous() for name, array in arrays.items()}, staging / WEIGHTS_FILE
        )
        if preview is not None:
            preview.save(staging / PREVIEW_FILE, optimize=True)
        for name, content in (extra_files or {}).items():
            (staging / name).write_bytes(content)
        digests = {path.name: _sha256(path) for path in sorted(staging.iterdir())}
        written = replace(manifest, files=digests)
        text = json.dumps(asdict(written), indent=1, sort_keys=True, ensure_ascii=False)
        (staging / MANIFEST_FILE).write_text(text + "\n", encoding="utf-8")
        staging.chmod(0o755)
        _swap(staging, folder)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return written


def read_manifest(folder: Path) -> Manifest:
    """Read model.json.

    Raises:
        UnknownModel: there is no such package.
        PackageDamaged: model.json is not valid.
    """
    path = folder / MANIFEST_FILE
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise UnknownModel(f"there is no model package {folder.name!r}") from error
    except (OSError, ValueError) as error:
        raise PackageDamaged(f"{path} cannot be read: {error}") from error
    if not isinstance(values, dict):
        raise PackageDamaged(f"{path} is not a JSON map")
    plain = cast("dict[str, Any]", values)
    if plain.get("format") not in (PACKAGE_FORMAT, PACKAGE_FORMAT_DELTA):
        raise PackageDamaged(
            f"{path}: format is neither {PACKAGE_FORMAT} nor {PACKAGE_FORMAT_DELTA}",
            "use the version of the project that wrote it, or a newer one",
        )
    known = {f.name for f in fields(Manifest)}
    for name in ("kind", "id", "name", "licence"):
        if not isinstance(plain.get(name), str) or not plain[name]:
            raise PackageDamaged(f"{path}: {name} must be a text")
    for name in ("architecture", "requirements", "recipe", "data", "metrics", "files"):
        if not isinstance(plain.get(name, {}), dict):
            raise PackageDamaged(f"{path}: {name} must be a map")
    manifest = Manifest(**{name: value for name, value in plain.items() if name in known})
    if manifest.id != folder.name:
        raise PackageDamaged(f"{path}: the id {manifest.id!r} is not the folder's name")
    return manifest


def find_package(library: Path | Sequence[Path], model: str) -> Path:
    """Return the folder of a package: in the first library that holds it.

    Where none does, the folder that it would have in the first one, so that reading it fails
    with its name.
    """
    libraries = [library] if isinstance(library, Path) else list(library)
    holding = (each for each in libraries if (each / model / MANIFEST_FILE).is_file())
    return next(holding, libraries[0]) / model


def load_arrays(folder: Path, *, device: str = "cpu", verify: bool = True) -> dict[str, Tensor]:
    """Load the weights of a package.

    Args:
        verify: compare the sha256 of every file first.

    Raises:
        UnknownModel: there is no such package.
        PackageDamaged: a file is missing or differs from model.json.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    manifest = read_manifest(folder)
    if verify:
        verify_files(folder, manifest)
    try:
        return load_file(folder / WEIGHTS_FILE, device=device)
    except (OSError, SafetensorError) as error:
        raise PackageDamaged(f"{folder / WEIGHTS_FILE} cannot be read: {error}") from error


def verify_files(folder: Path, manifest: Manifest) -> None:
    """Raise `PackageDamaged` unless every file is as model.json says."""
    for name, digest in manifest.files.items():
        path = folder / name
        if Path(name).name != name or not path.is_file():
            raise PackageDamaged(f"{path} is missing")
        if _sha256(path) != digest:
            raise PackageDamaged(f"{path} differs from what {MANIFEST_FILE} says")


def package_digest(manifest: Manifest) -> str:
    """Return 16 hexadecimal digits that name a package's content.

    Only what changes pixels counts: architecture, requirements and weights, so that a new
    preview or a re-measured figure does not invalidate cached frames.
    """
    content = {
        "architecture": manifest.architecture,
        "requirements": manifest.requirements,
        "weights": manifest.files.get(WEIGHTS_FILE, ""),
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


def full_digest(model: str, manifest_of: Callable[[str], Manifest]) -> str:
    """Return the digest of a package and of all that it requires: what its renders depend on.

    Args:
        model: id of the package.
        manifest_of: finds a manifest by id.

    Raises:
        PackageDamaged: the requirements lead round in a circle.
    """
    parts = _digests(model, manifest_of, depth=0)
    if len(parts) == 1:
        return parts[0]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


def list_packages(library: Path) -> list[Manifest]:
    """Return the manifests of all valid packages of a library, by id; damaged ones are left out."""
    found: list[Manifest] = []
    if not library.is_dir():
        return found
    for folder in sorted(library.iterdir()):
        if folder.name.startswith(".") or not (folder / MANIFEST_FILE).is_file():
            continue
        try:
            found.append(read_manifest(folder))
        except PackageDamaged:
            continue
    return found


def _digests(model: str, manifest_of: Callable[[str], Manifest], depth: int) -> list[str]:
    if depth > _DEEPEST:
        raise PackageDamaged(f"the requirements of {model!r} lead round in a circle")
    manifest = manifest_of(model)
    parts = [package_digest(manifest)]
    for _, required in sorted(manifest.requirements.items()):
        parts += _digests(required, manifest_of, depth + 1)
    return parts


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _swap(staging: Path, folder: Path) -> None:
    # A folder cannot be replaced in one step: the old one moves aside first, so that a crash
    # in between leaves either of them whole.
    aside = folder.with_name(f".{folder.name}-old-{os.getpid()}")
    if folder.exists():
        folder.rename(aside)
    staging.rename(folder)
    shutil.rmtree(aside, ignore_errors=True)
