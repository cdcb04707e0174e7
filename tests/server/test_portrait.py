"""Portraits through the product's own handlers, and through a real server with tiny networks."""

from __future__ import annotations

import os
import shutil
import signal
import time
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from blender_addon.client import Client
from blender_addon.contract import operations as ops
from blender_addon.contract import portraits
from blender_addon.contract.errors import (
    BadParameter,
    NoFaceFound,
    UnknownModel,
)
from blender_addon.contract.labels import Label
from blender_addon.contract.portraits import (
    PORTRAIT_PASSES,
    HeadShape,
    PortraitBake,
    PortraitFit,
    PortraitLook,
    PortraitSample,
    PortraitSegment,
    RegionStyle,
    Source,
)
from blender_addon.contract.wire import Request
from models import portrait_fit as fitting
from models.baked_head import BakedHead
from models.head_crop import HeadCrop
from models.portrait import PortraitRenderer, view_camera
from models.portrait_package import load_portrait
from server.handlers import library as library_handlers
from server.handlers import portrait, portrait_fit
from server.library import Library
from server.operation import Answer, Context
from server.storage import Storage
from tests.models.toy_portraits import CODE, HEADS, PORTRAIT, STYLE, a_render, write_toy_library
from tests.server.running import running, start_product, until, worker_pid

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from blender_addon.local_server import LocalServer

LOOK = PortraitLook(portrait=PORTRAIT)
IMAGE = np.zeros((48, 40, 3), np.uint8)


@pytest.fixture(scope="module")
def library(tmp_path_factory) -> Path:
    return write_toy_library(tmp_path_factory.mktemp("library"))


@pytest.fixture
def context(library, tmp_path) -> Context:
    storage = Storage.beside(tmp_path / "own" / "library")
    return Context(library=Library(library, storage.library), device="cpu", storage=storage)


def request(operation: str, asked) -> Request:
    params, arrays = asked.to_wire()
    return Request(id="r", operation=operation, timeout=1.0, params=params, arrays=arrays)


def render(context: Context, asked) -> Answer:
    return portrait.render(context, [request(portraits.PORTRAIT_RENDER, asked)])[0]


# --- handlers ------------------------------------------------------------------------------


def test_portraits_are_listed_with_what_they_require(context):
    asked = Request(id="r", operation=ops.LIBRARY_LIST, timeout=1.0)
    listed = library_handlers.list_models(context, asked)
    rows = {row["id"]: row for row in listed.params["models"]}
    assert rows[PORTRAIT]["kind"] == "portrait"
    assert rows[PORTRAIT]["digest"] == context.library.digest(PORTRAIT)


def test_a_head_that_is_not_baked_yet_is_not_cached(context, monkeypatch):
    final = render(context, a_render())
    assert final.digest == final.params["digest"] == context.library.digest(PORTRAIT)
    assert render(context, a_render(geometry="baked")).digest == ""
    head = BakedHead(
        np.array([[-0.1, 0, 0], [0.1, 0, 0], [0, 0.1, 0]], np.float32),
        np.array([[0, 1, 2]], np.int64),
        np.array([Label.SKIN], np.uint8),
    )
    monkeypatch.setattr("models.portrait.iterate_bake", lambda *_: iter([(0.5, None), (1.0, head)]))
    steps = portrait.bake(context, request(portraits.PORTRAIT_BAKE, PortraitBake(look=LOOK)))
    assert next(steps).params == {"share": 0.5}
    with pytest.raises(StopIteration) as end:
        next(steps)
    baked = end.value.value
    assert baked.arrays["faces"].dtype == np.int32
    assert baked.arrays["labels"].tolist() == [Label.SKIN]
    shown = render(context, a_render(geometry="baked", passes=("labels",)))
    assert shown.digest == final.digest
    assert set(np.unique(shown.arrays["labels"])) <= {0, Label.SKIN, portraits.NOT_PAINTED}


