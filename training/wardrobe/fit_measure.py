"""Fits from captured frames, measured on other frames of the same person: what both evaluations share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from blender_addon.contract.capture import overlapping_frames
from blender_addon.contract.errors import SplitLeak, TrainingError
from models.avatar import AvatarRenderer
from models.dresser_package import load_dresser
from models.inversion import FitPhoto, fit_avatar
from models.inversion_photo import prepare
from models.package import find_package
from models.unwrap import UvLayout, averaged, filled
from models.wardrobe_package import load_wardrobe
from training.evaluation_measure import renderer_method
from training.evaluation_regions import BodyParts
from training.evaluation_truth import true_frame
from training.image_metrics import iou, person_box, psnr, ssim_over
from training.people.strangers import PHOTOGRAPH_TAG
from training.plain_texture import plain_renderer

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from torch import Tensor

    from blender_addon.contract.wardrobe import FitStage
    from models.body import Body
    from models.dresser import Dresser
    from models.inversion import FitProgress, FittedAvatar
    from models.inversion_recipe import FitRecipe
    from models.photo_encoder import PhotoEncoder
    from models.wardrobe import Wardrobe
    from training.captures import Capture
    from training.evaluation_measure import Method
    from training.evaluation_perceptual import Yardstick
    from training.evaluation_truth import Prediction, TrueFrame

SIZE = 256
"""Width of the frames that are measured."""


@dataclass(frozen=True)
class Networks:
    """What fits people.

    Attributes:
        wardrobe: generator, encoder and face discriminator.
        dresser: R.
        body: of both.
    """

    wardrobe: Wardrobe
    dresser: Dresser
    body: Body

    @classmethod
    def load(
        cls, library: Path, wardrobe: str, body: Body, encoder: PhotoEncoder | None = None
    ) -> Networks:
        """Load a wardrobe with its dresser; another encoder takes the place of its own."""
        loaded = load_wardrobe(library, wardrobe, body=body)
        if encoder is not None:
            loaded.encoder = encoder
        role = loaded.manifest.requirements["dresser"]
        return cls(loaded, load_dresser(find_package(library, role)), body)

    def renderer(self, texture: Tensor) -> AvatarRenderer:
        """Return the render path of a texture."""
        largest = int(self.wardrobe.manifest.architecture.get("largest_crop", SIZE))
        return AvatarRenderer(self.body, texture, self.dresser, "fit", largest_crop=largest)


@dataclass(frozen=True, kw_only=True)
class FitFigures:
    """Figures of one frame.

    Attributes:
        psnr: dB over the pixels of the person in truth or prediction.
        ssim: structural similarity there.
        iou: overlap of the foregrounds.
        distance: perceptual, in the person's box.
    """

    psnr: float
    ssim: float
    iou: float
    distance: float


def check_people(wardrobe: Wardrobe, captures: Sequence[Capture]) -> None:
    """Refuse people that a wardrobe was trained on.

    Raises:
        SplitLeak: says who.
    """
    data = wardrobe.manifest.data
    known = {source["id"] for source in data.get("captures", [])}
    for capture in captures:
        frames = [entry.digest for entry in capture.description.frames]
        shared = overlapping_frames(data.get("training_frames", []), frames)
        if capture.description.id in known or shared:
            raise SplitLeak(
                f"{wardrobe.id} was trained on {capture.description.id}",
                "give captures of people that it never saw: dressform dataset strangers",
            )


def photograph_of(capture: Capture) -> int:
    """Return the frame that a fit is given: the one tagged so, else the first to train on.

    Raises:
        TrainingError: there is none.
    """
    frames = capture.description.frames
    tagged = [k for k, frame in enumerate(frames) if PHOTOGRAPH_TAG in frame.tags]
    found = tagged or capture.frames("train") or list(range(len(frames)))
    if not found:
        raise TrainingError(f"{capture.folder} has no frame", "capture some")
    return found[0]


def capture_photo(capture: Capture, index: int) -> FitPhoto:
    """Return a captured frame as a photograph with the body that it shows."""
    image, mask = capture.image(index), capture.masks(index)[..., :1]
    if capture.description.background != "photograph":
        # Captures keep colours multiplied by the mask.
        alpha = np.maximum(mask.astype(np.float32) / 255.0, 1e-3)
        image = (image / alpha).clip(0, 255).astype(np.uint8)
    return FitPhoto(
        rgba=np.concatenate([image, mask], axis=-1),
        body=capture.posed_body(index),
        camera=capture.camera(index),
    )


def run_fit(
    networks: Networks,
    photos: Sequence[FitPhoto],
    recipe: FitRecipe,
    stages: Sequence[FitStage],
) -> tuple[FittedAvatar, FitProgress]:
    """Run a fit to its end; returns it and its last progress, whose preview shows both."""
    fit = fit_avatar(
        networks.wardrobe, networks.dresser, networks.body, photos, recipe, stages=stages
    )
    last = next(fit)
    while True:
        try:
            step = next(fit)
        except StopIteration as end:
            return end.value, last
        last = step if step.preview is not None else last


def unwrapped_baseline(
    networks: Networks, photos: Sequence[FitPhoto], size: int = 256
) -> AvatarRenderer:
    """Return the render path of photographs unwrapped onto the bare body: what a fit must beat."""
    targets = prepare(photos, networks.body, size)
    layout = UvLayout.of(networks.body, size)
    texture = filled(layout, averaged(targets.unwrapped(layout)))
    return plain_renderer(networks.body, (texture + 1.0) * 0.5)


class HeldOutFrames:
    """Frames of a person that a fit never saw.

    Args:
        capture: of the person.
        indices: which frames.
        body: of the capture.
    """

    def __init__(self, capture: Capture, indices: Sequence[int], body: Body) -> None:
        parts = BodyParts.of(body)
        self.frames = [true_frame(capture, index, parts, SIZE) for index in indices]

    def shown(self, renderer: AvatarRenderer) -> list[Prediction]:
        """Return what a render path shows for each frame."""
        method: Method = renderer_method(renderer)
        found = [method(frame) for frame in self.frames]
        return [each for each in found if each is not None]

    def measure(self, shown: Sequence[Prediction], yardstick: Yardstick) -> list[FitFigures]:
        """Return the figures of each frame."""
        pairs = zip(shown, self.frames, strict=True)
        return [_measure(own, frame, yardstick) for own, frame in pairs]


def means(figures: Sequence[FitFigures]) -> dict[str, float]:
    """Return the mean of each figure over frames, without those that have none."""
    return {
        name: float(np.nanmean([getattr(each, name) for each in figures]))
        for name in FitFigures.__dataclass_fields__
    }


def as_images(pictures: Sequence[Prediction | TrueFrame]) -> Tensor:
    """Return pictures over grey as (N, 3, H, W), −1…1, for networks that look at them."""
    stacked = np.stack([picture.image for picture in pictures])
    return torch.from_numpy(stacked).permute(0, 3, 1, 2) * 2.0 - 1.0


def _measure(own: Prediction, frame: TrueFrame, yardstick: Yardstick) -> FitFigures:
    true = frame.masks[..., 0] > 0.5
    masks = own.masks
    person = true if masks is None else true | (masks[..., 0] > 0.5)
    return FitFigures(
        psnr=psnr(own.image[person], frame.image[person]),
        ssim=ssim_over(own.image, frame.image, person),
        iou=float("nan") if masks is None else iou(masks[..., 0], frame.masks[..., 0]),
        distance=yardstick.person(own.image, frame.image, person_box(true)),
    )
