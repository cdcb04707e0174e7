"""`avatar.train` in a real worker: to the end, cancelled, killed, interrupted by renders, refused."""

from __future__ import annotations

import os
import signal
import sys
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

from blender_addon.client import Client
from blender_addon.contract import operations as ops
from blender_addon.contract.avatar_train import AVATAR_TRAIN, avatar_id, parse_avatar_train
from blender_addon.contract.errors import (
    BadParameter,
    Busy,
    TrainingError,
    UnknownCapture,
    UnknownModel,
)
from blender_addon.contract.wire import Arrays, Reply, Request
from blender_addon.local_server import LocalServer
from blender_addon.upload import send_capture
from models.dresser import Dresser, DresserConfig
from models.package import Manifest, read_manifest, write_package
from server.handlers.training import _claimed
from tests.server.running import ROOT, frame, health, worker_pid
from tests.training.toy_people import BODY_ID, write_toy_body, write_toy_capture

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


pytestmark = pytest.mark.timeout(900)  # minutes only where others want the cores too


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A shipped library of a toy body, a dresser and an avatar; a capture; room for the user's."""
    folder = tmp_path_factory.mktemp("home")
    library = folder / "shipped"
    write_toy_body(library)
    write_toy_capture(library, folder / "toy", train=4, held_out=1, size=64)
    torch.manual_seed(0)
    config = DresserConfig()
    dresser = Manifest(
        kind="dresser", id="dresser-toy", name="D", licence="CC0-1.0",
        architecture=config.to_plain(),
    )  # fmt: skip
    write_package(library / "dresser-toy", dresser, Dresser(config).half().state_dict())
    shipped = Manifest(
        kind="avatar", id="avatar-shipped", name="Shipped", licence="CC0-1.0",
        requirements={"body": BODY_ID, "dresser": "dresser-toy"},
    )  # fmt: skip
    write_package(library / "avatar-shipped", shipped, {"texture": torch.randn(16, 64, 64).half()})
    return folder


@pytest.fixture(scope="module")
def server(home: Path) -> Iterator[LocalServer]:
    started = LocalServer.start(
        [sys.executable, "-m", "scripts.cli", "serve"],
        log=home / "server.log",
        library=home / "shipped",
        cwd=ROOT,
        options=("--user-library", str(home / "own" / "library"), "--device", "cpu"),
    )
    try:
        with Client(started.endpoint) as client:
            worker_pid(client)
        yield started
    finally:
        started.stop()


@pytest.fixture
def client(server: LocalServer) -> Iterator[Client]:
    with Client(server.endpoint, silence=60.0) as connected:
        yield connected


@pytest.fixture(scope="module")
def capture(server: LocalServer, home: Path) -> str:
    with Client(server.endpoint) as client:
        return send_capture(client, home / "toy")


def words(capture: str, name: str, **more: Any) -> dict[str, Any]:
    return {"capture": capture, "name": name, "recipe": "make-neural-trial", **more}


def asking(number: int, avatar: str, size: int = 32) -> tuple[dict[str, Any], Arrays]:
    """A frame of an avatar that wears the toy body."""
    asked = frame(number, avatar=avatar, size=size)
    body = replace(asked.body, betas=np.zeros(2, np.float32))
    return replace(asked, body=body).to_wire()


def test_a_capture_becomes_an_avatar_that_can_be_rendered(client, home, capture):
    told: list[Reply] = []
    asked = words(capture, "Frau Müller", steps=2)
    made = client.call(AVATAR_TRAIN, asked, timeout=250, on_progress=told.append).params
    assert made["avatar"] == "avatar-frau-m-ller"
    assert made["steps"] == 2
    stages = [reply.params["stage"] for reply in told if "stage" in reply.params]
    assert sorted(set(stages), key=stages.index) == ["preparing", "training", "writing"]
    shares = [reply.params["share"] for reply in told if "share" in reply.params]
    assert shares == sorted(shares)
    manifest = read_manifest(home / "own" / "library" / made["avatar"])
    assert manifest.name == "Frau Müller"
    assert manifest.requirements == {"body": BODY_ID, "dresser": "dresser-toy"}
    assert manifest.data["training_frames"]
    listed = client.call(ops.LIBRARY_LIST, timeout=10).params["models"]
    assert {"avatar-shipped", made["avatar"]} <= {row["id"] for row in listed}
    preview = client.call(ops.LIBRARY_PREVIEW, {"id": made["avatar"]}, timeout=10)
    assert preview.arrays["preview"].shape == (512, 512, 3)
    shown = client.call(ops.AVATAR_RENDER, *asking(0, made["avatar"]), timeout=250)
    assert shown.params["digest"] == made["digest"]
    assert shown.arrays["rgba"].shape == (32, 32, 4)
    assert not list((home / "own" / "trainings").iterdir())
    # The same words again are no work; other words do not take the name away unasked.
    started = time.monotonic()
    assert client.call(AVATAR_TRAIN, asked, timeout=250).params == made
    assert time.monotonic() - started < 30  # not a training again
    other = asked | {"steps": 8}  # beyond the warm start
    with pytest.raises(BadParameter, match="already"):
        client.call(AVATAR_TRAIN, other, timeout=250)
    replaced = client.call(AVATAR_TRAIN, other | {"replace": True}, timeout=250).params
    assert replaced["steps"] == 8
    assert replaced["digest"] != made["digest"]


