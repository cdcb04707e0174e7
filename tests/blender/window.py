"""Runs inside a real Blender window (scripts/window_check.py): what an artist does first.

Installs the extension, adds a person with the panel's own operator, keys a motion, opens the
Dressform tab, sets the viewport to rendered shading, and waits until the viewport shows the
person. Then it says what it saw in ready.json. When the file `ready.seen` appears, the person
changes their head for another's on the timeline; if the library has a wardrobe, people are drawn
and one is worn (wardrobe.json), and a photograph, person.png, if there is one, becomes an avatar
(window_fit.py: fit.json on the way, fitted.json). When `fitted.seen` appears and the library has
portraits, it adds one, animates and restyles it, paints labels, and says in portrait.json what it
saw then. It quits when the file `stop` appears.
"""

import sys
import time
from pathlib import Path

import bpy

sys.path.append(str(Path(__file__).resolve().parent))  # Blender runs this as a text, not a module
import window_fit
from window_base import (
    EXTENSION,
    HERE,
    for_person,
    has_wardrobe,
    part,
    person,
    photographed,
    report,
    scroll_to,
    shown,
    state,
    stopped,
    view,
)

LIMIT_SECONDS = 600
PLAYED = (1, 15, 30, 45, 60)
"""Frames of the portrait's film that the viewport must draw, each another picture."""


def install():
    bpy.ops.extensions.package_install_files(
        filepath=str(HERE / "dressform.zip"), repo="user_default", enable_on_install=True
    )
    for ob in list(bpy.data.objects):
        if ob.type == "MESH":
            bpy.data.objects.remove(ob)
    return True


def add_person():
    window, area, _space, region = view()
    with bpy.context.temp_override(window=window, area=area, region=region):
        bpy.ops.dressform.add_person()
    return True


def person_is_there():
    return person() is not None


def pose():
    window, area, space, region = view()
    scene = bpy.context.scene
    with bpy.context.temp_override(window=window, area=area, region=region, object=person()):
        bpy.ops.dressform.apply_motion(motion="dance")
    scene.frame_end = 48
    scene.frame_set(20)
    scene.camera.location, scene.camera.rotation_euler = (0.0, -3.4, 1.0), (1.5708, 0, 0)
    scene.render.resolution_x = scene.render.resolution_y = 256
    space.show_region_ui = True
    view3d = space.region_3d
    view3d.view_perspective = "PERSP"
    view3d.view_rotation = (0.7071, 0.7071, 0.0, 0.0)
    view3d.view_location, view3d.view_distance = (0.25, 0.0, 0.95), 4.2
    return True


def save_scenes():
    scene = bpy.context.scene
    part("scene.staging").settings_for_film(scene, (256, 256), 24, (1, 48))
    scene.render.use_file_extension = True
    bpy.ops.wm.save_as_mainfile(filepath=str(HERE / "orthographic.blend"), copy=True)
    # Blender opens the copies in background; one of them cannot be rendered.
    camera = scene.camera.data
    camera.type = "ORTHO"
    bpy.ops.wm.save_as_mainfile(filepath=str(HERE / "orthographic.blend"), copy=True)
    camera.type = "PERSP"
    bpy.ops.wm.save_as_mainfile(filepath=str(HERE / "scene.blend"), copy=True)
    bpy.ops.wm.save_userpref()
    bpy.context.preferences.use_preferences_save = False  # `stop` disables the extension
    return True


def back_to_the_pose():
    bpy.context.scene.frame_set(20)
    return True


def shade():
    _window, area, space, _region = view()
    ui = next(r for r in area.regions if r.type == "UI")
    ui.active_panel_category = "Dressform"
    space.overlay.show_overlays = True
    space.shading.type = "RENDERED"
    return True


def press_f12():
    """Render frame 1 as F12 does: in a thread, the window staying alive."""
    window, _area, _space, _region = view()
    bpy.context.preferences.view.render_display_type = "NONE"
    bpy.context.scene.frame_set(1)
    bpy.context.scene.render.filepath = str(HERE / "window_0001.png")
    bpy.app.handlers.render_complete.append(lambda *_: state.update(rendered=True))
    with bpy.context.temp_override(window=window):
        bpy.ops.render.render("INVOKE_DEFAULT", write_still=True)
    return True


