"""Portrait requests: read as they were meant, and refused by the name of the field."""

from __future__ import annotations

import contextlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from blender_addon.contract import portrait_requests as requests
from blender_addon.contract import portraits, wire
from blender_addon.contract.camera import look_at
from blender_addon.contract.errors import BadParameter
from blender_addon.contract.portraits import HeadShape, PortraitLook, RegionStyle, Source

CAMERA = look_at(
    np.array([0.0, 0.0, 1.3]), np.zeros(3), np.array([0.0, 1.0, 0.0]),
    focal=300.0, width=40, height=30,
)  # fmt: skip
RNG = np.random.default_rng(0)
LOOK = PortraitLook(
    portrait="portrait-ada",
    shape=HeadShape(
        blend=(
            (Source(), 0.5), (Source(seed=3), 0.25), (Source(head="h0004"), 0.5), (Source(row=1), -0.25),
        ),
        directions=(0.5, -1.0),
    ),
    styles={
        15: RegionStyle(blend=((Source(seed=7), 0.5), (Source(row=0), 0.5)), truncation=0.7),
        1: RegionStyle(),
    },
    codes=RNG.normal(size=(2, 6)).astype(np.float32),
    style_rows=RNG.normal(size=(1, 17, 10)).astype(np.float32),
)  # fmt: skip
IMAGE = RNG.integers(0, 256, (40, 50, 3), np.uint8)

ALL = {
    portraits.PORTRAIT_RENDER: (
        portraits.PortraitRender(
            look=LOOK, camera=CAMERA, passes=portraits.PORTRAIT_PASSES, geometry="baked",
            background=True, labels=np.full((30, 40), 5, np.uint8), priority="interactive", stream="v",
        ),
        requests.parse_portrait_render,
    ),
    portraits.PORTRAIT_SAMPLE: (
        portraits.PortraitSample(
            look=LOOK, seeds=(1, 2), vary=("styles",), labels=(15,), near=0.5, size=64, yaw=-30.0
        ),
        requests.parse_portrait_sample,
    ),
    portraits.PORTRAIT_BAKE: (
        portraits.PortraitBake(look=LOOK, views=12), requests.parse_portrait_bake,
    ),
    portraits.PORTRAIT_SEGMENT: (
        portraits.PortraitSegment(image=IMAGE), requests.parse_portrait_segment,
    ),
    portraits.PORTRAIT_FIT: (
        portraits.PortraitFit(
            portrait="portrait-ada", name="Bo", id="portrait-bo", image=IMAGE,
            labels=np.zeros((40, 50), np.uint8), focal=900.0, replace=True,
        ),
        requests.parse_portrait_fit,
    ),
}  # fmt: skip


def request(operation, params, arrays) -> wire.Request:
    return wire.Request(id="a", operation=operation, timeout=1.0, params=params, arrays=arrays)


def over_the_wire(operation, asked) -> wire.Request:
    return wire.decode_request(wire.encode_request(request(operation, *asked.to_wire())))


@pytest.mark.parametrize("operation", list(ALL))
def test_a_request_is_read_as_it_was_sent(operation):
    asked, parse = ALL[operation]
    read = parse(over_the_wire(operation, asked))
    params, arrays = read.to_wire()
    expected, expected_arrays = asked.to_wire()
    assert params == expected
    assert arrays.keys() == expected_arrays.keys()
    for name, array in expected_arrays.items():
        np.testing.assert_array_equal(arrays[name], array)


@pytest.mark.parametrize("operation", [portraits.PORTRAIT_RENDER, portraits.PORTRAIT_SAMPLE])
def test_what_is_left_out_is_the_portraits_own(operation):
    arrays = {"K": CAMERA.K, "Rt": np.eye(4)[:3]}
    params = {"portrait": "portrait-ada", "width": 40, "height": 30}
    read = ALL[operation][1](request(operation, params, arrays))
    assert read.look == PortraitLook(portrait="portrait-ada")
    assert read.look.shape.blend == ((Source(), 1.0),)


