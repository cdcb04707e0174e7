"""The exception tree: every error says what to do, and crosses the wire as what it is."""

from __future__ import annotations

import msgpack
import pytest

from blender_addon.contract import errors
from blender_addon.contract.wire import decode_reply, encode_reply, error_reply

TYPES = sorted(errors.error_types().values(), key=lambda kind: kind.code)


def test_codes_are_unique():
    classes = {
        kind
        for kind in vars(errors).values()
        if isinstance(kind, type) and issubclass(kind, errors.DressformError)
    }
    assert set(TYPES) >= classes
    assert len({kind.code for kind in classes}) == len(classes)


@pytest.mark.parametrize("kind", TYPES, ids=lambda kind: kind.code)
def test_an_error_crosses_the_wire_with_type_words_and_details(kind):
    sent = kind("the cause", "the step", field="K", limits=[1, 2])
    reply = decode_reply(encode_reply(error_reply("r1", sent)))
    with pytest.raises(kind) as caught:
        reply.raise_if_error()
    assert type(caught.value) is kind
    assert (caught.value.cause, caught.value.next_step) == ("the cause", "the step")
    assert caught.value.details == {"field": "K", "limits": [1, 2]}


@pytest.mark.parametrize("kind", TYPES, ids=lambda kind: kind.code)
def test_every_error_has_a_cause_and_a_next_step_of_its_own(kind):
    error = kind()
    assert error.cause
    assert error.next_step
    assert error.code in str(error)


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"code": "from.the.future", "cause": "x", "next_step": "y"},
        {"code": 7, "details": []},
        {"code": "request.invalid", "details": {"self": 1, "cause": 2, "next_step": 3, "": 4}},
    ],
)
def test_errors_of_strangers_become_errors(fields):
    error = errors.from_wire(msgpack.unpackb(msgpack.packb(fields)))
    assert isinstance(error, errors.DressformError)
    assert str(error)


def test_the_tree_drawn_in_the_docstring_is_the_tree():
    drawn = errors.__doc__ or ""
    for kind in TYPES:
        if kind.__module__ == errors.__name__:
            assert kind.__name__ in drawn, kind
