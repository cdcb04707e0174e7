"""Captures that travel: whole, in pieces, interrupted, damaged, too large."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import shutil
import signal
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from blender_addon.client import Client
from blender_addon.contract.capture_transfer import (
    CAPTURE_PUT,
    AddFrames,
    CloseUpload,
    OpenUpload,
    parse_capture_put,
)
from blender_addon.contract.errors import (
    BadParameter,
    BadPose,
    CaptureError,
    DressformError,
    InvalidRequest,
    ModelError,
    StorageFull,
    TooLarge,
    UnknownCapture,
)
from blender_addon.contract.wire import Request
from blender_addon.upload import CaptureOnDisk, send_capture
from server.handlers import capture as handler
from server.library import Library
from server.operation import Context
from server.storage import Storage
from server.uploads import KEPT_SECONDS, UPLOADS_FOLDER, Uploads, capture_folder
from tests.server.running import start_product, until
from tests.training.toy_people import write_toy_body, write_toy_capture
from training.captures import Capture

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from blender_addon.local_server import LocalServer


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A capture of five frames of 64²."""
    folder = tmp_path_factory.mktemp("toy")
    write_toy_body(folder / "library")
    return write_toy_capture(folder / "library", folder / "toy-0", train=3, held_out=2, size=64)


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    return Storage.beside(tmp_path / "library")


@pytest.fixture
def uploads(storage: Storage) -> Uploads:
    return Uploads(storage)


@cache
def opening(folder: Path) -> OpenUpload:
    capture = CaptureOnDisk(folder)
    return OpenUpload(
        description=capture.description,
        betas=capture.parameters["betas"],
        fingerprint=capture.fingerprint(),
    )


@cache
def adding(folder: Path, *indices: int) -> AddFrames:
    capture = CaptureOnDisk(folder)
    frames = tuple(capture.frame(index) for index in indices)
    return AddFrames(upload=opening(folder).upload, frames=frames)


def request(asked: OpenUpload | AddFrames | CloseUpload, **changes) -> Request:
    params, arrays = asked.to_wire()
    for name, value in changes.items():
        part = arrays if isinstance(value, np.ndarray) or name in arrays else params
        if value is None:
            del part[name]
        else:
            part[name] = value
    return Request(id="r", operation=CAPTURE_PUT, timeout=1.0, params=params, arrays=arrays)


def start(tmp_path: Path, *options: str, endpoint: str = "tcp://127.0.0.1:0") -> LocalServer:
    return start_product(tmp_path, tmp_path / "none", *options, endpoint=endpoint)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[LocalServer]:
    started = start(tmp_path)
    yield started
    started.stop()


def assert_same_capture(received: Path, sent: Path) -> None:
    a, b = Capture.open(received), Capture.open(sent)
    assert a.description == b.description
    for index in range(len(a)):
        assert np.array_equal(a.image(index), b.image(index))
        assert np.array_equal(a.masks(index), b.masks(index))
        assert np.array_equal(a.camera(index).K, b.camera(index).K)
        assert np.array_equal(a.posed_body(index).pose, b.posed_body(index).pose)


def test_a_capture_survives_cancel_and_a_killed_server(toy, tmp_path, server):
    """Sent in parts across two servers; what had come is not sent again."""
    shares: list[float] = []
    with Client(server.endpoint) as client:
        client.call(CAPTURE_PUT, *opening(toy).to_wire(), timeout=30)
        client.call(CAPTURE_PUT, *adding(toy, 3, 0).to_wire(), timeout=30)
    os.kill(server.pid, signal.SIGKILL)
    until(lambda: not server.alive())
    assert not list((tmp_path / "own" / "captures").glob("*/capture.json"))
    with Client(server.endpoint) as client:
        name = send_capture(client, toy, on_progress=shares.append, revive=server.ensure_running)
        assert shares[0] == pytest.approx(2 / 5)
        assert shares[-1] == 1.0
        assert_same_capture(tmp_path / "own" / "captures" / name, toy)
        # Once more is no work, and a close whose answer was lost may be repeated.
        assert send_capture(client, toy) == name
        closing = CloseUpload(upload=opening(toy).upload)
        again = client.call(CAPTURE_PUT, *closing.to_wire(), timeout=30).params
        assert again == {"capture": name, "frames": 5}
        with pytest.raises(DressformError, match="cancelled"):
            send_capture(client, toy, should_stop=lambda: True)


