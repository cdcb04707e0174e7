"""The body: agrees with the smplx package, has gradients, refuses what is not SMPL-X."""

import warnings
from pathlib import Path

import numpy as np
import pytest
import torch

from blender_addon.contract.errors import BodyFileError, BodyMismatch, PackageDamaged
from blender_addon.contract.pose import rotation_from_axis_angle
from models.body import load_body, skin
from models.body_package import pack, smplx_file_fields, unpack
from models.licensed_body import add_body
from models.package import DEFAULT_LIBRARY, load_arrays

PACKAGE = DEFAULT_LIBRARY / "body-cc0"
POSES = 100


@pytest.fixture(scope="module")
def body():
    return load_body(PACKAGE)


@pytest.fixture(scope="module")
def fields():
    return smplx_file_fields(
        unpack({name: value.numpy() for name, value in load_arrays(PACKAGE).items()})
    )


@pytest.fixture(scope="module")
def light(fields):
    """The fields without the 60 MB of pose correctives, which may be missing."""
    return {name: value for name, value in fields.items() if name != "posedirs"}


def some_correctives(fields):
    rng = np.random.default_rng(1)
    return 2e-3 * rng.standard_normal(fields["posedirs"].shape, dtype=np.float32)


@pytest.fixture(scope="module")
def file(fields, tmp_path_factory):
    return write_file(tmp_path_factory.mktemp("body") / "smplx", fields)


def write_file(folder: Path, fields, name="SMPLX_NEUTRAL.npz") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    np.savez(folder / name, **fields)
    return folder / name


def random_poses(count, seed=0):
    rng = np.random.default_rng(seed)
    return {
        "pose": rng.normal(0, 0.4, (count, 55, 3)),
        "betas": rng.normal(0, 1.5, (count, 10)),
        "expression": rng.normal(0, 1.5, (count, 10)),
        "transl": rng.normal(0, 1, (count, 3)),
    }


def ours(body, given):
    to = {name: torch.tensor(value, dtype=torch.float32) for name, value in given.items()}
    rotations = torch.tensor(rotation_from_axis_angle(given["pose"]), dtype=torch.float32)
    return skin(body, rotations, to["betas"], to["expression"], to["transl"])


class Oracle:
    """The smplx package on a file, in double precision."""

    def __init__(self, file: Path, **options):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import smplx

            self.model = smplx.create(
                str(file.parents[1]),
                model_type="smplx",
                use_pca=False,
                flat_hand_mean=True,
                num_betas=10,
                num_expression_coeffs=10,
                dtype=torch.float64,
                **options,
            )

    def __call__(self, given):
        """Return vertices (B, V, 3) and joints (B, 55 + its landmarks, 3)."""
        to = {name: torch.tensor(value) for name, value in given.items()}
        pose = to["pose"]
        with torch.no_grad():
            out = self.model(
                global_orient=pose[:, 0],
                body_pose=pose[:, 1:22].flatten(1),
                jaw_pose=pose[:, 22],
                leye_pose=pose[:, 23],
                reye_pose=pose[:, 24],
                left_hand_pose=pose[:, 25:40].flatten(1),
                right_hand_pose=pose[:, 40:].flatten(1),
                betas=to["betas"],
                expression=to["expression"],
                transl=to["transl"],
            )
        return out.vertices, out.joints


