"""From a take, placed and checked, to a capture on disk."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from blender_addon.contract.camera import Camera
from blender_addon.contract.capture_writer import CaptureFrame, CaptureWriter
from blender_addon.contract.errors import BadParameter, CaptureError
from training.imports.masks import completed

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from training.imports.body_regions import BodyRegions
    from training.imports.frames import Frames
    from training.imports.masks import Masks
    from training.imports.planning import PlannedFrame


@dataclass(frozen=True, kw_only=True)
class WrittenFrame:
    """What became of a planned frame.

    Attributes:
        plan: the frame.
        overlap: intersection over union of mask and projected body, 0…1.
    """

    plan: PlannedFrame
    overlap: float


def written_size(size: tuple[int, int], longest: int | None) -> tuple[int, int]:
    """Return the width and height of a capture's images.

    Args:
        size: of the frames.
        longest: pixels of the longer side; None keeps the frames' size.

    Raises:
        BadParameter: larger than the frames.
    """
    if longest is None:
        return size
    if not 16 <= longest <= max(size):
        raise BadParameter(
            f"size is {longest}, the frames are {size[0]} × {size[1]} pixels",
            "give a size of 16 pixels up to that of the frames",
        )
    scale = longest / max(size)
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def scaled_camera(camera: Camera, size: tuple[int, int]) -> Camera:
    """Return the camera of the same view in an image of another size."""
    K = camera.K.copy()
    K[0] *= size[0] / camera.width
    K[1] *= size[1] / camera.height
    return Camera(K=K, R=camera.R, t=camera.t, width=size[0], height=size[1])


def write_frames(
    writer: CaptureWriter,
    plans: Sequence[PlannedFrame],
    frames: Frames,
    masks: Masks,
    regions: BodyRegions,
    size: tuple[int, int],
    *,
    channels: int,
    undistort: Callable[[NDArray[np.uint8]], NDArray[np.uint8]] | None,
    bad: Callable[[CaptureError], None],
    done: Callable[[WrittenFrame], None],
) -> list[WrittenFrame]:
    """Write frames one by one.

    Args:
        writer: of the capture.
        plans: frames in the order of the video.
        frames: their pictures.
        masks: their masks.
        regions: finds hands and face where the masks have none.
        size: width and height of the capture's images.
        channels: 1 if the masks are a foreground alone, 3 if hands and face are theirs.
        undistort: takes the lens's distortion out of pictures and masks.
        bad: called with the error of a frame that cannot be used; it may raise.
        done: called after each frame.

    Raises:
        CaptureError: the writer refuses a frame.
    """
    written: list[WrittenFrame] = []
    pictures = frames.images([plan.index for plan in plans])
    for plan, picture in zip(plans, pictures, strict=False):
        try:
            if isinstance(picture, Exception):
                raise picture
            mask = _mask(masks, plan, channels)
        except CaptureError as error:
            bad(error)
            continue
        image = picture
        if undistort is not None:
            image, mask = undistort(image), undistort(mask)
        camera = scaled_camera(plan.camera, size)
        seen = regions.see(plan.body, camera)
        whole = completed(_resized(mask, size), seen)
        writer.add(
            CaptureFrame(
                name=plan.name,
                split=plan.split,
                tags=(),
                image=_resized(image, size),
                masks=whole,
                body=plan.body,
                camera=camera,
            )
        )
        frame = WrittenFrame(plan=plan, overlap=seen.overlap(whole[..., 0]))
        written.append(frame)
        done(frame)
    return written


def _mask(masks: Masks, plan: PlannedFrame, channels: int) -> NDArray[np.uint8]:
    mask = masks.read(plan.index, plan.name, (plan.camera.width, plan.camera.height))
    if not mask.any():
        raise CaptureError(
            f"frame {plan.name!r}: its mask is empty", "make the mask, or remove the frame"
        )
    if (3 if mask.ndim == 3 else 1) != channels:
        raise CaptureError(
            f"frame {plan.name!r}: its mask has other channels than the first frame's",
            "give every mask one channel (foreground), or every mask three",
        )
    return mask


def _resized(pixels: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """Return pixels at another size, each the mean of the area that it covers."""
    if (pixels.shape[1], pixels.shape[0]) == size:
        return pixels
    image = Image.fromarray(np.ascontiguousarray(pixels))
    return np.asarray(image.resize(size, Image.Resampling.BOX))
