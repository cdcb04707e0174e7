"""What operators change on a portrait: heads to blend from, and styles of regions."""

# pyright: reportAttributeAccessIssue=false, reportOptionalMemberAccess=false
# pyright: reportIncompatibleMethodOverride=false, reportMissingModuleSource=false
# (Blender's stubs: unions of all data types, Optionals that never are None, other parameter names)

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any, Literal

from ..contract.errors import BadParameter
from ..contract.fields import MAX_SEED
from ..contract.labels import LABEL_COUNT, LABEL_GROUPS, Label
from .looks import MAX_HEADS
from .portrait_properties import STORED

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import bpy
    import numpy as np
    from numpy.typing import NDArray

Slot = Literal["first", "second"]

SEEDS_SHOWN = 9999
"""Seeds drawn for artists are small enough to be read and typed."""

NEW_WEIGHT = 0.5


def labels_of(group: str) -> tuple[Label, ...]:
    """Return the labels of a group by name; all labels when it is empty.

    Raises:
        BadParameter: there is no such group.
    """
    if not group:
        return tuple(Label)
    if group not in LABEL_GROUPS:
        raise BadParameter(f"there is no group of regions {group!r}")
    return LABEL_GROUPS[group]


def group_of(label: int) -> str:
    """Return the name of the group that a label stands in."""
    return next(name for name, labels in LABEL_GROUPS.items() if label in labels)


def lead_of(state: Any, label: int) -> Any:
    """Return the region whose settings count for a label: linked groups follow their first."""
    name = group_of(label)
    group = state.groups.get(name)
    linked = group is None or group.linked
    return state.regions[int(LABEL_GROUPS[name][0] if linked else label)]


def unlocked(state: Any, labels: Iterable[int]) -> list[int]:
    """Return those of the labels that may be changed by chance."""
    return [int(label) for label in labels if not lead_of(state, int(label)).lock]


def add_seed_head(ob: bpy.types.Object, seed: int | None = None) -> Any:
    """Add a head drawn by chance to what the portrait's head is blended from."""
    number = random.randint(0, SEEDS_SHOWN) if seed is None else seed
    source = _new_source(ob, f"Seed {number}")
    source.kind, source.seed = "SEED", min(number, MAX_SEED)
    return source


def add_basis_head(ob: bpy.types.Object, head: str) -> Any:
    """Add a head that the network learned from."""
    source = _new_source(ob, head)
    source.kind, source.head = "HEAD", head
    return source


def add_stored_head(ob: bpy.types.Object, code: NDArray[np.float32], name: str) -> Any:
    """Add a head whose code is kept with the object."""
    source = _new_source(ob, name)
    source.kind = "STORED"
    source[STORED] = [float(value) for value in code]
    return source


def show_only(ob: bpy.types.Object, shown: Any) -> None:
    """Let one source alone make the head."""
    for source in ob.dressform_portrait.sources:
        source.weight = 1.0 if source == shown else 0.0


def remove_head(ob: bpy.types.Object, index: int) -> None:
    """Remove a source; the last one stays.

    Raises:
        BadParameter: it is the last, or there is none of that index.
    """
    state = ob.dressform_portrait
    if len(state.sources) < 2 or not 0 <= index < len(state.sources):
        raise BadParameter("a portrait needs at least one head", "add another head first")
    state.sources.remove(index)
    ob.update_tag()
    state.active_source = min(state.active_source, len(state.sources) - 1)
    if all(source.weight == 0.0 for source in state.sources):
        state.sources[0].weight = 1.0


def randomise_head(ob: bpy.types.Object) -> None:
    """Draw the heads that come from seeds anew; without any, show one drawn by chance."""
    seeded = [source for source in ob.dressform_portrait.sources if source.kind == "SEED"]
    if not any(source.weight > 0.0 for source in seeded):
        show_only(ob, seeded[0] if seeded else add_seed_head(ob))
        seeded = seeded[:1]
    for source in seeded:
        source.seed = random.randint(0, SEEDS_SHOWN)
        source.name = f"Seed {source.seed}"


def _new_source(ob: bpy.types.Object, name: str) -> Any:
    state = ob.dressform_portrait
    if len(state.sources) >= MAX_HEADS:
        raise BadParameter(
            f"a portrait is blended from at most {MAX_HEADS} heads", "remove one first"
        )
    source = state.sources.add()
    source.name, source.weight = name, NEW_WEIGHT
    state.active_source = len(state.sources) - 1
    return source


def randomise_styles(ob: bpy.types.Object, labels: Iterable[int]) -> int:
    """Give unlocked regions styles drawn by chance; return how many regions changed."""
    state = ob.dressform_portrait
    drawn: dict[str, int] = {}
    changed = unlocked(state, labels)
    for label in changed:
        lead = lead_of(state, label)
        if lead.name not in drawn:
            drawn[lead.name] = random.randint(0, SEEDS_SHOWN)
            lead.first.kind, lead.first.seed = "SEED", drawn[lead.name]
    return len(changed)


def store_styles(
    ob: bpy.types.Object,
    rows: NDArray[np.float32],
    labels: Sequence[int],
    slot: Slot = "first",
) -> None:
    """Keep styles with the object and show them.

    Args:
        rows: (17, W) one for each region.
        labels: the regions that get them.
        slot: the style, or the second one that it is mixed with.
    """
    if rows.shape[0] != LABEL_COUNT:
        raise BadParameter(f"styles have {LABEL_COUNT} rows, not {rows.shape[0]}")
    state = ob.dressform_portrait
    for label in labels:
        style = getattr(state.regions[int(label)], slot)
        style[STORED] = [float(value) for value in rows[int(label)]]
        style.kind = "STORED"
        getattr(lead_of(state, int(label)), slot).kind = "STORED"


def reset_styles(ob: bpy.types.Object, labels: Iterable[int]) -> None:
    """Let regions show the package's own styles again."""
    state = ob.dressform_portrait
    for label in labels:
        region = state.regions[int(label)]
        region.first.kind = region.second.kind = "OWN"
        region.mix, region.truncation = 0.0, 1.0
        for part in ("first", "second"):
            getattr(region, part).pop(STORED, None)


def swap_styles(ob: bpy.types.Object, labels: Iterable[int]) -> None:
    """Exchange style and second style of regions, so that the other one can be worked on."""
    state = ob.dressform_portrait
    for label in labels:
        region = state.regions[int(label)]
        rows = [getattr(region, part).get(STORED) for part in ("first", "second")]
        rows = [None if row is None else list(row) for row in rows]
        first, second = region.first, region.second
        first.kind, second.kind = second.kind, first.kind
        first.seed, second.seed = second.seed, first.seed
        for style, row in zip((second, first), rows, strict=True):
            style.pop(STORED, None)
            if row is not None:
                style[STORED] = row
