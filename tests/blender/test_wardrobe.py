"""The wardrobe in a real Blender, served by one whose people are colours (wardrobe_handlers.py)."""

from __future__ import annotations

import json
import os
import shutil
import struct
import subprocess
import sys
import time
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from tests.blender.colored_people import picture
from tests.blender.test_portraits import ROOT, _serve
from tests.blender.test_render import _pixels, _save

SIZE = 48


@pytest.fixture(scope="module")
def closet(parts, server_python, avatars):
    """A server of colours with two avatars and a wardrobe, all of one dresser."""
    started = _serve(parts, server_python, avatars, "tests.blender.wardrobe_handlers")
    yield SimpleNamespace(endpoint=started.endpoint)
    started.stop()


@pytest.fixture
def stage(blender, scene, parts, closet, monkeypatch):
    """A scene of 48² pixels with one person, Ada, and a camera in front of her."""
    monkeypatch.setenv("DRESSFORM_ENDPOINT", closet.endpoint)
    parts.error_log.clear()
    parts.wardrobe_ui.shelf.forget()
    blender.ops.dressform.add_person(avatar="ada")
    rig = blender.context.object
    parts.staging.settings_for_film(scene, (SIZE, SIZE), 24, (1, 5))
    parts.staging.add_camera(scene, rig, "static", (1, 5))
    return SimpleNamespace(scene=scene, rig=rig, state=rig.dressform_look)


def _asked(blender, parts):
    """What a frame asks for the scene's only person."""
    depsgraph = blender.context.evaluated_depsgraph_get()
    (person,) = parts.people.visible_people(depsgraph)
    return person, parts.cameras.scene_camera(depsgraph)


def _look(blender, parts):
    person, camera = _asked(blender, parts)
    return person.request(camera, ("rgba",), "final", "").look


def test_looks_and_their_keys_reach_the_request_and_the_frame(blender, parts, stage, tmp_path):
    ops, scene, state = blender.ops.dressform, stage.scene, stage.state
    person, camera = _asked(blender, parts)
    assert "look" not in person.request(camera, ("rgba",), "final", "").to_wire()[0]
    own = _save(blender, scene, tmp_path / "own.png")
    ops.mix_person(seed=5)
    assert state.wardrobe == "people"  # Ada's dresser is its dresser
    state.people[0].amount = 0.0
    state.head.kind, state.head.avatar, state.head.amount = "AVATAR", "ben", 0.0
    ops.key_person_look()
    assert _look(blender, parts) is None
    scene.frame_set(5)
    state.people[0].amount = state.head.amount = 1.0
    state.directions[1], state.people[0].seed = 2.0, 6
    ops.key_person_look()
    Source = parts.look_contract.LookSource
    scene.frame_set(3)
    middle = _look(blender, parts)
    # Seeds hold until their next key; what may be between is between.
    (mine, left), (other, come) = middle.sources
    assert (mine, other) == (Source(), Source(seed=5))
    assert 0.2 < come < 0.8
    assert left + come == pytest.approx(1.0)
    assert middle.parts["head"] == (Source(avatar="ben"), pytest.approx(come))
    assert middle.directions[0] == (1, pytest.approx(2 * come))
    scene.frame_set(5)
    last = _look(blender, parts)
    ops.apply_motion(motion="wave")  # brings an action of its own
    scene.frame_end = 5
    scene.frame_set(3)
    assert _look(blender, parts) == middle
    scene.frame_set(5)
    assert _look(blender, parts) == last
    assert last == parts.look_contract.AvatarLook(
        sources=((Source(seed=6), 1.0),),
        directions=((1, 2.0),),
        parts={"head": (Source(avatar="ben"), 1.0)},
        wardrobe="people",
    )
    # Finished frames are made anew when a package changes that only the look names.
    person, camera = _asked(blender, parts)
    assert person.others == ("ben", "people")
    digest = parts.compose.frame_digest
    assert digest([person], camera, {"ben": "1"}) != digest([person], camera, {"ben": "2"})
    scene.render.use_file_extension = True
    scene.render.filepath = str(tmp_path / "f_")
    blender.ops.render.render(animation=True)
    frames = sorted(tmp_path.glob("f_*.png"))
    assert len({path.read_bytes() for path in frames}) == len(frames) == 5
    shown = _save(blender, scene, tmp_path / "last.png")
    expected = picture(last, "ada", SIZE, SIZE)
    np.testing.assert_allclose(shown[..., :3] * 255, expected, atol=1.5)
    assert np.abs(shown - own).max() > 0.1
    ops.reset_person_look()
    stage.rig.animation_data_clear()
    assert _look(blender, parts) is None