def test_samples_are_the_looks_that_renders_show(context):
    asked = PortraitSample(look=LOOK, seeds=(5, 6), size=32)
    answer = portrait.sample(context, [request(portraits.PORTRAIT_SAMPLE, asked)])[0]
    assert answer.params["heads"] == list(HEADS)
    codes, styles = answer.arrays["codes"], answer.arrays["styles"]
    assert codes.shape == (2, CODE)
    assert styles.shape == (2, 17, STYLE)
    assert answer.arrays["images"].shape == (2, 32, 32, 3)
    by_seed = replace(
        LOOK,
        shape=HeadShape(blend=((Source(seed=6), 1.0),)),
        styles=dict.fromkeys(range(17), RegionStyle(blend=((Source(seed=6), 1.0),))),
    )
    by_row = replace(
        LOOK,
        shape=HeadShape(blend=((Source(row=1), 1.0),)),
        styles=dict.fromkeys(range(17), RegionStyle(blend=((Source(row=1), 1.0),))),
        codes=codes,
        style_rows=styles,
    )
    one, other = (render(context, a_render(look=look)).arrays for look in (by_seed, by_row))
    np.testing.assert_array_equal(one["rgba"], other["rgba"])
    plain = portrait.sample(
        context, [request(portraits.PORTRAIT_SAMPLE, replace(asked, size=0))]
    )[0]  # fmt: skip
    assert sorted(plain.arrays) == ["codes", "styles"]


def test_a_library_without_a_parser_says_so(context):
    asked = PortraitSegment(image=IMAGE)
    with pytest.raises(UnknownModel, match="parser"):
        portrait.segment(context, [request(portraits.PORTRAIT_SEGMENT, asked)])


# --- fits ----------------------------------------------------------------------------------


def a_fit(**changes) -> PortraitFit:
    labels = np.zeros(IMAGE.shape[:2], np.uint8)
    fields = {
        "portrait": PORTRAIT,
        "name": "Bo",
        "id": "portrait-bo",
        "image": IMAGE,
        "labels": labels,
    }
    return PortraitFit(**fields | changes)


@pytest.fixture
def fits(monkeypatch) -> list[int]:
    """Replace the fit itself; return a list that grows with each fit that ends."""
    ended: list[int] = []

    def iterate(renderer, space, painter, image, parser, labels, focal):
        for share in (0.1, 0.5, 0.9):
            yield fitting.PortraitFitStep("shape", share, np.zeros((4, 8, 3), np.uint8))
        ended.append(1)
        small = np.zeros((8, 8, 3), np.uint8)
        return fitting.FittedPortrait(
            code=space.mean, styles=painter.draw(1, 3)[0], camera=view_camera(10.0, 256),
            crop=HeadCrop(0.0, 0.0, 40.0), photograph=small,
            labels=np.full((256, 256), 15, np.uint8), fitted_labels=np.zeros((256, 256), np.uint8),
            label_iou=0.7, distance=0.3, painted=small, target=small,
        )  # fmt: skip

    monkeypatch.setattr(fitting, "iterate_portrait_fit", iterate)
    return ended


def run_fit(context: Context, asked: PortraitFit) -> tuple[list, Answer]:
    steps = portrait_fit.fit(context, request(portraits.PORTRAIT_FIT, asked))
    told = []
    while True:
        try:
            told.append(next(steps))
        except StopIteration as end:
            return told, end.value


def test_a_fit_becomes_a_portrait_of_the_users_own(context, fits):
    told, answer = run_fit(context, a_fit())
    assert [step.params["stage"] for step in told] == ["shape"] * 3 + ["writing"]
    assert told[1].params["seconds_left"] >= 0
    assert told[0].arrays["preview"].shape == (4, 8, 3)
    assert answer.params["portrait"] == "portrait-bo"
    assert (answer.params["label_iou"], answer.params["distance"]) == (0.7, 0.3)
    camera = view_camera(10.0, 256)
    np.testing.assert_allclose(answer.arrays["K"], camera.K)
    np.testing.assert_allclose(answer.arrays["Rt"][:, 3], camera.t)
    assert (answer.arrays["labels"] == 15).all()
    folder = context.storage.library / "portrait-bo"
    assert load_portrait(folder)[0].name == "Bo"
    shown = render(context, a_render(look=PortraitLook(portrait="portrait-bo")))
    assert shown.params["digest"] == answer.params["digest"]
    # Asked again, as after a lost worker: nothing is done twice.
    assert run_fit(context, a_fit())[1].params == answer.params
    assert len(fits) == 1
    with pytest.raises(BadParameter, match="already"):
        run_fit(context, a_fit(focal=90.0))
    run_fit(context, a_fit(focal=90.0, replace=True))
    assert len(fits) == 2
    with pytest.raises(BadParameter, match="come with the server"):
        run_fit(context, a_fit(id=PORTRAIT, replace=True))


