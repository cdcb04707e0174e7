"""Dressform's Blender extension: everything that runs inside Blender.

Importing the package needs nothing (no bpy, no zmq): Blender calls `register` and
`unregister`, and they import the rest. The server and the training code import only
`blender_addon.contract`, the leaf that every part agrees on.
"""


def register() -> None:
    """Register the extension's classes, handlers and timers with Blender."""
    from . import registration

    registration.register()


def unregister() -> None:
    """Undo `register`, closing every socket and timer."""
    from . import registration

    registration.unregister()
