"""Which frames of a take go into the capture: chosen, checked against keypoints, split."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from blender_addon.contract.capture import frame_digest
from blender_addon.contract.errors import BadParameter, CaptureError
from training.imports.openpose import MIN_CONFIDENCE, ReprojectionError, reprojection_error
from training.imports.splits import HeldOut, split_frames

if TYPE_CHECKING:
    from collections.abc import Callable

    from blender_addon.contract.camera import Camera
    from blender_addon.contract.capture import Split
    from blender_addon.contract.operations import PosedBody
    from training.imports.body_regions import BodyRegions
    from training.imports.fits import Placement, Take
    from training.imports.keypoints import KeypointSource

OnBadFrame = Literal["stop", "skip"]


@dataclass(frozen=True, kw_only=True)
class FrameChoice:
    """Which frames are imported, and which of them are held out.

    Attributes:
        first: index of the first frame.
        last: index of the last frame, that one included; None for the video's last.
        step: every so many frames.
        held_out: share of the frames to hold out from training.
        held_out_where: the end or the start of the video, or frames spread over it.
        max_error: frames whose fit lies farther from the keypoints are left out: mean pixels
            of the frames as they lie on disk. None keeps all.
        min_confidence: keypoints below it do not count.
        on_bad_frame: stop at a frame that cannot be used, or leave it out with a note.
    """

    first: int = 0
    last: int | None = None
    step: int = 1
    held_out: float = 0.2
    held_out_where: HeldOut = "end"
    max_error: float | None = None
    min_confidence: float = MIN_CONFIDENCE
    on_bad_frame: OnBadFrame = "stop"

    def indices(self, count: int) -> list[int]:
        """Return the indices of the chosen frames among some.

        Raises:
            BadParameter: none is chosen.
        """
        last = count - 1 if self.last is None else min(self.last, count - 1)
        chosen = list(range(self.first, last + 1, self.step)) if self.step > 0 else []
        if self.first < 0 or not chosen:
            raise BadParameter(
                f"no frame is chosen: there are {count}, from {self.first} in steps of {self.step}",
                "choose 0 ≤ first ≤ last and step ≥ 1",
            )
        return chosen


@dataclass(frozen=True, kw_only=True)
class PlannedFrame:
    """A frame that is to be written.

    Attributes:
        index: of the frame in its video.
        name: of the frame.
        split: whether training may see it.
        body: parameters in the capture's world.
        camera: of the frame as it lies on disk, without distortion.
        error: distance from the keypoints.
    """

    index: int
    name: str
    split: Split
    body: PosedBody
    camera: Camera
    error: ReprojectionError


def plan_frames(
    take: Take,
    placement: Placement,
    regions: BodyRegions,
    keypoints: KeypointSource | None,
    choice: FrameChoice,
    *,
    notes: list[str],
    bad: Callable[[CaptureError], None],
) -> list[PlannedFrame]:
    """Check the fits against the keypoints and split what is left.

    Args:
        take: the fits.
        placement: their parameters in the capture.
        regions: projects the body.
        keypoints: what was seen, or None.
        choice: limits and split.
        notes: receives what the user should know.
        bad: called with the error of a frame that cannot be used; it may raise.

    Raises:
        CaptureError: no frame is left.
    """
    kept: list[tuple[int, ReprojectionError]] = []
    far: list[str] = []
    for k, (index, fit) in enumerate(zip(take.indices, take.fits, strict=True)):
        try:
            seen = [] if keypoints is None else keypoints.read(index, fit.name)
        except CaptureError as error:
            bad(error)
            continue
        error = reprojection_error([], np.zeros((0, 3)))
        if seen:
            joints, landmarks = regions.project(placement.bodies[k], placement.cameras[k])
            error = reprojection_error(seen, joints, landmarks, choice.min_confidence)
        if choice.max_error is not None and error.overall > choice.max_error:
            far.append(fit.name)
            continue
        kept.append((k, error))
    if far:
        notes.append(
            f"{len(far)} frames lie more than {choice.max_error:g} pixels from their keypoints and "
            f"are left out: {_listed(far)}"
        )
    if not kept:
        raise CaptureError(
            "no frame is left to import",
            "look at the fits; raise --max-error, or see whether the keypoints belong to them",
        )
    splits = split_frames(len(kept), choice.held_out, choice.held_out_where)
    plans = [
        PlannedFrame(
            index=take.indices[k],
            name=take.fits[k].name,
            split=split,
            body=placement.bodies[k],
            camera=placement.cameras[k],
            error=error,
        )
        for (k, error), split in zip(kept, splits, strict=True)
    ]
    return _apart(plans, notes)


def _apart(plans: list[PlannedFrame], notes: list[str]) -> list[PlannedFrame]:
    """Leave out held-out frames whose pose and camera training sees too."""

    def digest(plan: PlannedFrame) -> str:
        camera = plan.camera
        return frame_digest(plan.body.pose, camera.K, camera.R, camera.t)

    trained = {digest(plan) for plan in plans if plan.split == "train"}
    twice = [p.name for p in plans if p.split == "held-out" and digest(p) in trained]
    if twice:
        notes.append(
            f"{len(twice)} held-out frames have the pose and camera of a training frame and are "
            f"left out: {_listed(twice)}"
        )
    return [plan for plan in plans if plan.name not in set(twice)]


def _listed(names: list[str]) -> str:
    return ", ".join(names[:8]) + (", …" if len(names) > 8 else "")
