"""Which frames of a video are held out from training."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from blender_addon.contract.errors import BadParameter

if TYPE_CHECKING:
    from blender_addon.contract.capture import Split

HeldOut = Literal["end", "start", "spread"]


def split_frames(count: int, share: float, where: HeldOut) -> list[Split]:
    """Say for each frame of a video whether it is held out.

    Neighbouring frames are nearly equal: only a part of the video that training never sees
    ("end", "start") measures new poses; frames spread evenly measure little more than memory.

    Args:
        count: how many frames there are.
        share: of the frames to hold out, 0 ≤ share < 1; at least one frame unless it is 0.
        where: which part of the video.

    Raises:
        BadParameter: the share is out of range, or no frame is left to train on.
    """
    if not 0.0 <= share < 1.0:
        raise BadParameter(f"held-out is {share}", "give a share of the frames, 0 ≤ share < 1")
    held = max(1, round(count * share)) if share > 0 else 0
    if held >= count:
        raise BadParameter(
            f"{count} frames cannot be split: all would be held out",
            "import more frames, or give --held-out 0",
        )
    if where == "end":
        chosen = set(range(count - held, count))
    elif where == "start":
        chosen = set(range(held))
    else:
        chosen = {int((k + 0.5) * count / held) for k in range(held)}
    return ["held-out" if index in chosen else "train" for index in range(count)]