def test_people_are_drawn_locked_varied_worn_and_added(blender, parts, closet, stage, monkeypatch):
    ops, ui = blender.ops.dressform, parts.wardrobe_ui
    assert not ops.wear_drawn.poll()
    ops.draw_people()
    first = ui.shelf.choices
    assert first.images.shape == (6, 128, 128, 3)
    assert len({image.tobytes() for image in first.images}) == 6
    assert parts.library.known.directions["people"] == ("darker", "longer coat")
    ops.lock_drawn(index=4)
    ops.more_like_drawn(index=2, near=0.75)
    second = ui.shelf.choices
    assert second.samples.looks[4] == first.samples.looks[4]
    np.testing.assert_array_equal(second.images[4], first.images[4])
    liked = first.samples.looks[2].sources[0][0]
    assert dict(second.samples.looks[0].sources)[liked] == pytest.approx(0.75)
    ops.wear_drawn(index=0)
    worn = _look(blender, parts)
    assert dict(worn.sources) == pytest.approx(dict(second.samples.looks[0].sources))
    # Only a part is drawn, the rest stays.
    ops.draw_people(vary="legs")
    looks = ui.shelf.choices.samples.looks
    assert {tuple(look.parts) for look in looks} == {(), ("legs",)}  # the locked one, and others
    ops.add_drawn(index=1)
    added = blender.context.object
    assert added != stage.rig
    assert (added.dressform.avatar, added.dressform_look.legs.kind) == ("ada", "SEED")
    assert parts.worn_looks.read_look(added).parts == looks[1].parts
    # Ben wears another dresser: who is drawn for him is of the wardrobe's own, to be worn whole.
    known = parts.library.known
    fetched = parts.library.fetch

    def refitted(*words, **more):
        fetched(*words, **more)
        known.avatars = [replace(avatar, dresser="his own") for avatar in known.avatars]

    ops.add_person(avatar="ben")
    ben = blender.context.object
    with monkeypatch.context() as other:
        other.setattr(parts.library, "fetch", refitted)
        refitted(closet.endpoint)
        ops.draw_people(near=0.5)
        ops.wear_drawn(index=2)
    assert ben.dressform.avatar == "people"
    assert [person.amount for person in ben.dressform_look.people] == [1.0]
    # Nobody selected: people of the wardrobe's own.
    blender.context.view_layer.objects.active = None
    assert not ops.wear_drawn.poll()
    assert not ops.key_person_look.poll()
    ops.draw_people()
    ops.add_drawn(index=3)
    assert blender.context.object.dressform.avatar == "people"
    assert blender.context.object.dressform_look.people[0].kind == "SEED"


def test_a_library_without_a_wardrobe_is_named(blender, parts, stage, monkeypatch):
    ops = blender.ops.dressform
    with monkeypatch.context() as without:
        without.setattr(parts.library.known, "wardrobes", [])
        for name in ("draw_people", "person_from_photo"):
            with pytest.raises(RuntimeError, match="The server's library has no wardrobe: use a"):
                getattr(ops, name)()
        ops.mix_person(other="ben")  # avatars of one dresser need none
        stage.state.people.clear()
        without.setattr(parts.library.known, "avatars", [])
        with pytest.raises(RuntimeError, match="No other avatar of the library shares"):
            ops.mix_person()
    stage.state.people.add()
    stage.state.wardrobe = "other"
    with pytest.raises(RuntimeError, match="do not go together"):
        blender.ops.render.render()


def _photo(blender, path, color):
    image = blender.data.images.new(path.stem, 48, 40)
    image.pixels.foreach_set(np.tile(np.array([*color, 1.0], np.float32), 48 * 40))
    image.filepath_raw, image.file_format = str(path), "PNG"
    image.save()
    return image


