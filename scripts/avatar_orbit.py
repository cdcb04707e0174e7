"""`dressform avatar orbit AVATAR`: somebody from several sides, standing, in motion and from near."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from blender_addon.contract.errors import BadParameter
from models.avatar import AvatarRenderer
from models.package import DEFAULT_LIBRARY, find_package, read_manifest
from server.storage import Storage
from training.evaluation_regions import BodyParts
from training.looks import Look, frame, sheet
from training.looks_motions import NAMES, motion, neutral

if TYPE_CHECKING:
    from training.looks import Shot

_MOMENTS = 6
_JPEG_QUALITY = 88
_HEAD = 0.6
"""Share of a picture that the head takes."""


def orbit_avatar(
    avatar: str,
    out: Path = Path("orbit.jpg"),
    turns: tuple[int, ...] = (-30, 0, 30, 180),
    poses: str = "dance",
    photo: Path | None = None,
    size: int = 320,
    library: Path = DEFAULT_LIBRARY,
    into: Path | None = None,
) -> None:
    """Render somebody from several sides: standing, in the middle of a motion, and the head.

    Args:
        avatar: id of a package.
        out: the picture.
        turns: degrees about the vertical from the front, a column each.
        poses: the motion: walk, dance, wave, reach or another of `evaluate looks`.
        photo: a picture to show beside them, such as a stage of `avatar fit`.
        size: side of each picture in pixels.
        library: where body and dresser lie.
        into: where the avatar lies; the user's own library when left out.

    Raises:
        BadParameter: there is no such motion.
        UnknownModel: there is no such avatar.
    """
    if poses not in NAMES:
        raise BadParameter(f"there is no motion {poses!r}", f"choose among {', '.join(NAMES)}")
    libraries = [into or Storage().library, library]
    renderer = AvatarRenderer.load(libraries, avatar)
    manifest = read_manifest(find_package(libraries, avatar))
    betas = np.array(manifest.architecture.get("betas", []), np.float32)
    look = Look(renderer, BodyParts.of(renderer.body), betas)
    standing = neutral(betas)
    moving = motion(poses, _MOMENTS, betas)[_MOMENTS // 2]
    shots: list[Shot] = []
    for name, body, places, fill in (
        ("standing", standing, slice(None), 0.82),
        (poses, moving, slice(None), 0.82),
        ("head", standing, look.parts.head, _HEAD),
    ):
        points = look.vertices(body)[places]
        shots += [
            (f"{name} {turn}°", look.shoot(body, frame(points, turn, size, fill=fill)))
            for turn in turns
        ]
    picture = sheet(shots, len(turns))
    if photo is not None:
        picture = _beside(photo, picture)
    out.parent.mkdir(parents=True, exist_ok=True)
    picture.save(out, quality=_JPEG_QUALITY)
    print(out)


def _beside(photo: Path, picture: Image.Image) -> Image.Image:
    with Image.open(photo) as opened:
        left = opened.convert("RGB")
    left = left.resize((round(left.width * picture.height / left.height), picture.height))
    both = Image.new("RGB", (left.width + picture.width, picture.height), "white")
    both.paste(left, (0, 0))
    both.paste(picture, (left.width, 0))
    return both
