"""A portrait and its render path: look and camera in, colour, depth, masks and labels out.

sources → code and styles → square round the head → label map, marched or baked → painter → paste.
A pure function of request and packages: what is kept from frame to frame saves time only.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from blender_addon.contract.camera import look_at
from blender_addon.contract.portraits import NOT_PAINTED
from models.baked_head import BakeSettings, iterate_bake
from models.dresser import autocast_dtype
from models.frame import empty_frame, filled_depth, image_bytes
from models.package import find_package, full_digest, read_manifest
from models.portrait_look import LookResolver, mixed_styles
from models.portrait_networks import code_key, shared_heads, shared_painter
from models.portrait_package import SIW_ROLE, SOF_ROLE, Portrait, load_portrait, network_folder
from models.portrait_paint import FINER, coarser, composed, paint, without_specks
from models.portrait_square import Square, choose_square, finer, looked_up, paste
from models.recent import Recent
from models.siw import one_hot
from models.sof_render import LabelMap

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from blender_addon.contract.camera import Camera
    from blender_addon.contract.portraits import (
        Geometry,
        PortraitLook,
        PortraitRender,
        PortraitSample,
    )
    from models.baked_head import BakedHead
    from models.portrait_networks import Heads
    from models.siw import LabelParts
    from models.siw_package import Siw

PASSES = ("rgba", "depth", "masks")
_FAINTEST = 0.5 / 255.0
_COARSER = 2
"""Painted pixels for one that is marched, while a viewport's head is not baked."""
BAKE = BakeSettings()
VIEW_DISTANCE = 1.3
VIEW_HALF = 0.21
"""Metres: where the camera of thumbnails and previews stands, and half of what it sees."""


class SeenHead(NamedTuple):
    """What a camera sees of a head, ready to be painted in any style.

    Attributes:
        labels: (H, W) uint8 at `FINER` times the painter's resolution.
        depth: (H, W) float32 metres along the square camera's axis, inf where background.
        parts: what the painter needs of the label map.
        key: names the label map.
    """

    labels: Tensor
    depth: Tensor
    parts: LabelParts
    key: bytes


@dataclass(frozen=True)
class Memory:
    """What a portrait keeps from frame to frame.

    What belongs to the networks is kept there: Φ of codes in `Heads.renderer`, baked heads in
    `Heads.baked`; drawn styles in `LookResolver`.

    Attributes:
        seen: heads as cameras see them; some ten megabytes each at 256².
        painted: images by label map and styles: a camera that only turns paints once.
    """

    seen: Recent[SeenHead]
    painted: Recent[Tensor]


class Sample(NamedTuple):
    """One head to choose from.

    Attributes:
        code: (C,) float32.
        styles: (17, W) float32.
        image: (size, size, 3) uint8 sRGB, None when no pictures were asked for.
    """

    code: NDArray[np.float32]
    styles: NDArray[np.float32]
    image: NDArray[np.uint8] | None


