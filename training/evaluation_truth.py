"""The true frames of a capture, as they are measured: averaged down, over one background."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from training.dressing_data import area_weights
from training.evaluation_regions import (
    BodyParts,
    Box,
    camera_vertices,
    hand_boxes,
    head_box,
    projected,
)
from training.losses import NEUTRAL_GREY

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from blender_addon.contract.camera import Camera
    from blender_addon.contract.operations import PosedBody
    from training.captures import Capture

SIZE = 256
"""Width of the frames that are measured."""
GREY = (NEUTRAL_GREY, NEUTRAL_GREY, NEUTRAL_GREY)


class Prediction(NamedTuple):
    """What a method shows for a frame.

    Attributes:
        image: (H, W, 3) float32 over the truth's background, 0…1.
        masks: (H, W, 3) float32 foreground, hands, face; None where the method has none.
        channels: how many of the masks the method predicts.
    """

    image: NDArray[np.float32]
    masks: NDArray[np.float32] | None
    channels: int = 3


@dataclass(frozen=True, kw_only=True)
class TrueFrame:
    """A captured frame at the size at which it is measured.

    Attributes:
        index: in the capture.
        name: of the frame.
        tags: what is special about it.
        image: (H, W, 3) float32 over the background, 0…1.
        masks: (H, W, 3) float32.
        body: the person's parameters.
        camera: of this size.
        vertices: (V, 3) float32 of the posed body in camera space, metres.
        head: box of the head, or None.
        hands: boxes of the hands that are seen.
        background: the colour behind the person.
    """

    index: int
    name: str
    tags: tuple[str, ...]
    image: NDArray[np.float32]
    masks: NDArray[np.float32]
    body: PosedBody
    camera: Camera
    vertices: NDArray[np.float32]
    head: Box | None
    hands: tuple[Box, ...]
    background: tuple[float, float, float] = GREY

    def premultiplied(self) -> NDArray[np.float32]:
        """Return (H, W, 4): colour premultiplied by the foreground mask, and the mask."""
        alpha = self.masks[..., :1]
        colour = self.image - np.asarray(self.background, np.float32) * (1.0 - alpha)
        return np.concatenate([colour, alpha], axis=-1, dtype=np.float32)

    def over_background(self, passes: dict[str, NDArray[np.generic]]) -> Prediction:
        """Lay a renderer's 8-bit passes over this frame's background."""
        rgba = passes["rgba"].astype(np.float32) / 255
        ground = np.asarray(self.background, np.float32)
        image = rgba[..., :3] + ground * (1.0 - rgba[..., 3:])
        masks = passes["masks"].astype(np.float32) / 255
        return Prediction(np.asarray(image, np.float32), np.asarray(masks, np.float32))


def true_frame(
    capture: Capture,
    index: int,
    parts: BodyParts,
    size: int = SIZE,
    background: tuple[float, float, float] = GREY,
) -> TrueFrame:
    """Read a frame, average it down to a width, and find head and hands.

    Args:
        capture: where the frame is.
        index: which one.
        parts: of the capture's body.
        size: width in pixels.
        background: colour behind the person, 0…1.
    """
    image, masks, camera = benchmark_frame(capture, index, size, background)
    body = capture.posed_body(index)
    vertices = camera_vertices(parts.body, body, camera)
    pixels = projected(vertices, camera)
    entry = capture.description.frames[index]
    return TrueFrame(
        index=index,
        name=entry.name,
        tags=entry.tags,
        image=image,
        masks=masks,
        body=body,
        camera=camera,
        vertices=vertices,
        head=head_box(parts, pixels, masks),
        hands=hand_boxes(parts, pixels, masks),
        background=background,
    )


def benchmark_frame(
    capture: Capture, index: int, size: int, background: tuple[float, float, float] = GREY
) -> tuple[NDArray[np.float32], NDArray[np.float32], Camera]:
    """Return a frame over a colour (H, W, 3), its masks (H, W, 3) and its camera, W = size.

    Pixels are averaged by exact area.
    """
    camera = capture.camera(index)
    height = max(round(camera.height * size / camera.width), 1)
    planes = np.concatenate([capture.image(index), capture.masks(index)], axis=-1)
    small = resampled(planes / 255.0, size, height)
    image, masks = small[..., :3], small[..., 3:]
    if capture.description.background == "photograph":
        image = image * masks[..., :1]
    over = image + np.asarray(background, np.float32) * (1.0 - masks[..., :1])
    return (
        np.asarray(over, np.float32),
        masks,
        camera.cropped(0.0, 0.0, size, height, size / camera.width),
    )


def resampled(planes: NDArray[np.floating], width: int, height: int) -> NDArray[np.float32]:
    """Resample an image (h, w, C) to another size by exact area."""
    rows, _ = area_weights(0.0, planes.shape[0], height, planes.shape[0])
    columns, _ = area_weights(0.0, planes.shape[1], width, planes.shape[1])
    flat = rows.numpy() @ np.asarray(planes, np.float32).reshape(planes.shape[0], -1)
    wide = flat.reshape(height, planes.shape[1], planes.shape[2])
    return np.asarray(np.einsum("xw,ywc->yxc", columns.numpy(), wide, optimize=True), np.float32)
