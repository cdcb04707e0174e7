"""`dressform evaluate redress`: others' parts on people in motion, and what changes elsewhere.

Each part of a body is looked up on the surface as the texture is: a pixel counts as outside when
neither the part nor its seam nor their surroundings are seen in it.
"""

from __future__ import annotations

from pathlib import Path  # noqa: TC003 - jsonargparse reads the annotations
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from PIL import Image
from scipy.ndimage import binary_dilation

from blender_addon.contract.avatar_look import PARTS, AvatarLook, LookSource, redressed
from blender_addon.contract.errors import BadParameter
from models.avatar_look import Looks
from models.frame import over_grey
from models.package import DEFAULT_LIBRARY
from models.texture_parts import part_masks
from server.library import Library
from training.evaluation_regions import BodyParts
from training.evaluation_tables import Bound, figure, publish
from training.looks import Look, frame, sheet
from training.looks_motions import motion

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from blender_addon.contract.camera import Camera
    from blender_addon.contract.operations import PosedBody
    from models.avatar import AvatarRenderer
    from training.looks import Shot

OUTSIDE = Bound(0.02, at_most=True)
MOTIONS = ("walk", "dance")
_MOMENTS = 6
_SURROUNDINGS = 0.02
"""Share of the frame's side around the part that the dresser's convolutions may reach into."""
_VISIBLE = 127
_JPEG_QUALITY = 88


class Scene(NamedTuple):
    """A moment of a motion as a camera sees it."""

    name: str
    body: PosedBody
    camera: Camera


def evaluate_redress(
    bodies: tuple[str, ...] = ("avatar-anna", "avatar-marcus", "avatar-mei"),
    others: tuple[str, ...] = ("avatar-elias", "avatar-rosa", "avatar-marcus", "avatar-anna"),
    each: int = 3,
    part: str = "head",
    size: int = 384,
    library: Path = DEFAULT_LIBRARY,
    picture: Path | None = None,
    threads: int = 2,
    json: Path | None = None,
) -> int:
    """Give people in motion a part of others; measure the change outside that part and its seam.

    Args:
        bodies: ids of avatars of one dresser.
        others: whose part they wear; nobody wears his own.
        each: how many of these a body tries, in their order.
        part: head, torso, legs, hands or feet.
        size: side of the frames.
        library: where the packages lie.
        picture: also write a sheet: as they are, and with each other's part.
        threads: of torch on the CPU.
        json: also write {"figure_name": {"value", "bound", "ok"}} to this file.

    Returns:
        0 when no change exceeds its bound.

    Raises:
        BadParameter: there is no such part, or two avatars do not go together.
    """
    if part not in PARTS:
        raise BadParameter(f"a body has no part {part!r}", f"choose among {', '.join(PARTS)}")
    torch.set_num_threads(threads)
    looks = Looks(Library(library))
    figures: dict[str, dict[str, object]] = {}
    shots: list[Shot] = []
    for body in bodies:
        own = looks.load(body)
        scenes = moments(own, np.array(looks.texture(body, AvatarLook()).betas, np.float32), size)
        before = [shoot(own, scene) for scene in scenes]
        rows: list[list[Shot]] = [[(body, _picture(one))] for one in before]
        for other in [other for other in others if other != body][:each]:
            look = redressed(AvatarLook(), LookSource(avatar=other), part)
            worn = looks.person(own, body, look).renderer
            changes: list[float] = []
            for scene, one, row in zip(scenes, before, rows, strict=True):
                after = shoot(worn, scene)
                changes.append(change_outside(one, after, near_part(own, scene, part)))
                row.append((f"{part} of {other}, {scene.name}", _picture(after)))
            name = f"{body.removeprefix('avatar-')}/{other.removeprefix('avatar-')}"
            figures[f"outside/{name}"] = figure(float(np.max(changes)), OUTSIDE)
        shots += [shot for row in rows for shot in row]
    if picture is not None:
        picture.parent.mkdir(parents=True, exist_ok=True)
        sheet(shots, len(shots) // (len(bodies) * len(MOTIONS))).save(
            picture, quality=_JPEG_QUALITY
        )
    return publish(figures, json)


def moments(renderer: AvatarRenderer, betas: NDArray[np.float32], size: int) -> list[Scene]:
    """Return a moment of each motion, seen from changing sides."""
    look = Look(renderer, BodyParts.of(renderer.body), betas)
    found: list[Scene] = []
    for k, name in enumerate(MOTIONS):
        body = motion(name, _MOMENTS, betas)[1 + k]
        found.append(Scene(name, body, frame(look.vertices(body), -25 + 50 * k, size)))
    return found


def shoot(renderer: AvatarRenderer, scene: Scene) -> NDArray[np.uint8]:
    """Return a frame (H, W, 4) uint8, premultiplied."""
    return renderer.render(scene.body, scene.camera, ("rgba",))["rgba"]


def near_part(renderer: AvatarRenderer, scene: Scene, part: str) -> NDArray[np.bool_]:
    """Return the pixels (H, W) in which a part, its seam or their surroundings are seen."""
    size = int(renderer.chain.size)
    mask = (part_masks(renderer.body, size)[PARTS.index(part)] > 0).float()
    channels = renderer.chain.channels
    marked = renderer.wearing(mask.expand(channels, -1, -1).contiguous())
    geometry = renderer.geometry(scene.body, scene.camera)
    height, width = scene.camera.height, scene.camera.width
    seen = np.zeros((height, width), bool)
    if geometry is None:
        return seen
    crop = geometry.crop
    share = marked.features(geometry).features[:, :1]
    share = torch.nn.functional.interpolate(share, size=(crop.side, crop.side), mode="bilinear")
    found = share[0, 0].numpy() > 0.0
    top, left = max(crop.y, 0), max(crop.x, 0)
    inside = found[top - crop.y :, left - crop.x :][: height - top, : width - left]
    seen[top : top + inside.shape[0], left : left + inside.shape[1]] = inside
    wide = max(1, round(_SURROUNDINGS * width))
    return np.asarray(binary_dilation(seen, iterations=wide), np.bool_)


def change_outside(
    before: NDArray[np.uint8], after: NDArray[np.uint8], near: NDArray[np.bool_]
) -> float:
    """Return the mean absolute change of colour, 0…1, of the person's pixels that are not near."""
    person = ((before[..., 3] > _VISIBLE) | (after[..., 3] > _VISIBLE)) & ~near
    if not person.any():
        return float("nan")
    change = np.abs(before.astype(np.float32) - after.astype(np.float32))[..., :3].mean(axis=2)
    return float(change[person].mean() / 255.0)


def _picture(rgba: NDArray[np.uint8]) -> Image.Image:
    return Image.fromarray(over_grey(rgba))
