"""Portraits rendered by Blender's Cycles: cast shadows, light from bounces, light under the skin.

The painter's colours become a picture that the camera projects onto the bust, so that labels and
colours lie exactly as in painted portraits; Cycles lights them. `scripts/render_busts.py` runs in
Blender and reads what `write_bust` wrote.
"""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from PIL import Image
from scipy.ndimage import distance_transform_edt

from blender_addon.contract.errors import SetupError
from training.heads.maps import label_map, look
from training.heads.painting import backdrop_image, parts_seen

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from blender_addon.contract.camera import Camera
    from training.heads.busts import Bust
    from training.heads.colors import PortraitColors
    from training.heads.painting import Shell

_SAMPLES = 2
_UNDER_SKIN = 0.12
"""Share of the skin's light that has travelled below the surface."""

_TIMEOUT = 3600.0


class Stuff(NamedTuple):
    """What a pixel is made of.

    Attributes:
        albedo: (H, W, 3) float32 linear; its neighbours' colour off the bust.
        surface: (H, W, 3) float32: roughness, share of highlights, light under the surface.
    """

    albedo: NDArray[np.float32]
    surface: NDArray[np.float32]


def write_bust(
    file: Path, bust: Bust, shell: Shell, colors: PortraitColors, camera: Camera
) -> None:
    """Write what Blender needs for one portrait, and its label map.

    Args:
        file: the .npz to write.
        bust: the head.
        shell: of `shell_of`.
        colors: of everything.
        camera: where from.
    """
    stuff = _stuff(bust, shell, colors, camera)
    lamps = colors.lights.lamps
    np.savez(
        file,
        vertices=bust.vertices,
        faces=bust.faces.astype(np.int32),
        albedo=stuff.albedo,
        surface=stuff.surface,
        lamp_directions=np.array([lamp.direction for lamp in lamps], np.float32),
        lamp_colors=np.array([lamp.color for lamp in lamps], np.float32),
        sky=np.array(colors.lights.sky, np.float32),
        ground=np.array(colors.lights.ground, np.float32),
        K=camera.K,
        R=camera.R,
        t=camera.t,
        size=np.array([camera.width, camera.height]),
        labels=label_map(bust, look(bust, camera)),
    )
    background = backdrop_image(colors.backdrop, camera.height, camera.width)
    Image.fromarray(_bytes(background)).save(file.with_suffix(".backdrop.png"))


def render_busts(folder: Path, blender: list[str]) -> None:
    """Let Blender render every bust of a folder to NAME.png with transparency.

    Args:
        folder: of .npz files.
        blender: command line of `scripts/render_busts.py` up to its own options.

    Raises:
        SetupError: Blender failed; what it said last is in the message.
    """
    words = [*blender, "--folder", str(folder)]
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=_TIMEOUT)
    missing = [file.name for file in folder.glob("*.npz") if not _rendered(file).is_file()]
    if done.returncode or missing:
        said = (done.stdout + done.stderr)[-1500:]
        raise SetupError(
            f"Blender rendered {len(missing)} busts too few (exit code {done.returncode}):\n{said}",
            "see that this Blender starts in the background, or make the set without --cycles",
        )


def finished_portrait(file: Path) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Return what Blender rendered of a bust's .npz, before its backdrop, and its label map.

    Returns:
        (H, W, 3) uint8 sRGB and (H, W) uint8 labels.
    """
    with np.load(file) as arrays:
        labels = arrays["labels"]
    with Image.open(_rendered(file)) as opened:
        rgba = np.asarray(opened.convert("RGBA"), np.float32) / 255
    with Image.open(file.with_suffix(".backdrop.png")) as opened:
        behind = np.asarray(opened.convert("RGB"), np.float32) / 255
    return _bytes(behind + rgba[..., 3:] * (rgba[..., :3] - behind)), labels


def _rendered(file: Path) -> Path:
    return file.with_suffix(".png")


def _stuff(bust: Bust, shell: Shell, colors: PortraitColors, camera: Camera) -> Stuff:
    width, height = camera.width * _SAMPLES, camera.height * _SAMPLES
    fine = camera.cropped(0, 0, width, height, _SAMPLES)
    seen = look(bust, fine)
    albedo = np.zeros((len(seen.face), 3), np.float32)
    surface = np.zeros((len(seen.face), 3), np.float32)
    for part in parts_seen(bust, shell, colors, fine, seen):
        albedo[part.mine] = part.look.albedo
        # A highlight of exponent n is about as wide as one of this roughness.
        surface[part.mine, 0] = np.sqrt(2.0 / (part.look.sharpness + 2.0))
        surface[part.mine, 1] = np.clip(part.look.gloss, 0.0, 1.0)
        surface[part.mine, 2] = _UNDER_SKIN if part.name == "skin" else 0.0
    maps = np.zeros((height, width, 6), np.float32)
    maps[seen.covered] = np.concatenate([albedo, surface], axis=1)
    maps = _grown(maps, seen.covered)
    return Stuff(maps[..., :3], maps[..., 3:])


def _grown(maps: NDArray[np.float32], covered: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Give pixels off the bust their nearest neighbour's values: its rim must not turn black."""
    nearest: Any = distance_transform_edt(~covered, return_distances=False, return_indices=True)
    return maps[nearest[0], nearest[1]]


def _bytes(image: NDArray[np.floating]) -> NDArray[np.uint8]:
    return np.rint(np.clip(image, 0, 1) * 255).astype(np.uint8)