class PortraitRenderer:
    """Renders one portrait: a code, styles, and the two networks that they belong to.

    Args:
        portrait: own code and styles.
        heads: the SOF, perhaps shared with other portraits.
        painter: the SIW StyleGAN, perhaps shared; neither is changed.
        digest: names everything that decides about pixels.
    """

    def __init__(self, portrait: Portrait, heads: Heads, painter: Siw, digest: str) -> None:
        self.portrait = portrait
        self.heads = heads
        self.painter = painter
        self.digest = digest
        self.size = painter.config.size
        self.device = heads.renderer.device
        self.dtype = autocast_dtype(self.device) or torch.float32
        self.resolver = LookResolver(portrait, heads, painter)
        self.memory = Memory(Recent[SeenHead](3), Recent[Tensor](4))

    @classmethod
    def load(
        cls, library: Path | Sequence[Path], portrait: str, device: str = "cpu"
    ) -> PortraitRenderer:
        """Load a portrait with the networks that its package names.

        Args:
            library: one folder of packages, or several to be looked through in this order.
            portrait: id of its package.
            device: torch's name of it.

        Raises:
            UnknownModel: the library lacks one of the three, or the id is no portrait's.
            PackageDamaged: a file differs from its model.json, or a network is another version
                than the one that the portrait was made with.
        """
        manifest, content = load_portrait(find_package(library, portrait), device)
        heads = shared_heads(network_folder(library, manifest, SOF_ROLE), device)
        painter = shared_painter(network_folder(library, manifest, SIW_ROLE), device)
        digest = full_digest(portrait, lambda model: read_manifest(find_package(library, model)))
        return cls(content, heads, painter, digest)

    @classmethod
    @torch.inference_mode()
    def of_networks(cls, heads: Heads, painter: Siw) -> PortraitRenderer:
        """Return what two networks show without a portrait: the mean head in the mean styles."""
        mean = Portrait(code=heads.space.mean, styles=painter.get_buffer("style_mean").clone())
        return cls(mean, heads, painter, digest="")

    @torch.inference_mode()
    def render(self, asked: PortraitRender) -> dict[str, NDArray[Any]]:
        """Render one frame.

        Returns:
            By pass, see `portraits.PORTRAIT_PASSES`.

        Raises:
            UnknownModel: the look names a head that the SOF does not have.
            BadParameter: codes or styles of the request do not fit the networks.
        """
        code, styles = self.resolver.code(asked.look), self.resolver.styles(asked.look)
        square = self.square(asked.camera)
        if square is None:
            return empty_frame(asked.camera, asked.passes)
        seen = self.seen(code, square, asked.geometry, asked.labels)
        return self.placed(seen, styles, square, asked.passes, background=asked.background)

    def square(self, camera: Camera) -> Square | None:
        """Return the square to paint for a frame's camera; None if it does not see the head."""
        square = choose_square(camera, self.heads.sof.sof.config.radius, self.size)
        return None if square is None else self._enlarged(square)

    @torch.inference_mode()
    def seen(
        self,
        code: Tensor,
        square: Square,
        geometry: Geometry = "marched",
        labels: NDArray[np.uint8] | None = None,
    ) -> SeenHead:
        """Return what a camera sees of a head.

        Args:
            code: (C,) of the head.
            square: where it is painted.
            geometry: how its label map is made. A head that is not baked is marched coarsely:
                a viewport does not wait for a bake.
            labels: (height, width) of the frame, painted by hand, in place of the head's own.
        """
        kept = self.heads.baked.get(code_key(code)) if geometry == "baked" else None
        baked = kept[0] if kept else None
        how = geometry if geometry == "marched" or baked is not None else "coarse"
        camera = square.camera
        views = b"".join(x.tobytes() for x in (camera.K, camera.R, camera.t))
        key = hashlib.sha256(how.encode() + views + code_key(code)).digest()
        if labels is not None:
            # The frame decides where a label painted by hand lies in the square.
            given = (
                labels.tobytes() + square.to_square.tobytes() + bytes(str(labels.shape), "ascii")
            )
            key = hashlib.sha256(key + given).digest()
        return self.memory.seen.made(key, lambda: self._look(code, square, baked, how, labels, key))

    @torch.inference_mode()
    def placed(
        self,
        seen: SeenHead,
        styles: Tensor,
        square: Square,
        passes: Sequence[str] = PASSES,
        *,
        background: bool = False,
    ) -> dict[str, NDArray[Any]]:
        """Paint a head that was seen, and put it into its frame.

        Args:
            seen: of `seen`.
            styles: (17, W).
            square: that it was seen in.
            passes: which to make.
            background: whether the square is opaque and shows the painted background.
        """
        frame = empty_frame(square.frame, passes)
        layers = composed(self.painted(seen, styles), seen.labels, background=background)
        # What blends, and what must not: a depth between two surfaces is nowhere.
        soft = torch.cat([layers.rgba, layers.masks], dim=1)
        depth = filled_depth(seen.depth[None])[0]
        hard = torch.stack([depth, seen.labels.float() - NOT_PAINTED])[None]
        for band, exact in zip(paste(square, soft), paste(square, hard, nearest=True), strict=True):
            where = (band.rows, band.columns)
            if "rgba" in frame:
                frame["rgba"][where] = image_bytes(band.seen[:, :4])
            if "masks" in frame:
                frame["masks"][where] = image_bytes(band.seen[:, 4:])
            if "depth" in frame:
                metres = exact.seen[0, 0] * exact.depth_ratio
                there = band.seen[0, 3] > _FAINTEST
                frame["depth"][where] = torch.where(there, metres, torch.inf).cpu().numpy()
            if "labels" in frame:
                labels = (exact.seen[0, 1] + NOT_PAINTED).to(torch.uint8)
                frame["labels"][where] = labels.cpu().numpy()
        return frame

    def painted(self, seen: SeenHead, styles: Tensor) -> Tensor:
        """Return the painted square (1, 3, S, S) float32 sRGB, 0…1."""
        key = seen.key + code_key(styles)
        return self.memory.painted.made(
            key, lambda: paint(self.painter.generator, seen.parts, styles)
        )

    def baked(self, look: PortraitLook) -> bool:
        """Whether the head of a look was baked and is still kept."""
        return code_key(self.resolver.code(look)) in self.heads.baked

    def iterate_bake(
        self, look: PortraitLook, settings: BakeSettings = BAKE
    ) -> Generator[tuple[float, BakedHead | None]]:
        """Bake a look's head step by step, and keep it for renders with baked geometry.

        Args:
            look: its styles count for nothing.
            settings: how finely; a head that was baked with them is not baked again.

        Yields:
            progress 0…1, and with the last one the head.

        Raises:
            BadParameter: the head cannot be seen: an untrained SOF.
        """
        code = self.resolver.code(look)
        kept = self.heads.baked.get(code_key(code))
        if kept is not None and kept[1] == settings:
            yield 1.0, kept[0]
            return
        for share, head in iterate_bake(self.heads.renderer, code, settings):
            if head is not None:
                self.heads.baked.put(code_key(code), (head.to(self.device), settings))
            yield share, head

    @torch.inference_mode()
    def iterate_sample(self, asked: PortraitSample) -> Iterator[Sample]:
        """Draw heads and styles to choose from, one after the other.

        Raises:
            UnknownModel: the look names a head that the SOF does not have.
            BadParameter: codes or styles of the request do not fit the networks.
        """
        own_code, own_styles = self.resolver.code(asked.look), self.resolver.styles(asked.look)
        for seed in asked.seeds:
            code, styles = own_code, own_styles
            if "shape" in asked.vary:
                code = torch.lerp(self.resolver.drawn_code(seed), own_code, asked.near)
            if "styles" in asked.vary:
                drawn = self.resolver.drawn_styles(seed)
                styles = mixed_styles(own_styles, drawn, asked.labels, asked.near)
            image = self.view(code, styles, asked.yaw, asked.size) if asked.size else None
            yield Sample(code.cpu().numpy().copy(), styles.cpu().numpy().copy(), image)

    @torch.inference_mode()
    def view(self, code: Tensor, styles: Tensor, yaw: float, size: int) -> NDArray[np.uint8]:
        """Return an opaque picture (size, size, 3) uint8 sRGB of a head, as photographers see it.

        Args:
            code: (C,).
            styles: (17, W).
            yaw: degrees from the front to the head's left.
            size: in pixels.
        """
        camera = view_camera(yaw, self.size)
        if size > self.size:
            camera = self._enlarged(Square(camera, camera)).camera
        # Without an edge there is no need of a finer label map.
        labels = without_specks(self.heads.renderer.label_map(code, camera).labels)
        image = paint(self.painter.generator, self._parts(labels), styles)
        if size != image.shape[-1]:
            image = functional.interpolate(
                image, size=(size, size), mode="bilinear", antialias=True
            )
        return image_bytes(image)

    def _enlarged(self, square: Square) -> Square:
        # What starts with a constant has one size only.
        fixed = self.painter.config.start == "constant"
        return square if fixed else finer(square, self.size)

    def _look(
        self,
        code: Tensor,
        square: Square,
        baked: BakedHead | None,
        how: str,
        labels: NDArray[np.uint8] | None,
        key: bytes,
    ) -> SeenHead:
        fine = square.scaled(FINER * square.camera.width)
        if baked is not None:
            own = baked.label_map(fine.camera)
        elif how == "coarse":
            own = self._coarse(code, square)
        else:
            own = self.heads.renderer.label_map(code, fine.camera)
        drawn = without_specks(own.labels)
        if labels is not None:
            drawn = looked_up(fine, labels, drawn.cpu().numpy()).to(self.device)
        return SeenHead(drawn, own.depth, self._parts(coarser(drawn)), key)

    def _coarse(self, code: Tensor, square: Square) -> LabelMap:
        """March fewer pixels and repeat them."""
        coarse = square.scaled(square.camera.width // _COARSER)
        small = self.heads.renderer.label_map(code, coarse.camera)
        times = FINER * _COARSER
        labels, depth = (
            each.repeat_interleave(times, dim=0).repeat_interleave(times, dim=1) for each in small
        )
        return LabelMap(labels, depth)

    def _parts(self, labels: Tensor) -> LabelParts:
        config = self.painter.config
        return self.painter.generator.prepare(one_hot(labels[None], config.labels), self.dtype)


def view_camera(
    yaw: float,
    size: int,
    *,
    pitch: float = 0.0,
    distance: float = VIEW_DISTANCE,
    half: float = VIEW_HALF,
    width: int | None = None,
) -> Camera:
    """Return a camera that looks at a head; unless told otherwise, as portraits show it.

    Args:
        yaw: degrees from the front to the head's left.
        size: height of the image in pixels.
        pitch: degrees above the horizon.
        distance: metres to the head.
        half: half the image's height at the head, metres.
        width: of the image in pixels; as its height when None.
    """
    a, e = np.radians(yaw), np.radians(pitch)
    eye = distance * np.array([np.sin(a) * np.cos(e), np.sin(e), np.cos(a) * np.cos(e)])
    focal = 0.5 * size * distance / half
    up = np.array([0.0, 1.0, 0.0])
    return look_at(eye, np.zeros(3), up, focal=focal, width=width or size, height=size)
