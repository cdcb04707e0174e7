"""The capture format: images of one person with SMPL-X parameters, cameras and masks.

A folder::

    capture.json             what the capture is, its frames and their splits
    parameters.npz           betas (n,); per frame, in the order of capture.json: pose (N, 55, 3, 3),
                             transl (N, 3), expression (N, m), K (N, 3, 3), R (N, 3, 3), t (N, 3);
                             float32, cameras float64
    images/NAME.png|.webp    RGB, sRGB; over black where the background is "black", so that it
                             is premultiplied by the foreground mask
    masks/NAME.png|.webp     RGB = foreground, hands, face, soft, 0…255
    depth/NAME.png           optional: 16-bit grey, millimetres along the viewing axis, 0 = nothing

This module holds the description (capture.json), its validation and the frame digests that
keep splits apart. `capture_writer` writes captures, `training/captures.py` reads them.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np

from .errors import CaptureError
from .versions import CAPTURE_FORMAT

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

DESCRIPTION_FILE = "capture.json"
PARAMETERS_FILE = "parameters.npz"
IMAGE_FOLDER = "images"
MASK_FOLDER = "masks"
DEPTH_FOLDER = "depth"
DEPTH_SUFFIX = ".png"
IMAGE_SUFFIXES = (".png", ".webp")

Split = Literal["train", "held-out"]
Background = Literal["black", "photograph"]


@dataclass(frozen=True, kw_only=True)
class FrameEntry:
    """One frame as capture.json names it.

    Attributes:
        name: file name without suffix.
        split: whether training may see the frame.
        digest: `frame_digest` of its pose and camera.
        tags: what is special about it ("back view", "crossed arms", …).
    """

    name: str
    split: Split
    digest: str
    tags: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class CaptureDescription:
    """The content of capture.json.

    Attributes:
        id: name of the person or take.
        body: id of the body whose parameters the frames carry.
        licence: SPDX identifier or a plain sentence.
        background: "black" for premultiplied images, "photograph" for real ones.
        image_size: width and height in pixels.
        image_suffix: one of `IMAGE_SUFFIXES`.
        frames: in order.
        source: how it was made (command, seed, device): plain values.
    """

    id: str
    body: str
    licence: str
    background: Background
    image_size: tuple[int, int]
    image_suffix: str
    frames: tuple[FrameEntry, ...]
    source: dict[str, Any]

    def to_json(self) -> dict[str, Any]:
        """Return the plain values of capture.json."""
        return {
            "format": CAPTURE_FORMAT,
            "id": self.id,
            "body": self.body,
            "licence": self.licence,
            "background": self.background,
            "image_size": list(self.image_size),
            "image_suffix": self.image_suffix,
            "source": self.source,
            "frames": [
                {"name": f.name, "split": f.split, "digest": f.digest, "tags": list(f.tags)}
                for f in self.frames
            ],
        }


def parse_description(fields: Mapping[str, Any], file: str) -> CaptureDescription:
    """Read the values of capture.json.

    Args:
        fields: the parsed JSON.
        file: its path, for the errors.

    Raises:
        CaptureError: names file and field.
    """
    if fields.get("format") != CAPTURE_FORMAT:
        raise CaptureError(f"{file}: format is not {CAPTURE_FORMAT}", field="format")
    background = _text(fields, "background", file)
    if background not in ("black", "photograph"):
        raise CaptureError(f'{file}: background must be "black" or "photograph"')
    suffix = _text(fields, "image_suffix", file)
    if suffix not in IMAGE_SUFFIXES:
        raise CaptureError(f"{file}: image_suffix must be one of {', '.join(IMAGE_SUFFIXES)}")
    size = fields.get("image_size")
    if not isinstance(size, list) or len(cast("list[Any]", size)) != 2:
        raise CaptureError(f"{file}: image_size must be [width, height]")
    width, height = (_size(value, file) for value in cast("list[Any]", size))
    rows = fields.get("frames")
    if not isinstance(rows, list) or not rows:
        raise CaptureError(f"{file}: frames must be a list of at least one frame")
    frames = tuple(_frame(row, i, file) for i, row in enumerate(cast("list[Any]", rows)))
    names = [frame.name for frame in frames]
    if len(set(names)) != len(names):
        raise CaptureError(f"{file}: frames: a name stands twice")
    source = fields.get("source", {})
    if not isinstance(source, dict):
        raise CaptureError(f"{file}: source must be a map")
    return CaptureDescription(
        id=_text(fields, "id", file),
        body=_text(fields, "body", file),
        licence=_text(fields, "licence", file),
        background=background,
        image_size=(width, height),
        image_suffix=suffix,
        frames=frames,
        source=cast("dict[str, Any]", source),
    )


def frame_digest(
    pose: NDArray[np.floating],
    K: NDArray[np.floating],
    R: NDArray[np.floating],
    t: NDArray[np.floating],
) -> str:
    """Return 16 hexadecimal digits that name a pose seen by a camera.

    Args:
        pose: (55, 3, 3) rotations.
        K: (3, 3) intrinsics.
        R: (3, 3) rotation of the camera.
        t: (3,) translation of the camera.

    Values are rounded to 1e-4 first, so that storage as float32 does not change the digest.
    """
    digest = hashlib.sha256()
    for array in (pose, K, R, t):
        rounded = np.rint(np.asarray(array, np.float64).astype(np.float32).astype(np.float64) * 1e4)
        digest.update((rounded + 0.0).astype("<i8").tobytes())
    return digest.hexdigest()[:16]


def parameter_shapes(frames: int) -> dict[str, tuple[int, ...]]:
    """Return the shapes of parameters.npz for a number of frames; −1 stands for any size."""
    return {
        "betas": (-1,),
        "pose": (frames, 55, 3, 3),
        "transl": (frames, 3),
        "expression": (frames, -1),
        "K": (frames, 3, 3),
        "R": (frames, 3, 3),
        "t": (frames, 3),
    }


def check_parameters(
    parameters: Mapping[str, NDArray[np.floating]], frames: int, file: str
) -> None:
    """Check the arrays of parameters.npz.

    Raises:
        CaptureError: names file and field: missing, wrong shape, or not finite.
    """
    for name, shape in parameter_shapes(frames).items():
        array = parameters.get(name)
        if array is None:
            raise CaptureError(f"{file}: {name} is missing", field=name)
        fits = array.ndim == len(shape) and all(
            want in (-1, have) for want, have in zip(shape, array.shape, strict=True)
        )
        if not fits:
            raise CaptureError(f"{file}: {name} has the shape {array.shape}, not {shape}")
        if not np.isfinite(array).all():
            raise CaptureError(f"{file}: {name} holds numbers that are not finite", field=name)


def depth_to_millimetres(depth: NDArray[np.floating]) -> NDArray[np.uint16]:
    """Turn (H, W) metres into the stored whole millimetres; 0 and what is not finite become 0.

    What is further than 65.535 m is stored as 65.535 m.
    """
    metres = np.where(np.isfinite(depth), depth, 0.0)
    return np.clip(np.rint(metres * 1000.0), 0, 65535).astype(np.uint16)


def overlapping_frames(one: Sequence[str], other: Sequence[str]) -> list[str]:
    """Return the frame digests that stand in both lists, sorted."""
    return sorted(set(one) & set(other))


def _text(fields: Mapping[str, Any], name: str, file: str) -> str:
    value = fields.get(name)
    if not isinstance(value, str) or not value:
        raise CaptureError(f"{file}: {name} must be a text", field=name)
    return value


def _size(value: Any, file: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= 8192:
        raise CaptureError(f"{file}: image_size must be whole numbers within 1…8192")
    return value


def _frame(row: Any, index: int, file: str) -> FrameEntry:
    where = f"{file}: frames[{index}]"
    if not isinstance(row, dict):
        raise CaptureError(f"{where} is not a map")
    fields = cast("dict[str, Any]", row)
    name = _text(fields, "name", where)
    if name.startswith(".") or any(sign in name for sign in '/\\:*?"<>|'):
        raise CaptureError(f"{where}.name is not a plain file name")
    split = fields.get("split")
    if split not in ("train", "held-out"):
        raise CaptureError(f'{where}.split must be "train" or "held-out"')
    tags = fields.get("tags", [])
    if not isinstance(tags, list):
        raise CaptureError(f"{where}.tags must be a list")
    return FrameEntry(
        name=name,
        split=split,
        digest=_text(fields, "digest", where),
        tags=tuple(str(tag) for tag in cast("list[Any]", tags)),
    )