def rendered():
    return state.get("rendered", False) and not bpy.app.is_job_running("RENDER")


def draw_people():
    if has_wardrobe():
        for_person("draw_people")
    return True


def people_are_drawn():
    return not has_wardrobe() or part("ui.wardrobe").shelf.choices is not None


def redress():
    """Wear somebody who was drawn, and another head at the end of the timeline."""
    scene, look = bpy.context.scene, person().dressform_look
    if has_wardrobe():
        for_person("wear_drawn", index=0)
        look.head.kind, look.head.seed = "SEED", 4
    else:
        others = part("library").known.like(person().dressform.avatar)
        look.head.kind, look.head.avatar = "AVATAR", others[0].id
        for_person("mix_person", other=others[-1].id)
    for frame, amount in ((1, 0.0), (48, 1.0)):
        scene.frame_set(frame)
        look.head.amount = amount
        for_person("key_person_look")
    scene.frame_set(48)
    return True


def show_wardrobe():
    """Show person and panel: bones and the camera's frame would cover them."""
    overlay = view()[2].overlay
    overlay.show_bones = overlay.show_extras = False
    scroll_to(24)
    return True


def report_wardrobe():
    requests = [r for v in part("engine.viewport").living() for r in (v._shown_key,)]
    action = person().animation_data.action
    keyed = [c.data_path for c in action.fcurves if c.data_path.startswith("dressform_look")]
    return report("wardrobe", keyed=len(keyed), worn=any(b"'look'" in key for key in requests))


def portrait():
    return next((ob for ob in bpy.data.objects if ob.dressform_portrait.portrait), None)


def has_portraits():
    return bool(part("library").known.portraits) and not stopped()


def add_portrait():
    if not has_portraits():
        return True
    for ob in bpy.data.objects:
        if ob.type in ("ARMATURE", "MESH"):
            ob.hide_render = True
            ob.hide_set(True)
    window, area, _space, region = view()
    with bpy.context.temp_override(window=window, area=area, region=region):
        bpy.ops.dressform.add_portrait(stand_in=False)  # baking takes minutes
    return True


def portrait_is_there():
    return not has_portraits() or portrait() is not None


def restyle():
    """A style change by region, a change of shape and a moving camera on the timeline."""
    if not has_portraits():
        return True
    window, area, space, region = view()
    scene, ob = bpy.context.scene, portrait()
    scene.frame_start, scene.frame_end = 1, 60
    hair = ob.dressform_portrait.regions["hair"]
    hair.first.kind, hair.first.seed = "SEED", 3
    hair.second.kind, hair.second.seed = "SEED", 8
    with bpy.context.temp_override(window=window, area=area, region=region, object=ob):
        bpy.ops.dressform.add_seed_head(seed=5)
        scene.frame_set(1)
        bpy.ops.dressform.interpolate_heads(first=1, second=2, frames=59)
        bpy.ops.dressform.key_look()
        hair.mix = 1.0
        scene.frame_set(60)
        hair.mix = 1.0
        bpy.ops.dressform.key_look()
    scene.frame_set(1)
    hair.mix = 0.0
    ob.keyframe_insert("dressform_portrait.regions[15].mix", frame=1)
    scene.frame_set(20)
    ob.dressform_portrait.groups["Hair"].expanded = True
    camera = scene.camera
    camera.data.lens = 110.0
    for frame, place in ((1, (-0.5, -1.2, 0.0)), (60, (0.5, -1.2, 0.0))):
        camera.location = place
        camera.rotation_euler = (1.5708, 0.0, 0.39 if place[0] > 0 else -0.39)
        camera.keyframe_insert("location", frame=frame)
        camera.keyframe_insert("rotation_euler", frame=frame)
    view3d = space.region_3d
    view3d.view_location, view3d.view_distance = (0.12, 0.0, -0.02), 1.0
    view3d.view_rotation = (0.7071, 0.7071, 0.0, 0.0)
    return True


