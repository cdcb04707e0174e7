"""The library as the server sees it: folders of model packages, read again when they change.

Needs no torch: the broker lists packages with it, workers learn from it that one has changed.
"""

from __future__ import annotations

import hashlib
import logging
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

from blender_addon.contract.errors import ModelError, UnknownModel
from blender_addon.contract.fields import is_model_id
from models.package import (
    MANIFEST_FILE,
    PREVIEW_FILE,
    find_package,
    full_digest,
    read_manifest,
)

if TYPE_CHECKING:
    from pathlib import Path

    from models.package import Manifest

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Seen:
    stamp: tuple[int, int, int]
    manifest: Manifest


class Library:
    """Model packages of some folders; safe to use from several threads.

    Args:
        folders: looked through in this order: a package of an earlier one hides those of the
            same id in later ones. Folders may be missing; they are looked for again each time.
    """

    def __init__(self, *folders: Path) -> None:
        self.folders = folders
        self._seen: dict[Path, _Seen] = {}
        self._lock = threading.Lock()

    def manifest(self, model: str) -> Manifest:
        """Return a package's model.json, read again when it changed on disk.

        Raises:
            UnknownModel: no such package.
            PackageDamaged: its model.json is not valid.
        """
        if not is_model_id(model):
            raise UnknownModel(f"{model!r} is not the id of a model package")
        folder = self.package(model)
        try:
            status = (folder / MANIFEST_FILE).stat()
        except OSError as error:
            raise UnknownModel(f"the library has no model {model!r}", model=model) from error
        stamp = (status.st_mtime_ns, status.st_size, status.st_ino)
        with self._lock:
            seen = self._seen.get(folder)
        if seen is None or seen.stamp != stamp:
            seen = _Seen(stamp, read_manifest(folder))
            with self._lock:
                self._seen[folder] = seen
        return seen.manifest

    def package(self, model: str) -> Path:
        """Return the folder that holds a package, or that would hold it in the first library."""
        return find_package(self.folders, model)

    def digest(self, model: str, *others: str) -> str:
        """Return the digest of packages and of all they require: what renders depend on.

        Args:
            model: id of a package.
            others: ids of further ones.

        Raises:
            UnknownModel: it or a package that it requires is missing.
            PackageDamaged: a model.json is not valid.
        """
        digests = [full_digest(each, self.manifest) for each in (model, *others)]
        if not others:
            return digests[0]
        return hashlib.sha256("\n".join(digests).encode()).hexdigest()[:16]

    def manifests(self) -> list[Manifest]:
        """Return all valid packages by id; damaged ones are logged and left out."""
        found: list[Manifest] = []
        names = {
            package.name
            for folder in self.folders
            if folder.is_dir()
            for package in folder.iterdir()
            if is_model_id(package.name) and (package / MANIFEST_FILE).is_file()
        }
        for name in sorted(names):
            try:
                found.append(self.manifest(name))
            except ModelError as error:
                log.warning("package left out model=%s cause=%s", name, error.cause)
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
        return self.package(model) / PREVIEW_FILE
