"""From the server's images to Blender's passes: colour, depth order, masks. No bpy.

The server sends premultiplied sRGB bytes, top row first. Blender's passes hold premultiplied
scene-linear floats, bottom row first. Light is linear, so the colour is un-premultiplied before
it is linearised and premultiplied again after: doing it in one go darkens every soft edge.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

import numpy as np

from ..contract.portraits import NOT_PAINTED

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

EMPTY_DEPTH = 1e10
"""What Blender's own engines write into the Depth pass where nothing is."""


@dataclass(frozen=True, kw_only=True)
class Layer:
    """The image of one person or portrait, linear, premultiplied, top row first.

    Attributes:
        rgba: (H, W, 4) float32.
        depth: (H, W) float32 metres, +inf where nothing is.
        masks: (H, W, 3) float32 in 0…1 (`joints.MASK_CHANNELS`), None when not asked for.
        labels: (H, W) uint8, 0…16 (`labels.Label`), None for what has no labels (people).
    """

    rgba: NDArray[np.float32]
    depth: NDArray[np.float32]
    masks: NDArray[np.float32] | None = None
    labels: NDArray[np.uint8] | None = None


def linear_from_srgb(value: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return scene-linear values of sRGB ones in 0…1 (IEC 61966-2-1)."""
    srgb = np.asarray(value, np.float64)
    return np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)


def srgb_from_linear(value: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return sRGB values of scene-linear ones in 0…1."""
    linear = np.asarray(value, np.float64)
    return np.where(
        linear <= 0.0031308, linear * 12.92, 1.055 * np.maximum(linear, 0.0) ** (1 / 2.4) - 0.055
    )


@cache
def _premultiplied_linear_table() -> NDArray[np.float32]:
    """(256 · 256,) linear premultiplied value of (alpha, premultiplied sRGB byte)."""
    byte = np.arange(256) / 255.0
    alpha, value = byte[:, None], byte[None, :]
    straight = np.minimum(value / np.maximum(alpha, 1e-9), 1.0)
    return (linear_from_srgb(straight) * alpha).astype(np.float32).ravel()


def linear_premultiplied(rgba: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Turn premultiplied sRGB bytes (H, W, 4) into premultiplied linear floats (H, W, 4)."""
    result = np.zeros(rgba.shape, np.float32)
    # Most of a frame is empty: only the rows and columns that hold something are worked on.
    rows, columns = _filled(rgba[..., 3])
    part = rgba[rows, columns]
    index = part[..., :3] + (part[..., 3:].astype(np.int32) << 8)
    result[rows, columns, :3] = np.take(_premultiplied_linear_table(), index)
    result[rows, columns, 3] = part[..., 3] * np.float32(1 / 255)
    return result


def _filled(alpha: NDArray[np.uint8]) -> tuple[slice, slice]:
    rows = np.flatnonzero(alpha.any(axis=1))
    if not rows.size:
        return slice(0, 0), slice(0, 0)
    columns = np.flatnonzero(alpha[rows[0] : rows[-1] + 1].any(axis=0))
    return slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)


def layer_from_reply(
    rgba: NDArray[np.uint8],
    depth: NDArray[np.float32],
    masks: NDArray[np.uint8] | None,
    scale: float,
    labels: NDArray[np.uint8] | None = None,
) -> Layer:
    """Return a reply's arrays as a layer; depth is multiplied by the object's `scale`.

    Labels are background where the network painted nothing.
    """
    return Layer(
        rgba=linear_premultiplied(rgba),
        depth=(depth if scale == 1.0 else depth * np.float32(scale)).astype(np.float32),
        masks=None if masks is None else masks.astype(np.float32) / np.float32(255),
        labels=None if labels is None else np.where(labels == NOT_PAINTED, np.uint8(0), labels),
    )


def composite(layers: Sequence[Layer], height: int, width: int) -> Layer:
    """Lay people and portraits over each other, the nearer in front, decided for each pixel.

    Depth and label are those of the nearest; with no layers everything is empty. Ties keep the
    order given.
    """
    if not layers:
        return Layer(
            rgba=np.zeros((height, width, 4), np.float32),
            depth=np.full((height, width), np.inf, np.float32),
            masks=np.zeros((height, width, 3), np.float32),
        )
    if len(layers) == 1:
        return layers[0]
    depth = np.stack([layer.depth for layer in layers])
    order = np.argsort(depth, axis=0, kind="stable")
    rgba = _front_to_back(np.stack([layer.rgba for layer in layers]), order)
    masks = None
    if all(layer.masks is not None for layer in layers):
        alpha = np.stack([layer.rgba[..., 3:] for layer in layers])
        stacked = np.stack([layer.masks for layer in layers if layer.masks is not None])
        masks = _front_to_back(np.concatenate([stacked, alpha], axis=-1), order)[..., :3]
    return Layer(
        rgba=rgba, depth=depth.min(axis=0), masks=masks, labels=_nearest_labels(layers, order[0])
    )


def _nearest_labels(layers: Sequence[Layer], nearest: NDArray[np.intp]) -> NDArray[np.uint8] | None:
    if all(layer.labels is None for layer in layers):
        return None
    none = np.zeros(nearest.shape, np.uint8)
    stacked = np.stack([none if layer.labels is None else layer.labels for layer in layers])
    return np.take_along_axis(stacked, nearest[None], axis=0)[0]


def _front_to_back(values: NDArray[np.float32], order: NDArray[np.intp]) -> NDArray[np.float32]:
    """Composite (N, H, W, C) premultiplied values whose last channel is alpha, nearest first."""
    sorted_values = np.take_along_axis(values, order[..., None], axis=0)
    result = sorted_values[0]
    for behind in sorted_values[1:]:
        result = result + (1.0 - result[..., -1:]) * behind
    return result


def pass_values(image: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return an image (H, W) or (H, W, C), top row first, as Blender's flat pass (bottom first)."""
    return np.ascontiguousarray(image[::-1], np.float32).ravel()


def blender_depth(depth: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the depth with `EMPTY_DEPTH` where it is infinite."""
    return np.where(np.isfinite(depth), depth, np.float32(EMPTY_DEPTH))
