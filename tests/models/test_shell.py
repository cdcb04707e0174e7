"""The shell: a second surface around the body."""

import pytest
import torch

from blender_addon.contract.joints import JOINT_INDEX
from models.body import load_body
from models.package import DEFAULT_LIBRARY
from models.shell import SHELL_METRES, shell_distances, stacked, vertex_normals, with_shell

OCTAHEDRON = torch.tensor(
    [[1, 0, 0], [-1, 0, 0], [0, 1, 0], [0, -1, 0], [0, 0, 1], [0, 0, -1]], dtype=torch.float32
)
FACES = torch.tensor(
    [[0, 2, 4], [2, 1, 4], [1, 3, 4], [3, 0, 4], [2, 0, 5], [1, 2, 5], [3, 1, 5], [0, 3, 5]]
)


@pytest.fixture(scope="module")
def body():
    return load_body(DEFAULT_LIBRARY / "body-cc0")


def test_normals_point_out_of_the_surface():
    vertices = torch.stack([OCTAHEDRON, OCTAHEDRON * 0.2])
    expected = OCTAHEDRON.expand(2, -1, -1)
    torch.testing.assert_close(vertex_normals(vertices, FACES), expected)


def test_a_vertex_of_no_face_stays_where_it_is():
    lone = torch.cat([OCTAHEDRON, torch.tensor([[5.0, 5.0, 5.0]])])[None]
    layers = with_shell(lone, FACES, torch.full((7,), 0.5))
    assert torch.equal(layers[1, 6], lone[0, 6])
    torch.testing.assert_close(layers[1, :6], OCTAHEDRON * 1.5)


def test_gradients_reach_the_vertices_through_the_shell():
    vertices = OCTAHEDRON[None].clone().requires_grad_()
    with_shell(vertices, FACES, torch.full((6,), 0.5))[1].square().sum().backward()
    assert vertices.grad is not None
    assert (vertices.grad.norm(dim=2) > 0).all()


@pytest.mark.parametrize(
    ("joint", "part"), [("left_hip", "hip"), ("head", "head"), ("right_index3", ""), ("jaw", "")]
)
def test_distances_follow_the_joints_that_skin_follows(body, joint, part):
    follows = body.skin_weights[:, JOINT_INDEX[joint]] > 0.98
    assert follows.any()
    expected = SHELL_METRES.get(part, 0.0)
    assert shell_distances(body)[follows] == pytest.approx(expected, abs=0.003)


def test_the_shell_closes_the_gap_between_the_legs(body):
    """Seen from the front, thighs with a shell leave no background between them."""
    vertices = body.v_template[None]
    layers = with_shell(vertices, body.faces.long(), shell_distances(body))
    height = vertices[0, :, 1]
    knee = body.joint_regressor[JOINT_INDEX["left_knee"]] @ body.v_template
    band = (height - (knee[1] + 0.12)).abs() < 0.02
    left, right = (band & (vertices[0, :, 0] * side > 0) for side in (1, -1))
    bare, shelled = (
        layer[left, 0].min() - layer[right, 0].max() for layer in (layers[0], layers[1])
    )
    assert bare > 0.02
    assert shelled < 0


def test_layers_become_channels_in_their_order():
    features = torch.arange(24.0).reshape(4, 3, 2, 1)
    assert torch.equal(stacked(features)[1], torch.cat([features[1], features[3]]))
