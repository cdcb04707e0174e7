"""Photographs with the bodies that they show, ready to be compared with renders of an avatar.

Each is cut to the square that the render path would paint (`models/crop.py`), so that a fit sees a
person at the scale at which the dresser was trained.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from blender_addon.contract.errors import BadParameter
from models.body import skin
from models.crop import body_crop
from models.shell import LAYERS, shell_distances, with_shell
from models.surface import surface_samples
from models.unwrap import Unwrapped, UvLayout, unwrap

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from blender_addon.contract.camera import Camera
    from blender_addon.contract.operations import PosedBody
    from models.body import Body
    from models.dresser import DresserConfig
    from models.surface import SurfaceSamples

NEAR = 0.01
"""Least visible depth in metres."""


@dataclass(frozen=True, kw_only=True)
class FitPhoto:
    """A photograph of one person, and the body and camera that were fitted to it.

    Attributes:
        rgba: (H, W, 4) uint8 sRGB, not multiplied by alpha; alpha is the person's mask.
        body: pose and shape.
        camera: of the photograph, H by W.
    """

    rgba: NDArray[np.uint8]
    body: PosedBody
    camera: Camera


@dataclass(frozen=True, kw_only=True)
class FitTargets:
    """Photographs cut to their crops; what `models.regions.find_squares` takes, too.

    Attributes:
        shape: (B, S, S).
        colour: (B, 3, S, S) float32 sRGB 0…1, not multiplied by the mask.
        masks: (B, 3, S, S) float32: the person three times, as nobody knows hands and face.
        captured: (B, 1, S, S) float32: how much of a pixel lies inside the photograph.
        K: (B, 3, 3) float32 intrinsics of the crops.
        vertices: (B, V, 3) float32 posed bodies in camera space, metres.
        joints: (B, 55, 3) float32: x and y in pixels of the crop, depth in metres.
    """

    shape: tuple[int, int, int]
    colour: Tensor
    masks: Tensor
    captured: Tensor
    K: Tensor
    vertices: Tensor
    joints: Tensor

    def some(self, start: int, stop: int) -> FitTargets:
        """Return a run of the photographs."""
        tensors = {
            name: value[start:stop]
            for name, value in vars(self).items()
            if isinstance(value, Tensor)
        }
        return FitTargets(shape=(len(tensors["K"]), *self.shape[1:]), **tensors)

    def over(self, background: float) -> Tensor:
        """Return the photographs (B, 3, S, S) with another background."""
        mask = self.masks[:, :1]
        return self.colour * mask + background * (1.0 - mask)

    def unwrapped(self, layout: UvLayout) -> list[Unwrapped]:
        """Return each photograph in UV space."""
        mask = self.masks[:, 0] * self.captured[:, 0]
        each = zip(self.colour, mask, self.vertices, self.K, strict=True)
        return [unwrap(layout, *one) for one in each]


def prepare(photos: Sequence[FitPhoto], body: Body, size: int, multiple: int = 32) -> FitTargets:
    """Cut photographs to the render path's crops.

    Args:
        photos: of one person.
        body: the parametric body.
        size: side of the crops in pixels.
        multiple: what the side must be a multiple of.

    Raises:
        BadParameter: there is no photograph, its camera is of another size or sees no body, or the
            size does not fit the dresser.
    """
    if not photos:
        raise BadParameter("no photograph to fit", "give at least one")
    if size % multiple:
        raise BadParameter(f"a size of {size}", f"give a multiple of {multiple}", field="size")
    found = [_prepare(photo, body, size) for photo in photos]
    return FitTargets(
        shape=(len(photos), size, size),
        **{name: torch.stack([each[name] for each in found]) for name in found[0]},
    )


def surface_of(
    vertices: Tensor, K: Tensor, body: Body, config: DresserConfig, size: int
) -> SurfaceSamples:
    """Return the surface samples that a dresser's input is made of, bodies first.

    Args:
        vertices: (B, V, 3) float32 in camera space, metres.
        K: (B, 3, 3) of the dresser's output.
        body: whose UVs are looked up.
        config: of the dresser.
        size: side of the dresser's output.
    """
    layers, coarse, side = layered(vertices, K, body, config, size)
    corner_uv = body.uv[body.uv_faces.long()]
    return surface_samples(layers, body.faces, corner_uv, coarse, (side, side), near=NEAR)


def layered(
    vertices: Tensor, K: Tensor, body: Body, config: DresserConfig, size: int
) -> tuple[Tensor, Tensor, int]:
    """Return meshes of all layers, their intrinsics, and the side of the dresser's input."""
    if config.shell:
        vertices = with_shell(vertices, body.faces.long(), shell_distances(body))
    shrink = K.new_tensor([1.0 / config.upscale, 1.0 / config.upscale, 1.0])[:, None]
    layers = LAYERS if config.shell else 1
    return vertices, (K * shrink).repeat(layers, 1, 1), size // config.upscale


