"""Messages: they come back as they went, and nothing but typed errors comes of damaged ones."""

from __future__ import annotations

import contextlib
import math
from typing import Any

import msgpack
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from blender_addon.contract import wire
from blender_addon.contract.errors import BadMessage, InvalidRequest, TooLarge, UnsupportedVersion

NAMES = st.text(min_size=1, max_size=20).filter(lambda s: s.isprintable())
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False)
    | st.text(max_size=20)
    | st.binary(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4)
    ),
    max_leaves=12,
)
ARRAYS = st.dictionaries(
    NAMES,
    st.sampled_from(sorted(wire.DTYPES)).flatmap(
        lambda name: hnp.arrays(
            np.dtype(name), hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=5)
        )
    ),
    max_size=4,
)


def header(**changes: Any) -> bytes:
    fields = {"v": 1, "id": "a", "op": "x.y", "timeout": 1.0, "params": {}, "arrays": []}
    return msgpack.packb(fields | changes)


def same(one: wire.Arrays, other: wire.Arrays) -> bool:
    return list(one) == list(other) and all(
        a.dtype == other[n].dtype
        and a.shape == other[n].shape
        and a.tobytes() == other[n].tobytes()
        for n, a in one.items()
    )


@given(NAMES, NAMES, st.floats(1e-3, 80_000), st.dictionaries(st.text(max_size=8), VALUES), ARRAYS)
def test_requests_come_back_as_they_went(id_, operation, timeout, params, arrays):
    sent = wire.Request(id=id_, operation=operation, timeout=timeout, params=params, arrays=arrays)
    frames = [bytes(frame) for frame in wire.encode_request(sent)]
    got = wire.decode_request(frames)
    assert (got.id, got.operation, got.timeout, got.params) == (id_, operation, timeout, params)
    assert same(got.arrays, arrays)


@given(NAMES, st.sampled_from(["progress", "result", "error"]), ARRAYS)
def test_replies_come_back_as_they_went(id_, kind, arrays):
    sent = wire.Reply(id=id_, kind=kind, params={"a": [1, "b"]}, arrays=arrays)
    got = wire.decode_reply([bytes(frame) for frame in wire.encode_reply(sent)])
    assert (got.id, got.kind, got.params) == (id_, kind, {"a": [1, "b"]})
    assert same(got.arrays, arrays)


def test_arrays_of_any_layout_arrive_in_c_order():
    array = np.arange(24, dtype=">i4").reshape(4, 6)[::2, ::-1]
    frames = wire.encode_request(
        wire.Request(id="a", operation="x", timeout=1.0, arrays={"n": array})
    )
    got = wire.decode_request(frames).arrays["n"]
    assert got.dtype == np.dtype("<i4")
    assert np.array_equal(got, array)


def test_contiguous_arrays_are_not_copied():
    array = np.zeros((64, 64), np.float32)
    frame = wire.encode_reply(wire.Reply(id="a", kind="result", arrays={"n": array}))[1]
    assert np.shares_memory(np.frombuffer(frame, np.float32), array)


def test_unknown_fields_are_ignored():
    assert wire.decode_request([header(colour="blue", params={"new": 1})]).params == {"new": 1}


@pytest.mark.parametrize("version", [0, 2, 10**9])
def test_another_major_version_is_refused_by_name(version):
    with pytest.raises(UnsupportedVersion) as caught:
        wire.decode_request([header(v=version)])
    assert caught.value.details["version"] == 1