def training_steps(client: Client, request_id: str, enough: int) -> list[dict[str, Any]]:
    """Wait until a training has made some steps; return what it said so far."""
    told: list[dict[str, Any]] = []
    end = time.monotonic() + 150
    while not told or told[-1]["step"] < enough:
        assert time.monotonic() < end, "the training does not go on"
        for reply in client.pump():
            reply.raise_if_error()
            if reply.params.get("stage") == "training":
                told.append(reply.params)
        time.sleep(0.01)
    return told


def test_renders_are_served_between_steps_and_a_cancelled_training_goes_on(
    client, server, home, capture
):
    asked = words(capture, "Paused", steps=5000)
    first = client.submit(AVATAR_TRAIN, asked, timeout=600)
    told = training_steps(client, first, 2)
    with Client(server.endpoint) as viewport:
        viewport.call(ops.AVATAR_RENDER, *asking(0, "avatar-shipped"), timeout=250)
        told = training_steps(client, first, told[-1]["step"] + 1)
        alone, steps_alone = time.monotonic(), told[-1]["step"]
        told = training_steps(client, first, steps_alone + 20)
        alone, served = time.monotonic() - alone, told[-1]["step"]
        started = time.monotonic()
        for number in range(1, 9):
            viewport.call(ops.AVATAR_RENDER, *asking(number, "avatar-shipped", 64), timeout=250)
        beside = time.monotonic() - started
    # A render waits for half a step, and after it the training works for half as long as it took:
    # a third of the time. Let it be two thirds, on a busy machine.
    since = [reply.params["step"] for reply in client.pump() if "step" in reply.params]
    pace = (served - steps_alone) / alone
    assert max(since, default=served) - served <= 0.67 * pace * beside + 2
    told = training_steps(client, first, served + 1)
    started = time.monotonic()
    client.cancel(first)
    while health(client)["workers"][0]["jobs"]:
        assert time.monotonic() - started < 60
        time.sleep(0.02)
    assert not (home / "own" / "library" / "avatar-paused").exists()
    (run,) = (home / "own" / "trainings").glob("avatar-paused-*")
    assert (run / "checkpoint.pt").is_file()
    assert not (run / "owner").exists()
    second = client.submit(AVATAR_TRAIN, asked, timeout=600)
    again = training_steps(client, second, 1)
    assert again[0]["step"] >= told[-1]["step"]
    client.cancel(second)


def test_a_killed_worker_is_survived(client, home, capture):
    asked = words(capture, "Survivor", steps=5)
    killed: list[int] = []

    def kill_once(reply: Reply) -> None:
        if not killed and reply.params.get("step", 0) >= 2:
            killed.append(worker_pid(client))
            os.kill(killed[0], signal.SIGKILL)

    made = client.call(AVATAR_TRAIN, asked, timeout=400, patience=400, on_progress=kill_once).params
    assert killed
    assert worker_pid(client) != killed[0]
    assert made["steps"] == 5
    assert (home / "own" / "library" / made["avatar"]).is_dir()


def test_what_cannot_be_trained_is_refused_with_a_type(client, capture):
    wrong = [
        (words("nobody", "A", steps=1), UnknownCapture),
        (words("../toy", "A", steps=1), UnknownCapture),
        (words(capture, "", steps=1), BadParameter),
        (words(capture, "Ω", steps=1), BadParameter),
        (words(capture, "A", avatar="../x", steps=1), BadParameter),
        (words(capture, "A", avatar="dresser-toy", steps=1), BadParameter),
        (words(capture, "Shipped", steps=1), BadParameter),
        (words(capture, "Shipped", steps=1, replace=True), BadParameter),
        (words(capture, "A", recipe="../x"), BadParameter),
        (words(capture, "A", recipe="dressing-cpu"), TrainingError),
        (words(capture, "A", steps=0), BadParameter),
        (words(capture, "A", minutes=float("inf")), BadParameter),
        (words(capture, "A", minutes=1, steps=1), BadParameter),
        (words(capture, "A", steps=True), BadParameter),
        (words(capture, "A", steps=1, replace="yes"), BadParameter),
        (words(capture, "A", steps=1, init_from="nobody"), UnknownModel),
        (words(capture, "A", steps=1, init_from="a/b"), BadParameter),
    ]
    for params, expected in wrong:
        with pytest.raises(expected):
            client.call(AVATAR_TRAIN, params, timeout=250)


def test_two_workers_do_not_train_the_same(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "owner").write_text(str(os.getppid()))
    with pytest.raises(Busy), _claimed(tmp_path / "run"):
        pass
    (tmp_path / "run" / "owner").write_text("not a number")
    with _claimed(tmp_path / "run"):
        assert int((tmp_path / "run" / "owner").read_text()) == os.getpid()
    assert not (tmp_path / "run" / "owner").exists()


def test_params_come_back_from_the_wire_and_names_become_ids():
    asked = words("c-1", "Dr. No", minutes=2.5, replace=True)
    request = Request(id="r", operation=AVATAR_TRAIN, timeout=1.0, params=asked)
    parsed = parse_avatar_train(request)
    assert parsed.avatar == "avatar-dr-no" == avatar_id("Dr. No")
    again = Request(id="r", operation=AVATAR_TRAIN, timeout=1.0, params=parsed.to_wire())
    assert parse_avatar_train(again) == parsed
