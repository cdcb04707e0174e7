"""Keyframes of properties, and the curves that hold them."""

# pyright: reportAttributeAccessIssue=false, reportOptionalMemberAccess=false
# pyright: reportIncompatibleMethodOverride=false, reportMissingModuleSource=false
# (Blender's stubs: unions of all data types, Optionals that never are None, other parameter names)

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    import bpy

_CONSTANT = "CONSTANT"
_POINT_VALUES = (
    ("co", np.float32, 2),
    ("handle_left", np.float32, 2),
    ("handle_right", np.float32, 2),
    ("handle_left_type", np.int32, 1),
    ("handle_right_type", np.int32, 1),
    ("interpolation", np.int32, 1),
)
"""Of a keyframe: name, type and how many numbers."""


def key_path(ob: bpy.types.Object, path: str, frame: float) -> None:
    """Key one property of an object at a frame; seeds and kinds hold until their next key.

    A seed between two others is another person, and not half of each.
    """
    ob.keyframe_insert(path, frame=frame)
    if path.endswith((".seed", ".kind")):
        for curve in curves_of(ob):
            if curve.data_path == path:
                for point in curve.keyframe_points:
                    point.interpolation = _CONSTANT


def curves_of(ob: bpy.types.Object) -> list[Any]:
    """Return the animation curves of an object; Blender 5 keeps them in channel bags."""
    data: Any = ob.animation_data
    if data is None or data.action is None:
        return []
    action = data.action
    if not hasattr(action, "layers"):  # before Blender 4.4
        return list(action.fcurves)
    found: list[Any] = []
    for layer in action.layers:
        for strip in layer.strips:
            bag = strip.channelbag(data.action_slot)
            found.extend(bag.fcurves if bag is not None else ())
    return found


def copy_curves(given: Sequence[Any], curves: Any) -> None:
    """Copy animation curves into another collection: the same keys, handles and interpolation."""
    for curve in given:
        taken = curves.new(curve.data_path, index=curve.array_index)
        count = len(curve.keyframe_points)
        taken.keyframe_points.add(count)
        for name, kind, width in _POINT_VALUES:
            values = np.empty(count * width, kind)
            curve.keyframe_points.foreach_get(name, values)
            taken.keyframe_points.foreach_set(name, values)
        taken.update()
