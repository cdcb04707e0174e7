"""`dressform bench portrait`: a portrait's label map and its painting, in one run on equal threads."""

from __future__ import annotations

from pathlib import Path  # noqa: TC003 - jsonargparse reads the annotations

import torch

from models.package import DEFAULT_LIBRARY, find_package
from models.siw_package import load_siw
from models.sof_package import load_sof
from scripts.bench_siw import siw_figures
from scripts.bench_sof import sof_figures
from server.figures import publish


def bench_portrait(
    sof: str = "sof-heads",
    siw: str = "siw-portraits",
    library: Path = DEFAULT_LIBRARY,
    turns: int = 7,
    threads: int = 1,
    json: Path | None = None,
) -> int:
    """Time label maps, marched and baked, and styles by region.

    Args:
        sof: id of the package that draws label maps.
        siw: id of the package that paints them.
        library: where both lie.
        turns: of each variant; medians count.
        threads: of torch.
        json: also write {"figure_name": {"value", "bound", "ok"}} to this file.

    Returns:
        0 when every bound holds.
    """
    torch.set_num_threads(threads)
    heads = load_sof(find_package(library, sof))
    painter = load_siw(find_package(library, siw))
    figures = sof_figures(heads.sof, heads.codes[0], turns)
    figures += siw_figures(painter.generator, turns)
    return publish(figures, json)
