"""What a server answers: every operation, every refusal, caching, streams, priorities."""

from __future__ import annotations

import threading
import time

import msgpack
import numpy as np
import pytest
import zmq

from blender_addon.client import Client
from blender_addon.contract import operations as ops
from blender_addon.contract import wire
from blender_addon.contract.errors import (
    BadMessage,
    BadParameter,
    BadPose,
    Busy,
    DeadlineExceeded,
    DressformError,
    InternalError,
    TooLarge,
    UnknownModel,
    UnknownOperation,
    UnsupportedVersion,
)
from tests.server.running import add_model, ended_with, frame, health, running, until, worker_pid


def render(client: Client, asked: ops.AvatarRender, timeout: float = 20.0) -> wire.Reply:
    return client.call(ops.AVATAR_RENDER, *asked.to_wire(), timeout=timeout)


def test_hello_says_who_is_there(client):
    said = client.hello()
    assert said["wire"] == 1
    assert said["ready"] is True
    assert {"hello", "health", "library.list", "avatar.render", "job.cancel"} <= set(
        said["operations"]
    )


def test_hello_refuses_another_version(client):
    with pytest.raises(UnsupportedVersion):
        client.call("hello", {"wire": 2}, timeout=5)


def test_health_counts(client):
    before = health(client)
    client.call("test.echo", timeout=5)
    after = health(client)
    assert after["uptime_seconds"] >= before["uptime_seconds"]
    assert after["workers"][0]["state"] == "ready"
    assert set(after["queue"]) == set(ops.PRIORITIES)


@pytest.mark.parametrize("shape", [(), (0, 3), (1,), (300, 400, 4)])
def test_arrays_come_back_bit_for_bit(client, shape):
    array = np.random.default_rng(0).integers(0, 255, shape).astype(np.float32)
    got = client.call("test.echo", {"say": "hi"}, {"a": array, "b": array.T}, timeout=5)
    assert got.params["say"] == "hi"
    assert np.array_equal(got.arrays["a"], array)
    assert np.array_equal(got.arrays["b"], array.T)


def test_unknown_operations_and_models_are_named(client):
    with pytest.raises(UnknownOperation, match=r"avatar\.fly"):
        client.call("avatar.fly", timeout=5)
    with pytest.raises(UnknownModel, match="bob"):
        render(client, frame(1, avatar="bob"))


def test_wrong_parameters_are_refused_by_name(client):
    params, arrays = frame(1).to_wire()
    with pytest.raises(BadParameter, match="width"):
        client.call(ops.AVATAR_RENDER, params | {"width": "x"}, arrays, timeout=5)
    with pytest.raises(BadPose):
        client.call(ops.AVATAR_RENDER, params, arrays | {"pose": np.zeros((55, 3, 3))}, timeout=5)
    with pytest.raises(BadParameter, match="priority"):
        client.call("test.echo", {"priority": "now"}, timeout=5)
    with pytest.raises(BadParameter, match="avatar"):
        client.call(ops.AVATAR_RENDER, params | {"avatar": "../anna"}, arrays, timeout=5)


def test_a_handlers_errors_keep_their_type(client):
    with pytest.raises(BadParameter) as caught:
        client.call("test.fail", {"typed": True}, timeout=5)
    assert caught.value.details == {"field": "say", "numbers": [1, 2]}


def test_a_handlers_bug_is_an_internal_error_and_the_worker_lives(client):
    pid = worker_pid(client)
    for operation in ("test.fail", "test.untravelled", "test.fail_midway"):
        with pytest.raises(InternalError):
            client.call(operation, timeout=5)
    assert worker_pid(client) == pid


def test_one_bad_request_of_a_batch_harms_no_other(client):
    blocker = client.submit("test.sleep", {"seconds": 0.2}, timeout=5)
    ids = [client.submit("test.batch", {"bad": n == 1}, timeout=5) for n in range(4)]
    assert ended_with(client, blocker) is None
    assert [ended_with(client, each) for each in ids] == [None, BadParameter, None, None]


