"""The wardrobe through the product's own handlers and a real server, with tiny networks."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from blender_addon.client import Client
from blender_addon.contract import operations as ops
from blender_addon.contract import wardrobe
from blender_addon.contract.avatar_look import OWN, AvatarLook, LookSource, redressed, seeded
from blender_addon.contract.errors import BadParameter, UnknownModel
from blender_addon.contract.wire import Request
from models.package import load_arrays, read_manifest, write_package
from scripts.bench_wardrobe import WardrobeBench
from server.handlers import avatar as avatar_handlers
from server.handlers import library as library_handlers
from server.handlers import wardrobe as handlers
from server.library import Library
from server.operation import Answer, Context
from server.storage import Storage
from tests.models.toy_wardrobe import DRESSER, WARDROBE, write_toy_avatar, write_toy_wardrobe
from tests.server.running import frame, running, start_product, until, worker_pid

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from blender_addon.local_server import LocalServer

ADA, BO, CY = "avatar-ada", "avatar-bo", "avatar-cy"
SEVEN = LookSource(seed=7)
OPERATIONS = (
    wardrobe.AVATAR_SAMPLE, wardrobe.AVATAR_BLEND, wardrobe.AVATAR_REDRESS, wardrobe.AVATAR_SAVE,
    wardrobe.AVATAR_FIT,
)  # fmt: skip


@pytest.fixture(scope="module")
def library(tmp_path_factory) -> Path:
    """Ada and Bo have styles, Cy has a texture only, and Di wears another dresser."""
    folder = tmp_path_factory.mktemp("library")
    write_toy_wardrobe(folder)
    for number, each in enumerate((ADA, BO, CY)):
        write_toy_avatar(folder, each, number + 1, styles=each != CY)
    dresser = replace(read_manifest(folder / DRESSER), id="dresser-other")
    write_package(folder / "dresser-other", dresser, load_arrays(folder / DRESSER))
    own = read_manifest(folder / ADA)
    required = own.requirements | {"dresser": "dresser-other"}
    di = replace(own, id="avatar-di", requirements=required)
    write_package(folder / "avatar-di", di, load_arrays(folder / ADA))
    return folder


@pytest.fixture(scope="module")
def context(library, tmp_path_factory) -> Context:
    storage = Storage.beside(tmp_path_factory.mktemp("own") / "library")
    return Context(library=Library(library, storage.library), device="cpu", storage=storage)


def call(context: Context, handler, asked) -> Answer:
    params, arrays = asked.to_wire()
    request = Request(id="r", operation=asked.operation, timeout=1.0, params=params, arrays=arrays)
    return handler(context, [request])[0]


def render(context: Context, avatar: str, look: AvatarLook | None = None) -> Answer:
    return call(context, avatar_handlers.render, frame(3, avatar=avatar, size=64, look=look))


def rgba(context: Context, avatar: str, look: AvatarLook | None = None) -> np.ndarray:
    return render(context, avatar, look).arrays["rgba"]


def test_samples_can_be_rendered_and_saved_as_they_were_shown(context):
    asked = wardrobe.AvatarSample(
        avatar=WARDROBE, seeds=(1, 2), view=wardrobe.PersonView(size=32, yaw=20.0)
    )
    answer = call(context, handlers.sample, asked)
    images = answer.arrays["images"]
    assert images.shape == (2, 32, 32, 3)
    assert not np.array_equal(images[0], images[1])
    assert answer.params["directions"] == ["first", "second"]
    assert answer.params["looks"] == [seeded(1).to_wire(), seeded(2).to_wire()]
    look = seeded(2)
    saved = call(
        context, handlers.save, wardrobe.AvatarSave(avatar=WARDROBE, name="Eve", look=look)
    )
    assert saved.params["avatar"] == "avatar-eve"
    np.testing.assert_array_equal(rgba(context, WARDROBE, look), rgba(context, "avatar-eve"))


def test_a_look_of_an_avatar_is_the_avatar_it_is_saved_as(context):
    looks = {
        "Fay": AvatarLook(
            sources=((OWN, 0.5), (LookSource(avatar=CY), 0.25), (SEVEN, 0.25)),
            directions=((1, 1.0),),
            parts={"head": (LookSource(avatar=BO), 1.0), "feet": (SEVEN, 0.5)},
        ),
        "Gil": redressed(AvatarLook(), LookSource(avatar=BO), "legs"),
    }
    for name, look in looks.items():
        call(context, handlers.save, wardrobe.AvatarSave(avatar=ADA, name=name, look=look))
        saved = rgba(context, f"avatar-{name.lower()}")
        np.testing.assert_array_equal(rgba(context, ADA, look), saved)
        assert not np.array_equal(saved, rgba(context, ADA))
    # Saved people go on as people of the wardrobe: half of them and half of themselves is them.
    gil = AvatarLook(sources=((OWN, 0.5), (LookSource(avatar="avatar-gil"), 0.5)))
    close = rgba(context, "avatar-gil", gil).astype(int) - rgba(context, "avatar-gil").astype(int)
    assert np.abs(close).max() <= 1
    assert AvatarLook() != gil
    np.testing.assert_array_equal(rgba(context, ADA, AvatarLook()), rgba(context, ADA))


def test_what_a_look_depends_on_names_its_frames(context, library):
    look = redressed(AvatarLook(), LookSource(avatar=BO), "head")
    first = render(context, ADA, look)
    asked = frame(3, avatar=ADA, look=look)
    request = Request(id="r", operation=asked.operation, timeout=1.0, params=asked.to_wire()[0])
    models = avatar_handlers.render_models(context.library, request)
    assert {ADA, BO} < set(models)
    assert first.digest == context.library.digest(*models) != render(context, ADA).digest
    other = load_arrays(library / CY)
    changed = read_manifest(library / BO)
    before = load_arrays(library / BO)
    write_package(library / BO, changed, before | other)
    second = render(context, ADA, look)
    write_package(library / BO, changed, before)
    assert second.digest != first.digest
    assert not np.array_equal(second.arrays["rgba"], first.arrays["rgba"])
    np.testing.assert_array_equal(rgba(context, ADA, look), first.arrays["rgba"])


@pytest.mark.parametrize(
    ("avatar", "look", "error", "said"),
    [
        (ADA, redressed(AvatarLook(), LookSource(avatar="avatar-di"), "head"), BadParameter, "dresser-other"),
        ("avatar-di", seeded(1, WARDROBE), BadParameter, "dresser-other"),
        (ADA, redressed(AvatarLook(), LookSource(avatar="body-cc0"), "head"), UnknownModel, "not an avatar"),
        (ADA, seeded(1, BO), UnknownModel, "not a wardrobe"),
        (ADA, AvatarLook(directions=((99, 1.0),)), BadParameter, "no direction 99"),
        (ADA, redressed(AvatarLook(), LookSource(avatar="avatar-no"), "head"), UnknownModel, "avatar-no"),
    ],
)  # fmt: skip
def test_people_that_do_not_go_together_are_refused_with_the_reason(
    context, avatar, look, error, said
):
    with pytest.raises(error, match=said) as refused:
        call(context, handlers.save, wardrobe.AvatarSave(avatar=avatar, name="No", look=look))
    assert refused.value.next_step


def test_blends_and_redressings_are_shown_with_their_looks(context):
    view = wardrobe.PersonView(size=24, part="torso")
    asked = wardrobe.AvatarBlend(
        avatar=ADA, other=LookSource(avatar=BO), amounts=(0.0, 1.0), view=view
    )
    answer = call(context, handlers.blend, asked)
    own, other = answer.arrays["images"]
    whole = wardrobe.AvatarSample(avatar=BO, near=1.0, view=view)
    np.testing.assert_array_equal(call(context, handlers.sample, whole).arrays["images"][0], other)
    worn = wardrobe.AvatarRedress(
        avatar=ADA, others=(LookSource(avatar=BO), SEVEN), take=("torso", "legs"), view=view
    )
    answer = call(context, handlers.redress, worn)
    assert answer.params["looks"][1]["parts"].keys() == {"torso", "legs"}
    assert len({image.tobytes() for image in (own, *answer.arrays["images"])}) == 3


def test_nothing_is_overwritten_unasked(context):
    asked = wardrobe.AvatarSave(avatar=WARDROBE, name="Hal", look=seeded(1))
    first = call(context, handlers.save, asked)
    assert call(context, handlers.save, asked).params == first.params, "asked again: the same one"
    other = replace(asked, look=seeded(2))
    with pytest.raises(BadParameter, match="already"):
        call(context, handlers.save, other)
    assert context.library.digest("avatar-hal") == first.params["digest"]
    allowed = call(context, handlers.save, replace(other, replace=True))
    assert allowed.params["digest"] != first.params["digest"]
    with pytest.raises(BadParameter, match="come with the server"):
        call(context, handlers.save, replace(other, id=BO, replace=True))


def test_the_library_says_who_goes_together(context):
    listed = library_handlers.list_models(
        context, Request(id="r", operation=ops.LIBRARY_LIST, timeout=1.0)
    )
    rows = {row["id"]: row for row in listed.params["models"]}
    assert rows[ADA]["wardrobe"] == WARDROBE
    assert rows[WARDROBE]["kind"] == "wardrobe"
    assert rows[ADA]["dresser"] == rows[WARDROBE]["dresser"] != rows["avatar-di"]["dresser"]


# --- a real server -------------------------------------------------------------------------


def a_fit(**changes) -> wardrobe.AvatarFit:
    """Two photographs of nobody in particular, with the bodies and masks that they show."""
    shown = frame(0, size=96)
    other = frame(4, size=96)
    picture = np.random.default_rng(0).integers(0, 256, (96, 96, 3), np.uint8)
    mask = np.zeros((96, 96), np.uint8)
    mask[20:80, 30:66] = 255
    fields = {
        "wardrobe": WARDROBE, "name": "Ivy", "images": (picture, picture[::-1].copy()),
        "masks": (mask, mask), "fits": ((shown.body, shown.camera), (other.body, other.camera)),
    }  # fmt: skip
    return wardrobe.AvatarFit(**fields | changes)


@pytest.fixture(scope="module")
def server(library, tmp_path_factory) -> Iterator[LocalServer]:
    started = start_product(tmp_path_factory.mktemp("server"), library)
    with Client(started.endpoint) as client:
        worker_pid(client)
    yield started
    started.stop()


def test_a_look_through_a_server_comes_from_its_cache(client, context):
    look = AvatarLook(
        sources=((OWN, 0.5), (SEVEN, 0.5)), parts={"legs": (LookSource(avatar=BO), 1.0)}
    )
    asked = frame(3, avatar=ADA, size=64, look=look)
    first = client.call(ops.AVATAR_RENDER, *asked.to_wire(), timeout=250)
    assert first.params["digest"] == render(context, ADA, look).digest
    np.testing.assert_array_equal(first.arrays["rgba"], rgba(context, ADA, look))
    assert client.call(ops.AVATAR_RENDER, *asked.to_wire(), timeout=250).params["cached"] is True
    plain = frame(3, avatar=ADA, size=64)
    assert not np.array_equal(
        client.call(ops.AVATAR_RENDER, *plain.to_wire(), timeout=250).arrays["rgba"],
        first.arrays["rgba"],
    )


def test_operations_are_offered_and_refuse_with_a_type(client):
    offered = client.hello()["operations"]
    assert set(OPERATIONS) <= set(offered)
    gone = LookSource(avatar="avatar-gone")
    wrong = [
        (wardrobe.AvatarSample(avatar="avatar-gone"), UnknownModel),
        (wardrobe.AvatarSample(avatar="avatar-di"), BadParameter),
        (wardrobe.AvatarBlend(avatar=ADA, other=gone), UnknownModel),
        (
            wardrobe.AvatarRedress(avatar=ADA, others=(LookSource(avatar="avatar-di"),)),
            BadParameter,
        ),
        (wardrobe.AvatarSave(avatar="body-cc0", name="X"), UnknownModel),
        (a_fit(wardrobe=ADA), UnknownModel),
    ]
    for asked, error in wrong:
        with pytest.raises(error):
            client.call(asked.operation, *asked.to_wire(), timeout=250)


def test_a_fit_shows_its_stages_and_becomes_an_avatar(client):
    told: list[tuple[str, float]] = []
    pictures: list[np.ndarray] = []

    def progress(reply):
        if "stage" in reply.params:
            told.append((reply.params["stage"], reply.params["share"]))
        pictures.extend(reply.arrays.values())

    asked = a_fit(effort=0.05)
    reply = client.call(wardrobe.AVATAR_FIT, *asked.to_wire(), timeout=280, on_progress=progress)
    stages = list(dict.fromkeys(stage for stage, _ in told))
    # The last word may be overtaken by the result.
    assert stages[:6] == ["body", "encoder", *wardrobe.OPTIMISED]
    assert stages[6:] in ([], ["writing"])
    shares = [share for _, share in told]
    assert shares == sorted(shares)
    assert len(pictures) >= 5
    assert all(picture.ndim == 3 and picture.dtype == np.uint8 for picture in pictures)
    assert reply.params["avatar"] == "avatar-ivy"
    assert reply.arrays["pose"].shape == (2, 55, 3, 3)
    rendered = client.call(ops.AVATAR_RENDER, *frame(1, avatar="avatar-ivy").to_wire(), timeout=250)
    assert rendered.arrays["rgba"].any()
    again = client.call(wardrobe.AVATAR_FIT, *asked.to_wire(), timeout=280)
    assert again.params["digest"] == reply.params["digest"]
    other = a_fit(effort=0.1)
    with pytest.raises(BadParameter, match="already"):
        client.call(wardrobe.AVATAR_FIT, *other.to_wire(), timeout=280)


@pytest.mark.parametrize("stage", ["w", "texture"])
def test_a_fit_lets_frames_through_and_is_cancelled_at_once(client, stage):
    asked = a_fit(name="Jo", effort=4.0, stages=(stage,))
    request = client.submit(wardrobe.AVATAR_FIT, *asked.to_wire(), timeout=280)
    stages: set[str] = set()
    end = time.monotonic() + 200
    while stage not in stages:
        assert time.monotonic() < end, "the fit does not go on"
        stages |= {reply.params.get("stage", "") for reply in client.pump()}
        time.sleep(0.01)
    shown = client.call(ops.AVATAR_RENDER, *frame(9, avatar=ADA, size=40).to_wire(), timeout=250)
    assert shown.arrays["rgba"].any()
    assert running(client) == 1, "the fit goes on"
    client.cancel(request)
    until(lambda: not running(client), 3.0)
    listed = client.call(ops.LIBRARY_LIST, timeout=60).params["models"]
    assert "avatar-jo" not in {row["id"] for row in listed}


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_bench_measures_frames_samples_fits_and_cancels(server, client):
    bench = WardrobeBench(client, server.endpoint, WARDROBE)
    figures = {
        each.name: each for each in [*bench.times(1), *bench.latencies(2), *bench.cancels(1)]
    }
    assert {
        "sample_frames", "first_fit_frames", "viewport_in_fit", "viewport_in_fit_slow",
        "viewport_in_stage", "cancel_s", "cancel_orbiting_s", "cancelled_left_broken",
    } == {name for name, each in figures.items() if each.bound is not None}  # fmt: skip
    measured = set(figures) - {"cancelled_left_broken"}
    assert all(0.0 < figures[name].value < 1e6 for name in measured)
    assert figures["cancelled_left_broken"].value == 0
    assert {f"cancel_in_{stage}_ms" for stage in wardrobe.OPTIMISED} <= measured
