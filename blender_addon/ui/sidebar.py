"""What the panels of the Dressform tab share."""

# pyright: reportMissingModuleSource=false

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Any

import bpy

from .. import connection

if TYPE_CHECKING:
    from collections.abc import Sequence


class Sidebar(bpy.types.Panel):
    """A panel in the Dressform tab of the 3D view's sidebar."""

    bl_space_type = "VIEW_3D"
    bl_region_type = "UI"
    bl_category = "Dressform"


def paragraph(layout: bpy.types.UILayout, text: str, width: int = 38) -> None:
    """Draw a text over several lines: labels do not wrap."""
    column = layout.column(align=True)
    column.scale_y = 0.8
    for line in textwrap.wrap(text, width):
        column.label(text=line)


def how_to_see(what: str) -> str:
    """Return what to do to see the library's avatars, portraits or wardrobe."""
    verb = "Refresh" if connection.current().state == "remote" else "Start the server"
    return f"{verb} to see the {what}"


def directions(layout: Any, state: Any, names: Sequence[str]) -> None:
    """Draw a slider for each of a look's `directions`, named by what it does where that is known."""
    column = layout.column(align=True)
    for index in range(len(state.directions)):
        text = names[index] if index < len(names) else f"Direction {index + 1}"
        column.prop(state, "directions", index=index, text=text.capitalize(), slider=True)