def portrait_shown():
    """Whether the rendered viewport has drawn the portrait."""
    return not has_portraits() or bool(portrait_keys())


def portrait_keys():
    """What rendered viewports show, where that is the portrait as it is asked for now."""
    viewports = part("engine.viewport").living()
    return {v._shown_key for v in viewports if v.up_to_date and b"geometry" in v._shown_key}


def play():
    """Go along the film: each of some frames waits until the viewport has drawn another picture."""
    if not has_portraits():
        return True
    seen = state.setdefault("played", {})
    if len(seen) == len(PLAYED):
        bpy.context.scene.frame_set(20)
        return True
    frame = PLAYED[len(seen)]
    if bpy.context.scene.frame_current != frame:
        bpy.context.scene.frame_set(frame)
        return False
    new = portrait_keys() - set(seen.values())
    if new:
        seen[frame] = new.pop()
    return False


def paint():
    """Paint Labels into an image editor, which takes the place of the properties."""
    if not has_portraits():
        return True
    window, area, _space, region = view()
    for other in window.screen.areas:
        if other.type == "PROPERTIES":
            other.type = "IMAGE_EDITOR"
    with bpy.context.temp_override(window=window, area=area, region=region, object=portrait()):
        bpy.ops.dressform.paint_labels()
    return True


def painted():
    return not has_portraits() or portrait().dressform_portrait.painted is not None


def scroll():
    """Show the panels of the portrait: they stand below those of people."""
    if not has_portraits():
        return True
    portrait().dressform_portrait.use_painted = False
    scroll_to(24)
    return True


def settled():
    """Whether everything that was asked for is there: pictures, stand-in, the viewport's image."""
    if not has_portraits():
        return True
    busy = [w.place for w in part("ui.watching")._running if w.place != "Bake Head"]
    return not busy and portrait_shown()


def report_portrait():
    ob = portrait()
    more = {}
    if ob is not None:
        made = ob.dressform_portrait
        more = {
            "portrait": made.portrait,
            "keyed": len(ob.animation_data.action.fcurves) if ob.animation_data else 0,
            "painted": list(made.painted.size) if made.painted else [],
            "played": sorted(state["played"]),
        }
    return report("portrait", **more)


def stop():
    if (HERE / "stop").exists() and not state.get("quitting"):
        state["quitting"] = True
        import faulthandler

        faulthandler.dump_traceback_later(20, exit=True)  # a hang shows where it is
        # While the viewport is still rendered by it: that hung Blender at its end once.
        bpy.ops.preferences.addon_disable(module=EXTENSION)
        print("quitting", flush=True)
        bpy.ops.wm.quit_blender()
    return False


def waits_for(name):
    """A step: the window has been photographed after this report."""

    def waits():
        return photographed(name)

    waits.__name__ = f"waits_for_{name}"
    return waits


STEPS = (
    *(install, add_person, person_is_there, pose, save_scenes, press_f12, rendered),
    *(back_to_the_pose, shade, shown, report, waits_for("ready")),
    *(draw_people, people_are_drawn, redress, show_wardrobe, shown, report_wardrobe),
    *(waits_for("wardrobe"), *window_fit.STEPS, waits_for("fitted")),
    *(add_portrait, portrait_is_there, restyle, portrait_shown, play, portrait_shown),
    *(paint, painted, scroll, settled, report_portrait, stop),
)


def tick():
    try:
        if time.monotonic() - state["start"] > LIMIT_SECONDS:
            errors = [f"{e.place}: {e.cause}" for e in part("error_log").entries()]
            seen = [vars(viewport) for viewport in part("engine.viewport").living()]
            raise TimeoutError(f"stuck in {STEPS[state['step']].__name__}; {errors}; {seen}"[:2000])
        if STEPS[state["step"]]():
            state["step"] += 1
    except Exception:  # noqa: BLE001 - a timer swallows exceptions: end, so that the check sees it
        import os
        import traceback

        traceback.print_exc()
        sys.stdout.flush()
        os._exit(3)
    return 0.3


bpy.app.timers.register(tick, first_interval=1.0)