def test_requests_that_wait_together_make_a_batch(client):
    blocker = client.submit("test.sleep", {"seconds": 0.2}, timeout=5)
    ids = [client.submit("test.batch", timeout=5) for _ in range(4)]
    client.wait(blocker)
    assert max(client.wait(each).params["batch"] for each in ids) == 4


def test_a_frame_asked_for_twice_is_rendered_once(client):
    first = render(client, frame(100))
    hits = health(client)["cache"]["hits"]
    again = render(client, frame(100, priority="interactive"))
    assert health(client)["cache"]["hits"] == hits + 1
    assert (first.params["cached"], again.params["cached"]) == (False, True)
    assert first.params["digest"] == again.params["digest"]
    assert np.array_equal(first.arrays["rgba"], again.arrays["rgba"])
    assert not np.array_equal(first.arrays["rgba"], render(client, frame(101)).arrays["rgba"])


def test_what_is_made_in_no_time_is_not_kept(client):
    params, arrays = frame(120).to_wire()
    entries = health(client)["cache"]["entries"]
    client.call(ops.AVATAR_RENDER, params | {"seconds": 0.0}, arrays, timeout=10)
    quick = health(client)["cache"]["entries"]
    client.call(ops.AVATAR_RENDER, params | {"seconds": 0.01}, arrays, timeout=10)
    assert health(client)["cache"]["entries"] - quick == 1
    assert quick in (entries, entries + 1)  # one more where the machine was too busy to be quick


def test_an_attempt_that_ran_out_of_time_is_not_rendered_again(client):
    params, arrays = frame(110).to_wire()
    slow = params | {"seconds": 0.6}
    ids = [client.submit(ops.AVATAR_RENDER, slow, arrays, timeout=timeout) for timeout in (0.2, 9)]
    assert ended_with(client, ids[0]) is DeadlineExceeded
    assert client.wait(ids[1]).params["cached"]


def test_a_changed_package_is_rendered_anew(start, tmp_path):
    library = tmp_path / "library"
    add_model(library, "dress")
    add_model(library, "eve", requirements={"dresser": "dress"})
    with Client(start(library=library).endpoint) as client:
        digests = [render(client, frame(1, avatar="eve")).params["digest"]]
        assert render(client, frame(1, avatar="eve")).params["cached"]
        add_model(library, "eve", requirements={"dresser": "dress"}, value=2.0)
        for _ in range(2):
            reply = render(client, frame(1, avatar="eve"))
            digests.append(reply.params["digest"])
        assert reply.params["cached"]
        add_model(library, "dress", value=3.0)  # what it is dressed by counts as well
        reply = render(client, frame(1, avatar="eve"))
        assert not reply.params["cached"]
        digests.append(reply.params["digest"])
        assert digests[1] == digests[2]
        assert len({digests[0], digests[1], digests[3]}) == 3
        listed = {row["id"]: row for row in client.call("library.list", timeout=5).params["models"]}
        assert listed["eve"]["digest"] == digests[3]


def test_only_the_newest_of_a_stream_is_rendered(client):
    blocker = client.submit("test.sleep", {"seconds": 0.3}, timeout=5)
    until(lambda: running(client) == 1)
    ids = [
        client.submit(ops.AVATAR_RENDER, *frame(200 + n, stream="view").to_wire(), timeout=10)
        for n in range(6)
    ]
    other = client.submit(ops.AVATAR_RENDER, *frame(300, stream="other").to_wire(), timeout=10)
    ends = [ended_with(client, each) for each in ids]
    assert [end.__name__ if end else "" for end in ends] == ["Superseded"] * 5 + [""]
    assert ended_with(client, other) is None
    assert ended_with(client, blocker) is None


def test_streams_of_two_clients_leave_each_other_alone(server, client):
    with Client(server.endpoint) as other:
        client.submit("test.sleep", {"seconds": 0.2}, timeout=5)
        until(lambda: running(client) == 1)
        one = client.submit(ops.AVATAR_RENDER, *frame(210, stream="v").to_wire(), timeout=5)
        two = other.submit(ops.AVATAR_RENDER, *frame(211, stream="v").to_wire(), timeout=5)
        assert ended_with(client, one) is None
        assert ended_with(other, two) is None


