"""What the stand-in's shape keys, bone offsets and drivers hold."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from blender_addon.contract.errors import BodyFileError
from blender_addon.contract.joints import PARENTS
from blender_addon.contract.pose import Y_UP_TO_Z_UP
from blender_addon.scene.stand_in import (
    MAX_DRIVER_EXPRESSION,
    bone_offset_gains,
    bone_tails,
    driver_expression,
    joint_positions,
    joint_table,
    lift,
    parse_template,
    shape_key_offsets,
    to_blender,
)
from tests.blender import made_body


@pytest.fixture
def template():
    return parse_template({"id": "made"}, made_body.arrays())


def test_shape_keys_and_bone_offsets_together_are_the_shaped_body(template):
    betas = np.array([1.0, -2.0, 0.5, 3.0])
    gains = bone_offset_gains(template, np.tile(np.eye(3), (55, 1, 1)))
    moved = np.zeros((55, 3))
    for joint, parent in enumerate(PARENTS):
        moved[joint] = gains[joint] @ betas + (moved[parent] if parent >= 0 else 0.0)
    keys = np.einsum("nvc,n->vc", shape_key_offsets(template), betas)
    shown = keys + moved[template.weight_joints[:, 0]]
    pelvis_shift = to_blender(template.joint_shape_dirs[0] @ betas)
    expected = to_blender(template.shape_dirs @ betas) - pelvis_shift
    np.testing.assert_allclose(shown, expected, atol=1e-9)


def test_the_pelvis_stays_under_every_shape(template):
    gains = bone_offset_gains(template, np.tile(np.eye(3), (55, 1, 1)))
    assert not gains[0].any()
    table = joint_table(template)
    np.testing.assert_allclose(joint_positions(table, np.zeros(4)), template.joints)


def test_the_persons_own_shape_stands_on_the_ground(template):
    betas = np.array([0.7, -1.0])
    raised = lift(template, betas)
    shaped = template.vertices + template.shape_dirs[..., :2] @ betas
    pelvis_shift = template.joint_shape_dirs[0, :, :2] @ betas
    assert (shaped - pelvis_shift)[:, 1].min() + raised == pytest.approx(0.0, abs=1e-12)


@given(st.lists(st.floats(-1, 1), max_size=32))
@settings(max_examples=60)
def test_driver_expressions_are_short_sums_that_evaluate_to_what_they_should(gains):
    names = [f"b{index}" for index in range(len(gains))]
    expression, used = driver_expression(np.array(gains), names)
    assert len(expression) <= MAX_DRIVER_EXPRESSION
    values = {name: 0.5 + index for index, name in enumerate(names)}
    if used:
        found = eval(expression, {"__builtins__": {}}, values)
        wanted = sum(gains[int(name[1:])] * values[name] for name in used)
        assert found == pytest.approx(wanted, abs=1e-4)
    left_out = [abs(g) for n, g in zip(names, gains, strict=True) if n not in used]
    kept = [abs(gains[int(name[1:])]) for name in used]
    assert not left_out or not kept or max(left_out) <= min(kept) + 1e-9 or max(left_out) < 1e-6


def test_every_bone_has_a_length_and_the_limbs_point_along(template):
    heads = to_blender(template.joints)
    tails = bone_tails(heads)
    assert (np.linalg.norm(tails - heads, axis=1) > 0.005).all()
    np.testing.assert_allclose(tails[4], heads[7])  # knee to ankle
    assert tails[15][2] > heads[15][2]  # the head points up


@pytest.mark.parametrize("name", sorted(made_body.arrays()))
def test_a_template_that_lacks_an_array_is_refused_by_name(name):
    arrays = made_body.arrays()
    del arrays[name]
    with pytest.raises(BodyFileError):
        parse_template({}, arrays)


def test_indices_that_point_outside_are_refused():
    arrays = made_body.arrays()
    arrays["faces"][3, 1] = len(arrays["vertices"])
    with pytest.raises(BodyFileError, match="faces"):
        parse_template({}, arrays)


def test_z_is_up_in_blender():
    np.testing.assert_allclose(to_blender(np.array([0.0, 1.0, 0.0])), [0, 0, 1])
    np.testing.assert_allclose(Y_UP_TO_Z_UP @ [0, 0, 1], [0, -1, 0])
