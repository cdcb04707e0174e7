"""`dressform evaluate looks`: sheets of avatars for the eye, which figures do not replace.

Eight sides of a neutral pose and five motions at 512² and 1024², and close-ups of head and hands,
all by the real render path over neutral grey.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from PIL import Image, ImageDraw

from blender_addon.contract.camera import look_at
from models.avatar import AvatarRenderer
from models.body import skin
from models.package import DEFAULT_LIBRARY, list_packages, read_manifest
from training.evaluation_regions import BodyParts
from training.looks_motions import NAMES, motion, neutral
from training.losses import NEUTRAL_GREY

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from blender_addon.contract.camera import Camera
    from blender_addon.contract.operations import PosedBody

SIDES = 8
SIZES = (512, 1024)
CLOSE_UP = 512
HEAD_ANGLES = (0, 35, -35, 90, -90, 180)
"""Degrees about the vertical from the front, positive to the person's left."""
HAND_POSES = (("neutral", 0), ("wave", 3), ("reach", 1), ("dance", 2))
"""Motion and moment (of 6) at which each hand is looked at closely."""
_DISTANCE = 4.0
_CAPTION = 18
_UP = np.array([0.0, 1.0, 0.0])


def show_looks(
    avatars: str,
    out: Path = Path("runs/looks"),
    library: Path = DEFAULT_LIBRARY,
    frames: int = 6,
    sizes: tuple[int, ...] = SIZES,
    device: str = "cpu",
) -> int:
    """Render sheets of avatars to look at: sides, motions, heads and hands.

    Args:
        avatars: ids of packages, separated by commas; "all" for all of the library's.
        out: folder for the sheets.
        library: folder of packages.
        frames: moments of each motion; half as many in sheets larger than 512².
        sizes: sides of the rendered frames in pixels.
        device: where to render.
    """
    out.mkdir(parents=True, exist_ok=True)
    ids = [package.id for package in list_packages(library) if package.kind == "avatar"]
    for avatar in ids if avatars == "all" else avatars.split(","):
        look = Look.of(library, avatar, device)
        for size in sizes:
            moments = frames if size <= SIZES[0] else max(frames // 2, 1)
            _save(look.sides(size), 4, out / f"{avatar}-sides-{size}.png")
            _save(look.motions(size, moments), moments, out / f"{avatar}-motions-{size}.png")
        _save(look.heads(CLOSE_UP), 3, out / f"{avatar}-heads.png")
        _save(look.hands(CLOSE_UP), 4, out / f"{avatar}-hands.png")
    return 0


Shot = tuple[str, Image.Image]
"""A picture and what it shows."""


@dataclass(frozen=True)
class Look:
    """An avatar that is looked at.

    Attributes:
        renderer: of the avatar.
        parts: of its body.
        betas: of the person.
    """

    renderer: AvatarRenderer
    parts: BodyParts
    betas: NDArray[np.float32]

    @classmethod
    def of(cls, library: Path, avatar: str, device: str = "cpu") -> Look:
        """Load an avatar."""
        renderer = AvatarRenderer.load(library, avatar, device)
        betas = np.array(read_manifest(library / avatar).architecture.get("betas", []), np.float32)
        return cls(renderer, BodyParts.of(renderer.body), betas)

    def sides(self, size: int) -> list[Shot]:
        """Return a neutral pose from eight sides."""
        body = neutral(self.betas)
        points = self.vertices(body)
        turns = [360 * side // SIDES for side in range(SIDES)]
        return [(f"{turn}°", self.shoot(body, frame(points, turn, size))) for turn in turns]

    def motions(self, size: int, moments: int) -> list[Shot]:
        """Return moments of five motions, one motion after the other, from changing sides."""
        shots: list[Shot] = []
        for name in NAMES:
            for k, body in enumerate(motion(name, moments, self.betas)):
                turn = -40 + 80 * k // max(moments - 1, 1)
                camera = frame(self.vertices(body), turn, size)
                shots.append((f"{name} {k + 1}", self.shoot(body, camera)))
        return shots

    def heads(self, size: int) -> list[Shot]:
        """Return the head from six sides."""
        body = neutral(self.betas)
        points = self.vertices(body)[self.parts.head]
        return [
            (f"head {turn}°", self.shoot(body, frame(points, turn, size, fill=0.6)))
            for turn in HEAD_ANGLES
        ]

    def hands(self, size: int) -> list[Shot]:
        """Return both hands in a few poses."""
        shots: list[Shot] = []
        for side, turn in (("left", 40), ("right", -40)):
            for name, k in HAND_POSES:
                neutral_pose = name == "neutral"
                body = neutral(self.betas) if neutral_pose else motion(name, 6, self.betas)[k]
                hand = self.parts.left_hand if side == "left" else self.parts.right_hand
                camera = frame(self.vertices(body)[hand], turn, size, fill=0.6)
                shots.append((f"{side}, {name}", self.shoot(body, camera)))
        return shots

    def vertices(self, body: PosedBody) -> NDArray[np.float32]:
        """Return a pose's vertices (V, 3) in metres."""
        values = (body.pose, body.betas, body.expression, body.transl)
        device = self.renderer.device
        with torch.inference_mode():
            batch = [torch.from_numpy(np.array(v, np.float32))[None].to(device) for v in values]
            return skin(self.renderer.body, *batch).vertices[0].cpu().numpy()

    def shoot(self, body: PosedBody, camera: Camera) -> Image.Image:
        """Return a frame over neutral grey."""
        rgba = self.renderer.render(body, camera, ("rgba",))["rgba"].astype(np.float32) / 255
        picture = rgba[..., :3] + NEUTRAL_GREY * (1.0 - rgba[..., 3:])
        return Image.fromarray((picture * 255 + 0.5).clip(0, 255).astype(np.uint8))


def frame(points: NDArray[np.floating], degrees: float, size: int, *, fill: float = 0.82) -> Camera:
    """Return a camera that looks at the middle of some points, from a side.

    Args:
        points: (N, 3) metres.
        degrees: about the vertical from the front.
        size: width and height in pixels.
        fill: share of the picture that the points' larger extent takes.
    """
    low, high = points.min(axis=0), points.max(axis=0)
    middle = (low + high) / 2
    turn = np.radians(degrees)
    away = np.array([np.sin(turn), 0.1, np.cos(turn)])
    eye = middle + _DISTANCE * away / np.linalg.norm(away)
    first = look_at(eye, middle, _UP, focal=1.0, width=size, height=size)
    seen = points @ first.R.T + first.t
    flat = seen[:, :2] / seen[:, 2:]
    focal = fill * size / float((flat.max(axis=0) - flat.min(axis=0)).max())
    return look_at(eye, middle, _UP, focal=focal, width=size, height=size)


def sheet(shots: Sequence[Shot], columns: int) -> Image.Image:
    """Lay pictures of one size out in rows, with a caption over each."""
    width, height = shots[0][1].size
    rows = -(-len(shots) // columns)
    picture = Image.new("RGB", (columns * width, rows * (height + _CAPTION)), "white")
    draw = ImageDraw.Draw(picture)
    for k, (caption, image) in enumerate(shots):
        left, top = (k % columns) * width, (k // columns) * (height + _CAPTION)
        draw.text((left + 6, top + 3), caption, "black")
        picture.paste(image, (left, top + _CAPTION))
    return picture


def _save(shots: Sequence[Shot], columns: int, file: Path) -> None:
    sheet(shots, columns).save(file, compress_level=4)
    print(file)  # noqa: T201 - a command's own output
