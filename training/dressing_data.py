"""Captures as training batches of neural dressing.

`load_frames` reads captures once: pixels cut to the person's box, posed vertices in camera
space. `make_batch` cuts crops at any zoom out of them: geometry rasterised anew, pixels resampled
by exact area. A batch is a pure function of seed and step, which is what makes resuming exact.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch import Tensor

from blender_addon.contract.errors import CaptureError
from models.body import load_body, skin
from models.crop import body_crop
from models.package import find_package
from models.shell import with_shell
from models.surface import SurfaceSamples, surface_samples
from training.captures import Capture

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from blender_addon.contract.camera import Camera
    from blender_addon.contract.capture import Split
    from models.body import Body
    from training.dressing_recipe import DressingData

NEAR = 0.01
_POSED_AT_ONCE = 16


@dataclass(frozen=True, kw_only=True)
class Frame:
    """One captured frame, ready to be cropped.

    Attributes:
        person: index of the capture.
        index: of the frame in its capture.
        pixels: (h, w, 6) uint8: colour premultiplied by the foreground, and the three masks,
            inside the person's box; all is 0 outside.
        corner: column and row of the box's first pixel in the frame.
        camera: of the whole frame.
        vertices: (V, 3) float32 in camera space, metres.
        joints: (55, 3) float32 in camera space, metres.
    """

    person: int
    index: int
    pixels: NDArray[np.uint8]
    corner: tuple[int, int]
    camera: Camera
    vertices: NDArray[np.float32]
    joints: NDArray[np.float32]

    def projected(self) -> NDArray[np.float32]:
        """Return the vertices (V, 3): x and y in frame pixels, depth in metres."""
        return project(self.vertices, self.camera.K)


def project(points: NDArray[np.float32], K: NDArray[np.floating]) -> NDArray[np.float32]:
    """Return points (N, 3) in camera space as pixels x, y and depth in metres, float32."""
    depth = points[:, 2:]
    plane = points[:, :2] / np.maximum(depth, 1e-6)
    focal, center = (part.astype(np.float32) for part in (K[[0, 1], [0, 1]], K[:2, 2]))
    return np.concatenate([plane * focal + center, depth], axis=1, dtype=np.float32)


class Window(NamedTuple):
    """A square of a frame: left and top edge and side, in frame pixels."""

    x: float
    y: float
    side: float


class Batch(NamedTuple):
    """One step's crops.

    Attributes:
        shape: (B, H, W).
        layers: of surfaces: 1 is the body, 2 its shell, too. The surface samples below are of
            `layers` × B images, the bodies first.
        supersampling: of the surface samples.
        pixel: see `models.surface.SurfaceSamples`, likewise `offset`, `uv`, `footprint`.
        people: which people's textures the batch wears.
        texture: (B,) int64 index into `people`.
        colour: (B, 3, H, W) float32 premultiplied true colour, 0…1.
        masks: (B, 3, H, W) float32 true masks, 0…1.
        captured: (B, 1, H, W) float32: how much of a pixel lies inside the frame. The body goes
            on outside, but nobody knows what it looks like there.
        background: (B, 3, 1, 1) float32 random colours, 0…1.
        frames: of each crop, the person's index and the frame's index in its capture.
        K: (B, 3, 3) float32 intrinsics of the crops, in network pixels.
        joints: (B, 55, 3) float32: x and y in network pixels of the crop (also outside of it),
            depth in metres; joints behind the camera have a depth ≤ 0.
    """

    shape: tuple[int, int, int]
    layers: int
    supersampling: int
    pixel: Tensor
    offset: Tensor
    uv: Tensor
    footprint: Tensor
    people: tuple[int, ...]
    texture: Tensor
    colour: Tensor
    masks: Tensor
    captured: Tensor
    background: Tensor
    frames: tuple[tuple[int, int], ...]
    K: Tensor
    joints: Tensor

    def samples(self) -> SurfaceSamples:
        """Return all layers' surface samples; without depth, which training does not use."""
        crops, height, width = self.shape
        return SurfaceSamples(
            shape=(self.layers * crops, height, width),
            supersampling=self.supersampling,
            pixel=self.pixel,
            offset=self.offset,
            uv=self.uv,
            footprint=self.footprint,
            depth=self.uv.new_empty(0),
        )