def test_urgent_requests_overtake_patient_ones(client):
    client.submit("test.sleep", {"seconds": 0.3}, timeout=5)
    until(lambda: running(client) == 1)
    ids = [
        client.submit("test.echo", {"priority": priority}, timeout=5)
        for priority in ("job", "final", "interactive")
    ]
    order = [client.wait(each).params["calls"] for each in ids]
    assert order == sorted(order, reverse=True)


def test_a_full_queue_answers_busy_and_patient_callers_get_through(start):
    server = start("--queue-size", "2")
    with Client(server.endpoint) as client:
        worker_pid(client)
        blocker = client.submit("test.sleep", {"seconds": 0.6}, timeout=5)
        until(lambda: running(client) == 1)
        waiting = [client.submit("test.echo", timeout=5) for _ in range(2)]
        with pytest.raises(Busy) as caught:
            client.wait(client.submit("test.echo", timeout=5))
        assert 0 < caught.value.details["retry_after"] <= 5
        assert client.call("test.echo", timeout=5, patience=10).kind == "result"
        assert [ended_with(client, each) for each in (blocker, *waiting)] == [None] * 3


def test_several_workers_share_the_work(start):
    with Client(start("--workers", "2").endpoint) as client:
        until(lambda: all(w["state"] == "ready" for w in health(client)["workers"]))
        ids = [client.submit("test.sleep", {"seconds": 0.3}, timeout=5) for _ in range(2)]
        assert len({client.wait(each).params["pid"] for each in ids}) == 2


def test_many_clients_at_once_get_their_own_answers(server):
    wrong: list[object] = []

    def work(number: int) -> None:
        with Client(server.endpoint) as mine:
            for turn in range(20):
                array = np.full((50, 50), number * 100 + turn)
                got = mine.call("test.echo", {"say": number}, {"a": array}, timeout=20, patience=40)
                if got.params["say"] != number or not np.array_equal(got.arrays["a"], array):
                    wrong.append(got)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_the_gallery_lists_models_and_shows_previews(start, tmp_path):
    from PIL import Image

    library = tmp_path / "library"
    picture = np.random.default_rng(0).integers(0, 255, (24, 24, 3), np.uint8)
    add_model(library, "body-x", kind="body", preview=Image.fromarray(picture))
    add_model(
        library, "eve", requirements={"body": "body-x"}, architecture={"betas": [0.5, -1.0]},
        preview=Image.new("RGBA", (8, 6), (1, 2, 3, 128)),
    )  # fmt: skip
    add_model(library, "plain", requirements={"body": "gone"})
    (library / "damaged").mkdir()
    (library / "damaged" / "model.json").write_text("{")
    with Client(start(library=library).endpoint) as client:
        rows = {row["id"]: row for row in client.call("library.list", timeout=5).params["models"]}
        assert sorted(rows) == ["body-x", "eve", "plain"]
        assert rows["eve"]["body"] == "body-x"
        assert rows["eve"]["betas"] == [0.5, -1.0]
        assert rows["eve"]["digest"] != rows["body-x"]["digest"] != ""
        assert rows["plain"]["digest"] == ""
        assert "gone" in rows["plain"]["problem"]
        preview = client.call("library.preview", {"id": "body-x"}, timeout=5).arrays["preview"]
        assert np.array_equal(preview, picture)
        assert client.call("library.preview", {"id": "eve"}, timeout=5).arrays["preview"].shape == (
            6,
            8,
            4,
        )
        for model in ("plain", "gone", "damaged"):
            with pytest.raises(DressformError):
                client.call("library.preview", {"id": model}, timeout=5)
        with pytest.raises(BadParameter):
            client.call("library.preview", {"id": "../server.log"}, timeout=5)


