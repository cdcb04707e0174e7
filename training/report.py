"""What a running training writes into its run's folder: scalars and sample grids."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from PIL import Image

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray


class Report:
    """Writes scalars, a line per entry in log.jsonl, and sample grids into a run's folder.

    Args:
        folder: the run's.
    """

    def __init__(self, folder: Path) -> None:
        from torch.utils.tensorboard.writer import SummaryWriter

        self._folder = folder
        self._log = folder / "log.jsonl"
        (folder / "samples").mkdir(parents=True, exist_ok=True)
        self._board = SummaryWriter(str(folder / "tensorboard"))

    def scalars(self, step: int, values: dict[str, float]) -> None:
        """Note values by name at a step."""
        for name, value in values.items():
            self._board.add_scalar(name, value, step)
        with self._log.open("a", encoding="utf-8") as file:
            entry = {"step": step} | {k: round(v, 6) for k, v in values.items()}
            file.write(json.dumps(entry) + "\n")

    def grid(self, step: int, picture: NDArray[np.uint8]) -> None:
        """Show a sample grid (H, W, 3)."""
        self._board.add_image("held-out", picture, step, dataformats="HWC")
        Image.fromarray(picture).save(self._folder / "samples" / f"{step:06d}.png")

    def close(self) -> None:
        """Write out what is pending."""
        self._board.close()
