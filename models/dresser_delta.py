"""What of the shared dresser a person may have for themselves: the small delta of phase 2.

StylePeople's phase 2 trains the whole renderer for one person: 29 MB beside an 8 MB texture, and
two people no longer share anything. A delta moves only the tensors that shape fine, visible
detail and cost little: the decoder's last three blocks (a quarter of the crop's resolution and
finer), the U-Net's last convolution, the path around it, both heads, and scale and shift of every batch
normalisation, by which coarse features can be weighed anew. The statistics of batch
normalisation stay the shared dresser's: a training in which they moved would measure one network
and ship another, so phase 2 runs it on its running statistics from the first step.

An avatar's package carries the delta as float16 tensors named "dresser.<name>", which replace
those of the dresser that it requires.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import torch

from blender_addon.contract.errors import PackageDamaged
from models.dresser import Dresser

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

PREFIX = "dresser."
"""Of the delta's tensors in an avatar's package."""

DELTA_BYTES = 450_000
"""The most that a delta of the default architecture may take in a package, names included."""

DELTA_PARTS = (
    r"unet\.decoder\.blocks\.[234]\.conv\d\.\d\.(weight|bias)",
    r"unet\.segmentation_head\.0\.(weight|bias)",
    r"skip\.(weight|bias)",
    r"(rgb|mask)_head\.\d\.(weight|bias)",
    # Batch normalisation elsewhere, by the names that resnet encoders and the decoder give it.
    r"unet\.encoder\..*\bbn\d\.(weight|bias)",
    r"unet\.encoder\..*\bdownsample\.1\.(weight|bias)",
    r"unet\.decoder\.blocks\.\d\.conv\d\.1\.(weight|bias)",
)
"""Regular expressions of the names in a dresser's state that a delta may change."""

_DELTA_NAME = re.compile("|".join(DELTA_PARTS))


def is_in_delta(name: str) -> bool:
    """Return whether phase 2 with a delta may move a tensor, by its name in a dresser's state."""
    return _DELTA_NAME.fullmatch(name) is not None


def delta_of(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the delta's tensors of a dresser's state for an avatar's package, float16."""
    return {
        PREFIX + name: value.half().contiguous()
        for name, value in state.items()
        if is_in_delta(name)
    }


def delta_in(arrays: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the delta that an avatar's package holds, by names of the dresser; often empty."""
    return {
        name.removeprefix(PREFIX): value
        for name, value in arrays.items()
        if name.startswith(PREFIX)
    }


def with_delta(shared: Dresser, delta: Mapping[str, Tensor]) -> Dresser:
    """Return a dresser with some tensors of its own; all others are the shared one's memory.

    Args:
        shared: is not changed.
        delta: tensors by their names in a dresser's state, any floating dtype.

    Raises:
        PackageDamaged: a tensor is not part of a delta, or of another shape than the dresser's.
    """
    state = shared.state_dict()
    for name, value in delta.items():
        if name not in state or not is_in_delta(name):
            raise PackageDamaged(f"an avatar's delta holds {name!r}, which is not part of one")
        if value.shape != state[name].shape:
            raise PackageDamaged(
                f"an avatar's delta holds {name!r} of shape {tuple(value.shape)}, where its "
                f"dresser has {tuple(state[name].shape)}"
            )
        # Into the dtype and memory layout of the dresser's own.
        state[name] = torch.empty_like(state[name]).copy_(value)
    # On the meta device: nothing is drawn or stored only to be replaced.
    with torch.device("meta"):
        dresser = Dresser(shared.config)
    dresser.load_state_dict(state, assign=True)
    dresser.train(shared.training)
    return dresser.requires_grad_(requires_grad=False)


def moved_outside(shared: Mapping[str, Tensor], state: Mapping[str, Tensor]) -> list[str]:
    """Return the names of tensors outside the delta in which two dressers differ as float16.

    Counters of batch normalisation do not count: nothing depends on them when rendering.
    """
    if set(shared) != set(state):
        return sorted(set(shared) ^ set(state))
    return [
        name
        for name, value in state.items()
        if value.is_floating_point()
        and not is_in_delta(name)
        and not torch.equal(value.half(), shared[name].half())
    ]
