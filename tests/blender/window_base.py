"""What the steps in a real Blender window share: the view, the person, what is drawn, reports."""

import hashlib
import json
import time
from importlib import import_module
from pathlib import Path

import bpy

HERE = Path(__file__).resolve().parent
EXTENSION = "bl_ext.user_default.dressform"
state = {"step": 0, "since": time.monotonic(), "start": time.monotonic()}


def part(name):
    """A module of the installed extension."""
    return import_module(f"{EXTENSION}.{name}")


def view():
    """The window's largest 3D viewport: its area, space and window region."""
    window = bpy.context.window_manager.windows[0]
    areas = [area for area in window.screen.areas if area.type == "VIEW_3D"]
    area = max(areas, key=lambda a: a.width * a.height)
    region = next(r for r in area.regions if r.type == "WINDOW")
    return window, area, area.spaces.active, region


def person():
    return next((ob for ob in bpy.data.objects if ob.type == "ARMATURE"), None)


def for_person(operator, **words):
    """Press a button of the panel while the person is selected."""
    window, area, _space, region = view()
    bpy.context.view_layer.objects.active = person()
    with bpy.context.temp_override(window=window, area=area, region=region, object=person()):
        return getattr(bpy.ops.dressform, operator)(**words)


def stopped():
    return (HERE / "stop").exists()


def has_wardrobe():
    return bool(part("library").known.wardrobes) and not stopped()


def shown():
    """Whether the viewport has drawn an image of the current state."""
    return any(viewport.up_to_date for viewport in part("engine.viewport").living())


def drawn_picture():
    """A digest of the image that the rendered viewport shows; None while it has none."""
    for viewport in part("engine.viewport").living():
        if viewport._texture is not None:
            return hashlib.sha256(bytes(viewport._texture.read())).hexdigest()
    return None


def scroll_to(steps):
    """Scroll the sidebar so many steps from its top; each goes 40 pixels."""
    window, area, _space, _region = view()
    ui = next(r for r in area.regions if r.type == "UI")
    with bpy.context.temp_override(window=window, area=area, region=ui):
        for _ in range(100):
            bpy.ops.view2d.scroll_up()
        for _ in range(steps):
            bpy.ops.view2d.scroll_down()


def report(name="ready", **more):
    """Say in NAME.json what is seen; the check photographs the window when it appears."""
    library = part("library")
    _window, area, _space, _region = view()
    ui = next(r for r in area.regions if r.type == "UI")
    (HERE / f"{name}.part").write_text(
        json.dumps(
            {
                "blender": bpy.app.version_string,
                "category": ui.active_panel_category,
                "shown": shown(),
                "avatars": [avatar.id for avatar in library.known.avatars],
                "portraits": [portrait.id for portrait in library.known.portraits],
                "errors": [f"{e.place}: {e.cause}" for e in part("error_log").entries()],
                **more,
            }
        )
    )
    (HERE / f"{name}.part").rename(HERE / f"{name}.json")
    return True


def photographed(name):
    """Whether the check has photographed the window after a report."""
    return (HERE / f"{name}.seen").exists() or stopped()
