"""Portraits as packages (kind "portrait"): a head's code, a style for each region, two networks.

A package names the SOF and the SIW StyleGAN that it belongs to, and pins their content: codes and
styles mean something to that version only. A portrait that was fitted to a photograph also keeps
the photograph's camera and label map.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from blender_addon.contract.camera import Camera
from blender_addon.contract.errors import BadParameter, PackageDamaged, UnknownModel
from blender_addon.contract.labels import LABEL_COUNT, PALETTE, check_labels
from models.package import (
    Manifest,
    find_package,
    load_arrays,
    package_digest,
    read_manifest,
    write_package,
)

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray
    from PIL.Image import Image
    from torch import Tensor

KIND = "portrait"
SOF_ROLE, SIW_ROLE = "sof", "siw"
"""Roles of a portrait's requirements."""
LABELS_FILE = "labels.png"


@dataclass(frozen=True, kw_only=True)
class Portrait:
    """What makes a portrait beside its networks.

    Attributes:
        code: (C,) float32 of the head.
        styles: (17, W) float32.
        camera: of the photograph that it was fitted to, in head space.
        labels: (H, W) uint8 of that photograph.
    """

    code: Tensor
    styles: Tensor
    camera: Camera | None = None
    labels: NDArray[np.uint8] | None = None


def write_portrait(
    folder: Path,
    portrait: Portrait,
    *,
    sof: Manifest,
    siw: Manifest,
    name: str,
    licence: str,
    recipe: dict[str, Any] | None = None,
    data: dict[str, Any] | None = None,
    metrics: dict[str, Any] | None = None,
    preview: Image | None = None,
) -> Manifest:
    """Write a portrait's package; an older one of the same folder is replaced.

    Args:
        folder: named by the package's id.
        portrait: what it holds.
        sof: of the package that its code belongs to.
        siw: of the package that its styles belong to.
        name: what people read.
        licence: SPDX identifier.
        recipe: how it was made.
        data: digest of the photograph, for instance.
        metrics: measured figures.
        preview: a square picture.

    Raises:
        BadParameter: code or styles are not of these networks.
    """
    architecture: dict[str, Any] = {
        "code": int(sof.architecture["code"]),
        "style": int(siw.architecture["style"]),
        "sof_digest": package_digest(sof),
        "siw_digest": package_digest(siw),
    }
    _check_shapes(portrait.code, portrait.styles, architecture)
    arrays = {"code": portrait.code, "styles": portrait.styles}
    camera = portrait.camera
    if camera is not None:
        architecture["image"] = [camera.width, camera.height]
        arrays["K"] = torch.from_numpy(camera.K)
        arrays["Rt"] = torch.from_numpy(np.concatenate([camera.R, camera.t[:, None]], axis=1))
    extra: dict[str, bytes] = {}
    if portrait.labels is not None:
        extra[LABELS_FILE] = _labels_png(check_labels(portrait.labels))
    manifest = Manifest(
        kind=KIND,
        id=folder.name,
        name=name,
        licence=licence,
        architecture=architecture,
        requirements={SOF_ROLE: sof.id, SIW_ROLE: siw.id},
        recipe=recipe or {},
        data=data or {},
        metrics=metrics or {},
    )
    kept = {name: value.detach().cpu() for name, value in arrays.items()}
    return write_package(folder, manifest, kept, preview, extra)


def load_portrait(folder: Path, device: str = "cpu") -> tuple[Manifest, Portrait]:
    """Load a portrait's package, without its networks.

    Raises:
        UnknownModel: the package is of another kind, or not there.
        PackageDamaged: a file differs from its model.json, or what it holds is no portrait.
    """
    manifest = read_manifest(folder)
    if manifest.kind != KIND:
        raise UnknownModel(f"{folder.name!r} is a {manifest.kind}, not a {KIND}")
    arrays = load_arrays(folder, device=device)
    try:
        code, styles = arrays["code"].float(), arrays["styles"].float()
        _check_shapes(code, styles, manifest.architecture)
        camera = _camera(arrays, manifest)
        labels = _labels(folder) if LABELS_FILE in manifest.files else None
    except (KeyError, TypeError, ValueError, OSError, BadParameter) as error:
        raise PackageDamaged(f"{folder}: this is no portrait ({error})") from error
    return manifest, Portrait(code=code, styles=styles, camera=camera, labels=labels)


def network_folder(library: Path | Sequence[Path], portrait: Manifest, role: str) -> Path:
    """Return the folder of one of a portrait's networks.

    Args:
        library: as `find_package` takes it.
        portrait: the portrait's manifest.
        role: `SOF_ROLE` or `SIW_ROLE`.

    Raises:
        UnknownModel: the library lacks it.
        PackageDamaged: it is another version than the one that the portrait was made with.
    """
    required = portrait.requirements.get(role)
    if required is None:
        raise PackageDamaged(f"{portrait.id!r} does not name its {role}")
    folder = find_package(library, required)
    if portrait.architecture.get(f"{role}_digest") != package_digest(read_manifest(folder)):
        raise PackageDamaged(
            f"{portrait.id!r} was made with another version of {required!r}",
            "bring that version back, or make the portrait again with this one",
        )
    return folder


def _check_shapes(code: Tensor, styles: Tensor, architecture: dict[str, Any]) -> None:
    if code.shape != (architecture["code"],):
        raise BadParameter(f"code must be of {architecture['code']} numbers", field="code")
    if styles.shape != (LABEL_COUNT, architecture["style"]):
        raise BadParameter(
            f"styles must be {LABEL_COUNT} rows of {architecture['style']} numbers", field="styles"
        )
    if not bool(torch.isfinite(code).all()) or not bool(torch.isfinite(styles).all()):
        raise BadParameter("code and styles must be finite numbers", field="code")


def _camera(arrays: dict[str, Tensor], manifest: Manifest) -> Camera | None:
    if "K" not in arrays:
        return None
    extrinsics = arrays["Rt"].double().cpu().numpy()
    width, height = manifest.architecture["image"]
    return Camera(
        K=arrays["K"].double().cpu().numpy(),
        R=extrinsics[:, :3],
        t=extrinsics[:, 3],
        width=int(width),
        height=int(height),
    )


def _labels_png(labels: NDArray[np.uint8]) -> bytes:
    from PIL import Image

    image = Image.fromarray(labels, "P")
    image.putpalette(PALETTE.tobytes())
    written = io.BytesIO()
    image.save(written, "PNG", optimize=True)
    return written.getvalue()


def _labels(folder: Path) -> NDArray[np.uint8]:
    from PIL import Image

    with Image.open(folder / LABELS_FILE) as image:
        return check_labels(np.array(image))