def raw_answer(server, frames: list[bytes]) -> wire.Reply:
    with zmq.Context() as context, context.socket(zmq.DEALER) as socket:
        socket.linger = 0
        socket.connect(server.endpoint)
        socket.send_multipart(frames)
        assert socket.poll(5000), "no answer"
        return wire.decode_reply(socket.recv_multipart())


def packed(**changes) -> bytes:
    fields = {"v": 1, "id": "a", "op": "test.echo", "timeout": 5.0, "params": {}, "arrays": []}
    return msgpack.packb(fields | changes)


@pytest.mark.parametrize(
    ("frames", "error"),
    [
        ([b""], BadMessage),
        ([b"GET / HTTP/1.1\r\n\r\n"], BadMessage),
        ([packed(v=2)], UnsupportedVersion),
        ([packed(timeout=-1)], BadMessage),
        ([packed(), b"stray"], BadMessage),
        ([packed(params={b"a": 1, "b": 2})], BadMessage),
        ([packed(arrays=[{"name": "a", "dtype": "uint8", "shape": [1 << 40]}]), b""], TooLarge),
        ([packed(params={"x": "y" * (1 << 20)})], TooLarge),
        ([packed()] + [b""] * 65, TooLarge),
        ([packed(op="avatar.render")], BadParameter),
    ],
)
def test_messages_that_are_wrong_get_a_typed_answer(server, frames, error):
    with pytest.raises(error):
        raw_answer(server, frames).raise_if_error()


def test_fields_of_newer_clients_are_ignored(server):
    reply = raw_answer(server, [packed(colour="blue", params={"say": "x", "new": [1]})])
    assert reply.kind == "result"
    assert reply.params["say"] == "x"


def test_one_id_cannot_stand_for_two_open_requests(server):
    with zmq.Context() as context, context.socket(zmq.DEALER) as socket:
        socket.linger = 0
        socket.connect(server.endpoint)
        for _ in range(2):
            socket.send_multipart([packed(op="test.sleep", params={"seconds": 0.3})])
        kinds = []
        while len(kinds) < 2 and socket.poll(5000):
            reply = wire.decode_reply(socket.recv_multipart())
            kinds += [reply.kind] if reply.kind != "progress" else []
        assert kinds == ["error", "result"]


def test_a_frame_over_the_size_limit_ends_its_connection_only(server, client):
    with zmq.Context() as context, context.socket(zmq.DEALER) as socket:
        socket.linger = 0
        socket.connect(server.endpoint)
        monitor = socket.get_monitor_socket()
        socket.send_multipart(
            [packed(), bytes(wire.MAX_ARRAY_BYTES + wire.MAX_HEADER_BYTES + 1)], copy=False
        )
        until(
            lambda: monitor.poll(100) and monitor.recv_multipart()[0][:2] == b"\x00\x02"
        )  # disconnected
        socket.disable_monitor()
        monitor.close(0)
    assert client.call("test.echo", timeout=5).kind == "result"


def test_waiting_clients_are_told_that_the_server_lives(client):
    told: list[wire.Reply] = []
    request = client.submit("test.sleep", {"seconds": 2.3}, timeout=10)
    client.wait(request, on_progress=told.append)
    assert len(told) >= 2
    assert {reply.params["state"] for reply in told} == {"running"}


def test_interactive_requests_are_served_between_the_steps_of_a_long_job(client):
    job = client.submit("test.count", {"steps": 60, "seconds": 0.03}, timeout=30)
    until(lambda: running(client) == 1)
    waits = []
    for _ in range(10):
        before = time.monotonic()
        client.call("test.echo", {"priority": "interactive"}, timeout=5)
        waits.append(time.monotonic() - before)
    assert running(client) == 1, "the long job ended before the question was answered"
    assert sorted(waits)[5] < 0.3
    steps: list[int] = []
    result = client.wait(job, on_progress=lambda reply: steps.append(reply.params.get("step", 0)))
    assert result.params["steps"] == 60
    assert len(steps) > 3
