"""Measuring methods on the frames of a capture: the same pixels and figures for all of them.

A method is any function from a true frame to what it shows for it: an avatar's renderer, a
baseline, or files on disk.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from training.evaluation_detail import detail_energy
from training.evaluation_flicker import (
    SEQUENCE_TAG,
    counted,
    sequences,
    surface_flow,
    warped_difference,
)
from training.evaluation_regions import boxes_mask
from training.evaluation_truth import Prediction, TrueFrame, true_frame
from training.image_metrics import (
    FrameFigures,
    iou,
    mean_figures,
    person_box,
    psnr,
    ssim,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from models.avatar import AvatarRenderer
    from training.captures import Capture
    from training.evaluation_perceptual import Yardstick
    from training.evaluation_regions import BodyParts, Box

Method = Callable[[TrueFrame], Prediction | None]
"""None where a method has no picture of a frame."""
Seen = Callable[[TrueFrame, Mapping[str, Prediction], float], None]


@dataclass(frozen=True, kw_only=True)
class EvaluationFigures(FrameFigures):
    """Figures of one frame; NaN where they have no meaning.

    Attributes:
        psnr_head: dB over the pixels of the person, in truth or prediction, in the head's box.
        psnr_hands: the same in the boxes of the hands that are seen.
        ssim_head: structural similarity in the head's box.
        ssim_hands: its mean over the hands' boxes.
        perceptual_box: perceptual distance in the person's box, likewise head and hands.
        energy: fine detail of the prediction where the truth shows the person, too, see
            `detail_energy`.
        true_energy: that of the truth on the whole person.
    """

    psnr_head: float
    psnr_hands: float
    ssim_head: float
    ssim_hands: float
    perceptual_box: float
    perceptual_head: float
    perceptual_hands: float
    energy: float
    true_energy: float


@dataclass(kw_only=True)
class MethodFigures:
    """What was measured of one method.

    Attributes:
        frames: figures by the frame's name.
        tags: of those frames.
        warped: by sequence, summed warped differences of the prediction and of the truth.
    """

    frames: dict[str, EvaluationFigures] = field(default_factory=dict[str, EvaluationFigures])
    tags: dict[str, tuple[str, ...]] = field(default_factory=dict[str, tuple[str, ...]])
    warped: dict[str, tuple[float, float]] = field(default_factory=dict[str, tuple[float, float]])

    def means(self) -> dict[str, float]:
        """Return means over frames; detail and flicker as ratios of sums to the truth's."""
        means = mean_figures(list(self.frames.values()))
        energy, true_energy = means.pop("energy", 0.0), means.pop("true_energy", 0.0)
        means["detail"] = energy / true_energy if true_energy else float("nan")
        means["flicker"] = _ratio(self.warped.values())
        return means

    def by_sequence(self) -> dict[str, float]:
        """Return each sequence's flicker."""
        return {name: _ratio([sums]) for name, sums in self.warped.items()}

    def by_tag(self) -> dict[str, float]:
        """Return the mean PSNR in the box over the frames of each tag."""
        values: dict[str, list[float]] = {}
        for name, figures in self.frames.items():
            for tag in self.tags[name]:
                values.setdefault(tag, []).append(figures.psnr_box)
        return {tag: float(np.mean(some)) for tag, some in sorted(values.items())}

    def worst(self) -> list[str]:
        """Return the frames' names, the lowest PSNR in the box first."""
        return sorted(self.frames, key=lambda name: self.frames[name].psnr_box)


def renderer_method(renderer: AvatarRenderer, channels: int = 3) -> Method:
    """Return the method that renders each frame's pose and camera.

    Args:
        renderer: of an avatar or a baseline.
        channels: how many of the masks it means.
    """
    return lambda frame: frame.over_background(
        renderer.render(frame.body, frame.camera, ("rgba", "masks"))
    )._replace(channels=channels)


def measure_frame(
    predicted: Prediction, frame: TrueFrame, yardstick: Yardstick
) -> EvaluationFigures:
    """Measure one frame, see docs/evaluation.md for the regions."""
    image, true = predicted.image, frame.image
    true_person = frame.masks[..., 0] > 0.5
    masks = predicted.masks
    shown = true_person if masks is None else masks[..., 0] > 0.5
    person, inside = true_person | shown, true_person & shown
    box = person_box(true_person)
    head = () if frame.head is None else (frame.head,)
    overlaps = [
        iou(masks[..., k], frame.masks[..., k])
        if masks is not None and k < predicted.channels
        else float("nan")
        for k in range(3)
    ]
    return EvaluationFigures(
        psnr_person=psnr(image[person], true[person]),
        psnr_box=psnr(image[box], true[box]),
        ssim_box=ssim(image[box], true[box]),
        iou_foreground=overlaps[0],
        iou_hands=overlaps[1],
        iou_face=overlaps[2],
        psnr_head=_part_psnr(image, true, person, head),
        psnr_hands=_part_psnr(image, true, person, frame.hands),
        ssim_head=_mean_ssim(image, true, head),
        ssim_hands=_mean_ssim(image, true, frame.hands),
        perceptual_box=yardstick.person(image, true, box),
        perceptual_head=yardstick.parts(image, true, head),
        perceptual_hands=yardstick.parts(image, true, frame.hands),
        energy=detail_energy(image, inside),
        true_energy=detail_energy(true, true_person),
    )


