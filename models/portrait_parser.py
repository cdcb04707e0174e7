"""Labels of photographs: finds the head wherever it is, then labels it at the size it learnt.

`PortraitParser` is the interface: a network of ours (`NetworkParser`), or a face parser that the
user brings (`models/onnx_parser.py`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol, cast

import numpy as np
import torch
from scipy import ndimage
from torch.nn import functional

from blender_addon.contract.errors import BadParameter, NoFaceFound
from blender_addon.contract.labels import MIRRORED_LABEL, Label
from models.head_crop import FEATURES, HeadCrop, find_head
from models.parser_package import load_parser

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from models.parser_network import ParserNetwork

SIZE = 256
"""Side in pixels of a head's label map, as of the portraits in training."""
SEEN = 192
"""Side in pixels at which parsers look at heads, and for heads: what training showed."""
LEVELS = (1, 2, 3)
"""The image is searched whole, then in overlapping parts of a half and a third of its side."""
ROUNDS = 3
"""Times that a crop is labelled and moved at most, until it shows the head as in training."""
SETTLED = 0.08
"""Share of a crop's side by which it may still move or grow when it counts as found."""
LEAST_HEAD = 24.0
"""Pixels of the photograph across a head's square, at least."""


HEAD = tuple(
    label
    for label in Label
    if label not in (Label.BACKGROUND, Label.CLOTH, Label.NECKLACE, Label.EAR_RING)
)
"""Labels of which a portrait has one connected piece."""
MOUTH = (Label.INNER_MOUTH, Label.UPPER_LIP, Label.LOWER_LIP)


class ParsedPhotograph(NamedTuple):
    """What a photograph shows.

    Attributes:
        labels: (H, W) uint8 of the whole photograph.
        crop: the square around the head.
        head: (256, 256) uint8 labels within that square.
        confidence: (256, 256) float32, 0…1, of each label there.
    """

    labels: NDArray[np.uint8]
    crop: HeadCrop
    head: NDArray[np.uint8]
    confidence: NDArray[np.float32]


