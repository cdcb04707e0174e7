"""Motion files: what is read, what is refused, and that nothing in them ever runs."""

from __future__ import annotations

import contextlib
import io
import os
import pickle
import subprocess
import sys
import zipfile

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from blender_addon.contract.errors import BadMotion, VPoserPose
from blender_addon.contract.pose import axis_angle_from_rotation, rotation_from_axis_angle
from blender_addon.contract.safe_pickle import read_arrays
from blender_addon.scene import motion_files
from blender_addon.scene.motion_files import (
    parse_motion,
    read_motion,
    sample_times,
    upright,
)


def _amass(count=4, width=165, **more):
    rng = np.random.default_rng(count + width)
    return {
        "poses": rng.normal(0, 0.3, (count, width)),
        "trans": rng.normal(0, 1, (count, 3)),
        "mocap_frame_rate": np.float64(60.0),
        **more,
    }


def _smplify(count=1, width=63, **more):
    rng = np.random.default_rng(7)
    return {
        "body_pose": rng.normal(0, 0.3, (count, width)).astype(np.float32),
        "global_orient": rng.normal(0, 0.3, (count, 3)).astype(np.float32),
        "jaw_pose": np.full((count, 3), 0.1, np.float32),
        "expression": rng.normal(0, 1, (count, 10)).astype(np.float32),
        "camera_translation": np.array([[0, 0, 9.0]], np.float32),
        **more,
    }


def test_amass_of_smplx_keeps_every_joint_where_it_is(tmp_path):
    arrays = _amass()
    np.savez(tmp_path / "a.npz", gender="female", **arrays)
    motion = read_motion([tmp_path / "a.npz"])
    np.testing.assert_allclose(motion.rotations.reshape(4, 165), arrays["poses"])
    assert (motion.rate, motion.up, motion.frames) == (60.0, "Z", 4)


def test_amass_of_smplh_and_smpl_land_in_the_right_joints():
    smplh = _amass(width=156)
    motion = parse_motion(smplh)
    np.testing.assert_allclose(motion.rotations[:, :22].reshape(4, 66), smplh["poses"][:, :66])
    np.testing.assert_allclose(motion.rotations[:, 25:].reshape(4, 90), smplh["poses"][:, 66:])
    assert not motion.rotations[:, 22:25].any()
    smpl = parse_motion(_amass(width=72))
    assert not smpl.rotations[:, 22:].any()
    assert "fingers" in smpl.notes[0]


def test_newer_amass_files_with_named_parts():
    rng = np.random.default_rng(0)
    parts = {"root_orient": 3, "pose_body": 63, "pose_jaw": 3, "pose_eye": 6, "pose_hand": 90}
    arrays = {name: rng.normal(0, 1, (5, width)) for name, width in parts.items()}
    motion = parse_motion(arrays | {"trans": np.zeros((5, 3)), "mocap_framerate": np.array(120)})
    wanted = np.concatenate([arrays[name] for name in parts], axis=1)
    np.testing.assert_allclose(motion.rotations.reshape(5, 165), wanted)
    assert motion.rate == 120.0


def test_smplify_results_as_npz_and_as_pickle_are_the_same(tmp_path):
    arrays = _smplify()
    np.savez(tmp_path / "r.npz", **arrays)
    for protocol in (2, 4):
        (tmp_path / "r.pkl").write_bytes(pickle.dumps(dict(arrays), protocol))
        a, b = (read_motion([tmp_path / name]) for name in ("r.npz", "r.pkl"))
        np.testing.assert_allclose(a.rotations, b.rotations)
        np.testing.assert_allclose(a.expression, b.expression)
        assert a.up == b.up == "-Y"
    assert a.rotations[0, 22] == pytest.approx(0.1)


def test_several_results_become_the_frames_of_one_motion(tmp_path):
    for index in range(3):
        arrays = _smplify(global_orient=np.full((1, 3), index, np.float32))
        (tmp_path / f"{index:03d}.pkl").write_bytes(pickle.dumps(arrays))
    motion = read_motion([tmp_path / f"{index:03d}.pkl" for index in (2, 0, 1)])
    np.testing.assert_allclose(motion.rotations[:, 0, 0], [0, 1, 2])


