"""Turns in the middle of long work: whoever does it calls back between the layers of its networks.

A step of a fit takes a second or more on a slow processor. With these calls a worker serves somebody
else meanwhile, or gives the work up by raising. What is computed does not depend on them.
"""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    Turn = Callable[[], None]

LEAST_SECONDS = 0.01
"""Between two turns."""


def no_turn() -> None:
    """Give no turn."""


def spaced(turn: Turn) -> Turn:
    """Return a turn that may be called as often as one likes, and in any of torch's modes.

    Args:
        turn: called at most every `LEAST_SECONDS`, in the modes that torch starts in, so that
            whatever is computed there is what it would be elsewhere.
    """
    if turn is no_turn:
        return no_turn
    last = time.monotonic()

    def call() -> None:
        nonlocal last
        if time.monotonic() - last < LEAST_SECONDS:
            return
        try:
            with (
                torch.inference_mode(mode=False),
                torch.enable_grad(),
                torch.autocast("cpu", enabled=False),
                torch.autocast("cuda", enabled=False),
            ):
                turn()
        finally:
            last = time.monotonic()

    return call


@contextmanager
def layer_turns(turn: Turn, *networks: nn.Module | None) -> Generator[None]:
    """Give a turn after each layer of networks, forward and backward, while the context lasts.

    On the CPU only: elsewhere layers are quick, and backward passes run in threads of torch's own.

    Args:
        turn: see `spaced`; what it raises ends the pass.
        networks: whose layers; None is none.
    """
    if turn is no_turn:
        yield
        return

    def after(_layer: nn.Module, _inputs: object, output: object) -> None:
        if not isinstance(output, Tensor) or output.device.type != "cpu":
            return
        turn()
        if output.requires_grad:
            output.register_hook(lambda _gradient: turn())

    layers = {
        layer
        for network in networks
        if network is not None
        for layer in network.modules()
        if next(layer.children(), None) is None
    }
    hooks = [layer.register_forward_hook(after) for layer in layers]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
