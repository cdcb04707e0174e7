"""A face parser that the user brings as an ONNX file: CelebAMask-HQ's 19 classes to our 17.

Such networks are trained on real photographs and label them better than one that knows synthetic
portraits alone; their licences are mostly non-commercial, so none is shipped.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from PIL import Image

from blender_addon.contract.errors import MissingExtra, ModelError
from blender_addon.contract.labels import LABEL_COUNT, Label
from models.face_parts import CELEBA_PARTS, split_nose

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

Order = Literal["celebamask", "bisenet"]
ORDERS: dict[Order, tuple[str, ...]] = {
    "celebamask": (
        "skin", "nose", "eye_g", "l_eye", "r_eye", "l_brow", "r_brow", "l_ear", "r_ear",
        "mouth", "u_lip", "l_lip", "hair", "hat", "ear_r", "neck_l", "neck", "cloth",
    ),
    "bisenet": (
        "skin", "l_brow", "r_brow", "l_eye", "r_eye", "eye_g", "l_ear", "r_ear", "ear_r",
        "nose", "mouth", "u_lip", "l_lip", "neck", "neck_l", "cloth", "hair", "hat",
    ),
}  # fmt: skip
"""Parts by class, from class 1 on: in the order of the set's own scripts, or in that of the common
BiSeNet for faces. Class 0 is the background."""

_MEAN = np.array([0.485, 0.456, 0.406], np.float32)
_DEVIATION = np.array([0.229, 0.224, 0.225], np.float32)
_SIDE = 512
"""Side in pixels where the file leaves it open."""


class OnnxFaceParser:
    """A face parser in an ONNX file, behind the interface of `PortraitParser`.

    Its input is (1, 3, S, S) with ImageNet's mean and deviation, its first output (1, 19, s, s).

    Args:
        file: the network.
        order: of its classes.

    Raises:
        MissingExtra: the `onnx` extra is not installed.
        ModelError: the file is no such network.
    """

    def __init__(self, file: Path, order: Order = "bisenet") -> None:
        try:
            import onnxruntime  # pyright: ignore[reportMissingImports]
        except ModuleNotFoundError as error:
            raise MissingExtra(
                "a face parser of your own needs onnxruntime",
                "pip install dressform[onnx], or use the shipped parser",
            ) from error
        try:
            self._session: Any = onnxruntime.InferenceSession(
                str(file), providers=["CPUExecutionProvider"]
            )
            given = self._session.get_inputs()[0]
        except Exception as error:
            raise ModelError(
                f"{file} cannot be read as an ONNX network: {error}", "check the file"
            ) from error
        self._input = str(given.name)
        self._side = given.shape[-1] if isinstance(given.shape[-1], int) else _SIDE
        self._file, self._parts = file, ORDERS[order]

    def probabilities(self, image: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return (17, S, S) float32, 0…1, for a square image (S, S, 3) uint8."""
        resized = Image.fromarray(image).resize((self._side, self._side))
        pixels = (np.asarray(resized, np.float32) / 255.0 - _MEAN) / _DEVIATION
        given = {self._input: np.ascontiguousarray(pixels.transpose(2, 0, 1)[None])}
        logits = np.asarray(self._session.run(None, given)[0], np.float32)
        if logits.ndim != 4 or logits.shape[1] != len(self._parts) + 1:
            raise ModelError(
                f"{self._file} gives {logits.shape}, not (1, {len(self._parts) + 1}, s, s)",
                "give a face parser of CelebAMask-HQ's 19 classes",
            )
        scores = np.exp(logits[0] - logits[0].max(axis=0))
        return as_labels(scores / scores.sum(axis=0), self._parts, image.shape[0])


def as_labels(
    classes: NDArray[np.float32], parts: tuple[str, ...], size: int
) -> NDArray[np.float32]:
    """Return probabilities (17, size, size) of those (19, s, s) of a face parser's classes.

    Args:
        classes: background first, then `parts`.
        parts: names of `CELEBA_PARTS`.
        size: side of the result.
    """
    shares = np.zeros((LABEL_COUNT, *classes.shape[1:]), np.float32)
    shares[Label.BACKGROUND] = classes[0]
    for part, share in zip(parts, classes[1:], strict=True):
        shares[CELEBA_PARTS[part]] += share
    # One nose: its halves share out what it has, each on its side of the nose's axis.
    side = split_nose(shares.argmax(axis=0).astype(np.uint8))
    right = side == Label.RIGHT_NOSE
    shares[Label.RIGHT_NOSE] = np.where(right, shares[Label.LEFT_NOSE], 0.0)
    shares[Label.LEFT_NOSE] = np.where(right, 0.0, shares[Label.LEFT_NOSE])
    resized = [
        Image.fromarray(shares[label]).resize((size, size), Image.Resampling.BILINEAR)
        for label in range(LABEL_COUNT)
    ]
    return np.stack([np.asarray(share) for share in resized])