@dataclass(frozen=True, kw_only=True)
class People:
    """Captures and the one body that they share.

    Attributes:
        captures: one a person.
        body: of all.
        corner_uv: (F, 3, 2) float32 UV of each face's corners.
        shell: (V,) float32 distances of the body's shell, for dressers that see one.
    """

    captures: tuple[Capture, ...]
    body: Body
    corner_uv: Tensor
    shell: Tensor | None = None

    @property
    def ids(self) -> list[str]:
        """Names of the captures."""
        return [capture.description.id for capture in self.captures]

    @classmethod
    def open(cls, folders: Sequence[Path], library: Path | Sequence[Path]) -> People:
        """Open captures and their body.

        Args:
            folders: of the captures.
            library: one folder of packages, or several to be looked through for the body.

        Raises:
            CaptureError: a capture is not valid, two have one name, or bodies differ.
        """
        captures = tuple(Capture.open(folder) for folder in folders)
        ids = [capture.description.id for capture in captures]
        bodies = {capture.description.body for capture in captures}
        if len(set(ids)) != len(ids):
            raise CaptureError("two captures have the same id", "give each person once")
        if len(bodies) != 1:
            raise CaptureError(
                f"the captures use {len(bodies)} bodies: {', '.join(sorted(bodies))}",
                "train people of one body together",
            )
        body = load_body(find_package(library, bodies.pop()))
        return cls(captures=captures, body=body, corner_uv=body.uv[body.uv_faces.long()])


def load_frames(people: People, split: Split, limit: int | None = None) -> list[list[Frame]]:
    """Read the frames of a split, per person.

    Args:
        people: captures and their body.
        split: "train" or "held-out".
        limit: at most so many frames a person, evenly spread.
    """
    return [
        list(read_frames(people, person, _spread(capture.frames(split), limit)))
        for person, capture in enumerate(people.captures)
    ]


def read_frames(people: People, person: int, indices: Sequence[int]) -> Iterator[Frame]:
    """Read some frames of a person, one after the other."""
    capture = people.captures[person]
    for first in range(0, len(indices), _POSED_AT_ONCE):
        some = indices[first : first + _POSED_AT_ONCE]
        posed = [capture.posed_body(i) for i in some]
        skinned = skin(
            people.body,
            *(
                torch.from_numpy(np.stack([getattr(body, name) for body in posed]))
                for name in ("pose", "betas", "expression", "transl")
            ),
        )
        for k, index in enumerate(some):
            camera = capture.camera(index)
            R, t = camera.R.T.astype(np.float32), camera.t.astype(np.float32)
            pixels, corner = _person_box(capture, index)
            yield Frame(
                person=person,
                index=index,
                pixels=pixels,
                corner=corner,
                camera=camera,
                vertices=skinned.vertices[k].numpy() @ R + t,
                joints=skinned.joints[k].numpy() @ R + t,
            )


def make_batch(
    people: People,
    frames: Sequence[Sequence[Frame]],
    data: DressingData,
    seed: int,
    step: int,
    *,
    share: tuple[int, int] = (0, 1),
) -> Batch:
    """Cut the crops of a step.

    Args:
        people: the body and its UVs.
        frames: per person.
        data: sizes and shares.
        seed: of the training.
        step: the same step always gives the same batch.
        share: which of how many processes this is: each cuts its own of the step's crops.
    """
    rng = np.random.default_rng((seed, step))
    present = min(data.people_per_batch, len(frames), data.batch)
    who = np.sort(rng.permutation(len(frames))[:present])
    owner = np.arange(data.batch) % present
    chosen = [frames[who[k]][rng.integers(len(frames[who[k]]))] for k in owner]
    windows = [choose_window(frame, data, rng) for frame in chosen]
    background = rng.random((data.batch, 3, 1, 1), dtype=np.float32)
    first, every = share
    return cut_batch(
        people,
        chosen[first::every],
        windows[first::every],
        data.size,
        supersampling=data.supersampling,
        background=torch.from_numpy(background[first::every].copy()),
    )


