"""Brings a licensed SMPL-X file into a library, where avatars and Blender find it by its id."""

from __future__ import annotations

import re
from pathlib import Path  # noqa: TC003 - jsonargparse reads the annotation

import torch

from blender_addon.contract.errors import BodyFileError
from models.body import load_body, read_smplx_file
from models.package import DEFAULT_LIBRARY, MANIFEST_FILE, Manifest, write_package


def add_body(file: Path, library: Path = DEFAULT_LIBRARY, body_id: str | None = None) -> None:
    """Add a licensed SMPL-X body to a library, its numbers unchanged.

    The package is for your own use: SMPL-X's licence does not allow to pass it on.

    Args:
        file: SMPLX_NEUTRAL.npz, SMPLX_FEMALE.npz or SMPLX_MALE.npz as downloaded.
        library: folder of model packages.
        body_id: name in the library; the file's name in lower case when omitted.

    Raises:
        BodyFileError: not an SMPL-X body, or the library has a model of this id already.
    """
    body = load_body(file)
    name = body_id or re.sub(r"[^a-z0-9]+", "-", file.stem.lower()).strip("-")
    if (library / name / MANIFEST_FILE).exists():
        raise BodyFileError(
            f"the library has a model {name!r} already",
            "name another id with --body-id, or delete that model's folder first",
        )
    manifest = Manifest(
        kind="body",
        id=name,
        name=file.stem,
        licence="SMPL-X (as licensed to you; not to be passed on)",
        architecture={
            "format": "smplx",
            "vertices": len(body.v_template),
            "betas": body.shape_dirs.shape[2],
            "expressions": body.expression_dirs.shape[2],
        },
        data={"source": file.name, "digest": body.digest},
    )
    arrays = {field: torch.from_numpy(array) for field, array in read_smplx_file(file).items()}
    write_package(library / name, manifest, arrays)
    print(f"{library / name}: {len(body.v_template)} vertices; use it by the id {name!r}")  # noqa: T201
