"""Operations: requests are read as they were meant, and refused by the name of the field."""

from __future__ import annotations

import contextlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from blender_addon.contract import operations as ops
from blender_addon.contract import wire
from blender_addon.contract.camera import look_at
from blender_addon.contract.errors import (
    BadParameter,
    InvalidRequest,
    UnsupportedVersion,
)
from blender_addon.contract.fields import number, parse_model_id
from blender_addon.contract.pose import rotation_from_axis_angle


def a_render(**changes) -> ops.AvatarRender:
    rng = np.random.default_rng(1)
    fields = {
        "avatar": "anna",
        "body": ops.PosedBody(
            pose=rotation_from_axis_angle(rng.normal(size=(55, 3))).astype(np.float32),
            transl=np.array([0.1, 0.2, 0.3], np.float32),
            betas=rng.normal(size=10).astype(np.float32),
            expression=np.zeros(0, np.float32),
        ),
        "camera": look_at(
            np.array([0.0, 1.0, 3.0]), np.zeros(3), np.array([0.0, 1.0, 0.0]),
            focal=500.0, width=64, height=48,
        ),
        "passes": ("rgba", "depth"),
        "priority": "interactive",
        "stream": "viewport",
    }  # fmt: skip
    return ops.AvatarRender(**fields | changes)


def request(params, arrays, operation=ops.AVATAR_RENDER) -> wire.Request:
    return wire.Request(id="a", operation=operation, timeout=1.0, params=params, arrays=arrays)


def test_a_render_is_read_as_it_was_sent():
    sent = a_render()
    frames = wire.encode_request(request(*sent.to_wire()))
    got = ops.parse_avatar_render(wire.decode_request(frames))
    assert (got.avatar, got.passes, got.priority, got.stream) == (
        "anna", ("rgba", "depth"), "interactive", "viewport",
    )  # fmt: skip
    assert (got.camera.width, got.camera.height) == (64, 48)
    for name in ("pose", "transl", "betas", "expression"):
        assert np.array_equal(getattr(got.body, name), getattr(sent.body, name)), name
    for name in ("K", "R", "t"):
        assert np.array_equal(getattr(got.camera, name), getattr(sent.camera, name)), name


def test_left_out_fields_have_their_defaults():
    params, arrays = a_render().to_wire()
    for name in ("passes", "priority", "stream"):
        del params[name]
    for name in ("betas", "expression"):
        del arrays[name]
    got = ops.parse_avatar_render(request(params, arrays))
    assert (got.passes, got.priority, got.stream) == (ops.RENDER_PASSES, "final", "")
    assert got.body.betas.shape == got.body.expression.shape == (0,)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("avatar", None), ("avatar", ""), ("avatar", "a" * 257), ("avatar", 3),
        ("width", 0), ("width", 1.5), ("width", True), ("height", 100_000), ("height", None),
        ("passes", []), ("passes", "rgba"), ("passes", ["rgba", "rgba"]), ("passes", ["normal"]),
        ("priority", "urgent"), ("priority", 1), ("stream", 5),
    ],
)  # fmt: skip
def test_wrong_params_are_refused(field, value):
    params, arrays = a_render().to_wire()
    with pytest.raises(BadParameter):
        ops.parse_avatar_render(request(params | {field: value}, arrays))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("pose", None), ("pose", np.zeros((55, 3), np.float32)),
        ("pose", np.zeros((55, 3, 3), np.float32)), ("pose", np.zeros((55, 3, 3), np.uint8)),
        ("transl", np.array([1e5, 0, 0], np.float32)), ("transl", np.zeros(2, np.float32)),
        ("betas", np.full(3, np.nan, np.float32)), ("betas", np.zeros(401, np.float32)),
        ("betas", np.zeros((2, 2), np.float32)), ("expression", np.full(2, 1e3, np.float32)),
        ("K", np.zeros((3, 3))), ("K", np.full((3, 3), np.inf)), ("Rt", np.zeros((3, 4))),
        ("Rt", None),
    ],
)  # fmt: skip
def test_wrong_arrays_are_refused(field, value):
    params, arrays = a_render().to_wire()
    arrays = {n: a for n, a in arrays.items() if n != field}
    if value is not None:
        arrays[field] = value
    with pytest.raises(InvalidRequest):
        ops.parse_avatar_render(request(params, arrays))


@given(st.dictionaries(st.sampled_from(["avatar", "width", "height", "passes", "priority"]),
                       st.one_of(st.none(), st.integers(), st.text(), st.floats(), st.lists(st.text()))))  # fmt: skip
def test_any_params_are_read_or_refused(changes):
    params, arrays = a_render().to_wire()
    with contextlib.suppress(InvalidRequest):
        ops.parse_avatar_render(request(params | changes, arrays))


def test_hello_refuses_another_version():
    ops.check_hello(request({"wire": 1}, {}, ops.HELLO))
    with pytest.raises(UnsupportedVersion):
        ops.check_hello(request({"wire": 2}, {}, ops.HELLO))
    with pytest.raises(BadParameter):
        ops.check_hello(request({}, {}, ops.HELLO))


@pytest.mark.parametrize("model", ["body-cc0", "Anna_2.v3", "a", "_x"])
def test_model_ids_are_read(model):
    assert parse_model_id(request({"id": model}, {}), "id") == model


@pytest.mark.parametrize(
    "model", ["", ".", "..", "../body", "a/b", "a\\b", "/etc", ".hidden", "a\n", "ä", "a" * 129, 7]
)
def test_ids_that_could_leave_the_library_are_refused(model):
    with pytest.raises(BadParameter):
        parse_model_id(request({"id": model}, {}), "id")


def test_number_and_cancel_parameters():
    assert number({"x": 1}, "x", 0, 2) == 1.0
    for bad in (None, True, "1", float("nan"), 3, -1):
        with pytest.raises(BadParameter):
            number({"x": bad}, "x", 0, 2)
    assert ops.parse_job_cancel(request({"id": "r7"}, {}, ops.JOB_CANCEL)) == "r7"