def test_a_fit_that_is_given_up_leaves_nothing(context, fits):
    steps = portrait_fit.fit(context, request(portraits.PORTRAIT_FIT, a_fit()))
    next(steps)
    steps.close()
    assert not context.storage.library.exists()
    assert not fits


# --- a server ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def server(library, tmp_path_factory) -> Iterator[LocalServer]:
    home = tmp_path_factory.mktemp("server")
    shown = home / "library"
    shutil.copytree(library, shown)
    started = start_product(home, shown)
    with Client(started.endpoint) as client:
        worker_pid(client)
    yield started
    started.stop()


def test_a_render_through_a_server_is_that_of_the_renderer_and_survives_its_worker(
    client, library, server
):
    asked = a_render(passes=PORTRAIT_PASSES, labels=np.full((48, 48), 15, np.uint8))

    def ask():
        return client.call(
            portraits.PORTRAIT_RENDER, *asked.to_wire(), timeout=250, patience=280,
            revive=server.ensure_running,
        )  # fmt: skip

    first = ask()
    own = PortraitRenderer.load(library, PORTRAIT).render(asked)
    for name in PORTRAIT_PASSES:
        np.testing.assert_array_equal(first.arrays[name], own[name])
    assert ask().params["cached"] is True
    pid = worker_pid(client)
    os.kill(pid, signal.SIGKILL)
    until(lambda: worker_pid(client) != pid, 280)
    asked = replace(asked, look=replace(LOOK, shape=HeadShape(directions=(1.0,))))
    moved = ask()
    assert moved.params["cached"] is False
    assert not np.array_equal(moved.arrays["depth"], own["depth"])


def test_operations_are_offered_and_refuse_with_a_type(client):
    offered = client.hello()["operations"]
    assert {op for op in offered if op.startswith("portrait.")} == {
        portraits.PORTRAIT_RENDER, portraits.PORTRAIT_SAMPLE, portraits.PORTRAIT_BAKE,
        portraits.PORTRAIT_SEGMENT, portraits.PORTRAIT_FIT,
    }  # fmt: skip
    gone = PortraitLook(portrait="portrait-gone")
    wrong = [
        (portraits.PORTRAIT_RENDER, a_render(look=gone), UnknownModel),
        (portraits.PORTRAIT_SAMPLE, PortraitSample(look=gone), UnknownModel),
        (portraits.PORTRAIT_BAKE, PortraitBake(look=gone), UnknownModel),
        (portraits.PORTRAIT_RENDER, a_render(look=PortraitLook(portrait="sof-toy")), UnknownModel),
        (
            portraits.PORTRAIT_RENDER,
            a_render(look=replace(LOOK, codes=np.zeros((1, 2), np.float32))),
            BadParameter,
        ),
        (portraits.PORTRAIT_FIT, a_fit(labels=None), UnknownModel),
        (portraits.PORTRAIT_FIT, a_fit(), NoFaceFound),
        (portraits.PORTRAIT_SEGMENT, PortraitSegment(image=IMAGE), UnknownModel),
    ]
    for operation, asked, expected in wrong:
        with pytest.raises(expected):
            client.call(operation, *asked.to_wire(), timeout=250)


def test_renders_are_served_while_a_head_is_baked_and_the_bake_can_be_cancelled(client, server):
    shares: list[float] = []
    baking = client.submit(
        portraits.PORTRAIT_BAKE, *PortraitBake(look=LOOK, views=512).to_wire(), timeout=250
    )
    with Client(server.endpoint) as viewport:
        end = time.monotonic() + 200
        while not shares:
            assert time.monotonic() < end, "the bake does not go on"
            shares += [r.params["share"] for r in client.pump() if "share" in r.params]
            time.sleep(0.01)
        reply = viewport.call(
            portraits.PORTRAIT_RENDER, *a_render(azimuth=0.9).to_wire(), timeout=250
        )
        assert reply.arrays["rgba"].shape == (48, 48, 4)
        assert ops.LIBRARY_LIST in viewport.hello()["operations"]
    assert 0 < shares[0] < 1
    client.cancel(baking)
    until(lambda: not running(client), 60)
