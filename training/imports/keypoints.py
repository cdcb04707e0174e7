"""Which keypoints belong to which frame: OpenPose's files, or People-Snapshot's table."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

from training.imports.arrays import open_rows, rows, wrong
from training.imports.frames import ByName, files_of
from training.imports.openpose import Keypoints, read_openpose
from training.imports.people_snapshot import KEYPOINTS_STEM

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

KEYPOINT_FOLDERS = ("keypoints", "openpose", "openpose_json")
_SUFFIX = "_keypoints"


class KeypointSource(Protocol):
    """Where a take's keypoints come from."""

    def read(self, index: int, frame: str) -> list[Keypoints]:
        """Return the people seen in a frame; none where there are no keypoints.

        Raises:
            CaptureError: the keypoints cannot be read.
        """
        ...


@dataclass(frozen=True)
class KeypointFolder:
    """OpenPose's JSON files, named as the frames, with or without `_keypoints`."""

    files: ByName

    def read(self, index: int, frame: str) -> list[Keypoints]:  # noqa: ARG002
        """Return the people seen in a frame."""
        path = self.files.find(frame)
        return [] if path is None else read_openpose(path)


@dataclass(frozen=True)
class KeypointTable:
    """People-Snapshot's keypoints: (N, 54), 18 keypoints a frame, in distorted pixels."""

    values: NDArray[np.float64]
    undistort: Callable[[NDArray[np.float64]], NDArray[np.float64]]

    def read(self, index: int, frame: str) -> list[Keypoints]:  # noqa: ARG002
        """Return the person of a frame."""
        if index >= len(self.values):
            return []
        points = self.values[index].reshape(18, 3).copy()
        points[:, :2] = self.undistort(points[:, :2])
        return [Keypoints(body=points)]


def find_keypoints(folder: Path, given: Path | None) -> KeypointFolder | None:
    """Return the OpenPose files of a take, or None when it has none.

    Raises:
        CaptureError: the given folder holds none.
    """
    places = [folder / name for name in KEYPOINT_FOLDERS] if given is None else [given]
    found = next((place for place in places if place.is_dir()), None)
    if found is None:
        if given is not None:
            raise wrong(given, "", "is not a folder of keypoints")
        return None
    paths = files_of(found, (".json",))
    if not paths:
        raise wrong(found, "", "holds no OpenPose files", "write them with openpose --write_json")
    return KeypointFolder(ByName({path.stem.removesuffix(_SUFFIX): path for path in paths}))


def read_keypoint_table(
    folder: Path, undistort: Callable[[NDArray[np.float64]], NDArray[np.float64]]
) -> KeypointTable | None:
    """Return the keypoints of a People-Snapshot folder, or None when it has none.

    Raises:
        CaptureError: they are of another shape, or not finite.
    """
    files = [folder / f"{KEYPOINTS_STEM}{suffix}" for suffix in (".hdf5", ".h5", ".npz")]
    if not any(path.is_file() for path in files):
        return None
    with open_rows(folder, KEYPOINTS_STEM) as (path, tables):
        values = np.asarray(rows(tables, "keypoints", path, 54)[:], np.float64)
    if not np.isfinite(values).all():
        raise wrong(path, "keypoints", "holds numbers that are not finite")
    return KeypointTable(values, undistort)
