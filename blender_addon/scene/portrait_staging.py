"""Scenes of portraits made by a script: cameras round a head, and looks from options' words."""

# pyright: reportAttributeAccessIssue=false, reportOptionalMemberAccess=false
# pyright: reportIncompatibleMethodOverride=false, reportMissingModuleSource=false
# (Blender's stubs: unions of all data types, Optionals that never are None, other parameter names)

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import bpy

from ..contract.errors import BadParameter, UnsupportedCamera
from ..contract.fields import MAX_SEED
from ..contract.labels import LABEL_GROUPS, LABEL_NAMES
from .portrait_edits import add_basis_head, add_seed_head
from .portrait_keys import key

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from .portrait_edits import Slot

DISTANCE = 1.3
"""Metres from the camera to the head."""

FRAME = 0.42
"""Metres that the frame's longer side shows at the head: about what the painter learned from."""

SWAY = math.radians(30.0)
LOOK_DOWN = -0.015
"""Metres above the head's origin that the camera looks at: the face lies a little below."""

OWN = "own"


def _orbit(share: float) -> tuple[float, float]:
    """Once around; the back is what the network makes of it."""
    return 2.0 * math.pi * share, 0.0


def _sway(share: float) -> tuple[float, float]:
    """From one side to the other and back, nodding a little: ±30°."""
    return SWAY * math.sin(2.0 * math.pi * share), 0.12 * math.sin(4.0 * math.pi * share)


def _static(_share: float) -> tuple[float, float]:
    return 0.0, 0.0


MOVES = {"sway": _sway, "orbit": _orbit, "static": _static}
"""Yaw and elevation in radians of the camera at each share 0…1 of the shot."""


def add_camera(
    scene: bpy.types.Scene, ob: bpy.types.Object, move: str, frames: tuple[int, int]
) -> bpy.types.Object:
    """Add the scene's camera, moving round a portrait.

    Args:
        ob: the portrait object; the camera follows it, and its turns.
        move: one of `MOVES`.
        frames: first and last frame of the move.

    Raises:
        UnsupportedCamera: there is no such move.
    """
    if move not in MOVES:
        raise UnsupportedCamera(
            f"there is no camera move {move!r}", f"choose one of {', '.join(MOVES)}"
        )
    data = bpy.data.cameras.new("Camera")
    data.lens = data.sensor_width * DISTANCE / FRAME
    camera = bpy.data.objects.new("Camera", data)
    camera.parent = ob
    camera.rotation_mode = "XYZ"
    scene.collection.objects.link(camera)
    scene.camera = camera
    count = frames[1] - frames[0] + (0 if move == "static" else 1)
    for frame in range(frames[0], frames[1] + 1):
        yaw, rise = MOVES[move]((frame - frames[0]) / max(count, 1))
        flat = DISTANCE * math.cos(rise)
        camera.location = (
            flat * math.sin(yaw),
            -flat * math.cos(yaw),
            DISTANCE * math.sin(rise) + LOOK_DOWN,
        )
        camera.rotation_euler = (math.pi / 2 - rise, 0.0, yaw)
        for channel in ("location", "rotation_euler"):
            camera.keyframe_insert(channel, frame=frame)
    scene.frame_set(frames[0])
    return camera


def set_head(ob: bpy.types.Object, source: str) -> Any:
    """Show one head.

    Args:
        source: "own", "seed:7" or "head:h0012".

    Returns:
        the source.

    Raises:
        BadParameter: it is none of these.
    """
    state = ob.dressform_portrait
    kind, _, value = source.partition(":")
    if source == OWN:
        found = state.sources[0]
    elif kind == "seed":
        found = add_seed_head(ob, seed_of(value, source))
    elif kind == "head" and value:
        found = add_basis_head(ob, value)
    else:
        raise BadParameter(f"{source!r} names no head", "write own, seed:7 or head:h0012")
    for other in state.sources:
        other.weight = 1.0 if other == found else 0.0
    return found


def key_second_head(ob: bpy.types.Object, source: str, frames: tuple[int, int]) -> None:
    """Key a change from the head that shows to another one."""
    state = ob.dressform_portrait
    before = [float(item.weight) for item in state.sources]
    set_head(ob, source)
    after = [float(item.weight) for item in state.sources]
    before += [0.0] * (len(after) - len(before))
    for frame, weights in zip(frames, (before, after), strict=True):
        for index, weight in enumerate(weights):
            state.sources[index].weight = weight
            key(ob, f"sources[{index}].weight", frame)


def parse_styles(text: str) -> dict[str, int | None]:
    """Read "hair=7,complexion=own": groups or regions by name, seeds or own (None).

    Raises:
        BadParameter: a name or a seed is none; says which names there are.
    """
    names = {name.lower(): name for name in LABEL_GROUPS}
    names |= {name: name for name in LABEL_NAMES if name not in names}
    found: dict[str, int | None] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        name, _, value = (word.strip().lower() for word in part.partition("="))
        if name == "all":
            found |= dict.fromkeys(LABEL_GROUPS, None if value == OWN else seed_of(value, part))
        elif name in names:
            found[names[name]] = None if value == OWN else seed_of(value, part)
        else:
            raise BadParameter(
                f"{name!r} is no region", f"choose of all, {', '.join(sorted(names))}"
            )
    return found


def set_styles(
    ob: bpy.types.Object, styles: Mapping[str, int | None], slot: Slot = "first"
) -> list[int]:
    """Give groups and regions these styles; return the labels whose settings changed.

    A region that is named alone leaves its group.
    """
    state = ob.dressform_portrait
    changed: list[int] = []
    for name, seed in styles.items():
        labels: Iterable[int] = LABEL_GROUPS.get(name, ())
        if name not in LABEL_GROUPS:
            label = LABEL_NAMES.index(name)
            labels = (label,)
            for group, members in LABEL_GROUPS.items():
                if label in members and state.groups[group].linked:
                    state.groups[group].linked = False
        for label in labels:
            style = getattr(state.regions[int(label)], slot)
            style.kind = "OWN" if seed is None else "SEED"
            style.seed = seed or 0
            changed.append(int(label))
    return changed


def key_second_styles(
    ob: bpy.types.Object, styles: Mapping[str, int | None], frames: tuple[int, int]
) -> None:
    """Key a change from the styles that show to these."""
    state = ob.dressform_portrait
    for label in set_styles(ob, styles, "second"):
        for frame, mix in zip(frames, (0.0, 1.0), strict=True):
            state.regions[label].mix = mix
            key(ob, f"regions[{label}].mix", frame)


def seed_of(text: str, whole: str) -> int:
    """Read a seed.

    Args:
        text: its digits.
        whole: the option's words, for the error.

    Raises:
        BadParameter: it is no seed.
    """
    if not text.isascii() or not text.isdigit() or int(text) > MAX_SEED:
        raise BadParameter(f"{whole!r} has no seed", f"a seed is a number within 0…{MAX_SEED}")
    return int(text)