def cut_batch(
    people: People,
    frames: Sequence[Frame],
    windows: Sequence[Window],
    size: int,
    *,
    supersampling: int = 2,
    background: Tensor | None = None,
) -> Batch:
    """Cut one crop out of each frame at size × size network pixels."""
    who = tuple(sorted({frame.person for frame in frames}))
    pixels = torch.stack([cut_pixels(f, w, size) for f, w in zip(frames, windows, strict=True)])
    captured = torch.stack([_captured(f, w, size) for f, w in zip(frames, windows, strict=True)])
    intrinsics = np.stack(
        [
            frame.camera.cropped(w.x, w.y, size, size, size / w.side).K
            for frame, w in zip(frames, windows, strict=True)
        ]
    ).astype(np.float32)
    joints = [project(frame.joints, K) for frame, K in zip(frames, intrinsics, strict=True)]
    vertices = torch.from_numpy(np.stack([frame.vertices for frame in frames]))
    K = torch.from_numpy(intrinsics)
    if people.shell is not None:
        vertices = with_shell(vertices, people.body.faces.long(), people.shell)
    layers = len(vertices) // len(frames)
    samples = surface_samples(
        vertices,
        people.body.faces,
        people.corner_uv,
        K.repeat(layers, 1, 1),
        (size, size),
        supersampling=supersampling,
        near=NEAR,
    )
    if background is None:
        background = torch.full((len(frames), 3, 1, 1), 0.5)
    return Batch(
        shape=(len(frames), size, size),
        layers=layers,
        supersampling=supersampling,
        pixel=samples.pixel,
        offset=samples.offset,
        uv=samples.uv,
        footprint=samples.footprint,
        people=who,
        texture=torch.tensor([who.index(frame.person) for frame in frames]),
        colour=pixels[:, :3].contiguous(memory_format=torch.channels_last),
        masks=pixels[:, 3:].contiguous(memory_format=torch.channels_last),
        captured=captured,
        background=background,
        frames=tuple((frame.person, frame.index) for frame in frames),
        K=K,
        joints=torch.from_numpy(np.stack(joints)),
    )


def whole_window(frame: Frame, margin: float) -> Window:
    """Return the square that the render path would crop: around the visible body."""
    crop = body_crop(
        frame.projected(), frame.camera.width, frame.camera.height, near=NEAR, margin=margin
    )
    if crop is None:
        return Window(0.0, 0.0, float(max(frame.camera.width, frame.camera.height)))
    return Window(float(crop.x), float(crop.y), float(crop.side))


def choose_window(frame: Frame, data: DressingData, rng: np.random.Generator) -> Window:
    """Draw a window: the whole visible body, or a part of it at a finer scale.

    The draw depends on the frame and the generator only.
    """
    finest = data.size * data.finest
    whole = whole_window(frame, rng.uniform(*data.margin))
    full = max(whole.side, finest)
    middle = np.array([whole.x, whole.y]) + whole.side / 2
    if rng.random() < data.whole_share:
        middle = middle + full * rng.uniform(-0.05, 0.05, 2)
        side = full
    else:
        side = float(np.exp(rng.uniform(np.log(finest), np.log(full))))
        middle = _place_to_look_at(frame, data.detail_share, rng)
        middle = middle + side * rng.uniform(-0.35, 0.35, 2)
    return Window(float(middle[0] - side / 2), float(middle[1] - side / 2), side)


