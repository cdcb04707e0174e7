"""Which frames a sweep renders: poses, cameras, names and splits. No bpy."""

from __future__ import annotations

import hashlib
import zipfile
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ..contract.camera import Camera
from ..contract.errors import BadParameter, DressformError
from ..contract.operations import PosedBody
from ..contract.pose import check_rotations

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from ..contract.capture import Split

_ARRAYS = ("pose", "transl", "expression", "K", "R", "t", "name", "split", "betas", "image_size")


@dataclass(frozen=True, kw_only=True)
class PlannedFrame:
    """One frame of a sweep.

    Attributes:
        name: file name without suffix.
        split: whether training may see it.
        tags: what is special about it.
        body: pose and place; its betas are the character's own.
        camera: where from.
    """

    name: str
    split: Split
    tags: tuple[str, ...]
    body: PosedBody
    camera: Camera

    def digest(self) -> str:
        """Return 16 hexadecimal digits over all that the frame shows."""
        total = hashlib.sha256(f"{self.name}|{self.split}|{self.tags}".encode())
        total.update(f"{self.camera.width}x{self.camera.height}".encode())
        for array in (
            *(self.body.pose, self.body.transl, self.body.betas, self.body.expression),
            *(self.camera.K, self.camera.R, self.camera.t),
        ):
            total.update(np.ascontiguousarray(array, "<f8").tobytes())
        return total.hexdigest()[:16]


def load_plan(path: Path, *, size: tuple[int, int] | None = None) -> list[PlannedFrame]:
    """Read a plan file.

    Args:
        path: an .npz with pose (N, 55, 3, 3), transl (N, 3), expression (N, m), K (N, 3, 3),
            R (N, 3, 3), t (N, 3), name (N,), split (N,), betas (n,) and image_size (2,) or ();
            tags (N,) is optional: words apart by ";".
        size: width and height to render instead; the intrinsics are scaled.

    Raises:
        BadParameter: the file cannot be read, or an array of it is missing or of a wrong shape.
    """
    arrays = _read(path)
    count = len(arrays["pose"])
    for name in ("transl", "expression", "K", "R", "t", "name", "split", "tags"):
        if name in arrays and len(arrays[name]) != count:
            raise BadParameter(f"{path}: {name} has {len(arrays[name])} rows, pose has {count}")
    if count == 0:
        raise BadParameter(f"{path} holds no frame")
    width, height = _size(arrays["image_size"], path)
    frames: list[PlannedFrame] = []
    for index in range(count):
        try:
            frames.append(_frame(arrays, index, (width, height)))
        except DressformError as error:
            raise BadParameter(f"{path}: frame {index}: {error.cause}", error.next_step) from error
    names = [frame.name for frame in frames]
    if len(set(names)) != count:
        raise BadParameter(f"{path}: name: a name stands twice")
    return [resized(frame, size) for frame in frames] if size else frames


def resized(frame: PlannedFrame, size: tuple[int, int]) -> PlannedFrame:
    """Return the frame at another size of the same shape.

    Raises:
        BadParameter: the new size has another ratio of width to height.
    """
    camera = frame.camera
    scale = size[0] / camera.width
    if abs(camera.height * scale - size[1]) > 0.5:
        raise BadParameter(
            f"a plan of {camera.width}×{camera.height} pixels cannot be rendered at "
            f"{size[0]}×{size[1]}",
            "give a size of the same shape",
        )
    return replace(frame, camera=camera.cropped(0.0, 0.0, *size, scale))


def _read(path: Path) -> dict[str, NDArray[Any]]:
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
    except FileNotFoundError as error:
        raise BadParameter(f"there is no plan at {path}", "check the path after --plan") from error
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile) as error:
        raise BadParameter(f"{path} is not a readable .npz: {error}") from error
    if "size" in arrays:
        arrays.setdefault("image_size", arrays["size"])
    for name in _ARRAYS:
        if name not in arrays:
            raise BadParameter(f"{path}: {name} is missing", "see docs/own-avatar.md for the form")
    return arrays


def _size(values: NDArray[Any], path: Path) -> tuple[int, int]:
    numbers = [int(value) for value in np.atleast_1d(values).ravel()]
    if len(numbers) not in (1, 2) or min(numbers) < 1:
        raise BadParameter(f"{path}: image_size must be one or two positive numbers")
    return numbers[0], numbers[-1]


def _frame(arrays: dict[str, NDArray[Any]], index: int, size: tuple[int, int]) -> PlannedFrame:
    split = str(arrays["split"][index])
    if split not in ("train", "held-out"):
        raise BadParameter(f'split must be "train" or "held-out", not {split!r}')
    tags = str(arrays["tags"][index]) if "tags" in arrays else ""
    transl = np.asarray(arrays["transl"][index], np.float32)
    expression = np.asarray(arrays["expression"][index], np.float32)
    betas = np.asarray(arrays["betas"], np.float32)
    if transl.shape != (3,) or expression.ndim != 1 or betas.ndim != 1:
        raise BadParameter("transl, expression or betas has a wrong shape")
    if not all(np.isfinite(values).all() for values in (transl, expression, betas)):
        raise BadParameter("transl, expression or betas holds numbers that are not finite")
    return PlannedFrame(
        name=str(arrays["name"][index]),
        split=split,
        tags=tuple(tag for tag in tags.split(";") if tag),
        body=PosedBody(
            pose=check_rotations(arrays["pose"][index]),
            transl=transl,
            betas=betas,
            expression=expression,
        ),
        camera=Camera(
            K=arrays["K"][index],
            R=arrays["R"][index],
            t=arrays["t"][index],
            width=size[0],
            height=size[1],
        ),
    )