def test_a_vposer_code_is_refused_with_the_fix(tmp_path):
    np.savez(tmp_path / "v.npz", **_smplify(width=32))
    with pytest.raises(VPoserPose) as caught:
        read_motion([tmp_path / "v.npz"])
    assert "v.npz" in caught.value.cause
    assert "63 numbers" in caught.value.next_step


def test_hands_as_pca_are_left_flat_and_that_is_said():
    motion = parse_motion(_smplify(left_hand_pose=np.ones((1, 12))))
    assert "left_hand_pose" in motion.notes[0]
    assert not motion.rotations[:, 25:].any()


@pytest.mark.parametrize(
    "arrays",
    [
        {},
        {"poses": np.zeros((3, 40))},
        {"poses": np.zeros((0, 165))},
        {"poses": np.full((3, 165), np.nan)},
        {"poses": np.zeros((3, 165)), "trans": np.zeros((2, 3))},
        {"poses": np.zeros((3, 165)), "mocap_frame_rate": np.float64(0.0)},
        {"poses": np.zeros((3, 165)), "mocap_frame_rate": np.float64(np.nan)},
        {"body_pose": np.zeros((3, 50))},
        {"body_pose": np.zeros((3, 63)), "global_orient": np.zeros((2, 3))},
        {"pose_body": np.zeros((3, 63))},
    ],
)
def test_what_is_no_motion_is_refused(arrays):
    with pytest.raises(BadMotion):
        parse_motion(arrays)


class _Evil:
    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return os.system, (f"touch {self.marker}",)


def test_a_pickle_that_wants_to_run_something_is_refused_and_runs_nothing(tmp_path):
    marker = tmp_path / "ran"
    data = pickle.dumps({"body_pose": _Evil(marker)})
    with pytest.raises(BadMotion, match="system"):
        read_arrays(data)
    assert not marker.exists()
    # The names that are allowed must not open a way round either.
    for module, name in [
        ("builtins", "eval"),
        ("numpy", "load"),
        ("numpy.core.multiarray", "fromfile"),
        ("blender_addon.contract.safe_pickle", "read_arrays"),
        ("_codecs", "lookup"),
        ("numpy", "ndarray.tofile"),
    ]:
        with pytest.raises(BadMotion):
            read_arrays(f"c{module}\n{name}\n.".encode())


def test_arrays_of_objects_texts_and_wrong_sizes_are_refused():
    with pytest.raises(BadMotion):
        read_arrays(pickle.dumps({"a": np.array([{}, []], object)}))
    good = pickle.dumps({"a": np.arange(6.0)}, protocol=2)
    assert read_arrays(good)["a"].tolist() == [0, 1, 2, 3, 4, 5]
    with pytest.raises(BadMotion):
        read_arrays(good.replace(b"K\x06\x85", b"K\x07\x85"))


def test_pickles_of_python_2_numbers_and_fortran_order_are_read():
    table = np.asfortranarray(np.arange(6, dtype=">f4").reshape(2, 3))
    found = read_arrays(pickle.dumps({"a": table, "b": np.float32(2.5), "c": 3, "d": "text"}))
    np.testing.assert_array_equal(found["a"], table)
    assert found["b"] == 2.5
    assert set(found) == {"a", "b", "c"}
    old = b"(dp0\nS'a'\np1\nF1.5\ns."  # protocol 0
    assert read_arrays(old)["a"] == 1.5


_GOOD_PICKLE = pickle.dumps(_smplify(), protocol=2)
_BUFFER = io.BytesIO()
np.savez(_BUFFER, **_amass())
_GOOD_NPZ = _BUFFER.getvalue()


def _mutated(draw, data: bytes) -> bytes:
    buffer = bytearray(data)
    for _ in range(draw(st.integers(1, 8))):
        position = draw(st.integers(0, len(buffer) - 1))
        buffer[position] = draw(st.integers(0, 255))
    cut = draw(st.integers(1, len(buffer)))
    return bytes(buffer[:cut] if draw(st.booleans()) else buffer)