def photo_images(targets: FitTargets, size: int) -> Tensor:
    """Return photographs (B, 4, size, size) as an encoder of photographs reads them."""
    images = torch.cat([targets.over(0.0), targets.masks[:, :1]], dim=1)
    small = functional.interpolate(
        images, size=(size, size), mode="bilinear", antialias=True, align_corners=False
    )
    return torch.cat([small[:, :3] * 2.0 - 1.0, small[:, 3:]], dim=1)


def _prepare(photo: FitPhoto, body: Body, size: int) -> dict[str, Tensor]:
    camera, given = photo.camera, photo.rgba
    if given.shape != (camera.height, camera.width, 4):
        raise BadParameter(
            f"a photograph of the shape {given.shape} for a camera of "
            f"{camera.width} × {camera.height} pixels",
            "give (H, W, 4) pixels of the camera's size",
        )
    posed = skin(body, *(_row(value, body) for value in _parameters(photo.body)))
    R, t = (_row(value, body)[0] for value in (camera.R, camera.t))
    K = _row(camera.K, body)[0]
    vertices, joints = posed.vertices[0] @ R.T + t, posed.joints[0] @ R.T + t
    crop = body_crop(
        _projected(vertices, K).cpu().numpy(),
        camera.width,
        camera.height,
        near=NEAR,
        min_size=size,
        max_size=size,
    )
    if crop is None:
        raise BadParameter("the camera of a photograph does not see the body", "fit the body anew")
    cropped = _row(crop.camera(camera).K, body)[0]
    pixels = torch.from_numpy(np.array(given)).to(cropped.device).permute(2, 0, 1).float() / 255.0
    planes = torch.cat([pixels, torch.ones_like(pixels[:1])])
    cut = functional.pad(
        planes,
        (
            max(-crop.x, 0),
            max(crop.x + crop.side - camera.width, 0),
            max(-crop.y, 0),
            max(crop.y + crop.side - camera.height, 0),
        ),
    )
    left, top = max(crop.x, 0), max(crop.y, 0)
    cut = cut[:, top : top + crop.side, left : left + crop.side]
    # Premultiplied while it is resampled: what lies behind the person stays out of the rim.
    weighted = torch.cat([cut[:3] * cut[3:4], cut[3:]])
    small = functional.interpolate(
        weighted[None], size=(size, size), mode="bilinear", antialias=True, align_corners=False
    )[0].clamp(0.0, 1.0)
    return {
        "colour": (small[:3] / small[3:4].clamp_min(1e-3)).clamp(0.0, 1.0),
        "masks": small[3:4].expand(3, -1, -1),
        "captured": small[4:],
        "K": cropped,
        "vertices": vertices,
        "joints": _projected(joints, cropped),
    }


def _parameters(body: PosedBody) -> tuple[NDArray[np.float32], ...]:
    return body.pose, body.betas, body.expression, body.transl


def _row(values: NDArray[np.floating], body: Body) -> Tensor:
    return torch.from_numpy(np.array(values, np.float32))[None].to(body.v_template.device)


def _projected(points: Tensor, K: Tensor) -> Tensor:
    flat = points @ K.T
    return torch.cat([flat[:, :2] / flat[:, 2:].clamp_min(1e-6), points[:, 2:]], dim=1)
