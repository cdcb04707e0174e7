"""MakeHuman's data as the body and the clothes use them."""

import numpy as np
import pytest

from blender_addon.contract.errors import ModelError
from blender_addon.contract.joints import JOINT_INDEX
from models.body import load_body
from models.body_package import unpack
from models.package import DEFAULT_LIBRARY, load_arrays
from training.makehuman.data import base_mesh, face_units
from training.makehuman.garments import Garment
from training.makehuman.phenotypes import Phenotype, random_phenotype, shape
from training.makehuman.rig import joints, skin_weights, t_pose


@pytest.fixture(scope="module")
def person():
    return t_pose(shape(Phenotype(gender=1.0)))


def test_t_pose_lays_the_arms_along_x(person):
    for side in ("left", "right"):
        chain = [
            JOINT_INDEX[f"{side}_{name}"] for name in ("shoulder", "elbow", "wrist", "middle1")
        ]
        heights = person.joints[chain][:, 1:]
        np.testing.assert_allclose(heights, np.broadcast_to(heights[:1], heights.shape), atol=1e-6)
    assert person.joints[JOINT_INDEX["left_wrist"], 0] > 0.5


def test_t_pose_puts_the_pelvis_where_smplx_has_it(person):
    np.testing.assert_allclose(person.joints[0], [0.0, -0.35, 0.01], atol=1e-9)


def test_people_have_the_height_of_people():
    rng = np.random.default_rng(3)
    for _ in range(3):
        vertices = shape(random_phenotype(rng))[:13380]
        assert 14.0 < np.ptp(vertices[:, 1]) < 21.0  # decimetres


def test_weights_of_every_vertex_sum_to_one():
    np.testing.assert_allclose(skin_weights().sum(axis=1), 1.0, atol=1e-9)


def test_joints_are_mirrored_left_and_right():
    found = joints(base_mesh().vertices)
    left, right = found[JOINT_INDEX["left_knee"]], found[JOINT_INDEX["right_knee"]]
    np.testing.assert_allclose(left * [-1, 1, 1], right, atol=0.02)


def test_face_units_move_the_face_and_nothing_below_the_neck():
    assert len(face_units()) >= 50
    still = shape(Phenotype())
    smile = shape(Phenotype(face={next(n for n in face_units() if "mile" in n): 1.0}))
    moved = np.flatnonzero(np.abs(smile - still).max(axis=1) > 1e-6)
    assert len(moved) > 0
    neck = joints(still)[JOINT_INDEX["neck"], 1]
    assert still[moved, 1].min() > neck


def test_uvs_of_the_shipped_body_do_not_overlap():
    body = load_body(DEFAULT_LIBRARY / "body-cc0")
    corners = body.uv[body.uv_faces].numpy()
    assert corners.min() >= 0
    assert corners.max() <= 1
    size = 1024
    # Count texels claimed by faces of two different islands; borders may share a texel.
    grid = np.zeros((size, size), np.int32)
    for triangle in corners * size:
        low, high = np.floor(triangle.min(0)).astype(int), np.ceil(triangle.max(0)).astype(int)
        x, y = np.meshgrid(np.arange(low[0], high[0]) + 0.5, np.arange(low[1], high[1]) + 0.5)
        (ax, ay), (bx, by), (cx, cy) = triangle
        area = (bx - ax) * (cy - ay) - (by - ay) * (cx - ax)
        if abs(area) < 1e-9:
            continue
        one = ((x - ax) * (cy - ay) - (y - ay) * (cx - ax)) / area
        two = ((bx - ax) * (y - ay) - (by - ay) * (x - ax)) / area
        inside = (one > 1e-6) & (two > 1e-6) & (one + two < 1 - 1e-6)
        grid[y[inside].astype(int), x[inside].astype(int)] += 1
    assert (grid > 1).sum() < 0.001 * (grid > 0).sum()


def test_shipped_body_names_the_base_vertices_it_came_from():
    fields = unpack({n: a.numpy() for n, a in load_arrays(DEFAULT_LIBRARY / "body-cc0").items()})
    index = fields["makehuman_index"]
    assert len(np.unique(index)) == len(fields["v_template"])
    assert index.max() < len(base_mesh().vertices)


@pytest.mark.slow  # two minutes on a machine that has not built the basis yet
def test_basis_of_all_vertices_moves_as_the_shipped_body_does():
    from training.makehuman.basis import full_basis

    basis, body = full_basis(), load_body(DEFAULT_LIBRARY / "body-cc0")
    fields = unpack({n: a.numpy() for n, a in load_arrays(DEFAULT_LIBRARY / "body-cc0").items()})
    betas = np.random.default_rng(0).normal(0, 1, (3, 10))
    for coefficients in betas:
        whole = basis.template + basis.shape_dirs @ coefficients
        shipped = body.v_template.numpy() + body.shape_dirs.numpy() @ coefficients
        apart = np.linalg.norm(whole[fields["makehuman_index"]] - shipped, axis=1)
        # The shipped body's smoothed skin is a small part of it.
        assert np.quantile(apart, 0.97) < 2e-4
        assert apart.max() < 0.03


MHCLO = """# CC0
name Patch
obj_file patch.obj
x_scale 5399 11998 1.0
verts 0
vertexboneweights_file patch.mhw
10 20 30 0.5 0.3 0.2 0.0 0.1 0.0
40
50 60 70 1.0 0.0 0.0 0.0 0.0 0.0
delete_verts
3 7 - 9
"""
OBJ = "v 0 0 0\nv 1 0 0\nv 0 1 0\nvt 0 0\nvt 1 0\nvt 0 1\nf 1/1 2/2 3/3\n"


@pytest.fixture
def patch(tmp_path):
    (tmp_path / "patch.mhclo").write_text(MHCLO)
    (tmp_path / "patch.obj").write_text(OBJ)
    return tmp_path / "patch.mhclo"


def test_garment_sits_on_the_vertices_it_is_bound_to(patch, person):
    garment = Garment.from_mhclo(patch)
    fitted = garment.fit(person.vertices)
    np.testing.assert_allclose(fitted[1], person.vertices[40])
    assert garment.hidden_body_vertices.tolist() == [3, 7, 8, 9]
    weights = garment.skin_weights(skin_weights())
    np.testing.assert_allclose(weights.sum(axis=1), 1.0)
    np.testing.assert_allclose(weights[1], skin_weights()[40], atol=1e-5)


def test_garment_whose_mesh_has_other_vertices_is_refused(patch):
    (patch.parent / "patch.obj").write_text(OBJ + "v 5 5 5\n")
    with pytest.raises(ModelError, match=r"patch\.mhclo binds 3 of 4"):
        Garment.from_mhclo(patch)
