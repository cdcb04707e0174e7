"""`dressform bench sof`: label maps at 256², fast against plain, baked against bare rasteriser.

The same network and threads throughout; the variants take turns. Times are the process's own,
summed over its threads: what else the machine does counts little.
"""

from __future__ import annotations

from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

import torch

from models.baked_head import BakeSettings, bake_head
from models.label_orbit import orbit_cameras
from models.package import DEFAULT_LIBRARY, find_package
from models.raster import rasterize
from models.rays import Pinhole
from models.sof_package import load_sof
from models.sof_render import SofRenderer, plain_label_map
from scripts.bench_clock import timed
from server.figures import Figure, milliseconds, publish

if TYPE_CHECKING:
    from torch import Tensor

    from models.sof import Sof

SIZE = 256
FAST_OVER_PLAIN = 0.1
DISAGREEMENT = 0.005
BAKED_OVER_KERNEL = 3.0


def bench_sof(
    package: Path | str,
    library: Path = DEFAULT_LIBRARY,
    turns: int = 3,
    threads: int = 1,
    json: Path | None = None,
) -> int:
    """Time label maps of a field of heads.

    Args:
        package: folder or id of a package of kind "sof".
        library: where an id's package lies.
        turns: views of each variant; medians count.
        threads: of torch.
        json: also write {"figure_name": {"value", "bound", "ok"}} to this file.

    Returns:
        0 when every bound holds.
    """
    torch.set_num_threads(threads)
    folder = Path(package)
    loaded = load_sof(folder if folder.is_dir() else find_package(library, str(package)))
    figures = sof_figures(loaded.sof, loaded.codes[0], turns)
    return publish(figures, json)


def sof_figures(
    sof: Sof, code: Tensor, turns: int, size: int = SIZE, settings: BakeSettings | None = None
) -> list[Figure]:
    """Measure a head from some sides.

    Args:
        sof: trained; an untrained one has borders everywhere and no surface to bake.
        code: (code,) of the head.
        turns: views.
        size: side of the label maps in pixels.
        settings: how the head is baked.
    """
    renderer = SofRenderer(sof)
    head = bake_head(renderer, code, settings)
    cameras = orbit_cameras(turns, size, widest=1.0)
    # Once without being timed: caches fill, kernels compile.
    renderer.label_map(code, cameras[0])
    head.label_map(cameras[0])
    plain, fast, baked, kernel, apart = [], [], [], [], []
    vertices = torch.from_numpy(head.vertices)
    faces = torch.from_numpy(head.faces).to(torch.int32)
    for camera in cameras:
        pinhole = Pinhole.of(camera)
        seen = (vertices @ pinhole.R[0].T + pinhole.t[0])[None].contiguous()
        plain_map, seconds = timed(lambda camera=camera: plain_label_map(sof, code, camera))
        plain.append(seconds)
        fast_map, seconds = timed(lambda camera=camera: renderer.label_map(code, camera))
        fast.append(seconds)
        baked.append(timed(lambda camera=camera: head.label_map(camera))[1])
        kernel.append(
            timed(lambda K=pinhole.K, seen=seen: rasterize(seen, faces, K, (size, size)))[1]
        )
        apart.append(float((plain_map.labels != fast_map.labels).float().mean()))
    return [
        Figure(
            name="label_map_over_plain",
            value=median(fast) / median(plain),
            bound=FAST_OVER_PLAIN,
            unit="×",
            meaning="a label map against a plain float32 march of every pixel",
        ),
        Figure(
            name="label_map_disagreement",
            value=max(apart),
            bound=DISAGREEMENT,
            unit="",
            meaning="share of the pixels whose labels differ between the two, worst view",
        ),
        Figure(
            name="baked_over_kernel",
            value=median(baked) / max(median(kernel), 1e-9),
            bound=BAKED_OVER_KERNEL,
            unit="×",
            meaning="a baked head's label map against the bare rasteriser",
        ),
        milliseconds("label_map_ms", median(fast), "processor time of a label map"),
        milliseconds(
            "baked_ms",
            median(baked),
            f"processor time of a baked label map, {len(head.faces)} faces",
        ),
    ]
