"""A photograph becomes an avatar in a real window: the viewport goes on, Cancel, then the film."""

import time

import bpy
from window_base import (
    HERE,
    drawn_picture,
    for_person,
    has_wardrobe,
    part,
    photographed,
    report,
    scroll_to,
    shown,
    state,
    view,
)

EFFORT = 0.1
"""A tenth of the stages' steps: about ten seconds of one core."""

PHOTO = HERE / "person.png"
AVATAR = "avatar-person"
FILM = (10, 20, 30)
"""Frames of the fitted avatar's film."""

seen = {"pictures": {}, "frames": [], "moved": None, "told": False, "shot": False}
"""The panel's pictures by stage, and what the viewport drew while the fit was running."""


def making():
    return part("ui.wardrobe_photo").making


def can_fit():
    return has_wardrobe() and PHOTO.exists()


def begin_fit():
    if can_fit():
        _watch_panel()
        for_person("person_from_photo", filepath=str(PHOTO), effort=EFFORT)
        scroll_to(24)
        seen["before"] = drawn_picture()
    return True


def _watch_panel():
    """Note the last picture that the panel draws in each stage."""
    gallery = part("ui.gallery")
    draw = gallery.progress_icons

    def noted(preview):
        if preview is not None:
            seen["pictures"][making()._progress.stage] = preview.tobytes()
        return draw(preview)

    gallery.progress_icons = noted


def look_around():
    """Turn the view and go through the motion while the fit goes on: each time another picture."""
    if not can_fit() or not making().running:
        return seen["told"] or report("fit")
    if making()._progress.stage == "Generator" and seen["frames"] and not seen["told"]:
        seen["told"] = report("fit")
    seen["shot"] = seen["shot"] or photographed("fit")
    if not shown():
        return False
    if seen["moved"] is not None:
        drawn = drawn_picture()
        if making().running and drawn not in (seen["before"], *(f[0] for f in seen["frames"])):
            seen["frames"].append((drawn, time.monotonic() - seen["moved"]))
    _window, _area, space, _region = view()
    if len(seen["frames"]) % 2:
        bpy.context.scene.frame_set(bpy.context.scene.frame_current % 47 + 1)
    else:
        space.region_3d.view_distance *= 1.01
    seen["moved"] = time.monotonic()
    return False


def begin_another():
    """Make somebody else of the photograph, to be given up."""
    if can_fit():
        if AVATAR not in {avatar.id for avatar in part("library").known.avatars}:
            raise RuntimeError([f"{e.place}: {e.cause}" for e in part("error_log").entries()])
        for_person("person_from_photo", filepath=str(PHOTO), effort=EFFORT, name="Given Up")
    return True


def give_up():
    """Press Cancel while the stages are under way; the panel is free at once."""
    if not can_fit():
        return True
    if making().running and making()._progress.stage in ("Waiting for the server", "Body"):
        return False
    began = time.monotonic()
    seen["running"] = making().running
    for_person("cancel_person_photo")
    seen["free"] = bpy.ops.dressform.person_from_photo.poll()
    seen["cancelled"] = time.monotonic() - began
    return True


def wear_fitted():
    """Add the avatar that the gallery shows now, dancing, in place of the first person."""
    if not can_fit():
        return True
    for ob in bpy.data.objects:
        if ob.type in ("ARMATURE", "MESH"):
            ob.hide_render = True
            ob.hide_set(True)
    window, area, _space, region = view()
    with bpy.context.temp_override(window=window, area=area, region=region):
        bpy.ops.dressform.add_person(avatar=bpy.context.scene.dressform.avatar)
    return True


def fitted():
    """The rig of the fitted avatar."""
    rigs = [ob for ob in bpy.data.objects if ob.type == "ARMATURE"]
    return next((rig for rig in rigs if rig.dressform.avatar == AVATAR), None)


def fitted_is_there():
    return not can_fit() or fitted() is not None


def render_film():
    """Render some frames of the dancing avatar as Ctrl-F12 does."""
    if not can_fit():
        state["filmed"] = True
        return True
    window, area, _space, region = view()
    scene = bpy.context.scene
    with bpy.context.temp_override(window=window, area=area, region=region, object=fitted()):
        bpy.ops.dressform.apply_motion(motion="dance")
    state["range"] = scene.frame_start, scene.frame_end
    scene.frame_start, scene.frame_end, scene.frame_step = FILM[0], FILM[-1], FILM[1] - FILM[0]
    scene.render.filepath = str(HERE / "fitted_")
    bpy.app.handlers.render_complete.append(lambda *_: state.update(filmed=True))
    with bpy.context.temp_override(window=window):
        bpy.ops.render.render("INVOKE_DEFAULT", animation=True)
    return True


def filmed():
    return state.get("filmed", False) and not bpy.app.is_job_running("RENDER")


def show_fitted():
    if can_fit():
        scene = bpy.context.scene
        scene.frame_start, scene.frame_end = state["range"]
        scene.frame_step = 1
        scene.frame_set(FILM[1])
        scroll_to(0)
    return True


def report_fitted():
    if not can_fit():
        return report("fitted")
    pictures = seen["pictures"]
    return report(
        "fitted",
        stages=list(pictures),
        pictures=len(set(pictures.values())),
        drawn=len(seen["frames"]),
        slowest=max((seconds for _, seconds in seen["frames"]), default=0.0),
        shot=seen["shot"],
        running=seen["running"],
        free=seen["free"],
        cancelled=seen["cancelled"],
    )


STEPS = (
    *(begin_fit, look_around, begin_another, give_up),
    *(wear_fitted, fitted_is_there, render_film, filmed, show_fitted, shown, report_fitted),
)