@given(st.data())
@settings(max_examples=400, deadline=None)
def test_mutated_pickles_give_arrays_or_a_typed_error(data):
    content = _mutated(data.draw, _GOOD_PICKLE)
    with contextlib.suppress(BadMotion, VPoserPose):
        parse_motion(read_arrays(content))


@given(st.data())
@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_mutated_npz_files_give_a_motion_or_a_typed_error(tmp_path, data):
    path = tmp_path / "m.npz"
    path.write_bytes(_mutated(data.draw, _GOOD_NPZ))
    with contextlib.suppress(BadMotion, VPoserPose):
        read_motion([path])


def test_a_zip_bomb_is_refused_before_it_is_unpacked(tmp_path, monkeypatch):
    monkeypatch.setattr(motion_files, "MAX_UNPACKED_BYTES", 1 << 20)
    path = tmp_path / "bomb.npz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.npy", bytes(1 << 20))
        archive.writestr("b.npy", b"x")
    assert path.stat().st_size < 8 << 10
    with pytest.raises(BadMotion, match="unpacks to too much"):
        read_motion([path])


def test_missing_files_and_other_kinds_are_named(tmp_path):
    with pytest.raises(BadMotion, match=r"gone\.npz"):
        read_motion([tmp_path / "gone.npz"])
    with pytest.raises(BadMotion, match="bvh"):
        read_motion([tmp_path / "x.bvh"])


def test_upright_motions_turn_about_the_pelvis():
    vectors = np.zeros((1, 55, 3))
    motion = parse_motion({"poses": vectors.reshape(1, 165), "trans": np.array([[1.0, 2.0, 0.9]])})
    joint = np.array([0.0, -0.35, 0.01])
    found = upright(motion, joint, 30.0)
    # Z up in the file: z of the pelvis (0.9 + 0.01) is its height.
    np.testing.assert_allclose(found.pelvis[0], [1.0, 0.91, -1.65], atol=1e-12)
    up = found.pose[0, 0] @ np.array([0.0, 0.0, 1.0])
    np.testing.assert_allclose(up, [0, 1, 0], atol=1e-12)


@given(st.integers(1, 200), st.floats(1, 240), st.floats(1, 240))
def test_sampling_stays_within_the_motion(frames, rate, new_rate):
    times = sample_times(frames, rate, new_rate)
    assert times[0] == 0.0
    assert times.max() <= frames - 1
    assert len(times) == 1 or (np.diff(times) > 0).all()


def test_sampling_between_frames_takes_the_shortest_arc():
    angle = np.radians([170.0, 190.0])
    vectors = np.zeros((2, 55, 3))
    vectors[:, 5, 0] = angle
    motion = parse_motion({"poses": vectors.reshape(2, 165), "fps": np.array(10.0)})
    found = upright(motion, np.zeros(3), 20.0)
    between = axis_angle_from_rotation(found.pose[1, 5])
    assert abs(between[0]) == pytest.approx(np.pi, abs=1e-9)
    same = rotation_from_axis_angle(np.array([np.pi, 0, 0]))
    np.testing.assert_allclose(found.pose[1, 5], same, atol=1e-9)


def test_our_own_motions_are_what_their_script_makes(tmp_path):
    from scripts import make_motions

    make_motions.main(tmp_path)
    for path in sorted(make_motions.FOLDER.glob("*.npz")):
        ours, made = read_motion([path]), read_motion([tmp_path / path.name])
        assert ours.frames == made.frames > 100
        np.testing.assert_allclose(ours.rotations, made.rotations, atol=1e-5)
        np.testing.assert_allclose(ours.transl, made.transl, atol=1e-5)


def test_the_reader_needs_no_blender_and_no_server():
    script = (
        "import sys\n"
        "for name in ('bpy', 'zmq', 'torch'): sys.modules[name] = None\n"
        "import blender_addon.scene.motion_files, blender_addon.scene.pose_math\n"
        "import blender_addon.scene.stand_in, blender_addon.scene.projection\n"
        "import blender_addon.engine.pixels, blender_addon.engine.compose\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)
