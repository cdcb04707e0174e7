"""An avatar and its render path: pose and camera in, colour, depth and masks out.

pose → skinning → crop → rasterise and sample the neural texture → dresser → paste. A pure
function of request and packages: no state survives a frame.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from blender_addon.contract.errors import PackageDamaged, UnknownModel
from blender_addon.contract.operations import RENDER_PASSES
from models.body import Body, load_body, skin
from models.crop import MAX_SIZE, MULTIPLE, Crop, body_crop
from models.dresser import Dressed, Dresser, autocast_dtype
from models.dresser_delta import delta_in
from models.dresser_package import worn_dresser
from models.frame import empty_frame, filled_depth, image_bytes
from models.package import find_package, full_digest, load_arrays, package_digest, read_manifest
from models.shell import LAYERS, shell_distances, stacked, with_shell
from models.texture import DressingInput, MipChain, dressing_features

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from blender_addon.contract.camera import Camera
    from blender_addon.contract.operations import PosedBody
    from models.package import Manifest

NEAR = 0.01
"""Least visible depth in metres."""

FAINTEST_ALPHA = 0.02
"""The dresser's sigmoid never reaches 0: what lies below counts as nothing, and the rest is
stretched so that 1 stays 1. Otherwise a haze of 1/255 would surround every avatar."""


@dataclass(frozen=True)
class Geometry:
    """A posed body as a camera sees it.

    Attributes:
        vertices: (1, V, 3) float32 in camera space, metres.
        crop: where in the frame it is rendered.
        K: (1, 3, 3) float32 intrinsics of the crop.
    """

    vertices: Tensor
    crop: Crop
    K: Tensor


@dataclass(frozen=True)
class Painted:
    """What the dresser gave for a crop, at network resolution.

    Attributes:
        rgba: (1, 4, S, S) float32 premultiplied sRGB, 0…1.
        masks: (1, 3, S, S) float32 foreground, hands, face.
        depth: (1, S, S) float32 metres of the bare body, inf off the body. Where the dresser
            enlarges, that of the rasterised pixel.
    """

    rgba: Tensor
    masks: Tensor
    depth: Tensor


class AvatarRenderer:
    """Renders one avatar: a body, a neural texture, and the dresser that they share.

    Args:
        body: the body whose UVs the texture lives on.
        texture: (C, S, S) assembled neural texture.
        dresser: the renderer network, perhaps shared with other avatars: it is not changed.
        digest: names everything that decides about pixels.
        largest_crop: network resolution above which a crop is enlarged instead.
    """

    def __init__(
        self,
        body: Body,
        texture: Tensor,
        dresser: Dresser,
        digest: str,
        *,
        largest_crop: int = MAX_SIZE,
    ) -> None:
        self.largest_crop = largest_crop
        self.body = body
        self.digest = digest
        self.device = texture.device
        self.dtype = autocast_dtype(self.device)
        self.dresser = dresser.eval().requires_grad_(requires_grad=False)
        self.dresser = self.dresser.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
        # All that depends on the avatar only is computed here, once.
        self.chain = MipChain.build(texture.float())
        self.corner_uv = body.uv[body.uv_faces.long()]
        self.shell = shell_distances(body) if dresser.config.shell else None
        self.upscale = dresser.config.upscale
        # From the crop's intrinsics to those of what is rasterised for it.
        self._coarser = texture.new_tensor([1.0 / self.upscale, 1.0 / self.upscale, 1.0])[:, None]

    @classmethod
    def load(
        cls, library: Path | Sequence[Path], avatar: str, device: str = "cpu"
    ) -> AvatarRenderer:
        """Load an avatar with the body and the dresser that its package names.

        Args:
            library: one folder of packages, or several to be looked through in this order.
            avatar: id of its package.
            device: torch's name of it.

        Raises:
            UnknownModel: the library lacks one of the three.
            PackageDamaged: a file differs from its model.json, or the dresser is another version
                than the one that the avatar was trained with.
        """
        folder = find_package(library, avatar)
        manifest = read_manifest(folder)
        if manifest.kind != "avatar":
            raise UnknownModel(f"{avatar!r} is a {manifest.kind}, not an avatar")
        arrays = load_arrays(folder, device=device)
        texture = arrays["texture"]
        dresser_folder = find_package(library, manifest.requirements["dresser"])
        _check_dresser(manifest, dresser_folder)
        dresser = worn_dresser(dresser_folder, delta_in(arrays), device)
        body = load_body(find_package(library, manifest.requirements["body"]), device)
        digest = full_digest(avatar, lambda model: read_manifest(find_package(library, model)))
        largest = int(manifest.architecture.get("largest_crop", MAX_SIZE))
        return cls(body, texture, dresser, digest, largest_crop=largest)

    def wearing(self, texture: Tensor) -> AvatarRenderer:
        """Return what renders the same body with another texture of the same dresser.

        Only the texture's pyramid is built anew; all else is shared.

        Args:
            texture: (C, S, S).
        """
        other = copy.copy(self)
        other.chain = MipChain.build(texture.float())
        return other

    @torch.inference_mode()
    def render(
        self, body: PosedBody, camera: Camera, passes: Sequence[str] = RENDER_PASSES
    ) -> dict[str, NDArray[Any]]:
        """Render one frame.

        Args:
            body: the pose, in SMPL-X axes.
            camera: world (the same axes) to pixels.
            passes: which of `RENDER_PASSES` to return.

        Returns:
            By pass: rgba (H, W, 4) uint8 premultiplied sRGB; depth (H, W) float32 metres, +inf
            where nothing is; masks (H, W, 3) uint8.

        Raises:
            BodyMismatch: more coefficients than the body has.
        """
        geometry = self.geometry(body, camera)
        if geometry is None:
            return empty_frame(camera, passes)
        features = self.features(geometry)
        painted = self.paint(features)
        return place(painted, geometry.crop, camera, passes)

    @torch.inference_mode()
    def geometry(self, body: PosedBody, camera: Camera) -> Geometry | None:
        """Pose the body and choose the crop; None when the camera sees nothing of it."""
        posed = skin(
            self.body,
            self._tensor(body.pose),
            self._tensor(body.betas),
            self._tensor(body.expression),
            self._tensor(body.transl),
        )
        rotation = torch.from_numpy(camera.R.astype(np.float32)).to(self.device)
        translation = torch.from_numpy(camera.t.astype(np.float32)).to(self.device)
        vertices = posed.vertices @ rotation.T + translation
        points = vertices[0].cpu().numpy()
        depth = np.maximum(points[:, 2:], 1e-6)
        focal = np.array([camera.K[0, 0], camera.K[1, 1]], np.float32)
        center = camera.K[:2, 2].astype(np.float32)
        pixels = np.concatenate([points[:, :2] * focal / depth + center, points[:, 2:]], axis=1)
        config = self.dresser.config
        crop = body_crop(
            pixels,
            camera.width,
            camera.height,
            near=NEAR,
            max_size=self.largest_crop,
            multiple=max(config.stride * config.upscale, MULTIPLE),
        )
        if crop is None:
            return None
        K = torch.from_numpy(crop.camera(camera).K.astype(np.float32)).to(self.device)
        return Geometry(vertices, crop, K[None])

    @torch.inference_mode()
    def features(self, geometry: Geometry) -> DressingInput:
        """Rasterise the posed body and look its neural texture up.

        The side of the features is the crop's, over the dresser's `upscale`.
        """
        vertices, layers = geometry.vertices, 1
        if self.shell is not None:
            vertices = with_shell(vertices, self.body.faces.long(), self.shell)
            layers = LAYERS
        side = geometry.crop.size // self.upscale
        coarse = geometry.K if self.upscale == 1 else geometry.K * self._coarser
        K = coarse.repeat(layers, 1, 1)
        size = (side, side)
        found = dressing_features(
            vertices, self.body.faces, self.corner_uv, K, size, self.chain, near=NEAR
        )
        if layers == 1:
            return found
        # Coverage and depth stay those of the body.
        return DressingInput(stacked(found.features), found.coverage[:1], found.depth[:1])

    @torch.inference_mode()
    def paint(self, features: DressingInput) -> Painted:
        """Run the dresser and premultiply its colours by its foreground mask."""
        rgb, masks = self.dress(features)
        alpha = masks[:, :1].sub(FAINTEST_ALPHA).div(1.0 - FAINTEST_ALPHA).clamp_(0.0, 1.0)
        rgba = torch.cat([rgb.mul(alpha), alpha], dim=1)
        depth = features.depth
        if self.upscale > 1:
            # Nearest: between two limbs there is no surface half-way.
            depth = functional.interpolate(depth[None], scale_factor=float(self.upscale))[0]
        return Painted(rgba, torch.cat([alpha, masks[:, 1:]], dim=1), depth)

    @torch.inference_mode()
    def dress(self, features: DressingInput) -> Dressed:
        """Run the dresser's forward, and nothing else."""
        given = features.features.contiguous(memory_format=torch.channels_last)
        with torch.autocast(
            self.device.type, self.dtype or torch.bfloat16, enabled=self.dtype is not None
        ):
            if self.dresser.config.covers_body:
                return self.dresser(given, features.coverage)
            return self.dresser(given)

    def _tensor(self, values: NDArray[np.float32]) -> Tensor:
        return torch.from_numpy(np.array(values, np.float32))[None].to(self.device)