def stills(capture: Capture, indices: Sequence[int]) -> list[int]:
    """Return the frames that belong to no sequence; all of them when none would be left."""
    alone = [
        index
        for index in indices
        if not any(tag.startswith(SEQUENCE_TAG) for tag in capture.description.frames[index].tags)
    ]
    return alone or list(indices)


def measure_stills(
    capture: Capture,
    indices: Iterable[int],
    parts: BodyParts,
    methods: Mapping[str, Method],
    yardstick: Yardstick,
    *,
    size: int,
    background: tuple[float, float, float],
    seen: Seen | None = None,
) -> dict[str, MethodFigures]:
    """Measure methods frame by frame.

    Args:
        capture: the truth.
        indices: which frames.
        parts: of its body.
        methods: by name.
        yardstick: the perceptual distance.
        size: width in pixels.
        background: behind truth and predictions.
        seen: called with every frame, what the methods showed for it, and the first method's PSNR
            in the box.
    """
    results = {name: MethodFigures() for name in methods}
    for index in indices:
        frame = true_frame(capture, index, parts, size, background)
        shown: dict[str, Prediction] = {}
        for name, method in methods.items():
            predicted = method(frame)
            if predicted is None:
                continue
            shown[name] = predicted
            results[name].frames[frame.name] = measure_frame(predicted, frame, yardstick)
            results[name].tags[frame.name] = frame.tags
        if seen is not None and shown:
            first = next(iter(shown))
            seen(frame, shown, results[first].frames[frame.name].psnr_box)
    return results


def measure_flicker(
    capture: Capture,
    indices: Sequence[int],
    parts: BodyParts,
    methods: Mapping[str, Method],
    results: Mapping[str, MethodFigures],
    *,
    size: int,
    background: tuple[float, float, float],
) -> None:
    """Add the warped frame differences of a capture's tagged sequences to the methods' results."""
    for sequence, frames in sequences(capture, indices).items():
        earlier: tuple[TrueFrame, dict[str, Prediction]] | None = None
        for index in frames:
            frame = true_frame(capture, index, parts, size, background)
            shown = {name: method(frame) for name, method in methods.items()}
            now = frame, {name: p for name, p in shown.items() if p is not None}
            if earlier is not None:
                _add_differences(sequence, earlier, now, parts, results)
            earlier = now


def _add_differences(
    sequence: str,
    earlier: tuple[TrueFrame, dict[str, Prediction]],
    now: tuple[TrueFrame, dict[str, Prediction]],
    parts: BodyParts,
    results: Mapping[str, MethodFigures],
) -> None:
    before, after = earlier[0], now[0]
    flow = surface_flow(
        parts.body, (before.vertices, after.vertices), (before.camera, after.camera)
    )
    where = counted(flow, before.masks[..., 0])
    true = warped_difference(before.image, after.image, flow, where)
    for name in earlier[1].keys() & now[1].keys():
        own = warped_difference(earlier[1][name].image, now[1][name].image, flow, where)
        so_far = results[name].warped.get(sequence, (0.0, 0.0))
        results[name].warped[sequence] = (so_far[0] + own, so_far[1] + true)


def _part_psnr(
    image: NDArray[np.floating],
    true: NDArray[np.floating],
    person: NDArray[np.bool_],
    boxes: Sequence[Box],
) -> float:
    where = person & boxes_mask(boxes, (person.shape[0], person.shape[1]))
    return psnr(image[where], true[where])


def _mean_ssim(
    image: NDArray[np.floating], true: NDArray[np.floating], boxes: Sequence[Box]
) -> float:
    values = [ssim(image[box], true[box]) for box in boxes]
    known = [value for value in values if not np.isnan(value)]
    return float(np.mean(known)) if known else float("nan")


def _ratio(sums: Iterable[tuple[float, float]]) -> float:
    pairs = list(sums)
    true = sum(pair[1] for pair in pairs)
    return sum(pair[0] for pair in pairs) / true if true else float("nan")
