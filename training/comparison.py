"""A training's held-out frames, measured and pictured: whole person, head and a hand.

Head and hand are rendered anew, as close as the capture's own pixels allow: in a small crop of the
whole person they are too few pixels to tell one loss from another.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch

from blender_addon.contract.errors import TrainingError
from models.regions import HEAD, LEFT_HAND, RIGHT_HAND, Region, find_squares
from training.dressing_data import People, Window, cut_batch, load_frames, whole_window
from training.dressing_report import RENDER_MARGIN
from training.image_metrics import iou, psnr
from training.losses import NEUTRAL_GREY, composite, composite_premultiplied

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray
    from torch import Tensor

    from models.perceptual import PerceptualDistance
    from training.dressing_data import Batch, Frame
    from training.dressing_training import DressingTraining

CELL = 160
"""Side of a picture of one view, in pixels."""
VIEWS: dict[str, tuple[Region, ...]] = {
    "whole": (),
    "head": (HEAD,),
    "hand": (LEFT_HAND, RIGHT_HAND),
}
"""View → the regions that it may show, the first that is seen; none is the whole person."""
FIGURES = ("psnr", "distance", "detail", "iou")
"""Of each view: dB over the view's mask in truth or prediction; the offline perceptual distance;
energy of differences between neighbouring pixels over that of the truth (below 1 is blur); overlap
of the view's mask."""
AROUND = 1.4
"""Side of a close-up over that of its region."""


class Pair(NamedTuple):
    """Pictures of a frame's views side by side, (CELL, 3 · CELL, 3) uint8 each."""

    true: NDArray[np.uint8]
    drawn: NDArray[np.uint8]


def frames_to_compare(
    people: People, others: Sequence[Path] | None, library: Path, limit: int
) -> list[list[Frame]]:
    """Read the held-out frames that trainings are compared on, per person.

    Args:
        people: those who are trained.
        others: captures of the same people that hold these frames; their own where not given.
        library: where the other captures' body lies.
        limit: frames a person at most, evenly spread.

    Raises:
        TrainingError: a person has no held-out frames, or another capture is of nobody here.
    """
    if not others:
        found = load_frames(people, "held-out", limit)
    else:
        held = People.open(others, library)
        strangers = set(held.ids) - set(people.ids)
        if strangers or held.captures[0].description.body != people.captures[0].description.body:
            raise TrainingError(
                f"the captures to compare on are of other people: {', '.join(held.ids)}",
                f"give captures with the ids {', '.join(people.ids)}, of the same body",
            )
        index = [people.ids.index(name) for name in held.ids]
        some = load_frames(held, "held-out", limit)
        found = [
            [replace(frame, person=person) for frame in mine]
            for person, mine in zip(index, some, strict=True)
        ]
    if not found or not all(found):
        raise TrainingError(
            "a capture has no held-out frames to compare on", "give some with --held_out CAPTURES"
        )
    return found


def compare(
    training: DressingTraining,
    frames: Sequence[Sequence[Frame]],
    distance: PerceptualDistance,
    shown: int,
) -> tuple[dict[str, float | None], list[Pair]]:
    """Measure a training's averaged model; picture the frames that show most views.

    Args:
        training: at its end.
        frames: per person.
        distance: the yardstick, the same for all trainings.
        shown: frames a person that are pictured.

    Returns:
        means by "VIEW/FIGURE", None where no frame shows the view; and the pictures.
    """
    model = training.averaged_model()
    size = training.recipe.data.size
    figures: dict[str, list[float]] = defaultdict(list)
    pictures: list[Pair] = []
    for some in frames:
        mine: list[tuple[int, Pair]] = []
        for frame in some:
            cells: list[tuple[Tensor, Tensor]] = []
            views = _views(training.people, frame, size)
            for view, batch in views.items():
                if batch is None:
                    cells.append((_blank(), _blank()))
                    continue
                with torch.no_grad():
                    dressed = model(training.fabric.to_device(batch))
                masks = (dressed.masks.float() * batch.captured).cpu()
                drawn = composite(dressed.rgb.float().cpu(), masks[:, :1], NEUTRAL_GREY)
                true = composite_premultiplied(batch.colour, batch.masks[:, :1], NEUTRAL_GREY)
                cells.append((true, drawn))
                for name, value in _figures(view, drawn, masks, true, batch.masks).items():
                    figures[f"{view}/{name}"].append(value)
                figures[f"{view}/distance"].append(float(distance(drawn, true)))
            pair = Pair(*(_side_by_side(images) for images in zip(*cells, strict=True)))
            mine.append((sum(batch is not None for batch in views.values()), pair))
        # A stable sort: of equals the first, in every training the same.
        mine.sort(key=lambda item: -item[0])
        pictures += [pair for _, pair in mine[:shown]]
    every = [f"{view}/{name}" for view in VIEWS for name in FIGURES]
    return {name: _mean(figures[name]) for name in every}, pictures


def _views(people: People, frame: Frame, size: int) -> dict[str, Batch | None]:
    """Return the crop of each view; None where the view's regions are not seen."""
    window = whole_window(frame, RENDER_MARGIN)
    whole = cut_batch(people, [frame], [window], size)
    found: dict[str, Batch | None] = {}
    for view, regions in VIEWS.items():
        if not regions:
            found[view] = whole
            continue
        squares = find_squares(whole, regions)
        if not len(squares.image):
            found[view] = None
            continue
        # From the crop's pixels to the frame's.
        scale = window.side / size
        middle = (squares.corner[0] + squares.side[0] / 2) * scale
        side = max(float(squares.side[0]) * scale * AROUND, float(size))
        x, y = window.x + float(middle[0]) - side / 2, window.y + float(middle[1]) - side / 2
        found[view] = cut_batch(people, [frame], [Window(x, y, side)], size)
    return found


def _figures(
    view: str, drawn: Tensor, masks: Tensor, true: Tensor, true_masks: Tensor
) -> dict[str, float]:
    regions = VIEWS[view]
    channel = regions[0].channel if regions else 0
    one, other = _array(drawn), _array(true)
    mask, true_mask = _array(masks)[..., channel], _array(true_masks)[..., channel]
    where = true_mask > 0.5
    either = where | (mask > 0.5)
    energy = _energy(other, where)
    return {
        "psnr": psnr(one[either], other[either]),
        "detail": _energy(one, where) / energy if energy else float("nan"),
        "iou": iou(mask, true_mask),
    }


def _energy(image: NDArray[np.float32], where: NDArray[np.bool_]) -> float:
    """Return Σ of squared differences between neighbours that both lie in a mask."""
    across = np.square(np.diff(image, axis=1))[where[:, 1:] & where[:, :-1]].sum()
    down = np.square(np.diff(image, axis=0))[where[1:] & where[:-1]].sum()
    return float(across + down)


def _mean(values: Sequence[float]) -> float | None:
    known = [min(value, 100.0) for value in values if not np.isnan(value)]
    return float(np.mean(known)) if known else None


def _side_by_side(images: Sequence[Tensor]) -> NDArray[np.uint8]:
    resized = [
        torch.nn.functional.interpolate(
            image, (CELL, CELL), mode="bilinear", align_corners=False, antialias=True
        )
        for image in images
    ]
    row = np.concatenate([_array(image) for image in resized], axis=1)
    return (row * 255.0 + 0.5).clip(0, 255).astype(np.uint8)


def _blank() -> Tensor:
    return torch.full((1, 3, CELL, CELL), NEUTRAL_GREY)


def _array(image: Tensor) -> NDArray[np.float32]:
    return image[0].permute(1, 2, 0).detach().cpu().numpy()