def test_photographs_and_looks_become_avatars(blender, parts, closet, stage, tmp_path):
    ops, known = blender.ops.dressform, parts.library.known
    image = _photo(blender, tmp_path / "jo_doe.png", (1.0, 0.5, 0.25))
    _photo(blender, tmp_path / "jo_too.png", (0.9, 0.5, 0.25))
    names = [{"name": "jo_doe.png"}, {"name": "jo_too.png"}]
    assert ops.person_from_photo(directory=str(tmp_path), files=names) == {"FINISHED"}
    assert known.avatar("avatar-jo-doe").name == "Jo Doe"
    assert stage.scene.dressform.avatar == "avatar-jo-doe"
    ops.person_from_photo(source="IMAGE", image=image.name, name="Open")
    before = (stage.scene.render.filepath, stage.scene.render.image_settings.color_mode)
    ops.person_from_photo(source="CAMERA", quick=True)
    now = (stage.scene.render.filepath, stage.scene.render.image_settings.color_mode)
    assert now == before
    ops.mix_person(other="avatar-jo-doe")
    ops.save_person(name="Half Jo")
    made = {avatar.id for avatar in known.avatars}
    assert {"avatar-open", "avatar-camera", "avatar-half-jo"} <= made
    with pytest.raises(RuntimeError, match="there is no image 'none'"):
        ops.person_from_photo(source="IMAGE", image="none")
    _photo(blender, tmp_path / "dark.png", (0.0, 0.0, 0.0))
    with pytest.raises(RuntimeError, match="nobody was seen in the photograph"):
        ops.person_from_photo(filepath=str(tmp_path / "dark.png"))
    stage.scene.camera = None
    with pytest.raises(RuntimeError, match="the scene has no camera"):
        ops.person_from_photo(source="CAMERA")


def _sent(blender, **words):
    """What the server was told of a photograph."""
    with pytest.raises(RuntimeError) as refused:
        blender.ops.dressform.person_from_photo(name="Echo", **words)
    return json.JSONDecoder().raw_decode(str(refused.value), str(refused.value).index("{"))[0]


def test_what_is_known_of_a_photograph_reaches_the_server(blender, parts, stage, tmp_path):
    ops = blender.ops.dressform
    stored = blender.data.images.new("stored", 48, 40)
    pixels = np.zeros((40, 48, 4), np.float32)
    pixels[..., 3] = 1.0
    pixels[-1, 0, 0] = 1.0  # the stored first pixel, upper left: Blender's rows go up
    stored.pixels.foreach_set(pixels.ravel())
    stored.filepath_raw, stored.file_format = str(tmp_path / "jo.png"), "PNG"
    stored.save()
    photo = tmp_path / "jo.png"
    told = _sent(blender, filepath=str(photo))
    assert told == {
        "size": [40, 48], "corner": [255, 0, 0], "focal": None, "person": None, "effort": 1.0,
        "seconds": None, "stages": 4, "fits": {}, "masks": [None],
    }  # fmt: skip
    photo.write_bytes(_with_exif(photo.read_bytes(), orientation=6, focal=27))
    told = _sent(blender, filepath=str(photo))
    assert told["size"] == [48, 40]  # a quarter turn to the right: the corner is at the right
    assert told["corner"] == [0, 0, 0]
    assert told["focal"] == pytest.approx(27 / 36 * 48)
    assert _sent(blender, filepath=str(photo), lens="PIXELS", focal=77.0)["focal"] == 77.0
    assert _sent(blender, filepath=str(photo), lens="FILM", film_focal=18.0)["focal"] == 24.0
    angle = _sent(blender, filepath=str(photo), lens="ANGLE", angle=np.pi / 2)
    assert angle["focal"] == pytest.approx(24.0, abs=0.1)
    camera = stage.scene.camera.data
    seen = _sent(blender, source="CAMERA", quick=True, person="1")
    assert seen["focal"] == pytest.approx(camera.lens / camera.sensor_width * SIZE, abs=0.1)
    assert (seen["person"], seen["stages"]) == (1, 0)
    # Files of one's own: one, or a folder with those of several photographs.
    _photo(blender, tmp_path / "flo.png", (1.0, 0.5, 0.25))
    own = tmp_path / "own"
    own.mkdir()
    for name in ("jo", "flo"):
        (own / f"{name}.json").write_text(name)
        shutil.copy2(tmp_path / "flo.png", own / f"{name}.png")
    photos = {"directory": str(tmp_path), "files": [{"name": "flo.png"}, {"name": "jo.png"}]}
    with pytest.raises(RuntimeError, match="another size than its photograph"):
        ops.person_from_photo(**photos, mask=str(own))  # Jo stands upright
    told = _sent(blender, **photos, fit=str(own), effort=0.5, minutes=2.0)
    assert told["fits"] == {"flo.json": "flo", "jo.json": "jo"}
    assert (told["effort"], told["seconds"]) == (0.5, 120.0)
    told = _sent(blender, filepath=str(tmp_path / "flo.png"), mask=str(own / "flo.png"))
    assert told["masks"] == [149]
    with pytest.raises(RuntimeError, match="one body fit was given for 2 photographs"):
        ops.person_from_photo(**photos, fit=str(own / "jo.json"))
    (own / "jo.json").unlink()
    with pytest.raises(RuntimeError, match="own holds no body fit of jo"):
        ops.person_from_photo(**photos, fit=str(own))
    with pytest.raises(RuntimeError, match=r"flo.png is no body fit of one photograph"):
        ops.person_from_photo(filepath=str(photo), fit=str(own / "flo.png"))
    options = stage.scene.dressform.photo_options
    assert set(parts.photo_options.NAMES) <= set(options.bl_rna.properties.keys())
    ops.person_from_photo(filepath=str(tmp_path / "flo.png"), fit=str(own / "flo.json"))
    assert parts.wardrobe_photo.making.notes == ("flo.json: hands stay flat",)


