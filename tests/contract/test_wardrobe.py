"""Wardrobe requests: read as they were meant, and refused by the name of the field."""

from __future__ import annotations

import contextlib
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from blender_addon.contract import operations, wardrobe, wire
from blender_addon.contract import wardrobe_requests as requests
from blender_addon.contract.avatar_look import (
    OWN,
    AvatarLook,
    LookSource,
    blended,
    parse_look,
    redressed,
    seeded,
)
from blender_addon.contract.camera import look_at
from blender_addon.contract.errors import BadParameter, BadPose
from blender_addon.contract.operations import PosedBody
from blender_addon.contract.wardrobe import PersonView

RNG = np.random.default_rng(0)
EYE, UP = np.array([0.0, 0.9, 3.0]), np.array([0.0, 1.0, 0.0])


def camera(width: int, height: int):
    return look_at(EYE, np.array([0.0, 0.9, 0.0]), UP, focal=90.0, width=width, height=height)


def body(shift: float = 0.0) -> PosedBody:
    return PosedBody(
        pose=np.tile(np.eye(3, dtype=np.float32), (55, 1, 1)),
        transl=np.array([shift, 0.0, 0.0], np.float32),
        betas=np.arange(3, dtype=np.float32),
        expression=np.zeros(2, np.float32),
    )


BO, SEVEN = LookSource(avatar="avatar-bo"), LookSource(seed=7)
LOOK = AvatarLook(
    sources=((OWN, 0.5), (SEVEN, 0.75), (BO, -0.25)),
    directions=((0, 1.5), (3, -0.5)),
    parts={"head": (SEVEN, 1.0), "feet": (BO, 0.5), "legs": (OWN, 0.25)},
    truncation=0.9,
    wardrobe="wardrobe-people",
)
VIEW = PersonView(size=64, yaw=-30.0, part="head", body=body(), camera=camera(64, 64))
IMAGE = RNG.integers(0, 256, (40, 50, 3), np.uint8)
MASK = np.full((40, 50), 255, np.uint8)

ALL = {
    operations.AVATAR_RENDER: (
        operations.AvatarRender(avatar="avatar-ada", body=body(), camera=camera(64, 48), look=LOOK),
        operations.parse_avatar_render,
    ),
    wardrobe.AVATAR_SAMPLE: (
        wardrobe.AvatarSample(
            avatar="avatar-ada", look=LOOK, seeds=(1, 2), near=0.5, vary="torso", view=VIEW
        ),
        requests.parse_avatar_sample,
    ),
    wardrobe.AVATAR_BLEND: (
        wardrobe.AvatarBlend(
            avatar="avatar-ada", look=LOOK, other=BO, amounts=(0.0, 0.3, 1.0), view=VIEW
        ),
        requests.parse_avatar_blend,
    ),
    wardrobe.AVATAR_REDRESS: (
        wardrobe.AvatarRedress(
            avatar="avatar-ada", look=LOOK, others=(BO, SEVEN), take=("head", "feet"), amount=0.5
        ),
        requests.parse_avatar_redress,
    ),
    wardrobe.AVATAR_SAVE: (
        wardrobe.AvatarSave(
            avatar="avatar-ada", name="Cy", id="avatar-cy", look=LOOK, replace=True,
            betas=np.ones(4, np.float32),
        ),
        requests.parse_avatar_save,
    ),
    wardrobe.AVATAR_FIT: (
        wardrobe.AvatarFit(
            wardrobe="wardrobe-people", name="Di", id="avatar-di", images=(IMAGE, IMAGE),
            masks=(None, MASK), fits=((body(), camera(50, 40)), (body(0.1), camera(50, 40))),
            stages=("w", "texture"), effort=0.5, focal=900.0, person=1, seconds=60.0, refine=True, replace=True,
        ),
        requests.parse_avatar_fit,
    ),
}  # fmt: skip


def request(operation, params, arrays) -> wire.Request:
    return wire.Request(id="a", operation=operation, timeout=1.0, params=params, arrays=arrays)


@pytest.mark.parametrize("operation", list(ALL))
def test_a_request_is_read_as_it_was_sent(operation):
    asked, parse = ALL[operation]
    sent = wire.encode_request(request(operation, *asked.to_wire()))
    params, arrays = parse(wire.decode_request(sent)).to_wire()
    expected, expected_arrays = asked.to_wire()
    assert params == expected
    assert arrays.keys() == expected_arrays.keys()
    for name, array in expected_arrays.items():
        np.testing.assert_array_equal(arrays[name], array)