class PortraitParser(Protocol):
    """Labels heads in squares around them; finding them is the same for all (`parse_photograph`)."""

    def probabilities(self, image: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return (17, S, S) float32, 0…1, for a square image (S, S, 3) uint8; S a multiple of 32."""
        ...


class NetworkParser:
    """A parser of kind "parser".

    Args:
        network: in evaluation mode.
    """

    def __init__(self, network: ParserNetwork) -> None:
        self.network = network

    @classmethod
    def open(cls, folder: Path, device: str = "cpu") -> NetworkParser:
        """Load a package.

        Raises:
            UnknownModel: the package is of another kind, or not there.
            PackageDamaged: a file differs from its model.json.
        """
        return cls(load_parser(folder, device))

    @torch.inference_mode()
    def probabilities(self, image: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return (17, S, S) float32, 0…1: the mean over an image and its mirror image."""
        device = next(self.network.decoder.parameters()).device
        pixels = torch.from_numpy(np.ascontiguousarray(image)).to(device)
        one = pixels.permute(2, 0, 1).float()[None] / 255.0
        shares = functional.softmax(self.network(torch.cat([one, one.flip(3)])), dim=1)
        # Mirrored, the nose's halves have each other's labels.
        mirrored = shares[1].flip(2)[list(MIRRORED_LABEL)]
        return (0.5 * (shares[0] + mirrored)).cpu().numpy()


def parse_photograph(parser: PortraitParser, image: NDArray[np.uint8]) -> ParsedPhotograph:
    """Label a photograph of one person.

    Args:
        parser: of any kind.
        image: (H, W, 3) uint8 sRGB. Of several people the one whose face is largest is taken.

    Raises:
        BadParameter: this is no image.
        NoFaceFound: no face is seen.
    """
    *_, last = iterate_parse(parser, image)
    if last is None:
        raise NoFaceFound
    return last


def iterate_parse(
    parser: PortraitParser, image: NDArray[np.uint8]
) -> Iterator[ParsedPhotograph | None]:
    """Label a photograph step by step; yields None until the last step.

    Raises:
        BadParameter: this is no image.
        NoFaceFound: no face is seen.
    """
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or min(image.shape) < 1:
        raise BadParameter("image must be (H, W, 3) uint8", field="image")
    crop: HeadCrop | None = None
    beyond: tuple[HeadCrop, NDArray[np.uint8]] | None = None
    for windows in _levels(image):
        found: list[HeadCrop] = []
        for window in windows:
            shares = parser.probabilities(window.image(image, SEEN))
            labels = shares.argmax(axis=0).astype(np.uint8)
            beyond = beyond or (window, _elsewhere(shares))
            inner = find_head(labels)
            if inner is not None:
                found.append(window.outer(inner, SEEN))
            yield None
        if found:
            crop = max(found, key=lambda each: each.side)
            break
    if crop is None or beyond is None or crop.side < LEAST_HEAD:
        raise NoFaceFound
    shares = np.zeros((0, 0, 0), np.float32)
    for remaining in reversed(range(ROUNDS)):
        shares = _enlarged(parser.probabilities(crop.image(image, SEEN)))
        yield None
        inner = find_head(shares.argmax(axis=0).astype(np.uint8))
        if inner is None:
            raise NoFaceFound
        better = crop.outer(inner, SIZE)
        moved = max(abs(a - b) for a, b in zip(better, crop, strict=True)) / crop.side
        if moved < SETTLED or not remaining:
            break
        crop = better
    head = tidied(shares)
    whole = np.full(image.shape[:2], Label.BACKGROUND, np.uint8)
    beyond[0].paste(whole, beyond[1])
    crop.paste(whole, head)
    yield ParsedPhotograph(whole, crop, head, shares.max(axis=0))


def tidied(shares: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Return labels (S, S) of probabilities (17, S, S): one head, in one piece.

    Hair or skin somewhere beside the head is none, nor are pieces of them that begin below the
    mouth (collars, straps, hands), nor is a second neck. Background or cloth beside them, whichever
    is nearer, takes their place.
    """
    labels = shares.argmax(axis=0).astype(np.uint8)
    head, count = _pieces(np.isin(labels, HEAD))
    features = np.bincount(head[np.isin(labels, FEATURES)], minlength=count + 1)
    features[0] = 0
    stray = (head > 0) & (head != int(features.argmax()))
    mouth = np.flatnonzero(np.isin(labels, MOUTH).any(axis=1))
    for label in HEAD:
        pieces, count = _pieces(labels == label)
        if label == Label.NECK:
            belongs = np.bincount(pieces[pieces > 0], minlength=count + 1)
            stray |= (pieces > 0) & (pieces != int(belongs.argmax()))
        elif label not in MOUTH and len(mouth):
            above = np.bincount(pieces[: mouth[0]].ravel(), minlength=count + 1) > 0
            stray |= (pieces > 0) & ~above[pieces]
    beside = ~stray & np.isin(labels, (Label.BACKGROUND, Label.CLOTH))
    if stray.any() and beside.any():
        nearest = cast(
            "NDArray[np.int32]",
            ndimage.distance_transform_edt(~beside, return_distances=False, return_indices=True),
        )
        labels[stray] = labels[tuple(nearest)][stray]
    return labels


def _pieces(mask: NDArray[np.bool_]) -> tuple[NDArray[np.int32], int]:
    """Return which connected piece each pixel belongs to, 0 for none, and how many there are."""
    return cast("tuple[NDArray[np.int32], int]", ndimage.label(mask))


def _elsewhere(shares: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Return the likelier of background and cloth (S, S)."""
    cloth = shares[Label.CLOTH] > shares[Label.BACKGROUND]
    return np.where(cloth, np.uint8(Label.CLOTH), np.uint8(Label.BACKGROUND))


def _enlarged(shares: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return probabilities (17, SIZE, SIZE); blended before one is chosen, borders stay smooth."""
    wanted = functional.interpolate(torch.from_numpy(shares)[None], (SIZE, SIZE), mode="bilinear")
    return wanted[0].numpy()


def _levels(image: NDArray[np.uint8]) -> Iterator[list[HeadCrop]]:
    """Yield squares that cover an image, larger ones first."""
    height, width = image.shape[:2]
    longest = max(height, width)
    for level in LEVELS:
        side = longest / level
        step = side / 2
        rows, columns = (
            max(int(np.ceil((length - side) / step)) + 1, 1) for length in (height, width)
        )
        yield [
            HeadCrop(_spread(column, columns, width, side), _spread(row, rows, height, side), side)
            for row in range(rows)
            for column in range(columns)
        ]


def _spread(index: int, count: int, length: int, side: float) -> float:
    """Return where the index-th of several windows starts along an axis."""
    return (length - side) * (index / (count - 1) if count > 1 else 0.5)
