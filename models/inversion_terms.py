"""The losses of Table 3 between an avatar and photographs, each computed only where it has a weight.

Images are compared over neutral grey and only inside the photograph. Faces are the crops round the
projected head (`models/regions.py`; the paper uses OpenPose).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch.nn import functional

from models.regions import HEAD, Squares, crop, find_squares

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from models.dresser import Dressed
    from models.inversion_photo import FitTargets
    from models.inversion_recipe import FitStageRecipe
    from models.perceptual import PerceptualDistance
    from models.stylegan2_discriminator import Discriminator

GREY = 200 / 255
"""Behind the person, in photographs and renders alike: the dressers were trained over it."""


@dataclass(frozen=True)
class _Truth:
    """Photographs, and what the distances keep of them.

    Attributes:
        image: (B, 3, S, S) over grey.
        squares: of the heads that are seen.
        features: of the image.
        face_features: of the heads' crops, or None without any.
        face_judged: of the face discriminator, likewise.
    """

    image: Tensor
    squares: Squares
    features: Sequence[Tensor]
    face_features: Sequence[Tensor] | None
    face_judged: Sequence[Tensor] | None


class ImageTerms:
    """How far dressed images are from photographs, term by term.

    Args:
        distance: LPIPS or its stand-in.
        face: the face discriminator, or None: without one its term is left out.
        face_size: side of the heads' crops; the discriminator's own size where that is compared.
        targets: the photographs.
    """

    def __init__(
        self,
        distance: PerceptualDistance,
        face: Discriminator | None,
        face_size: int,
        targets: FitTargets,
    ) -> None:
        self.distance = distance
        self.face = face
        self.face_size = face_size
        self.targets = targets
        self._truth = self._known()

    @property
    def image(self) -> Tensor:
        """(B, 3, S, S): the photographs over grey."""
        return self._truth.image

    def losses(self, dressed: Dressed, weights: FitStageRecipe) -> dict[str, Tensor]:
        """Return the terms that have a weight.

        Args:
            dressed: of the photographs' bodies and cameras, (B, 3, S, S) each.
            weights: of a stage.
        """
        truth, targets = self._truth, self.targets
        image = self._inside(over_grey(dressed), truth.image)
        parts: dict[str, Tensor] = {}
        if weights.lpips:
            parts["lpips"] = self.distance(image, truth.features)
        if weights.mse:
            mask = self._inside(dressed.masks[:, :1], targets.masks[:, :1])
            own = torch.cat([image, mask], dim=1)
            true = torch.cat([truth.image, targets.masks[:, :1]], dim=1)
            parts["mse"] = functional.mse_loss(own, true)
        if weights.face_lpips and truth.face_features is not None:
            face = crop(image, truth.squares, self.face_size)
            parts["face_lpips"] = self.distance(face, truth.face_features)
        if weights.face_features and truth.face_judged is not None and self.face is not None:
            judged = self.face.features(self._face(image, dressed.masks[:, :1]))
            pairs = zip(judged, truth.face_judged, strict=True)
            parts["face_features"] = torch.stack([(a - b).abs().mean() for a, b in pairs]).mean()
        return parts

    @torch.no_grad()
    def figures(self, dressed: Dressed) -> dict[str, float]:
        """Return the perceptual distance and the mean squared error, whatever the weights."""
        image = self._inside(over_grey(dressed), self._truth.image)
        return {
            "distance": float(self.distance(image, self._truth.features)),
            "mse": float(functional.mse_loss(image, self._truth.image)),
        }

    @torch.no_grad()
    def _known(self) -> _Truth:
        image = self.targets.over(GREY)
        squares = find_squares(self.targets, (HEAD,))
        seen = len(squares.image) > 0
        judged = None
        self._truth = _Truth(image, squares, (), None, None)
        if seen and self.face is not None:
            judged = self.face.features(self._face(image, self.targets.masks[:, :1]))
        return _Truth(
            image,
            squares,
            self.distance.features(image),
            self.distance.features(crop(image, squares, self.face_size)) if seen else None,
            judged,
        )

    def _face(self, image: Tensor, mask: Tensor) -> Tensor:
        """Return what the face discriminator sees: (N, 4, s, s) colour and mask, −1…1."""
        size = self.face_size if self.face is None else self.face.config.size
        return crop(torch.cat([image, mask], dim=1), self._truth.squares, size) * 2.0 - 1.0

    def _inside(self, own: Tensor, true: Tensor) -> Tensor:
        """Outside the photograph nobody knows: the avatar is right there, whatever it shows."""
        return true + (own - true) * self.targets.captured


def over_grey(dressed: Dressed) -> Tensor:
    """Lay colour over neutral grey by the foreground mask, (B, 3, S, S)."""
    mask = dressed.masks[:, :1]
    return dressed.rgb * mask + GREY * (1.0 - mask)


def mean_deviation(values: Sequence[Tensor], start: Sequence[Tensor]) -> Tensor:
    """Return the mean absolute difference over all numbers of several tensors."""
    total = torch.stack([(a - b).abs().sum() for a, b in zip(values, start, strict=True)]).sum()
    return total / sum(value.numel() for value in values)