def test_a_render_without_a_look_is_the_request_that_it_always_was():
    params, _ = operations.AvatarRender(
        avatar="avatar-ada", body=body(), camera=camera(8, 8)
    ).to_wire()
    assert "look" not in params
    assert parse_look(None) == parse_look({}) == AvatarLook()


@pytest.mark.parametrize(
    ("look", "field"),
    [
        (3, "look"),
        ({"sources": []}, "sources"),
        ({"sources": [{"seed": 1, "weight": 0.9}]}, "sources"),
        ({"sources": [{"seed": -1, "weight": 1.0}]}, "sources"),
        ({"sources": [{"seed": 1, "weight": float("nan")}]}, "weight"),
        ({"sources": [{"avatar": "../x", "weight": 1.0}]}, "sources"),
        ({"directions": [[0, 1.0], [0, 1.0]]}, "directions"),
        ({"directions": [[-1, 1.0]]}, "directions"),
        ({"directions": [[0, 21.0]]}, "directions"),
        ({"directions": [[0, "far"]]}, "directions"),
        ({"directions": [0.5]}, "directions"),
        ({"parts": {"tail": {"seed": 1}}}, "parts"),
        ({"parts": {"head": {"seed": 1, "amount": 1.1}}}, "amount"),
        ({"parts": ["head"]}, "parts"),
        ({"truncation": 2.5}, "truncation"),
        ({"wardrobe": "a/b"}, "wardrobe"),
    ],
)  # fmt: skip
def test_wrong_looks_are_refused_by_name(look, field):
    with pytest.raises(BadParameter) as refused:
        parse_look(look)
    assert refused.value.details.get("field") == field


@pytest.mark.parametrize(
    ("operation", "changes", "field"),
    [
        (wardrobe.AVATAR_SAMPLE, {"seeds": [2**31]}, "seeds"),
        (wardrobe.AVATAR_SAMPLE, {"seeds": list(range(65))}, "seeds"),
        (wardrobe.AVATAR_SAMPLE, {"near": 1.5}, "near"),
        (wardrobe.AVATAR_SAMPLE, {"vary": "tail"}, "vary"),
        (wardrobe.AVATAR_SAMPLE, {"size": 8}, "size"),
        (wardrobe.AVATAR_SAMPLE, {"avatar": "../x"}, "avatar"),
        (wardrobe.AVATAR_BLEND, {"other": {}}, "other"),
        (wardrobe.AVATAR_BLEND, {"amounts": [0.5, 1.5]}, "amounts"),
        (wardrobe.AVATAR_REDRESS, {"take": ["head", "head"]}, "take"),
        (wardrobe.AVATAR_REDRESS, {"others": []}, "others"),
        (wardrobe.AVATAR_SAVE, {"id": "portrait-x"}, "id"),
        (wardrobe.AVATAR_SAVE, {"name": ""}, "name"),
        (wardrobe.AVATAR_SAVE, {"replace": 1}, "replace"),
        (wardrobe.AVATAR_FIT, {"stages": ["body"]}, "stages"),
        (wardrobe.AVATAR_FIT, {"effort": 0.0}, "effort"),
    ],
)  # fmt: skip
def test_wrong_params_are_refused_by_name(operation, changes, field):
    asked, parse = ALL[operation]
    params, arrays = asked.to_wire()
    with pytest.raises(BadParameter) as refused:
        parse(request(operation, params | changes, arrays))
    assert refused.value.details.get("field") == field


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("image_1", None), ("image_0", IMAGE[..., 0]), ("mask_1", MASK[1:]), ("K", None),
        ("pose", np.zeros((2, 55, 3, 3))), ("pose", np.float32(0.0)), ("transl", np.zeros((3, 3))),
        ("expression", np.zeros(2)), ("Rt", np.zeros((2, 3, 4))), ("betas", np.zeros(500)),
    ],
)  # fmt: skip
def test_wrong_arrays_of_a_fit_are_refused(name, value):
    asked, parse = ALL[wardrobe.AVATAR_FIT]
    params, arrays = asked.to_wire()
    if value is None:
        del arrays[name]
    else:
        arrays[name] = np.asarray(value)
    with pytest.raises((BadParameter, BadPose)):
        parse(request(wardrobe.AVATAR_FIT, params, arrays))


def files_of_fits() -> tuple[dict, dict]:
    content = np.arange(9, dtype=np.uint8)
    files = tuple(wardrobe.FitFile(name=name, content=content) for name in ("a.npz", "B.JSON"))
    asked, _ = ALL[wardrobe.AVATAR_FIT]
    return replace(asked, fits=(), fit_files=files).to_wire()


