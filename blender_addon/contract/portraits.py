"""The portrait operations of wire version 1: what each takes, and its limits.

A portrait is a head's code in a SOF and a style for each region in a SIW StyleGAN; its package
(kind "portrait") names both networks and holds a code and styles of its own. A request names such
a package and says how the head and the styles are blended from sources: the package's own, seeds,
heads that the SOF learned from, or arrays that the request carries. So a render stays a pure
function of request and packages, and every weight, seed and direction can be animated.
`portrait_requests` reads requests back.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from .errors import BadParameter
from .labels import LABEL_COUNT

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    from numpy.typing import NDArray

    from .camera import Camera
    from .operations import Priority

PORTRAIT_SAMPLE = "portrait.sample"
PORTRAIT_SEGMENT = "portrait.segment"
PORTRAIT_RENDER = "portrait.render"
PORTRAIT_FIT = "portrait.fit"
PORTRAIT_BAKE = "portrait.bake"

PORTRAIT_PREFIX = "portrait-"

PORTRAIT_PASSES = ("rgba", "depth", "masks", "labels")
"""rgba (H, W, 4) uint8, premultiplied sRGB; depth (H, W) float32 metres along the viewing axis,
+inf where nothing is; masks (H, W, 3) uint8: foreground, hands (always 0), face
(`joints.MASK_CHANNELS`); labels (H, W) uint8, 0…16, `NOT_PAINTED` outside the painted square."""

NOT_PAINTED = 255
"""Value of the labels pass where the frame lies outside the square that the network paints."""

MAX_DIRECTIONS = 64
MAX_SAMPLES = 64
MAX_THUMBNAIL = 512

Geometry = Literal["marched", "baked"]
GEOMETRIES: tuple[Geometry, ...] = ("marched", "baked")
"""How a label map is made: by marching every ray, or, for viewports, from the baked head."""


@dataclass(frozen=True, kw_only=True)
class Source:
    """Where a head's code or a region's style comes from: one of these, else the package's own.

    Attributes:
        seed: drawn by chance; equal seeds give equal heads and styles.
        head: id of a head that the SOF learned from (heads only).
        row: of the request's array `codes` (n, C) or `styles` (n, 17, W); styles use the row's
            own region.
    """

    seed: int | None = None
    head: str = ""
    row: int | None = None

    def to_wire(self) -> dict[str, Any]:
        """Return plain values."""
        if self.seed is not None:
            return {"seed": self.seed}
        if self.row is not None:
            return {"row": self.row}
        return {"head": self.head} if self.head else {}


OWN = Source()
"""What the package itself holds."""

Blend = tuple[tuple[Source, float], ...]
"""Sources with weights that add up to 1."""


@dataclass(frozen=True, kw_only=True)
class HeadShape:
    """A head: Σ wᵢ zᵢ with Σ wᵢ = 1 (SofGAN, equation 6), then moved along principal directions.

    Attributes:
        blend: the zᵢ and their weights.
        directions: amounts along the first principal directions of the SOF's heads, in standard
            deviations.
    """

    blend: Blend = ((OWN, 1.0),)
    directions: tuple[float, ...] = ()

    def to_wire(self) -> dict[str, Any]:
        """Return plain values."""
        return {"blend": _blend_to_wire(self.blend), "directions": list(self.directions)}


@dataclass(frozen=True, kw_only=True)
class RegionStyle:
    """The style of a region: a blend of w's, then pulled towards the region's mean.

    Attributes:
        blend: sources and weights.
        truncation: 1 leaves the style, 0 is the mean style of the region.
    """

    blend: Blend = ((OWN, 1.0),)
    truncation: float = 1.0

    def to_wire(self) -> dict[str, Any]:
        """Return plain values."""
        return {"blend": _blend_to_wire(self.blend), "truncation": self.truncation}


@dataclass(frozen=True, kw_only=True)
class PortraitLook:
    """A head and its styles, as all portrait operations take them.

    Params on the wire: portrait (str: id of a package), shape (map: blend, directions; default
    the package's own), styles (list of at most 17 maps: label, blend, truncation; labels left out
    have the package's own). Arrays: codes (n, C) and styles (n, 17, W) float32, where sources
    name rows of them.

    Attributes:
        portrait: id of the package.
        shape: the head.
        styles: by label; labels left out have the package's own style.
        codes: (n, C) float32 that `Source.row` of heads names.
        style_rows: (n, 17, W) float32 that `Source.row` of styles names.
    """

    portrait: str
    shape: HeadShape = field(default_factory=HeadShape)
    styles: Mapping[int, RegionStyle] = field(default_factory=dict[int, RegionStyle])
    codes: NDArray[np.float32] | None = None
    style_rows: NDArray[np.float32] | None = None

    def to_wire(self) -> tuple[dict[str, Any], dict[str, np.ndarray[Any, Any]]]:
        """Return params and arrays for a request."""
        params: dict[str, Any] = {
            "portrait": self.portrait,
            "shape": self.shape.to_wire(),
            "styles": [
                {"label": label} | style.to_wire() for label, style in sorted(self.styles.items())
            ],
        }
        arrays: dict[str, np.ndarray[Any, Any]] = {}
        if self.codes is not None:
            arrays["codes"] = self.codes
        if self.style_rows is not None:
            arrays["styles"] = self.style_rows
        return params, arrays


@dataclass(frozen=True, kw_only=True)
class PortraitRender:
    """`portrait.render`: one frame of one portrait.

    Params on the wire: those of `PortraitLook`; width, height (int), passes (list of str, default
    rgba, depth, masks), geometry (str, default "marched"), background (bool, default false:
    whether the painted square is opaque and shows the painted background), priority and stream
    as in `avatar.render`. Arrays: those of `PortraitLook`; K (3, 3), Rt (3, 4): head space
    (metres, Y up, the face looks along +Z; docs/heads.md) to camera; labels (height, width) uint8,
    optional: a label map painted by hand in place of the head's own.

    Result params: digest (str), cached (bool), seconds (float).
    Result arrays: those of `passes`.
    """

    operation: ClassVar[str] = PORTRAIT_RENDER

    look: PortraitLook
    camera: Camera
    passes: tuple[str, ...] = ("rgba", "depth", "masks")
    geometry: Geometry = "marched"
    background: bool = False
    labels: NDArray[np.uint8] | None = None
    priority: Priority = "final"
    stream: str = ""

    def to_wire(self) -> tuple[dict[str, Any], dict[str, np.ndarray[Any, Any]]]:
        """Return params and arrays for a request."""
        params, arrays = self.look.to_wire()
        params |= {
            "width": self.camera.width,
            "height": self.camera.height,
            "passes": list(self.passes),
            "geometry": self.geometry,
            "background": self.background,
            "priority": self.priority,
        }
        if self.stream:
            params["stream"] = self.stream
        arrays |= self.camera.to_wire()
        if self.labels is not None:
            arrays["labels"] = self.labels
        return params, arrays


@dataclass(frozen=True, kw_only=True)
class PortraitSample:
    """`portrait.sample`: heads and styles to choose from, with thumbnails.

    Params on the wire: those of `PortraitLook`; seeds (list of int, at most 64: one sample each),
    vary (list of "shape" and "styles": what is drawn anew, default both; nothing: the look
    itself), labels (list of int: regions whose styles vary, default all), near (number 0…1,
    default 0: 0 draws anew, otherwise samples lie so close to the look: "more like this"), size
    (int, thumbnails' side, 0 for none, default 128), yaw (number, degrees from the front, default
    0). Arrays: those of `PortraitLook`.

    Result params: digest (str), directions (list of str: what the SOF's principal directions do,
    when known), heads (list of str: some of the SOF's heads to blend from). Result arrays: codes
    (n, C) and styles (n, 17, W) float32; images (n, size, size, 3) uint8 sRGB unless size is 0.
    """

    look: PortraitLook
    seeds: tuple[int, ...] = (0,)
    vary: tuple[str, ...] = ("shape", "styles")
    labels: tuple[int, ...] = tuple(range(LABEL_COUNT))
    near: float = 0.0
    size: int = 128
    yaw: float = 0.0
    priority: Priority = "interactive"

    def to_wire(self) -> tuple[dict[str, Any], dict[str, np.ndarray[Any, Any]]]:
        """Return params and arrays for a request."""
        params, arrays = self.look.to_wire()
        params |= {
            "seeds": list(self.seeds),
            "vary": list(self.vary),
            "labels": list(self.labels),
            "near": self.near,
            "size": self.size,
            "yaw": self.yaw,
            "priority": self.priority,
        }
        return params, arrays


@dataclass(frozen=True, kw_only=True)
class PortraitBake:
    """`portrait.bake`: the head as a labelled mesh, for the viewport's stand-in.

    Params and arrays on the wire: those of `PortraitLook` (its styles count for nothing); views
    (int, default 72).

    Progress params: share (0…1). Result params: digest (str). Result arrays: vertices (V, 3)
    float32 metres in head space, faces (F, 3) int32, labels (F,) uint8.
    """

    look: PortraitLook
    views: int = 72

    def to_wire(self) -> tuple[dict[str, Any], dict[str, np.ndarray[Any, Any]]]:
        """Return params and arrays for a request."""
        params, arrays = self.look.to_wire()
        return params | {"views": self.views, "priority": "job"}, arrays


@dataclass(frozen=True, kw_only=True)
class PortraitFit:
    """`portrait.fit`: a photograph of one person becomes a portrait package.

    Params on the wire: portrait (str: a package whose networks are used), name (str: what people
    read), id (str, optional: of the new package, "portrait-…"; made of the name otherwise), focal
    (number, optional: focal length in pixels of the photograph; guessed otherwise), replace
    (bool, default false). Arrays: image (H, W, 3) uint8 sRGB; labels (H, W) uint8, optional: the
    user's own label map in place of the parser's.

    Progress params: stage (one of `FIT_STAGES`), share (0…1 of the whole), seconds_left (float,
    when known). Now and then a progress reply carries the array preview (h, w, 3) uint8:
    photograph, labels, fitted labels, fitted portrait, as far as they are known.

    Result params: portrait (str), digest (str), label_iou (float), distance (float, offline
    perceptual). Result arrays: labels (h, w) uint8, K (3, 3), Rt (3, 4) of the fitted camera.
    """

    portrait: str
    name: str
    id: str
    image: NDArray[np.uint8]
    labels: NDArray[np.uint8] | None = None
    focal: float | None = None
    replace: bool = False

    def to_wire(self) -> tuple[dict[str, Any], dict[str, np.ndarray[Any, Any]]]:
        """Return params and arrays for a request."""
        params: dict[str, Any] = {
            "portrait": self.portrait,
            "name": self.name,
            "id": self.id,
            "replace": self.replace,
            "priority": "job",
        }
        if self.focal is not None:
            params["focal"] = self.focal
        arrays: dict[str, np.ndarray[Any, Any]] = {"image": self.image}
        if self.labels is not None:
            arrays["labels"] = self.labels
        return params, arrays


FIT_STAGES = ("parsing", "shape", "styles", "writing")


@dataclass(frozen=True, kw_only=True)
class PortraitSegment:
    """`portrait.segment`: the label map of a photograph.

    Params on the wire: none beside priority. Arrays: image (H, W, 3) uint8 sRGB.
    Result params: digest (str, of the parser). Result arrays: labels (H, W) uint8.
    """

    image: NDArray[np.uint8]

    def to_wire(self) -> tuple[dict[str, Any], dict[str, np.ndarray[Any, Any]]]:
        """Return params and arrays for a request."""
        return {"priority": "interactive"}, {"image": self.image}


def portrait_id(name: str) -> str:
    """Return the id that a portrait of this name gets: "portrait-" and plain letters.

    Raises:
        BadParameter: nothing of the name can be part of an id.
    """
    plain = "".join(c if c.isascii() and c.isalnum() else "-" for c in name.lower())
    plain = "-".join(part for part in plain.split("-") if part)[:60]
    if not plain:
        raise BadParameter(
            f"{name!r} has no letter from a to z and no digit to make an id of",
            "give an id, or another name",
            field="name",
        )
    return PORTRAIT_PREFIX + plain


def _blend_to_wire(blend: Blend) -> list[dict[str, Any]]:
    return [source.to_wire() | {"weight": weight} for source, weight in blend]