@pytest.mark.parametrize(
    "frames",
    [
        [],
        [b""],
        [b"\xc1"],
        [msgpack.packb([1, 2])],
        [header() + b"x"],
        [header(v=None)],
        [header(v=True)],
        [header(id="")],
        [header(id=7)],
        [header(id="a" * 129)],
        [header(op=None)],
        [header(timeout="1")],
        [header(timeout=True)],
        [header(timeout=0)],
        [header(timeout=-1.0)],
        [header(timeout=math.nan)],
        [header(timeout=math.inf)],
        [header(timeout=1e9)],
        [header(params=[])],
        [header(params={b"bytes": 1})],
        [header(params={"deep": {b"bytes": 1}})],
        [header(arrays={})],
        [header(), b"an array that no table names"],
        [header(arrays=[1]), b""],
        [header(arrays=[{"name": "a", "dtype": "object", "shape": [1]}]), b"12345678"],
        [header(arrays=[{"name": "a", "dtype": "float32", "shape": [2]}]), b"1234"],
        [header(arrays=[{"name": "a", "dtype": "float32", "shape": [-1]}]), b"1234"],
        [header(arrays=[{"name": "a", "dtype": "float32", "shape": [True]}]), b"1234"],
        [header(arrays=[{"name": "a", "dtype": "float32", "shape": [1.0]}]), b"1234"],
        [header(arrays=[{"name": "a", "dtype": "float32", "shape": 1}]), b"1234"],
        [header(arrays=[{"name": "a", "dtype": "float32", "shape": [1] * 9}]), b"1234"],
        [header(arrays=[{"name": "", "dtype": "float32", "shape": [1]}]), b"1234"],
        [header(arrays=[{"name": "a", "dtype": "uint8", "shape": [1]}] * 2), b"1", b"2"],
    ],
)
def test_what_is_no_request_is_refused(frames):
    with pytest.raises(BadMessage):
        wire.decode_request(frames)


@pytest.mark.parametrize(
    "frames",
    [
        [b"\x00" * (wire.MAX_HEADER_BYTES + 1)],
        [header()] + [b""] * (wire.MAX_ARRAYS + 1),
        [header(arrays=[{"name": "a", "dtype": "uint8", "shape": [wire.MAX_ARRAY_BYTES, 2]}]), b""],
        [header(arrays=[{"name": "a", "dtype": "uint8", "shape": [0, 2**28, 2**28]}]), b""],
        [header(arrays=[{"name": "a", "dtype": "float32", "shape": [0, 2**63]}]), b""],
    ],
)
def test_what_is_too_large_is_refused(frames):
    with pytest.raises(TooLarge):
        wire.decode_request(frames)


def test_what_is_too_large_is_not_sent():
    request = {"id": "a", "operation": "x", "timeout": 1.0}
    huge = np.lib.stride_tricks.as_strided(np.zeros(1, np.uint8), (1 << 30,), (0,))
    for changes in (
        {"params": {"text": "x" * (wire.MAX_HEADER_BYTES + 1)}},
        {"arrays": {str(n): np.zeros(1) for n in range(wire.MAX_ARRAYS + 1)}},
        {"arrays": {"a": huge}},
    ):
        with pytest.raises(TooLarge):
            wire.encode_request(wire.Request(**request, **changes))


def test_dtypes_that_may_not_travel_are_not_sent():
    request = wire.Request(id="a", operation="x", timeout=1.0, arrays={"o": np.array([object()])})
    with pytest.raises(BadMessage):
        wire.encode_request(request)


def test_the_answer_to_an_unreadable_request_has_an_empty_id():
    frames = wire.encode_reply(wire.error_reply("", BadMessage()))
    assert wire.decode_reply(frames).id == ""


def test_params_nested_too_deeply_are_refused():
    nested: Any = 1
    for _ in range(40):
        nested = [nested]
    with pytest.raises(BadMessage):
        wire.decode_request([header(params={"n": nested})])


@given(st.lists(st.binary(max_size=60), max_size=4))
def test_random_frames_raise_typed_errors_only(frames):
    for decode in (wire.decode_request, wire.decode_reply):
        with pytest.raises(InvalidRequest):
            decode(frames)
    assert isinstance(wire.request_id_of(frames), str)


VALID = [
    bytes(frame)
    for frame in wire.encode_request(
        wire.Request(
            id="r1",
            operation="avatar.render",
            timeout=5.0,
            params={"avatar": "anna", "passes": ["rgba"]},
            arrays={"K": np.eye(3), "pose": np.zeros((55, 3, 3), np.float32)},
        )
    )
]


@settings(max_examples=400)
@given(st.data())
def test_mutated_requests_are_read_or_refused(data):
    frames = [bytearray(frame) for frame in VALID]
    for _ in range(data.draw(st.integers(1, 6))):
        frame = frames[data.draw(st.integers(0, len(frames) - 1))]
        if frame:
            frame[data.draw(st.integers(0, len(frame) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(InvalidRequest):
        wire.decode_request([bytes(frame) for frame in frames])


@given(st.binary(max_size=40))
def test_the_id_of_a_damaged_request_is_still_found(array):
    assert wire.request_id_of([header(arrays="damaged"), array]) == "a"