def _check_dresser(avatar: Manifest, folder: Path) -> None:
    """Refuse a dresser that is not the one that an avatar was trained with, if it says which."""
    wanted = avatar.architecture.get("dresser_digest")
    if wanted is not None and wanted != package_digest(read_manifest(folder)):
        raise PackageDamaged(
            f"{avatar.id!r} was trained with another version of {folder.name!r}",
            "bring that version back, or export or train the avatar again with this one",
        )


def place(
    painted: Painted, crop: Crop, camera: Camera, passes: Sequence[str]
) -> dict[str, NDArray[Any]]:
    """Paste a painted crop into a frame.

    Args:
        painted: at network resolution.
        crop: where it belongs.
        camera: of the frame.
        passes: which passes to make.
    """
    frame = empty_frame(camera, passes)
    target, source = _overlap(crop, camera.width, camera.height)
    rgba = _resized(painted.rgba, crop)
    if "rgba" in frame:
        frame["rgba"][target] = image_bytes(rgba)[source]
    if "masks" in frame:
        frame["masks"][target] = image_bytes(_resized(painted.masks, crop))[source]
    if "depth" in frame:
        depth = filled_depth(painted.depth)
        if crop.side != crop.size:
            depth = functional.interpolate(depth[None], size=(crop.side, crop.side))[0]
        # By the alpha that the frame gets: the two say the same of every pixel.
        depth = torch.where(rgba[:, 3] > 0.5 / 255.0, depth, torch.inf)
        frame["depth"][target] = depth[0].cpu().numpy()[source]
    return frame


def _overlap(
    crop: Crop, width: int, height: int
) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
    """Return where a crop lies in a frame, and which part of the crop that is."""
    left, right = max(crop.x, 0), max(min(crop.x + crop.side, width), 0)
    top, bottom = max(crop.y, 0), max(min(crop.y + crop.side, height), 0)
    target = (slice(top, bottom), slice(left, right))
    source = (slice(top - crop.y, bottom - crop.y), slice(left - crop.x, right - crop.x))
    return target, source


def _resized(image: Tensor, crop: Crop) -> Tensor:
    if crop.side == crop.size:
        return image
    side = (crop.side, crop.side)
    return functional.interpolate(image, size=side, mode="bilinear", antialias=True)
