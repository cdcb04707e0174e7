"""Compare the two rasteriser backends: Warp (the default) and pytorch3d (optional).

    python scripts/check_pytorch3d.py [--json FILE]

The package index has no pytorch3d for Python 3.11, so this makes an environment of its own in
build/pytorch3d-env (about 6 GB, once) with the unofficial repackaging `easypytorch3d` and the
torch that it was built against, and runs the comparison there. Both backends rasterise the same
small scenes; pytorch3d's CPU rasteriser is far too slow for large ones. Exits 0 when every bound
holds. Standard library only until the environment exists.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
import venv
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

ROOT = Path(__file__).resolve().parent.parent
ENVIRONMENT = ROOT / "build" / "pytorch3d-env"
REQUIREMENTS = (
    "easypytorch3d==0.7.9.post1",
    "torch==2.12.1",
    "warp-lang==1.19.0",
    "numpy==2.4.6",
    "msgpack==1.2.4",
)
SEEDS = (1, 2, 3)
DIFFERING_FACES = 0.001
"""Bound on the share of pixels with different face ids: centres that lie on an edge."""
POSITION = 1e-3
"""Bound on the distance of the seen surface points, relative to depth."""


def main(arguments: list[str] | None = None) -> int:
    """Run the comparison, in its own environment if this is not yet it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    options = parser.parse_args(arguments)
    if Path(sys.prefix).resolve() != ENVIRONMENT.resolve():
        return _run_in_environment(sys.argv[1:] if arguments is None else arguments)
    figures = _compare_all()
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2) + "\n")
    return 0 if all(figure["ok"] for figure in figures.values()) else 1


def _run_in_environment(arguments: list[str]) -> int:
    python = ENVIRONMENT / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    complete = ENVIRONMENT / "complete"
    if not complete.exists() or complete.read_text() != "\n".join(REQUIREMENTS):
        print(f"making {ENVIRONMENT.relative_to(ROOT)} (several GB, once)", flush=True)
        venv.create(ENVIRONMENT, with_pip=True, clear=True, symlinks=os.name != "nt")
        subprocess.run([python, "-m", "pip", "install", "-q", *REQUIREMENTS], check=True)
        complete.write_text("\n".join(REQUIREMENTS))
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [python, str(Path(__file__).resolve()), *arguments], check=False, env=environment
    ).returncode


def _compare_all() -> dict[str, dict[str, Any]]:
    import pytorch3d  # pyright: ignore[reportMissingImports] - in the environment made above
    import torch
    import warp

    print(f"torch {torch.__version__}, pytorch3d {pytorch3d.__version__}, warp {warp.__version__}")
    print(
        f"{'scene':34}{'pixels':>8}{'covered':>9}{'faces':>10}{'beyond':>9}{'bary.':>10}"
        f"{'depth':>10}{'point':>10}{'warp':>8}{'p3d':>9}"
    )
    print(
        f"{'':34}{'':>8}{'':>9}{'differ':>10}{'edges':>9}{'max':>10}"
        f"{'max, m':>10}{'max rel.':>10}{'ms':>8}{'ms':>9}"
    )
    figures: dict[str, dict[str, Any]] = {}
    for name, scene in _scenes().items():
        for figure, value, bound in _compare(name, *scene):
            figures[figure] = {"value": value, "bound": bound, "ok": value <= bound}
    held = sum(figure["ok"] for figure in figures.values())
    print(f"{held} of {len(figures)} bounds hold")
    return figures


def _compare(
    name: str,
    vertices: torch.Tensor,
    faces: torch.Tensor,
    K: torch.Tensor,
    size: tuple[int, int],
    near: float,
) -> list[tuple[str, float, float]]:
    """Rasterise one scene with both backends, print a row, return figures and bounds."""
    import torch

    from models.raster import interpolate, rasterize

    rasterize(vertices, faces, K, size, near=near)  # compiles
    started = time.perf_counter()
    ours = rasterize(vertices, faces, K, size, near=near)
    between = time.perf_counter()
    theirs = rasterize(vertices, faces, K, size, near=near, backend="pytorch3d")
    ended = time.perf_counter()

    differ = ours.face != theirs.face
    same = ours.covered & ~differ
    corners = torch.stack([image[faces.long()] for image in vertices])
    beyond = differ & ~_near_an_edge(ours, theirs)
    apart = interpolate(ours, corners) - interpolate(theirs, corners)
    point = (apart.norm(dim=-1) / ours.depth)[same].max().item()
    barycentric = (ours.barycentric - theirs.barycentric).abs()[same].max().item()
    depth = (ours.depth - theirs.depth).abs()[same].max().item()
    pixels = ours.face.numel()
    print(
        f"{name:34}{pixels:8d}{ours.covered.sum().item():9d}{differ.sum().item():10d}"
        f"{beyond.sum().item():9d}{barycentric:10.1e}{depth:10.1e}{point:10.1e}"
        f"{(between - started) * 1e3:8.2f}{(ended - between) * 1e3:9.1f}",
        flush=True,
    )
    return [
        (f"{name}: share of differing faces", differ.sum().item() / pixels, DIFFERING_FACES),
        (f"{name}: relative distance of points", point, POSITION),
    ]


