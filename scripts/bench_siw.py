"""`dressform bench siw`: what a style for each region costs, against one style and two convolutions.

The same network, threads and label map throughout; the variants take turns. Times are the process's
own, summed over its threads: what else the machine does counts little. What depends on the label
map alone is computed once, as serving does.
"""

from __future__ import annotations

from pathlib import Path  # noqa: TC003 - jsonargparse reads the annotations
from statistics import median

import torch

from models.dresser import autocast_dtype
from models.package import DEFAULT_LIBRARY, find_package
from models.siw import SiwGenerator, one_hot
from models.siw_config import SiwConfig
from models.siw_layers import Styles
from models.siw_package import load_siw
from scripts.bench_clock import timed
from server.figures import Figure, milliseconds, publish

REGIONS_OVER_ONE = 1.3
TWO_OVER_REGIONS = 3.0
QUARTER = SiwConfig(size=256, base=4096, widest=192, style=128, spade_hidden=32)
"""About the CPU recipes' size."""


def bench_siw(
    package: str | None = None,
    library: Path = DEFAULT_LIBRARY,
    architecture: SiwConfig = QUARTER,
    turns: int = 9,
    threads: int = 1,
    json: Path | None = None,
) -> int:
    """Time the painting of one portrait.

    Args:
        package: id of a package of kind "siw"; random weights of `architecture` without it.
        library: where the package lies.
        architecture: of the random network.
        turns: of each variant; medians count.
        threads: of torch.
        json: also write {"figure_name": {"value", "bound", "ok"}} to this file.

    Returns:
        0 when every bound holds.
    """
    torch.set_num_threads(threads)
    if package is None:
        generator = SiwGenerator(architecture)
    else:
        generator = load_siw(find_package(library, package)).generator
    figures = siw_figures(generator.eval(), turns)
    return publish(figures, json)


def siw_figures(generator: SiwGenerator, turns: int) -> list[Figure]:
    """Return the times of one style, of a style a region, and of two convolutions in float32."""
    config = generator.config
    fast = autocast_dtype(torch.device("cpu")) or torch.float32
    labels = one_hot(_face(config.size), config.labels)
    w = torch.randn(2, config.labels, config.style, generator=torch.Generator().manual_seed(0))
    one, regions = Styles.everywhere(w[:1, 0]), Styles.by_region(w[:1])
    two = Styles.mixed(w[:1, 0], w[1:, 0], torch.rand(1, config.labels))
    with torch.inference_mode():
        prepared = generator.prepare(labels, fast)
        plain = generator.prepare(labels)
        times: dict[str, list[float]] = {"one": [], "regions": [], "two": []}
        for _ in range(turns + 1):
            times["one"].append(timed(lambda: generator.paint(prepared, one))[1])
            times["regions"].append(timed(lambda: generator.paint(prepared, regions))[1])
            times["two"].append(timed(lambda: generator.paint(plain, two))[1])
        preparing = timed(lambda: generator.prepare(labels, fast))[1]
    # The first of each compiles kernels.
    one_s, regions_s, two_s = (median(times[name][1:]) for name in ("one", "regions", "two"))
    return [
        Figure(
            name="regions_over_one_style",
            value=regions_s / one_s,
            bound=REGIONS_OVER_ONE,
            unit="×",
            meaning="17 styles by region over one style",
        ),
        Figure(
            name="regions_over_two_convolutions",
            value=regions_s / two_s,
            bound=1.0 / TWO_OVER_REGIONS,
            unit="×",
            meaning="17 styles over the paper's two styles, two convolutions, float32",
        ),
        milliseconds("paint_one_style_ms", one_s, "one style"),
        milliseconds("paint_regions_ms", regions_s, "17 styles"),
        milliseconds("paint_two_convolutions_ms", two_s, "two blended styles, float32"),
        milliseconds("prepare_labels_ms", preparing, "once a label map, not counted above"),
    ]


def _face(size: int) -> torch.Tensor:
    """Return a label map (1, size, size) with cloth, hair, skin, eyes and a mouth."""
    y, x = torch.meshgrid(*[torch.linspace(-1.0, 1.0, size)] * 2, indexing="ij")
    labels = torch.zeros(size, size, dtype=torch.uint8)
    labels[y > 0.6] = 14
    for label, wide, high, down in ((15, 0.6, 0.7, -0.1), (1, 0.45, 0.55, 0.0)):
        labels[(x / wide) ** 2 + ((y - down) / high) ** 2 < 1.0] = label
    labels[((x.abs() - 0.2).abs() < 0.08) & ((y + 0.1).abs() < 0.05)] = 3
    labels[(x.abs() < 0.18) & ((y - 0.32).abs() < 0.05)] = 8
    return labels[None]