@pytest.mark.parametrize(
    ("params", "field"),
    [
        ({"shape": {"blend": [{"weight": 0.5}, {"seed": 1, "weight": 0.4}]}}, "shape"),
        ({"shape": {"blend": [{"row": 2, "weight": 1.0}]}}, "shape"),
        ({"shape": {"blend": []}}, "shape"),
        ({"shape": {"blend": [{"seed": -1, "weight": 1.0}]}}, "shape"),
        ({"shape": {"directions": [30.0]}}, "shape"),
        ({"shape": {"directions": [0.0] * 65}}, "shape"),
        ({"shape": 3}, "shape"),
        ({"styles": [{"label": 17}]}, "styles"),
        ({"styles": [{"label": 1}, {"label": 1}]}, "styles"),
        ({"styles": [{"label": 1, "blend": [{"head": "h0000", "weight": 1.0}]}]}, "styles"),
        ({"styles": [{"label": 1, "truncation": 3.0}]}, "truncation"),
        ({"portrait": "../x"}, "portrait"),
        ({"passes": ["normals"]}, "passes"),
        ({"geometry": "guessed"}, "geometry"),
        ({"background": "yes"}, "background"),
        ({"width": 0}, None),
    ],
)  # fmt: skip
def test_wrong_params_are_refused_by_name(params, field):
    asked, parse = ALL[portraits.PORTRAIT_RENDER]
    sent, arrays = asked.to_wire()
    with pytest.raises(BadParameter) as refused:
        parse(request(portraits.PORTRAIT_RENDER, sent | params, arrays))
    assert refused.value.details.get("field") == field


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("codes", np.zeros((65, 6), np.float32)), ("codes", np.full((2, 6), 1e5, np.float32)),
        ("codes", np.full((2, 6), np.nan)), ("codes", np.zeros(6, np.float32)),
        ("styles", np.zeros((1, 16, 10), np.float32)), ("styles", np.zeros((1, 17, 10), np.uint8)),
        ("labels", np.full((30, 40), 17, np.uint8)), ("labels", np.zeros((30, 41), np.uint8)),
        ("labels", np.zeros((30, 40), np.float32)), ("K", np.eye(3)[:2]), ("Rt", np.zeros((3, 4))),
    ],
)  # fmt: skip
def test_wrong_arrays_are_refused(name, value):
    asked, parse = ALL[portraits.PORTRAIT_RENDER]
    params, arrays = asked.to_wire()
    with pytest.raises(BadParameter):
        parse(request(portraits.PORTRAIT_RENDER, params, arrays | {name: value}))


@pytest.mark.parametrize(
    "changes",
    [{"name": ""}, {"name": "Ω"}, {"id": "avatar-bo"}, {"id": "portrait-/"}, {"focal": 0.0}],
)
def test_fits_that_cannot_be_named_are_refused(changes):
    asked, parse = ALL[portraits.PORTRAIT_FIT]
    params, arrays = asked.to_wire()
    if "name" in changes:
        del params["id"]
    with pytest.raises(BadParameter):
        parse(request(portraits.PORTRAIT_FIT, params | changes, arrays))


def test_a_name_becomes_an_id():
    asked, parse = ALL[portraits.PORTRAIT_FIT]
    params, arrays = asked.to_wire()
    named = params | {"name": "Zoë, 2nd", "id": ""}
    assert parse(request(portraits.PORTRAIT_FIT, named, arrays)).id == "portrait-zo-2nd"


WORDS = sorted({name for asked, _ in ALL.values() for name in asked.to_wire()[0]} | {
    "blend", "directions", "label", "weight", "seed", "row", "head", "truncation"})  # fmt: skip
LEAVES = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**63), 2**64 - 1), st.floats(), st.text(max_size=8),
    st.sampled_from(["shape", "styles", "rgba", "marched", "portrait-x", "h0000"]),
)  # fmt: skip
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4), st.dictionaries(st.sampled_from(WORDS), inner, max_size=4)
    ),
    max_leaves=10,
)
SHAPES = st.lists(st.integers(0, 3), max_size=4).map(tuple)
ARRAYS = st.builds(
    lambda shape, kind, value: np.full(shape, value).astype(kind),
    st.one_of(
        SHAPES, st.sampled_from([(2, 6), (1, 17, 10), (30, 40), (3, 3), (3, 4), (40, 50, 3)])
    ),
    st.sampled_from([np.uint8, np.int32, np.float16, np.float32, np.float64]),
    st.integers(0, 200),
)


@pytest.mark.parametrize("operation", list(ALL))
@given(
    params=st.dictionaries(st.sampled_from(WORDS), VALUES, max_size=4),
    arrays=st.dictionaries(
        st.sampled_from(["codes", "styles", "labels", "K", "Rt", "image"]), ARRAYS, max_size=2
    ),
)
def test_any_junk_is_read_or_refused(operation, params, arrays):
    asked, parse = ALL[operation]
    sent, sent_arrays = asked.to_wire()
    with contextlib.suppress(BadParameter):
        parse(request(operation, sent | params, sent_arrays | arrays))