def test_body_fits_may_come_as_files():
    params, arrays = files_of_fits()
    read = requests.parse_avatar_fit(request(wardrobe.AVATAR_FIT, params, arrays))
    assert [file.name for file in read.fit_files] == ["a.npz", "B.JSON"]
    np.testing.assert_array_equal(read.fit_files[1].content, np.arange(9))
    again, _ = read.to_wire()
    assert again == params


@pytest.mark.parametrize(
    ("names", "more"),
    [
        (["a.npz"], {}), (["a.npz", "../b.npz"], {}), (["a.npz", "C:b.npz"], {}), (["a.npz", "b.exe"], {}), ("a.npz", {}),
        (["a.npz", ""], {}), (["a.npz", "b.npz"], {"fit_1": np.zeros((2, 2), np.uint8)}),
        (["a.npz", "b.npz"], {"pose": np.zeros((2, 55, 3, 3), np.float32)}),
        (["a.npz", "b.npz"], {"fit_1": np.zeros(wardrobe.MAX_FIT_FILE_BYTES + 1, np.uint8)}),
    ],
)  # fmt: skip
def test_wrong_files_of_body_fits_are_refused(names, more):
    params, arrays = files_of_fits()
    with pytest.raises(BadParameter):
        requests.parse_avatar_fit(
            request(wardrobe.AVATAR_FIT, params | {"fit_files": names}, arrays | more)
        )


def test_looks_go_from_one_person_to_another():
    start = seeded(3, truncation=0.8)
    half = blended(start, BO, 0.5)
    assert dict(half.sources) == {LookSource(seed=3): 0.5, BO: 0.5}
    assert blended(half, BO, 0.0) == half
    assert dict(blended(half, BO, 1.0).sources) == {BO: 1.0}
    assert blended(LOOK, BO, 0.5).directions == ((0, 0.75), (3, -0.25))
    worn = redressed(redressed(half, SEVEN, "head"), BO, "head", 0.5)
    assert worn.parts == {"head": (BO, 0.5)}
    assert worn.named() == {LookSource(seed=3), BO}


def test_samples_say_how_to_make_them_again():
    asked = wardrobe.AvatarSample(avatar="avatar-ada", seeds=(4, 5), near=0.25)
    assert [dict(look.sources) for look in asked.looks()] == [
        {OWN: 0.25, LookSource(seed=4): 0.75}, {OWN: 0.25, LookSource(seed=5): 0.75},
    ]  # fmt: skip
    heads = wardrobe.AvatarSample(avatar="avatar-ada", seeds=(4,), vary="head").looks()
    assert heads[0].sources == ((OWN, 1.0),)
    assert heads[0].parts == {"head": (LookSource(seed=4), 1.0)}


WORDS = sorted({name for asked, _ in ALL.values() for name in asked.to_wire()[0]})
INNER = [
    "sources",
    "directions",
    "parts",
    "truncation",
    "seed",
    "avatar",
    "weight",
    "amount",
    "head",
]
VALUES = st.recursive(
    st.one_of(
        st.none(), st.booleans(), st.integers(-(2**63), 2**64 - 1), st.floats(), st.text(max_size=8),
        st.sampled_from(["head", "w", "avatar-x"]),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4), st.dictionaries(st.sampled_from(INNER), inner, max_size=4)
    ),
    max_leaves=10,
)  # fmt: skip
ARRAYS = st.builds(
    lambda shape, kind, value: np.full(shape, value).astype(kind),
    st.one_of(
        st.lists(st.integers(0, 3), max_size=4).map(tuple),
        st.sampled_from([(40, 50, 3), (40, 50), (2, 55, 3, 3), (2, 3), (2, 3, 3), (2, 3, 4)]),
    ),
    st.sampled_from([np.uint8, np.int32, np.float16, np.float64]),
    st.integers(0, 200),
)
ARRAY_NAMES = ["image_0", "image_9", "mask_0", "pose", "transl", "betas", "expression", "K", "Rt"]


@pytest.mark.parametrize("operation", list(ALL))
@given(
    params=st.dictionaries(st.sampled_from(WORDS), VALUES, max_size=3),
    arrays=st.dictionaries(st.sampled_from(ARRAY_NAMES), ARRAYS, max_size=2),
)
def test_any_junk_is_read_or_refused(operation, params, arrays):
    asked, parse = ALL[operation]
    sent, sent_arrays = asked.to_wire()
    with contextlib.suppress(BadParameter, BadPose):
        parse(request(operation, sent | params, sent_arrays | arrays))