def largest_difference(body, oracle, poses=POSES):
    """Compare on many poses, ten at a time."""
    worst = 0.0
    for seed in range(poses // 10):
        given = random_poses(10, seed)
        vertices, joints = oracle(given)
        posed = ours(body, given)
        worst = max(
            worst,
            (posed.vertices - vertices).abs().max().item(),
            (posed.joints - joints[:, :55]).abs().max().item(),
        )
    return worst


def test_free_body_agrees_with_the_smplx_package_on_100_poses(body, file):
    assert largest_difference(body, Oracle(file)) <= 1e-5


def test_file_with_pose_correctives_agrees_with_the_smplx_package(fields, tmp_path):
    correctives = some_correctives(fields)
    file = write_file(tmp_path / "smplx", {**fields, "posedirs": correctives})
    body = load_body(file)
    assert body.pose_dirs is not None
    assert largest_difference(body, Oracle(file), poses=20) <= 1e-5


def test_licensed_layout_of_300_shapes_and_100_expressions_is_read(light, tmp_path):
    dirs = light["shapedirs"]
    wide = np.zeros((*dirs.shape[:2], 400), np.float32)
    wide[..., :10], wide[..., 300:310] = dirs[..., :10], dirs[..., 10:]
    body = load_body(write_file(tmp_path, {**light, "shapedirs": wide}))
    assert body.shape_dirs.shape[2] == 300
    small = load_body(PACKAGE)
    given = random_poses(2)
    torch.testing.assert_close(
        ours(body, given).vertices, ours(small, given).vertices, atol=1e-6, rtol=0
    )


def test_licensed_file_added_to_a_library_is_the_same_body(fields, tmp_path, capsys):
    file = write_file(tmp_path, {**fields, "posedirs": some_correctives(fields)})
    add_body(file, tmp_path / "library")
    assert "smplx-neutral" in capsys.readouterr().out
    added, direct = load_body(tmp_path / "library" / "smplx-neutral"), load_body(file)
    given = random_poses(2)
    assert torch.equal(ours(added, given).vertices, ours(direct, given).vertices)
    with pytest.raises(BodyFileError, match="already"):
        add_body(file, tmp_path / "library")


def test_batch_equals_single_poses(body):
    given = random_poses(3)
    together = ours(body, given).vertices
    for index in range(3):
        alone = ours(body, {name: value[index : index + 1] for name, value in given.items()})
        torch.testing.assert_close(together[index], alone.vertices[0], atol=1e-6, rtol=0)


def test_missing_coefficients_count_as_zero(body):
    pose = torch.eye(3).expand(1, 55, 3, 3)
    none = skin(body, pose, torch.zeros(1, 0), torch.zeros(1, 0), torch.zeros(1, 3))
    zero = skin(body, pose, torch.zeros(1, 10), torch.zeros(1, 10), torch.zeros(1, 3))
    assert torch.equal(none.vertices, zero.vertices)


@pytest.mark.parametrize("which", ["betas", "expression"])
def test_more_coefficients_than_the_body_has_are_refused(body, which):
    counts = {"betas": 0, "expression": 0, which: 11}
    with pytest.raises(BodyMismatch, match="11 coefficients"):
        skin(
            body,
            torch.eye(3).expand(1, 55, 3, 3),
            torch.zeros(1, counts["betas"]),
            torch.zeros(1, counts["expression"]),
            torch.zeros(1, 3),
        )


@pytest.mark.parametrize("name", ["pose", "betas", "expression", "transl"])
def test_gradient_agrees_with_a_finite_difference(body, name):
    given = {key: torch.tensor(value) for key, value in random_poses(1).items()}
    given["pose"] = torch.tensor(rotation_from_axis_angle(random_poses(1)["pose"]))
    double = load_body(PACKAGE)
    for field in ("v_template", "shape_dirs", "expression_dirs", "joint_regressor", "skin_weights"):
        object.__setattr__(double, field, getattr(double, field).double())
    direction = torch.randn(given[name].shape, dtype=torch.float64)
    weights = torch.randn(double.v_template.shape, dtype=torch.float64)

    def loss(step):
        moved = {**given, name: given[name] + step * direction}
        posed = skin(double, moved["pose"], moved["betas"], moved["expression"], moved["transl"])
        return (posed.vertices * weights).sum()

    at = torch.zeros((), dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(loss(at), at)
    step = 1e-5
    numeric = (loss(torch.tensor(step)) - loss(torch.tensor(-step))) / (2 * step)
    torch.testing.assert_close(slope, numeric, rtol=1e-5, atol=1e-5)


def test_truncated_file_is_refused(light, tmp_path):
    file = write_file(tmp_path, light)
    file.write_bytes(file.read_bytes()[:-5000])
    with pytest.raises(BodyFileError, match="cannot be read"):
        load_body(file)


@pytest.mark.parametrize(("joints", "word"), [(24, "SMPL"), (52, "SMPL-H")])
def test_file_of_another_body_model_is_refused_by_name(light, tmp_path, joints, word):
    other = {**light, "weights": light["weights"][:, :joints]}
    with pytest.raises(BodyFileError, match=f"{joints} joints .that is {word}."):
        load_body(write_file(tmp_path, other))


def test_file_without_uvs_is_refused_with_the_fields_it_lacks(light, tmp_path):
    other = {name: value for name, value in light.items() if name not in ("vt", "ft")}
    with pytest.raises(BodyFileError, match="lacks vt, ft"):
        load_body(write_file(tmp_path, other))


def test_file_with_numbers_that_are_not_finite_is_refused(light, tmp_path):
    template = light["v_template"].copy()
    template[5] = np.nan
    with pytest.raises(BodyFileError, match="v_template"):
        load_body(write_file(tmp_path, {**light, "v_template": template}))


def test_pickle_is_refused_without_being_run(tmp_path):
    trap = tmp_path / "SMPLX_NEUTRAL.npz"
    witness = tmp_path / "ran"
    trap.write_bytes(f"cos\nsystem\n(S'touch {witness}'\ntR.".encode())
    with pytest.raises(BodyFileError):
        load_body(trap)
    assert not witness.exists()


def test_package_that_is_no_body_is_refused(tmp_path):
    from models.package import Manifest, write_package

    folder = tmp_path / "avatar-a"
    manifest = Manifest(kind="avatar", id="avatar-a", name="A", licence="CC0-1.0")
    write_package(folder, manifest, {"texture": torch.zeros(1)})
    with pytest.raises(BodyFileError, match="avatar"):
        load_body(folder)


def test_damaged_package_is_refused(tmp_path):
    import shutil

    folder = tmp_path / "body-cc0"
    shutil.copytree(PACKAGE, folder)
    content = bytearray((folder / "weights.safetensors").read_bytes())
    content[-7] ^= 1
    (folder / "weights.safetensors").write_bytes(content)
    with pytest.raises(PackageDamaged):
        load_body(folder)


def test_packed_form_loses_less_than_a_tenth_of_a_millimetre_when_packed_again(fields):
    spectral = np.asarray(fields["spectral"])
    again = unpack(
        pack(
            {
                **fields,
                "shapedirs": fields["shapedirs"][..., :10],
                "expressiondirs": fields["shapedirs"][..., 10:],
                "uv_vertex": _vertex_of_each_uv(fields),
                "hands_mean": np.stack([fields["hands_meanl"], fields["hands_meanr"]]),
                "hands_components": np.stack(
                    [fields["hands_componentsl"], fields["hands_componentsr"]]
                ),
            }
        )
    )
    for name in fields:
        if name in ("posedirs", "joint_names", "part2num", "joint2num"):
            continue
        np.testing.assert_allclose(again[name], fields[name], atol=1e-4)
    np.testing.assert_allclose(again["spectral"], spectral, atol=1e-6)


def _vertex_of_each_uv(fields):
    vertex = np.zeros(len(fields["vt"]), np.int64)
    vertex[fields["ft"]] = fields["f"]
    return vertex


def test_hand_components_are_orthonormal_and_mirrored(body):
    left, right = body.hands.components
    torch.testing.assert_close(left @ left.T, torch.eye(45), atol=2e-4, rtol=0)
    torch.testing.assert_close(right, left * torch.tensor([1.0, -1.0, -1.0]).repeat(15))


def test_first_hand_component_closes_the_fingers_and_the_thumb_over_the_palm(body):
    tips = [4933, 5058, 5169, 5286, 5361]  # smplx's index, middle, ring, pinky, thumb
    wrist = 20

    def reach(amount):
        pose = np.zeros((1, 55, 3))
        hand = body.hands.means[0] + amount * body.hands.components[0, 0]
        pose[0, 25:40] = hand.numpy().reshape(15, 3)
        posed = ours(body, {**random_poses(1), "pose": pose, "betas": np.zeros((1, 10))})
        return (posed.vertices[0, tips] - posed.joints[0, wrist]).norm(dim=1)

    extents = torch.stack([reach(amount) for amount in (-1.2, 0.0, 1.2)])
    closes = extents.diff(dim=0)
    assert (closes < 0).all() or (closes > 0).all()


@pytest.fixture(scope="module")
def contour_oracle(file):
    return Oracle(file, use_face_contour=True)


@pytest.mark.parametrize("degrees", [-37, -20, 0, 20, 37])
def test_contour_landmarks_lie_on_the_outline_of_the_turned_face(fields, contour_oracle, degrees):
    """As the smplx package looks them up; a camera in front sees nothing of the face beyond."""
    given = {name: np.zeros_like(value) for name, value in random_poses(1).items()}
    yaw = np.deg2rad(degrees)
    given["pose"][0, 0, 1] = yaw
    vertices, joints = (result[0].numpy() for result in contour_oracle(given))
    contour, head = joints[-17:], joints[15]
    # The face's own skin: no lashes, no ears, no nose (which may hide the cheek).
    depth = (vertices - head) @ [np.sin(yaw), 0, np.cos(yaw)]
    skin = np.isin(np.arange(len(vertices)), fields["f"]) & (fields["makehuman_index"] < 13380)
    face = skin & (vertices[:, 1] > head[1] - 0.1) & (depth > 0.06) & (depth < 0.105)
    # Turned to the subject's left (+), the left half (points 9…16) is the far one.
    for point in contour[11:16] if degrees >= 0 else contour[1:6]:
        level = face & (np.abs(vertices[:, 1] - point[1]) < 0.006)
        side = 1.0 if degrees >= 0 else -1.0
        beyond = (vertices[level, 0] * side).max() - point[0] * side
        assert beyond < 0.004, point
    assert contour[8, 1] == pytest.approx(contour[:, 1].min(), abs=0.01), "the chin"
    assert contour[0, 0] < contour[16, 0], "from the subject's right to the left"


def test_vertices_named_by_the_smplx_package_lie_on_the_right_anatomy(fields):
    vertices = fields["v_template"]
    assert (
        vertices[9120, 2]
        == vertices[np.abs(vertices[:, 0]) < 0.01, 2][
            vertices[np.abs(vertices[:, 0]) < 0.01, 1] > 0.2
        ].max()
    ), "the nose is the front of the face"
    assert vertices[4933, 0] > 0.6, "the left index finger's tip is far to the left"
    assert vertices[8635, 1] < -1.0, "the right heel is at the ground"
