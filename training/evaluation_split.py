"""Keeping training and measuring apart: by the digests of the frames that a package was made from."""

from __future__ import annotations

from typing import TYPE_CHECKING

from blender_addon.contract.capture import overlapping_frames
from blender_addon.contract.errors import SplitLeak, UnknownModel
from models.package import Manifest, read_manifest

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from training.captures import Capture


def check_split(
    library: Path, manifest: Manifest, capture: Capture, indices: Sequence[int] | None = None
) -> None:
    """Refuse an avatar or dresser that was trained on frames which are to be measured.

    Args:
        library: where the dresser lies.
        manifest: of the avatar.
        capture: what is measured.
        indices: which of its frames; all when omitted.

    Raises:
        SplitLeak: says which package and how many frames.
    """
    packages = [manifest]
    if "dresser" in manifest.requirements:
        try:
            packages.append(read_manifest(library / manifest.requirements["dresser"]))
        except UnknownModel as error:
            raise UnknownModel(f"{manifest.id} needs a dresser: {error.cause}") from error
    entries = capture.description.frames
    measured = [entries[i].digest for i in (range(len(entries)) if indices is None else indices)]
    for package in packages:
        trained = package.data.get("training_frames")
        if not trained:
            raise SplitLeak(
                f"{package.id} does not say which frames it was trained on",
                "export it with `dressform export dressing`, which writes their digests",
            )
        shared = overlapping_frames(trained, measured)
        if shared:
            raise SplitLeak(
                f"{package.id} was trained on {len(shared)} frames of {capture.folder}",
                package=package.id,
                frames=shared,
            )
