"""Preferences of the extension: which server, where, on what."""

# pyright: reportAttributeAccessIssue=false, reportOptionalMemberAccess=false
# pyright: reportIncompatibleMethodOverride=false, reportMissingModuleSource=false
# (Blender's stubs: unions of all data types, Optionals that never are None, other parameter names)
# pyright: reportInvalidTypeForm=false

from __future__ import annotations

import bpy

PACKAGE = (__package__ or "").rsplit(".", 1)[0]


class DressformPreferences(bpy.types.AddonPreferences):
    """Which model server Dressform uses."""

    bl_idname = PACKAGE

    endpoint: bpy.props.StringProperty(
        name="Server Address",
        description=(
            "Address of a running server, such as tcp://127.0.0.1:5560. "
            "Empty: Dressform starts one on this machine"
        ),
        default="",
    )
    server_python: bpy.props.StringProperty(
        name="Server's Python",
        description="The Python of the Dressform checkout's environment (.venv/bin/python)",
        subtype="FILE_PATH",
        default="",
    )
    library: bpy.props.StringProperty(
        name="Library",
        description="Folder of avatars. Empty: the library that comes with the server",
        subtype="DIR_PATH",
        default="",
    )
    device: bpy.props.EnumProperty(
        name="Device",
        description="What the local server computes on",
        items=[
            ("auto", "Automatic", "The first graphics card, else the processor"),
            ("cpu", "Processor", "The processor"),
            ("cuda:0", "Graphics Card", "The first CUDA device"),
        ],
        default="auto",
    )

    def draw(self, _context: bpy.types.Context) -> None:
        """Draw the preferences."""
        layout = self.layout
        layout.use_property_split = True
        layout.prop(self, "endpoint", placeholder="tcp://127.0.0.1:5560")
        column = layout.column()
        column.enabled = not self.endpoint
        column.prop(self, "server_python")
        column.prop(self, "library")
        column.prop(self, "device")


CLASSES = (DressformPreferences,)