def test_half_an_upload_is_no_capture_and_cannot_be_closed(toy, uploads, storage):
    uploads.open(opening(toy))
    assert uploads.add(adding(toy, 1, 4)) == 3
    with pytest.raises(CaptureError, match="3 frames have not come"):
        uploads.close(opening(toy).upload)
    assert Uploads(storage).open(opening(toy)) == (["001", "004"], "")
    assert [path.name for path in storage.captures.iterdir()] == [UPLOADS_FOLDER]


def test_other_pictures_of_the_same_poses_are_another_upload(toy, uploads, tmp_path):
    shutil.copytree(toy, tmp_path / "other")
    images = sorted((tmp_path / "other" / "images").iterdir())
    images[0].write_bytes(images[1].read_bytes())
    assert opening(toy).description == opening(tmp_path / "other").description
    uploads.open(opening(toy))
    uploads.add(adding(toy, 0))
    assert uploads.open(opening(tmp_path / "other")) == ([], "")


def test_a_server_that_died_before_the_last_rename_can_close_again(toy, uploads, storage):
    uploads.open(opening(toy))
    uploads.add(adding(toy, 0, 1, 2, 3, 4))
    halfway = storage.captures / UPLOADS_FOLDER / opening(toy).upload / "capture"
    shutil.copy(toy / "capture.json", halfway)
    name, frames = Uploads(storage).close(opening(toy).upload)
    assert frames == 5
    assert_same_capture(capture_folder(storage, name), toy)


def test_uploads_that_nobody_goes_on_with_are_forgotten(toy, uploads, storage, tmp_path):
    uploads.open(opening(toy))
    kept = storage.captures / UPLOADS_FOLDER / opening(toy).upload
    old = (kept / "upload.json").stat().st_mtime - KEPT_SECONDS - 60
    os.utime(kept / "upload.json", (old, old))
    uploads.open(dataclasses.replace(opening(toy), fingerprint="0" * 64))
    assert not kept.exists()
    with pytest.raises(UnknownCapture):
        uploads.add(adding(toy, 0))


def test_captures_take_no_more_room_than_they_may(toy, tmp_path):
    storage = Storage.beside(tmp_path / "library", capture_bytes=6000)
    uploads = Uploads(storage)
    uploads.open(opening(toy))
    with pytest.raises(StorageFull):
        uploads.add(adding(toy, 0, 1, 2, 3, 4))
    whole = list((storage.captures / UPLOADS_FOLDER).glob("*/frames/*.npz"))
    assert 0 < len(whole) < 5
    with pytest.raises(StorageFull):
        uploads.open(dataclasses.replace(opening(toy), fingerprint="0" * 64))


def test_a_capture_is_found_by_its_id_alone(storage, tmp_path):
    (tmp_path / "capture.json").touch()
    for name in ("..", "../..", ".uploads", "", "a/b", str(tmp_path), "nobody"):
        with pytest.raises(UnknownCapture):
            capture_folder(storage, name)


def wrong_requests(toy: Path):
    frame = adding(toy, 0)
    description = json.loads((toy / "capture.json").read_text())
    frames = description["frames"]
    png = frame.frames[0].image
    other = CaptureOnDisk(toy).parameters
    yield request(opening(toy), step="shut"), BadParameter
    yield request(opening(toy), capture=None), BadParameter
    yield request(opening(toy), capture={**description, "frames": []}), CaptureError
    yield request(opening(toy), capture={**description, "frames": frames * 1000}), TooLarge
    for name in ("../../x", "a/b", ".x", "C:x", "nul\0", "x" * 200):
        renamed = [{**frames[0], "name": name}]
        wrong = InvalidRequest, CaptureError
        yield request(opening(toy), capture={**description, "frames": renamed}), wrong
    yield request(opening(toy), capture={**description, "source": {"a": b"bytes"}}), BadParameter
    yield request(opening(toy), capture={**description, "image_size": [10**6, 64]}), CaptureError
    yield request(opening(toy), fingerprint="../x"), BadParameter
    yield request(opening(toy), betas=np.full(3, np.nan, np.float32)), BadParameter
    yield request(opening(toy), betas=np.zeros(1000, np.float32)), BadParameter
    yield request(frame, upload="../" * 10), BadParameter
    yield request(frame, upload="0" * 32), UnknownCapture
    yield request(frame, frames=["no"]), CaptureError
    yield request(frame, frames=["000"] * 2), BadParameter
    yield request(frame, frames=[["000"]]), BadParameter
    yield request(frame, frames=[str(i) for i in range(17)]), TooLarge
    yield request(frame, image_0=None), BadParameter
    yield request(frame, image_0=png[:40]), CaptureError
    yield request(frame, image_0=png.astype(np.float32)), BadParameter
    yield request(frame, masks_0=np.zeros(100, np.uint8)), CaptureError
    yield request(frame, pose=frame.to_wire()[1]["pose"] * 1.5), BadPose
    yield request(frame, pose=frame.to_wire()[1]["pose"] * 1e30), BadParameter
    yield request(frame, K=np.zeros((1, 3, 3))), (BadParameter, CaptureError)
    yield request(frame, t=np.full((1, 3), np.inf)), BadParameter
    yield request(frame, t=np.full((1, 3), 1e6)), BadParameter
    yield request(frame, expression=np.zeros((1, 1000), np.float32)), BadParameter
    yield request(frame, pose=other["pose"][1:2]), CaptureError  # not the digest's
    yield request(CloseUpload(upload="f" * 32)), UnknownCapture
    yield request(CloseUpload(upload=opening(toy).upload)), CaptureError


