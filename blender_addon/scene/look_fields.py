"""Settings that the looks of portraits and of people have in common, as Blender's properties.

Written as annotations of property groups; `update` gets the group and the context.
"""

# pyright: reportMissingModuleSource=false

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import bpy

from ..contract.fields import MAX_SEED
from .looks import DIRECTIONS

if TYPE_CHECKING:
    from collections.abc import Callable

    Update = Callable[[Any, bpy.types.Context], None]


def touch(group: bpy.types.PropertyGroup, _context: bpy.types.Context) -> None:
    """Let viewports know: what a script sets in a group of properties tells nobody otherwise."""
    group.id_data.update_tag()  # pyright: ignore[reportOptionalMemberAccess] - groups have owners


def seed(description: str = "", update: Update = touch) -> Any:
    """Return the seed of what is drawn by chance."""
    return bpy.props.IntProperty(
        name="Seed", description=description, min=0, max=MAX_SEED, update=update
    )


def share(name: str, description: str, default: float, update: Update = touch) -> Any:
    """Return a slider from 0 to 1."""
    return bpy.props.FloatProperty(
        name=name,
        description=description,
        min=0.0,
        max=1.0,
        default=default,
        subtype="FACTOR",
        update=update,
    )


def truncation(name: str, description: str, default: float, update: Update = touch) -> Any:
    """Return how far what is drawn lies from the mean: 0 is the mean, 1 as drawn, at most 2."""
    return bpy.props.FloatProperty(
        name=name,
        description=description,
        min=0.0,
        max=2.0,
        soft_max=1.0,
        default=default,
        update=update,
    )


def directions(description: str, update: Update = touch) -> Any:
    """Return amounts along the first principal directions, in standard deviations."""
    return bpy.props.FloatVectorProperty(
        name="Directions",
        description=description,
        size=DIRECTIONS,
        soft_min=-3.0,
        soft_max=3.0,
        min=-20.0,
        max=20.0,
        default=(0.0,) * DIRECTIONS,
        update=update,
    )