def _with_exif(png, *, orientation, focal):
    """A PNG with an eXIf chunk: a directory with one number, and another inside it."""
    tiff = struct.pack("<2sHI", b"II", 42, 8)
    tiff += struct.pack("<H", 2) + struct.pack("<HHII", 0x0112, 3, 1, orientation)
    tiff += struct.pack("<HHIII", 0x8769, 4, 1, 38, 0)
    tiff += struct.pack("<H", 1) + struct.pack("<HHIII", 0xA405, 3, 1, focal, 0)
    chunk = struct.pack(">I4s", len(tiff), b"eXIf") + tiff + bytes(4)
    return png[:33] + chunk + png[33:]  # behind the header's chunk


def test_a_fit_shows_its_stages_and_is_cancelled_at_once(parts, closet):
    told = []
    stopped = []

    def stop():
        if len(told) < 3:
            return False
        stopped.append(time.monotonic())
        return True

    server = parts.asking.Server(
        endpoint=lambda: closet.endpoint, revive=lambda: None, should_stop=stop
    )
    wanted = parts.wardrobe_contract.AvatarFit(
        wardrobe="people", name="Slow", images=(np.full((40, 40, 3), 200, np.uint8),)
    )
    with pytest.raises(parts.errors.Cancelled):
        parts.wardrobe_service.fit(server, wanted, told.append)
    assert time.monotonic() - stopped[0] < 1.0
    assert told[-1].stage == "Body"
    assert told[-1].preview.shape == (32, 32, 3)
    with pytest.raises(parts.errors.UnknownModel, match="choose one of: people"):
        parts.wardrobe_service.find(replace(server, should_stop=lambda: False), "none")


def test_the_headless_script_keys_looks_over_the_shot(blender, parts, archive, closet, tmp_path):
    job = ["--avatar", "ada", "--size", "32", "--motion", "wave", "--camera", "static"]
    job += ["--seed", "3", "--blend", "ben:0-1", "--redress", "head=seed:4,feet=own:0.5"]
    job += ["--directions", "1.5", "--look-frames", "1-3", "--shot", "1-3"]
    job += ["--out", str(tmp_path / "out")]

    done = subprocess.run(
        [sys.executable, str(ROOT / "scripts" / "render_avatar.py"), "--", *job, "--frames", "1-3"],
        env={
            **os.environ,
            "DRESSFORM_EXTENSION_ZIP": str(archive),
            "DRESSFORM_ENDPOINT": closet.endpoint,
            "BLENDER_USER_RESOURCES": str(tmp_path / "profile"),
        },
        capture_output=True,
        text=True,
        timeout=280,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    heads = [_pixels(blender, tmp_path / "out" / f"frame_000{index}.png")[2, 2] for index in (1, 3)]
    bodies = [
        _pixels(blender, tmp_path / "out" / f"frame_000{index}.png")[20, 2] for index in (1, 3)
    ]
    np.testing.assert_allclose(heads[0], heads[1], atol=1 / 255)  # of seed 4, in every frame
    assert np.abs(bodies[0] - bodies[1]).max() > 0.05  # from seed 3 to Ben


def test_words_of_looks_are_read_or_refused(parts):
    words, Source = parts.look_staging, parts.look_contract.LookSource
    read = {text: words.parse_towards(text) for text in ("ben", "seed:7", "seed:7:0-1", "own:0.5")}
    assert read["ben"] == words.Towards(Source(avatar="ben"), (1.0, 1.0))
    assert read["seed:7"] == words.Towards(Source(seed=7), (1.0, 1.0))
    assert read["seed:7:0-1"] == words.Towards(Source(seed=7), (0.0, 1.0))
    assert read["own:0.5"] == words.Towards(Source(), (0.5, 0.5))
    for wrong, why in {"elbow=ben": "'elbow' is no part", "head=": "names nobody"}.items():
        with pytest.raises(parts.errors.BadParameter, match=why):
            words.parse_parts(wrong)
    with pytest.raises(parts.errors.BadParameter, match="no amount within"):
        words.parse_towards("ben:0-3")