def test_what_is_wrong_is_refused_with_a_type_and_leaves_nothing(toy, tmp_path):
    storage = Storage.beside(tmp_path / "own" / "library")
    context = Context(library=Library(tmp_path), device="", storage=storage)
    handler.put(context, request(opening(toy)))
    handler.put(context, request(adding(toy, 4)))
    before = sorted(tmp_path.rglob("*"))
    for asked, expected in wrong_requests(toy):
        with pytest.raises(expected):
            handler.put(context, asked)
        assert sorted(tmp_path.rglob("*")) == before


def test_an_image_of_another_size_or_a_bomb_is_refused(toy, uploads, tmp_path):
    library = tmp_path / "toys"
    write_toy_body(library)
    larger = write_toy_capture(library, tmp_path / "larger", train=3, held_out=2, size=96)
    uploads.open(opening(toy))
    sent = adding(toy, 0)
    image = CaptureOnDisk(larger).file("images", "000")
    bomb = bytearray(sent.frames[0].image.tobytes())
    bomb[16:24] = (60_000).to_bytes(4, "big") * 2  # width and height in the header chunk
    for wrong in (image, np.frombuffer(bytes(bomb), np.uint8)):
        frame = dataclasses.replace(sent.frames[0], image=wrong)
        with pytest.raises(CaptureError, match="frame '000': image"):
            uploads.add(dataclasses.replace(sent, frames=(frame,)))
    assert uploads.open(opening(toy))[0] == []


@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(data=st.data())
def test_any_change_of_a_request_is_accepted_or_refused_with_a_type(toy, storage, data):
    """Fuzz: fields of other types and sizes, images with flipped bytes."""
    context = Context(library=Library(storage.library), device="", storage=storage)
    handler.put(context, request(opening(toy)))
    asked = request(data.draw(st.sampled_from([opening(toy), adding(toy, 0, 1)])))
    values = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)
    anything = st.recursive(values, lambda v: st.lists(v, max_size=3) | st.dictionaries(
        st.sampled_from(["frames", "name", "step", "format", "id"]), v, max_size=3))  # fmt: skip
    if data.draw(st.booleans()):
        asked.params[data.draw(st.sampled_from(sorted(asked.params)))] = data.draw(anything)
    else:
        name = data.draw(st.sampled_from(sorted(asked.arrays)))
        changed = asked.arrays[name].copy().reshape(-1)
        position = data.draw(st.integers(0, changed.size - 1))
        changed.view(np.uint8)[position] ^= data.draw(st.integers(1, 255))
        asked.arrays[name] = changed.reshape(asked.arrays[name].shape)
    with contextlib.suppress(InvalidRequest, ModelError):
        handler.put(context, asked)
    # Nothing but the folder of captures was made.
    outside = [p for p in storage.captures.parent.iterdir() if p != storage.captures]
    assert outside == []


def test_what_comes_over_the_wire_is_what_was_meant(toy):
    for asked in (opening(toy), adding(toy, 0, 2), CloseUpload(upload="0" * 32)):
        parsed = parse_capture_put(request(asked))
        if isinstance(asked, OpenUpload):
            assert parsed.upload == asked.upload
        elif isinstance(asked, AddFrames):
            assert [frame.name for frame in parsed.frames] == ["000", "002"]
        else:
            assert parsed == asked
