"""Portraits in memory, and batches of them: a pure function of seed and step."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from PIL import Image

from blender_addon.contract.errors import TrainingError
from blender_addon.contract.labels import mirror_labels
from training.heads.format import HeadSet

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from training.heads.format import HeadView
    from training.siw_recipe import SiwData

HELD_OUT = 64
"""Held-out portraits that a training keeps at hand, at most."""


class Portraits(NamedTuple):
    """Portraits and their label maps, pixel on pixel.

    Attributes:
        images: (N, S, S, 3) uint8 sRGB.
        labels: (N, S, S) uint8, 0…16.
        heads: (N,) which head each shows, for splits and shuffles.
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.uint8]
    heads: NDArray[np.int64]


class PortraitSet(NamedTuple):
    """All that a training sees.

    Attributes:
        train: portraits to train on.
        held_out: portraits of heads that it never trains on.
        others: (M, S, S) uint8 label maps that belong to no portrait, for the unpaired stage.
        digest: of the sets' files.
    """

    train: Portraits
    held_out: Portraits
    others: NDArray[np.uint8]
    digest: str

    @classmethod
    def open(
        cls,
        portraits: Path,
        labels: Path | None,
        size: int,
        limit: int | None = None,
        held_out: int = HELD_OUT,
    ) -> PortraitSet:
        """Read a set of portraits, and label maps of another set where given.

        Args:
            portraits: of kind "portraits".
            labels: a set of either kind; None for the portraits' own label maps, which the
                unpaired stage shuffles against the portraits.
            size: side of the images; those of the set are reduced to it.
            limit: read so many training portraits at most, evenly chosen.
            held_out: and so many held-out ones.

        Raises:
            HeadSetError: a set is damaged, or holds no portraits.
            TrainingError: a split has no portraits, or they are smaller than `size`.
        """
        opened = HeadSet.open(portraits)
        # Held-out views of training heads are left to measurements of what SOF renders.
        train = _read(opened, _some(opened.views("train"), limit), size)
        unseen = _read(opened, _some(opened.views(None, heads="held-out"), held_out), size)
        digest = opened.digest
        if not len(train.images) or not len(unseen.images):
            raise TrainingError(
                f"{portraits} lacks portraits to train on or held-out ones",
                "make a set with both splits (`dressform dataset portraits`)",
            )
        others = train.labels
        if labels is not None:
            second = HeadSet.open(labels)
            views = _some(second.views("train"), limit)
            others = np.stack([_reduced(second.labels(view), size) for view in views])
            digest = f"{digest}+{second.digest}"
        return cls(train, unseen, others, digest)


class Batch(NamedTuple):
    """What one step needs.

    Attributes:
        images: (B, 3, S, S) float32, −1…1.
        labels: (B, S, S) uint8 of the same portraits.
        captured: (B, 3, S, S) other portraits, for the adversary.
        others: (B, S, S) uint8 label maps that belong to neither.
    """

    images: torch.Tensor
    labels: torch.Tensor
    captured: torch.Tensor
    others: torch.Tensor

    def to(self, device: torch.device) -> Batch:
        """Return it on a device."""
        return Batch(*(each.to(device) for each in self))


def make_batch(data: PortraitSet, settings: SiwData, size: int, seed: int, step: int) -> Batch:
    """Choose and augment the portraits of a step.

    Args:
        data: all portraits.
        settings: batch size and augmentation.
        size: side of the images.
        seed: of the training.
        step: number of the step: the same step always gives the same batch.
    """
    rng = np.random.default_rng([seed, step])
    batch = settings.batch
    images: list[NDArray[np.uint8]] = []
    labels: list[NDArray[np.uint8]] = []
    for index in rng.integers(len(data.train.images), size=2 * batch):
        image, label = augment(
            data.train.images[index], data.train.labels[index], settings, size, rng
        )
        images.append(image)
        labels.append(label)
    others = [
        augment(None, data.others[index], settings, size, rng)[1]
        for index in rng.integers(len(data.others), size=batch)
    ]
    return Batch(
        to_images(np.stack(images[:batch])),
        torch.from_numpy(np.stack(labels[:batch])),
        to_images(np.stack(images[batch:])),
        torch.from_numpy(np.stack(others)),
    )


def augment(
    image: NDArray[np.uint8] | None,
    labels: NDArray[np.uint8],
    settings: SiwData,
    size: int,
    rng: np.random.Generator,
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Enlarge, crop and mirror a portrait and its label map alike.

    Args:
        image: (S, S, 3) uint8, or None where there are labels only.
        labels: (S, S) uint8.
        settings: limits.
        size: side of the result.
        rng: random numbers; equally many are taken with and without an image.

    Returns:
        image (size, size, 3), empty where there was none, and labels (size, size).
    """
    side = labels.shape[0]
    window = side / rng.uniform(*settings.scale)
    left, top = rng.uniform(0.0, side - window, size=2)
    mirrored = settings.mirror and rng.random() < 0.5
    box = (left, top, left + window, top + window)
    cut = _resized(labels, box, size, Image.Resampling.NEAREST)
    painted = np.zeros((0, 0, 3), np.uint8)
    if image is not None:
        painted = _resized(image, box, size, Image.Resampling.BILINEAR)
    if mirrored:
        cut, painted = mirror_labels(cut), painted[:, ::-1]
    return np.ascontiguousarray(painted), np.ascontiguousarray(cut)


def to_images(pixels: NDArray[np.uint8]) -> torch.Tensor:
    """Return (B, 3, H, W) float32, −1…1, of (B, H, W, 3) uint8."""
    return torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 127.5 - 1.0


def to_pixels(images: torch.Tensor) -> NDArray[np.uint8]:
    """Return (B, H, W, 3) uint8 of (B, 3, H, W), −1…1."""
    scaled = (images.detach().float().clamp(-1.0, 1.0) + 1.0) * 127.5 + 0.5
    return scaled.to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()


def _some(views: Sequence[HeadView], limit: int | None) -> list[HeadView]:
    if limit is None or limit >= len(views):
        return list(views)
    return [views[i] for i in np.linspace(0, len(views) - 1, limit).round().astype(int)]


def _read(source: HeadSet, views: Sequence[HeadView], size: int) -> Portraits:
    if source.size < size:
        raise TrainingError(
            f"{source.folder} holds portraits of {source.size} pixels, the recipe paints {size}",
            "make larger portraits, or take a recipe of that size",
        )
    numbers = {head.id: number for number, head in enumerate(source.heads)}
    whole = (0.0, 0.0, float(source.size), float(source.size))
    images = [_resized(source.image(v), whole, size, Image.Resampling.BOX) for v in views]
    labels = [_reduced(source.labels(v), size) for v in views]
    return Portraits(
        np.stack(images) if images else np.zeros((0, size, size, 3), np.uint8),
        np.stack(labels) if labels else np.zeros((0, size, size), np.uint8),
        np.array([numbers[view.head] for view in views], np.int64),
    )


def _reduced(labels: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    side = float(labels.shape[0])
    return _resized(labels, (0.0, 0.0, side, side), size, Image.Resampling.NEAREST)


def _resized(
    pixels: NDArray[np.uint8],
    box: tuple[float, float, float, float],
    size: int,
    how: Image.Resampling,
) -> NDArray[np.uint8]:
    return np.array(Image.fromarray(pixels).resize((size, size), how, box=box))
