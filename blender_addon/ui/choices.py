"""Pictures to choose from: a grid of samples in the panel, with a button below each."""

# pyright: reportMissingModuleSource=false

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import bpy

from . import gallery
from .waiting import Outcome, redraw

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Kind = TypeVar("Kind")

_WIDE = 3
"""How many pictures stand in a row."""


@dataclass
class Choices(Generic[Kind]):
    """Samples to choose from.

    Attributes:
        uid: of the object that they are for; 0 for none.
        what: varies in them.
        samples: what choosing takes.
        images: (n, side, side, 3) uint8 sRGB, None when none were drawn.
        number: tells these pictures from earlier ones.
    """

    uid: int
    what: str
    samples: Kind
    images: NDArray[np.uint8] | None
    number: int = field(default=0)

    def key(self, index: int) -> str:
        """Return the name of a sample's icon."""
        return f"choice {self.number} {index}"


class Shelf(Generic[Kind]):
    """The samples of one kind that are on show."""

    _count = 0

    def __init__(self) -> None:
        self.choices: Choices[Kind] | None = None
        _shelves.append(self)

    def show(self, choices: Choices[Kind]) -> None:
        """Put samples in the place of those that are on show."""
        self.forget()
        Shelf._count += 1
        choices.number = Shelf._count
        self.choices = choices

    def of(self, ob: bpy.types.Object | None) -> Choices[Kind] | None:
        """Return what is on show for an object."""
        uid = 0 if ob is None else ob.session_uid
        found = self.choices
        return found if found is not None and found.uid == uid else None

    def forget(self) -> None:
        """Take the samples away."""
        found, self.choices = self.choices, None
        if found is not None and found.images is not None:
            for index in range(len(found.images)):
                gallery.forget_icon(found.key(index))


_shelves: list[Shelf[Any]] = []


def forget_all() -> None:
    """Take all samples away."""
    for shelf in _shelves:
        shelf.forget()


def draw_grid(layout: Any, choices: Choices[Any], title: str) -> list[Any]:
    """Draw the pictures with a title and Close; return the columns, for buttons below them."""
    if choices.images is None:
        return []
    box = layout.box()
    row = box.row()
    row.label(text=title)
    row.operator("dressform.close_choices", text="", icon="X")
    grid = box.grid_flow(row_major=True, columns=_WIDE, even_columns=True, align=True)
    cells: list[Any] = []
    for index, picture in enumerate(choices.images):
        cell = grid.column(align=True)
        icon = gallery.picture_icon(choices.key(index), picture)
        cell.template_icon(icon_value=icon, scale=4.0)
        cells.append(cell)
    return cells


class DRESSFORM_OT_close_choices(bpy.types.Operator):
    """Take the samples away."""

    bl_idname = "dressform.close_choices"
    bl_label = "Close"
    bl_options = {"INTERNAL"}

    def execute(self, context: bpy.types.Context) -> Outcome:  # pyright: ignore[reportIncompatibleMethodOverride]
        forget_all()
        redraw(context)
        return {"FINISHED"}


CLASSES = (DRESSFORM_OT_close_choices,)
