"""The library as the server sees it: folders of model packages, read again when they change.

Needs no torch: the broker lists packages with it, workers learn from it that one has changed.
"""

from __future__ import annotations

import hashlib
import logging
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

from blender_addon.contract.errors import ModelError, PackageDamaged, UnknownModel
from blender_addon.contract.operations import is_model_id
from models.package import MANIFEST_FILE, PREVIEW_FILE, package_digest, read_manifest

if TYPE_CHECKING:
    from pathlib import Path

    from models.package import Manifest

log = logging.getLogger(__name__)

_MAX_DEPTH = 8


@dataclass(frozen=True)
class _Seen:
    stamp: tuple[int, int, int]
    manifest: Manifest


class Library:
    """Model packages of one folder; safe to use from several threads."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._seen: dict[str, _Seen] = {}
        self._lock = threading.Lock()

    def manifest(self, model: str) -> Manifest:
        """Return a package's model.json, read again when it changed on disk.

        Raises:
            UnknownModel: no such package.
            PackageDamaged: its model.json is not valid.
        """
        if not is_model_id(model):
            raise UnknownModel(f"{model!r} is not the id of a model package")
        try:
            status = (self.folder / model / MANIFEST_FILE).stat()
        except OSError as error:
            raise UnknownModel(f"the library has no model {model!r}", model=model) from error
        stamp = (status.st_mtime_ns, status.st_size, status.st_ino)
        with self._lock:
            seen = self._seen.get(model)
        if seen is None or seen.stamp != stamp:
            seen = _Seen(stamp, read_manifest(self.folder / model))
            with self._lock:
                self._seen[model] = seen
        return seen.manifest

    def digest(self, model: str) -> str:
        """Return the digest of a package and of all it requires: what its renders depend on.

        Raises:
            UnknownModel: it or a package that it requires is missing.
            PackageDamaged: a model.json is not valid.
        """
        parts: list[str] = []
        self._collect(model, parts, depth=0)
        if len(parts) == 1:
            return parts[0]
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]

    def manifests(self) -> list[Manifest]:
        """Return all valid packages by id; damaged ones are logged and left out."""
        found: list[Manifest] = []
        if not self.folder.is_dir():
            return found
        for folder in sorted(self.folder.iterdir()):
            if not is_model_id(folder.name) or not (folder / MANIFEST_FILE).is_file():
                continue
            try:
                found.append(self.manifest(folder.name))
            except ModelError as error:
                log.warning("package left out model=%s cause=%s", folder.name, error.cause)
        return found

    def preview_file(self, model: str) -> Path:
        """Return the path of a package's picture.

        Raises:
            UnknownModel: no such package, or it has no picture.
        """
        if PREVIEW_FILE not in self.manifest(model).files:
            raise UnknownModel(
                f"the model {model!r} has no preview",
                "show a placeholder; the model itself can be used",
                model=model,
            )
        return self.folder / model / PREVIEW_FILE

    def _collect(self, model: str, parts: list[str], depth: int) -> None:
        if depth > _MAX_DEPTH:
            raise PackageDamaged(f"the requirements of {model!r} lead round in a circle")
        manifest = self.manifest(model)
        parts.append(package_digest(manifest))
        for _, required in sorted(manifest.requirements.items()):
            self._collect(required, parts, depth + 1)