def _near_an_edge(ours: Any, theirs: Any) -> torch.Tensor:
    """Return where a backend's pixel lies within 1 % of a face's edge: rounding may decide."""
    margin = 0.01
    on_edge = ours.covered & (ours.barycentric.amin(dim=-1) < margin)
    return on_edge | (theirs.covered & (theirs.barycentric.amin(dim=-1) < margin))


def _scenes() -> dict[str, tuple[Any, ...]]:
    """Return vertices (B, V, 3), faces (F, 3), K (B, 3, 3), size and near plane by name."""
    import torch

    scenes: dict[str, tuple[Any, ...]] = {}
    vertices, faces = _ellipsoid(40, 40)
    for size in ((64, 64), (128, 96), (96, 128)):
        label = f"ellipsoid {size[1]}×{size[0]}, {len(faces)} faces"
        scenes[label] = (vertices[None], faces, _intrinsics(size)[None], size, 0.01)
    for seed in SEEDS:
        soup = _soup(seed, 600)
        triangles = torch.arange(len(soup), dtype=torch.int32).view(-1, 3)
        size = (96, 96)
        label = f"600 random triangles, seed {seed}"
        scenes[label] = (soup[None], triangles, _intrinsics(size)[None], size, 0.01)
    floor = torch.tensor(
        [[-4, 0.4, -3], [4, 0.4, -3], [0, 0.4, 9], [0.1, -2, -1], [0.3, 2, 0.5], [0.2, 0, 3.0]]
    )
    pair = torch.arange(6, dtype=torch.int32).view(-1, 3)
    size = (96, 96)
    scenes["crossing the near plane"] = (floor[None], pair, _intrinsics(size)[None], size, 0.5)
    wall = torch.tensor([[-900.0, -900, 2], [900, -900, 2], [0, 1500, 3]])
    one = torch.tensor([[0, 1, 2]], dtype=torch.int32)
    scenes["filling the screen"] = (wall[None], one, _intrinsics(size)[None], size, 0.01)
    batch = torch.stack([vertices, vertices + torch.tensor([0.2, -0.1, 0.7])])
    K = torch.stack([_intrinsics(size), _intrinsics(size) * torch.tensor([[1.4], [1.4], [1.0]])])
    scenes["batch of 2, 2 cameras"] = (batch, faces, K, size, 0.01)
    return scenes


def _ellipsoid(rings: int, segments: int) -> tuple[torch.Tensor, torch.Tensor]:
    import torch

    down, around = torch.meshgrid(
        torch.linspace(0.02, torch.pi - 0.02, rings),
        torch.linspace(0, 2 * torch.pi, segments),
        indexing="ij",
    )
    x, z = 0.4 * down.sin() * around.cos(), 0.4 * down.sin() * around.sin()
    vertices = torch.stack([x, -0.9 * down.cos(), z + 2.3], dim=-1).view(-1, 3)
    index = torch.arange(rings * segments).view(rings, segments)
    a, b, c, d = index[:-1, :-1], index[1:, :-1], index[:-1, 1:], index[1:, 1:]
    faces = torch.cat([torch.stack([a, b, c], -1), torch.stack([b, d, c], -1)]).view(-1, 3)
    return vertices, faces.int()


def _soup(seed: int, triangles: int) -> torch.Tensor:
    import torch

    generator = torch.Generator().manual_seed(seed)
    depth = 0.5 + 3.5 * torch.rand(triangles, 1, 1, generator=generator)
    sideways = (torch.rand(triangles, 1, 2, generator=generator) - 0.5) * depth
    middle = torch.cat([sideways, depth], dim=2)
    spread = 0.3 * torch.rand(triangles, 1, 1, generator=generator) ** 2
    return (middle + spread * torch.randn(triangles, 3, 3, generator=generator)).view(-1, 3)


def _intrinsics(size: tuple[int, int]) -> torch.Tensor:
    import torch

    height, width = size
    focal = 1.15 * min(size)
    return torch.tensor([[focal, 0, width / 2 + 1.3], [0, focal, height / 2 - 0.6], [0, 0, 1]])


if __name__ == "__main__":
    sys.exit(main())