def cut_pixels(frame: Frame, window: Window, size: int) -> Tensor:
    """Resample a window by exact area.

    Returns:
        (6, size, size) float32, 0…1: premultiplied colour and masks; 0 outside the person's box.
    """
    height, width = frame.pixels.shape[:2]
    rows, top = area_weights(window.y - frame.corner[1], window.side, size, height)
    columns, left = area_weights(window.x - frame.corner[0], window.side, size, width)
    if not rows.shape[1] or not columns.shape[1]:
        return torch.zeros(frame.pixels.shape[2], size, size)
    seen = frame.pixels[top : top + rows.shape[1], left : left + columns.shape[1]]
    planes = torch.from_numpy(np.ascontiguousarray(seen)).permute(2, 0, 1).float()
    # Rounding may leave weights that add up to a little more than 1.
    return (rows @ (planes @ columns.T) / 255.0).clamp_(0.0, 1.0)


def area_weights(start: float, side: float, size: int, length: int) -> tuple[Tensor, int]:
    """Return how much of each source pixel lies in each target pixel, along one axis.

    Args:
        start: where the first target pixel begins, in source pixels.
        side: source pixels that the target spans.
        size: target pixels.
        length: source pixels that there are; none lies outside 0…length.

    Returns:
        (size, n) float32 weights over n source pixels (rows sum to 1 where the target lies
        inside the source), and the index of the first of these.
    """
    step = side / size
    first = min(max(int(np.floor(start)), 0), length)
    last = min(max(int(np.ceil(start + side)), first), length)
    low = start + step * np.arange(size)[:, None]
    pixel = np.arange(first, last)[None]
    overlap = np.minimum(low + step, pixel + 1) - np.maximum(low, pixel)
    return torch.from_numpy((np.maximum(overlap, 0.0) / step).astype(np.float32)), first


def _captured(frame: Frame, window: Window, size: int) -> Tensor:
    """Return (1, size, size) in 0…1: how much of each pixel lies inside the frame."""
    rows, _ = area_weights(window.y, window.side, size, frame.camera.height)
    columns, _ = area_weights(window.x, window.side, size, frame.camera.width)
    return (rows.sum(dim=1)[:, None] * columns.sum(dim=1)).clamp(0.0, 1.0)[None]


def _person_box(capture: Capture, index: int) -> tuple[NDArray[np.uint8], tuple[int, int]]:
    image, masks = capture.image(index), capture.masks(index)
    if capture.description.background == "photograph":
        coverage = masks[..., :1].astype(np.uint16)
        image = ((image * coverage + 127) // 255).astype(np.uint8)
    rows = np.flatnonzero(masks[..., 0].any(axis=1))
    columns = np.flatnonzero(masks[..., 0].any(axis=0))
    if not len(rows):
        return np.zeros((0, 0, 6), np.uint8), (0, 0)
    box = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
    return np.concatenate([image[box], masks[box]], axis=-1), (int(columns[0]), int(rows[0]))


def _place_to_look_at(
    frame: Frame, detail_share: float, rng: np.random.Generator
) -> NDArray[np.float64]:
    """Draw a pixel of hands or face with the given chance, else of the person, evenly."""
    detailed = rng.random() < detail_share
    draw = rng.random()
    masks = frame.pixels[..., 3:]
    places = np.flatnonzero(masks[..., 1:].max(axis=2, initial=0) > 127) if detailed else ()
    if not len(places):
        places = np.flatnonzero(masks[..., 0] > 127)
    if not len(places):
        return np.array([frame.camera.width, frame.camera.height]) / 2
    row, column = divmod(int(places[int(draw * len(places))]), frame.pixels.shape[1])
    return np.array([frame.corner[0] + column + 0.5, frame.corner[1] + row + 0.5])


def _spread(indices: Sequence[int], limit: int | None) -> list[int]:
    if limit is None or len(indices) <= limit:
        return list(indices)
    return [indices[i] for i in np.linspace(0, len(indices) - 1, limit).astype(int)]
