"""Keyframes of a portrait's look: all of it at once, and a change from one head to another."""

# pyright: reportAttributeAccessIssue=false, reportOptionalMemberAccess=false
# pyright: reportIncompatibleMethodOverride=false, reportMissingModuleSource=false
# (Blender's stubs: unions of all data types, Optionals that never are None, other parameter names)

from __future__ import annotations

from typing import TYPE_CHECKING

from ..contract.errors import BadParameter
from ..contract.labels import LABEL_GROUPS
from .keying import key_path

if TYPE_CHECKING:
    from collections.abc import Iterator

    import bpy

_GROUP = "dressform_portrait"


def key_look(ob: bpy.types.Object, frame: float) -> int:
    """Key all that the look depends on; return how many properties were keyed.

    Seeds hold until their next key: a seed between two others is another person.
    """
    count = 0
    for path in look_paths(ob):
        key(ob, path, frame)
        count += 1
    return count


def key(ob: bpy.types.Object, path: str, frame: float) -> None:
    """Key one property of the look at a frame.

    Args:
        path: from the portrait group, as `look_paths` gives them.
    """
    key_path(ob, f"{_GROUP}.{path}", frame)


def look_paths(ob: bpy.types.Object) -> Iterator[str]:
    """Yield the paths of what shows: of linked regions only the first of their group."""
    state = ob.dressform_portrait
    for index, source in enumerate(state.sources):
        yield f"sources[{index}].weight"
        if source.kind == "SEED":
            yield f"sources[{index}].seed"
    yield "directions"
    for name, labels in LABEL_GROUPS.items():
        group = state.groups.get(name)
        linked = group is None or group.linked
        for label in labels[:1] if linked else labels:
            region = state.regions[int(label)]
            yield f"regions[{int(label)}].mix"
            yield f"regions[{int(label)}].truncation"
            for part in ("first", "second"):
                if getattr(region, part).kind == "SEED":
                    yield f"regions[{int(label)}].{part}.seed"


def key_blend(ob: bpy.types.Object, first: int, second: int, frames: tuple[int, int]) -> None:
    """Key the weights of two heads so that one becomes the other.

    Args:
        first: index of the source at the first frame; it alone shows there.
        second: index of the source at the last frame.
        frames: first and last frame.

    Raises:
        BadParameter: there are no such sources, or the frames do not follow each other.
    """
    sources = ob.dressform_portrait.sources
    if not (0 <= first < len(sources) and 0 <= second < len(sources)) or first == second:
        raise BadParameter(f"{ob.name} does not have two heads", "add a head to change to")
    if frames[0] >= frames[1]:
        raise BadParameter("the change must end after it begins", "choose a later last frame")
    for frame, shown in zip(frames, (first, second), strict=True):
        for index, source in enumerate(sources):
            source.weight = 1.0 if index == shown else 0.0
            key(ob, f"sources[{index}].weight", frame)
