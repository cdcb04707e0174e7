"""Captures of many people as the wardrobe's training sees them: textures, images and pairs.

A frame is always seen through one window, which its capture and index decide. What it takes to show a
texture there (the body's surface samples) and the true pixels are computed once and kept in memory,
packed: computing them costs as much as a step of training. A batch is a pure function of seed and
step, which is what makes resuming exact.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch import Tensor

from blender_addon.contract.errors import CaptureError
from models.shell import shell_distances, with_shell
from models.surface import SurfaceSamples, surface_samples
from models.unwrap import UvLayout, averaged, unwrap
from training.dressing_data import (
    NEAR,
    People,
    Window,
    area_weights,
    cut_pixels,
    project,
    read_frames,
    whole_window,
)

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from training.dressing_data import Frame
    from training.wardrobe.recipe import WardrobeData

_FRAME_SEED = 104_729
"""Keeps the frames' windows apart from the batches' random numbers."""


@dataclass(frozen=True, kw_only=True)
class View:
    """One frame through its window, packed.

    Attributes:
        person: index of the capture.
        index: of the frame in its capture.
        samples: packed surface samples, of (layers, h, w); layer 0 is the body, 1 its shell.
        pixels: (rows, columns, 6) uint8: premultiplied colour and the three masks, where any is.
        corner: row and column of the first of these pixels in the window.
        inside: (2, size) float32: how much of each row and of each column lies in the frame.
        K: (3, 3) float32 intrinsics in pixels of the output.
        joints: (55, 3) float32, x and y in pixels of the output and depth in metres.
    """

    person: int
    index: int
    samples: dict[str, Tensor]
    pixels: Tensor
    corner: tuple[int, int]
    inside: Tensor
    K: Tensor
    joints: Tensor

    @property
    def bytes(self) -> int:
        """Memory that it takes, about."""
        tensors = (*self.samples.values(), self.pixels, self.inside, self.K, self.joints)
        return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


class TextureBatch(NamedTuple):
    """Unwrapped photographs of a step.

    Attributes:
        people: captures, in order.
        colour: (P, 3, S, S) float32 sRGB −1…1.
        visibility: (P, 1, S, S) float32, 0…1.
    """

    people: tuple[int, ...]
    colour: Tensor
    visibility: Tensor

    def to(self, device: torch.device) -> TextureBatch:
        """Return the batch on a device."""
        return TextureBatch(self.people, self.colour.to(device), self.visibility.to(device))


class Batch(NamedTuple):
    """Images of a step, with all that it takes to render them.

    Attributes:
        shape: (B, size, size) of the output.
        layers: of surfaces.
        samples: of (layers · B, h, w) images, the bodies first; h is the dresser's input.
        people: captures whose frames these are, in order.
        texture: (B,) int64 index into `people`: whose frame it is. Frames of a person are adjacent.
        colour: (B, 3, size, size) float32 premultiplied true colour, 0…1.
        masks: (B, 3, size, size) float32 true masks, 0…1.
        captured: (B, 1, size, size) float32: how much of a pixel lies inside the frame.
        background: (B, 3, 1, 1) float32 random colours, 0…1.
        frames: of each image, the person and the frame's index in its capture.
        K: (B, 3, 3) float32 intrinsics of the output.
        joints: (B, 55, 3) float32: x and y in output pixels, depth in metres.
        unwrapped: the people's unwrapped photographs, where they were asked for.
    """

    shape: tuple[int, int, int]
    layers: int
    samples: SurfaceSamples
    people: tuple[int, ...]
    texture: Tensor
    colour: Tensor
    masks: Tensor
    captured: Tensor
    background: Tensor
    frames: tuple[tuple[int, int], ...]
    K: Tensor
    joints: Tensor
    unwrapped: TextureBatch | None = None

    def to(self, device: torch.device) -> Batch:
        """Return the batch on a device."""
        moved = {
            name: value.to(device)
            for name, value in self._asdict().items()
            if isinstance(value, Tensor)
        }
        tensors = {
            name: value.to(device)
            for name, value in vars(self.samples).items()
            if isinstance(value, Tensor)
        }
        unwrapped = None if self.unwrapped is None else self.unwrapped.to(device)
        samples = replace(self.samples, **tensors)
        return self._replace(**moved, samples=samples, unwrapped=unwrapped)


class Crowd:
    """Captures of many people of one body, and what of them is kept in memory.

    Args:
        people: captures and body; a shell if the dresser sees one.
        data: sizes and shares.
        upscale: output pixels per pixel of the dresser's input.
        texture_size: side of the unwrapped photographs.

    Raises:
        CaptureError: no person, or no frame of one, is left to train on.

    Attributes:
        train: indices of the captures that are trained on.
        held_out: of those that never are.
    """

    def __init__(self, people: People, data: WardrobeData, upscale: int, texture_size: int) -> None:
        count = len(people.captures)
        if data.held_out_people >= count:
            raise CaptureError(
                f"{count} captures, and {data.held_out_people} people to hold out: nobody is left",
                "give more captures, or lower data.held_out_people",
            )
        self.people, self.data, self.upscale = people, data, upscale
        self.train = list(range(count - data.held_out_people))
        self.held_out = list(range(len(self.train), count))
        self.frames = [self._usable(person, "train") for person in range(count)]
        self.held_out_frames = [self._usable(person, "held-out") for person in range(count)]
        for person in self.train:
            if not self.frames[person]:
                raise CaptureError(
                    f"{people.ids[person]} has no frame to train on",
                    "leave the capture out, or lower data.least_side",
                )
        self.layout = UvLayout.of(people.body, texture_size)
        self._views: OrderedDict[tuple[int, int], View] = OrderedDict()
        self._kept = 0
        # A prefetching thread and a look at samples may ask at the same time.
        self._lock = threading.Lock()
        self._textures: dict[int, tuple[Tensor, Tensor]] = {}

    @classmethod
    def open(
        cls,
        folders: Sequence[Path],
        library: Path | Sequence[Path],
        data: WardrobeData,
        *,
        upscale: int,
        texture_size: int,
        shell: bool,
    ) -> Crowd:
        """Open captures; see `People.open`."""
        people = People.open(folders, library)
        if shell:
            people = replace(people, shell=shell_distances(people.body))
        return cls(people, data, upscale, texture_size)

    def view(self, person: int, index: int) -> View:
        """Return a frame through its window, from memory where it is there."""
        key = (person, index)
        with self._lock:
            kept = self._views.get(key)
            if kept is not None:
                self._views.move_to_end(key)
                return kept
        view = self._make_view(person, index)
        with self._lock:
            if key not in self._views:
                self._views[key] = view
                self._kept += view.bytes
            while self._kept > self.data.memory * 1e9 and len(self._views) > 1:
                self._kept -= self._views.popitem(last=False)[1].bytes
        return view

    def texture(self, person: int) -> tuple[Tensor, Tensor]:
        """Return a person's unwrapped photographs: (3, S, S) uint8 colour, (1, S, S) uint8."""
        if person not in self._textures:
            self._textures[person] = self._unwrap(person)
        return self._textures[person]

    def texture_batch(self, seed: int, step: int) -> TextureBatch:
        """Return the textures of a step."""
        rng = np.random.default_rng((seed, step))
        people = tuple(int(p) for p in self._draw_people(rng, self.data.textures))
        return self.textures_of(people)

    def textures_of(self, people: Sequence[int]) -> TextureBatch:
        """Return some people's unwrapped photographs."""
        colours, visible = zip(*(self.texture(person) for person in people), strict=True)
        colour = torch.stack(colours).float() / 127.5 - 1.0
        return TextureBatch(tuple(people), colour, torch.stack(visible).float() / 255.0)

    def batch(self, seed: int, step: int, *, whole: bool = True, unwrapped: bool = False) -> Batch:
        """Return the images of a step: `data.frames` of each of `data.people`.

        Args:
            seed: of the training.
            step: the same step always gives the same batch.
            whole: whole images, or windows of `data.crop` somewhere on the person.
            unwrapped: with the people's unwrapped photographs.
        """
        rng = np.random.default_rng((seed, step))
        chosen: list[tuple[int, int]] = []
        for person in self._draw_people(rng, self.data.people):
            frames = self.frames[person]
            again = len(frames) < self.data.frames
            places = rng.choice(len(frames), self.data.frames, replace=again)
            chosen += [(int(person), frames[place]) for place in places]
        background = torch.from_numpy(rng.random((len(chosen), 3, 1, 1), dtype=np.float32))
        crop = None if whole or not self.data.crop else rng
        batch = self.batch_of(chosen, background, crop)
        return batch._replace(unwrapped=self.textures_of(batch.people)) if unwrapped else batch

    def batch_of(
        self,
        frames: Sequence[tuple[int, int]],
        background: Tensor | None = None,
        crop: np.random.Generator | None = None,
    ) -> Batch:
        """Return given frames as a batch.

        Args:
            frames: person and index of each; those of a person must be adjacent.
            background: (B, 3, 1, 1); mid-grey when omitted.
            crop: draws windows of `data.crop`; whole images when omitted.
        """
        views = [self.view(person, index) for person, index in frames]
        size, each = self.data.size, [SurfaceSamples.unpack(view.samples) for view in views]
        corners = [(0, 0)] * len(views)
        if crop is not None:
            size = self.data.crop
            corners = [self._place_of_crop(view, crop) for view in views]
            each = [
                _cut_samples(
                    samples, row // self.upscale, column // self.upscale, size // self.upscale
                )
                for samples, (row, column) in zip(each, corners, strict=True)
            ]
        if background is None:
            background = torch.full((len(views), 3, 1, 1), 0.5)
        people = tuple(dict.fromkeys(person for person, _ in frames))
        placed = list(zip(views, corners, strict=True))
        pixels = torch.stack(
            [_unpacked(v, self.data.size)[:, r : r + size, c : c + size] for v, (r, c) in placed]
        )
        down = torch.stack([view.inside[0, row : row + size] for view, (row, _) in placed])
        across = torch.stack(
            [view.inside[1, column : column + size] for view, (_, column) in placed]
        )
        corner = torch.tensor([[column, row, 0.0] for row, column in corners])
        K = torch.stack([view.K for view in views])
        K[:, :, 2] -= corner
        samples, layers = _collate(each)
        return Batch(
            shape=(len(views), size, size),
            layers=layers,
            samples=samples,
            people=people,
            texture=torch.tensor([people.index(person) for person, _ in frames]),
            colour=pixels[:, :3].contiguous(memory_format=torch.channels_last),
            masks=pixels[:, 3:].contiguous(memory_format=torch.channels_last),
            captured=(down[:, :, None] * across[:, None, :])[:, None],
            background=background,
            frames=tuple(frames),
            K=K,
            joints=torch.stack([view.joints for view in views]) - corner[:, None],
        )

    def _place_of_crop(self, view: View, rng: np.random.Generator) -> tuple[int, int]:
        """Return row and column of a window whose middle lies in the person's box."""
        size, crop, upscale = self.data.size, self.data.crop, self.upscale
        low = np.array(view.corner)
        middle = low + rng.random(2) * np.array(view.pixels.shape[:2])
        # On whole pixels of the dresser's input.
        row, column = (
            int(np.clip(round((m - crop / 2) / upscale), 0, (size - crop) // upscale)) * upscale
            for m in middle
        )
        return row, column

    def _draw_people(self, rng: np.random.Generator, count: int) -> list[int]:
        return [int(p) for p in rng.permutation(self.train)[: min(count, len(self.train))]]

    def _usable(self, person: int, split: str) -> list[int]:
        """Return the frames of a split that are large enough."""
        capture = self.people.captures[person]
        frames = capture.frames("train" if split == "train" else "held-out")
        least = self.data.least_side
        return frames if min(capture.description.image_size) >= least else []

    def _make_view(self, person: int, index: int) -> View:
        people, data = self.people, self.data
        frame = next(read_frames(people, person, [index]))
        rng = np.random.default_rng((_FRAME_SEED, index, *_letters(people.ids[person])))
        window = self._window(frame, rng)
        size, small = data.size, data.size // self.upscale
        cut = frame.camera.cropped(window.x, window.y, size, size, size / window.side)
        K = torch.from_numpy(cut.K.astype(np.float32))
        halved = K.clone()
        halved[:2] /= self.upscale
        vertices = torch.from_numpy(frame.vertices)[None]
        if people.shell is not None:
            vertices = with_shell(vertices, people.body.faces.long(), people.shell)
        samples = surface_samples(
            vertices,
            people.body.faces,
            people.corner_uv,
            halved.expand(len(vertices), 3, 3),
            (small, small),
            supersampling=data.supersampling,
            near=NEAR,
        )
        packed = samples.pack()
        # Training has no use for depth.
        packed["depth"] = torch.zeros(1).expand(len(packed["pixel"]))
        pixels, corner = _packed(cut_pixels(frame, window, size))
        rows, _ = area_weights(window.y, window.side, size, frame.camera.height)
        columns, _ = area_weights(window.x, window.side, size, frame.camera.width)
        return View(
            person=person,
            index=index,
            samples=packed,
            pixels=pixels,
            corner=corner,
            inside=torch.stack([rows.sum(dim=1), columns.sum(dim=1)]).clamp(0.0, 1.0),
            K=K,
            joints=torch.from_numpy(project(frame.joints, cut.K)),
        )

    def _window(self, frame: Frame, rng: np.random.Generator) -> Window:
        whole = whole_window(frame, rng.uniform(*self.data.margin))
        side = max(whole.side, self.data.size * self.data.finest)
        middle = np.array([whole.x, whole.y]) + whole.side / 2
        return Window(float(middle[0] - side / 2), float(middle[1] - side / 2), side)

    def _unwrap(self, person: int) -> tuple[Tensor, Tensor]:
        frames = self.frames[person]
        few = min(self.data.unwrapped, len(frames))
        chosen = [frames[i] for i in np.linspace(0, len(frames) - 1, few).round().astype(int)]
        seen = []
        for frame in read_frames(self.people, person, chosen):
            if not frame.pixels.size:
                continue
            height, width = frame.pixels.shape[:2]
            planes = torch.from_numpy(frame.pixels).permute(2, 0, 1).float() / 255.0
            # Straight colour: what was premultiplied lies within the mask's soft edge only.
            colour = planes[:3] / planes[3:4].clamp_min(1e-3)
            cut = frame.camera.cropped(frame.corner[0], frame.corner[1], width, height, 1.0)
            vertices = torch.from_numpy(frame.vertices)
            K = torch.from_numpy(cut.K.astype(np.float32))
            seen.append(unwrap(self.layout, colour.clamp(0, 1), planes[3], vertices, K))
        together = averaged(seen)
        colour = ((together.colour + 1.0) * 127.5).round().clamp(0, 255).to(torch.uint8)
        return colour, (together.visibility * 255.0).round().to(torch.uint8)


def _letters(name: str) -> list[int]:
    # The window belongs to the capture, wherever it stands among others.
    return list(name.encode())


def _packed(planes: Tensor) -> tuple[Tensor, tuple[int, int]]:
    """Return (6, size, size) in 0…1 as bytes of the box in which anything is, and its corner."""
    pixels = (planes * 255.0).round().to(torch.uint8).permute(1, 2, 0)
    rows = pixels.amax(dim=(1, 2)).nonzero()[:, 0]
    columns = pixels.amax(dim=(0, 2)).nonzero()[:, 0]
    if not len(rows):
        return pixels[:0, :0].clone(), (0, 0)
    top, left = int(rows[0]), int(columns[0])
    return pixels[top : int(rows[-1]) + 1, left : int(columns[-1]) + 1].clone(), (top, left)


def _unpacked(view: View, size: int) -> Tensor:
    pixels = torch.zeros(size, size, 6, dtype=torch.uint8)
    top, left = view.corner
    rows, columns = view.pixels.shape[:2]
    pixels[top : top + rows, left : left + columns] = view.pixels
    return pixels.permute(2, 0, 1).float() / 255.0


def _cut_samples(samples: SurfaceSamples, top: int, left: int, side: int) -> SurfaceSamples:
    """Return the samples of a square of each image."""
    layers, height, width = samples.shape
    row, column = (samples.pixel // width) % height - top, samples.pixel % width - left
    inside = (row >= 0) & (row < side) & (column >= 0) & (column < side)
    layer = samples.pixel // (height * width)
    counts = samples.offset.diff()
    kept = inside.repeat_interleave(counts)
    counts = counts[inside]
    return replace(
        samples,
        shape=(layers, side, side),
        pixel=((layer * side + row) * side + column)[inside],
        offset=torch.cat([counts.new_zeros(1), counts.cumsum(0)]),
        uv=samples.uv[kept],
        footprint=samples.footprint[kept],
    )


def _collate(views: Sequence[SurfaceSamples]) -> tuple[SurfaceSamples, int]:
    """Return samples of B views, each of (layers, h, w), as those of (layers · B, h, w) images."""
    layers, height, width = views[0].shape
    area = height * width
    pixels, counts, uvs, footprints = [], [], [], []
    for layer in range(layers):
        for number, view in enumerate(views):
            edges = torch.searchsorted(view.pixel, torch.tensor([layer, layer + 1]) * area)
            first, last = int(edges[0]), int(edges[1])
            start, end = int(view.offset[first]), int(view.offset[last])
            shift = (layer * len(views) + number - layer) * area
            pixels.append(view.pixel[first:last] + shift)
            counts.append(view.offset[first : last + 1].diff())
            uvs.append(view.uv[start:end])
            footprints.append(view.footprint[start:end])
    count = torch.cat(counts)
    offset = torch.cat([count.new_zeros(1), count.cumsum(0)])
    samples = SurfaceSamples(
        shape=(layers * len(views), height, width),
        supersampling=views[0].supersampling,
        pixel=torch.cat(pixels),
        offset=offset,
        uv=torch.cat(uvs),
        footprint=torch.cat(footprints),
        depth=torch.zeros(0),
    )
    return samples, layers
